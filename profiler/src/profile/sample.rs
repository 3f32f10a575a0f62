//! One sample at two stages of its walk.

use std::sync::Arc;

use profiler_ebpf::tables::Registers;

use super::{BinaryId, BootNanos, ProcessKey, StackEnd, StartTicks};

/// A thread's name (`comm`): at most 15 bytes, made valid UTF-8.
pub type ThreadName = Arc<str>;

/// What made the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SampleEvent {
    /// The software CPU clock: a timer on each CPU. Works everywhere, blind while interrupts are off.
    CpuClock = 0,
    /// The CPU's cycle counter: sees code with interrupts off too, and needs a PMU.
    Cycles = 1,
}

impl SampleEvent {
    /// Every event.
    const ALL: [Self; 2] = [Self::CpuClock, Self::Cycles];

    /// As it is typed, stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuClock => "cpu-clock",
            Self::Cycles => "cycles",
        }
    }

    /// The event of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// A sample as the kernel sent it: addresses only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSample {
    /// When, on the boot clock.
    pub time: BootNanos,
    /// The CPU it was taken on.
    pub cpu: u32,
    /// Host process id.
    pub pid: u32,
    /// Host thread id.
    pub tid: u32,
    /// When the process started; zero when the kernel could not tell.
    pub start: StartTicks,
    /// Name of the thread.
    pub thread: ThreadName,
    /// Id of its cgroup v2 (the directory's inode number).
    pub cgroup_id: u64,
    /// Kernel addresses, leaf first; empty when the sample hit user code.
    pub kernel: Arc<[u64]>,
    /// User addresses, leaf first, each where its frame is looked up: the interrupted (or calling) instruction, or the last byte of
    /// the call. [`BY_FRAME_POINTER`] marks frames that were found for want of unwind rows.
    ///
    /// [`BY_FRAME_POINTER`]: profiler_ebpf::tables::BY_FRAME_POINTER
    pub user: Arc<[u64]>,
    /// How the user walk ended.
    pub end: StackEnd,
    /// What the walk can be taken up from, when it ended because the kernel side did not know enough.
    pub unfinished: Option<Box<Unfinished>>,
    /// Number of the event that made it: 0 is the clock, or the cycle counter.
    pub event: u32,
    /// Samples this stands for (1, unless sampling thins itself out).
    pub weight: u64,
}

/// Where a walk was left: the state at the last frame of the sample, whose caller was not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Registers of that frame.
    pub registers: Registers,
    /// The stack from its stack pointer up.
    pub stack: Box<[u8]>,
}

/// A place in code: which binary, where in it. See [`super::BinaryKind`] for what the offset counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The binary.
    pub binary: BinaryId,
    /// Offset in the binary. For a caller's frame this is inside the call instruction (return address - 1), so that it
    /// names the calling line and not the one after.
    pub offset: u64,
}

/// A sample whose addresses have become locations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, on the boot clock.
    pub time: BootNanos,
    /// Whose.
    pub process: ProcessKey,
    /// Number of the facts that were true of the process then: it has another name after an exec.
    pub revision: u32,
    /// Host thread id.
    pub tid: u32,
    /// Name of the thread.
    pub thread: ThreadName,
    /// Root first, leaf last: user frames, then kernel frames.
    pub stack: Arc<[Location]>,
    /// How the user walk ended.
    pub end: StackEnd,
    /// Samples this stands for.
    pub weight: u64,
}
