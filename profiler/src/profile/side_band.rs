//! What happens to processes while they are sampled, as the kernel's side-band perf events tell it.

use super::{BootNanos, BuildId};

/// How the kernel names a mapped file: one of both, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MappedFile {
    /// The build id that the file claims, when it has one and its first page was in memory.
    pub build_id: Option<BuildId>,
    /// The file itself.
    pub inode: Option<InodeNumber>,
}

impl MappedFile {
    /// One that is known by its inode alone.
    #[must_use]
    pub fn of_inode(inode: InodeNumber) -> Self {
        Self { build_id: None, inode: Some(inode) }
    }
}

/// A file as the kernel's mappings tell it. Where a file system has devices of its own for parts of it (btrfs), or shows files
/// of another (overlay), the device is not the one that `stat` tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InodeNumber {
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Inode number.
    pub inode: u64,
    /// Generation of the inode (0 where the file system has none, or it is not known).
    pub generation: u64,
}

impl InodeNumber {
    /// The device as one number, as `st_dev` has it.
    #[must_use]
    pub fn device(&self) -> u64 {
        rustix::fs::makedev(self.major, self.minor)
    }
}

/// One event. Pids and tids are the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SideBand {
    /// A program was executed: the mappings from before are gone.
    Exec {
        /// When.
        time: BootNanos,
        /// Whose.
        pid: u32,
        /// Its new name.
        comm: String,
    },
    /// A thread was renamed.
    Comm {
        /// When.
        time: BootNanos,
        /// Whose.
        pid: u32,
        /// Which thread.
        tid: u32,
        /// Its new name.
        comm: String,
    },
    /// A thread (`pid == ppid`) or a process began; a process inherits its parent's mappings.
    Fork {
        /// When.
        time: BootNanos,
        /// The new thread's process.
        pid: u32,
        /// The process that forked.
        ppid: u32,
        /// The new thread.
        tid: u32,
    },
    /// A thread ended (the process's main one where `tid == pid`; others may live on).
    Exit {
        /// When.
        time: BootNanos,
        /// Whose.
        pid: u32,
        /// Which thread.
        tid: u32,
    },
    /// Memory was mapped.
    Mmap {
        /// When.
        time: BootNanos,
        /// Whose.
        pid: u32,
        /// First address.
        start: u64,
        /// Bytes.
        len: u64,
        /// Where in the file `start` lies, in bytes.
        page_offset: u64,
        /// Path as the kernel gives it: bytes, perhaps relative to another root, `//anon`, `[vdso]`.
        path: Vec<u8>,
        /// Which file.
        identity: MappedFile,
        /// Mapped executable.
        executable: bool,
        /// Mapped so that what others write there is seen.
        shared: bool,
    },
    /// Nothing was mapped there any more. The kernel has no record of it; the eBPF side notices when the place is used again.
    Unmap {
        /// When.
        time: BootNanos,
        /// Whose.
        pid: u32,
        /// First address.
        start: u64,
        /// First address after.
        end: u64,
    },
    /// Events were lost: what is known of processes may be stale.
    Lost {
        /// When.
        time: BootNanos,
        /// How many.
        count: u64,
    },
}

impl SideBand {
    /// When it happened.
    #[must_use]
    pub fn time(&self) -> BootNanos {
        match self {
            Self::Exec { time, .. }
            | Self::Comm { time, .. }
            | Self::Fork { time, .. }
            | Self::Exit { time, .. }
            | Self::Mmap { time, .. }
            | Self::Unmap { time, .. }
            | Self::Lost { time, .. } => *time,
        }
    }
}
