//! The entry points: one for the timer, two that keep the `-p` filter following children.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_RB_NO_WAKEUP, bpf_perf_event_data, pt_regs},
    helpers::generated::{
        bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
        bpf_get_current_task_btf, bpf_get_smp_processor_id, bpf_get_stack, bpf_get_stackid, bpf_ktime_get_boot_ns,
        bpf_ringbuf_output, bpf_task_pt_regs,
    },
    macros::{perf_event, raw_tracepoint},
    programs::{PerfEventContext, RawTracePointContext},
};
use profiler_ebpf::{
    Config, Counters, Filter, MAX_KERNEL_FRAMES, MAX_USER_FRAMES, NO_KERNEL_STACK, RecordHeader, StackEnd,
};

use crate::{maps, task, unwind};

/// Low two bits of the code segment: 3 in user mode.
const USER_MODE: u64 = 3;

/// Takes one sample.
#[perf_event]
pub fn sample(ctx: PerfEventContext) -> u32 {
    let Some(generation) = maps::GENERATION.get(0).copied() else { return 0 };
    let Some(counters) = maps::COUNTERS.get_ptr_mut(generation & 1) else { return 0 };
    // SAFETY: this CPU's element; the kernel does not run this program twice at once on a CPU.
    let counters = unsafe { &mut *counters };
    counters.ticks += 1;
    // SAFETY: a helper without arguments.
    let pid_tgid = unsafe { bpf_get_current_pid_tgid() };
    if pid_tgid == 0 {
        counters.idle += 1;
        return 0;
    }
    let config = maps::config();
    if !passes_filter(&config, (pid_tgid >> 32) as u32) {
        counters.filtered += 1;
        return 0;
    }
    counters.taken += 1;
    if take(&ctx, &config, pid_tgid, generation, counters).is_none() {
        counters.ring_full += 1;
    }
    0
}

#[inline(always)]
fn passes_filter(config: &Config, pid: u32) -> bool {
    if config.filter == Filter::Pids as u32 {
        return maps::PIDS.get_ptr(&pid).is_some();
    }
    if config.filter == Filter::Cgroup as u32 {
        // SAFETY: a helper with a plain number; 0 when the task's cgroup lies less deep.
        return unsafe { bpf_get_current_ancestor_cgroup_id(config.cgroup_level as i32) } == config.cgroup_id;
    }
    true
}

/// Fills the record and sends it; `None` when the ring buffer had no room.
#[inline(always)]
fn take(
    ctx: &PerfEventContext,
    config: &Config,
    pid_tgid: u64,
    generation: u32,
    counters: &mut Counters,
) -> Option<()> {
    let scratch = maps::SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this CPU's element, as above.
    let scratch = unsafe { &mut *scratch };
    let pid = (pid_tgid >> 32) as u32;
    // SAFETY: the kernel promises a current task here.
    let task = unsafe { bpf_get_current_task_btf() };

    let header = &mut scratch.record.header;
    // SAFETY: helpers that read the clock, the CPU and the cgroup of the current task.
    unsafe {
        header.time = bpf_ktime_get_boot_ns();
        header.cpu = bpf_get_smp_processor_id();
        header.cgroup = bpf_get_current_cgroup_id();
        bpf_get_current_comm(header.comm.as_mut_ptr().cast(), 16);
    }
    header.start = task::process_start(task.cast(), config);
    header.pid = pid;
    header.tid = pid_tgid as u32;
    header.generation = generation;
    header.weight = 1;
    header.hash = [0; 2];
    header.user_frames = 0;
    header.kernel_frames = 0;
    header.kernel_stack = NO_KERNEL_STACK;

    // SAFETY: the context of a perf event program begins with the interrupted registers.
    let interrupted: *const pt_regs =
        unsafe { (&raw const (*ctx.as_ptr().cast::<bpf_perf_event_data>()).regs).cast::<pt_regs>() };
    // Read on both paths, before they part: the compiler would otherwise merge this load with the one below, and the verifier
    // takes one load for one kind of pointer only.
    // SAFETY: as above.
    let in_user_mode = unsafe { (*interrupted).cs } & USER_MODE == USER_MODE;
    // SAFETY: as above.
    scratch.registers = unsafe { unwind::registers(interrupted) };
    scratch.record.header.kernel_ip = if in_user_mode { 0 } else { scratch.registers.ip };
    let has_user_stack = if in_user_mode {
        true
    } else {
        // SAFETY: `task` is the current task; the kernel keeps its user registers at the top of its kernel stack. A
        // kernel thread never came from user mode: its slot holds zeros.
        unsafe {
            let saved = bpf_task_pt_regs(task) as *const pt_regs;
            scratch.registers = unwind::registers(saved);
            core::ptr::read_volatile(&raw const (*saved).cs) & USER_MODE == USER_MODE
        }
    };

    // A stack is inline until this generation has it; the mark is set only after the record went out, so a mark is never
    // seen before its frames are in the ring buffer.
    let mut mark = None;
    let mut user_frames = 0;
    if has_user_stack {
        unwind::walk(scratch, config.hash_seed, pid);
        scratch.record.header.hash = scratch.hash;
        let slot = scratch.hash[0] as u32 & config.slot_mask;
        let tag = scratch.hash[1] ^ u64::from(generation).wrapping_mul(0xd6e8_feb8_6659_fd93) | 1;
        let place = maps::USER_STACKS.get_ptr_mut(slot)?;
        // SAFETY: an element of an array map; read and written as one word.
        if unsafe { core::ptr::read_volatile(place) } != tag {
            mark = Some((place, tag));
            user_frames = scratch.depth.min(MAX_USER_FRAMES as u64);
            counters.user_inline += 1;
        }
    } else {
        scratch.record.header.end = StackEnd::NoUserStack as u32;
    }
    scratch.record.header.user_frames = user_frames as u16;

    let mut kernel_frames = 0;
    if !in_user_mode {
        let map = if generation & 1 == 0 { &raw const maps::KERNEL_STACKS_0 } else { &raw const maps::KERNEL_STACKS_1 };
        // No flags: stacks are compared word for word, and a taken bucket is -EEXIST, never overwritten.
        // SAFETY: context and map are the program's own.
        let id = unsafe { bpf_get_stackid(ctx.as_ptr(), map.cast_mut().cast(), 0) };
        if id >= 0 {
            scratch.record.header.kernel_stack = id as i32;
        } else {
            kernel_frames = inline_kernel_stack(ctx, scratch, user_frames, counters);
        }
    }
    scratch.record.header.kernel_frames = kernel_frames as u16;

    let frames = user_frames + kernel_frames;
    let size = size_of::<RecordHeader>() as u64 + 8 * frames.min((MAX_USER_FRAMES + MAX_KERNEL_FRAMES) as u64);
    // SAFETY: `size` bytes lie inside the record, by the bound above.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const maps::SAMPLES).cast_mut().cast(),
            (&raw mut scratch.record).cast(),
            size,
            u64::from(BPF_RB_NO_WAKEUP),
        )
    };
    if sent != 0 {
        return None;
    }
    if let Some((place, tag)) = mark {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(place, tag) };
    }
    Some(())
}

/// Puts the kernel stack behind the user frames; returns its number of frames.
#[inline(always)]
fn inline_kernel_stack(
    ctx: &PerfEventContext,
    scratch: &mut unwind::Scratch,
    user_frames: u64,
    counters: &mut Counters,
) -> u64 {
    counters.kernel_inline += 1;
    let Some(room) = scratch.record.frames.get_mut(user_frames as usize..) else { return 0 };
    if room.len() < MAX_KERNEL_FRAMES {
        return 0;
    }
    // SAFETY: the room was just measured.
    let bytes = unsafe { bpf_get_stack(ctx.as_ptr(), room.as_mut_ptr().cast(), (8 * MAX_KERNEL_FRAMES) as u32, 0) };
    if bytes < 0 {
        counters.kernel_failed += 1;
        return 0;
    }
    (bytes as u64 / 8).min(MAX_KERNEL_FRAMES as u64)
}

/// A sampled process forked: sample its child too, from its first instruction.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn follow_fork(ctx: RawTracePointContext) -> i32 {
    let config = maps::config();
    // SAFETY: a helper without arguments.
    let parent = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if maps::PIDS.get_ptr(&parent).is_some() {
        let child: *const c_void = ctx.arg(1);
        // A full map leaves the child out; user space sees the map's fill and says so.
        let _ = maps::PIDS.insert(&task::tgid(child, &config), &1, 0);
    }
    0
}

/// The last thread of a process is gone: its pid may come back as a stranger.
#[raw_tracepoint(tracepoint = "sched_process_free")]
pub fn forget_process(ctx: RawTracePointContext) -> i32 {
    let config = maps::config();
    let gone: *const c_void = ctx.arg(0);
    let tgid = task::tgid(gone, &config);
    if task::pid(gone, &config) == tgid {
        let _ = maps::PIDS.remove(&tgid);
    }
    0
}
