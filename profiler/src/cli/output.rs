//! Writing the file that a command was asked for, without following a link that another user put at its name: root would write
//! into whatever the link leads to.
//!
//! - The file is written beside its name, under a name that nobody can prepare (`O_EXCL`), and renamed when it is whole. A link
//!   that others can have put there is replaced, not followed (`sys/planted_link.rs`).
//! - A regular file that is there is replaced with its mode and owner kept. A failure half-way leaves it as it was.
//! - A pipe or a device is written to in place; so is the target of a link that nobody else can have put there (`/dev/stdout`).
//!
//! Folders on the way to the name are followed: the caller named them.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};

use super::owner;
use crate::sys::planted_link::is_planted_link;

/// Creates a file, or replaces the one that is there, and has it written.
///
/// # Errors
/// It cannot be created or written; the message names it.
pub fn write_file(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> anyhow::Result<()> {
    let (file, unfinished) = create(path).with_context(|| format!("failed to create {}", path.display()))?;
    let mut out = BufWriter::new(file);
    let written = content(&mut out).and_then(|()| out.flush());
    let done = match unfinished {
        None => written,
        Some(unfinished) => {
            let done = written.and_then(|()| fs::rename(&unfinished, path));
            if done.is_err() {
                let _ = fs::remove_file(&unfinished);
            }
            done
        }
    };
    done.with_context(|| format!("failed to write {}", path.display()))
}

/// What to write into, and its name until it is whole.
fn create(path: &Path) -> io::Result<(File, Option<PathBuf>)> {
    let found = fs::symlink_metadata(path).ok();
    if found.as_ref().is_some_and(Metadata::is_symlink) && !is_planted_link(path) {
        return Ok((File::create(path)?, None));
    }
    let there = found.filter(|there| !there.is_symlink());
    let in_place = || OpenOptions::new().write(true).truncate(true).custom_flags(libc::O_NOFOLLOW).open(path);
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        return Ok((in_place()?, None));
    }
    let unfinished = beside(path)?;
    let file = match OpenOptions::new().write(true).create_new(true).open(&unfinished) {
        Ok(file) => file,
        // A file of ours in a folder that is not.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && there.is_some() => {
            return Ok((in_place()?, None));
        }
        Err(error) => return Err(error),
    };
    match &there {
        None => owner::give_to_caller(&file),
        Some(there) => keep_owner(&file, there),
    }
    Ok((file, Some(unfinished)))
}

/// Owner and mode of the file that is replaced. On file systems without owners it fails, and there is nothing to keep; as another
/// user than the owner the file becomes ours, for only a folder's owner may replace files in it.
fn keep_owner(file: &File, there: &Metadata) {
    let _ = fchown(file, Some(Uid::from_raw(there.uid())), Some(Gid::from_raw(there.gid())));
    // Without set-user-id and its like: nothing here is a program.
    let _ = fchmod(file, Mode::from_raw_mode(there.mode() & 0o777));
}

/// A file that stands beside a database.
pub fn with_suffix(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.to_owned().into_os_string();
    path.push(suffix);
    path.into()
}

/// A name in the same folder that nobody can know beforehand.
pub fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut nonce = [0; 8];
    rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty())?;
    let mut hidden = OsString::from(".");
    // A name may be as long as names can be.
    hidden.push(if name.len() < 200 { name } else { "output".as_ref() });
    hidden.push(format!(".{:016x}", u64::from_ne_bytes(nonce)));
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn put(path: &Path, text: &str) -> anyhow::Result<()> {
        write_file(path, |out| out.write_all(text.as_bytes()))
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// In a folder that others write into, the file replaces a link; its target is neither touched nor made.
    #[test]
    fn a_planted_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("shadow"), "secret").unwrap();
        symlink("shadow", at("x.folded")).unwrap();
        symlink("nowhere", at("y.folded")).unwrap();
        for name in ["x.folded", "y.folded"] {
            put(&at(name), "stacks").unwrap();
            assert!(fs::symlink_metadata(at(name)).unwrap().is_file());
            assert_eq!(fs::read_to_string(at(name)).unwrap(), "stacks");
        }
        assert_eq!(fs::read_to_string(at("shadow")).unwrap(), "secret");
        assert_eq!(names(folder.path()), ["shadow", "x.folded", "y.folded"]);
    }

    /// A link in a folder of ours is ours, and followed.
    #[test]
    fn a_link_of_our_own_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("x.folded");
        symlink("elsewhere", &link).unwrap();
        put(&link, "stacks").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(folder.path().join("elsewhere")).unwrap(), "stacks");
    }

    /// Another hard link of the file keeps what it had; mode and owner stay.
    #[test]
    fn a_file_that_is_there_is_replaced_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.svg");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(&path, folder.path().join("other")).unwrap();
        put(&path, "new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_to_string(folder.path().join("other")).unwrap(), "old");
    }

    /// What fails half-way leaves the old file and nothing else.
    #[test]
    fn a_failure_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.svg");
        put(&path, "old").unwrap();
        let failed = write_file(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("x.svg: disk full"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["x.svg"]);
    }

    /// A pipe gets the bytes: its reader waits for them.
    #[test]
    fn a_pipe_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.folded");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let reader = std::thread::spawn({
            let path = path.clone();
            move || fs::read_to_string(path).unwrap()
        });
        put(&path, "stacks").unwrap();
        assert_eq!(reader.join().unwrap(), "stacks");
        assert!(!fs::metadata(&path).unwrap().is_file());
    }
}
