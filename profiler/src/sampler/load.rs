//! The eBPF object: sized, configured and loaded, its maps in hand.

use std::collections::BTreeSet;
use std::io;

use aya::maps::{Array, HashMap, MapData, PerCpuArray, ProgramArray, RingBuf, StackTraceMap};
use aya::programs::{PerfEvent, ProgramError, RawTracePoint};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use profiler_ebpf::tables::UnwindMode;
use profiler_ebpf::{Config, Counters, Filter, MAX_EVENTS};

use super::SamplerError;
use super::btf::TaskOffsets;
use super::descendants::{descendants, parents};
use super::options::{SamplerOptions, Target, WalkLoop};
use super::unwind_maps::UnwindMaps;

/// Processes that `-p` can follow, children included.
const MAX_FILTER_PIDS: u32 = 65_536;

/// The loaded object's parts.
pub(super) struct Loaded {
    /// Keeps the programs loaded and attached.
    pub ebpf: Ebpf,
    pub samples: RingBuf<MapData>,
    /// Size of `samples`.
    pub ring_bytes: u32,
    pub generation: Array<MapData, u32>,
    pub counters: PerCpuArray<MapData, Counters>,
    pub kernel_stacks: [StackTraceMap<MapData>; 2],
    /// Unwind tables, unless frame pointers are all that is followed.
    pub unwind_maps: Option<UnwindMaps>,
    /// Which program takes samples.
    pub walk_loop: WalkLoop,
    /// Where that program finds the one that goes on. Its entry is there as long as this.
    _more: ProgramArray<MapData>,
}

/// Loads everything; nothing samples yet.
pub(super) fn load(options: &SamplerOptions) -> Result<Loaded, SamplerError> {
    if options.others.len() >= MAX_EVENTS as usize {
        return Err(SamplerError::TooManyEvents { most: MAX_EVENTS - 1 });
    }
    let config = config(options)?;
    let cpus = nr_cpus().map_or(1, |cpus| cpus.get() as usize);
    let ring_bytes = options.ring_bytes(cpus);
    let pids = if matches!(options.target, Target::Pids(_)) { MAX_FILTER_PIDS } else { 1 };
    let mut ebpf = EbpfLoader::new()
        .override_global("CONFIG", &config, true)
        .map_max_entries("SAMPLES", ring_bytes)
        .map_max_entries("USER_STACKS", options.user_stack_slots)
        .map_max_entries("KERNEL_STACKS_0", options.kernel_stack_buckets)
        .map_max_entries("KERNEL_STACKS_1", options.kernel_stack_buckets)
        .map_max_entries("PIDS", pids)
        .load(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/profiler-ebpf")))
        .map_err(|error| denied_or(error, "create eBPF maps", SamplerError::load))?;

    let walk_loop = options.walk_loop.unwrap_or_else(WalkLoop::of_running_kernel);
    let name = walk_loop.program();
    let sample: &mut PerfEvent = program(&mut ebpf, name)?;
    sample.load().map_err(|error| refused(name, error))?;
    let mut more: ProgramArray<_> = take(&mut ebpf, "MORE", ProgramArray::try_from)?;
    if walk_loop == WalkLoop::TailCalls {
        let walk_on: &mut PerfEvent = program(&mut ebpf, "walk_on")?;
        walk_on.load().map_err(|error| refused("walk_on", error))?;
        more.set(0, walk_on.fd().map_err(SamplerError::load)?, 0).map_err(SamplerError::load)?;
    }
    let by_rows = options.unwind != UnwindMode::FramePointers;
    let unwind_maps = if by_rows { Some(UnwindMaps::take(&mut ebpf)?) } else { None };
    if by_rows || matches!(options.target, Target::Pids(_)) {
        attach(&mut ebpf, "follow_fork", "sched_process_fork")?;
        attach(&mut ebpf, "forget_process", "sched_process_free")?;
    }
    if by_rows {
        attach(&mut ebpf, "forget_mappings", "sched_process_exec")?;
        // Where the tracepoint is not to be had, what is mapped over other code is known a tenth of a second late.
        if let Err(error) = attach(&mut ebpf, "follow_unmapping", "vm_unmapped_area") {
            let error: &dyn std::error::Error = &error;
            tracing::info!(error, "libraries that take each other's place are known a tenth of a second late");
        }
    }
    if let Target::Pids(targets) = &options.target {
        follow(&mut ebpf, targets)?;
    }
    let mut generation: Array<_, u32> = take(&mut ebpf, "GENERATION", Array::try_from)?;
    generation.set(0, &FIRST_GENERATION, 0).map_err(SamplerError::load)?;
    Ok(Loaded {
        samples: take(&mut ebpf, "SAMPLES", RingBuf::try_from)?,
        ring_bytes,
        counters: take(&mut ebpf, "COUNTERS", PerCpuArray::try_from)?,
        kernel_stacks: [
            take(&mut ebpf, "KERNEL_STACKS_0", StackTraceMap::try_from)?,
            take(&mut ebpf, "KERNEL_STACKS_1", StackTraceMap::try_from)?,
        ],
        generation,
        unwind_maps,
        walk_loop,
        _more: more,
        ebpf,
    })
}

fn attach(ebpf: &mut Ebpf, name: &'static str, tracepoint: &str) -> Result<(), SamplerError> {
    let program: &mut RawTracePoint = program(ebpf, name)?;
    program.load().map_err(|error| refused(name, error))?;
    program.attach(tracepoint).map_err(SamplerError::load)?;
    Ok(())
}

/// Looks for descendants at most this often: each look but the last finds some that were forked during the one before.
const MAX_LOOKS: u32 = 5;

/// Lets the filter pass these processes and their descendants: those to come by the kernel's word, from now on, and those
/// there are already.
fn follow(ebpf: &mut Ebpf, roots: &[u32]) -> Result<(), SamplerError> {
    let mut map: HashMap<_, u32, u8> = HashMap::try_from(&mut *map_mut(ebpf, "PIDS")?).map_err(SamplerError::load)?;
    let mut followed = BTreeSet::new();
    let mut found: BTreeSet<u32> = roots.iter().copied().collect();
    for _ in 0..MAX_LOOKS {
        for pid in &found {
            map.insert(pid, &1, 0).map_err(SamplerError::load)?;
        }
        followed.append(&mut found);
        found = descendants(&followed, &parents());
        if found.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Books start empty at generation 0, so the first real one is 1.
pub(super) const FIRST_GENERATION: u32 = 1;

fn config(options: &SamplerOptions) -> Result<Config, SamplerError> {
    let mut seed = [0_u8; 16];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| SamplerError::load(io::Error::from(errno)))?;
    let [low, high] = [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|i| seed[at + i])));
    // Without BTF samples carry no start time and `-p` cannot follow children; the rest works.
    let offsets = TaskOffsets::of_running_kernel();
    if let (Target::Pids(_), Err(error)) = (&options.target, &offsets) {
        return Err(SamplerError::Unsupported {
            missing: format!("-p needs /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF) to follow children: {error}"),
        });
    }
    let offsets = offsets.unwrap_or_default();
    let (filter, cgroup_id, cgroup_level) = match &options.target {
        Target::All => (Filter::None, 0, 0),
        Target::Pids(_) => (Filter::Pids, 0, 0),
        Target::Cgroup(cgroup) => (Filter::Cgroup, cgroup.id, cgroup.level),
    };
    Ok(Config {
        hash_seed: [low, high],
        cgroup_id,
        cgroup_level,
        filter: filter as u32,
        slot_mask: options.user_stack_slots - 1,
        task_tgid: offsets.tgid,
        task_pid: offsets.pid,
        task_group_leader: offsets.group_leader,
        task_start_boottime: offsets.start_boottime,
        task_mm: offsets.mm,
        others: options.others.len() as u32,
        unwind: options.unwind as u32,
    })
}

/// A program of the object, as its type.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, SamplerError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or_else(|| SamplerError::load(missing(name)))?;
    program.try_into().map_err(SamplerError::load)
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("`{name}` is not in the eBPF object"))
}

fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::maps::Map, SamplerError> {
    ebpf.map_mut(name).ok_or_else(|| SamplerError::load(missing(name)))
}

pub(super) fn take<M>(
    ebpf: &mut Ebpf,
    name: &str,
    convert: impl FnOnce(aya::maps::Map) -> Result<M, aya::maps::MapError>,
) -> Result<M, SamplerError> {
    let map = ebpf.take_map(name).ok_or_else(|| SamplerError::load(missing(name)))?;
    convert(map).map_err(SamplerError::load)
}

/// The verifier's refusal with the end of its log, where the reason stands. It says `EACCES` as well as who lacks a capability, but
/// only the verifier writes a log.
fn refused(program: &'static str, error: ProgramError) -> SamplerError {
    const LINES: usize = 25;
    match &error {
        ProgramError::LoadError { io_error, verifier_log } if !verifier_log.to_string().trim().is_empty() => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            let log_end = lines[lines.len().saturating_sub(LINES)..].join("\n");
            SamplerError::Verifier { program, log_end: format!("{log_end}\n({io_error})") }
        }
        _ => denied_or(error, "load eBPF programs", SamplerError::load),
    }
}

pub(super) fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// [`SamplerError::NotAllowed`] when a denial is at the bottom of the error, else what `otherwise` makes of it.
pub(super) fn denied_or<E: std::error::Error + 'static>(
    error: E,
    action: &'static str,
    otherwise: impl FnOnce(E) -> SamplerError,
) -> SamplerError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(this) = cause {
        if let Some(io_error) = this.downcast_ref::<io::Error>()
            && is_denied(io_error)
        {
            return SamplerError::NotAllowed { action, source: io_error.kind().into() };
        }
        cause = this.source();
    }
    otherwise(error)
}
