//! What the running pipeline tells the server, and what this process costs: `/status`, `/metrics`, `/healthz`.
//!
//! The pipeline writes into a [`SharedLive`] whenever a figure changes (about once a window); requests read a copy. The
//! lock is held for a copy only. Serving a database without sampling has no such thing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::profile::{Losses, StackEnd, WallNanos};

/// Figures of the pipeline since it started.
#[derive(Clone, Debug, Default)]
pub struct LiveStatus {
    /// What makes the samples: `cpu-clock` or `cycles`.
    pub event: &'static str,
    /// Samples per second and CPU.
    pub hz: u32,
    /// CPUs online.
    pub cpus: u32,
    /// When sampling started.
    pub since: WallNanos,
    /// Length of a window.
    pub window: Duration,
    /// End of the newest window that is in the database; `None` before the first.
    pub stored_until: Option<WallNanos>,
    /// Samples taken by the kernel side.
    pub taken: u64,
    /// Samples stored.
    pub stored: u64,
    /// Samples lost.
    pub losses: Losses,
    /// Stored samples by how the walk of the user stack ended.
    pub stacks: BTreeMap<StackEnd, u64>,
    /// Timer ticks (Hz x CPUs x time) that did not come: those of a sleeping CPU, or of a virtual machine that was not run.
    pub ticks_missed: u64,
    /// What the symbolizer's process costs; `None` when there is none.
    pub worker: Option<Cost>,
    /// Things that a person should know, each with its fix.
    pub notices: Vec<String>,
}

impl LiveStatus {
    /// Age of the end of the newest stored window, or of the start of sampling before the first; zero when the wall clock
    /// has stepped back.
    #[must_use]
    pub fn lag(&self, now: WallNanos) -> Duration {
        let until = self.stored_until.unwrap_or(self.since);
        Duration::from_nanos(u64::try_from(now.0.saturating_sub(until.0)).unwrap_or(0))
    }

    /// Why this pipeline counts as failing, if it does: no window stored for more than three windows.
    #[must_use]
    pub fn failing(&self, now: WallNanos) -> Option<String> {
        let lag = self.lag(now);
        (lag > self.window * 3).then(|| {
            format!(
                "no window was stored for {} s (a window is {} s): see the log for the reason, often a full disk",
                lag.as_secs(),
                self.window.as_secs_f64()
            )
        })
    }
}

/// A [`LiveStatus`] that the pipeline writes and the server reads.
#[derive(Clone, Debug, Default)]
pub struct SharedLive(Arc<Mutex<LiveStatus>>);

impl SharedLive {
    /// Shares `status`.
    #[must_use]
    pub fn new(status: LiveStatus) -> Self {
        Self(Arc::new(Mutex::new(status)))
    }

    /// Changes it; keep `change` short, requests wait for it.
    pub fn update(&self, change: impl FnOnce(&mut LiveStatus)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A copy.
    #[must_use]
    pub fn snapshot(&self) -> LiveStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a process costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Processor time so far, user and kernel.
    pub cpu: Duration,
    /// Resident memory.
    pub rss_bytes: u64,
}

impl Cost {
    /// This process's, now.
    #[must_use]
    pub fn own() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        // Second field of statm: resident pages (`man 5 proc_pid_statm`).
        let pages = std::fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok())
            .unwrap_or(0);
        Self {
            cpu: Duration::new(u64::try_from(cpu.tv_sec).unwrap_or(0), u32::try_from(cpu.tv_nsec).unwrap_or(0)),
            rss_bytes: pages.saturating_mul(rustix::param::page_size() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(since_s: i64, stored_until_s: Option<i64>) -> LiveStatus {
        LiveStatus {
            since: WallNanos::from_millis(since_s * 1000),
            stored_until: stored_until_s.map(|s| WallNanos::from_millis(s * 1000)),
            window: Duration::from_secs(10),
            ..LiveStatus::default()
        }
    }

    /// Three windows may pass without a stored one, not more; before the first, the start counts.
    #[test]
    fn more_than_three_windows_without_a_stored_one_is_failing() {
        let now = WallNanos::from_millis(100_000);
        assert_eq!(live(0, Some(70)).failing(now), None);
        assert!(live(0, Some(69)).failing(now).is_some_and(|reason| reason.contains("31 s")));
        assert_eq!(live(70, None).failing(now), None);
        assert!(live(69, None).failing(now).is_some());
    }

    /// A wall clock that steps back is no lag.
    #[test]
    fn a_clock_that_steps_back_is_no_lag() {
        assert_eq!(live(0, Some(200)).lag(WallNanos::from_millis(100_000)), Duration::ZERO);
    }

    /// The figures of this process are there and plausible.
    #[test]
    fn own_cost_is_measured() {
        let cost = Cost::own();
        assert!(cost.rss_bytes > 1 << 20, "{cost:?}");
        assert!(cost.cpu > Duration::ZERO, "{cost:?}");
    }
}
