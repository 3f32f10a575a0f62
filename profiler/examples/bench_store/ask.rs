//! Questions about a history: how long, by percentile, and whether the answer is right.

use std::path::Path;
use std::time::{Duration, Instant};

use profiler::profile::{TimeRange, WallNanos};
use profiler::query::{self, By, Selector};
use profiler::store::Reader;

use crate::dice::Dice;
use crate::host::{self, SECONDS};

/// What the page asks for.
const NODES: usize = 100_000;
const HOUR: u64 = 3_600 / SECONDS;

/// Times of one sort of question.
#[derive(Clone, Debug)]
pub struct Times(Vec<Duration>);

impl Times {
    /// In milliseconds, from sorted times.
    pub fn percentile(&self, percent: usize) -> f64 {
        let at = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

/// Asks about windows `0..windows` of a host with so many samples each.
pub struct Asker {
    reader: Reader,
    dice: Dice,
    windows: u64,
    per_window: u64,
    rounds: usize,
}

impl Asker {
    pub fn new(database: &Path, windows: u64, per_window: u64, rounds: usize) -> anyhow::Result<Self> {
        Ok(Self { reader: Reader::open(database)?, dice: Dice(7), windows, per_window, rounds })
    }

    fn time(&mut self, mut question: impl FnMut(&mut Self) -> anyhow::Result<()>) -> anyhow::Result<Times> {
        let mut times = Vec::with_capacity(self.rounds);
        for _ in 0..self.rounds {
            let begun = Instant::now();
            question(self)?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        Ok(Times(times))
    }

    /// The flame graph of windows `from..to`. Without a selector the number of samples is known.
    fn flame_graph(&mut self, from: u64, to: u64, selector: Option<&Selector>) -> anyhow::Result<()> {
        let range = TimeRange { from: host::wall(from), to: host::wall(to) };
        let merged = query::flame_graph(&mut self.reader, range, selector.unwrap_or(&Selector::default()), NODES)?;
        let total = merged.tree.nodes.first().map_or(0, |root| root.total);
        let all = (to - from) * self.per_window;
        let right = if selector.is_none() { total == all } else { total <= all };
        anyhow::ensure!(right, "windows {from}..{to}: {total} samples, there are {all}");
        Ok(())
    }

    /// The first question of a new reader: nothing is cached but by the kernel.
    pub fn first(&mut self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        self.flame_graph(0, self.windows, None)?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }

    /// Ranges of whole hours, about `hours` of them.
    pub fn aligned(&mut self, hours: u64) -> anyhow::Result<Times> {
        let all = self.windows / HOUR;
        let most = hours.min(all);
        self.time(|asker| {
            let length = most - asker.dice.below(most.div_ceil(4));
            let from = asker.dice.below(all - length + 1);
            asker.flame_graph(from * HOUR, (from + length) * HOUR, None)
        })
    }

    /// Any start, any end within so many windows, any filter (every fourth has none).
    pub fn any(&mut self, within: u64) -> anyhow::Result<Times> {
        let filters = [r#"{comm="service-3"}"#, r#"{thread="worker"}"#, r#"{comm=~"service-1.*", thread!="io"}"#];
        let selectors = filters.map(query::parse_selector).into_iter().collect::<Result<Vec<_>, _>>()?;
        self.time(|asker| {
            let length = 1 + asker.dice.below(within.min(asker.windows));
            let from = asker.dice.below(asker.windows - length + 1);
            let selector = asker.dice.below(selectors.len() as u64 + 1) as usize;
            asker.flame_graph(from, from + length, selectors.get(selector))
        })
    }

    /// The last `windows` of the history.
    pub fn last(&mut self, windows: u64) -> anyhow::Result<Times> {
        let windows = windows.min(self.windows);
        self.time(|asker| asker.flame_graph(asker.windows - windows, asker.windows, None))
    }

    /// Any day against any other; of a history of one day, its halves.
    pub fn diff(&mut self) -> anyhow::Result<Times> {
        let length = (24 * HOUR).min(self.windows / 2);
        let days = self.windows / length.max(1);
        let selector = Selector::default();
        self.time(|asker| {
            let mut day = || {
                let from = asker.dice.below(days) * length;
                TimeRange { from: host::wall(from), to: host::wall(from + length) }
            };
            let sides = [(day(), &selector), (day(), &selector)];
            let diff = query::diff(&mut asker.reader, sides, By::Share, None, NODES)?;
            let totals = diff.nodes.first().map_or([0; 2], |root| root.total);
            anyhow::ensure!(
                totals == [length * asker.per_window; 2],
                "a diff of {length} windows has {totals:?} samples"
            );
            Ok(())
        })
    }

    /// The busiest functions of a day, the values of a label, the timeline: what the page asks beside the flame graph.
    pub fn beside(&mut self) -> anyhow::Result<Times> {
        let range = TimeRange { from: WallNanos(host::EPOCH), to: host::wall(self.windows) };
        let selector = Selector::default();
        let mut turn = 0;
        self.time(|asker| {
            turn += 1;
            match turn % 3 {
                0 => drop(query::top(&mut asker.reader, range, &selector, query::TopOrder::Self_, 200)?),
                1 => drop(query::timeline(&mut asker.reader, range, &selector, 600)?),
                _ => drop(query::label_values(&mut asker.reader, range, &selector, "comm")?),
            }
            Ok(())
        })
    }
}
