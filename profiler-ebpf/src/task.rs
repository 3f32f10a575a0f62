//! What the kernel knows of a task, read at offsets that user space found in the kernel's BTF.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use profiler_ebpf::Config;

/// Reads one field.
#[inline(always)]
pub fn field<T: Default>(task: *const c_void, offset: u32) -> T {
    let mut value = T::default();
    // SAFETY: the helper checks the address itself; on failure the value stays zero.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            task.cast::<u8>().wrapping_add(offset as usize).cast(),
        )
    };
    value
}

/// Start of the task's process on the boot clock, nanoseconds; 0 when the offsets are unknown.
#[inline(always)]
pub fn process_start(task: *const c_void, config: &Config) -> u64 {
    if config.task_group_leader == 0 {
        return 0;
    }
    let leader: usize = field(task, config.task_group_leader);
    field(leader as *const c_void, config.task_start_boottime)
}

/// Whether the task still has memory: while it ends, its registers are there longer than its stack.
#[inline(always)]
pub fn has_memory(task: *const c_void, config: &Config) -> bool {
    config.task_mm == 0 || field::<u64>(task, config.task_mm) != 0
}

/// Process id of a task.
#[inline(always)]
pub fn tgid(task: *const c_void, config: &Config) -> u32 {
    field(task, config.task_tgid)
}

/// Thread id of a task.
#[inline(always)]
pub fn pid(task: *const c_void, config: &Config) -> u32 {
    field(task, config.task_pid)
}
