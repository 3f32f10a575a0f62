//! What the running pipeline tells the server, and what this process costs: `/status`, `/metrics`, `/healthz`.
//!
//! The pipeline writes into a [`SharedLive`] whenever a figure changes (about once a window); requests read a copy. The
//! lock is held for a copy only. Serving a database without sampling has no such thing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::process::{BeingRead, TableCounts};
use crate::profile::{Losses, MissedTicks, NameSources, StackEnd, WallNanos};
use crate::symbolizer::ChildCounts;
use crate::unwind::UnwindCounts;

/// Figures of the pipeline since it started.
#[derive(Clone, Debug, Default)]
pub struct LiveStatus {
    /// What makes the samples: `cpu-clock` or `cycles`.
    pub event: &'static str,
    /// Samples per second and CPU.
    pub hz: u32,
    /// Samples per second and CPU that are wanted.
    pub hz_wanted: u32,
    /// CPUs online.
    pub cpus: u32,
    /// When sampling started.
    pub since: WallNanos,
    /// Length of a window.
    pub window: Duration,
    /// End of the newest window that is in the database; `None` before the first.
    pub stored_until: Option<WallNanos>,
    /// End of the newest window that the sampling thread has closed; `None` before the first.
    pub closed_until: Option<WallNanos>,
    /// Samples taken by the kernel side.
    pub taken: u64,
    /// Samples of windows that are not over yet, and not in `taken`.
    pub open: u64,
    /// Samples stored.
    pub stored: u64,
    /// Samples lost.
    pub losses: Losses,
    /// Samples stored whose database was deleted, or cut short, while it was in use.
    pub gone: u64,
    /// Why nothing is being stored; `None` once a window is.
    pub unstored: Option<String>,
    /// Databases beside this one that were set aside, and their bytes.
    pub set_aside: (u64, u64),
    /// Stored samples by how the walk of the user stack ended.
    pub stacks: BTreeMap<StackEnd, u64>,
    /// What became of the children that parse files.
    pub parsers: ChildCounts,
    /// The unwind tables; `None` when stacks are walked by frame pointers only.
    pub unwind: Option<UnwindCounts>,
    /// What the process table holds and has done; `None` before the first window has ended.
    pub table: Option<TableCounts>,
    /// Whose mappings the sampling thread is reading.
    pub being_read: BeingRead,
    /// Memory of samples that wait for files, unwind rows or `/proc`, in bytes.
    pub waiting_bytes: usize,
    /// Samples that were placed with what was known, as there was no room to wait.
    pub waiting_refused: u64,
    /// Ticks that were due and that our program did not see, by cause.
    pub ticks_missed: MissedTicks,
    /// Build ids that two different files were found to claim.
    pub build_id_conflicts: u64,
    /// Files that could not be opened while they were known to be the mapped ones.
    pub files_not_verified: u64,
    /// A question met damage in the database: the writer, whose cache may hide it, sets the file aside and takes this back.
    pub damage_met: bool,
    /// What names may come from.
    pub name_sources: NameSources,
    /// Somebody asks for what has no name to be named again; the writer takes this back when it begins.
    pub name_again: bool,
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

    /// Why this pipeline counts as failing, if it does: the store refuses windows, or none was stored for more than three windows.
    #[must_use]
    pub fn failing(&self, now: WallNanos) -> Option<String> {
        if let Some(reason) = &self.unstored {
            return Some(reason.clone());
        }
        let (late, seconds, window) = (self.late(now)?, self.lag(now).as_secs(), self.window.as_secs_f64());
        Some(match late {
            Late::Sampling => {
                let waits = self.waits_for().map_or_else(
                    || {
                        "the sampling thread gets too little processor time, or reads about very many mappings at once"
                            .to_owned()
                    },
                    |process| format!("the sampling thread waits for the mappings of {process}; ending that helps"),
                );
                format!(
                    "no window was closed for {seconds} s (a window is {window} s): {waits}; samples that find no room \
                     meanwhile are counted as lost"
                )
            }
            Late::Storing => format!(
                "no window was stored for {seconds} s (a window is {window} s), though they are closed in time: the disk is slow, \
                 or many new names are looked up; the log has the reason if writing failed"
            ),
        })
    }

    /// The process whose mappings the sampling thread has been waiting for, if it has for a second.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        self.being_read.since(Duration::from_secs(1))
    }

    /// What is late, if something is: no window was stored for more than three windows.
    #[must_use]
    pub fn late(&self, now: WallNanos) -> Option<Late> {
        let most = self.window * 3;
        let age = |until: Option<WallNanos>| {
            let nanos = now.0.saturating_sub(until.unwrap_or(self.since).0);
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
        };
        let late = if age(self.closed_until) > most { Late::Sampling } else { Late::Storing };
        (self.lag(now) > most).then_some(late)
    }
}

/// What keeps windows from being stored in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// The sampling thread closes none.
    Sampling,
    /// Closed ones wait for the writer.
    Storing,
}

impl Late {
    /// Name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sampling => "sampling",
            Self::Storing => "storing",
        }
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
    pub fn update<T>(&self, change: impl FnOnce(&mut LiveStatus) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
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
        Self {
            cpu: Duration::new(u64::try_from(cpu.tv_sec).unwrap_or(0), u32::try_from(cpu.tv_nsec).unwrap_or(0)),
            rss_bytes: resident("self"),
        }
    }

    /// That of this process's children, now: those that have ended with their processor time, those that run with both. The only
    /// child of a profiler is the symbolizer's.
    #[must_use]
    pub fn children() -> Self {
        // Fields 14 to 17: own user and system time, then that of children waited for (`man 5 proc_pid_stat`).
        let ended = times("self")[2..].iter().sum::<u64>();
        let running: Vec<String> = std::fs::read_dir("/proc/self/task")
            .into_iter()
            .flatten()
            .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok())
            .flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let ticks = ended + running.iter().map(|pid| times(pid)[..2].iter().sum::<u64>()).sum::<u64>();
        // USER_HZ is 100: a tick is 10 ms.
        Self { cpu: Duration::from_millis(ticks * 10), rss_bytes: running.iter().map(|pid| resident(pid)).sum() }
    }
}

/// Resident bytes of a process: second field of statm, in pages (`man 5 proc_pid_statm`); 0 when it is gone.
fn resident(pid: &str) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages.saturating_mul(rustix::param::page_size() as u64)
}

/// utime, stime, cutime and cstime of a process, in clock ticks; zeros when it is gone.
fn times(pid: &str) -> [u64; 4] {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything; field 3 follows the last one.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let mut times = fields.split(' ').skip(14 - 3).map(|field| field.parse().unwrap_or(0));
    std::array::from_fn(|_| times.next().unwrap_or(0))
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

    /// A store that refuses windows is failing at once, and says why.
    #[test]
    fn a_store_that_refuses_is_failing_at_once() {
        let unstored = Some("disk error".to_owned());
        assert_eq!(
            LiveStatus { unstored, ..live(0, Some(99)) }.failing(WallNanos::from_millis(100_000)).as_deref(),
            Some("disk error")
        );
    }

    /// Being late says which part is: the thread that closes windows, or the one that stores them.
    #[test]
    fn what_is_late_is_named() {
        let now = WallNanos::from_millis(164_000);
        let late = |closed_s: i64| {
            let closed_until = Some(WallNanos::from_millis(closed_s * 1000));
            LiveStatus { closed_until, ..live(0, Some(100)) }
        };
        assert_eq!((late(160).late(now), late(100).late(now)), (Some(Late::Storing), Some(Late::Sampling)));
        assert_eq!(live(0, Some(150)).late(now), None);
        let said = late(160).failing(now).unwrap_or_default();
        assert!(said.contains("64 s") && said.contains("closed in time") && !said.contains("full disk"), "{said}");
        assert!(late(100).failing(now).unwrap_or_default().contains("the sampling thread"));
    }

    /// A process that holds its memory map up is named, once it does so for a second, and no more when it has let go.
    #[test]
    fn the_process_that_sampling_waits_for_is_named() {
        let now = WallNanos::from_millis(164_000);
        let status = live(0, Some(100));
        let begun = std::time::Instant::now();
        status.being_read.begin(4711, "mapbomb", begun);
        assert!(!status.failing(now).unwrap_or_default().contains("mapbomb"), "just begun");
        status.being_read.begin(4711, "mapbomb", begun.checked_sub(Duration::from_secs(1)).expect("up for a second"));
        let said = status.failing(now).unwrap_or_default();
        assert!(said.contains("mappings of mapbomb (pid 4711)"), "{said}");
        status.being_read.end();
        assert_eq!(status.waits_for(), None);
    }

    /// A wall clock that steps back is no lag.
    #[test]
    fn a_clock_that_steps_back_is_no_lag() {
        assert_eq!(live(0, Some(200)).lag(WallNanos::from_millis(100_000)), Duration::ZERO);
    }

    /// A child is counted while it runs, and its time after it has ended.
    #[test]
    fn the_cost_of_a_child_is_measured() {
        let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; read line";
        let mut child = std::process::Command::new("sh")
            .args(["-c", spin])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        let start = std::time::Instant::now();
        while Cost::children().cpu < Duration::from_millis(20) || Cost::children().rss_bytes == 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", Cost::children());
            std::thread::yield_now();
        }
        let running = Cost::children().cpu;
        drop(child.stdin.take());
        child.wait().expect("its end");
        // Other tests' children may be between running and ended at this moment.
        while Cost::children().cpu < running {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?} after {running:?}", Cost::children());
            std::thread::yield_now();
        }
    }

    /// The figures of this process are there and plausible.
    #[test]
    fn own_cost_is_measured() {
        let cost = Cost::own();
        assert!(cost.rss_bytes > 1 << 20, "{cost:?}");
        assert!(cost.cpu > Duration::ZERO, "{cost:?}");
    }
}
