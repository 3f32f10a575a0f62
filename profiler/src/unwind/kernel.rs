//! What the unwind tables need of the kernel side, and the words both halves of this room use.

use std::io;

use profiler_ebpf::tables::{Rule, Space};

use super::pool::PageMemory;
use crate::profile::BootNanos;

/// A place where code was known to lie and the kernel found nothing mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// When.
    pub time: BootNanos,
    /// First address.
    pub start: u64,
    /// First address after.
    pub end: u64,
}

/// The kernel's tables, or a copy of them in ordinary memory.
pub trait Kernel: PageMemory {
    /// Writes a rule that no reachable row uses yet.
    fn set_rule(&mut self, number: u16, rule: Rule);
    /// Gives a process its space, whether it had one or not; unless the kernel side has seen after `known`, until when all that it has mapped
    /// is in the space, that some of it is gone. Says what.
    ///
    /// # Errors
    /// The map is full.
    fn add_space(&mut self, pid: u32, space: Space, known: BootNanos) -> io::Result<Option<Unmapped>>;
    /// Gives a process another space, unless it has lost the one it had: it has called exec, or ended, and we are yet to hear of it; or some of
    /// it is gone, as above.
    ///
    /// # Errors
    /// The kernel refuses.
    fn replace_space(&mut self, pid: u32, space: Space, known: BootNanos) -> io::Result<()>;
    /// Takes a process's space away.
    fn remove_space(&mut self, pid: u32);
}

/// Why a file has no rows in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Missing {
    /// It carries none.
    NoRows,
    /// It is no program for this machine.
    Foreign,
    /// It is larger than what is read.
    TooLarge,
    /// It could not be opened or read.
    Unreadable,
    /// Reading it took too long, or ended the process that reads foreign files.
    Failed,
    /// There is no room for it.
    OverBudget,
}

impl Missing {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::NoRows, Self::Foreign, Self::TooLarge, Self::Unreadable, Self::Failed, Self::OverBudget];

    /// What a refusal of the compiler's ([`super::CompileError::code`], or the worker's own) means for the walk.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Unreadable,
            3 | 4 => Self::Foreign,
            5 => Self::NoRows,
            2 | 6 | crate::symbolizer::ROWS_TOO_LARGE => Self::TooLarge,
            _ => Self::Failed,
        }
    }

    /// Name in `/metrics` and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRows => "no_rows",
            Self::Foreign => "foreign",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
            Self::Failed => "failed",
            Self::OverBudget => "over_budget",
        }
    }

    /// Whether trying again later can help.
    #[must_use]
    pub const fn may_come(self) -> bool {
        // What failed is set aside for a while by the worker, which answers at once until then.
        matches!(self, Self::Unreadable | Self::OverBudget | Self::Failed)
    }
}
