//! Samples by the time they were taken, finer than windows: a grid of equal slices, and the flame graph of any box of it.
//!
//! Columns are slices of the range, rows slices of each column, as in FlameScope: 60 columns of a minute and 50 rows are seconds
//! and 20 ms. Times are kept for a day or so; samples whose time is gone, or was never known, are counted apart.

use super::flame_graph::{Merged, Shape, draw};
use super::labels::{Label, total_of};
use super::merge::{Counts, merge_by};
use super::sieve::Sieve;
use super::{QueryError, Selector};
use crate::profile::{Measure, TimeRange};
use crate::store::{Group, Piece, Reader, Snapshot, StackId};

/// Most cells of a grid: more than any screen has.
pub const MAX_CELLS: usize = 400_000;

/// A range cut into columns, and these into rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// What is cut.
    pub range: TimeRange,
    /// Columns, at least one.
    pub columns: u32,
    /// Rows of each, at least one.
    pub rows: u32,
}

impl Grid {
    fn cells(&self) -> usize {
        self.columns as usize * self.rows as usize
    }

    /// The cell of an instant, one column after the other.
    fn cell(&self, at: i64) -> Option<usize> {
        let (from, to) = (i128::from(self.range.from.0), i128::from(self.range.to.0));
        let at = i128::from(at);
        (from <= at && at < to).then(|| ((at - from) * self.cells() as i128 / (to - from)) as usize)
    }

    /// Nanoseconds of a column.
    #[must_use]
    pub fn column_nanos(&self) -> i64 {
        self.range.to.0.saturating_sub(self.range.from.0) / i64::from(self.columns)
    }
}

/// A box of a grid, both ends inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First and last column.
    pub columns: [u32; 2],
    /// First and last row.
    pub rows: [u32; 2],
}

/// Which samples of a question are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// Those of a range.
    Range(TimeRange),
    /// Those of a box of a heat map.
    Box(Grid, Area),
}

impl Within {
    /// The range, or that of the heat map.
    pub(super) const fn range(self) -> TimeRange {
        match self {
            Self::Range(range) => range,
            Self::Box(grid, _) => grid.range,
        }
    }

    /// What they add up to, by the values of a label, if one is given.
    pub(super) fn counts(
        self,
        snapshot: &mut Snapshot<'_>,
        selector: &Selector,
        label: Option<Label>,
    ) -> Result<Counts, QueryError> {
        match self {
            Self::Range(range) => merge_by(snapshot, range, selector, label),
            Self::Box(grid, area) => counts_of_area(snapshot, grid, area, selector, label),
        }
    }
}

impl From<TimeRange> for Within {
    fn from(range: TimeRange) -> Self {
        Self::Range(range)
    }
}

/// Samples by time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeatMap {
    /// What the numbers stand for.
    pub measure: Measure,
    /// Of each cell, one column after the other.
    pub cells: Vec<u64>,
    /// Of the samples of the range whose time is not known.
    pub untimed: u64,
}

/// The heat map of what passes a selector.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`] for too many cells.
pub fn heat_map(reader: &mut Reader, grid: Grid, selector: &Selector) -> Result<HeatMap, QueryError> {
    if grid.cells() == 0 || grid.cells() > MAX_CELLS {
        return Err(QueryError::TooLarge);
    }
    let mut snapshot = reader.snapshot()?;
    let mut sieve = Sieve::new(selector);
    let windows = snapshot.windows_in(grid.range)?;
    let measure = measure_in(&snapshot, grid.range)?;
    let mut map = HeatMap { measure, cells: vec![0; grid.cells()], untimed: 0 };
    let mut timed = 0_u64;
    for piece in windows {
        let weight = measure.weight(piece.series.hz);
        let starts_inside = grid.range.from.0 <= piece.start && piece.start < grid.range.to.0;
        let (passes, samples) = passing(&mut snapshot, &mut sieve, &piece)?;
        let found = snapshot.times(&piece, |group, _, at| {
            if passes[group]
                && let Some(cell) = grid.cell(at)
            {
                map.cells[cell] += weight;
            }
        })?;
        if found && starts_inside {
            timed = timed.saturating_add(samples.saturating_mul(weight));
        }
    }
    let all = total_of(&mut snapshot, &mut sieve, grid.range, measure)?;
    map.untimed = all.saturating_sub(timed);
    Ok(map)
}

/// The flame graph of the samples in a box of a heat map: as many as its cells say.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn flame_graph_of_area(
    reader: &mut Reader,
    grid: Grid,
    area: Area,
    selector: &Selector,
    shape: &Shape,
) -> Result<Merged, QueryError> {
    draw(&mut reader.snapshot()?, Within::Box(grid, area), selector, shape)
}

fn counts_of_area(
    snapshot: &mut Snapshot<'_>,
    grid: Grid,
    area: Area,
    selector: &Selector,
    label: Option<Label>,
) -> Result<Counts, QueryError> {
    let mut counts = Counts::by(label, measure_in(snapshot, grid.range)?);
    each_in_area(snapshot, grid, area, selector, |snapshot, sampled| {
        counts.add(snapshot, sampled.hz, sampled.group, sampled.stack.0, sampled.samples)
    })?;
    counts.length = nanos_of(grid, area);
    Ok(counts)
}

/// Nanoseconds that the cells of a box stand for.
pub(super) fn nanos_of(grid: Grid, area: Area) -> u64 {
    let side =
        |[first, last]: [u32; 2], most: u32| u64::from(last.min(most.saturating_sub(1)).saturating_sub(first)) + 1;
    let cells = side(area.columns, grid.columns) * side(area.rows, grid.rows);
    let range = grid.range.to.0.saturating_sub(grid.range.from.0).max(0).cast_unsigned();
    (u128::from(range) * u128::from(cells) / grid.cells().max(1) as u128) as u64
}

/// What the numbers of a heat map and of its boxes stand for: of samples whose time is known, and of the others.
pub(super) fn measure_in(snapshot: &Snapshot<'_>, range: TimeRange) -> Result<Measure, QueryError> {
    let (timed, all) = (snapshot.windows_in(range)?, snapshot.pieces(range, i64::MAX)?);
    Ok(Measure::of(timed.iter().chain(&all).map(|piece| piece.series.hz)))
}

/// Samples of one stack in a box of a heat map, all in one slice of [`SLICE`].
pub(super) struct Sampled<'a> {
    /// Samples per second and CPU.
    pub(super) hz: u32,
    /// Whose.
    pub(super) group: &'a Group,
    /// Where.
    pub(super) stack: StackId,
    /// When the first was taken.
    pub(super) at: i64,
    /// How many.
    pub(super) samples: u64,
}

/// Every bucket of a timeline is a whole number of these, counted from the epoch.
const SLICE: i64 = 10_000_000_000;

/// Calls `each` for the samples in a box of a heat map.
pub(super) fn each_in_area(
    snapshot: &mut Snapshot<'_>,
    grid: Grid,
    area: Area,
    selector: &Selector,
    mut each: impl FnMut(&mut Snapshot<'_>, Sampled<'_>) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let mut sieve = Sieve::new(selector);
    let inside = |cell: usize| {
        let (column, row) = ((cell / grid.rows as usize) as u32, (cell % grid.rows as usize) as u32);
        (area.columns[0]..=area.columns[1]).contains(&column) && (area.rows[0]..=area.rows[1]).contains(&row)
    };
    for piece in snapshot.windows_in(grid.range)? {
        let (passes, _) = passing(snapshot, &mut sieve, &piece)?;
        let mut found: Vec<(usize, StackId, i64, u64)> = Vec::new();
        snapshot.times(&piece, |group, stack, at| {
            if !passes[group] || !grid.cell(at).is_some_and(inside) {
                return;
            }
            match found.last_mut() {
                Some((last, same, first, samples))
                    if (*last, *same, first.div_euclid(SLICE)) == (group, stack, at.div_euclid(SLICE)) =>
                {
                    *samples += 1;
                }
                _ => found.push((group, stack, at, 1)),
            }
        })?;
        let groups = snapshot.groups(&piece)?;
        for (group, stack, at, samples) in found {
            each(snapshot, Sampled { hz: piece.series.hz, group: &groups[group], stack, at, samples })?;
        }
    }
    Ok(())
}

/// Which groups of a window pass, and their samples.
fn passing(snapshot: &mut Snapshot<'_>, sieve: &mut Sieve<'_>, piece: &Piece) -> Result<(Vec<bool>, u64), QueryError> {
    snapshot.check()?;
    let groups = snapshot.groups(piece)?;
    let (mut passes, mut samples) = (Vec::with_capacity(groups.len()), 0_u64);
    for group in &groups {
        let pass = sieve.passes(snapshot, group)?;
        passes.push(pass);
        samples = samples.saturating_add(if pass { group.samples } else { 0 });
    }
    Ok((passes, samples))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::{BootNanos, WallNanos};
    use crate::query::{
        FunctionIs, TopRows, code, label_values, lines, parse_selector, quality, series, timeline, top,
    };
    use crate::store::drawing::{EPOCH, SECONDS, name_all, window};
    use crate::store::{Keep, Store};

    const MILLI: u64 = 1_000_000;

    /// Windows whose rows' samples were taken every 100 ms from the window's start on, 50 ms later for thread `io`.
    fn database(windows: u64) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&folder.path().join("x.db")).unwrap();
        for n in 0..windows {
            let mut window = window(n, "web/7  main;serve x20\nweb/7~io  main;poll x4\ndb/8  main x100");
            let start = window.start.0;
            for row in window.processes.iter_mut().flat_map(|process| &mut process.stacks) {
                let late = if &*row.thread == "io" { 50 * MILLI } else { 0 };
                row.times = (0..row.count).rev().map(|nth| BootNanos(start + late + nth * 100 * MILLI)).collect();
            }
            let unnamed = store.write_window(&window).unwrap();
            name_all(&mut store, &unnamed);
        }
        (folder, store)
    }

    fn grid(from: u64, seconds: u64, columns: u32, rows: u32) -> Grid {
        let wall = |n: u64| WallNanos((EPOCH + n as i64) * 1_000_000_000);
        Grid { range: TimeRange { from: wall(from), to: wall(from + seconds) }, columns, rows }
    }

    /// What a function took in a box, by instruction and by line, is of the samples of the box alone.
    #[test]
    fn a_function_in_a_box_has_the_samples_of_the_box() {
        let (folder, _store) = database(2);
        let mut reader = Reader::open(&folder.path().join("x.db")).unwrap();
        let all = Selector::default();
        let main = FunctionIs { name: "main".into(), ..FunctionIs::default() };
        let seconds = grid(0, 20, 20, 20);
        let area = Area { columns: [0, 0], rows: [0, 7] };
        let within = Within::Box(seconds, area);
        let drawn = flame_graph_of_area(&mut reader, seconds, area, &all, &Shape::default()).unwrap();
        let samples = drawn.tree.nodes[0].total;
        assert_eq!(samples, 12);
        assert_eq!(code(&mut reader, within, &all, &main).unwrap().unwrap().total, samples);
        assert_eq!(lines(&mut reader, within, &all, &main).unwrap().unwrap().total, samples);
        assert_eq!(lines(&mut reader, seconds.range, &all, &main).unwrap().unwrap().total, 2 * 124);
        let nothing = Within::Box(seconds, Area { columns: [19, 19], rows: [1, 1] });
        assert!(lines(&mut reader, nothing, &all, &main).unwrap().is_none());
    }

    /// Functions, values of labels and quality of a box are of its samples too: whatever stands beside its flame graph.
    #[test]
    fn what_stands_beside_a_box_has_the_samples_of_the_box() {
        let (folder, _store) = database(2);
        let mut reader = Reader::open(&folder.path().join("x.db")).unwrap();
        let all = Selector::default();
        let within = Within::Box(grid(0, 20, 20, 20), Area { columns: [0, 0], rows: [0, 7] });
        let threads = label_values(&mut reader, within, &all, "thread", 1).unwrap();
        assert_eq!(threads.values, [("main".to_owned(), 8)]);
        assert_eq!((threads.hidden_values, threads.total), (1, 12));
        let wanted = TopRows { max_rows: 10, ..TopRows::default() };
        let functions = top(&mut reader, within, &all, &wanted).unwrap();
        let rows: Vec<_> = functions.rows.iter().map(|row| (&*row.frame.name, row.self_)).collect();
        assert_eq!((functions.total, rows), (12, vec![("main", 4), ("poll", 4), ("serve", 4)]));
        assert_eq!(quality(&mut reader, within, &all, 10).unwrap().kinds.iter().sum::<u64>(), 12);
    }

    /// The timeline of a box has its samples in the bucket of their time, by label too; what is the whole host's stays.
    #[test]
    fn a_timeline_of_a_box_has_the_samples_of_the_box() {
        let (folder, _store) = database(2);
        let mut reader = Reader::open(&folder.path().join("x.db")).unwrap();
        let all = Selector::default();
        let seconds = grid(0, 20, 20, 20);
        let whole = timeline(&mut reader, seconds.range, &all, 600).unwrap();
        let found =
            timeline(&mut reader, Within::Box(seconds, Area { columns: [0, 10], rows: [0, 7] }), &all, 600).unwrap();
        let samples: Vec<u64> = found.buckets.iter().map(|bucket| bucket.samples).collect();
        let map = heat_map(&mut reader, seconds, &all).unwrap();
        let cells = |columns: std::ops::Range<usize>| -> u64 {
            columns.flat_map(|column| &map.cells[column * 20..column * 20 + 8]).sum()
        };
        assert_eq!(samples, [cells(0..10), cells(10..11)]);
        assert!(samples[0] < whole.buckets[0].samples);
        for (of_box, of_all) in found.buckets.iter().zip(&whole.buckets) {
            assert_eq!((of_box.utilisation, of_box.lost), (of_all.utilisation, of_all.lost));
            assert!(of_box.busy_cores.unwrap() < of_all.busy_cores.unwrap());
        }
        let area = Area { columns: [0, 10], rows: [0, 7] };
        let threads = series(&mut reader, Within::Box(seconds, area), &all, 600, "thread", 1).unwrap();
        let sums: Vec<u64> = threads.values[0].1.iter().zip(&threads.others).map(|(a, b)| a + b).collect();
        assert_eq!(sums, samples);
    }

    /// Every sample is in the cell of its time, whether its window is packed or not, and a box has what its cells have.
    #[test]
    fn samples_are_in_the_cell_of_their_time() {
        let (folder, mut store) = database(2);
        for packed in [false, true] {
            if packed {
                let unnamed = store.write_window(&window(40, "web/7  main x1")).unwrap();
                name_all(&mut store, &unnamed);
                while store.tend().unwrap() {}
            }
            let mut reader = Reader::open(&folder.path().join("x.db")).unwrap();
            let all = Selector::default();
            // Seconds of 50 ms rows.
            let seconds = grid(0, 20, 20, 20);
            let map = heat_map(&mut reader, seconds, &all).unwrap();
            assert_eq!((map.cells.iter().sum::<u64>(), map.untimed), (2 * 124, 0));
            let column = |at: usize| &map.cells[at * 20..(at + 1) * 20];
            assert_eq!(column(0)[..8], [2, 1, 2, 1, 2, 1, 2, 1]);
            assert_eq!(column(1), [2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0]);
            assert_eq!((column(3)[0], column(3)[1], column(10)), (1, 0, column(0)));
            let web = parse_selector(r#"{comm="web", thread="io"}"#).unwrap();
            let threads = heat_map(&mut reader, seconds, &web).unwrap();
            assert_eq!((threads.cells[1], threads.cells.iter().sum::<u64>()), (1, 8));
            for area in [Area { columns: [0, 1], rows: [0, 3] }, Area { columns: [5, 12], rows: [1, 19] }] {
                let cells = (0..400).filter(|cell| {
                    (area.columns[0]..=area.columns[1]).contains(&(*cell as u32 / 20))
                        && (area.rows[0]..=area.rows[1]).contains(&(*cell as u32 % 20))
                });
                let merged = flame_graph_of_area(
                    &mut reader,
                    seconds,
                    area,
                    &all,
                    &Shape { max_nodes: 100, ..Shape::default() },
                )
                .unwrap();
                assert_eq!(merged.tree.nodes[0].total, cells.map(|cell| map.cells[cell]).sum::<u64>());
            }
            // A range that begins in the middle of a window has the samples after that.
            let part = heat_map(&mut reader, grid(8, 4, 4, 1), &all).unwrap();
            assert_eq!((part.cells, part.untimed), (vec![10, 10, 24, 20], 0));
        }
        assert_eq!(SECONDS, 10);
    }

    /// Where there are several rates, cells, boxes, what has no time and the timeline's bands weigh the time between two samples.
    #[test]
    fn cells_of_several_rates_weigh_time() {
        let (folder, mut store) = database(1);
        for (n, timed) in [(1, true), (2, false)] {
            let mut slow = window(n, "web/7  main;serve x20");
            slow.hz = 20;
            let start = slow.start.0;
            for row in slow.processes.iter_mut().flat_map(|process| &mut process.stacks).filter(|_| timed) {
                row.times = (0..row.count).rev().map(|nth| BootNanos(start + nth * 100 * MILLI)).collect();
            }
            let unnamed = store.write_window(&slow).unwrap();
            name_all(&mut store, &unnamed);
        }
        let mut reader = Reader::open(&folder.path().join("x.db")).unwrap();
        let all = Selector::default();
        let seconds = grid(0, 30, 30, 20);
        let map = heat_map(&mut reader, seconds, &all).unwrap();
        let timed = 124 * 10 * MILLI + 20 * 50 * MILLI;
        assert_eq!((map.cells.iter().sum::<u64>(), map.untimed), (timed, 20 * 50 * MILLI));
        assert_eq!((map.cells[10 * 20], map.measure.scale()), (50 * MILLI, 1));
        let area = Area { columns: [0, 29], rows: [0, 19] };
        let shape = Shape { max_nodes: 100, ..Shape::default() };
        let merged = flame_graph_of_area(&mut reader, seconds, area, &all, &shape).unwrap();
        assert_eq!((merged.tree.nodes[0].total, merged.measure), (timed, map.measure));
        let within = Within::Box(seconds, area);
        assert_eq!(label_values(&mut reader, within, &all, "comm", 9).unwrap().total, timed);
        let bands = series(&mut reader, within, &all, 100, "comm", 9).unwrap();
        assert_eq!(bands.values.iter().flat_map(|(_, buckets)| buckets).sum::<u64>(), timed);
    }

    /// Samples whose times are gone are counted, not made up.
    #[test]
    fn samples_without_a_time_are_counted_apart() {
        let (folder, mut store) = database(3);
        store.retain(WallNanos(i64::MAX), &Keep { times_bytes: 0, ..Keep::default() }).unwrap();
        let mut reader = Reader::open(&folder.path().join("x.db")).unwrap();
        let map = heat_map(&mut reader, grid(0, 20, 20, 20), &Selector::default()).unwrap();
        assert_eq!((map.cells.iter().sum::<u64>(), map.untimed), (0, 2 * 124));
        assert!(heat_map(&mut reader, grid(0, 20, 40_000, 20), &Selector::default()).is_err());
    }
}
