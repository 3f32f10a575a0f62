//! The entry points: one for perf events, the timer's and others, and four that follow processes as they fork, execute, unmap and end.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_EXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE, bpf_perf_event_data,
    },
    helpers::generated::{
        bpf_get_attach_cookie, bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_comm,
        bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_get_smp_processor_id, bpf_get_stack, bpf_get_stackid,
        bpf_ktime_get_boot_ns, bpf_probe_read_kernel, bpf_probe_read_user, bpf_ringbuf_output, bpf_ringbuf_query,
        bpf_ringbuf_reserve, bpf_ringbuf_submit, bpf_task_pt_regs,
    },
    macros::{perf_event, raw_tracepoint},
    programs::{PerfEventContext, RawTracePointContext},
};
use profiler_ebpf::tables::{DEEP_TAIL_STACK, Registers, Space, TAIL_STACK};
use profiler_ebpf::walk::{MEMORY_PAGE, mix};
use profiler_ebpf::{
    Config, Counters, Filter, MAX_KERNEL_FRAMES, MAX_TAIL, MAX_USER_FRAMES, NO_KERNEL_STACK, Record, RecordHeader,
    StackEnd,
};

use crate::unwind::{Scratch, pt_regs};
use crate::{maps, task, unwind};

/// Takes one sample.
#[perf_event]
pub fn sample(ctx: PerfEventContext) -> u32 {
    let config = maps::config();
    if let Some((scratch, counters)) = enter(&ctx, &config) {
        if scratch.record.header.end != StackEnd::NoUserStack as u32 {
            unwind::walk(scratch, &config);
        }
        finish(&ctx, &config, scratch, counters);
    }
    0
}

/// Takes one sample where there is no `bpf_loop`.
#[perf_event]
pub fn sample_by_tail_calls(ctx: PerfEventContext) -> u32 {
    let config = maps::config();
    if let Some((scratch, counters)) = enter(&ctx, &config) {
        if scratch.record.header.end != StackEnd::NoUserStack as u32 {
            // SAFETY: does not return, unless the map is empty; then there are no user frames.
            unsafe { maps::MORE.tail_call(&ctx, 0) };
        }
        finish(&ctx, &config, scratch, counters);
    }
    0
}

/// Goes on with a walk that [`sample_by_tail_calls`] has begun.
#[perf_event]
pub fn walk_on(ctx: PerfEventContext) -> u32 {
    let config = maps::config();
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's element; the kernel runs one program on perf events at a time on a CPU, whatever event it is for
    // (`bpf_prog_active`).
    let scratch = unsafe { &mut *scratch };
    if unwind::some_steps(scratch, &config) {
        // SAFETY: does not return, unless it was one too many; then the stack is cut there.
        unsafe { maps::MORE.tail_call(&ctx, 0) };
    }
    let RecordHeader { event, generation, .. } = scratch.record.header;
    let Some(counters) = maps::COUNTERS.get_ptr_mut(Counters::place(event, generation)) else { return 0 };
    // SAFETY: as above.
    finish(&ctx, &config, scratch, unsafe { &mut *counters });
    0
}

/// Counts the tick; if it is to be a sample, fills the head of the record and the registers.
#[inline(always)]
fn enter<'a>(ctx: &PerfEventContext, config: &Config) -> Option<(&'a mut Scratch, &'a mut Counters)> {
    let generation = maps::GENERATION.get(0).copied()?;
    let event = number(ctx, config);
    // SAFETY: this CPU's element; the kernel runs one program on perf events at a time on a CPU (`bpf_prog_active`).
    let counters = unsafe { &mut *maps::COUNTERS.get_ptr_mut(Counters::place(event, generation))? };
    counters.ticks += 1;
    // SAFETY: a helper without arguments.
    let pid_tgid = unsafe { bpf_get_current_pid_tgid() };
    if pid_tgid == 0 {
        counters.idle += 1;
        return None;
    }
    let pid = (pid_tgid >> 32) as u32;
    if !passes_filter(config, pid) {
        counters.filtered += 1;
        return None;
    }
    counters.taken += 1;
    // SAFETY: this CPU's element, as above.
    let scratch = unsafe { &mut *maps::SCRATCH.get_ptr_mut(0)? };
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
    header.event = event;

    // SAFETY: the context of a perf event program begins with the interrupted registers.
    let interrupted: *const pt_regs =
        unsafe { (&raw const (*ctx.as_ptr().cast::<bpf_perf_event_data>()).regs).cast::<pt_regs>() };
    // Read on both paths, before they part: the compiler would otherwise merge these loads with those of the saved registers.
    // SAFETY: as above.
    let in_user_mode = unsafe {
        unwind::load_registers(&mut scratch.walk.registers, interrupted);
        unwind::in_user_mode(interrupted)
    };
    header.kernel_ip = if in_user_mode { 0 } else { scratch.walk.registers.ip };
    // SAFETY: `task` is the current task; the kernel keeps its user registers at the top of its kernel stack.
    let saved = || unsafe { bpf_task_pt_regs(task) } as *const c_void;
    let has_user_stack =
        in_user_mode || (task::has_memory(task.cast(), config) && unwind::load_saved(scratch, saved()));
    scratch.record.header.end = StackEnd::NoUserStack as u32;
    if has_user_stack {
        scratch.record.header.end = StackEnd::TruncatedAtMaxDepth as u32;
        unwind::begin(scratch, config, pid);
    }
    Some((scratch, counters))
}

/// Which event this is: the cookie that it was attached with, none for the clock.
#[inline(always)]
fn number(ctx: &PerfEventContext, config: &Config) -> u32 {
    if config.others == 0 {
        return 0;
    }
    // SAFETY: a helper that takes the program's own context.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) as u32 }
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

/// Completes the record and sends it, or counts it as lost.
#[inline(always)]
fn finish(ctx: &PerfEventContext, config: &Config, scratch: &mut Scratch, counters: &mut Counters) {
    if send(ctx, config, scratch, counters).is_none() {
        counters.ring_full += 1;
    }
}

/// `None` when the ring buffer had no room.
#[inline(always)]
fn send(ctx: &PerfEventContext, config: &Config, scratch: &mut Scratch, counters: &mut Counters) -> Option<()> {
    if scratch.record.header.event != 0 && !is_less_than_half_full() {
        return None;
    }
    let generation = scratch.record.header.generation;
    // A stack is inline until this generation has it; the mark is set only after the record went out, so a mark is never
    // seen before its frames are in the ring buffer.
    let mut mark = None;
    let mut user_frames = 0;
    let mut unfinished = false;
    scratch.record.header.hash = [0; 2];
    if scratch.record.header.end != StackEnd::NoUserStack as u32 {
        let end = scratch.walk.end;
        let hash = mix(scratch.walk.hash, scratch.walk.depth);
        scratch.record.header.end = end;
        scratch.record.header.hash = hash;
        unfinished = end == StackEnd::NoMappings as u32 || end == StackEnd::RowsNotLoaded as u32;
        let slot = hash[0] as u32 & config.slot_mask;
        let tag = hash[1] ^ u64::from(generation).wrapping_mul(0xd6e8_feb8_6659_fd93) | 1;
        let place = maps::USER_STACKS.get_ptr_mut(slot)?;
        // SAFETY: an element of an array map; read and written as one word.
        if unfinished || unsafe { core::ptr::read_volatile(place) } != tag {
            user_frames = scratch.walk.depth.min(MAX_USER_FRAMES as u64);
            counters.user_inline += 1;
            if !unfinished {
                mark = Some((place, tag));
            }
        }
    }
    scratch.record.header.user_frames = user_frames as u16;

    let mut kernel_frames = 0;
    scratch.record.header.kernel_stack = NO_KERNEL_STACK;
    if scratch.record.header.kernel_ip != 0 {
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

    let frames = (user_frames + kernel_frames).min((MAX_USER_FRAMES + MAX_KERNEL_FRAMES) as u64);
    let head = size_of::<RecordHeader>() as u64 + 8 * frames;
    // A process without tables gets them the sooner; everything else waits for the next poll.
    let wake =
        if scratch.record.header.end == StackEnd::NoMappings as u32 { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    let tail_bytes = if unfinished && is_less_than_half_full() { tail(scratch, frames) } else { 0 };
    if tail_bytes > MAX_TAIL as u64 - MEMORY_PAGE && send_deep(scratch, head, wake) {
        return Some(());
    }
    scratch.record.header.tail_bytes = tail_bytes as u32;
    let size = head + tail_bytes;
    // SAFETY: the bytes lie inside the record, by the bound.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const maps::SAMPLES).cast_mut().cast(),
            (&raw mut scratch.record).cast(),
            size.min(size_of::<Record>() as u64),
            u64::from(wake),
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

/// Whether the ring buffer is less than half full. The rest is kept for samples of the clock without a tail: a tail is a hundred times as long
/// as a sample without, and other events may come a million times a second.
#[inline(always)]
fn is_less_than_half_full() -> bool {
    let samples = (&raw const maps::SAMPLES).cast_mut().cast();
    // SAFETY: a helper that reads two numbers of the map.
    unsafe {
        bpf_ringbuf_query(samples, u64::from(BPF_RB_AVAIL_DATA))
            < bpf_ringbuf_query(samples, u64::from(BPF_RB_RING_SIZE)) / 2
    }
}

/// Puts the registers that the walk ended with behind the frames, and the stack from there up, page by page until one cannot be
/// read. Returns how many bytes it made.
#[inline(always)]
fn tail(scratch: &mut Scratch, frames: u64) -> u64 {
    let registers = size_of::<Registers>() as u64;
    let Some(room) = scratch.record.words.get_mut(frames as usize..) else { return 0 };
    let room: *mut u8 = room.as_mut_ptr().cast();
    // SAFETY: behind the frames there is room for registers, stack and a page more (see `Record`); the verifier checks it again.
    unsafe {
        bpf_probe_read_kernel(room.cast(), registers as u32, (&raw const scratch.walk.registers).cast());
        let sp = scratch.walk.registers.sp;
        // The rest of the first page, then whole ones: sums of few numbers, whose bounds the verifier of 6.1 can follow too.
        let (mut copied, mut piece) = (0, MEMORY_PAGE - (sp & (MEMORY_PAGE - 1)));
        for _ in 0..TAIL_STACK as u64 / MEMORY_PAGE {
            let into = room.add((registers + copied) as usize);
            if bpf_probe_read_user(into.cast(), piece as u32, sp.wrapping_add(copied) as *const c_void) != 0 {
                break;
            }
            copied += piece;
            piece = MEMORY_PAGE;
        }
        registers + copied
    }
}

/// Sends an unfinished sample whose stack goes on behind an ordinary tail, with four times as much of it: rustc's stacks have 20 to 60
/// KiB. So much has no room in the record of a CPU; it is copied straight into the ring buffer. Says whether there was room.
#[inline(always)]
fn send_deep(scratch: &mut Scratch, head: u64, wake: u32) -> bool {
    const MOST_HEAD: u64 = (size_of::<RecordHeader>() + 8 * (MAX_USER_FRAMES + MAX_KERNEL_FRAMES)) as u64;
    const REGISTERS: u64 = size_of::<Registers>() as u64;
    if head > MOST_HEAD {
        return false;
    }
    // SAFETY: the bytes reserved are enough for the longest head, the registers and the pages; the verifier checks it again. They are
    // handed in on the one path that has them.
    unsafe {
        let samples = (&raw const maps::SAMPLES).cast_mut().cast();
        let record: *mut u8 = bpf_ringbuf_reserve(samples, MOST_HEAD + REGISTERS + DEEP_TAIL_STACK as u64, 0).cast();
        if record.is_null() {
            return false;
        }
        let behind = record.add(head as usize);
        bpf_probe_read_kernel(behind.cast(), REGISTERS as u32, (&raw const scratch.walk.registers).cast());
        let sp = scratch.walk.registers.sp;
        let (mut copied, mut piece) = (0, MEMORY_PAGE - (sp & (MEMORY_PAGE - 1)));
        for _ in 0..DEEP_TAIL_STACK as u64 / MEMORY_PAGE {
            let into = behind.add((REGISTERS + copied) as usize);
            if bpf_probe_read_user(into.cast(), piece as u32, sp.wrapping_add(copied) as *const c_void) != 0 {
                break;
            }
            copied += piece;
            piece = MEMORY_PAGE;
        }
        scratch.record.header.tail_bytes = (REGISTERS + copied) as u32;
        bpf_probe_read_kernel(record.cast(), head as u32, (&raw const scratch.record).cast());
        bpf_ringbuf_submit(record.cast(), u64::from(wake));
    }
    true
}

/// Puts the kernel stack behind the user frames; returns its number of frames.
#[inline(always)]
fn inline_kernel_stack(
    ctx: &PerfEventContext,
    scratch: &mut Scratch,
    user_frames: u64,
    counters: &mut Counters,
) -> u64 {
    counters.kernel_inline += 1;
    let Some(room) = scratch.record.words.get_mut(user_frames as usize..) else { return 0 };
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

/// A process forked: its child has the same mappings, and is sampled too if it is, from its first instruction.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn follow_fork(ctx: RawTracePointContext) -> i32 {
    let config = maps::config();
    // SAFETY: a helper without arguments.
    let parent = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    let child = task::tgid(ctx.arg(1), &config);
    if child == parent {
        // Only a thread.
        return 0;
    }
    // Full maps leave the child out; user space sees the fill of the one and says so, and hears of the child otherwise for the other.
    if config.filter == Filter::Pids as u32 && maps::PIDS.get_ptr(&parent).is_some() {
        let _ = maps::PIDS.insert(&child, &1, 0);
    }
    if let Some(space) = maps::PROCESSES.get_ptr(&parent) {
        // SAFETY: the value of a map, plain numbers.
        let _ = maps::PROCESSES.insert(&child, unsafe { &*space }, 0);
    }
    0
}

/// Another program takes the process over: nothing of its mappings is left.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn forget_mappings(_ctx: RawTracePointContext) -> i32 {
    // SAFETY: a helper without arguments; who executes is the current task.
    let pid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    let _ = maps::PROCESSES.remove(&pid);
    0
}

/// The kernel has found a place where nothing is mapped, to map something there. If code was known to lie there, it has been unmapped, which no
/// record tells: the process's mappings are not believed any more, and samples carry their stack along until user space knows better.
#[raw_tracepoint(tracepoint = "vm_unmapped_area")]
pub fn follow_unmapping(ctx: RawTracePointContext) -> i32 {
    /// Where `struct vm_unmapped_area_info` has the length, behind its flags.
    const LENGTH: u32 = 8;
    let start: u64 = ctx.arg(0);
    let info: *const c_void = ctx.arg(1);
    // SAFETY: a helper without arguments; who maps is the current task.
    let pid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    let Some(known) = maps::PROCESSES.get_ptr(&pid) else { return 0 };
    // SAFETY: the value of a map. Two halves of different spaces do no harm: the seal goes.
    let space: Space = unsafe { core::ptr::read_volatile(known) };
    // An error is no address; its range overflows.
    let Some(end) = start.checked_add(task::field(info, LENGTH)) else { return 0 };
    let is_known = unwind::is_known(&space, start, end);
    // Code may have come and gone there of which user space is yet to hear.
    let is_noted = || {
        // SAFETY: the value of a map, plain numbers.
        maps::UNMAPPED.get_ptr(&pid).is_some_and(|last| unsafe { (*last)[1] < end && start < (*last)[2] })
    };
    if is_known || is_noted() {
        // SAFETY: a helper without arguments.
        let now = unsafe { bpf_ktime_get_boot_ns() };
        // Noted first: user space looks whether it is noted after it has written.
        let _ = maps::UNMAPPED.insert(&pid, &[now, start, end], 0);
    }
    if is_known {
        let _ = maps::PROCESSES.insert(&pid, &Space { seal: 0, ..space }, u64::from(BPF_EXIST));
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
        let _ = maps::PROCESSES.remove(&tgid);
        let _ = maps::UNMAPPED.remove(&tgid);
    }
    0
}
