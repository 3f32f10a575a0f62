//! Samples over time in equal buckets.

use super::labels::Label;
use super::merge::nanos_at;
use super::sieve::Sieve;
use super::{QueryError, Selector};
use crate::profile::{MissedTicks, TimeRange, WallNanos};
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
}

/// One bucket of a [`Timeline`]: the windows of the range that start in it.
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

/// The timeline of a range, in at most `max_points` buckets.
///
/// # Errors
/// [`QueryError::Store`].
pub fn timeline(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    max_points: usize,
) -> Result<Timeline, QueryError> {
    let mut snapshot = reader.snapshot()?;
    let (grid, pieces) = lay_out(&snapshot, range, max_points)?;
    let mut sums = vec![Sum::default(); grid.buckets];
    let mut sieve = Sieve::new(selector);
    for piece in pieces {
        let Numbers { length, busy, idle, stored, incomplete, .. } = piece.numbers;
        let sum = &mut sums[grid.bucket(piece.start)];
        sum.length += u128::from(length);
        sum.busy += u128::from(busy);
        sum.idle += u128::from(idle);
        sum.lost = sum.lost.saturating_add(piece.numbers.losses.total());
        sum.missed.merge(&piece.numbers.missed);
        if sieve.is_open() {
            sum.add(stored, incomplete, piece.hz);
            continue;
        }
        snapshot.check()?;
        for group in snapshot.groups(&piece)? {
            if sieve.passes(&mut snapshot, &group)? {
                let incomplete = if group.key.end.is_complete() { 0 } else { group.samples };
                sum.add(group.samples, incomplete, piece.hz);
            }
        }
    }
    let buckets = sums.into_iter().map(Sum::bucket).collect();
    Ok(Timeline { start: WallNanos(grid.start), step: grid.step, buckets })
}

/// Samples over time by the values of a label: as many columns as a [`Timeline`] of the same question has buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The values with the most samples, these first, with the samples of each bucket.
    pub values: Vec<(String, Vec<u64>)>,
    /// All other values together.
    pub others: Vec<u64>,
    /// How many these are.
    pub hidden_values: u64,
}

/// A timeline grouped by a label.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::UnknownLabel`].
pub fn series(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    max_points: usize,
    label: &str,
    max_values: usize,
) -> Result<Series, QueryError> {
    let label = Label::parse(label)?;
    let mut snapshot = reader.snapshot()?;
    let (grid, pieces) = lay_out(&snapshot, range, max_points)?;
    let mut sieve = Sieve::new(selector);
    let mut cells = RowMap::<(u32, u32), u64>::default();
    let mut totals = RowMap::<u32, u64>::default();
    for piece in pieces {
        snapshot.check()?;
        for group in snapshot.groups(&piece)? {
            if sieve.passes(&mut snapshot, &group)? {
                let row = label.of(&mut snapshot, &group)?;
                let bucket = grid.bucket(piece.start) as u32;
                for sum in [cells.entry((row, bucket)).or_default(), totals.entry(row).or_default()] {
                    *sum = sum.saturating_add(group.samples);
                }
            }
        }
        if cells.len() > MAX_CELLS {
            return Err(QueryError::TooLarge);
        }
    }
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
    Ok(Series { values, others, hidden_values })
}

/// Most (value, bucket) pairs of one question: 48 MiB.
const MAX_CELLS: usize = 2 << 20;

/// The buckets, and the pieces that fall into them: none longer than a bucket where there is something finer.
fn lay_out(snapshot: &Snapshot<'_>, range: TimeRange, max_points: usize) -> Result<(Grid, Vec<Piece>), QueryError> {
    let finest = Grid::new(range, 0, max_points);
    let pieces = snapshot.pieces(range, finest.step)?;
    let mut spans: Vec<u64> = pieces.iter().map(|piece| piece.span.max(0).cast_unsigned()).collect();
    Ok((Grid::new(range, median(&mut spans), max_points), pieces))
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
    fn add(&mut self, samples: u64, incomplete: u64, hz: u32) {
        self.samples = self.samples.saturating_add(samples);
        self.incomplete = self.incomplete.saturating_add(incomplete);
        self.cpu += u128::from(samples) * u128::from(nanos_at(hz));
    }

    fn bucket(self) -> Bucket {
        let ratio = |a: u128, b: u128| (b > 0).then(|| a as f64 / b as f64);
        let missed = u128::from(self.missed.total());
        Bucket {
            samples: self.samples,
            incomplete: self.incomplete,
            busy_cores: ratio(self.cpu, self.length),
            utilisation: ratio(self.busy, self.busy + self.idle),
            lost: self.lost,
            missed: self.missed,
            missed_share: ratio(missed, self.busy + self.idle + missed),
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
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::profile::LossCause;
    use crate::query::parse_selector;
    use crate::store::Store;
    use crate::store::drawing::{EPOCH, window};

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange { from: WallNanos((EPOCH + from) * SECOND), to: WallNanos((EPOCH + to) * SECOND) }
    }

    /// Buckets lie on multiples of the step and are as fine as the points allow, but never finer than a window.
    #[test]
    fn steps_are_human_and_aligned() {
        let hour = 3_600;
        for (from, to, window, points, step) in [
            (0, 600, 10, 600, 10),
            (0, 600, 30, 600, 30),
            (0, 600, 7, 20, 30),
            (0, hour, 10, 600, 10),
            (0, 24 * hour, 10, 600, 300),
            (0, 24 * hour, 10, 100, 900),
            (0, 30 * 24 * hour, 10, 600, 6 * hour),
            (0, 900 * 24 * hour, 10, 600, 48 * hour),
            (5, 595, 10, 600, 10),
        ] {
            let grid = Grid::new(range(from, to), window * SECOND as u64, points);
            assert_eq!(grid.step, step * SECOND, "{from}..{to}");
            assert_eq!(grid.start, EPOCH * SECOND + from * SECOND / grid.step * grid.step);
            let end = grid.start + grid.step * grid.buckets as i64;
            assert!((0..grid.step).contains(&(end - range(from, to).to.0)));
        }
    }

    /// Samples, cores, utilisation and losses of each bucket; nothing recorded is `None`, not zero.
    #[test]
    fn buckets_tell_recorded_from_idle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        // 100 Hz: 500 samples in ten seconds are half a core.
        store.write_window(&window(0, "web/7  main x500\nweb/7  !main x100\ndb/8~io  main x400")).unwrap();
        let mut lossy = window(1, "");
        lossy.losses.add(LossCause::RingFull, 3);
        store.write_window(&lossy).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let mut ask = |selector: &str| {
            let selector = parse_selector(selector).unwrap();
            timeline(&mut reader, range(0, 30), &selector, 600).unwrap()
        };
        let recorded = |samples, incomplete, cores, lost| Bucket {
            samples,
            incomplete,
            busy_cores: Some(cores),
            utilisation: Some(0.25),
            lost,
            missed: MissedTicks::default(),
            missed_share: Some(0.0),
        };
        let all = ask("");
        assert_eq!((all.start.0, all.step), (EPOCH * SECOND, 10 * SECOND));
        assert_eq!(all.buckets, [recorded(1000, 100, 1.0, 0), recorded(0, 0, 0.0, 3), Bucket::default()]);
        assert_eq!(ask("pid=7").buckets[0], recorded(600, 100, 0.6, 0));
        assert_eq!(ask(r#"thread="io""#).buckets[0], recorded(400, 0, 0.4, 0));
        assert_eq!(ask(r#"thread="main""#).buckets[0], recorded(600, 100, 0.6, 0));
    }

    proptest! {
        /// Any range gives a bounded number of buckets, and each of its instants has one.
        #[test]
        fn any_range_has_bounded_buckets(
            a in any::<i64>(), b in any::<i64>(), at in any::<i64>(), window in any::<u64>(), points in 0..30_000_usize,
        ) {
            let range = TimeRange { from: WallNanos(a.min(b)), to: WallNanos(a.max(b)) };
            let grid = Grid::new(range, window, points);
            prop_assert!((1..=MAX_POINTS).contains(&grid.buckets));
            prop_assert!(grid.step > 0 && grid.start <= range.from.0);
            prop_assert!(grid.bucket(at.clamp(range.from.0, range.to.0)) < grid.buckets);
        }
    }
}
