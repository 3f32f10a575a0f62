//! What a long history costs: size, speed of writing, time to answer; beside what others do with the same windows.
//!
//! Everything is SIMULATED (see `host.rs`, `shapes.rs`) and goes through the store's own write interface. Three hosts live
//! for a day; then the days before it are written, so that there are `DAYS=30`, as what retention leaves when it keeps ten-second windows
//! for a day: five minutes at a time. `SCALE=0.01` shortens the day; the goals below are judged at 1 only.
//! `HOSTS="64 CPUs x 97"` runs those with this in their names; `KEEP=folder` keeps their days and months there, and asks about one that
//! is kept without making it again; `ROUNDS=20` asks fewer questions.
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
use profiler::store::upkeep::{Stats, stats};

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
/// Days of a history, unless `DAYS` says otherwise.
const DAYS: i64 = 30;
/// Questions of a sort.
const ROUNDS: usize = 200;

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

/// How much to do.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Windows of the day.
    day: i64,
    /// Windows of the days before.
    before: i64,
    rounds: usize,
    judged: bool,
}

impl Scale {
    fn new(scale: f64, days: i64) -> Self {
        let before = (host::DAY as f64 * (days - 1) as f64 * scale) as i64;
        Self {
            day: ((host::DAY as f64 * scale) as i64).max(12),
            // Whole hours, so that whole hours can be asked about.
            before: before / HOUR * HOUR,
            rounds: ((ROUNDS as f64 * scale) as usize).clamp(20, ROUNDS),
            judged: scale >= 1.0 && days >= DAYS,
        }
    }

    fn from_env() -> anyhow::Result<Self> {
        let scale: f64 = std::env::var("SCALE").map_or(Ok(1.0), |text| text.parse())?;
        anyhow::ensure!(scale > 0.0 && scale <= 1.0, "SCALE is above 0 and at most 1");
        let days: i64 = std::env::var("DAYS").map_or(Ok(DAYS), |text| text.parse())?;
        anyhow::ensure!((1..=90).contains(&days), "DAYS is at least 1 and at most 90");
        let scale = Self::new(scale, days);
        let rounds = std::env::var("ROUNDS").map_or(Ok(scale.rounds), |text| text.parse())?;
        Ok(Self { rounds, judged: scale.judged && rounds >= ROUNDS, ..scale })
    }
}

/// Windows of an hour.
const HOUR: i64 = host::DAY / 24;

fn main() -> anyhow::Result<ExitCode> {
    // As the product does.
    profiler::sys::memory::configure();
    let scale = Scale::from_env()?;
    println!("SIMULATED hosts, all CPUs busy; {} windows of {SECONDS} s a day", scale.day);
    let begun = Instant::now();
    let folder = tempfile::tempdir()?;
    let mut report = Report::default();
    let only = std::env::var("HOSTS").unwrap_or_default();
    for (kind, size) in HOSTS.into_iter().filter(|(kind, _)| kind.name.contains(&only)) {
        run(kind, Most(size), scale, folder.path(), &mut report)?;
        println!("{}: done after {:.0?}", kind.name, begun.elapsed());
    }
    let missed = report.missed();
    if !scale.judged {
        println!(
            "SCALE, DAYS or ROUNDS is below its usual: what a history shares is spread over less of it, so no goal is judged"
        );
        return Ok(ExitCode::SUCCESS);
    }
    missed.iter().for_each(|what| println!("missed: {what}"));
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One host's life.
fn run(kind: Kind, size: Goal, scale: Scale, folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    println!("\n{}, {} samples a window", kind.name, kind.samples());
    let database = folder.join("history.db");
    let mut host = Host::new(kind);
    let keep = std::env::var_os("KEEP").map(PathBuf::from);
    let kept = |what: &str| keep.as_ref().map(|folder| folder.join(format!("{}, {what}.db", kind.name)));
    if let Some(day) = kept("a day").filter(|day| day.exists()) {
        copy_kept(&day, &database)?;
        host = Host::since(kind, scale.day);
        ingest::meanwhile(&database, &mut host, || ask_day(kind, &database, scale, report))?.0?;
    } else {
        let mut rivals = Rivals::new(folder, scale)?;
        write_day(kind, size, &mut host, scale, &database, &mut rivals, report)?;
        if let Some(day) = kept("a day") {
            std::fs::copy(&database, day)?;
        }
        let ask = |report: &mut Report| -> anyhow::Result<()> {
            ask_day(kind, &database, scale, report)?;
            beside_pprof(kind, &database, scale, &rivals, folder, report)
        };
        ingest::meanwhile(&database, &mut host, || ask(report))?.0?;
    }
    if scale.before > 0 {
        match kept("a month").filter(|month| month.exists()) {
            Some(month) => copy_kept(&month, &database)?,
            None => {
                let (mut store, _) = Store::open(&database)?;
                ingest::before(&mut store, kind, -scale.before)?;
                store.close()?;
                if let Some(month) = kept("a month") {
                    std::fs::copy(&database, month)?;
                }
            }
        }
        // Those that were written while the day was asked about may not be in a file that was kept.
        let mut next = Host::since(kind, host.at() + 4 * HOUR);
        ingest::meanwhile(&database, &mut next, || ask_month(kind, &database, scale, report))?.0?;
    }
    Ok(std::fs::remove_file(&database)?)
}

/// A copy of what an earlier run kept, brought to today's schema before it is asked.
fn copy_kept(kept: &Path, database: &Path) -> anyhow::Result<()> {
    std::fs::copy(kept, database)?;
    Ok(Store::open(database)?.0.close()?)
}

/// Writes the day, and says what it took.
fn write_day(
    kind: Kind,
    size: Goal,
    host: &mut Host,
    scale: Scale,
    database: &Path,
    rivals: &mut Rivals,
    report: &mut Report,
) -> anyhow::Result<()> {
    let name = kind.name;
    let (mut store, _) = Store::open(database)?;
    forget_peak()?;
    // What a history shares (names, stacks, programs) is mostly there after half a day: the second half is what each further one adds.
    let first = ingest::fill(&mut store, host, scale.day / 2, |window| rivals.see(window))?;
    let half = stats(database)?;
    let effort = first.and(ingest::fill(&mut store, host, scale.day, |window| rivals.see(window))?);
    let whole = stats(database)?;
    let real = (effort.windows * SECONDS) as f64;
    report.add(format!("{name}: writing, times real time"), real / effort.wall.as_secs_f64(), "x", INGEST);
    report.add(format!("{name}: writing, by CPU time"), real / effort.cpu.as_secs_f64(), "x", Goal::None);
    report.add(format!("{name}: slowest window"), effort.slowest.as_secs_f64() * 1e3, "ms", Goal::None);
    report.add(format!("{name}: peak memory, host included"), peak_mib()?, "MiB", Goal::None);
    store.close()?;
    let bytes = database.metadata()?.len() as f64 / effort.samples as f64;
    report.add(format!("{name}: file"), bytes, "B/sample", size);
    let (grown, samples) = (used(&whole) - used(&half), whole.samples - half.samples);
    report.add(
        format!("{name}: file, what the second half of the day adds"),
        grown / samples as f64,
        "B/sample",
        Goal::None,
    );
    tables(name, database)?;
    let [pprof, rows] = rivals.bytes_per_sample(effort.samples)?;
    report.add(format!("{name}: gzip pprof a window"), pprof, "B/sample", Goal::None);
    report.add(format!("{name}: plain SQLite rows"), rows, "B/sample", Goal::None);
    report.add(format!("{name}: times under gzip pprof a window"), pprof / bytes, "x", UNDER_PPROF);
    report.add(format!("{name}: times under plain rows"), rows / bytes, "x", UNDER_ROWS);
    Ok(())
}

/// Bytes of pages that hold something.
fn used(stats: &Stats) -> f64 {
    (stats.bytes - stats.free_bytes) as f64
}

/// What the file's bytes are.
fn tables(name: &str, database: &Path) -> anyhow::Result<()> {
    let stats = stats(database)?;
    for (table, bytes) in stats.tables.iter().filter(|(_, bytes)| bytes * 100 >= stats.bytes) {
        let per_sample = *bytes as f64 / stats.samples as f64;
        println!(
            "  {name}: of it {table:<20} {per_sample:>8.3} B/sample {:>8.1} MiB",
            *bytes as f64 / f64::from(1 << 20)
        );
    }
    Ok(())
}

/// The same as a rival who has a file a minute.
fn beside_pprof(
    kind: Kind,
    database: &Path,
    scale: Scale,
    rivals: &Rivals,
    folder: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some(theirs) = rivals.merge(folder)? else { return Ok(()) };
    let (name, minutes) = (kind.name, rivals.minutes.len());
    let mut asker = Asker::new(database, (0, scale.day), kind.samples(), scale.rounds)?;
    let ours = asker.last(minutes as i64 * 6)?.percentile(50);
    report.add(format!("{name}: {minutes} min by go tool pprof"), theirs * 1e3, "ms", Goal::None);
    report.add(format!("{name}: times faster than go tool pprof"), theirs * 1e3 / ours, "x", Goal::None);
    Ok(())
}

/// Median and 95th percentile of a sort of questions.
fn both(report: &mut Report, what: &str, times: &ask::Times, goal: Goal) {
    report.add(format!("{what}, p50"), times.percentile(50), "ms", Goal::None);
    report.add(format!("{what}, p95"), times.percentile(95), "ms", goal);
}

/// Questions about a day, while a writer is at work.
fn ask_day(kind: Kind, database: &Path, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let name = kind.name;
    let mut asker = Asker::new(database, (0, scale.day), kind.samples(), scale.rounds)?;
    forget_peak()?;
    report.add(format!("{name}: first question, whole day"), asker.first()?, "ms", Goal::None);
    for hours in [1, 6, 20, 24].into_iter().filter(|hours| scale.day >= (2 * HOUR).max(hours * HOUR)) {
        both(report, &format!("{name}: {hours} whole hours"), &asker.hours(hours)?, ALIGNED_DAY);
    }
    both(report, &format!("{name}: any start, end and filter"), &asker.any()?, ANY_RANGE);
    both(report, &format!("{name}: top, timeline, labels of a day"), &asker.beside()?, Goal::None);
    report.add(format!("{name}: peak memory, host and writer included"), peak_mib()?, "MiB", Goal::None);
    Ok(())
}

/// Questions about many days, while a writer is at work.
fn ask_month(kind: Kind, database: &Path, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let days = (scale.before + scale.day) as f64 / host::DAY as f64;
    let name = format!("{}, {days:.0} days", kind.name);
    report.add(format!("{name}: file"), database.metadata()?.len() as f64 / f64::from(1 << 20), "MiB", Goal::None);
    tables(&name, database)?;
    let mut asker = Asker::new(database, (-scale.before, scale.day), kind.samples(), scale.rounds)?;
    forget_peak()?;
    report.add(format!("{name}: first question, all of it"), asker.first()?, "ms", Goal::None);
    let hour = asker.last(HOUR)?;
    both(report, &format!("{name}: the last hour"), &hour, Goal::None);
    let month = asker.last(i64::MAX)?;
    both(report, &format!("{name}: all of it"), &month, MONTH);
    report.add(format!("{name}: all of it over an hour"), month.percentile(50) / hour.percentile(50), "x", GROWTH);
    both(report, &format!("{name}: 24 whole hours"), &asker.hours(24)?, ALIGNED_DAY);
    both(report, &format!("{name}: diff of two days"), &asker.diff()?, DIFF_OF_DAYS);
    both(report, &format!("{name}: any start, end and filter"), &asker.any()?, ANY_RANGE);
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
const RIVAL_SHARE: i64 = 4;

impl Rivals {
    fn new(folder: &Path, scale: Scale) -> anyhow::Result<Self> {
        let rows = folder.join("rows.db");
        if rows.exists() {
            std::fs::remove_file(&rows)?;
        }
        Ok(Self {
            rows: rivals::Rows::create(&rows)?,
            every: scale.day.cast_unsigned().div_ceil(RIVAL_WINDOWS),
            most_minutes: ((scale.day / 6 / RIVAL_SHARE).cast_unsigned() as usize).clamp(1, RIVAL_MINUTES),
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

    /// Minutes of a small host, and an hour before them, go through every measurement: answers are right, figures make sense.
    #[test]
    fn a_small_run_measures_everything() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::default();
        let scale = Scale { day: 6, before: HOUR, rounds: 3, judged: false };
        let small = Kind { cpus: 4, services: 10, programs: 5, threads: 8, stacks: 300, ..HOSTS[1].0 };
        run(small, Most(1.0), scale, folder.path(), &mut report).unwrap();
        let month = ", 0 days: all of it over an hour";
        for what in [": file", ": times under plain rows", ": writing, times real time", month] {
            let value = report.value(&format!("{}{what}", small.name)).unwrap();
            assert!(value.is_finite() && value > 0.0, "{what}: {value}");
        }
    }
}
