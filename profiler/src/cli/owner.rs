//! Who gets the files that a command writes: under sudo the user who called it, so that they can be read and deleted.

use std::os::fd::AsFd;

use rustix::fs::{Gid, Uid, fchown};
use rustix::process::geteuid;

/// Gives a new file to the user who called us through sudo, if that is how we were called.
pub fn give_to_caller(file: impl AsFd) {
    let id = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if geteuid().is_root()
        && let (Some(user), Some(group)) = (id("SUDO_UID"), id("SUDO_GID"))
    {
        // On file systems without owners it fails, and there is nothing to give.
        let _ = fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    }
}
