//! Ticks that were due and gave neither a sample nor an idle tick, by cause: ticks due = busy + idle + missed.

/// Why a tick that was due is missing. The numbers are stored: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum MissCause {
    /// The timer fired while another eBPF program, or a `bpf(2)` call, held the CPU: the kernel
    /// skips ours then (`bpf_prog_active`).
    ProgramBusy = 0,
    /// The kernel stopped the event for the rest of a scheduler tick
    /// (`kernel.perf_event_max_sample_rate`).
    Throttled = 1,
    /// The event was not on the CPU: a hardware counter shared with others, or a CPU that came back.
    NotScheduled = 2,
    /// The timer came more than one period late: interrupts were off, or the host did not run this
    /// virtual CPU.
    TimerLate = 3,
    /// The kernel has no counter that tells [`Self::ProgramBusy`] from [`Self::TimerLate`] (before 6.0).
    Unknown = 4,
}

impl MissCause {
    /// Every cause, in stored order.
    pub const ALL: [Self; 5] = [Self::ProgramBusy, Self::Throttled, Self::NotScheduled, Self::TimerLate, Self::Unknown];

    /// The cause stored as `n`, if there is one.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u8 == n)
    }

    /// Name in `/metrics`, the API and the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProgramBusy => "program_busy",
            Self::Throttled => "throttled",
            Self::NotScheduled => "not_scheduled",
            Self::TimerLate => "timer_late",
            Self::Unknown => "unknown",
        }
    }

    /// The cause in words, after "ticks missed: ".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::ProgramBusy => "another eBPF program held the CPU",
            Self::Throttled => "the kernel throttled sampling (kernel.perf_event_max_sample_rate)",
            Self::NotScheduled => "the event was not on the CPU",
            Self::TimerLate => "interrupts were off, or the host did not run this virtual CPU",
            Self::Unknown => "this kernel does not say why",
        }
    }
}

/// Missed ticks by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissedTicks([u64; MissCause::ALL.len()]);

impl MissedTicks {
    /// Counts `n` more missed for `cause`.
    pub fn add(&mut self, cause: MissCause, n: u64) {
        let count = &mut self.0[cause as usize];
        *count = count.saturating_add(n);
    }

    /// Adds another ledger to this one.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(cause, n)| self.add(cause, n));
    }

    /// Ticks missed for `cause`.
    #[must_use]
    pub fn of(&self, cause: MissCause) -> u64 {
        self.0[cause as usize]
    }

    /// Every cause with its ticks, zeros too.
    pub fn iter(&self) -> impl Iterator<Item = (MissCause, u64)> + '_ {
        MissCause::ALL.into_iter().map(|cause| (cause, self.of(cause)))
    }

    /// Ticks of all causes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}
