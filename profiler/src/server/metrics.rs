//! `/metrics`: OpenMetrics text. Counters begin at zero with this process; the database's own totals are in `/status`.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::live::{Cost, LiveStatus};
use super::refusals::Cause;
use crate::process::{BudgetCounts, TableCounts};
use crate::profile::{LossCause, StackEnd, WallNanos};
use crate::symbolizer::{ChildCounts, Restart};
use crate::unwind::UnwindCounts;

/// `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The figures of one scrape.
#[derive(Debug)]
pub struct Scrape {
    /// The pipeline's; `None` when a database is served without sampling.
    pub live: Option<LiveStatus>,
    /// This process's cost.
    pub own: Cost,
    /// That of the symbolizer's process.
    pub children: Cost,
    /// Size of the database with its write-ahead log.
    pub database_bytes: u64,
    /// Connections to this server that are open.
    pub connections: usize,
    /// Questions to the database that wait for their turn.
    pub waiting: usize,
    /// What answers keep for later questions: the readers' own, and their sums of roll-ups.
    pub kept: [BudgetCounts; 2],
    /// Requests and connections that were refused.
    pub refused: [u64; Cause::ALL.len()],
    /// When.
    pub now: WallNanos,
}

impl Scrape {
    /// The text.
    #[must_use]
    pub fn encode(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("writing into a string does not fail");
        text
    }
}

impl Collector for Scrape {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let live = self.live.as_ref();
        let zero = LiveStatus::default();
        let counted = live.unwrap_or(&zero);

        let to = &mut to;
        one(
            to,
            "profiler_build",
            "Version of this program",
            None,
            &prometheus_client::metrics::info::Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        )?;
        one(to, "profiler_samples_taken", "Samples taken by the kernel side", None, &counter(counted.taken))?;
        one(to, "profiler_samples_stored", "Samples stored in the database", None, &counter(counted.stored))?;
        let lost = |cause: LossCause| (cause.name(), counted.losses.0.get(&cause).copied().unwrap_or(0));
        family(to, "profiler_samples_lost", "Samples lost", "cause", LossCause::ALL.into_iter().map(lost))?;
        let help = "Samples stored whose database was deleted, or cut short, while it was in use";
        one(to, "profiler_samples_gone", help, None, &counter(counted.gone))?;
        let ended = |end: StackEnd| (end.name(), counted.stacks.get(&end).copied().unwrap_or(0));
        let help = "Stored samples by how the walk of the user stack ended";
        family(to, "profiler_stacks", help, "end", StackEnd::ALL.into_iter().map(ended))?;
        let missed = counted.ticks_missed.iter().map(|(cause, ticks)| (cause.name(), ticks));
        let help = "Sampling ticks that were due and that the program did not see";
        family(to, "profiler_ticks_missed", help, "cause", missed)?;

        let help = "Build ids that two different files were found to claim; each file keeps its own names";
        one(to, "profiler_build_id_conflicts", help, None, &counter(counted.build_id_conflicts))?;
        let help = "Files that could not be opened while they were known to be the mapped ones";
        one(to, "profiler_files_not_verified", help, None, &counter(counted.files_not_verified))?;

        if let Some(live) = live {
            let help = "Age of the end of the newest stored window";
            let lag = ConstGauge::new(live.lag(self.now).as_secs_f64());
            one(to, "profiler_window_lag", help, Some(&Unit::Seconds), &lag)?;
            let window = ConstGauge::new(live.window.as_secs_f64());
            one(to, "profiler_window_length", "Length of a window", Some(&Unit::Seconds), &window)?;
            one(to, "profiler_sampling_rate", "Samples per second and CPU", None, &ConstGauge::new(live.hz))?;
            let help = "Databases that were set aside and are kept beside the one in use";
            one(to, "profiler_databases_set_aside", help, None, &ConstGauge::new(live.set_aside.0))?;
            let help = "Size of the databases that were set aside";
            one(to, "profiler_set_aside", help, Some(&Unit::Bytes), &ConstGauge::new(live.set_aside.1))?;
        }
        if let Some(unwind) = live.and_then(|live| live.unwind) {
            encode_unwind(to, &unwind)?;
        }
        if let Some(live) = live
            && let Some(table) = live.table
        {
            encode_table(to, &table, (live.waiting_bytes, live.waiting_refused))?;
        }
        let (own, children) = (self.own, self.children);
        let help = "Processor time of this process and its children, those that have ended too";
        let cpu = ConstCounter::new((own.cpu + children.cpu).as_secs_f64());
        one(to, "profiler_own_cpu", help, Some(&Unit::Seconds), &cpu)?;
        let help = "Resident memory of this process and its children";
        let rss = ConstGauge::new(own.rss_bytes.saturating_add(children.rss_bytes));
        one(to, "profiler_own_resident_memory", help, Some(&Unit::Bytes), &rss)?;
        if live.is_some() {
            let help = "Processor time of the symbolizer's process";
            let cpu = ConstCounter::new(self.children.cpu.as_secs_f64());
            one(to, "profiler_symbolizer_cpu", help, Some(&Unit::Seconds), &cpu)?;
            encode_parsers(to, &counted.parsers)?;
            let help = "Resident memory of the symbolizer's process";
            let rss = ConstGauge::new(self.children.rss_bytes);
            one(to, "profiler_symbolizer_resident_memory", help, Some(&Unit::Bytes), &rss)?;
        }
        let help = "Connections to the HTTP server that are open";
        one(to, "profiler_http_connections", help, None, &ConstGauge::new(self.connections as u64))?;
        let help = "Questions that wait for their turn";
        one(to, "profiler_http_questions_waiting", help, None, &ConstGauge::new(self.waiting as u64))?;
        let budgets = [
            ("query_cache", "names and stacks that questions keep for later ones", self.kept[0]),
            ("query_sums", "sums of roll-ups that questions keep for later ones", self.kept[1]),
        ];
        encode_budgets(to, budgets)?;
        let help = "Requests and connections that the HTTP server refused";
        let refused = Cause::ALL.into_iter().map(Cause::name).zip(self.refused);
        family(to, "profiler_http_refused", help, "cause", refused)?;
        let help = "Size of the database with its write-ahead log";
        one(to, "profiler_database", help, Some(&Unit::Bytes), &ConstGauge::new(self.database_bytes))?;
        let cpu = ConstCounter::new(self.own.cpu.as_secs_f64());
        one(to, "process_cpu", "Processor time of this process, user and kernel", Some(&Unit::Seconds), &cpu)?;
        let rss = ConstGauge::new(self.own.rss_bytes);
        one(to, "process_resident_memory", "Resident memory of this process", Some(&Unit::Bytes), &rss)
    }
}

/// What is known of processes: what it takes, what was refused.
fn encode_table(
    to: &mut DescriptorEncoder<'_>,
    table: &TableCounts,
    (waiting_bytes, waiting_refused): (usize, u64),
) -> std::fmt::Result {
    let gauges = [
        ("processes", "Processes tracked", table.processes),
        (
            "processes_unread",
            "Processes that were there at the start and have not been read yet",
            table.processes_unread,
        ),
        ("files_open", "Files of binaries that are kept open", table.pinned_files),
        ("files_opening", "Files of binaries that are being opened", table.files_opening),
        ("roots", "Root directories of containers that are kept open", table.roots),
        ("jit_programs", "Programs whose files of names for code that they wrote are kept open", table.jit_programs),
    ];
    for (name, help, value) in gauges {
        one(to, &format!("profiler_{name}"), help, None, &ConstGauge::new(value as u64))?;
    }
    let budgets = [
        ("mappings", "executable mappings with the paths of their files", table.mappings),
        ("processes", "processes beside their mappings", table.process_memory),
        ("binaries", "binaries that are remembered", table.binaries),
    ];
    encode_budgets(to, budgets)?;
    let help = "Memory of samples that wait for files, unwind rows or /proc";
    one(to, "profiler_samples_waiting", help, Some(&Unit::Bytes), &ConstGauge::new(waiting_bytes as u64))?;
    let counters = [
        (
            "samples_waiting_refused",
            "Samples placed with what was known: no room to wait for files or unwind rows, of their process, user or in all",
            waiting_refused,
        ),
        (
            "mappings_refused",
            "Mappings that were not recorded: too many of one process or user",
            table.mappings_refused,
        ),
        (
            "processes_refused",
            "Processes that were not tracked: too many of one user or in all",
            table.processes_refused,
        ),
        (
            "process_facts_merged",
            "Changes of a process's name, program or control group that count for earlier samples too: too many in one window or of one user",
            table.facts_merged,
        ),
        (
            "binaries_refused",
            "Binaries that were not remembered: too many of one user or in all",
            table.binaries.refused,
        ),
        ("roots_refused", "Root directories that were not kept: too many of one user or in all", table.roots_refused),
        (
            "jit_programs_refused",
            "Programs whose files of names for code that they wrote were not kept open: too many of one user or in all",
            table.jit_programs_refused,
        ),
        ("processes_read", "Times that a process was read from /proc after the start", table.processes_read),
    ];
    for (name, help, value) in counters {
        one(to, &format!("profiler_{name}"), help, None, &counter(value))?;
    }
    Ok(())
}

/// The children that parse files: why they were replaced, and what that cost which files.
fn encode_parsers(to: &mut DescriptorEncoder<'_>, parsers: &ChildCounts) -> std::fmt::Result {
    let causes = Restart::ALL.into_iter().zip(parsers.restarts).map(|(why, count)| (why.name(), count));
    let help = "Children that parse files, replaced before their time";
    family(to, "profiler_symbolizer_restarts", help, "cause", causes)?;
    let help = "Files set aside because children that parsed them failed by themselves";
    one(to, "profiler_symbolizer_files_set_aside", help, None, &ConstGauge::new(parsers.set_aside))?;
    let help = "Files left for a while because they did not answer";
    one(to, "profiler_symbolizer_files_postponed", help, None, &ConstGauge::new(parsers.postponed))?;
    let help = "Questions about files that had been set aside or postponed and were tried again";
    one(to, "profiler_symbolizer_files_retried", help, None, &counter(parsers.retried))
}

/// The unwind tables: what they hold, what it costs, what had no place.
fn encode_unwind(to: &mut DescriptorEncoder<'_>, unwind: &UnwindCounts) -> std::fmt::Result {
    let gauges = [
        ("files", "Files whose unwind rows are loaded", unwind.files),
        ("rows", "Unwind rows loaded", unwind.rows),
        ("rules", "Distinct unwind rules", unwind.rules),
        ("files_loading", "Files whose unwind rows are on their way", unwind.loading),
        ("address_spaces", "Distinct address spaces in the unwind tables", unwind.spaces),
        ("processes", "Processes that have unwind tables", unwind.processes),
    ];
    for (name, help, value) in gauges {
        one(to, &format!("profiler_unwind_{name}"), help, None, &ConstGauge::new(value))?;
    }
    let bytes = [
        ("memory", "Kernel memory of the unwind tables", unwind.held_bytes),
        ("memory_used", "Kernel memory of the unwind tables that is in use", unwind.used_bytes),
        ("memory_limit", "Kernel memory that the unwind tables may take (--unwind-memory)", unwind.budget_bytes),
    ];
    for (name, help, value) in bytes {
        one(to, &format!("profiler_unwind_{name}"), help, Some(&Unit::Bytes), &ConstGauge::new(value))?;
    }
    let counters = [
        ("files_evicted", "Files whose unwind rows were given up for others", unwind.evicted),
        ("rules_refused", "Unwind rules that found no place", unwind.rules_refused),
        ("stacks_finished", "Stacks whose walk was finished in user space, when their rows had come", unwind.finished),
    ];
    for (name, help, value) in counters {
        one(to, &format!("profiler_unwind_{name}"), help, None, &counter(value))?;
    }
    Ok(())
}

fn counter(value: u64) -> ConstCounter<u64> {
    ConstCounter::new(value)
}

fn one(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> std::fmt::Result {
    metric.encode(to.encode_descriptor(name, help, unit, metric.metric_type())?)
}

/// Memory in use and its limit, of each by name and what it is.
fn encode_budgets<const N: usize>(
    to: &mut DescriptorEncoder<'_>,
    budgets: [(&str, &str, BudgetCounts); N],
) -> std::fmt::Result {
    for (name, what, BudgetCounts { used, limit, .. }) in budgets {
        let help = format!("Memory of {what}");
        one(to, &format!("profiler_{name}_memory"), &help, Some(&Unit::Bytes), &ConstGauge::new(used as u64))?;
        let help = format!("Memory that {what} may take");
        one(to, &format!("profiler_{name}_memory_limit"), &help, Some(&Unit::Bytes), &ConstGauge::new(limit as u64))?;
    }
    Ok(())
}

fn family<'a>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl Iterator<Item = (&'a str, u64)>,
) -> std::fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, counter(0).metric_type())?;
    for (value, samples) in values {
        counter(samples).encode(metric.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::profile::Losses;

    fn scrape(live: Option<LiveStatus>) -> String {
        let own = Cost { cpu: Duration::from_millis(1500), rss_bytes: 4096 };
        let children = Cost { cpu: Duration::from_millis(250), rss_bytes: 8 << 20 };
        let refused = std::array::from_fn(|nth| nth as u64);
        let now = WallNanos::from_millis(10_000);
        let kept = [
            BudgetCounts { used: 7, limit: 70, ..Default::default() },
            BudgetCounts { used: 8, limit: 80, ..Default::default() },
        ];
        Scrape { live, own, children, database_bytes: 8192, connections: 5, waiting: 2, kept, refused, now }.encode()
    }

    /// The text as scrapers read it: names, units, every cause and end, at zero too.
    #[test]
    fn every_figure_has_its_name_and_unit() {
        let mut losses = Losses::default();
        losses.add(LossCause::QueueFull, 3);
        let live = LiveStatus {
            hz: 97,
            taken: 10,
            stored: 7,
            losses,
            stacks: [(StackEnd::Complete, 7)].into(),
            window: Duration::from_secs(10),
            stored_until: Some(WallNanos::from_millis(7_500)),
            table: Some(TableCounts { processes: 4, mappings_refused: 5, ..TableCounts::default() }),
            unwind: Some(UnwindCounts { files: 3, rows: 1000, held_bytes: 1 << 18, ..UnwindCounts::default() }),
            ..LiveStatus::default()
        };
        insta::assert_snapshot!(scrape(Some(live)));
    }

    /// A served database has no lag, and counters that say that this process took nothing.
    #[test]
    fn without_sampling_counters_are_zero_and_lag_is_absent() {
        let text = scrape(None);
        assert!(text.contains("\nprofiler_samples_taken_total 0\n"), "{text}");
        assert!(text.contains("\nprofiler_samples_lost_total{cause=\"ring_full\"} 0\n"), "{text}");
        assert!(!text.contains("profiler_window_lag"), "{text}");
    }
}
