//! Opening the file that a mapping shows, and making sure that it is that file.
//!
//! In: path and identity as the kernel told them, and whose mapping it was ([`Origin`]). Out: the open file, or whether something was
//! there that may not be opened. May hang where a file system does: `Binaries` calls it in its pool of threads, never on the
//! sampling thread.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::backing::Origin;
use super::build_id::{Elf, read_elf};
use super::open_file::{OpenedFile, open_in_root};
use super::proc_dir::{ProcRoot, ProcessDir};
use crate::profile::MappedFile;

/// How we came to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By its path, where another file may lie by now.
    Path,
    /// By a link of the kernel's to the mapped file itself.
    Link,
}

/// Opens the mapped file by the first way that leads to it. If none does, says whether there was something that may not be opened.
pub(super) fn find_file(
    proc: &ProcRoot,
    path: &[u8],
    identity: MappedFile,
    origin: Origin,
) -> (Option<(OpenedFile, Elf)>, bool) {
    let refused = Cell::new(false);
    let trusted = |opened: io::Result<OpenedFile>, way| {
        let denied = |error: &io::Error| matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput);
        let opened = opened.inspect_err(|error| refused.set(refused.get() || denied(error))).ok()?;
        let elf = read_elf(&opened.file);
        is_the_mapped_file(identity, &opened, elf, way).then_some((opened, elf))
    };
    let by_path = |dir: &ProcessDir| trusted(dir.open(path), Way::Path);
    let by_links = |dir: &ProcessDir| {
        let mapped = trusted(dir.open_mapped(origin.start, origin.end), Way::Link);
        mapped.or_else(|| {
            // The range may have been cut or joined since: look where the process has the file now.
            // One that has very many keeps only this thread busy.
            let (lines, _) = dir.executable_maps(usize::MAX, Instant::now() + Duration::from_millis(100))?;
            let line = lines.iter().find(|line| line.start < origin.end && origin.start < line.end)?;
            trusted(dir.open_mapped(line.start, line.end), Way::Link)
        })
    };
    let by_exe = |dir: &ProcessDir| {
        let exe = dir.exe()?;
        let exe = exe.strip_suffix(b" (deleted)").unwrap_or(&exe);
        (*exe == *path).then(|| trusted(dir.open_exe(), Way::Link)).flatten()
    };
    let by_our_own_path = || {
        let path = Path::new(OsStr::from_bytes(path));
        trusted(open_in_root(File::open("/").ok()?, path), Way::Path)
    };
    let itself = proc.process(origin.pid).ok();
    let parent = || (origin.ppid > 1).then(|| proc.process(origin.ppid).ok()).flatten();
    let found = itself.as_ref().and_then(|dir| by_path(dir).or_else(|| by_links(dir)).or_else(|| by_exe(dir)));
    let found = found.or_else(|| parent().as_ref().and_then(by_path)).or_else(by_our_own_path);
    (found, refused.get())
}

/// Whether an opened file is the one that the kernel saw mapped. On some file systems (btrfs, overlay) `stat` tells another
/// device than the mapping does; where the kernel's own link led to the file, the inode number is enough.
fn is_the_mapped_file(expected: MappedFile, opened: &OpenedFile, elf: Elf, way: Way) -> bool {
    match expected {
        MappedFile::BuildId(id) => elf == Elf::Is(Some(id)),
        MappedFile::Inode { major, minor, inode, .. } => {
            opened.inode == inode && (way == Way::Link || opened.dev == rustix::fs::makedev(major, minor))
        }
    }
}
