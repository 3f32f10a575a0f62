//! The walk of a user stack in the kernel: where its registers, tables and stack come from, and what drives its steps. The steps
//! themselves are the library's (`walk.rs`).
//!
//! `bpf_loop` takes 512 of them (5.17). Before that a program takes [`STEPS`] and tail-calls itself: as many as 33 times.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel, bpf_probe_read_user};
#[cfg(bpf_target_arch = "aarch64")]
use profiler_ebpf::machine::Aarch64 as Machine;
use profiler_ebpf::machine::WINDOW_WORDS;
#[cfg(not(bpf_target_arch = "aarch64"))]
use profiler_ebpf::machine::X86_64 as Machine;
use profiler_ebpf::rows::{RowCache, Tables, overlaps};
use profiler_ebpf::tables::{
    Block, INDEX_ENTRIES, Mapping, PAGE_MAPPINGS, PAGES_PER_CHUNK, Page, Registers, Rule, Space, UnwindMode, view,
};
use profiler_ebpf::walk::{Memory, Walk, mix, step, step_by_frame_pointer};
use profiler_ebpf::{Config, MAX_USER_FRAMES, Record};

use crate::maps;

#[cfg(not(bpf_target_arch = "aarch64"))]
pub use aya_ebpf::bindings::pt_regs;
#[cfg(bpf_target_arch = "aarch64")]
pub use aya_ebpf::bindings::user_pt_regs as pt_regs;

/// State of a walk and the record it fills.
#[repr(C)]
pub struct Scratch {
    /// The record; user frames land at the front of its words.
    pub record: Record,
    /// Where the walk is.
    pub walk: Walk,
    /// Registers as the kernel saved them.
    saved: pt_regs,
}

/// Steps of one program, where there is no `bpf_loop`.
pub const STEPS: usize = 16;

/// The kernel's maps and the current process's memory.
struct Kernel;

impl Kernel {
    #[inline(always)]
    fn page(number: u32) -> Option<&'static Page> {
        maps::UNWIND_PAGES.get_value(number / PAGES_PER_CHUNK, &(number % PAGES_PER_CHUNK))
    }
}

impl Tables for Kernel {
    #[inline(always)]
    fn mappings(&self, page: u32) -> Option<&[Mapping; PAGE_MAPPINGS]> {
        Self::page(page).map(view::mappings)
    }

    #[inline(always)]
    fn index(&self, page: u32) -> Option<&[u32; INDEX_ENTRIES]> {
        Self::page(page).map(view::index)
    }

    #[inline(always)]
    fn block(&self, page: u32) -> Option<&Block> {
        Self::page(page).map(view::block)
    }

    #[inline(always)]
    fn rule(&self, number: u16) -> Option<&Rule> {
        maps::RULES.get(u32::from(number))
    }
}

impl Memory for Kernel {
    const CODE_MAY_COME: bool = true;

    #[inline(always)]
    fn read(&self, address: u64, bytes: u64, into: &mut [u64; WINDOW_WORDS]) -> u64 {
        // SAFETY: `bytes` is no more than the window, which the verifier checks; the address is checked by the helper.
        let error = unsafe { bpf_probe_read_user(into.as_mut_ptr().cast(), bytes as u32, address as *const c_void) };
        if error == 0 { bytes } else { 0 }
    }

    #[inline(always)]
    fn code(&self, address: u64) -> Option<u64> {
        let mut code = 0_u64;
        // SAFETY: as many bytes as there is room for; the address is checked by the helper.
        let error = unsafe { bpf_probe_read_user((&raw mut code).cast(), 8, address as *const c_void) };
        (error == 0).then_some(code)
    }
}

/// Whether a space has code between two addresses.
#[inline(always)]
pub fn is_known(space: &Space, start: u64, end: u64) -> bool {
    overlaps(&Kernel, space, start, end)
}

/// Sets the walk up: the registers are there already.
#[inline(always)]
pub fn begin(scratch: &mut Scratch, config: &Config, pid: u32) {
    let mut space = Space::default();
    if config.unwind != UnwindMode::FramePointers as u32
        && let Some(known) = maps::PROCESSES.get_ptr(&pid)
    {
        // SAFETY: the value of a map. It may be replaced while we read it; the seal tells, and is 0 where it is not believed any more.
        let read: Space = unsafe { core::ptr::read_volatile(known) };
        if read.seal == read.seal() {
            space = read;
        }
    }
    scratch.walk.begin(space, config.unwind, mix(config.hash_seed, u64::from(pid)));
}

/// What a round of `bpf_loop` needs.
struct Round {
    scratch: *mut Scratch,
    cache: *mut RowCache,
}

/// Takes every step there is to take. `None`: a map of our own is not there, which cannot be.
#[inline(always)]
pub fn walk(scratch: &mut Scratch, config: &Config) -> Option<()> {
    // The callback gets at the state through its context, on the stack as the helper demands. It is also how the compiler
    // learns that the call changes the state.
    let mut round = Round { scratch, cache: maps::ROW_CACHE.get_ptr_mut(0)? };
    let context = (&raw mut round).cast();
    // SAFETY: the callbacks have the type that the helper documents; the context outlives the call.
    unsafe {
        if config.unwind == UnwindMode::FramePointers as u32 {
            bpf_loop(MAX_USER_FRAMES as u32, frame_pointer_round as *mut c_void, context, 0)
        } else {
            bpf_loop(MAX_USER_FRAMES as u32, row_round as *mut c_void, context, 0)
        }
    };
    Some(())
}

/// One step by the tables. 0 goes on, 1 stops. Not inlined: the verifier wants a function.
#[inline(never)]
unsafe extern "C" fn row_round(_round: u32, context: *mut c_void) -> i64 {
    // SAFETY: `walk` passes its `Round`, whose two pointers nothing else uses during the loop.
    let (scratch, cache) = unsafe {
        let round = context.cast::<Round>();
        (&mut *(*round).scratch, &mut *(*round).cache)
    };
    i64::from(!row_step(scratch, cache))
}

/// The same by the frame pointer.
#[inline(never)]
unsafe extern "C" fn frame_pointer_round(_round: u32, context: *mut c_void) -> i64 {
    // SAFETY: as above.
    let scratch = unsafe { &mut *(*context.cast::<Round>()).scratch };
    i64::from(!frame_pointer_step(scratch))
}

#[inline(always)]
fn row_step(scratch: &mut Scratch, cache: &mut RowCache) -> bool {
    let Some(frames) = scratch.record.words.first_chunk_mut() else { return false };
    step::<Machine, _>(&mut scratch.walk, cache, frames, &Kernel)
}

#[inline(always)]
fn frame_pointer_step(scratch: &mut Scratch) -> bool {
    let Some(frames) = scratch.record.words.first_chunk_mut() else { return false };
    step_by_frame_pointer::<Machine, _>(&mut scratch.walk, frames, &Kernel)
}

/// Takes up to [`STEPS`] steps. Says whether there may be more.
#[inline(always)]
pub fn some_steps(scratch: &mut Scratch, config: &Config) -> bool {
    let Some(cache) = maps::ROW_CACHE.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's element; the kernel does not run this program twice at once on a CPU.
    let cache = unsafe { &mut *cache };
    let by_frame_pointer = config.unwind == UnwindMode::FramePointers as u32;
    for _ in 0..STEPS {
        let goes_on = if by_frame_pointer { frame_pointer_step(scratch) } else { row_step(scratch, cache) };
        if !goes_on {
            return false;
        }
    }
    true
}

/// Takes registers as the kernel keeps them.
///
/// # Safety
/// `regs` is the context of a program on a perf event, or points to memory that can be read.
#[inline(always)]
pub unsafe fn load_registers(registers: &mut Registers, regs: *const pt_regs) {
    // SAFETY: the caller's word. Volatile: the verifier takes an instruction for one kind of pointer only, so that the loads of two
    // calls must not be merged.
    unsafe { load(registers, regs) };
    registers.all = 1;
}

#[cfg(not(bpf_target_arch = "aarch64"))]
#[inline(always)]
unsafe fn load(registers: &mut Registers, regs: *const pt_regs) {
    use core::ptr::read_volatile;
    // SAFETY: the caller's word.
    unsafe {
        let general = &mut registers.general;
        general[0] = read_volatile(&raw const (*regs).rax);
        general[1] = read_volatile(&raw const (*regs).rdx);
        general[2] = read_volatile(&raw const (*regs).rcx);
        general[3] = read_volatile(&raw const (*regs).rbx);
        general[4] = read_volatile(&raw const (*regs).rsi);
        general[5] = read_volatile(&raw const (*regs).rdi);
        general[8] = read_volatile(&raw const (*regs).r8);
        general[9] = read_volatile(&raw const (*regs).r9);
        general[10] = read_volatile(&raw const (*regs).r10);
        general[11] = read_volatile(&raw const (*regs).r11);
        general[12] = read_volatile(&raw const (*regs).r12);
        general[13] = read_volatile(&raw const (*regs).r13);
        general[14] = read_volatile(&raw const (*regs).r14);
        general[15] = read_volatile(&raw const (*regs).r15);
        registers.ip = read_volatile(&raw const (*regs).rip);
        registers.sp = read_volatile(&raw const (*regs).rsp);
        registers.fp = read_volatile(&raw const (*regs).rbp);
    }
    registers.lr = 0;
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
unsafe fn load(registers: &mut Registers, regs: *const pt_regs) {
    use core::ptr::read_volatile;
    // SAFETY: the caller's word.
    unsafe {
        for n in 0..31 {
            registers.general[n] = read_volatile(&raw const (*regs).regs[n]);
        }
        registers.ip = read_volatile(&raw const (*regs).pc);
        registers.sp = read_volatile(&raw const (*regs).sp);
    }
    registers.fp = registers.general[29];
    registers.lr = registers.general[30];
}

/// Whether these registers are a program's, not the kernel's.
///
/// # Safety
/// As of [`load_registers`].
#[inline(always)]
pub unsafe fn in_user_mode(regs: *const pt_regs) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        #[cfg(not(bpf_target_arch = "aarch64"))]
        // The low two bits of the code segment are the privilege level.
        let user = core::ptr::read_volatile(&raw const (*regs).cs) & 3 == 3;
        #[cfg(bpf_target_arch = "aarch64")]
        // The mode bits; `PSR_MODE_EL0t` is 0.
        let user = core::ptr::read_volatile(&raw const (*regs).pstate) & 15 == 0;
        user
    }
}

/// Takes the registers that were saved at the kernel's entry. Says whether it was entered from a program: a kernel thread never was.
/// Those that work for a program and have its memory (io_uring's, vhost's) have user registers of which the kernel cleared the
/// instruction and stack pointer (`copy_thread`).
#[inline(always)]
pub fn load_saved(scratch: &mut Scratch, task_regs: *const c_void) -> bool {
    let into = (&raw mut scratch.saved).cast();
    // SAFETY: the helper checks the address; what it fills is as large as it is told.
    if unsafe { bpf_probe_read_kernel(into, size_of::<pt_regs>() as u32, task_regs) } != 0 {
        return false;
    }
    let Scratch { saved, walk, .. } = scratch;
    // SAFETY: just read.
    unsafe {
        load_registers(&mut walk.registers, saved);
        in_user_mode(saved) && walk.registers.ip | walk.registers.sp != 0
    }
}
