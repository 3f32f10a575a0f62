//! The kernel boundary: every type, limit and number that the eBPF programs and user space share.
//!
//! Compiled for both sides, so nothing is mirrored by hand. `repr(C)`, fixed-width integers and arrays only, padding
//! explicit, sizes asserted beside each type. [`Record::decode`] is the only place that interprets ring-buffer bytes.

#![no_std]

/// Most user frames of one stack. The leaf side is kept.
pub const MAX_USER_FRAMES: usize = 512;
/// Most kernel frames: `PERF_MAX_STACK_DEPTH`, the kernel's own limit for its stack walkers.
pub const MAX_KERNEL_FRAMES: usize = 127;
/// `RecordHeader::kernel_stack`: there is none, or its frames are inline.
pub const NO_KERNEL_STACK: i32 = -1;

/// How the walk of a user stack ended. The numbers are on the wire and in the database: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum StackEnd {
    /// Reached the thread's first function.
    Complete = 0,
    /// More than [`MAX_USER_FRAMES`] frames; the leaf side is kept.
    TruncatedAtMaxDepth = 1,
    /// The saved frame pointer is not a stack address above the last: the caller keeps no frame pointer.
    FramePointerLost = 2,
    /// The stack could not be read at the frame pointer (paged out, or not memory).
    StackUnreadable = 3,
    /// The return address is in no executable mapping: the caller keeps no frame pointer.
    ReturnAddressLost = 4,
    /// A kernel thread or idle: there is no user stack. Counts as complete.
    NoUserStack = 5,
    /// The user registers could not be had.
    NoRegisters = 6,
    /// The file has no unwind rows.
    NoUnwindRows = 7,
    /// The rows exist but were not loaded when the sample came.
    RowsNotLoaded = 8,
    /// The process's mappings were not known (it was gone before they could be read).
    NoMappings = 9,
}

impl StackEnd {
    /// Every end, in wire order.
    pub const ALL: [Self; 10] = [
        Self::Complete,
        Self::TruncatedAtMaxDepth,
        Self::FramePointerLost,
        Self::StackUnreadable,
        Self::ReturnAddressLost,
        Self::NoUserStack,
        Self::NoRegisters,
        Self::NoUnwindRows,
        Self::RowsNotLoaded,
        Self::NoMappings,
    ];

    /// The end numbered `n`, if there is one.
    #[must_use]
    pub fn from_u32(n: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|end| *end as u32 == n)
    }

    /// Whether the user stack is whole (or there is none to have).
    #[must_use]
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Complete | Self::NoUserStack)
    }

    /// Name in the API, in `/metrics` and in the database's views.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::TruncatedAtMaxDepth => "truncated_at_max_depth",
            Self::FramePointerLost => "frame_pointer_lost",
            Self::StackUnreadable => "stack_unreadable",
            Self::ReturnAddressLost => "return_address_lost",
            Self::NoUserStack => "no_user_stack",
            Self::NoRegisters => "no_registers",
            Self::NoUnwindRows => "no_unwind_rows",
            Self::RowsNotLoaded => "rows_not_loaded",
            Self::NoMappings => "no_mappings",
        }
    }
}
