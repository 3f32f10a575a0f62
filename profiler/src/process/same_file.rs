//! Finding a binary of the past: the file at its path, if it is still the same build.
//!
//! Looked for in our own root directory, then in those of the processes that run now (a container's). It must have the same build id and
//! identity; a file without a build id must be the same inode, unmodified. For a file that was never opened only root's own stands in.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::build_id::Elf;
use super::file_identity::identify;
use super::vdso::copy_vdso;
use super::{build_id_of, open_file_in_root};
use crate::profile::{Binary, BinaryKey, BinaryKind, Owner};

/// Most root directories looked at, and most processes asked for theirs.
const MAX_ROOTS: usize = 256;
const MAX_PROCESSES: usize = 32_768;

/// A binary's file.
#[derive(Debug)]
pub struct SameFile {
    /// The file.
    pub file: File,
    /// The root directory it was found in; ours if `None`.
    pub root: Option<File>,
}

/// Opens it; may hang where a file system does.
///
/// # Errors
/// Why it cannot be had.
pub fn open_same(binary: &Binary) -> Result<SameFile, &'static str> {
    match binary.kind {
        BinaryKind::File => {}
        BinaryKind::Kernel => return Err("the kernel is no file"),
        // All processes have the same: ours.
        BinaryKind::Vdso => {
            let file = copy_vdso().map_err(|_| "there is no vDSO")?;
            let same = is_same(&file, &binary.key).then_some(SameFile { file, root: None });
            return same.ok_or("the vDSO of another kernel");
        }
        BinaryKind::Anonymous => return Err("memory is no file"),
    }
    let path = Path::new(&binary.path);
    let mut found = false;
    let mut in_root = |root: &File| {
        let file = open_file_in_root(root, path).ok()?;
        found = true;
        is_same(&file, &binary.key).then_some(file)
    };
    if let Some(file) = File::open("/").ok().and_then(|root| in_root(&root)) {
        return Ok(SameFile { file, root: None });
    }
    // An inode says nothing without its path: only a build id is good everywhere.
    if matches!(binary.key, BinaryKey::BuildId(..) | BinaryKey::File(..) | BinaryKey::Claimed { .. }) {
        for root in other_roots() {
            if let Some(file) = in_root(&root) {
                return Ok(SameFile { file, root: Some(root) });
            }
        }
    }
    Err(if found {
        "the file has changed since it was sampled: another build lies at its path"
    } else {
        "the file is not at its path any more, or may not be read by the profiler"
    })
}

/// Whether the file at a binary's path in our own root directory is the very build: no container's, no other user's namesake. May hang
/// where a file system does.
#[must_use]
pub fn lies_here(binary: &Binary) -> bool {
    let opened = || open_file_in_root(File::open("/").ok()?, Path::new(&binary.path)).ok();
    binary.kind == BinaryKind::File && opened().is_some_and(|file| is_same(&file, &binary.key))
}

/// The key of an open file with a build id, as that of one that is sampled; `None` of any other.
#[must_use]
pub fn key_of(file: &File) -> Option<BinaryKey> {
    match identify(file).ok()? {
        (Elf::Is(Some(id)), identity) => Some(BinaryKey::File(id, identity)),
        _ => None,
    }
}

fn is_same(file: &File, key: &BinaryKey) -> bool {
    match key {
        BinaryKey::BuildId(_, id) => build_id_of(file) == Some(*id),
        BinaryKey::File(id, same) => identify(file).is_ok_and(|found| found == (Elf::Is(Some(*id)), *same)),
        BinaryKey::Claimed { build_id: id, .. } => {
            identify(file).is_ok_and(|(elf, found)| elf == Elf::Is(Some(*id)) && found.owner == Owner::System)
        }
        BinaryKey::Inode { identity: Some(same), .. } if identify(file).is_ok_and(|(_, found)| found != *same) => false,
        BinaryKey::Inode { dev, inode, mtime, .. } => file.metadata().is_ok_and(|stat| {
            let written = stat.mtime().saturating_mul(1_000_000_000).saturating_add(stat.mtime_nsec());
            (stat.dev(), stat.ino(), written) == (*dev, *inode, *mtime)
        }),
        _ => false,
    }
}

/// The root directories of running processes that are not ours, each once.
fn other_roots() -> impl Iterator<Item = File> {
    let is_pid =
        |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let processes =
        std::fs::read_dir("/proc").into_iter().flatten().flatten().filter(move |entry| is_pid(&entry.file_name()));
    let mut known: HashSet<(u64, u64, PathBuf)> = HashSet::new();
    known.extend(root_of(Path::new("/proc/self")).map(|(_, place)| place));
    let new = processes.take(MAX_PROCESSES).filter_map(move |entry| {
        let (root, place) = root_of(&entry.path())?;
        known.insert(place).then_some(root)
    });
    new.take(MAX_ROOTS)
}

/// A process's root directory, and what tells it from others: device, inode, mount namespace.
fn root_of(process: &Path) -> Option<(File, (u64, u64, PathBuf))> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = File::from(rustix::fs::open(process.join("root"), flags, Mode::empty()).ok()?);
    let stat = rustix::fs::fstat(&root).ok()?;
    let namespace = std::fs::read_link(process.join("ns/mnt")).ok()?;
    Some((root, (stat.st_dev, stat.st_ino, namespace)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn of(path: &Path) -> Binary {
        let stat = std::fs::metadata(path).unwrap();
        let mtime = stat.mtime() * 1_000_000_000 + stat.mtime_nsec();
        let file = File::open(path).unwrap();
        let identity = Some(identify(&file).unwrap().1);
        let path = path.to_str().unwrap().to_owned();
        let by_inode = || BinaryKey::Inode { path: path.clone(), dev: stat.dev(), inode: stat.ino(), mtime, identity };
        Binary::new(BinaryKind::File, key_of(&file).unwrap_or_else(by_inode), &path)
    }

    /// The same build is found at its path; another one, or a file that was changed, is not taken for it.
    #[test]
    fn only_the_build_that_was_sampled_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (with_id, without) = (dir.path().join("with"), dir.path().join("without"));
        std::fs::copy("/bin/true", &with_id).unwrap();
        std::fs::write(&without, "no ELF file").unwrap();
        for path in [&with_id, &without] {
            let binary = of(path);
            assert!(open_same(&binary).is_ok() && lies_here(&binary), "{binary:?}");
            std::fs::remove_file(path).unwrap();
            assert!(open_same(&binary).unwrap_err().contains("not at its path") && !lies_here(&binary));
            std::fs::copy("/bin/false", path).unwrap();
            assert!(open_same(&binary).unwrap_err().contains("another build") && !lies_here(&binary));
        }
    }

    /// Memory and the kernel have no file to be opened.
    #[test]
    fn what_is_no_file_says_so() {
        for (kind, word) in
            [(BinaryKind::Kernel, "kernel"), (BinaryKind::Vdso, "another kernel"), (BinaryKind::Anonymous, "memory")]
        {
            let binary = Binary { kind, ..of(Path::new("/bin/true")) };
            assert!(open_same(&binary).unwrap_err().contains(word) && !lies_here(&binary));
        }
    }
}
