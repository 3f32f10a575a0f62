//! Opening files that other processes name, without being blocked or led astray by them.
//!
//! A path is walked inside the given root only (`openat2` with `RESOLVE_IN_ROOT`, no magic links), first without opening
//! (`O_PATH`): a FIFO would block, a device would act. Only a regular file that is not empty is then opened, through our own
//! descriptor, so that it is the very file that was looked at.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

/// A regular file, open for reading.
#[derive(Debug)]
pub(super) struct OpenedFile {
    /// The file.
    pub file: File,
    /// Device, as `st_dev`.
    pub dev: u64,
    /// Inode number.
    pub inode: u64,
    /// Modification time in nanoseconds since the epoch.
    pub mtime: i64,
}

/// Opens `path` as a process with this root directory would see it.
pub(super) fn open_in_root(root: impl AsFd, path: &Path) -> io::Result<OpenedFile> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?;
    open_found(found)
}

/// Opens `path` as a process with this root directory would see it, links followed, and only the file of it. For what other rooms
/// look for there.
///
/// # Errors
/// It is not there, or no regular file with something in it.
pub fn open_file_in_root(root: impl AsFd, path: &Path) -> io::Result<File> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    Ok(open_found(found)?.file)
}

/// Opens `path` as a process with this root directory would see it, but follows no link of any sort.
///
/// # Errors
/// It is not there, a part of it is a link, or it is no regular file with something in it.
pub fn open_exactly(root: impl AsFd, path: &Path) -> io::Result<File> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let found = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?;
    Ok(open_found(found)?.file)
}

/// A directory below this root, to open files in it; a part of its path may be no link.
pub(super) fn open_directory_exactly(root: impl AsFd, path: &Path) -> io::Result<File> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?))
}

/// Opens what a link of `/proc/PID` leads to (`exe`, `map_files/..`): the kernel follows it to the file itself, whatever
/// has become of its path.
pub(super) fn open_link(dir: impl AsFd, link: &Path) -> io::Result<OpenedFile> {
    let found = rustix::fs::openat(dir, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    open_found(found)
}

/// Opens for reading what an `O_PATH` descriptor stands for, if it is a regular file with something in it.
fn open_found(found: OwnedFd) -> io::Result<OpenedFile> {
    let stat = rustix::fs::fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if stat.st_size <= 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let ourselves = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(ourselves, flags, Mode::empty())?);
    let mtime = stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64);
    Ok(OpenedFile { file, dev: stat.st_dev, inode: stat.st_ino, mtime })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::time::{Duration, Instant};

    use super::*;

    fn open(root: &Path, path: &str) -> io::Result<OpenedFile> {
        open_in_root(File::open(root).unwrap(), Path::new(path))
    }

    /// A FIFO, a device, a directory and an empty file are refused at once; nothing blocks.
    #[test]
    fn only_regular_files_with_content_are_opened() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::write(at("good"), "x").unwrap();
        std::fs::write(at("empty"), "").unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        let begin = Instant::now();
        assert!(open(root.path(), "/good").is_ok());
        for refused in ["/empty", "/dir", "/fifo", "/zero", "/missing"] {
            assert!(open(root.path(), refused).is_err(), "{refused}");
        }
        assert!(begin.elapsed() < Duration::from_secs(1));
    }

    /// A path cannot leave the root: not by `..`, not by an absolute link, not by `/proc/self/fd`.
    #[test]
    fn paths_stay_inside_the_root() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(outside.path().join("secret"), "outside").unwrap();
        std::fs::write(root.join("secret"), "inside!").unwrap();
        symlink("../secret", root.join("up")).unwrap();
        symlink(outside.path().join("secret"), root.join("absolute")).unwrap();
        let inside = std::fs::metadata(root.join("secret")).unwrap();
        for path in ["/../secret", "/up", "/etc/../../../secret"] {
            let opened = open(&root, path);
            // The last link of a path is not followed at all.
            if let Ok(opened) = opened {
                assert_eq!(opened.inode, inside.ino(), "{path}");
            }
        }
        assert!(open(&root, "/absolute").is_err());
        assert_eq!(open(&root, "/../secret").unwrap().file.metadata().unwrap().len(), 7);
    }

    /// A deleted file is still reached through the link that the kernel keeps.
    #[test]
    fn a_link_of_proc_leads_to_a_deleted_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"kept").unwrap();
        let (file, path) = file.into_parts();
        path.close().unwrap();
        let dir = File::open("/proc/self/fd").unwrap();
        let opened = open_link(&dir, Path::new(&file.as_raw_fd().to_string())).unwrap();
        assert_eq!(io::read_to_string(opened.file).unwrap(), "kept");
    }
}
