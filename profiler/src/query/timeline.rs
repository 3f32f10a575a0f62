//! Samples over time in equal buckets, and the time that was not recorded.
//!
//! A window counts in the bucket that it starts in, as it belongs to the range that it starts in: the buckets of a part of the
//! chart add up to the flame graph of that part. Two exceptions keep the chart true:
//! - A window longer than a bucket (a stall of the collector made it) is spread evenly over the buckets that it covers.
//! - A bucket that no window starts in, but that one overlaps, is recorded: it has that window's rates, and no samples.
//!
//! The samples of a box of a heat map count in the bucket of their own time. What concerns the whole host (idle time, losses, missed
//! ticks, gaps) is that of the range.

use super::heat_map::{Within, each_in_area, measure_in};
use super::labels::Label;
use super::merge::measure_of;
use super::sieve::Sieve;
use super::{QueryError, Selector};
use crate::profile::{Measure, MissedTicks, TimeRange, WallNanos, period};
use crate::store::{Numbers, Piece, Reader, RowMap, Snapshot};

/// Samples over time in equal buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// Start of the first bucket: a multiple of the step at or before the start of the range.
    pub start: WallNanos,
    /// Width of each, in nanoseconds: a human step, no finer than a window is long.
    pub step: i64,
    /// The buckets; the last one reaches the end of the range.
    pub buckets: Vec<Bucket>,
    /// Time of the range that no window covers, in order.
    pub gaps: Vec<TimeRange>,
    /// Ends of gaps with something recorded before them: recording went on there.
    pub resumed: Vec<WallNanos>,
    /// End of the newest window of the history; `None` without windows.
    pub known_until: Option<WallNanos>,
    /// The most CPUs of a window.
    pub cpus: u32,
}

/// One bucket of a [`Timeline`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Samples that pass the selector.
    pub samples: u64,
    /// Samples that pass and whose user stack is cut short.
    pub incomplete: u64,
    /// Cores kept busy by what passes, while windows were open; `None` where nothing was recorded.
    pub busy_cores: Option<f64>,
    /// Share of CPU ticks of the whole host that were not idle; `None` where nothing was recorded.
    pub utilisation: Option<f64>,
    /// Samples lost, whole host.
    pub lost: u64,
    /// Ticks that were not taken although they were due, by cause, whole host.
    pub missed: MissedTicks,
    /// Their share of all ticks due, 0 to 1; `None` where nothing was recorded.
    pub missed_share: Option<f64>,
}

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Widths that people read off a clock; past these, whole days.
const STEPS: [i64; 8] =
    [10 * SECOND, 30 * SECOND, 60 * SECOND, 300 * SECOND, 900 * SECOND, 3_600 * SECOND, 21_600 * SECOND, DAY];

/// More buckets than any screen has columns.
const MAX_POINTS: usize = 20_000;

/// The timeline of a range, or of the samples in a box of its heat map, in at most `max_points` buckets.
///
/// # Errors
/// [`QueryError::Store`].
pub fn timeline(
    reader: &mut Reader,
    within: impl Into<Within>,
    selector: &Selector,
    max_points: usize,
) -> Result<Timeline, QueryError> {
    let within = within.into();
    let range = within.range();
    let mut snapshot = reader.snapshot()?;
    let Layout { grid, before, pieces } = lay_out(&snapshot, range, max_points)?;
    let span = snapshot.sums()?.1;
    let (gaps, resumed) = gaps(range, before.iter().chain(&pieces), span);
    let cpus = before.iter().chain(&pieces).map(|piece| piece.numbers.cpus).max().unwrap_or(0);
    // What counts in a bucket, and what only overlaps it.
    let mut counted = vec![Sum::default(); grid.buckets];
    let mut beside = vec![Sum::default(); grid.buckets];
    let mut sieve = Sieve::new(selector);
    for (piece, counts) in before.iter().map(|piece| (piece, false)).chain(pieces.iter().map(|piece| (piece, true))) {
        let (counts, overlaps) = grid.shares(piece, counts);
        if counts.is_empty() && overlaps.is_empty() {
            continue;
        }
        snapshot.check()?;
        let sum = Sum::of(&mut snapshot, &mut sieve, piece)?;
        for (sums, shares) in [(&mut counted, counts), (&mut beside, overlaps)] {
            for share in shares {
                sums[share.bucket].add(&sum, share);
            }
        }
    }
    if let Within::Box(heat, area) = within {
        counted.iter_mut().chain(&mut beside).for_each(Sum::forget_samples);
        each_in_area(&mut snapshot, heat, area, selector, |_, sampled| {
            let bucket = grid.bucket(sampled.at);
            // Whichever of the two gives the rates.
            for sum in [&mut counted[bucket], &mut beside[bucket]] {
                sum.take(sampled.hz, sampled.group.key.end.is_complete(), sampled.samples);
            }
            Ok(())
        })?;
    }
    let buckets = counted.into_iter().zip(beside).map(|(counted, beside)| counted.bucket(beside)).collect();
    let known_until = span.map(|span| span.to);
    Ok(Timeline { start: WallNanos(grid.start), step: grid.step, buckets, gaps, resumed, known_until, cpus })
}

/// A pause between two windows that is no gap: closing one window and opening the next takes milliseconds.
const PAUSE: i64 = SECOND;

/// What of `range` no piece covers, and where it was covered again; `pieces` by their start, `span` that of the whole history.
fn gaps<'a>(
    range: TimeRange,
    pieces: impl Iterator<Item = &'a Piece>,
    span: Option<TimeRange>,
) -> (Vec<TimeRange>, Vec<WallNanos>) {
    let (mut gaps, mut resumed) = (Vec::new(), Vec::new());
    let mut covered = range.from.0;
    for piece in pieces {
        if piece.start > covered.saturating_add(PAUSE) {
            gaps.push(TimeRange { from: WallNanos(covered), to: WallNanos(piece.start) });
            if span.is_some_and(|span| span.from.0 < piece.start) {
                resumed.push(WallNanos(piece.start));
            }
        }
        covered = covered.max(piece.numbers.wall_end);
    }
    if range.to.0 > covered.saturating_add(PAUSE) {
        gaps.push(TimeRange { from: WallNanos(covered), to: range.to });
    }
    (gaps, resumed)
}

/// Samples over time by the values of a label: as many columns as a [`Timeline`] of the same question has buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The values with the most samples, these first, with the samples of each bucket.
    pub values: Vec<(String, Vec<u64>)>,
    /// All other values together.
    pub others: Vec<u64>,
    /// What these numbers stand for.
    pub measure: Measure,
    /// How many these are.
    pub hidden_values: u64,
}

/// A timeline grouped by a label.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::UnknownLabel`].
pub fn series(
    reader: &mut Reader,
    within: impl Into<Within>,
    selector: &Selector,
    max_points: usize,
    label: &str,
    max_values: usize,
) -> Result<Series, QueryError> {
    let label = Label::parse(label)?;
    let mut snapshot = reader.snapshot()?;
    let within = within.into();
    let Layout { grid, pieces, .. } = lay_out(&snapshot, within.range(), max_points)?;
    let mut cells = Cells::default();
    let measure = match within {
        Within::Range(_) => {
            let mut sieve = Sieve::new(selector);
            let measure = measure_of(&pieces);
            for piece in pieces {
                snapshot.check()?;
                let weight = measure.weight(piece.series.hz);
                // Summed up first: the same rounding as the whole's, as far as one value goes.
                let mut values = RowMap::<u32, u64>::default();
                for group in snapshot.groups(&piece)? {
                    if sieve.passes(&mut snapshot, &group)? {
                        let sum = values.entry(label.of(&mut snapshot, &group)?).or_default();
                        *sum = sum.saturating_add(group.samples.saturating_mul(weight));
                    }
                }
                let (shares, _) = grid.shares(&piece, true);
                for (row, value) in values {
                    cells.total(row, value);
                    for share in &shares {
                        cells.add(row, share.bucket, share.of(value))?;
                    }
                }
            }
            measure
        }
        Within::Box(heat, area) => {
            let measure = measure_in(&snapshot, heat.range)?;
            each_in_area(&mut snapshot, heat, area, selector, |snapshot, sampled| {
                let row = label.of(snapshot, sampled.group)?;
                let value = sampled.samples.saturating_mul(measure.weight(sampled.hz));
                cells.total(row, value);
                cells.add(row, grid.bucket(sampled.at), value)
            })?;
            measure
        }
    };
    let Cells { cells, totals } = cells;
    let mut order: Vec<(u64, u32)> = totals.into_iter().map(|(row, n)| (n, row)).collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    let hidden_values = order.len().saturating_sub(max_values) as u64;
    order.truncate(max_values);
    let places: RowMap<u32, usize> = order.iter().enumerate().map(|(at, (_, row))| (*row, at)).collect();
    let mut values = Vec::with_capacity(order.len());
    for (_, row) in order {
        values.push((label.text(&mut snapshot, row)?.as_ref().to_owned(), vec![0; grid.buckets]));
    }
    let mut others = vec![0_u64; grid.buckets];
    for ((row, bucket), samples) in cells {
        let column = places.get(&row).map_or(&mut others, |at| &mut values[*at].1);
        let sum = &mut column[bucket as usize];
        *sum = sum.saturating_add(samples);
    }
    Ok(Series { values, others, measure, hidden_values })
}

/// Most (value, bucket) pairs of one question: 48 MiB.
const MAX_CELLS: usize = 2 << 20;

/// Samples by value and bucket, and by value.
#[derive(Default)]
struct Cells {
    cells: RowMap<(u32, u32), u64>,
    totals: RowMap<u32, u64>,
}

impl Cells {
    fn total(&mut self, row: u32, samples: u64) {
        let total = self.totals.entry(row).or_default();
        *total = total.saturating_add(samples);
    }

    fn add(&mut self, row: u32, bucket: usize, samples: u64) -> Result<(), QueryError> {
        let cell = self.cells.entry((row, bucket as u32)).or_default();
        *cell = cell.saturating_add(samples);
        if self.cells.len() > MAX_CELLS { Err(QueryError::TooLarge) } else { Ok(()) }
    }
}

/// The buckets, and what lies in them.
struct Layout {
    grid: Grid,
    /// Windows and roll-ups that start before the range and end in it.
    before: Vec<Piece>,
    /// Those of the range: none longer than a bucket where there is something finer.
    pieces: Vec<Piece>,
}

/// A window is at most this long: `--window` goes up to an hour.
const LONGEST_WINDOW: i64 = 3_600 * SECOND;

fn lay_out(snapshot: &Snapshot<'_>, range: TimeRange, max_points: usize) -> Result<Layout, QueryError> {
    let finest = Grid::new(range, 0, max_points);
    let pieces = snapshot.pieces(range, finest.step)?;
    let mut spans: Vec<u64> = pieces.iter().map(|piece| piece.span.max(0).cast_unsigned()).collect();
    let grid = Grid::new(range, median(&mut spans), max_points);
    let earlier = TimeRange { from: WallNanos(range.from.0.saturating_sub(LONGEST_WINDOW)), to: range.from };
    let mut before = snapshot.pieces(earlier, finest.step)?;
    before.retain(|piece| piece.numbers.wall_end > grid.start);
    Ok(Layout { grid, before, pieces })
}

/// The share of a piece that belongs to one bucket: `from..to` of `whole` nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    bucket: usize,
    from: u128,
    to: u128,
    whole: u128,
}

impl Share {
    const fn all(bucket: usize) -> Self {
        Self { bucket, from: 0, to: 1, whole: 1 }
    }

    /// Its part of a number. The parts of shares that make up the whole add up to the number, exactly.
    fn of(&self, n: u64) -> u64 {
        self.of_wide(n.into()) as u64
    }

    fn of_wide(&self, n: u128) -> u128 {
        // Numbers are CPU time of a piece at most: far below 2^64 x 2^64.
        n.saturating_mul(self.to) / self.whole - n.saturating_mul(self.from) / self.whole
    }
}

/// What the windows of a bucket come to.
#[derive(Clone, Copy, Default)]
struct Sum {
    samples: u64,
    incomplete: u64,
    lost: u64,
    /// CPU time of the samples, nanoseconds.
    cpu: u128,
    /// Time covered by windows, nanoseconds.
    length: u128,
    busy: u128,
    idle: u128,
    missed: MissedTicks,
}

impl Sum {
    /// Of one piece, what passes.
    fn of(snapshot: &mut Snapshot<'_>, sieve: &mut Sieve<'_>, piece: &Piece) -> Result<Self, QueryError> {
        let Numbers { length, busy, idle, stored, incomplete, missed, .. } = piece.numbers;
        let mut sum = Self {
            length: length.into(),
            busy: busy.into(),
            idle: idle.into(),
            lost: piece.numbers.losses.total(),
            missed,
            ..Self::default()
        };
        if sieve.is_open() {
            (sum.samples, sum.incomplete) = (stored, incomplete);
        } else {
            for group in snapshot.groups(piece)? {
                if sieve.passes(snapshot, &group)? {
                    sum.samples = sum.samples.saturating_add(group.samples);
                    let incomplete = if group.key.end.is_complete() { 0 } else { group.samples };
                    sum.incomplete = sum.incomplete.saturating_add(incomplete);
                }
            }
        }
        sum.cpu = u128::from(sum.samples) * u128::from(period(piece.series.hz));
        Ok(sum)
    }

    /// Leaves what concerns the whole host.
    fn forget_samples(&mut self) {
        (self.samples, self.incomplete, self.cpu) = (0, 0, 0);
    }

    /// Adds samples of one stack.
    fn take(&mut self, hz: u32, is_complete: bool, samples: u64) {
        self.samples = self.samples.saturating_add(samples);
        self.incomplete = self.incomplete.saturating_add(if is_complete { 0 } else { samples });
        self.cpu += u128::from(samples) * u128::from(period(hz));
    }

    fn add(&mut self, other: &Self, share: Share) {
        for (sum, n) in
            [(&mut self.samples, other.samples), (&mut self.incomplete, other.incomplete), (&mut self.lost, other.lost)]
        {
            *sum = sum.saturating_add(share.of(n));
        }
        for (sum, n) in [
            (&mut self.cpu, other.cpu),
            (&mut self.length, other.length),
            (&mut self.busy, other.busy),
            (&mut self.idle, other.idle),
        ] {
            *sum += share.of_wide(n);
        }
        for (cause, ticks) in other.missed.iter() {
            self.missed.add(cause, share.of(ticks));
        }
    }

    /// Counts are this one's; rates are those of the windows beside it where this one has no time.
    fn bucket(self, beside: Self) -> Bucket {
        let ratio = |a: u128, b: u128| (b > 0).then(|| a as f64 / b as f64);
        let rates = if self.length > 0 { self } else { beside };
        let missed = u128::from(rates.missed.total());
        Bucket {
            samples: self.samples,
            incomplete: self.incomplete,
            busy_cores: ratio(rates.cpu, rates.length),
            utilisation: ratio(rates.busy, rates.busy + rates.idle),
            lost: self.lost,
            missed: rates.missed,
            missed_share: ratio(missed, rates.busy + rates.idle + missed),
        }
    }
}

/// Where the buckets lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grid {
    start: i64,
    step: i64,
    buckets: usize,
}

impl Grid {
    fn new(range: TimeRange, window: u64, max_points: usize) -> Self {
        let max_points = max_points.clamp(1, MAX_POINTS);
        // i128: a range may be all of time.
        let (from, to) = (i128::from(range.from.0), i128::from(range.to.0).max(i128::from(range.from.0)));
        let count = |step: i64| {
            let step = i128::from(step);
            (to + step - 1).div_euclid(step) - from.div_euclid(step)
        };
        let fits = |step: &i64| step.cast_unsigned() >= window && count(*step) <= max_points as i128;
        let days = (1..17).map(|power| DAY << power);
        let step = STEPS.into_iter().chain(days).find(fits).unwrap_or(i64::MAX);
        let start = from.div_euclid(i128::from(step)) * i128::from(step);
        Self {
            start: i64::try_from(start).unwrap_or(i64::MIN),
            step,
            buckets: usize::try_from(count(step)).unwrap_or(0).clamp(1, MAX_POINTS),
        }
    }

    /// The buckets in which a piece counts, if it `counts` at all, and those that it only overlaps.
    fn shares(&self, piece: &Piece, counts: bool) -> (Vec<Share>, Vec<Share>) {
        let own = counts.then(|| self.bucket(piece.start));
        let mut overlaps = self.spread(piece.start, piece.numbers.wall_end);
        // Half a bucket more is still one: windows are closed by a timer that is never quite exact.
        if counts && piece.span > self.step.saturating_add(self.step / 2) && !overlaps.is_empty() {
            return (overlaps, Vec::new());
        }
        overlaps.retain(|share| Some(share.bucket) != own);
        (own.map(Share::all).into_iter().collect(), overlaps)
    }

    /// `start..end` by buckets, the shares of those that there are.
    fn spread(&self, start: i64, end: i64) -> Vec<Share> {
        let edge = |bucket: usize| i128::from(self.start) + bucket as i128 * i128::from(self.step);
        let end = i128::from(end).min(edge(self.buckets));
        let start = i128::from(start.max(self.start));
        if start >= end {
            return Vec::new();
        }
        let at = |instant: i128| (instant.clamp(start, end) - start).unsigned_abs();
        let first = self.bucket(start as i64);
        (first..self.buckets)
            .take_while(|bucket| edge(*bucket) < end)
            .map(|bucket| Share { bucket, from: at(edge(bucket)), to: at(edge(bucket + 1)), whole: at(end) })
            .collect()
    }

    /// The bucket of an instant of the range.
    fn bucket(&self, at: i64) -> usize {
        let nth = (i128::from(at) - i128::from(self.start)) / i128::from(self.step);
        usize::try_from(nth).unwrap_or(0).min(self.buckets - 1)
    }
}

/// The median, rounded down to a whole second: windows are closed by a timer that is never quite exact.
fn median(lengths: &mut [u64]) -> u64 {
    let middle = lengths.len() / 2;
    if lengths.is_empty() {
        return 0;
    }
    let (_, median, _) = lengths.select_nth_unstable(middle);
    *median - *median % SECOND.cast_unsigned()
}

#[cfg(test)]
mod tests;
