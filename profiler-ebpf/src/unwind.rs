//! The walk of a user stack, one frame a round of `bpf_loop` (512 frames, where the kernel's own helpers stop at 127).
//!
//! Today every step follows the frame pointer. Unwind rows will come in as another way to take the same step: the state, the
//! hash and the ends are ready for it.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{bpf_loop, bpf_probe_read_user},
};
use profiler_ebpf::{MAX_USER_FRAMES, Record, StackEnd};

/// Registers of the frame under the walk.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
}

/// State of a walk and the record it fills.
#[repr(C)]
pub struct Scratch {
    /// The record; user frames land at the front of its frames.
    pub record: Record,
    /// Where the walk is.
    pub registers: Registers,
    /// Frames so far.
    pub depth: u64,
    /// Running hash of the frames.
    pub hash: [u64; 2],
}

/// First address that is never user memory on x86-64 with four-level tables is 2^47; with five levels 2^56.
const USER_END: u64 = 1 << 56;
/// `vm.mmap_min_addr` is never lower on a sane host: a smaller address is a small number, not code.
const USER_START: u64 = 4096;

/// Mixes one frame into both halves: multiply and xor-shift, each half with constants of its own (odd, from the digits of
/// the golden ratio and of pi), keyed by the random seed that both start from.
#[inline(always)]
fn mix(hash: [u64; 2], word: u64) -> [u64; 2] {
    let mut a = (hash[0] ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    a ^= a >> 32;
    let mut b = (hash[1].rotate_left(27) ^ word).wrapping_mul(0x2437_54a8_88a3_08d3);
    b ^= b >> 29;
    [a, b]
}

/// Walks from the registers in `scratch`; fills frames, depth, hash and the record's end.
#[inline(always)]
pub fn walk(scratch: &mut Scratch, seed: [u64; 2], pid: u32) {
    scratch.depth = 0;
    scratch.hash = mix(seed, u64::from(pid));
    scratch.record.header.end = StackEnd::TruncatedAtMaxDepth as u32;
    // The callback gets at the state through its context, on the stack as the helper demands. It is also how the compiler
    // learns that the call changes the state.
    let mut context: *mut Scratch = scratch;
    // SAFETY: the callback has the type that the helper documents; the context outlives the call.
    unsafe { bpf_loop(MAX_USER_FRAMES as u32, step as *mut c_void, (&raw mut context).cast(), 0) };
    scratch.hash = mix(scratch.hash, scratch.depth);
}

/// One frame: note where we are, then go to the caller. 0 goes on, 1 stops. Not inlined: the verifier wants a function.
#[inline(never)]
unsafe extern "C" fn step(_round: u32, context: *mut c_void) -> i64 {
    // SAFETY: `walk` passes a pointer to its pointer to the state; nothing else uses the state during the loop.
    let scratch = unsafe { &mut **context.cast::<*mut Scratch>() };
    let Some(slot) = scratch.record.frames.get_mut(scratch.depth as usize) else { return 1 };
    let Registers { ip, sp, fp } = scratch.registers;
    *slot = ip;
    scratch.depth += 1;
    scratch.hash = mix(scratch.hash, ip);
    match caller(sp, fp) {
        Ok(registers) => {
            scratch.registers = registers;
            0
        }
        Err(end) => {
            scratch.record.header.end = end as u32;
            1
        }
    }
}

/// The caller's registers by the frame pointer: `[fp]` holds the caller's frame pointer, `[fp + 8]` the return address
/// (System V ABI, AMD64 supplement, 3.2.2). A thread's first function has frame pointer 0.
#[inline(always)]
fn caller(sp: u64, fp: u64) -> Result<Registers, StackEnd> {
    if fp == 0 {
        return Err(StackEnd::Complete);
    }
    if fp & 7 != 0 || fp < sp || fp >= USER_END {
        return Err(StackEnd::FramePointerLost);
    }
    let mut pair = [0_u64; 2];
    // SAFETY: the helper checks the address itself and fails instead of faulting.
    if unsafe { bpf_probe_read_user(pair.as_mut_ptr().cast(), 16, fp as *const c_void) } != 0 {
        return Err(StackEnd::StackUnreadable);
    }
    let [caller_fp, return_address] = pair;
    if return_address == 0 {
        return Err(StackEnd::Complete);
    }
    if !(USER_START..USER_END).contains(&return_address) {
        return Err(StackEnd::ReturnAddressLost);
    }
    Ok(Registers { ip: return_address, sp: fp + 16, fp: caller_fp })
}

/// The part of `pt_regs` that a walk starts from.
#[inline(always)]
pub unsafe fn registers(regs: *const pt_regs) -> Registers {
    // SAFETY: the caller passes a pointer that the verifier knows as readable.
    unsafe {
        Registers {
            ip: core::ptr::read_volatile(&raw const (*regs).rip),
            sp: core::ptr::read_volatile(&raw const (*regs).rsp),
            fp: core::ptr::read_volatile(&raw const (*regs).rbp),
        }
    }
}
