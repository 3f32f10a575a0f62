//! From what is mapped to which binary it is, with its file pinned.
//!
//! In: a path and an identity, as the kernel told them ([`Backing`]). Out: a [`BinaryId`], one for each distinct
//! [`BinaryKey`], and the [`Binary`] behind it. A file is opened once per binary and shared; it is trusted only when its build
//! id, or its device and inode, are those that the kernel saw mapped. Ids are never used twice.
//!
//! Does no naming and reads no more of a file than its headers and notes.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::build_id::{Elf, build_id_note, read_elf};
use super::open_file::{OpenedFile, open_in_root};
use super::proc_dir::{ProcRoot, ProcessDir};
use super::roots::Roots;
use super::vdso::copy_vdso;
use crate::profile::MappedFile;
use crate::profile::{Binary, BinaryId, BinaryKey, BinaryKind, BootNanos, ProcessKey, printable};
use crate::sys::patient::Patient;

/// Most files kept open. Above it the one that was hit longest ago is closed.
const MAX_PINNED: usize = 4096;
/// Opening a file takes microseconds, or milliseconds on a busy disk. What takes longer is tried again.
const PATIENCE: Duration = Duration::from_millis(250);
/// Longest path kept, in bytes (`PATH_MAX`).
const MAX_PATH: usize = 4096;
/// A file that could not be opened is tried again after this long.
const RETRY: u64 = 1_000_000_000;
/// A file that no process maps is kept open this long after its last sample.
const KEEP_PINNED: u64 = 60_000_000_000;
/// A binary that no process maps is remembered this long: windows that name it are stored long before.
const KEEP_BINARY: u64 = 600_000_000_000;

const ANONYMOUS_PATH: &str = "[anon]";

const KERNEL: BinaryId = BinaryId(0);
const ANONYMOUS: BinaryId = BinaryId(1);
const VDSO: BinaryId = BinaryId(2);

/// What stands behind a mapping, as the kernel named it. One for each distinct name and identity; compared by address.
#[derive(Clone, Debug)]
pub(super) struct BackingRef(Arc<Backing>);

impl PartialEq for BackingRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl BackingRef {
    /// Whether it is memory without a file, where an offset is an address.
    pub fn is_anonymous(&self) -> bool {
        self.0.sort == Sort::Anonymous
    }

    /// Whether it is the kernel's shared object, which is always mapped from its beginning.
    pub fn is_vdso(&self) -> bool {
        self.0.sort == Sort::Vdso
    }

    /// Whether both are files of one path.
    pub fn same_path(&self, other: &Self) -> bool {
        self.file_path().is_some() && self.file_path() == other.file_path()
    }

    /// Path of the file; `None` for what is no file.
    pub fn file_path(&self) -> Option<&[u8]> {
        matches!(self.0.sort, Sort::File | Sort::Volatile).then_some(&self.0.path)
    }
}

#[derive(Debug)]
struct Backing {
    path: Box<[u8]>,
    identity: MappedFile,
    sort: Sort,
    /// The [`BinaryId`] found for it, or [`NOT_PLACED`].
    binary: AtomicU32,
    /// When opening it was last tried, boot clock; 0 never, `u64::MAX` never again.
    tried: AtomicU64,
}

const NOT_PLACED: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// A path.
    File,
    /// A deleted file, memfd or shared memory: a file if it turns out to be ELF, else memory of a JIT.
    Volatile,
    /// `[vdso]`.
    Vdso,
    /// No file.
    Anonymous,
}

/// Who mapped it, and where: the ways to its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// Host process id.
    pub pid: u32,
    /// Its parent: when the process is gone, the parent's root is the next best (a container's processes share one).
    pub ppid: u32,
    /// First address of the range.
    pub start: u64,
    /// First address after.
    pub end: u64,
}

/// All binaries of this run.
#[derive(Debug)]
pub(super) struct Binaries {
    roots: Roots,
    patient: Patient,
    proc: ProcRoot,
    next: u32,
    entries: HashMap<BinaryId, Entry>,
    by_key: HashMap<BinaryKey, BinaryId>,
    backings: HashMap<(Box<[u8]>, MappedFile), BackingRef>,
    anonymous: BackingRef,
    vdso: BackingRef,
    /// The code that processes wrote.
    jits: HashMap<ProcessKey, BinaryId>,
    pinned: usize,
}

#[derive(Debug)]
struct Entry {
    binary: Arc<Binary>,
    used: BootNanos,
}

impl Binaries {
    pub fn new(proc: ProcRoot) -> Self {
        let special = |sort, id: BinaryId| {
            let identity = MappedFile::Inode { major: 0, minor: 0, inode: 0, generation: 0 };
            let (binary, tried) = (AtomicU32::new(id.0), AtomicU64::new(u64::MAX));
            BackingRef(Arc::new(Backing { path: Box::default(), identity, sort, binary, tried }))
        };
        let (anonymous, vdso) = (special(Sort::Anonymous, ANONYMOUS), special(Sort::Vdso, VDSO));
        let mut binaries = Self {
            next: 0,
            entries: HashMap::new(),
            by_key: HashMap::new(),
            backings: HashMap::new(),
            anonymous,
            vdso,
            jits: HashMap::new(),
            pinned: 0,
            roots: Roots::default(),
            patient: Patient::new("file-opener", PATIENCE),
            proc,
        };
        binaries.add_special();
        binaries
    }

    /// Enters the kernel, anonymous memory and the vDSO, in the order of their constant ids.
    fn add_special(&mut self) {
        let boot_id = self.proc.read("sys/kernel/random/boot_id").unwrap_or_default();
        let boot_id = printable(boot_id.trim_ascii(), 64);
        let notes = std::fs::read("/sys/kernel/notes").unwrap_or_default();
        let kernel = Binary {
            key: BinaryKey::Kernel { boot_id },
            kind: BinaryKind::Kernel,
            path: "[kernel]".to_owned(),
            build_id: build_id_note(&notes),
            file: None,
            root: None,
            refused: false,
        };
        let anonymous = Binary {
            key: BinaryKey::Anonymous,
            kind: BinaryKind::Anonymous,
            path: ANONYMOUS_PATH.to_owned(),
            build_id: None,
            file: None,
            root: None,
            refused: false,
        };
        let file = copy_vdso().map(Arc::new).ok();
        let build_id = match file.as_deref().map(read_elf) {
            Some(Elf::Is(build_id)) => build_id,
            _ => None,
        };
        let path = "[vdso]".to_owned();
        let key = match build_id {
            Some(id) => BinaryKey::BuildId(BinaryKind::Vdso, id),
            None => BinaryKey::Inode { path: path.clone(), dev: 0, inode: 0, mtime: 0 },
        };
        let vdso = Binary { key, kind: BinaryKind::Vdso, path, build_id, file, root: None, refused: false };
        for (id, binary) in [(KERNEL, kernel), (ANONYMOUS, anonymous), (VDSO, vdso)] {
            assert_eq!(self.add(binary, BootNanos(0)), id, "special binaries have constant ids");
        }
    }

    /// The running kernel.
    pub fn kernel(&self) -> BinaryId {
        KERNEL
    }

    /// Memory without a file.
    pub fn anonymous(&self) -> BinaryId {
        ANONYMOUS
    }

    /// The binary with this id; anonymous memory for an id long forgotten.
    pub fn get(&self, id: BinaryId) -> Arc<Binary> {
        let entry = self.entries.get(&id).or_else(|| self.entries.get(&ANONYMOUS));
        entry.map(|entry| entry.binary.clone()).expect("anonymous memory is entered at the start and never removed")
    }

    /// Files now held open.
    pub fn pinned(&self) -> usize {
        self.pinned
    }

    /// Notes that a sample hit a binary; `false` when it has lost, or never had, the file it should have.
    pub fn touch(&mut self, id: BinaryId, now: BootNanos) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        entry.used = entry.used.max(now);
        entry.binary.kind != BinaryKind::File || entry.binary.file.is_some()
    }

    /// What stands behind a mapping of this path and identity that begins at `start`.
    pub fn backing(&mut self, path: &[u8], identity: MappedFile, start: u64) -> BackingRef {
        // Below 4 GiB it is the vDSO of a 32-bit process, another image.
        if path == b"[vdso]" && start > u64::from(u32::MAX) {
            return self.vdso.clone();
        }
        let (path, deleted) = match path.strip_suffix(b" (deleted)") {
            Some(path) => (path, true),
            None => (path, false),
        };
        // `//anon`, `[heap]`, `anon_inode:..` and the like; paths are cut nowhere, so an overlong one is no file to us.
        if !path.starts_with(b"/") || path.starts_with(b"//") || path.len() > MAX_PATH {
            return self.anonymous.clone();
        }
        let key = (Box::from(path), identity);
        if let Some(known) = self.backings.get(&key) {
            return known.clone();
        }
        let volatile = [&b"/memfd:"[..], b"/dev/", b"/SYSV", b"/anon_hugepage"].iter().any(|p| path.starts_with(p));
        let sort = if deleted || volatile { Sort::Volatile } else { Sort::File };
        let (binary, tried) = (AtomicU32::new(NOT_PLACED), AtomicU64::new(0));
        let backing = BackingRef(Arc::new(Backing { path: Box::from(path), identity, sort, binary, tried }));
        self.backings.insert(key, backing.clone());
        backing
    }

    /// Which binary a backing is, if that is known without opening a file now.
    pub fn placed(&mut self, backing: &BackingRef, now: BootNanos) -> Option<BinaryId> {
        let id = BinaryId(backing.0.binary.load(Ordering::Relaxed));
        let has_file = self.touch(id, now) && id != ANONYMOUS;
        let retry_at = backing.0.tried.load(Ordering::Relaxed).saturating_add(RETRY);
        (has_file || (now.0 < retry_at && self.entries.contains_key(&id))).then_some(id)
    }

    /// Which binary a backing is. Opens its file if it is not open, no more often than once a second.
    pub fn place(&mut self, backing: &BackingRef, origin: Origin, now: BootNanos) -> BinaryId {
        if let Some(id) = self.placed(backing, now) {
            return id;
        }
        let backing = &backing.0;
        backing.tried.store(now.0.max(1), Ordering::Relaxed);
        let id = self.pin(backing, origin, now);
        backing.binary.store(id.0, Ordering::Relaxed);
        id
    }

    fn pin(&mut self, backing: &Arc<Backing>, origin: Origin, now: BootNanos) -> BinaryId {
        // The kernel's build id may say that the binary is known and open already.
        if let MappedFile::BuildId(id) = backing.identity {
            let known = self.by_key.get(&BinaryKey::BuildId(BinaryKind::File, id)).copied();
            if let Some(id) = known.filter(|id| self.touch(*id, now)) {
                return id;
            }
        }
        // The file may lie on a file system of the process's own, which need not answer.
        let (proc, file) = (self.proc.clone(), Arc::clone(backing));
        // One that does not answer is as good as refused.
        let (found, refused) = self.patient.run(move || find_file(&proc, &file, origin)).unwrap_or((None, true));
        if backing.sort == Sort::Volatile {
            match (&found, backing.identity) {
                (Some((_, Elf::Is(_))), _) | (None, MappedFile::BuildId(_)) => {}
                (Some((_, Elf::Not)), _) => {
                    backing.tried.store(u64::MAX, Ordering::Relaxed);
                    return ANONYMOUS;
                }
                (None, MappedFile::Inode { .. }) => return ANONYMOUS,
            }
        }
        let path = printable(&backing.path, MAX_PATH);
        let build_id = match (&found, backing.identity) {
            (_, MappedFile::BuildId(id)) => Some(id),
            (Some((_, Elf::Is(id))), _) => *id,
            _ => None,
        };
        let key = match (build_id, &found, backing.identity) {
            (None, Some((file, _)), _) => {
                BinaryKey::Inode { path: path.clone(), dev: file.dev, inode: file.inode, mtime: file.mtime }
            }
            (None, None, MappedFile::Inode { major, minor, inode, .. }) => {
                BinaryKey::Inode { path: path.clone(), dev: rustix::fs::makedev(major, minor), inode, mtime: 0 }
            }
            (Some(id), ..) | (None, None, MappedFile::BuildId(id)) => BinaryKey::BuildId(BinaryKind::File, id),
        };
        let file = found.map(|(opened, _)| Arc::new(opened.file));
        let root = file.as_ref().and_then(|_| self.roots.of(&self.proc, origin.pid));
        self.add(Binary { key, kind: BinaryKind::File, path, build_id, file, root, refused }, now)
    }

    /// Enters a binary, or gives a known one the file it lacked.
    fn add(&mut self, binary: Binary, now: BootNanos) -> BinaryId {
        if binary.file.is_some() && self.pinned >= MAX_PINNED {
            self.unpin_oldest();
        }
        let opened = usize::from(binary.file.is_some());
        if let Some(id) = self.by_key.get(&binary.key).copied()
            && let Some(entry) = self.entries.get_mut(&id)
        {
            entry.used = entry.used.max(now);
            if entry.binary.file.is_none() && binary.file.is_some() {
                entry.binary = Arc::new(binary);
                self.pinned += opened;
            }
            return id;
        }
        let id = BinaryId(self.next);
        // Four billion distinct binaries take centuries at the rate files are opened; then all is anonymous.
        if id.0 == NOT_PLACED {
            return ANONYMOUS;
        }
        self.next += 1;
        self.pinned += opened;
        self.by_key.insert(binary.key.clone(), id);
        self.entries.insert(id, Entry { binary: Arc::new(binary), used: now });
        id
    }

    /// The code that a process wrote; all such code together when the process is gone.
    pub fn jit(&mut self, process: ProcessKey, now: BootNanos) -> BinaryId {
        if let Some(id) = self.jits.get(&process).copied()
            && (id == ANONYMOUS || self.touch(id, now))
        {
            return id;
        }
        let id = self.jit_binary(process).map_or(ANONYMOUS, |binary| self.add(binary, now));
        self.jits.insert(process, id);
        id
    }

    fn jit_binary(&mut self, process: ProcessKey) -> Option<Binary> {
        let ProcessKey { pid, start } = process;
        let dir = self.proc.process(pid).ok()?;
        let (inside, user) = dir.identity_inside()?;
        // Read first, then made sure that it was this process.
        dir.stat().filter(|stat| stat.start == start)?;
        let root = self.roots.of(&self.proc, pid);
        let BinaryKey::Kernel { boot_id } = &self.entries.get(&KERNEL)?.binary.key else { return None };
        let key = BinaryKey::Jit { boot_id: boot_id.clone(), pid, start, inside, user };
        let path = ANONYMOUS_PATH.to_owned();
        Some(Binary { key, kind: BinaryKind::Anonymous, path, build_id: None, file: None, root, refused: false })
    }

    fn unpin_oldest(&mut self) {
        let open = self.entries.iter().filter(|(id, entry)| **id != VDSO && entry.binary.file.is_some());
        if let Some(id) = open.min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id) {
            self.unpin(id);
        }
    }

    fn unpin(&mut self, id: BinaryId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.binary.file.is_some()
        {
            let Binary { key, kind, path, build_id, .. } = &*entry.binary;
            let (key, path) = (key.clone(), path.clone());
            entry.binary = Arc::new(Binary {
                key,
                kind: *kind,
                path,
                build_id: *build_id,
                file: None,
                root: None,
                refused: false,
            });
            self.pinned -= 1;
        }
    }

    /// Forgets what no mapping needs any more: first the name and identity, after a while the file, at last the binary.
    pub fn end_window(&mut self, now: BootNanos) {
        self.backings.retain(|_, backing| Arc::strong_count(&backing.0) > 1);
        let mapped: HashSet<u32> = self.backings.values().map(|b| b.0.binary.load(Ordering::Relaxed)).collect();
        let unused = |id: &BinaryId| id.0 > VDSO.0 && !mapped.contains(&id.0);
        let idle = |entry: &Entry| now.0.saturating_sub(entry.used.0);
        let closing = self.entries.iter().filter(|(id, entry)| {
            unused(id)
                && idle(entry) > KEEP_PINNED
                && entry.binary.file.is_some()
                && Arc::strong_count(&entry.binary) == 1
        });
        for id in closing.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.unpin(id);
        }
        let by_key = &mut self.by_key;
        self.entries.retain(|id, entry| {
            let keep = !unused(id) || idle(entry) <= KEEP_BINARY || entry.binary.file.is_some();
            if !keep {
                by_key.remove(&entry.binary.key);
            }
            keep
        });
        let entries = &self.entries;
        self.jits.retain(|_, id| *id != ANONYMOUS && entries.contains_key(id));
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
fn find_file(proc: &ProcRoot, backing: &Backing, origin: Origin) -> (Option<(OpenedFile, Elf)>, bool) {
    let refused = Cell::new(false);
    let trusted = |opened: io::Result<OpenedFile>, way| {
        let denied = |error: &io::Error| matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput);
        let opened = opened.inspect_err(|error| refused.set(refused.get() || denied(error))).ok()?;
        let elf = read_elf(&opened.file);
        is_the_mapped_file(backing.identity, &opened, elf, way).then_some((opened, elf))
    };
    let by_path = |dir: &ProcessDir| trusted(dir.open(&backing.path), Way::Path);
    let by_links = |dir: &ProcessDir| {
        let mapped = trusted(dir.open_mapped(origin.start, origin.end), Way::Link);
        mapped.or_else(|| {
            // The range may have been cut or joined since: look where the process has the file now.
            let lines = dir.executable_maps()?;
            let line = lines.iter().find(|line| line.start < origin.end && origin.start < line.end)?;
            trusted(dir.open_mapped(line.start, line.end), Way::Link)
        })
    };
    let by_exe = |dir: &ProcessDir| {
        let exe = dir.exe()?;
        let exe = exe.strip_suffix(b" (deleted)").unwrap_or(&exe);
        (*exe == *backing.path).then(|| trusted(dir.open_exe(), Way::Link)).flatten()
    };
    let by_our_own_path = || {
        let path = Path::new(OsStr::from_bytes(&backing.path));
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
