//! What `record` says while it runs and when it is done: for people, and as JSON.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::open_range::EVERYTHING;
use super::voice::is_quiet;
use crate::profile::printable;
use crate::query::{self, Selector, TopRows};
use crate::server::{LiveStatus, SharedLive};
use crate::store::Reader;

/// How often the line on the terminal is written anew.
const TICK: Duration = Duration::from_millis(200);
/// Functions that are named at the end.
const HOTTEST: usize = 5;
/// Widest function name shown.
const WIDTH: usize = 70;

/// One line on a terminal: time, samples, losses. Nothing where standard error is none.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    duration: Option<Duration>,
    due: Instant,
}

impl Progress {
    /// Begins, with what was asked for.
    pub fn begin(duration: Option<Duration>, shown: bool) -> Self {
        let bar = if shown && !is_quiet() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self { bar, started: Instant::now(), duration, due: Instant::now() }
    }

    /// Whether anybody sees it.
    pub fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Shows how things are, now and then.
    pub fn look(&mut self, live: &SharedLive) {
        if self.bar.is_hidden() || Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + TICK;
        let live = live.snapshot();
        let of = self.duration.map_or_else(String::new, |duration| format!(" of {}", seconds(duration)));
        let (taken, lost) = (live.taken + live.open, live.losses.total());
        let elapsed = seconds(self.started.elapsed());
        self.bar.set_message(format!("recording {elapsed}{of}: {taken} samples, {lost} lost; Ctrl-C ends it"));
        self.bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// What was recorded.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Samples that the kernel side took.
    taken: u64,
    /// Samples stored.
    samples: u64,
    /// Samples lost.
    lost: u64,
    /// The same by cause.
    losses: std::collections::BTreeMap<&'static str, u64>,
    /// Share of the stored stacks that are whole, 0 to 1; none without samples.
    complete: Option<f64>,
    event: &'static str,
    hz: u32,
    cpus: u32,
    /// Time recorded.
    seconds: f64,
    /// The command's exit code, 128 + n when signal n ended it; none without a command, or when it was ended.
    exit_code: Option<i32>,
    /// Functions by the samples that ended in them.
    hottest: Vec<Hot>,
    outputs: Vec<String>,
}

/// A function.
#[derive(Clone, Debug, Serialize)]
struct Hot {
    function: String,
    binary: Option<String>,
    /// Samples; where the rate changed meanwhile, nanoseconds of CPU time.
    #[serde(rename = "self")]
    self_: u64,
    total: u64,
    /// Of all, 0 to 1, that ended in it.
    share: f64,
}

impl Summary {
    /// Of a recording that is over; without a database that can be read, without the hottest functions.
    pub fn of(
        live: &LiveStatus,
        database: &Path,
        elapsed: Duration,
        exit_code: Option<i32>,
        outputs: Vec<String>,
    ) -> Self {
        let whole: u64 = live.stacks.iter().filter(|(end, _)| end.is_complete()).map(|(_, n)| n).sum();
        Self {
            taken: live.taken,
            samples: live.stored,
            lost: live.losses.total(),
            losses: live.losses.0.iter().map(|(cause, n)| (cause.name(), *n)).collect(),
            complete: (live.stored > 0).then(|| whole as f64 / live.stored as f64),
            event: live.event,
            hz: live.hz,
            cpus: live.cpus,
            seconds: elapsed.as_secs_f64(),
            exit_code,
            hottest: if live.stored > 0 { hottest(database).unwrap_or_default() } else { Vec::new() },
            outputs,
        }
    }

    /// In lines for people.
    pub fn text(&self) -> String {
        let losses: Vec<String> =
            self.losses.iter().map(|(cause, n)| format!("{n} {}", cause.replace('_', " "))).collect();
        let causes = if losses.is_empty() { String::new() } else { format!(" ({})", losses.join(", ")) };
        let complete =
            self.complete.map_or_else(String::new, |share| format!("; {:.1} % of stacks complete", share * 100.0));
        let mut text = format!(
            "{} samples taken by {} at {} Hz on {} CPUs in {:.1} s: {} stored, {} lost{causes}{complete}",
            self.taken, self.event, self.hz, self.cpus, self.seconds, self.samples, self.lost,
        );
        if !self.hottest.is_empty() {
            text += "\nhottest functions:";
        }
        for hot in &self.hottest {
            let share = hot.share * 100.0;
            let binary = hot
                .binary
                .as_ref()
                .map_or_else(String::new, |binary| format!("  {}", printable(binary.as_bytes(), WIDTH)));
            let _ = write!(text, "\n{share:6.1} %  {}{binary}", printable(hot.function.as_bytes(), WIDTH));
        }
        text
    }
}

fn hottest(database: &Path) -> anyhow::Result<Vec<Hot>> {
    let wanted = TopRows { max_rows: HOTTEST, ..TopRows::default() };
    let top = query::top(&mut Reader::open(database)?, EVERYTHING.into(), &Selector::default(), &wanted)?;
    let hot = |row: query::TopRow| Hot {
        function: row.frame.name.to_string(),
        binary: row.frame.binary.as_deref().map(str::to_owned),
        self_: row.self_,
        total: row.total,
        share: row.self_ as f64 / top.total.max(1) as f64,
    };
    Ok(top.rows.into_iter().filter(|row| row.self_ > 0).map(hot).collect())
}
