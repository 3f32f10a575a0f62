//! taken = stored + lost(by cause), exactly. This is the list of causes.

use std::collections::BTreeMap;

/// Why a sample that was taken is not in the database. The numbers are stored: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum LossCause {
    /// The ring buffer had no room: user space was not scheduled in time.
    RingFull = 0,
    /// A record could not be decoded (a bug, or memory corruption).
    Undecodable = 1,
    /// The record names a user stack that was never sent (its sender lost it).
    StackUnknown = 2,
    /// The record names a kernel stack that is gone from the map.
    KernelStackGone = 3,
    /// The store could not keep up or the disk was full, and the bounded queue dropped its oldest window.
    QueueFull = 4,
    /// The database refused the window.
    StoreFailed = 5,
    /// It was in the database, and what holds it is damaged.
    Damaged = 6,
}

impl LossCause {
    /// Every cause, in stored order.
    pub const ALL: [Self; 7] = [
        Self::RingFull,
        Self::Undecodable,
        Self::StackUnknown,
        Self::KernelStackGone,
        Self::QueueFull,
        Self::StoreFailed,
        Self::Damaged,
    ];

    /// The cause stored as `n`, if there is one.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u8 == n)
    }

    /// Name in `/metrics`, the API and the database's views.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::Undecodable => "undecodable",
            Self::StackUnknown => "stack_unknown",
            Self::KernelStackGone => "kernel_stack_gone",
            Self::QueueFull => "queue_full",
            Self::StoreFailed => "store_failed",
            Self::Damaged => "damaged",
        }
    }
}

/// Lost samples by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(pub BTreeMap<LossCause, u64>);

impl Losses {
    /// Counts `n` more lost to `cause`.
    pub fn add(&mut self, cause: LossCause, n: u64) {
        if n > 0 {
            *self.0.entry(cause).or_default() += n;
        }
    }

    /// Adds another ledger to this one.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(cause, n)| self.add(*cause, *n));
    }

    /// Lost samples of all causes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
