//! Every map and global of the object. Sizes marked "set at load" are chosen by user space.

use aya_ebpf::{
    btf_maps,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf, StackTrace},
};
use profiler_ebpf::rows::RowCache;
use profiler_ebpf::tables::{MAX_CHUNKS, MAX_RULES, PAGES_PER_CHUNK, Page, Rule, Space};
use profiler_ebpf::{Config, Counters};

use crate::unwind::Scratch;

/// `BPF_F_MMAPABLE`: user space writes the tables through shared memory.
const MMAPABLE: u32 = 1 << 10;

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
    task_mm: 0,
    others: 0,
    unwind: 0,
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

/// What happened, per CPU, to each event, in even and in odd generations: [`Counters::place`].
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(Counters::ALL, 0);

/// Where a walk keeps its state: too big for the 512-byte stack.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Processes to sample, for `Filter::Pids`. Size set at load (1 when not used).
#[map]
pub static PIDS: HashMap<u32, u8> = HashMap::with_max_entries(1, 0);

/// The pool of pages, in chunks. The chunks are plain arrays of one size, so that the kernel compiles look-ups in them to a few
/// instructions (`array_map_gen_lookup`; not with `BPF_F_INNER_MAP`).
#[btf_map]
pub static UNWIND_PAGES: btf_maps::ArrayOfMaps<Chunk, { MAX_CHUNKS as usize }> = btf_maps::ArrayOfMaps::new();

/// One chunk of the pool.
pub type Chunk = btf_maps::Array<Page, { PAGES_PER_CHUNK as usize }, { MMAPABLE as usize }>;

/// Unwind rules, by number.
#[map]
pub static RULES: Array<Rule> = Array::with_max_entries(MAX_RULES, MMAPABLE);

/// Mappings of each process. Preallocated: before 6.1 programs on perf events may use no other. Size set at load.
#[map]
pub static PROCESSES: HashMap<u32, Space> = HashMap::with_max_entries(16_384, 0);

/// Where the kernel last found a place free in which user space knows a process's code: when (boot clock, nanoseconds), first address, first
/// address after. User space may not give the process mappings from before. The oldest entries go when it is full; what they tell was taken
/// in long ago.
#[map]
pub static UNMAPPED: LruHashMap<u32, [u64; 3]> = LruHashMap::with_max_entries(4096, 0);

/// Answers of the last look-ups.
#[map]
pub static ROW_CACHE: PerCpuArray<RowCache> = PerCpuArray::with_max_entries(1, 0);

/// The program that goes on with a walk where there is no `bpf_loop`: itself, again and again.
#[map]
pub static MORE: ProgramArray = ProgramArray::with_max_entries(1, 0);
