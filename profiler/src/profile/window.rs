//! A closed window: about ten seconds of one host, equal stacks counted. What the store takes in one transaction.

use std::sync::Arc;

use super::{
    Binary, BinaryId, BootNanos, Host, Location, Losses, MissedTicks, ProcessFacts, SampleEvent, StackEnd, ThreadName,
    WallNanos,
};

/// Timer ticks by what the CPU was doing: utilisation, without sampling idle as work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// Ticks that hit a task, inside the filter or not.
    pub busy: u64,
    /// Ticks that hit the idle task; of cycles, also those that did not come because the CPU slept.
    pub idle: u64,
    /// Busy ticks that `-p` or `--cgroup` left out (part of `busy`).
    pub filtered: u64,
    /// Ticks that were due and are neither busy nor idle: our program did not run.
    pub missed: MissedTicks,
}

impl CpuTicks {
    /// Share of the ticks due that was missed, 0 to 1.
    #[must_use]
    pub fn missed_share(&self) -> f64 {
        let missed = self.missed.total();
        let due = self.busy.saturating_add(self.idle).saturating_add(missed);
        if due == 0 { 0.0 } else { missed as f64 / due as f64 }
    }
}

/// Equal stacks of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackCount {
    /// Host thread id.
    pub tid: u32,
    /// Name of the thread.
    pub thread: ThreadName,
    /// Root first, leaf last. Empty when neither a user nor a kernel frame is known.
    pub stack: Arc<[Location]>,
    /// How the user walk ended.
    pub end: StackEnd,
    /// Samples.
    pub count: u64,
    /// When each was taken, on the boot clock, in no order; empty when that is not known.
    pub times: Vec<BootNanos>,
}

/// One process's share of a window.
#[derive(Clone, Debug)]
pub struct ProcessWindow {
    /// Whose.
    pub facts: Arc<ProcessFacts>,
    /// Its stacks, in no order.
    pub stacks: Vec<StackCount>,
}

/// A closed window.
#[derive(Clone, Debug)]
pub struct Window {
    /// The host it was sampled on.
    pub host: Arc<Host>,
    /// `/proc/sys/kernel/random/boot_id`: boot-clock times and pids mean something within one boot only.
    pub boot_id: Arc<str>,
    /// First instant, on the boot clock. Windows of one boot never overlap.
    pub start: BootNanos,
    /// First instant after.
    pub end: BootNanos,
    /// Wall clock at `start`.
    pub wall_start: WallNanos,
    /// Wall clock at `end`.
    pub wall_end: WallNanos,
    /// What made the samples.
    pub event: SampleEvent,
    /// Samples per second and CPU.
    pub hz: u32,
    /// CPUs that were online at the close.
    pub cpus: u32,
    /// Utilisation.
    pub ticks: CpuTicks,
    /// Samples taken by the kernel side in this window (stored + lost).
    pub taken: u64,
    /// Samples that are not here, by cause.
    pub losses: Losses,
    /// Every binary named by a location below.
    pub binaries: Vec<(BinaryId, Arc<Binary>)>,
    /// The processes seen on a CPU.
    pub processes: Vec<ProcessWindow>,
}

impl Window {
    /// Samples in it.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.processes.iter().flat_map(|process| &process.stacks).map(|stack| stack.count).sum()
    }
}
