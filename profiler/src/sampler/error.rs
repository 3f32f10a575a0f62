//! What can keep the sampler from starting, each with what to do about it.

use std::io;

/// Why sampling cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SamplerError {
    /// Not allowed: what is missing and how to grant it.
    #[error(
        "not allowed to {action}: run as root, or grant the capabilities: \
         sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_syslog,cap_dac_read_search+ep PROFILER \
         (and sudo sysctl kernel.perf_event_paranoid=2 where it is 3)"
    )]
    NotAllowed {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The frequency is out of range.
    #[error("sampling frequency {hz} Hz is out of range: choose 1 to 10000")]
    FrequencyRange {
        /// What was asked for.
        hz: u32,
    },
    /// The kernel forbids so high a frequency.
    #[error(
        "sampling frequency {hz} Hz is above this kernel's limit of {limit} Hz: \
         raise it with `sudo sysctl kernel.perf_event_max_sample_rate={hz}`, or leave -F out to take the limit"
    )]
    FrequencyLimit {
        /// What was asked for.
        hz: u32,
        /// `kernel.perf_event_max_sample_rate`.
        limit: u32,
    },
    /// More events at once than there are counters for.
    #[error("more than {most} events beside the clock: leave some out")]
    TooManyEvents {
        /// As many as there may be.
        most: u32,
    },
    /// The kernel's verifier refused a program.
    #[error("this kernel refused the eBPF program `{program}`; the end of the verifier's log:\n{log_end}")]
    Verifier {
        /// Which program.
        program: &'static str,
        /// Last lines of the log.
        log_end: String,
    },
    /// The kernel lacks something.
    #[error("this kernel cannot run the profiler: {missing}")]
    Unsupported {
        /// What it lacks and since which version it is there.
        missing: String,
    },
    /// The kernel tells the host's process ids, and `/proc` here others.
    #[error(
        "this is a pid namespace of its own, where the kernel's process ids mean other processes: \
         run on the host, or start the container with --pid=host"
    )]
    PidNamespace,
    /// `--cgroup` names nothing.
    #[error("no cgroup at {path}: give a directory below the cgroup v2 mount, such as /system.slice/nginx.service")]
    NoSuchCgroup {
        /// Where it was looked for.
        path: std::path::PathBuf,
    },
    /// No perf event could be opened on any CPU.
    #[error("failed to open a perf event on CPU {cpu}")]
    PerfEvent {
        /// Which CPU.
        cpu: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Anything else that the loader reports.
    #[error("failed to load the eBPF programs")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SamplerError {
    /// Wraps a loader error.
    pub(super) fn load(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Load(Box::new(error))
    }
}
