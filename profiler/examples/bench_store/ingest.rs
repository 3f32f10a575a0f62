//! Windows into the store, timed, and a writer that goes on while questions are asked.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use profiler::profile::Window;
use profiler::store::{Keep, Store, StoreError};
use rustix::time::{ClockId, clock_gettime};

use crate::host::{self, Host, Kind};
use crate::shapes;

/// How fast the writer goes on while questions are asked: one ten-second window in this time.
const PACE: Duration = Duration::from_secs(1);

/// What writing took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effort {
    pub windows: u64,
    pub samples: u64,
    /// By the clock on the wall, and of this thread's CPU.
    pub wall: Duration,
    pub cpu: Duration,
    pub slowest: Duration,
}

impl Effort {
    /// Both.
    pub fn and(self, other: Self) -> Self {
        Self {
            windows: self.windows + other.windows,
            samples: self.samples + other.samples,
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
            slowest: self.slowest.max(other.slowest),
        }
    }

    /// Stores a window as the product's writer thread does: the window, the names it still wants, the roll-ups that are due.
    pub fn write(&mut self, store: &mut Store, window: &Window) -> Result<(), StoreError> {
        let (wall, cpu) = (Instant::now(), thread_cpu());
        let unnamed = store.write_window(window)?;
        if !unnamed.is_empty() {
            let names: Vec<_> = unnamed.iter().map(|place| (place.location, shapes::name(place.place))).collect();
            store.write_names(&names)?;
        }
        // What the product does between windows; here there is nothing between them.
        while store.tend()? {}
        let took = wall.elapsed();
        self.windows += 1;
        self.samples += window.samples();
        self.wall += took;
        self.cpu += thread_cpu().saturating_sub(cpu);
        self.slowest = self.slowest.max(took);
        Ok(())
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Writes windows until there are `until`; shows each to `see` before.
pub fn fill(
    store: &mut Store,
    host: &mut Host,
    until: i64,
    mut see: impl FnMut(&Window) -> anyhow::Result<()>,
) -> anyhow::Result<Effort> {
    let mut effort = Effort::default();
    let (begun, all) = (Instant::now(), until.saturating_sub(host.at()));
    while host.at() < until {
        let window = host.next_window();
        see(&window)?;
        effort.write(store, &window)?;
        if effort.windows.is_multiple_of(2_000) {
            let log = store.log_bytes() >> 20;
            eprintln!("  {} of {all} windows, {:.0?}, log {log} MiB", effort.windows, begun.elapsed());
        }
    }
    Ok(effort)
}

/// What a host did from window `from` to window 0, as retention leaves it: five minutes whose windows are told apart no more.
pub fn before(store: &mut Store, kind: Kind, from: i64) -> anyhow::Result<()> {
    let (mut host, mut effort) = (Host::since(kind, from), Effort::default());
    let keep = Keep { windows: Duration::ZERO, ..Keep::default() };
    let begun = Instant::now();
    while host.at() < 0 {
        effort.write(store, &host.next(host::COARSE))?;
        if host.at() % host::DAY == 0 {
            while store.retain(host::wall(host.at()), &keep)?.unfinished {}
            eprintln!("  {} days before are left, {:.0?}", -host.at() / host::DAY, begun.elapsed());
        }
    }
    Ok(())
}

/// Runs `ask` while a writer adds windows at ten times the host's own speed.
pub fn meanwhile<T>(path: &Path, host: &mut Host, ask: impl FnOnce() -> T) -> anyhow::Result<(T, Effort)> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        let writer = scope.spawn(move || -> anyhow::Result<Effort> {
            let (mut store, _) = Store::open(path)?;
            let mut effort = Effort::default();
            while !done.load(Relaxed) {
                let begun = Instant::now();
                effort.write(&mut store, &host.next_window())?;
                while begun.elapsed() < PACE && !done.load(Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            store.close()?;
            Ok(effort)
        });
        let answer = ask();
        done.store(true, Relaxed);
        let effort = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        Ok((answer, effort))
    })
}
