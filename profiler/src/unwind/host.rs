//! The kernel's walk, run here: over recorded registers, stack and tables.
//!
//! It takes up samples that ended in the kernel for want of tables ([`finish`]), walks what a test or a debugger has recorded
//! ([`walk`]), and is where the walk itself is tested. The code is the boundary crate's, the very same that eBPF runs.

use std::cell::Cell;

use profiler_ebpf::machine::{Aarch64, WINDOW_WORDS, X86_64};
use profiler_ebpf::rows::{self, CACHE_SLOTS, CachedRow, RowCache};
use profiler_ebpf::tables::{
    BY_FRAME_POINTER, Block, DEEP_TAIL_STACK, INDEX_ENTRIES, Mapping, PAGE_MAPPINGS, Page, Registers, Rule, Space,
    TAIL_STACK, UnwindMode, view,
};
use profiler_ebpf::walk::{self, MEMORY_PAGE, Walk, step, step_by_frame_pointer};
use profiler_ebpf::{MAX_USER_FRAMES, StackEnd};

use crate::profile::{RawSample, Unfinished};

mod pool;

pub use pool::{Pool, fixed_rules, image_of, page_of};

/// Unwind tables in this process's memory.
pub trait Tables {
    /// A page of the pool, by its number.
    fn page(&self, number: u32) -> Option<&Page>;
    /// A rule, by its number.
    fn rule(&self, number: u16) -> Option<&Rule>;
}

/// A stack to walk.
pub trait Memory {
    /// As of the kernel side's trait of this name.
    const CODE_MAY_COME: bool = false;

    /// Fills `into` with the bytes at an address: all of them, or says no.
    fn read(&self, address: u64, into: &mut [u8]) -> bool;

    /// Eight bytes of code at an address.
    fn code(&self, address: u64) -> Option<u64> {
        let mut code = [0; 8];
        self.read(address, &mut code).then(|| u64::from_le_bytes(code))
    }
}

/// A piece of a stack.
#[derive(Clone, Copy, Debug)]
pub struct StackBytes<'a> {
    /// Address of its first byte.
    pub start: u64,
    /// What is there.
    pub bytes: &'a [u8],
}

impl Memory for StackBytes<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let found = usize::try_from(address.wrapping_sub(self.start))
            .ok()
            .and_then(|at| self.bytes.get(at..)?.get(..into.len()));
        found.inspect(|bytes| into.copy_from_slice(bytes)).is_some()
    }
}

/// Whose registers these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// aarch64.
    Aarch64,
}

impl Machine {
    /// The one we run on.
    pub const HERE: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };
}

/// What came along of a stack, and whether anything was asked for that lies on another one.
struct Tail<'a> {
    stack: StackBytes<'a>,
    elsewhere: Cell<bool>,
    code: &'a dyn Fn(u64) -> Option<u64>,
}

impl Memory for Tail<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let behind = address.wrapping_sub(self.stack.start).saturating_sub(self.stack.bytes.len() as u64);
        self.elsewhere.set(behind > MEMORY_PAGE);
        self.stack.read(address, into)
    }

    fn code(&self, address: u64) -> Option<u64> {
        (self.code)(address)
    }
}

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Look-up addresses, leaf first, perhaps with `BY_FRAME_POINTER`.
    pub frames: Vec<u64>,
    /// How it ended.
    pub end: StackEnd,
    /// Registers of the frame it ended at.
    pub registers: Registers,
}

/// Tables and stack, as the walk asks for them.
struct World<'a, T, M>(&'a T, &'a M);

impl<T: Tables, M> rows::Tables for World<'_, T, M> {
    fn mappings(&self, page: u32) -> Option<&[Mapping; PAGE_MAPPINGS]> {
        self.0.page(page).map(view::mappings)
    }

    fn index(&self, page: u32) -> Option<&[u32; INDEX_ENTRIES]> {
        self.0.page(page).map(view::index)
    }

    fn block(&self, page: u32) -> Option<&Block> {
        self.0.page(page).map(view::block)
    }

    fn rule(&self, number: u16) -> Option<&Rule> {
        self.0.rule(number)
    }
}

impl<T, M: Memory> walk::Memory for World<'_, T, M> {
    const CODE_MAY_COME: bool = M::CODE_MAY_COME;

    fn read(&self, address: u64, bytes: u64, into: &mut [u64; WINDOW_WORDS]) -> u64 {
        let mut copy = [0; 8 * WINDOW_WORDS];
        let mut read = bytes as usize;
        if !copy.get_mut(..read).is_some_and(|copy| self.1.read(address, copy)) {
            // What was recorded may end here: the one word that is asked for.
            read = 8;
            if !self.1.read(address, &mut copy[..read]) {
                return 0;
            }
        }
        for (word, bytes) in into.iter_mut().zip(copy[..read].as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        read as u64
    }

    fn code(&self, address: u64) -> Option<u64> {
        self.1.code(address)
    }
}

/// Walks from `registers` to the thread's first function, or to where there is no way on.
pub fn walk(
    registers: Registers,
    machine: Machine,
    tables: &impl Tables,
    space: Space,
    memory: &impl Memory,
    mode: UnwindMode,
) -> Walked {
    let mut state = Walk::new();
    state.registers = registers;
    state.begin(space, mode as u32, [0; 2]);
    let mut frames = Box::new([0; MAX_USER_FRAMES]);
    let mut cache: Box<RowCache> = Box::new([CachedRow::default(); CACHE_SLOTS]);
    let world = World(tables, memory);
    let mut goes_on = true;
    while goes_on && (state.depth as usize) < MAX_USER_FRAMES {
        goes_on = match (mode, machine) {
            (UnwindMode::FramePointers, Machine::X86_64) => {
                step_by_frame_pointer::<X86_64, _>(&mut state, &mut frames, &world)
            }
            (UnwindMode::FramePointers, Machine::Aarch64) => {
                step_by_frame_pointer::<Aarch64, _>(&mut state, &mut frames, &world)
            }
            (_, Machine::X86_64) => step::<X86_64, _>(&mut state, &mut cache, &mut frames, &world),
            (_, Machine::Aarch64) => step::<Aarch64, _>(&mut state, &mut cache, &mut frames, &world),
        };
    }
    Walked {
        frames: frames[..state.depth as usize].to_vec(),
        end: StackEnd::from_u32(state.end).unwrap_or(StackEnd::UnsupportedRule),
        registers: state.registers,
    }
}

/// Takes a sample up where the kernel had to leave it, now that more is known. `space` is believed to be all there is: a caller that
/// is in none of its mappings is lost. Where the stack that came along ends, or a signal's handler returns to another one, the end is that tables were not
/// loaded. `code` reads eight bytes of the process's code. A finished sample is left alone.
pub fn finish(
    sample: &mut RawSample,
    tables: &impl Tables,
    space: Space,
    mode: UnwindMode,
    code: &dyn Fn(u64) -> Option<u64>,
) {
    let Some(unfinished) = sample.unfinished.take() else { return };
    let Unfinished { registers, stack } = *unfinished;
    let Some((last, known)) = sample.user.split_last() else { return };
    let memory = Tail { stack: StackBytes { start: registers.sp, bytes: &stack }, elsewhere: Cell::default(), code };
    // Whole pages were copied: as many as there may be, or all there were.
    let copied = stack.len() as u64 + registers.sp % MEMORY_PAGE;
    let is_cut = [TAIL_STACK as u64, DEEP_TAIL_STACK as u64].contains(&copied);
    let Walked { mut frames, mut end, registers } = walk(registers, Machine::HERE, tables, space, &memory, mode);
    // How its first frame was reached the kernel knew.
    frames.iter_mut().take(1).for_each(|frame| *frame |= last & BY_FRAME_POINTER);
    frames.splice(..0, known.iter().copied());
    if frames.len() > MAX_USER_FRAMES {
        frames.truncate(MAX_USER_FRAMES);
        end = StackEnd::TruncatedAtMaxDepth;
    }
    sample.end = match end {
        StackEnd::NoMappings if registers.all == 0 => {
            frames.pop();
            StackEnd::ReturnAddressLost
        }
        // Its mappings are known by now: what was wanting were tables.
        StackEnd::StackUnreadable if is_cut || memory.elsewhere.get() => match sample.end {
            StackEnd::NoMappings => StackEnd::RowsNotLoaded,
            end => end,
        },
        StackEnd::Complete if frames.iter().any(|frame| frame & BY_FRAME_POINTER != 0) => {
            StackEnd::CompleteByFramePointers
        }
        end => end,
    };
    sample.user = frames.into();
}

#[cfg(test)]
mod tests;
