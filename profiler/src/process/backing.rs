//! What stands behind a mapping, as the kernel named it, and who mapped it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::budget::Charge;
use crate::profile::{BinaryId, BootNanos, MappedFile};

/// Bytes of a [`Backing`] without its path: its allocation, and its place in the table, which may be half empty.
const BARE_BYTES: usize = 200;

/// [`BinaryId`] of a backing that has none yet.
pub(super) const NOT_PLACED: u32 = u32::MAX;

/// What stands behind a mapping. One for each distinct name and identity; compared by address.
#[derive(Clone, Debug)]
pub(super) struct BackingRef(pub Arc<Backing>);

impl PartialEq for BackingRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl BackingRef {
    /// One that is not placed yet. `charge` is for what it takes, its path included.
    pub fn new(path: Arc<[u8]>, identity: MappedFile, sort: Sort, user: u32, charge: Option<Charge>) -> Self {
        let (path, binary) = (Mutex::new((path, charge)), AtomicU32::new(NOT_PLACED));
        let (tried, asked) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Backing { path, identity, sort, user, binary, tried, asked }))
    }

    /// Bytes that one takes, with its place in the table.
    pub fn bytes(path: &[u8]) -> usize {
        BARE_BYTES + path.len()
    }

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
        self.0.file_path().is_some_and(|path| !path.is_empty() && Some(path) == other.file_path())
    }

    /// Path of the file; `None` for what is no file. Empty once the file is known not to be ELF.
    pub fn file_path(&self) -> Option<Arc<[u8]>> {
        self.0.file_path()
    }
}

/// A file, or what may be one.
#[derive(Debug)]
pub(super) struct Backing {
    /// The only copy of the path, dropped when the file turns out not to be ELF, and what is charged for all this.
    path: Mutex<(Arc<[u8]>, Option<Charge>)>,
    /// Which file, as the kernel saw it.
    pub identity: MappedFile,
    /// Whether it is a file.
    pub sort: Sort,
    /// Whose process mapped it first.
    pub user: u32,
    /// The [`BinaryId`] found for it, or [`NOT_PLACED`].
    binary: AtomicU32,
    /// When opening it was last tried, boot clock; 0 never, `u64::MAX` never again.
    tried: AtomicU64,
    /// When the pool was asked to open it; 0 when it has answered.
    asked: AtomicU64,
}

impl Backing {
    /// Path of what is, or may be, a file.
    pub fn file_path(&self) -> Option<Arc<[u8]>> {
        let is_file = matches!(self.sort, Sort::File | Sort::Volatile);
        is_file.then(|| self.path.lock().unwrap_or_else(PoisonError::into_inner).0.clone())
    }

    /// The binary last found for it.
    pub fn binary(&self) -> BinaryId {
        BinaryId(self.binary.load(Ordering::Relaxed))
    }

    /// When it may be opened again.
    pub fn retry_at(&self, wait: u64) -> u64 {
        self.tried.load(Ordering::Relaxed).saturating_add(wait)
    }

    /// When the pool was asked for it, if it has not answered yet.
    pub fn asked(&self) -> Option<BootNanos> {
        Some(BootNanos(self.asked.load(Ordering::Relaxed))).filter(|at| at.0 != 0)
    }

    /// Notes that the pool is asked.
    pub fn ask(&self, now: BootNanos) {
        self.asked.store(now.0.max(1), Ordering::Relaxed);
    }

    /// Notes that the pool has answered.
    pub fn answered(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }

    /// Notes which binary it is.
    pub fn place(&self, id: BinaryId, now: BootNanos) {
        self.binary.store(id.0, Ordering::Relaxed);
        self.tried.store(now.0.max(1), Ordering::Relaxed);
    }

    /// Notes that it is no ELF file, for good: its path is of no use any more.
    pub fn place_for_good(&self, id: BinaryId) {
        self.binary.store(id.0, Ordering::Relaxed);
        self.tried.store(u64::MAX, Ordering::Relaxed);
        let (path, charge) = &mut *self.path.lock().unwrap_or_else(PoisonError::into_inner);
        *path = Arc::default();
        if let Some(charge) = charge {
            charge.resize(BARE_BYTES);
        }
    }
}

/// Whether a mapping shows a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A path.
    File,
    /// A deleted file, memfd, shared memory or a file that is mapped shared: a file if it turns out to be ELF, else memory of a JIT.
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
    /// User whose share of the opener threads it takes.
    pub user: u32,
    /// First address of the range.
    pub start: u64,
    /// First address after.
    pub end: u64,
}
