//! Questions about a history: how long, by percentile, and whether the answer is right.

use std::path::Path;
use std::time::{Duration, Instant};

use profiler::profile::TimeRange;
use profiler::query::{self, By, Selector};
use profiler::store::Reader;

use crate::dice::Dice;
use crate::host;

/// What the page asks for.
const NODES: usize = 100_000;
/// Windows of an hour.
const HOUR: i64 = host::DAY / 24;

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

/// Asks about windows `from..to` of a host with so many samples each; those before 0 were written as five minutes.
pub struct Asker {
    reader: Reader,
    dice: Dice,
    from: i64,
    to: i64,
    per_window: u64,
    rounds: usize,
}

impl Asker {
    pub fn new(database: &Path, (from, to): (i64, i64), per_window: u64, rounds: usize) -> anyhow::Result<Self> {
        Ok(Self { reader: Reader::open(database)?, dice: Dice(7), from, to, per_window, rounds })
    }

    fn below(&mut self, n: i64) -> i64 {
        self.dice.below(n.max(0).cast_unsigned()).cast_signed()
    }

    /// Samples of a range: five minutes belong to it when their start does.
    fn samples(&self, from: i64, to: i64) -> u64 {
        let starts = |at: i64| (at.min(0) + host::COARSE - 1).div_euclid(host::COARSE) * host::COARSE;
        let windows = (starts(to) - starts(from)) + (to.max(0) - from.max(0));
        windows.cast_unsigned() * self.per_window
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
    fn flame_graph(&mut self, from: i64, to: i64, selector: Option<&Selector>) -> anyhow::Result<()> {
        let range = TimeRange { from: host::wall(from), to: host::wall(to) };
        let merged = query::flame_graph(&mut self.reader, range, selector.unwrap_or(&Selector::default()), NODES)?;
        let total = merged.tree.nodes.first().map_or(0, |root| root.total);
        let all = self.samples(from, to);
        let right = if selector.is_none() { total == all } else { total <= all };
        anyhow::ensure!(right, "windows {from}..{to}: {total} samples, there are {all}");
        Ok(())
    }

    /// Everything, to a new reader: nothing is cached but by the kernel.
    pub fn first(&mut self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        self.flame_graph(self.from, self.to, None)?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }

    /// So many whole hours; as many as there are, where there are fewer.
    pub fn hours(&mut self, hours: i64) -> anyhow::Result<Times> {
        let (first, all) = (self.from.div_euclid(HOUR), (self.to - self.from) / HOUR);
        let length = hours.min(all);
        self.time(|asker| {
            let from = first + asker.below(all - length + 1);
            asker.flame_graph(from * HOUR, (from + length) * HOUR, None)
        })
    }

    /// Any start, any end, any filter (every fourth has none).
    pub fn any(&mut self) -> anyhow::Result<Times> {
        let filters = [r#"{comm="service-3"}"#, r#"{thread="worker"}"#, r#"{comm=~"service-1.*", thread!="io"}"#];
        let selectors = filters.map(query::parse_selector).into_iter().collect::<Result<Vec<_>, _>>()?;
        self.time(|asker| {
            let all = asker.to - asker.from;
            let length = 1 + asker.below(all);
            let from = asker.from + asker.below(all - length + 1);
            let selector = asker.dice.below(selectors.len() as u64 + 1) as usize;
            asker.flame_graph(from, from + length, selectors.get(selector))
        })
    }

    /// All of it, or the end of it.
    pub fn last(&mut self, windows: i64) -> anyhow::Result<Times> {
        let from = self.from.max(self.to - windows);
        self.time(|asker| asker.flame_graph(from, asker.to, None))
    }

    /// Any day against any other; of a history of one day, its halves.
    pub fn diff(&mut self) -> anyhow::Result<Times> {
        let length = host::DAY.min((self.to - self.from) / 2);
        let days = (self.to - self.from) / length.max(1);
        let selector = Selector::default();
        self.time(|asker| {
            let mut day = || {
                let from = asker.from + asker.below(days) * length;
                (from, TimeRange { from: host::wall(from), to: host::wall(from + length) })
            };
            let days = [day(), day()];
            let sides = days.map(|(_, range)| (range, &selector));
            let diff = query::diff(&mut asker.reader, sides, By::Share, None, NODES)?;
            let totals = diff.nodes.first().map_or([0; 2], |root| root.total);
            let all = days.map(|(from, _)| asker.samples(from, from + length));
            anyhow::ensure!(totals == all, "a diff of {length} windows has {totals:?} samples, there are {all:?}");
            Ok(())
        })
    }

    /// The busiest functions of a day, the values of a label, the timeline: what the page asks beside the flame graph.
    pub fn beside(&mut self) -> anyhow::Result<Times> {
        let range = TimeRange { from: host::wall(self.from), to: host::wall(self.to) };
        let selector = Selector::default();
        let mut turn = 0;
        self.time(|asker| {
            turn += 1;
            match turn % 3 {
                0 => drop(query::top(
                    &mut asker.reader,
                    range.into(),
                    &selector,
                    &query::TopRows { max_rows: 200, ..query::TopRows::default() },
                )?),
                1 => drop(query::timeline(&mut asker.reader, range, &selector, 600)?),
                _ => drop(query::label_values(&mut asker.reader, range.into(), &selector, "comm", 200)?),
            }
            Ok(())
        })
    }
}
