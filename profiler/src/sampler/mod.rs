//! Loads and attaches the eBPF programs and turns what the kernel sends into [`RawSample`]s and side-band events.
//!
//! In: perf events on every CPU. Out: samples with their addresses, in the order of the ring buffer, and counters by
//! which every sample taken is accounted for. Knows nothing of processes, files or names.
//!
//! [`RawSample`]: crate::profile::RawSample

mod btf;
mod cpus;
mod descendants;
mod drain;
mod error;
mod load;
mod options;
mod run;
mod sideband;
mod ticks;
mod unwind_maps;
mod wake;

pub use drain::Drained;
pub use error::SamplerError;
pub use options::{Cgroup, DEFAULT_HZ, Frequency, OtherEvent, SamplerOptions, Target, WalkLoop, choose_event};
pub use run::{Polled, Sampler};
pub use ticks::UnseenTicks;
pub use unwind_maps::UnwindMaps;

pub use crate::sys::sampling_event::Counted;

/// Whether the kernel's BTF has the fields that samples carry.
///
/// # Errors
/// No BTF, or the fields are not in it.
pub fn kernel_fields() -> std::io::Result<()> {
    btf::TaskOffsets::of_running_kernel().map(|_| ())
}

/// Whether process ids mean here what they mean to the kernel.
///
/// # Errors
/// [`SamplerError::PidNamespace`]: we are in another pid namespace than the host's.
pub fn check_pid_namespace() -> Result<(), SamplerError> {
    // `PROC_PID_INIT_INO`, the first namespace's number on every kernel (linux/proc_ns.h).
    const FIRST: &str = "pid:[4026531836]";
    // Without /proc everything else says so better.
    let elsewhere = std::fs::read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace.as_os_str() != FIRST);
    if elsewhere { Err(SamplerError::PidNamespace) } else { Ok(()) }
}
