//! Whom to sample and how: what `run` and `record` have in common.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::ValueEnum;

use super::values::{CpuList, FrequencyArg, PidList, call_graph, cpu_list, frequency, pid_list, power_of_two, window};
use crate::profile::NameSources;

/// Whom to sample.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Whom to sample")]
pub struct WhoArgs {
    /// These processes and their children: a list, as `$(pgrep NAME)` gives it.
    #[arg(short, long = "pid", value_name = "PID", value_parser = pid_list, num_args = 0..=1, default_missing_value = "",
          conflicts_with_all = ["cgroup", "tids"])]
    pub pids: Vec<PidList>,
    /// These threads only.
    #[arg(short, long = "tid", value_name = "TID", value_parser = pid_list, conflicts_with = "cgroup")]
    pub tids: Vec<PidList>,
    /// One cgroup (version 2) and those below it.
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Processes of this user, by name or number. May be repeated, as those below.
    #[arg(short, long = "user", value_name = "USER")]
    pub users: Vec<String>,
    /// Processes of this name (`comm`, at most 15 bytes).
    #[arg(long = "comm", value_name = "NAME")]
    pub comms: Vec<String>,
    /// Processes of this systemd unit.
    #[arg(long = "unit", value_name = "UNIT")]
    pub units: Vec<String>,
    /// Processes of this container: its id, or the beginning of it.
    #[arg(long = "container", value_name = "ID")]
    pub containers: Vec<String>,
    /// What runs on these CPUs.
    #[arg(short = 'C', long = "cpu", value_name = "CPUS", value_parser = cpu_list)]
    pub cpus: Option<CpuList>,
}

impl WhoArgs {
    /// All process ids of all `-p`.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.pids.iter().flat_map(|list| list.0.iter().copied()).collect()
    }

    /// All thread ids of all `-t`.
    #[must_use]
    pub fn tids(&self) -> Vec<u32> {
        self.tids.iter().flat_map(|list| list.0.iter().copied()).collect()
    }
}

/// How to sample.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "How to sample")]
pub struct SamplingArgs {
    /// Samples per second and CPU, 1 to 10000, or `max` for as many as the kernel allows. Prime numbers do not beat with periodic work
    /// [default: 97, or the kernel's limit where that is lower].
    #[arg(short = 'F', long = "frequency", visible_alias = "rate", visible_short_alias = 'r', value_name = "HZ", value_parser = frequency)]
    pub frequency: Option<FrequencyArg>,
    /// What makes the samples.
    #[arg(short = 'e', long, value_enum, default_value_t = EventArg::Auto)]
    pub event: EventArg,
    /// How user stacks are walked.
    #[arg(long, value_enum, default_value_t = UnwindArg::Auto)]
    pub unwind: UnwindArg,
    /// Stacks are always recorded: accepted for those who know it from perf.
    #[arg(short = 'g', hide_short_help = true)]
    pub stacks: bool,
    /// As perf has it: `fp` is --unwind fp; `dwarf` and `lbr` are --unwind auto, which copies no stacks and needs no registers of the CPU.
    #[arg(long, value_name = "MODE", value_parser = call_graph, conflicts_with = "unwind", hide_short_help = true)]
    pub call_graph: Option<UnwindArg>,
    #[command(flatten)]
    pub tables: UnwindArgs,
    /// Ask these servers for debug files that are not here: build ids of what runs here are sent to them. Without a value, those of
    /// DEBUGINFOD_URLS.
    #[arg(long, value_name = "URLS", num_args = 0..=1, require_equals = true, default_missing_value = "", env = "PROFILER_DEBUGINFOD")]
    pub debuginfod: Option<String>,
    #[command(flatten)]
    pub naming: NamingArgs,
    /// Slots of the user stack map, a power of two: fewer use less kernel memory and send stacks more often.
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = power_of_two, hide = true)]
    pub user_stack_slots: u32,
    /// Buckets of each kernel stack map, a power of two.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = power_of_two, hide = true)]
    pub kernel_stack_buckets: u32,
    /// Walk by tail calls, as on kernels before 5.17, where there is bpf_loop too.
    #[arg(long, hide = true)]
    pub walk_by_tail_calls: bool,
    /// Length of a window: what a kill -9 or a power cut can lose.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = window, hide = true)]
    pub window: Duration,
}

/// Memory and disk of the unwind tables.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Memory and disk")]
pub struct UnwindArgs {
    /// Most kernel memory for unwind tables; the files used longest ago go first.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", env = "PROFILER_UNWIND_MEMORY")]
    pub unwind_memory: ByteSize,
    /// Where unwind tables and names are kept for the next start [default: /var/cache/profiler as root, else below $XDG_CACHE_HOME].
    #[arg(long, value_name = "FOLDER", env = "PROFILER_CACHE")]
    pub cache: Option<PathBuf>,
}

/// How to name.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Names")]
pub struct NamingArgs {
    /// What names may come from: a list of sources (dwarf,symtab), or what to leave out (-debug_file,-dwz) [default: all].
    ///
    /// There are dwarf, symtab, dynsym, gnu_debugdata, debug_file, dwz, dwo, debuginfod, go, perf_map, jitdump, kallsyms, bpf, vdso.
    #[arg(long, value_name = "SOURCES", default_value = "all", hide_default_value = true, allow_hyphen_values = true,
          env = "PROFILER_NAMES", value_parser = NameSources::parse)]
    pub names: NameSources,
}

/// Choice of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventArg {
    /// CPU cycles where a short test shows that the counter works, else the software clock.
    Auto,
    /// The software CPU clock: works everywhere.
    CpuClock,
    /// The CPU's cycle counter: also sees code with interrupts off.
    Cycles,
}

/// Choice of how to walk user stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnwindArg {
    /// By the unwind rows of the files (.eh_frame), and by frame pointers where a file or a JIT has none.
    Auto,
    /// By unwind rows only.
    Dwarf,
    /// By frame pointers only: cheapest, and blind where programs are built without them.
    Fp,
}
