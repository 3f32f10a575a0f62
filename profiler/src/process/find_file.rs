//! Opening the file that a mapping shows, and making sure that it is that file.
//!
//! In: path and identity as the kernel told them, and whose mapping it was ([`Origin`]). Out: the open file, or whether something was
//! there that may not be opened. May hang where a file system does: `Binaries` calls it in its pool of threads, never on the
//! sampling thread.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::backing::Origin;
use super::build_id::{Elf, executable_segments};
use super::file_identity::identify;
use super::open_file::{OpenedFile, open_in_root};
use super::proc_dir::{ProcRoot, ProcessDir};
use super::proc_text::identity_at;
use super::reading_time::Patience;
use crate::profile::{CodeSegment, FileIdentity, InodeNumber, MappedFile};
use crate::sys::file_page::FilePage;

/// A file that was opened and is known to be the mapped one.
#[derive(Debug)]
pub(super) struct Found {
    /// The file.
    pub opened: OpenedFile,
    /// What its headers say.
    pub elf: Elf,
    /// What else it is.
    pub identity: FileIdentity,
    /// Where its code lies.
    pub code: Option<CodeSegment>,
    /// Whether the kernel's device and inode lead to it: by the kernel's link, or because they are its own.
    pub certain: bool,
}

/// Devices as `stat` tells them, each with that of the mappings of its files. Learned from the kernel's links.
#[derive(Debug, Default)]
pub(super) struct Devices(Mutex<HashSet<(u64, u64)>>);

/// Most pairs of devices; each overlay and each part of a btrfs has one.
const MAX_DEVICES: usize = 4096;

impl Devices {
    fn know(&self, of_stat: u64, of_mapping: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(of_stat, of_mapping))
    }

    fn learn(&self, of_stat: u64, of_mapping: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_DEVICES {
            known.clear();
        }
        known.insert((of_stat, of_mapping));
    }
}

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
    mapped: MappedFile,
    origin: Origin,
    devices: &Devices,
) -> (Option<Found>, bool) {
    let refused = Cell::new(false);
    let trusted = |opened: io::Result<OpenedFile>, way| {
        let denied = |error: &io::Error| matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput);
        let opened = opened.inspect_err(|error| refused.set(refused.get() || denied(error))).ok()?;
        let certain = is_the_mapped_file(mapped, &opened, way, devices)?;
        let (elf, identity) = identify(&opened.file).ok()?;
        let claims = |id| elf == Elf::Is(Some(id));
        let code = executable_segments(&opened.file).first().copied();
        mapped.build_id.is_none_or(claims).then_some(Found { opened, elf, identity, code, certain })
    };
    let by_path = |dir: &ProcessDir| trusted(dir.open(path), Way::Path);
    let by_links = |dir: &ProcessDir| {
        let there = trusted(dir.open_mapped(origin.start, origin.end), Way::Link);
        there.or_else(|| {
            // The range may have been cut or joined since: look where the process has the file now.
            // One that has very many keeps only this thread busy.
            let (lines, _) = dir.executable_maps(usize::MAX, Patience::of(Duration::from_millis(100)))?;
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

/// Whether an opened file is the one that the kernel saw mapped, and whether that is certain; `None` if it is not. On some file systems
/// (btrfs, overlay) `stat` tells another device or inode than the mapping does: there the kernel's own link must lead to the file, or it
/// must be told by the same numbers when we map it. A build id proves nothing.
fn is_the_mapped_file(mapped: MappedFile, opened: &OpenedFile, way: Way, devices: &Devices) -> Option<bool> {
    let Some(inode) = mapped.inode else {
        return (way == Way::Link).then_some(false);
    };
    let device = inode.device();
    if way == Way::Path && (opened.inode, opened.dev) != (inode.inode, device) {
        let numbers = |inode: InodeNumber| (inode.device(), inode.inode);
        let known = opened.inode == inode.inode && devices.know(opened.dev, device);
        let same = || as_mapped(&opened.file).is_some_and(|ours| numbers(ours) == numbers(inode));
        return if known { Some(false) } else { same().then_some(true) };
    }
    if opened.inode != inode.inode {
        return None;
    }
    if way == Way::Link && opened.dev != device {
        devices.learn(opened.dev, device);
    }
    Some(true)
}

/// What the kernel calls a file in mappings: it is mapped for a moment, and looked for among what we have mapped.
fn as_mapped(file: &File) -> Option<InodeNumber> {
    let page = FilePage::map(file).ok()?;
    identity_at(&std::fs::read("/proc/self/maps").ok()?, page.address())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// The kernel's numbers of a mapped file are known; on an ordinary file system they are those of `stat`.
    #[test]
    fn a_file_is_known_as_the_kernel_maps_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "x").unwrap();
        let ours = as_mapped(file.as_file()).unwrap();
        assert_eq!(ours.inode, file.as_file().metadata().unwrap().ino());
        assert!(as_mapped(&File::open("/proc/self/stat").unwrap()).is_none(), "what cannot be mapped");
    }
}
