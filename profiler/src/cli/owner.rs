//! The user who called a command, also by sudo: who gets the files that it writes, and needs no login to what it serves.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat, fchown};
use rustix::process::geteuid;

/// The users who started this process: its own, and the one who called sudo.
pub fn starters() -> Vec<u32> {
    let own = geteuid();
    let caller = std::env::var("SUDO_UID").ok().filter(|_| own.is_root());
    std::iter::once(own.as_raw()).chain(caller.and_then(|uid| uid.parse().ok())).collect()
}

/// Gives a new file to the user who called us through sudo, if that is how we were called.
pub fn give_to_caller(file: impl AsFd) {
    if let Some((user, group)) = caller() {
        // On file systems without owners it fails, and there is nothing to give.
        let _ = fchown(file, Some(user), Some(group));
    }
}

/// The same of a database, by its path: nothing but SQLite opens one (`store/file.rs`). A link is given itself, not what it leads to.
pub fn give_database_to_caller(path: &Path) {
    if let Some((user, group)) = caller() {
        let _ = chownat(CWD, path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW);
    }
}

/// The user who called us through sudo, with the group.
pub fn caller() -> Option<(Uid, Gid)> {
    let id = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let (user, group) = id("SUDO_UID").zip(id("SUDO_GID")).filter(|_| geteuid().is_root())?;
    Some((Uid::from_raw(user), Gid::from_raw(group)))
}
