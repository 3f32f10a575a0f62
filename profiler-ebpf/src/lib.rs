//! The kernel boundary: every type, limit and number that the eBPF programs and user space share.
//!
//! Compiled for both sides, so nothing is mirrored by hand. `repr(C)`, fixed-width integers and arrays only, padding
//! explicit, sizes asserted beside each type. [`Record::decode`] is the only place that interprets ring-buffer bytes.

#![no_std]

pub mod machine;
pub mod rows;
pub mod tables;
pub mod walk;

use tables::{DEEP_TAIL_STACK, Registers, TAIL_STACK};

/// Most user frames of one stack. The leaf side is kept.
pub const MAX_USER_FRAMES: usize = 512;
/// Most kernel frames: `PERF_MAX_STACK_DEPTH`, the kernel's own limit for its stack walkers.
pub const MAX_KERNEL_FRAMES: usize = 127;
/// Most events sampled at once: the clock (or the cycle counter), which is number 0, and others beside it.
pub const MAX_EVENTS: u32 = 8;
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
    /// The row's rule is beyond what the walk can follow.
    UnsupportedRule = 10,
    /// Code made at run time whose maker keeps no frame pointers.
    JitFramePointerLost = 11,
    /// Reached the thread's first function, some frames by checked frame pointers because there were no rows for them.
    CompleteByFramePointers = 12,
    /// The caller's stack pointer would not lie above the callee's: rows and stack do not fit together.
    StackNotRising = 13,
}

impl StackEnd {
    /// Every end, in wire order.
    pub const ALL: [Self; 14] = [
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
        Self::UnsupportedRule,
        Self::JitFramePointerLost,
        Self::CompleteByFramePointers,
        Self::StackNotRising,
    ];

    /// The end numbered `n`, if there is one.
    #[must_use]
    pub fn from_u32(n: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|end| *end as u32 == n)
    }

    /// Whether the user stack is whole (or there is none to have).
    #[must_use]
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Complete | Self::NoUserStack | Self::CompleteByFramePointers)
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
            Self::UnsupportedRule => "unsupported_rule",
            Self::JitFramePointerLost => "jit_frame_pointer_lost",
            Self::CompleteByFramePointers => "complete_by_frame_pointers",
            Self::StackNotRising => "stack_not_rising",
        }
    }
}

/// Head of a sample record in the ring buffer. The inline frames follow it: first the user stack's, then the kernel
/// stack's, each a `u64`, leaf first. Then, of an unfinished sample, its tail.
///
/// ```text
/// 0      8       16       24              40         48   52   56   60          64             68   72     76  80    96
/// | time | start | cgroup | hash, 2 x u64 | kernel_ip |pid |tid |cpu |generation |kernel_stack  |end |weight|uf kf| comm |
/// 96           100     104
/// | tail_bytes | event | user frames | kernel frames | Registers | stack |
/// ```
///
/// A user stack is inline the first time a generation meets it; after that the hash alone stands for it.
///
/// A walk that ended because the tables did not say enough ([`StackEnd::NoMappings`], [`StackEnd::RowsNotLoaded`]) is *unfinished*:
/// its frames are always inline, and the tail has the registers of the last of them (whose caller was not found) with the stack from
/// there up, so that user space can walk on when it knows more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RecordHeader {
    /// Boot clock, nanoseconds (`bpf_ktime_get_boot_ns`).
    pub time: u64,
    /// Start of the process on the boot clock, nanoseconds (`group_leader->start_boottime`); 0 without BTF.
    pub start: u64,
    /// Id of the cgroup v2.
    pub cgroup: u64,
    /// Keyed 128-bit hash of the user frames; zero when there are none.
    pub hash: [u64; 2],
    /// The interrupted kernel instruction, which the kernel stack must begin with; 0 when user code was interrupted.
    pub kernel_ip: u64,
    /// Process id in the first pid namespace.
    pub pid: u32,
    /// Thread id in the first pid namespace.
    pub tid: u32,
    /// CPU.
    pub cpu: u32,
    /// Which generation of the stack maps the ids and the hash belong to.
    pub generation: u32,
    /// Id in the generation's stack-trace map, or [`NO_KERNEL_STACK`].
    pub kernel_stack: i32,
    /// [`StackEnd`] of the user walk.
    pub end: u32,
    /// Samples this record stands for.
    pub weight: u32,
    /// User frames that follow.
    pub user_frames: u16,
    /// Kernel frames that follow those.
    pub kernel_frames: u16,
    /// Thread name, padded with NUL.
    pub comm: [u8; 16],
    /// Bytes of the tail, at most [`MAX_DEEP_TAIL`]; 0 when there is none. A record may be longer than its tail.
    pub tail_bytes: u32,
    /// Number of the event, below [`MAX_EVENTS`].
    pub event: u32,
}

const _: () = assert!(size_of::<RecordHeader>() == 104);

/// Most bytes of an ordinary tail: registers and stack.
pub const MAX_TAIL: usize = size_of::<Registers>() + TAIL_STACK;
/// Most bytes of any tail.
pub const MAX_DEEP_TAIL: usize = size_of::<Registers>() + DEEP_TAIL_STACK;

/// The whole record as the eBPF side builds it; only the used bytes are sent.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Record {
    /// The head.
    pub header: RecordHeader,
    /// Room for the inline frames and the tail, and for one more page: the stack is copied page by page, and the verifier wants to
    /// see that the last one fits whatever its length.
    pub words: [u64; MAX_USER_FRAMES + MAX_KERNEL_FRAMES + (MAX_TAIL + 4096) / 8],
}

const _: () = assert!(size_of::<Record>() == 104 + 8 * (512 + 127) + 296 + 16_384 + 4096);

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than the head, or not as long as the head says.
    Length,
    /// More frames than the limits allow.
    TooManyFrames,
    /// A [`StackEnd`] with no meaning.
    UnknownEnd,
    /// An event beyond [`MAX_EVENTS`].
    UnknownEvent,
    /// A tail that is too short for registers, or longer than the limit.
    Tail,
}

/// A decoded record, its frames still in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The head.
    pub header: RecordHeader,
    /// How the user walk ended.
    pub end: StackEnd,
    user: &'a [u8],
    kernel: &'a [u8],
    tail: &'a [u8],
}

impl Decoded<'_> {
    /// Registers of the last user frame and the stack from their stack pointer up, of an unfinished sample.
    #[must_use]
    pub fn tail(&self) -> Option<(Registers, &[u8])> {
        let (registers, stack) = self.tail.split_at_checked(size_of::<Registers>())?;
        let word = |n: usize| u64::from_ne_bytes(core::array::from_fn(|i| registers[8 * n + i]));
        let general = core::array::from_fn(|n| word(4 + n));
        Some((Registers { ip: word(0), sp: word(1), fp: word(2), lr: word(3), general, all: word(36) }, stack))
    }

    /// Inline user frames, leaf first.
    pub fn user_frames(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.user.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word))
    }

    /// Inline kernel frames, leaf first.
    pub fn kernel_frames(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.kernel.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word))
    }
}

impl Record {
    /// Interprets ring-buffer bytes. They may lie at any alignment; their length must be exactly
    /// what the head says.
    ///
    /// # Errors
    /// [`DecodeError`]: the bytes are no record of this version.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<'_>, DecodeError> {
        let (head, body) = bytes.split_at_checked(size_of::<RecordHeader>()).ok_or(DecodeError::Length)?;
        let u64_at = |at: usize| u64::from_ne_bytes(core::array::from_fn(|i| head[at + i]));
        let u32_at = |at: usize| u32::from_ne_bytes(core::array::from_fn(|i| head[at + i]));
        let u16_at = |at: usize| u16::from_ne_bytes(core::array::from_fn(|i| head[at + i]));
        let mut comm = [0; 16];
        comm.copy_from_slice(&head[80..96]);
        let header = RecordHeader {
            time: u64_at(0),
            start: u64_at(8),
            cgroup: u64_at(16),
            hash: [u64_at(24), u64_at(32)],
            kernel_ip: u64_at(40),
            pid: u32_at(48),
            tid: u32_at(52),
            cpu: u32_at(56),
            generation: u32_at(60),
            kernel_stack: u32_at(64) as i32,
            end: u32_at(68),
            weight: u32_at(72),
            user_frames: u16_at(76),
            kernel_frames: u16_at(78),
            comm,
            tail_bytes: u32_at(96),
            event: u32_at(100),
        };
        let (user, kernel) = (usize::from(header.user_frames), usize::from(header.kernel_frames));
        if user > MAX_USER_FRAMES || kernel > MAX_KERNEL_FRAMES {
            return Err(DecodeError::TooManyFrames);
        }
        let tail = header.tail_bytes as usize;
        if tail != 0 && !(size_of::<Registers>()..=MAX_DEEP_TAIL).contains(&tail) {
            return Err(DecodeError::Tail);
        }
        let len = (user + kernel) * 8 + tail;
        if body.len() < len || (body.len() > len && tail == 0) {
            return Err(DecodeError::Length);
        }
        let (user, rest) = body[..len].split_at(user * 8);
        let (kernel, tail) = rest.split_at(kernel * 8);
        let end = StackEnd::from_u32(header.end).ok_or(DecodeError::UnknownEnd)?;
        if header.event >= MAX_EVENTS {
            return Err(DecodeError::UnknownEvent);
        }
        Ok(Decoded { header, end, user, kernel, tail })
    }
}

/// Per-CPU counters of one event, of the even or of the odd generations, never reset. Every sample taken is either sent or
/// counted as `ring_full`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Timer ticks (or counter overflows), whatever they hit.
    pub ticks: u64,
    /// Ticks that hit the idle task.
    pub idle: u64,
    /// Ticks outside the filter.
    pub filtered: u64,
    /// Samples taken: `ticks - idle - filtered`.
    pub taken: u64,
    /// Samples lost because the ring buffer was full.
    pub ring_full: u64,
    /// User stacks sent inline (first of the generation, or its slot was taken over).
    pub user_inline: u64,
    /// Kernel stacks sent inline (collision or full map).
    pub kernel_inline: u64,
    /// Kernel stacks that neither the map nor the inline way could take: the sample is sent without.
    pub kernel_failed: u64,
}

const _: () = assert!(size_of::<Counters>() == 64);

impl Counters {
    /// How many there are.
    pub const ALL: u32 = 2 * MAX_EVENTS;

    /// Where those of an event lie, of the generations that are even or odd as this one is.
    #[must_use]
    pub const fn place(event: u32, generation: u32) -> u32 {
        2 * event + (generation & 1)
    }

    /// Applies `f` field by field.
    #[must_use]
    pub fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            ticks: f(self.ticks, other.ticks),
            idle: f(self.idle, other.idle),
            filtered: f(self.filtered, other.filtered),
            taken: f(self.taken, other.taken),
            ring_full: f(self.ring_full, other.ring_full),
            user_inline: f(self.user_inline, other.user_inline),
            kernel_inline: f(self.kernel_inline, other.kernel_inline),
            kernel_failed: f(self.kernel_failed, other.kernel_failed),
        }
    }
}

/// What the programs sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Filter {
    /// Every process.
    None = 0,
    /// Processes in the `PIDS` map, and the children they fork.
    Pids = 1,
    /// Processes in one cgroup v2 or below it.
    Cgroup = 2,
}

/// Set once, at load, as read-only data: the verifier then drops the branches not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// Random key of the stack hash, so that nobody can prepare colliding stacks.
    pub hash_seed: [u64; 2],
    /// For [`Filter::Cgroup`]: the id.
    pub cgroup_id: u64,
    /// For [`Filter::Cgroup`]: how deep it lies below the root.
    pub cgroup_level: u32,
    /// [`Filter`].
    pub filter: u32,
    /// Slots of `USER_STACKS`, minus one; slots are a power of two.
    pub slot_mask: u32,
    /// Offset of `task_struct.tgid`, from the kernel's BTF; 0 when unknown.
    pub task_tgid: u32,
    /// Offset of `task_struct.pid`.
    pub task_pid: u32,
    /// Offset of `task_struct.group_leader`; 0 when unknown.
    pub task_group_leader: u32,
    /// Offset of `task_struct.start_boottime`.
    pub task_start_boottime: u32,
    /// [`tables::UnwindMode`].
    pub unwind: u32,
    /// Offset of `task_struct.mm`; 0 when unknown.
    pub task_mm: u32,
    /// Events sampled beside the clock. With none, nobody asks for an event's number (before Linux 5.15 nobody can).
    pub others: u32,
}

const _: () = assert!(size_of::<Config>() == 64);

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "aya's Pod is an unsafe trait")]
    // SAFETY: `repr(C)`, integers and arrays of them only, no padding (sizes asserted above): any bytes are a value.
    unsafe impl aya::Pod for super::Counters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Config {}
    // SAFETY: as above; sizes asserted in `tables`.
    unsafe impl aya::Pod for super::tables::Rule {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::tables::Space {}
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn record(user: &[u64], kernel: &[u64], end: u32, tail: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [1_u64, 2, 3, 4, 5, 11] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [6_u32, 7, 8, 9, 10, end, 1] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [user.len() as u16, kernel.len() as u16] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(b"postgres\0\0\0\0\0\0\0\0");
        bytes.extend([tail.len() as u32, 5].map(u32::to_ne_bytes).as_flattened());
        user.iter().chain(kernel).for_each(|frame| bytes.extend(frame.to_ne_bytes()));
        bytes.extend(tail);
        bytes
    }

    /// Every field comes back from where the drawing above puts it.
    #[test]
    fn a_record_decodes_to_its_fields_and_frames() {
        let bytes = record(&[0x55aa, 0x66bb_0000_0001], &[u64::MAX], 2, &[]);
        let decoded = Record::decode(&bytes).unwrap();
        assert_eq!(decoded.header.time, 1);
        assert_eq!(decoded.header.hash, [4, 5]);
        assert_eq!(decoded.header.kernel_ip, 11);
        assert_eq!((decoded.header.pid, decoded.header.tid, decoded.header.cpu), (6, 7, 8));
        assert_eq!((decoded.header.generation, decoded.header.kernel_stack, decoded.header.weight), (9, 10, 1));
        assert_eq!((decoded.end, decoded.header.event), (StackEnd::FramePointerLost, 5));
        assert_eq!(decoded.user_frames().collect::<Vec<_>>(), [0x55aa, 0x66bb_0000_0001]);
        assert_eq!(decoded.kernel_frames().collect::<Vec<_>>(), [u64::MAX]);
    }

    /// Cut anywhere, or with a byte too many, it is refused and nothing panics.
    #[test]
    fn a_record_of_the_wrong_length_is_refused() {
        let bytes = record(&[1, 2], &[3], 0, &[7; 300]);
        for len in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..len]), Err(DecodeError::Length), "cut at {len}");
        }
        // Behind a tail there may be room that was not used.
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Record::decode(&longer).unwrap(), Record::decode(&bytes).unwrap());
        let longer = [&record(&[1, 2], &[3], 0, &[])[..], &[0]].concat();
        assert_eq!(Record::decode(&longer), Err(DecodeError::Length));
    }

    /// What a walk can be taken up from comes back as it was; a tail that cannot be one is refused.
    #[test]
    fn a_tail_decodes_to_registers_and_stack() {
        let mut tail: Vec<u8> = (0..37_u64).flat_map(|n| (100 + n).to_ne_bytes()).collect();
        tail.extend([1, 2, 3]);
        let bytes = record(&[0x1000], &[], 9, &tail);
        let decoded = Record::decode(&bytes).unwrap();
        let (registers, stack) = decoded.tail().unwrap();
        assert_eq!((registers.ip, registers.sp, registers.fp, registers.lr), (100, 101, 102, 103));
        assert_eq!((registers.general[0], registers.general[31], registers.all), (104, 135, 136));
        assert_eq!(stack, [1, 2, 3]);
        assert_eq!(Record::decode(&record(&[], &[], 0, &[])).unwrap().tail(), None);
        assert_eq!(Record::decode(&record(&[], &[], 9, &[0; 295])), Err(DecodeError::Tail));
        assert_eq!(Record::decode(&record(&[], &[], 9, &[0; MAX_DEEP_TAIL + 1])), Err(DecodeError::Tail));
    }

    /// A number that a newer program might send is an error, not another meaning.
    #[test]
    fn an_unknown_stack_end_is_refused() {
        assert_eq!(Record::decode(&record(&[], &[], 99, &[])), Err(DecodeError::UnknownEnd));
    }

    /// The same of an event: its counters would be another's.
    #[test]
    fn an_unknown_event_is_refused() {
        let mut bytes = record(&[], &[], 0, &[]);
        bytes[100] = MAX_EVENTS as u8;
        assert_eq!(Record::decode(&bytes), Err(DecodeError::UnknownEvent));
    }

    /// No two events, nor two generations that follow each other, share counters.
    #[test]
    fn counters_have_places_of_their_own() {
        let places = (0..MAX_EVENTS).flat_map(|event| [6, 7].map(|generation| Counters::place(event, generation)));
        assert_eq!(places.collect::<Vec<_>>(), (0..Counters::ALL).collect::<Vec<_>>());
    }
}
