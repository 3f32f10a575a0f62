//! The walk of a user stack, frame by frame: by unwind rows, and by checked frame pointers where there are none.
//!
//! The same code runs in the kernel, one [`step`] a round, and on the host, over recorded registers, stack and tables. It reads
//! the stack only through [`Memory`], writes only to what it is given, and needs no allocation. Each step adds one frame, so that a
//! walk is as bounded as its rounds are, whatever tables and stack say.
//!
//! A frame is noted by its look-up address: the interrupted instruction itself, or the last byte of the call that a return
//! address follows (which may lie in the next function). It names the frame and finds its row alike.

use crate::machine::{Machine, WINDOW_WORDS};
use crate::rows::{Code, Found, RowCache, Tables, enter, find, remember};
use crate::tables::{BY_FRAME_POINTER, Cfa, Mapping, Registers, Rule, Saved, Space, UnwindMode};
use crate::{MAX_USER_FRAMES, StackEnd};

/// With five-level tables user addresses end at 2^56.
pub const USER_END: u64 = 1 << 56;
/// `vm.mmap_min_addr` is never lower on a sane host: a smaller address is a small number, not code.
pub const USER_START: u64 = 4096;
/// How far above the stack pointer a frame pointer is believed where no row vouches for it.
const FRAME_POINTER_REACH: u64 = 1 << 20;
/// Memory is read up to the end of such a page, never across it: the next one may not be there.
pub const MEMORY_PAGE: u64 = 4096;
/// Compilers and assemblers begin functions at multiples of this.
const ALIGNMENT: u64 = 16;
const WINDOW_BYTES: u64 = 8 * WINDOW_WORDS as u64;

/// The stack, and the code that it returns to.
pub trait Memory {
    /// Whether code that cannot be read now may be read later, by who has its file: pages of it may be out of memory. The walk is left there
    /// then, to be taken up by others.
    const CODE_MAY_COME: bool = false;

    /// Copies up to `bytes` bytes (8 to 8 x [`WINDOW_WORDS`]) to the front of `into`. Says how many, 0 when there is nothing to read.
    fn read(&self, address: u64, bytes: u64, into: &mut [u64; WINDOW_WORDS]) -> u64;

    /// Eight bytes of code.
    fn code(&self, address: u64) -> Option<u64>;
}

/// State of a walk.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Walk {
    /// Registers of the frame to note next; when the walk has ended, of the frame it ended at.
    pub registers: Registers,
    /// Mapping of the last frame.
    pub mapping: Mapping,
    /// The process's mappings.
    pub space: Space,
    /// Frames so far.
    pub depth: u64,
    /// Running hash of the frames.
    pub hash: [u64; 2],
    /// [`StackEnd`].
    pub end: u32,
    /// [`UnwindMode`].
    pub mode: u32,
    /// [`BY_FRAME_POINTER`] when the frame at hand was reached by a frame pointer for want of a row.
    by_frame_pointer: u64,
    /// The same, of any frame so far.
    any_by_frame_pointer: u64,
    /// Address of the first word of `window`.
    window_start: u64,
    /// How many bytes of it are there.
    window_bytes: u64,
    /// Stack words read already.
    window: [u64; WINDOW_WORDS],
}

impl Walk {
    /// Ready for its first step from `registers`, which the caller has filled in: everything else is set.
    #[inline(always)]
    pub fn begin(&mut self, space: Space, mode: u32, hash: [u64; 2]) {
        self.mapping = Mapping::default();
        self.space = space;
        self.depth = 0;
        self.hash = hash;
        self.end = StackEnd::TruncatedAtMaxDepth as u32;
        self.mode = mode;
        self.by_frame_pointer = 0;
        self.any_by_frame_pointer = 0;
        self.window_bytes = 0;
    }

    /// A walk that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self {
            registers: Registers::default(),
            mapping: Mapping::default(),
            space: Space::default(),
            depth: 0,
            hash: [0; 2],
            end: 0,
            mode: 0,
            by_frame_pointer: 0,
            any_by_frame_pointer: 0,
            window_start: 0,
            window_bytes: 0,
            window: [0; WINDOW_WORDS],
        }
    }

    /// The word at an address, by way of the window.
    #[inline(always)]
    fn word<S: Memory>(&mut self, memory: &S, address: u64) -> Result<u64, StackEnd> {
        let at = address.wrapping_sub(self.window_start);
        if at < self.window_bytes && at & 7 == 0 {
            return Ok(self.window[(at / 8) as usize & (WINDOW_WORDS - 1)]);
        }
        let on_page = MEMORY_PAGE - (address & (MEMORY_PAGE - 1));
        // A word that itself lies across the boundary is read for itself.
        let bytes = if on_page < 8 { 8 } else { on_page.min(WINDOW_BYTES) };
        self.window_start = address;
        self.window_bytes = memory.read(address, bytes, &mut self.window) & !7;
        if self.window_bytes == 0 { Err(StackEnd::StackUnreadable) } else { Ok(self.window[0]) }
    }

    /// A register of the frame at hand; of a frame that has called somebody only two are known.
    #[inline(always)]
    fn register<M: Machine>(&self, number: u8) -> Result<u64, StackEnd> {
        let registers = &self.registers;
        if number == M::SP {
            Ok(registers.sp)
        } else if number == M::FP {
            Ok(registers.fp)
        } else if registers.all != 0 {
            Ok(registers.general[usize::from(number) & 31])
        } else {
            Err(StackEnd::UnsupportedRule)
        }
    }

    /// Adds a frame.
    #[inline(always)]
    fn note(&mut self, slot: &mut u64, address: u64) {
        // The page of old system calls (vsyscall) lies where addresses have the mark's bit.
        let word = (address & !BY_FRAME_POINTER) | self.by_frame_pointer;
        *slot = word;
        self.depth += 1;
        self.hash = mix(self.hash, word);
    }

    /// The stack's first function was reached.
    #[inline(always)]
    fn complete(&self) -> StackEnd {
        if self.any_by_frame_pointer == 0 { StackEnd::Complete } else { StackEnd::CompleteByFramePointers }
    }

    /// Goes to a caller.
    #[inline(always)]
    fn go<M: Machine>(&mut self, ip: u64, sp: u64, fp: u64) -> Result<(), StackEnd> {
        let ip = ip & M::ADDRESS_MASK;
        if ip == 0 {
            return Err(self.complete());
        }
        if !(USER_START..USER_END).contains(&ip) {
            return Err(StackEnd::ReturnAddressLost);
        }
        let registers = &mut self.registers;
        [registers.ip, registers.sp, registers.fp, registers.lr, registers.all] = [ip, sp, fp, 0, 0];
        Ok(())
    }
}

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}

/// Mixes one frame into both halves: multiply and xor-shift, each half with constants of its own (odd, from the digits of
/// the golden ratio and of pi), keyed by the random seed that both start from.
#[inline(always)]
#[must_use]
pub fn mix(hash: [u64; 2], word: u64) -> [u64; 2] {
    let mut a = (hash[0] ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    a ^= a >> 32;
    let mut b = (hash[1].rotate_left(27) ^ word).wrapping_mul(0x2437_54a8_88a3_08d3);
    b ^= b >> 29;
    [a, b]
}

/// One frame by the tables: notes where we are, then goes to the caller. Says whether the walk goes on; if not, `walk.end` says why.
#[inline(always)]
pub fn step<M: Machine, T: Tables + Memory>(
    walk: &mut Walk,
    cache: &mut RowCache,
    frames: &mut [u64; MAX_USER_FRAMES],
    world: &T,
) -> bool {
    let Some(slot) = frames.get_mut(walk.depth as usize) else { return false };
    let exact = walk.registers.all != 0;
    let address = if exact { walk.registers.ip } else { walk.registers.ip.wrapping_sub(1) };
    let found = find(world, cache, &walk.space, &mut walk.mapping, address);
    let rule = if found.has_rule() { world.rule(found.rule) } else { None };
    let cfa = rule.map_or(Cfa::None as u8, |rule| rule.cfa);
    // A return address that no call has left was put there by who made this stack (`makecontext`, Boost.Context): at the beginning of a
    // function, which compilers align, or in code that nothing describes. Its function was never called. Elsewhere it is not looked for,
    // and there is remembered what was seen: it costs a read. A signal trampoline was not called either, and has a rule of its own.
    let is_unknown =
        found.is(Code::NoRows) || found.is(Code::Rows) && (cfa == Cfa::None as u8 || cfa == Cfa::Unsupported as u8);
    let is_first = found.is(Code::Rows) && walk.registers.ip & (ALIGNMENT - 1) == 0;
    let mut is_nobody = found.is(Code::Made);
    if !exact && (is_first || is_unknown) {
        let made = is_made::<M, T>(walk, world);
        if made.is_none() && T::CODE_MAY_COME {
            walk.note(slot, address);
            walk.end = StackEnd::RowsNotLoaded as u32;
            return false;
        }
        // Elsewhere what cannot be read is taken for a call, and is not remembered: the same code of another process may be there.
        is_nobody = made == Some(true);
        if is_first && made.is_some() {
            let code = if is_nobody { Code::Made } else { Code::Called } as u16;
            remember(cache, &walk.space, address, Found { code, ..found });
        }
    }
    if is_nobody && !exact && cfa != Cfa::Signal as u8 {
        walk.end = walk.complete() as u32;
        return false;
    }
    let gone = match rule {
        Some(rule) if rule.cfa != Cfa::None as u8 => {
            // A signal trampoline was not called, it is where the handler returns to.
            let shown = if rule.cfa == Cfa::Signal as u8 { walk.registers.ip } else { address };
            walk.note(slot, shown);
            by_rule::<M, T>(walk, rule, address, world)
        }
        _ => {
            walk.note(slot, address);
            without_rule::<M, T>(walk, found, world)
        }
    };
    match gone {
        Ok(()) => true,
        Err(end) => {
            walk.end = end as u32;
            false
        }
    }
}

/// Whether the code before the return address at hand ends a function, or fills the space behind one, and is no call. `None` when it cannot
/// be read.
#[inline(always)]
fn is_made<M: Machine, T: Memory>(walk: &Walk, world: &T) -> Option<bool> {
    let code = world.code(walk.registers.ip.wrapping_sub(8))?;
    Some(!M::ends_with_call(code) && M::ends_function(code))
}

/// One frame by its frame pointer alone: [`UnwindMode::FramePointers`].
#[inline(always)]
pub fn step_by_frame_pointer<M: Machine, S: Memory>(
    walk: &mut Walk,
    frames: &mut [u64; MAX_USER_FRAMES],
    memory: &S,
) -> bool {
    let Some(slot) = frames.get_mut(walk.depth as usize) else { return false };
    let Registers { ip, sp, fp, all, .. } = walk.registers;
    walk.note(slot, if all != 0 { ip } else { ip.wrapping_sub(1) });
    let gone = if fp == 0 {
        Err(StackEnd::Complete)
    } else if fp & 7 != 0 || fp < sp || fp >= USER_END {
        Err(StackEnd::FramePointerLost)
    } else {
        by_frame_pointer::<M, S>(walk, memory, fp)
    };
    match gone {
        Ok(()) => true,
        Err(end) => {
            walk.end = end as u32;
            false
        }
    }
}

/// `[fp]` holds the caller's frame pointer, `[fp + 8]` the return address (System V ABI, AMD64 supplement, 3.2.2; Procedure Call
/// Standard for the Arm 64-bit Architecture, 6.4.6). A thread's first function has frame pointer 0.
#[inline(always)]
fn by_frame_pointer<M: Machine, S: Memory>(walk: &mut Walk, memory: &S, fp: u64) -> Result<(), StackEnd> {
    let caller_fp = walk.word(memory, fp)?;
    let return_address = walk.word(memory, fp.wrapping_add(8))?;
    walk.go::<M>(return_address, fp.wrapping_add(16), caller_fp)
}

/// Where no rule helps: the frame pointer, or the reason why there is no way on.
#[inline(always)]
fn without_rule<M: Machine, T: Tables + Memory>(walk: &mut Walk, found: Found, world: &T) -> Result<(), StackEnd> {
    if found.is(Code::Unmapped) {
        return Err(StackEnd::NoMappings);
    }
    if found.is(Code::NotLoaded) {
        return Err(StackEnd::RowsNotLoaded);
    }
    let lost = if found.is(Code::Jit) { StackEnd::JitFramePointerLost } else { StackEnd::NoUnwindRows };
    if found.is(Code::Jit)
        && walk.registers.all == 0
        && let Ok(code) = walk.word(world, walk.registers.ip)
        && let Some(bytes) = M::taken_down(code)
    {
        let cfa = walk.registers.sp.wrapping_add(bytes + 8);
        let return_address = walk.word(world, cfa.wrapping_sub(8))?;
        walk.by_frame_pointer = 0;
        return walk.go::<M>(return_address, cfa, walk.registers.fp);
    }
    if walk.mode != UnwindMode::Auto as u32 {
        return Err(lost);
    }
    by_checked_frame_pointer::<M, T>(walk, world, lost)
}

/// Goes to the caller as the rule says.
#[inline(always)]
fn by_rule<M: Machine, S: Memory>(walk: &mut Walk, rule: &Rule, address: u64, memory: &S) -> Result<(), StackEnd> {
    let kind = rule.cfa;
    if kind == Cfa::End as u8 {
        return Err(walk.complete());
    }
    if kind == Cfa::Signal as u8 {
        return signal::<M, S>(walk, memory, rule);
    }
    if kind == Cfa::FramePointer as u8 {
        return by_frame_pointer_rule::<M, S>(walk, memory, rule);
    }
    let base = if kind == Cfa::Plt as u8 { walk.registers.sp } else { walk.register::<M>(rule.cfa_register)? };
    let mut cfa = base.wrapping_add(rule.cfa_offset as u64);
    if kind == Cfa::Deref as u8 {
        cfa = walk.word(memory, cfa)?.wrapping_add(rule.extra as u64);
    } else if kind == Cfa::Plt as u8 {
        cfa = cfa.wrapping_add(if (address & 15) as i32 >= rule.extra { 8 } else { 0 });
    } else if kind != Cfa::Register as u8 {
        return Err(StackEnd::UnsupportedRule);
    }
    let sp = walk.registers.sp;
    // vfork of glibc for x86-64, too: it takes its return address off the stack, into a register.
    let not_in_memory = M::HAS_LINK_REGISTER || rule.ra & (Rule::SIGNED - 1) == Saved::InRegister as u8;
    let leaf_without_stack = not_in_memory && cfa == sp && walk.registers.all != 0;
    if cfa <= sp && !leaf_without_stack {
        return Err(StackEnd::StackNotRising);
    }
    // The frame pointer is saved below the return address: in this order one read of the stack serves both.
    let saved = |how: u8, offset: i16| {
        let from = if how == Saved::AtCfa as u8 { cfa } else { base };
        (how == Saved::AtCfa as u8 || how == Saved::AtRegister as u8, from.wrapping_add(offset as u64))
    };
    let (in_memory, at) = saved(rule.fp, rule.fp_offset);
    let fp = if in_memory {
        walk.word(memory, at)?
    } else if rule.fp == Saved::Same as u8 {
        walk.registers.fp
    } else if rule.fp == Saved::InRegister as u8 {
        walk.register::<M>(rule.fp_offset as u8)?
    } else {
        0
    };
    let how = rule.ra & (Rule::SIGNED - 1);
    let (in_memory, at) = saved(how, rule.ra_offset);
    let return_address = if in_memory {
        walk.word(memory, at)?
    } else if how == Saved::InRegister as u8 {
        walk.register::<M>(rule.ra_offset as u8)?
    } else if how == Saved::Undefined as u8 {
        return Err(walk.complete());
    } else if M::HAS_LINK_REGISTER && walk.registers.all != 0 {
        walk.registers.lr
    } else {
        return Err(StackEnd::UnsupportedRule);
    };
    if return_address == 0 && rule.ra & Rule::READ != 0 {
        return Err(StackEnd::ReturnAddressLost);
    }
    walk.by_frame_pointer = 0;
    walk.go::<M>(return_address, cfa, fp)
}

/// By the frame pointer of code that keeps one, where a rule says so.
#[inline(always)]
fn by_frame_pointer_rule<M: Machine, S: Memory>(walk: &mut Walk, memory: &S, rule: &Rule) -> Result<(), StackEnd> {
    let Registers { sp, fp, .. } = walk.registers;
    if fp == 0 {
        return Err(walk.complete());
    }
    // `extra`: this function has switched stacks, its frame pointer leads to the one before.
    if fp & 7 != 0 || fp >= USER_END || (fp < sp && rule.extra != 1) {
        return Err(StackEnd::FramePointerLost);
    }
    walk.by_frame_pointer = 0;
    by_frame_pointer::<M, S>(walk, memory, fp)
}

/// Out of a signal handler: all registers are those that the kernel saved. The stack may be another one, so that it need not rise.
#[inline(always)]
fn signal<M: Machine, S: Memory>(walk: &mut Walk, memory: &S, rule: &Rule) -> Result<(), StackEnd> {
    let ucontext = walk.registers.sp.wrapping_add(rule.cfa_offset as u64);
    walk.window_bytes = 0;
    let bytes = 8 * M::SIGNAL_WORDS as u64;
    if memory.read(ucontext.wrapping_add(M::UCONTEXT_REGISTERS), bytes, &mut walk.window) < bytes {
        return Err(StackEnd::StackUnreadable);
    }
    M::interrupted(&walk.window, &mut walk.registers);
    walk.by_frame_pointer = 0;
    if (USER_START..USER_END).contains(&walk.registers.ip) { Ok(()) } else { Err(StackEnd::ReturnAddressLost) }
}

/// Code without rows: its frame pointer, if everything about it is as it should be. A frame that was reached this way and has no
/// frame pointer is the first one.
#[inline(always)]
fn by_checked_frame_pointer<M: Machine, T: Tables + Memory>(
    walk: &mut Walk,
    world: &T,
    lost: StackEnd,
) -> Result<(), StackEnd> {
    let Registers { sp, fp, .. } = walk.registers;
    if fp == 0 && walk.by_frame_pointer != 0 {
        return Err(walk.complete());
    }
    if fp & 7 != 0 || fp < sp || fp - sp > FRAME_POINTER_REACH || fp >= USER_END {
        return Err(lost);
    }
    let (Ok(caller_fp), Ok(return_address)) = (walk.word(world, fp), walk.word(world, fp.wrapping_add(8))) else {
        return Err(lost);
    };
    let return_address = return_address & M::ADDRESS_MASK;
    if return_address != 0 && !enter(world, &walk.space, &mut walk.mapping, return_address.wrapping_sub(1)) {
        return Err(lost);
    }
    walk.by_frame_pointer = BY_FRAME_POINTER;
    walk.any_by_frame_pointer = BY_FRAME_POINTER;
    walk.go::<M>(return_address, fp.wrapping_add(16), caller_fp)
}
