//! What a long history costs: size, speed of writing, time to answer; beside what others do with the same windows.
//!
//! Everything is SIMULATED (see `host.rs`, `shapes.rs`) and goes through the store's own write interface. Three hosts live
//! for a day, and the second goes on to thirty days. `SCALE=0.01` shortens all times; the goals below are judged at 1 only.
//! `HOSTS="64 CPUs x 97"` runs those with this in their names; `KEEP=folder` keeps their days there, and asks about one that is kept
//! without making it again.
//!
//! `make bench-store`, or `cargo run --release --example bench_store`. Exits with 1 when a goal is missed.

mod ask;
mod dice;
mod host;
mod ingest;
mod report;
mod rivals;
mod shapes;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use profiler::store::Store;

use crate::ask::Asker;
use crate::host::{Host, Kind, SECONDS};
use crate::report::Goal::{self, Least, Most};
use crate::report::Report;

/// The hosts, and the most bytes a sample may take in the file, its indexes, names and stacks included.
const HOSTS: [(Kind, f64); 3] = [
    (
        Kind {
            name: "2 CPUs x 97 Hz",
            cpus: 2,
            hz: 97,
            services: 30,
            programs: 20,
            threads: 4,
            brief_per_window: 2,
            stacks: 12_000,
        },
        1.2,
    ),
    (
        Kind {
            name: "64 CPUs x 19 Hz",
            cpus: 64,
            hz: 19,
            services: 120,
            programs: 40,
            threads: 32,
            brief_per_window: 8,
            stacks: 26_000,
        },
        0.5,
    ),
    (
        Kind {
            name: "64 CPUs x 97 Hz",
            cpus: 64,
            hz: 97,
            services: 120,
            programs: 40,
            threads: 32,
            brief_per_window: 8,
            stacks: 26_000,
        },
        0.3,
    ),
];
/// The host that goes on for [`HISTORY_DAYS`].
const LONG_LIVED: usize = 1;
const HISTORY_DAYS: f64 = 30.0;

/// Times smaller than the rivals, in the same run.
const UNDER_PPROF: Goal = Least(30.0);
const UNDER_ROWS: Goal = Least(10.0);
/// Times faster than the host makes windows.
const INGEST: Goal = Least(10.0);
/// 95th percentiles in milliseconds while a writer is at work.
const ALIGNED_DAY: Goal = Most(40.0);
const ANY_RANGE: Goal = Most(120.0);
const MONTH: Goal = Most(150.0);
const DIFF_OF_DAYS: Goal = Most(100.0);
/// The median answer about the month as a multiple of that about an hour.
const GROWTH: Goal = Most(3.0);

const DAY: f64 = 86_400.0 / SECONDS as f64;

/// How much to do.
#[derive(Clone, Copy, Debug)]
struct Scale {
    day: u64,
    history: u64,
    rounds: usize,
    judged: bool,
}

impl Scale {
    fn new(scale: f64) -> Self {
        Self {
            day: ((DAY * scale) as u64).max(12),
            history: ((DAY * scale * HISTORY_DAYS) as u64).max(36),
            rounds: ((200.0 * scale) as usize).clamp(20, 200),
            judged: scale >= 1.0,
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    // As the product does.
    profiler::sys::memory::keep_little();
    let scale: f64 = std::env::var("SCALE").map_or(Ok(1.0), |text| text.parse())?;
    anyhow::ensure!(scale > 0.0 && scale <= 1.0, "SCALE is above 0 and at most 1");
    let scale = Scale::new(scale);
    println!("SIMULATED hosts, all CPUs busy; {} windows of {SECONDS} s a day", scale.day);
    let begun = Instant::now();
    let folder = tempfile::tempdir()?;
    let mut report = Report::default();
    let only = std::env::var("HOSTS").unwrap_or_default();
    for (at, (kind, size)) in HOSTS.into_iter().enumerate().filter(|(_, (kind, _))| kind.name.contains(&only)) {
        run(kind, Most(size), at == LONG_LIVED, scale, folder.path(), &mut report)?;
    }
    println!("\nin {:.0?}", begun.elapsed());
    let missed = report.missed();
    if !scale.judged {
        println!("SCALE is below 1: what a history shares is spread over less of it, so no goal is judged");
        return Ok(ExitCode::SUCCESS);
    }
    missed.iter().for_each(|what| println!("missed: {what}"));
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One host's life.
fn run(kind: Kind, size: Goal, long: bool, scale: Scale, folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    println!("\n{}, {} samples a window", kind.name, kind.samples());
    let database = folder.join("history.db");
    let mut host = Host::new(kind);
    let kept = std::env::var_os("KEEP").map(|keep| Path::new(&keep).join(format!("{}.db", kind.name)));
    if let Some(kept) = kept.as_ref().filter(|kept| kept.exists()) {
        std::fs::copy(kept, &database)?;
        (0..scale.day).for_each(|_| drop(host.next_window()));
        let windows = host.windows();
        ingest::meanwhile(&database, &mut host, || ask_day(kind, &database, windows, scale, report))?.0?;
        return Ok(std::fs::remove_file(&database)?);
    }
    let (mut store, _) = Store::open(&database)?;
    let mut rivals = Rivals::new(folder, scale)?;
    forget_peak()?;
    let effort = ingest::fill(&mut store, &mut host, scale.day, |window| rivals.see(window))?;
    let name = kind.name;
    let real = (effort.windows * SECONDS) as f64;
    report.add(format!("{name}: writing, times real time"), real / effort.wall.as_secs_f64(), "x", INGEST);
    report.add(format!("{name}: writing, by CPU time"), real / effort.cpu.as_secs_f64(), "x", Goal::None);
    report.add(format!("{name}: slowest window"), effort.slowest.as_secs_f64() * 1e3, "ms", Goal::None);
    report.add(format!("{name}: peak memory, host included"), peak_mib()?, "MiB", Goal::None);
    store.close()?;
    if let Some(kept) = kept {
        std::fs::copy(&database, kept)?;
    }

    let bytes = database.metadata()?.len() as f64 / effort.samples as f64;
    report.add(format!("{name}: file"), bytes, "B/sample", size);
    let [pprof, rows] = rivals.bytes_per_sample(effort.samples)?;
    report.add(format!("{name}: gzip pprof a window"), pprof, "B/sample", Goal::None);
    report.add(format!("{name}: plain SQLite rows"), rows, "B/sample", Goal::None);
    report.add(format!("{name}: times under gzip pprof a window"), pprof / bytes, "x", UNDER_PPROF);
    report.add(format!("{name}: times under plain rows"), rows / bytes, "x", UNDER_ROWS);

    let windows = host.windows();
    let path = database.clone();
    let ask = |report: &mut Report| -> anyhow::Result<()> {
        ask_day(kind, &path, windows, scale, report)?;
        if let Some(theirs) = rivals.merge(folder)? {
            let mut asker = Asker::new(&path, windows, kind.samples(), scale.rounds)?;
            let hour = asker.last(rivals.minutes.len() as u64 * 6)?.percentile(50);
            let minutes = rivals.minutes.len();
            report.add(format!("{name}: {minutes} min by go tool pprof"), theirs * 1e3, "ms", Goal::None);
            report.add(format!("{name}: times faster than go tool pprof"), theirs * 1e3 / hour, "x", Goal::None);
        }
        Ok(())
    };
    ingest::meanwhile(&database, &mut host, || ask(report))?.0?;

    if long {
        let (mut store, _) = Store::open(&database)?;
        ingest::fill(&mut store, &mut host, scale.history, |_| Ok(()))?;
        store.close()?;
        let windows = host.windows();
        let size = database.metadata()?.len() as f64;
        report.add(format!("{name}: 30 days"), size / (1 << 20) as f64, "MiB", Goal::None);
        let ask = |report: &mut Report| -> anyhow::Result<()> {
            let mut asker = Asker::new(&path, windows, kind.samples(), scale.rounds)?;
            report.add(format!("{name}: first question, 30 days"), asker.first()?, "ms", Goal::None);
            let hour = asker.last(360)?.percentile(50);
            let month = asker.last(windows)?;
            report.add(format!("{name}: the last hour, p50"), hour, "ms", Goal::None);
            report.add(format!("{name}: 30 days, p50"), month.percentile(50), "ms", Goal::None);
            report.add(format!("{name}: 30 days, p95"), month.percentile(95), "ms", MONTH);
            report.add(format!("{name}: 30 days over an hour"), month.percentile(50) / hour, "x", GROWTH);
            let diff = asker.diff()?;
            report.add(format!("{name}: diff of two days, p50"), diff.percentile(50), "ms", Goal::None);
            report.add(format!("{name}: diff of two days, p95"), diff.percentile(95), "ms", DIFF_OF_DAYS);
            let any = asker.any(windows)?;
            report.add(format!("{name}: any part of 30 days, any filter, p95"), any.percentile(95), "ms", ANY_RANGE);
            Ok(())
        };
        ingest::meanwhile(&database, &mut host, || ask(report))?.0?;
    }
    Ok(std::fs::remove_file(&database)?)
}

/// Questions about a day, while a writer is at work.
fn ask_day(kind: Kind, database: &Path, windows: u64, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let name = kind.name;
    let mut asker = Asker::new(database, windows, kind.samples(), scale.rounds)?;
    forget_peak()?;
    report.add(format!("{name}: first question, whole day"), asker.first()?, "ms", Goal::None);
    if windows >= 2 * 360 {
        let aligned = asker.aligned(24)?;
        report.add(format!("{name}: whole hours up to a day, p50"), aligned.percentile(50), "ms", Goal::None);
        report.add(format!("{name}: whole hours up to a day, p95"), aligned.percentile(95), "ms", ALIGNED_DAY);
    }
    let any = asker.any(windows)?;
    report.add(format!("{name}: any start, end and filter, p50"), any.percentile(50), "ms", Goal::None);
    report.add(format!("{name}: any start, end and filter, p95"), any.percentile(95), "ms", ANY_RANGE);
    let beside = asker.beside()?;
    report.add(format!("{name}: top, timeline, labels of a day, p95"), beside.percentile(95), "ms", Goal::None);
    report.add(format!("{name}: peak memory, host and writer included"), peak_mib()?, "MiB", Goal::None);
    Ok(())
}

/// The same windows as others keep them: some of them, evenly spread, since a file a window depends on no other.
struct Rivals {
    rows: rivals::Rows,
    every: u64,
    most_minutes: usize,
    seen: u64,
    pprof_bytes: u64,
    pprof_samples: u64,
    /// The first hour, a file a minute.
    minutes: Vec<PathBuf>,
    minute: Vec<profiler::profile::Window>,
    folder: PathBuf,
}

/// Windows that the rivals keep, at most.
const RIVAL_WINDOWS: u64 = 144;
const RIVAL_MINUTES: usize = 60;
/// A file a minute of at most so much of the day, so that a short run is short.
const RIVAL_SHARE: u64 = 4;

impl Rivals {
    fn new(folder: &Path, scale: Scale) -> anyhow::Result<Self> {
        let rows = folder.join("rows.db");
        if rows.exists() {
            std::fs::remove_file(&rows)?;
        }
        Ok(Self {
            rows: rivals::Rows::create(&rows)?,
            every: scale.day.div_ceil(RIVAL_WINDOWS),
            most_minutes: ((scale.day / 6 / RIVAL_SHARE) as usize).clamp(1, RIVAL_MINUTES),
            seen: 0,
            pprof_bytes: 0,
            pprof_samples: 0,
            minutes: Vec::new(),
            minute: Vec::new(),
            folder: folder.into(),
        })
    }

    fn see(&mut self, window: &profiler::profile::Window) -> anyhow::Result<()> {
        if self.seen.is_multiple_of(self.every) {
            let mut bytes = Vec::new();
            rivals::pprof(std::slice::from_ref(window), &mut bytes)?;
            self.pprof_bytes += bytes.len() as u64;
            self.pprof_samples += window.samples();
            self.rows.add(window)?;
        }
        self.seen += 1;
        if self.minutes.len() < self.most_minutes {
            self.minute.push(window.clone());
            if self.minute.len() == 6 {
                let path = self.folder.join(format!("minute-{}.pb.gz", self.minutes.len()));
                rivals::pprof(&self.minute, std::fs::File::create(&path)?)?;
                self.minutes.push(path);
                self.minute.clear();
            }
        }
        Ok(())
    }

    fn bytes_per_sample(&self, samples: u64) -> anyhow::Result<[f64; 2]> {
        Ok([self.pprof_bytes as f64 / self.pprof_samples.max(1) as f64, self.rows.bytes_per_sample(samples)?])
    }

    /// Seconds that `go tool pprof` takes to merge the minutes, where there is one.
    fn merge(&self, folder: &Path) -> anyhow::Result<Option<f64>> {
        Ok(rivals::merge(&self.minutes, folder)?.map(|took| took.as_secs_f64()))
    }
}

/// The most memory since the last [`forget_peak`].
fn peak_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    Ok(kib.parse::<f64>()? / 1024.0)
}

/// See `man 5 proc_pid_clear_refs`.
fn forget_peak() -> std::io::Result<()> {
    std::fs::write("/proc/self/clear_refs", "5")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A minute of a small host goes through every measurement: answers are right, figures make sense.
    #[test]
    fn a_small_run_measures_everything() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::default();
        let scale = Scale { day: 6, history: 8, rounds: 3, judged: false };
        let small = Kind { cpus: 4, services: 10, programs: 5, threads: 8, stacks: 300, ..HOSTS[LONG_LIVED].0 };
        run(small, Most(1.0), true, scale, folder.path(), &mut report).unwrap();
        for what in ["file", "times under plain rows", "writing, times real time", "30 days over an hour"] {
            let value = report.value(&format!("{}: {what}", small.name)).unwrap();
            assert!(value.is_finite() && value > 0.0, "{what}: {value}");
        }
    }
}
