//! The unwind tables as they lie in kernel memory: written by user space, read by the walk on either side.
//!
//! All of it, except the rules and the list of processes, lives in one pool of pages of 512 bytes. A page number is
//! `chunk * PAGES_PER_CHUNK + page in the chunk`; chunks are inner arrays of one array of maps, added as the pool grows.
//!
//! ```text
//! PROCESSES: tgid -> Space -------------> [Mapping; 16] pages, sorted by start
//!                                            | rel = pc + bias
//!                                            v
//!               image of a file:  first_page [index page: u32; 128] ... [block: 128 x (u16 pc, u16 rule)] ...
//!                                            | index[rel >> 9] = block     | last row with pc <= (rel & 0xffff)
//!                                            v                             v
//!                                          page first_page + block       RULES[rule]
//! ```
//!
//! An image is relocatable: its index holds block numbers relative to its own first page, and its rows are counted in file
//! offsets from its base. A block serves granules whose places within 64 KiB of `rel` differ, neighbours or not; each run of
//! neighbours begins with the row in force at its start: no look-up ever needs another block. Unused rows at a block's end repeat
//! the last rule at 0xffff.

/// Bytes of a page.
pub const PAGE: usize = 512;
/// Pages of one chunk: 1 MiB.
pub const PAGES_PER_CHUNK: u32 = 2048;
/// Most chunks: 1 GiB.
pub const MAX_CHUNKS: u32 = 1024;
/// Rows of one block.
pub const BLOCK_ROWS: usize = 128;
/// Index entries of one page.
pub const INDEX_ENTRIES: usize = 128;
/// One index entry covers `1 << GRANULE_SHIFT` bytes of code, which no more than [`BLOCK_ROWS`] rows may divide.
pub const GRANULE_SHIFT: u32 = 9;
/// Mappings of one page.
pub const PAGE_MAPPINGS: usize = 16;
/// Most mappings of one space: more are not looked at (Linux allows 65,530; real programs have tens that are executable).
pub const MAX_MAPPINGS: u32 = 4096;
/// Most rules in all.
pub const MAX_RULES: u32 = 32_768;

/// A frame word with this bit was found by the frame pointer, where there were no rows. User addresses are below 2^56.
pub const BY_FRAME_POINTER: u64 = 1 << 63;

/// Kernel memory of one page.
pub type Page = [u64; PAGE / 8];

/// 128 rows: `pcs[i]` are the low 16 bits of where row `i` begins, ascending; `rules[i]` its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Block {
    /// Beginnings.
    pub pcs: [u16; BLOCK_ROWS],
    /// Rules, by number.
    pub rules: [u16; BLOCK_ROWS],
}

const _: () = assert!(size_of::<Block>() == PAGE);

/// A page as what it holds. Any bytes are a value of each: all are integers, without padding.
pub mod view {
    #![expect(unsafe_code, reason = "one page of kernel memory is seen as three types")]
    use super::{Block, INDEX_ENTRIES, Mapping, PAGE_MAPPINGS, Page};

    /// As mappings.
    #[inline(always)]
    #[must_use]
    pub const fn mappings(page: &Page) -> &[Mapping; PAGE_MAPPINGS] {
        // SAFETY: as large, aligned no more strictly, any bytes are a value.
        unsafe { &*core::ptr::from_ref(page).cast() }
    }

    /// As a part of an index.
    #[inline(always)]
    #[must_use]
    pub const fn index(page: &Page) -> &[u32; INDEX_ENTRIES] {
        // SAFETY: as above.
        unsafe { &*core::ptr::from_ref(page).cast() }
    }

    /// As rows.
    #[inline(always)]
    #[must_use]
    pub const fn block(page: &Page) -> &Block {
        // SAFETY: as above.
        unsafe { &*core::ptr::from_ref(page).cast() }
    }
}

/// What is mapped executable between two addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after.
    pub end: u64,
    /// `pc + bias` (wrapping) is `rel`: the file offset less the base of the image.
    pub bias: u64,
    /// First page of the file's image, or one of the constants below.
    pub image: u32,
    /// Granules of the image: from here on `rel` has no row.
    pub granules: u32,
}

const _: () = assert!(size_of::<Mapping>() * PAGE_MAPPINGS == PAGE);

impl Mapping {
    /// Code made at run time: frame pointers, checked.
    pub const JIT: u32 = u32::MAX;
    /// The file has no rows (none in it, or they could not be read).
    pub const NO_ROWS: u32 = u32::MAX - 1;
    /// The file's rows are not here yet (or not any more).
    pub const NOT_LOADED: u32 = u32::MAX - 2;
    /// Page numbers are smaller than this.
    pub const FIRST_SPECIAL: u32 = u32::MAX - 15;
}

/// A process's executable mappings: value of `PROCESSES`. Copied to the child by a fork, removed by exec and exit, in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Space {
    /// Never used twice: another set of mappings, or of images behind them, is another space.
    pub id: u32,
    /// First page of its mappings.
    pub first_page: u32,
    /// How many mappings.
    pub count: u32,
    /// In the kernel's map: what [`Space::seal`] says. 0 elsewhere.
    pub seal: u32,
}

const _: () = assert!(size_of::<Space>() == 16);

impl Space {
    /// What tells a space from two halves: the kernel may give the memory of a value to another process's while it is being read.
    #[inline(always)]
    #[must_use]
    pub const fn seal(&self) -> u32 {
        // Multiplied by different odd numbers, so that no exchange of fields goes unnoticed; never the 0 of an empty one.
        self.id.wrapping_mul(0x9e37_79b1)
            ^ self.first_page.wrapping_mul(0x85eb_ca77)
            ^ self.count.wrapping_mul(0xc2b2_ae3d)
            | 1
    }
}

/// Where the canonical frame address (the stack pointer before the call) comes from. DWARF 5, 6.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cfa {
    /// No row covers this code (a hole between functions, or an assembler function without any).
    None = 0,
    /// The thread's first function: its return address is undefined.
    End = 1,
    /// `reg + offset`.
    Register = 2,
    /// `*(reg + offset) + extra`.
    Deref = 3,
    /// A lazy PLT entry of x86: `sp + offset + (if pc & 15 >= extra { 8 } else { 0 })`.
    Plt = 4,
    /// Signal trampoline: the interrupted registers are in the `ucontext` at `sp + offset` (x86-64: 0; aarch64: 128, behind `siginfo`).
    Signal = 5,
    /// By the frame pointer: code that keeps one and has no better rows (Go's runtime, hand-made tables). With `extra` 1 it may lead
    /// to another stack, below this one.
    FramePointer = 6,
    /// A rule beyond this list.
    Unsupported = 7,
}

/// Where a register of the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Saved {
    /// Unchanged.
    Same = 0,
    /// In memory at `CFA + offset`.
    AtCfa = 1,
    /// In another register, whose number is in the rule (leaf frames only).
    InRegister = 2,
    /// In memory at `reg + offset`, `reg` being the rule's register.
    AtRegister = 3,
    /// Not recoverable.
    Undefined = 4,
}

/// How to go from a frame to its caller. Shared by all rows that say the same. Registers are numbered as in DWARF for the machine
/// (x86-64: 0 rax, 1 rdx, 2 rcx, 3 rbx, 4 rsi, 5 rdi, 6 rbp, 7 rsp, 8..=15 r8..r15; aarch64: 0..=30 x0..x30, 31 sp).
/// In frames that called somebody only the stack and frame pointer are known; in the frame that was interrupted all are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Rule {
    /// [`Cfa`].
    pub cfa: u8,
    /// Register of the CFA.
    pub cfa_register: u8,
    /// [`Saved`] of the frame pointer, at `fp_offset`.
    pub fp: u8,
    /// [`Saved`] of the return address in the low four bits, and above them [`Rule::SIGNED`] and [`Rule::READ`].
    pub ra: u8,
    /// See [`Cfa`].
    pub cfa_offset: i32,
    /// `AtCfa` and `AtRegister`: where the frame pointer is saved. `InRegister`: the register's number.
    pub fp_offset: i16,
    /// The same of the return address. x86-64: `AtCfa`, -8, nearly always.
    pub ra_offset: i16,
    /// See [`Cfa`].
    pub extra: i32,
}

const _: () = assert!(size_of::<Rule>() == 16);

impl Rule {
    /// aarch64: the return address is signed (pointer authentication): the bits above the address are masked off.
    pub const SIGNED: u8 = 1 << 4;
    /// Found by reading code, no table says it: a return address of zero is a mistake, not the end of the stack.
    pub const READ: u8 = 1 << 5;
}

/// Global rule 0: no row. Rules 1 and 2 are fixed too, so that images need not carry them.
pub const RULE_NONE: u16 = 0;
/// Global rule 1: [`Cfa::Unsupported`].
pub const RULE_UNSUPPORTED: u16 = 1;
/// Global rule 2: [`Cfa::End`].
pub const RULE_END: u16 = 2;

/// Registers that a walk starts from, in DWARF's order, as the tail of an unfinished sample carries them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// aarch64: the link register; 0 elsewhere.
    pub lr: u64,
    /// General registers by DWARF number; valid where `all` is not 0. x86-64 uses the first 16.
    pub general: [u64; 32],
    /// Whether `general` (and on aarch64 `lr`) hold this frame's values: the frame was interrupted, it did not call.
    pub all: u64,
}

const _: () = assert!(size_of::<Registers>() == 8 * 37);

/// Bytes of stack that an unfinished sample carries at most, from its stack pointer up: that pointer's page and the next three.
pub const TAIL_STACK: usize = 16 * 1024;
/// The same, where the stack goes on behind that and the ring buffer has room: 16 pages.
pub const DEEP_TAIL_STACK: usize = 64 * 1024;

/// Whether and how rows are used: `--unwind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum UnwindMode {
    /// Rows, and frame pointers where there are none.
    #[default]
    Auto = 0,
    /// Rows only.
    Rows = 1,
    /// Frame pointers only: no tables at all.
    FramePointers = 2,
}
