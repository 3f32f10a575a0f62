//! What the kernel tells about processes beside the samples: the words of perf's side-band records, free of their layout.

use crate::profile::{BootNanos, BuildId};

/// One side-band record. The table takes them in the order of their times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SideBand {
    /// A process runs another program: its old mappings are gone. (A COMM record with the exec flag.)
    Exec {
        /// When.
        time: BootNanos,
        /// Host process id.
        pid: u32,
        /// The new name.
        comm: String,
    },
    /// A thread has another name.
    Comm {
        /// When.
        time: BootNanos,
        /// Host process id.
        pid: u32,
        /// Host thread id; equal to `pid` for the main thread.
        tid: u32,
        /// The new name.
        comm: String,
    },
    /// A new thread (`pid == ppid`), or a new process that has its parent's mappings.
    Fork {
        /// When.
        time: BootNanos,
        /// Host process id of the new task.
        pid: u32,
        /// Host process id of the one that made it.
        ppid: u32,
        /// Host thread id of the new task.
        tid: u32,
    },
    /// A thread is gone. With `tid == pid` it is the main thread; others may live on.
    Exit {
        /// When.
        time: BootNanos,
        /// Host process id.
        pid: u32,
        /// Host thread id.
        tid: u32,
    },
    /// A new mapping, or one whose protection changed.
    Mmap {
        /// When.
        time: BootNanos,
        /// Host process id.
        pid: u32,
        /// First address.
        start: u64,
        /// Length in bytes.
        len: u64,
        /// Offset in the file of the first address.
        page_offset: u64,
        /// Path as the kernel has it in the process's root; `//anon`, `[vdso]` and the like for what is no file.
        path: Vec<u8>,
        /// Which file it is.
        identity: MappedFile,
        /// Whether it can be executed. Others only hide what was mapped there before.
        executable: bool,
    },
    /// Records were lost: what is known may be out of date.
    Lost {
        /// When.
        time: BootNanos,
        /// How many.
        count: u64,
    },
}

/// Which file is mapped, as far as the kernel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MappedFile {
    /// By the build id that the kernel read from its first page.
    BuildId(BuildId),
    /// By its inode: no build id, or its first page was not in memory. All zero for what is no file.
    Inode {
        /// Device of the file system, major part.
        major: u32,
        /// Device of the file system, minor part.
        minor: u32,
        /// Inode number.
        inode: u64,
        /// Generation of the inode number; 0 when unknown (`/proc` does not show it).
        generation: u64,
    },
}
