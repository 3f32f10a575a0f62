//! What the command line's words mean on this host: default paths, targets, limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use profiler_ebpf::tables::UnwindMode;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use super::args::{EventArg, NamingArgs, SamplingArgs, UnwindArg, UnwindArgs};
use super::exit::Usage;
use crate::profile::SampleEvent;
use crate::sampler::{Cgroup, Frequency, SamplerOptions, Target, WalkLoop, choose_event};
use crate::symbolizer::{Debuginfod, NamesWorker, WorkerCommand};

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
/// A process or cgroup that does not exist.
pub fn target(pids: &[u32], cgroup: Option<&Path>) -> anyhow::Result<Target> {
    if let Some(path) = cgroup {
        return Ok(Target::Cgroup(Cgroup::find(path)?));
    }
    if pids.is_empty() {
        return Ok(Target::All);
    }
    for pid in pids {
        if *pid == 0 || !Path::new(&format!("/proc/{pid}")).exists() {
            anyhow::bail!(Usage(format!("no process with pid {pid}: `ps -e` lists the running ones")));
        }
        // A thread has a folder too, hidden from listings: its process is what can be sampled.
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse::<u32>().ok());
        if let Some(tgid) = tgid.filter(|tgid| tgid != pid) {
            anyhow::bail!(Usage(format!("{pid} is a thread of process {tgid}: use -p {tgid}")));
        }
    }
    Ok(Target::Pids(pids.to_vec()))
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
    let frequency = args.frequency.map(Frequency::new).transpose()?.unwrap_or_default();
    let options = SamplerOptions::new(frequency, event, target);
    Ok(SamplerOptions {
        user_stack_slots: args.user_stack_slots,
        kernel_stack_buckets: args.kernel_stack_buckets,
        unwind: match args.unwind {
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
