//! Every map and global of the object. Sizes marked "set at load" are chosen by user space.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf, StackTrace},
};
use profiler_ebpf::{Config, Counters};

use crate::unwind::Scratch;

/// See [`Config`]. User space overwrites it before the load.
#[unsafe(no_mangle)]
static CONFIG: Config = Config {
    hash_seed: [0; 2],
    cgroup_id: 0,
    cgroup_level: 0,
    filter: 0,
    slot_mask: 0,
    task_tgid: 0,
    task_pid: 0,
    task_group_leader: 0,
    task_start_boottime: 0,
    _pad: 0,
};

/// The loaded configuration. Volatile, or the compiler would use the zeros above.
#[inline(always)]
pub fn config() -> Config {
    // SAFETY: a static of this object, never written after the load.
    unsafe { core::ptr::read_volatile(&CONFIG) }
}

/// Samples to user space. Size set at load. Never wakes the reader: it polls.
#[map]
pub static SAMPLES: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// The generation that samples belong to now: user space adds one at each window.
#[map]
pub static GENERATION: Array<u32> = Array::with_max_entries(1, 0);

/// Kernel stacks of even and odd generations: one fills while the other is read and cleared, so that an id is never
/// reused inside a generation. Size set at load.
#[map]
pub static KERNEL_STACKS_0: StackTrace = StackTrace::with_max_entries(2048, 0);
/// See [`KERNEL_STACKS_0`].
#[map]
pub static KERNEL_STACKS_1: StackTrace = StackTrace::with_max_entries(2048, 0);

/// Our own stack map: which user stacks this generation has sent already. Slot = hash modulo size, value = tag of (hash,
/// generation). A slot taken over by another stack only means that the first is sent again. Size set at load.
#[map]
pub static USER_STACKS: Array<u64> = Array::with_max_entries(65_536, 0);

/// What happened, per CPU, in even and in odd generations.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(2, 0);

/// Where a walk keeps its state: too big for the 512-byte stack.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Processes to sample, for `Filter::Pids`. Size set at load (1 when not used).
#[map]
pub static PIDS: HashMap<u32, u8> = HashMap::with_max_entries(1, 0);
