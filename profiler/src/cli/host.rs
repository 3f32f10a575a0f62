//! What the command line's words mean on this host: default paths, targets, limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use profiler_ebpf::tables::UnwindMode;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use super::args::{EventArg, FrequencyArg, NamingArgs, SamplingArgs, UnwindArg, UnwindArgs, WhoArgs};
use super::exit::Usage;
use crate::profile::SampleEvent;
use crate::sampler::{Cgroup, Frequency, SamplerOptions, Target, WalkLoop, choose_event};
use crate::symbolizer::{Debuginfod, NamesWorker, WorkerCommand};
use crate::sys::perf::max_sample_rate;

/// Most samples per second and CPU (`SamplerError::FrequencyRange`).
const MAX_HZ: u32 = 10_000;

/// Where `run` keeps its history: `/var/lib/profiler` for root, else the user's data folder.
#[must_use]
pub fn default_database() -> PathBuf {
    folder("/var/lib", "XDG_DATA_HOME", ".local/share").join("profiler/profiler.db")
}

/// Where unwind rows are kept for the next start: `/var/cache/profiler` for root, else the user's cache folder.
#[must_use]
pub fn cache(args: &UnwindArgs) -> PathBuf {
    args.cache.clone().unwrap_or_else(|| folder("/var/cache", "XDG_CACHE_HOME", ".cache").join("profiler"))
}

/// The servers to ask for debug files, if that is wanted.
///
/// # Errors
/// There is none, or nowhere to keep what it gives.
pub fn debuginfod(args: &SamplingArgs) -> anyhow::Result<Option<Arc<Debuginfod>>> {
    let Some(servers) = &args.debuginfod else { return Ok(None) };
    let theirs = std::env::var("DEBUGINFOD_URLS").unwrap_or_default();
    let servers = if servers.trim().is_empty() { &theirs } else { servers };
    Ok(Some(Debuginfod::start(servers, &cache(&args.tables).join("debuginfod"))?))
}

/// Root's folder, or the user's: by the variable (XDG Base Directory Specification), or below their home.
fn folder(for_root: &str, variable: &str, below_home: &str) -> PathBuf {
    if geteuid().is_root() {
        return PathBuf::from(for_root);
    }
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| ".".into())).join(below_home))
}

/// Whom to sample.
///
/// # Errors
/// A process, thread or cgroup that does not exist.
pub fn target(who: &WhoArgs) -> anyhow::Result<Target> {
    if let Some(path) = &who.cgroup {
        return Ok(Target::Cgroup(Cgroup::find(path)?));
    }
    let (pids, tids) = (who.pids(), who.tids());
    if !tids.is_empty() {
        // The kernel side knows processes: the others of their threads are left out later (keep.rs).
        let process = |tid: &u32| {
            let process = tgid(*tid).filter(|_| *tid > 0);
            process.ok_or_else(|| Usage(format!("no thread with id {tid}: `ps -eL` lists the running ones")))
        };
        let mut processes = tids.iter().map(process).collect::<Result<Vec<_>, _>>()?;
        processes.sort_unstable();
        processes.dedup();
        return Ok(Target::Pids(processes));
    }
    if pids.is_empty() {
        return Ok(Target::All);
    }
    for pid in &pids {
        if *pid == 0 || !Path::new(&format!("/proc/{pid}")).exists() {
            anyhow::bail!(Usage(format!("no process with pid {pid}: `ps -e` lists the running ones")));
        }
        // A thread has a folder too, hidden from listings: its process is what can be sampled.
        if let Some(tgid) = tgid(*pid).filter(|tgid| tgid != pid) {
            anyhow::bail!(Usage(format!("{pid} is a thread of process {tgid}: use -p {tgid}, or -t {pid}")));
        }
    }
    Ok(Target::Pids(pids))
}

/// The process that a thread belongs to.
fn tgid(tid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}

/// What names, with names of earlier runs in a folder of the cache's.
#[must_use]
pub fn names_worker(args: &NamingArgs, cache: Option<&Path>) -> NamesWorker {
    let command = WorkerCommand { sources: args.names, ..WorkerCommand::default() };
    NamesWorker::new(command).keeping_in(cache.map(kept_names).as_deref())
}

/// Where names are kept.
#[must_use]
pub fn kept_names(cache: &Path) -> PathBuf {
    cache.join("names")
}

/// Options of the sampler.
///
/// # Errors
/// A frequency that was asked for and is out of range or above the kernel's limit.
pub fn sampler_options(args: &SamplingArgs, target: Target) -> anyhow::Result<SamplerOptions> {
    let event = match args.event {
        EventArg::Auto => choose_event(),
        EventArg::CpuClock => SampleEvent::CpuClock,
        EventArg::Cycles => SampleEvent::Cycles,
    };
    let frequency = match args.frequency {
        None => Frequency::default(),
        Some(FrequencyArg::Hz(hz)) => Frequency::new(hz)?,
        Some(FrequencyArg::Max) => Frequency::new(max_sample_rate().unwrap_or(MAX_HZ).clamp(1, MAX_HZ))?,
    };
    let options = SamplerOptions::new(frequency, event, target);
    Ok(SamplerOptions {
        user_stack_slots: args.user_stack_slots,
        kernel_stack_buckets: args.kernel_stack_buckets,
        unwind: match args.call_graph.unwrap_or(args.unwind) {
            UnwindArg::Auto => UnwindMode::Auto,
            UnwindArg::Dwarf => UnwindMode::Rows,
            UnwindArg::Fp => UnwindMode::FramePointers,
        },
        walk_loop: args.walk_by_tail_calls.then_some(WalkLoop::TailCalls),
        ..options
    })
}

/// Raises the limit on open files as far as it goes: every sampled binary is pinned by a descriptor.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Failing keeps the old limit; the process room pins fewer files then.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
