//! The clocks, read. The only place that asks what time it is: everything else takes time as an argument.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::profile::{BootNanos, WallNanos};

/// `CLOCK_BOOTTIME` now.
#[must_use]
pub fn boot_now() -> BootNanos {
    let now = clock_gettime(ClockId::Boottime);
    BootNanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// `CLOCK_MONOTONIC` now, in nanoseconds: the kernel's timers go by it.
#[must_use]
pub fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Processor time of this thread.
#[must_use]
pub fn thread_time() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

/// `CLOCK_REALTIME` now.
#[must_use]
pub fn wall_now() -> WallNanos {
    let now = clock_gettime(ClockId::Realtime);
    WallNanos(now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec))
}
