//! The top table: functions by the samples that ended in them.

use super::busy_lines::BusyLines;
use super::grow::{Ids, frame_of, grow, order};
use super::heat_map::Within;
use super::search::Search;
use super::tree::{Children, Labels, Shown, Tree};
use super::{QueryError, Selector};
use crate::profile::{Frame, FrameId, Measure};
use crate::store::{Reader, RowMap};

/// One function of the top table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopRow {
    /// The function. A note or a process stands here only for samples without any frame above it.
    pub frame: Frame,
    /// Samples that ended in it.
    pub self_: u64,
    /// Samples with it on the stack, recursion counted once.
    pub total: u64,
}

/// What the rows of the table are put in order by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopOrder {
    /// Samples that ended in the function, then those with it on the stack.
    #[default]
    Self_,
    /// Samples with it on the stack, then those that ended in it: what waits for others to do the work.
    Total,
    /// Name.
    Name,
    /// Path of the binary.
    Binary,
}

/// Which rows of the table are wanted.
#[derive(Clone, Debug, Default)]
pub struct TopRows {
    /// Their order; equal ones by self, total and name.
    pub order: TopOrder,
    /// The least first; else the most first, and texts from Z to A.
    pub ascending: bool,
    /// Only functions that it fits.
    pub search: Option<Search>,
    /// Most rows.
    pub max_rows: usize,
}

/// Functions with their samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// In all; the sum of every function's self, with and without a row.
    pub total: u64,
    /// What the numbers stand for.
    pub measure: Measure,
    /// At most the number of rows asked for.
    pub rows: Vec<TopRow>,
    /// Functions that fit the search and that the limit left out.
    pub hidden_rows: u64,
    /// Functions that do not fit the search.
    pub unmatched_rows: u64,
}

/// The functions of a range, or a box of its heat map.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn top(reader: &mut Reader, within: Within, selector: &Selector, wanted: &TopRows) -> Result<Top, QueryError> {
    let TopRows { order: by, ascending, search, max_rows } = wanted;
    let mut snapshot = reader.snapshot()?;
    let counts = within.counts(&mut snapshot, selector, None)?;
    let mut labels = Labels::new();
    let tree = grow(&mut snapshot, &mut labels, [&counts])?;
    let mut sums: Vec<Sum> = sums(&tree).into_iter().filter(|sum| sum.self_ > 0 || sum.shown.get().is_ok()).collect();
    let all = sums.len();
    if let Some(search) = search {
        sums.retain(|sum| search.fits(frame_of(&snapshot, &labels, sum.shown)));
    }
    let unmatched_rows = (all - sums.len()) as u64;
    let hidden_rows = sums.len().saturating_sub(*max_rows) as u64;
    let by_name = order(&snapshot, &labels);
    let text = |sum: &Sum| {
        let frame = frame_of(&snapshot, &labels, sum.shown);
        if *by == TopOrder::Name { Some(&*frame.name) } else { frame.binary.as_deref() }
    };
    let weight = |sum: &Sum| (sum.self_, sum.total);
    let before = |a: &Sum, b: &Sum| {
        let first = match by {
            TopOrder::Self_ => a.self_.cmp(&b.self_),
            TopOrder::Total => a.total.cmp(&b.total),
            TopOrder::Name | TopOrder::Binary => text(a).cmp(&text(b)),
        };
        let first = if *ascending { first } else { first.reverse() };
        first.then_with(|| weight(b).cmp(&weight(a))).then_with(|| by_name(a.shown, b.shown))
    };
    if *max_rows < sums.len() {
        sums.select_nth_unstable_by(*max_rows, before);
        sums.truncate(*max_rows);
    }
    sums.sort_unstable_by(before);
    drop(by_name);
    let mut frames: Vec<Frame> = sums.iter().map(|sum| frame_of(&snapshot, &labels, sum.shown).clone()).collect();
    let mut ids = Ids::new(&snapshot);
    for (sum, id) in sums.iter().zip((0..).map(FrameId)) {
        ids.of(sum.shown, || id);
    }
    BusyLines::of(snapshot.loaded(), [&counts])?.give(&mut snapshot, &ids, &mut frames)?;
    let rows = frames.into_iter().zip(sums).map(|(frame, Sum { self_, total, .. })| TopRow { frame, self_, total });
    Ok(Top { total: counts.total, measure: counts.measure, rows: rows.collect(), hidden_rows, unmatched_rows })
}

/// What a frame's nodes come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum {
    shown: Shown,
    self_: u64,
    total: u64,
    /// Nodes of it on the way from the root to where the walk is.
    open: u32,
}

/// Every frame's sums; recursion counts once.
fn sums(tree: &Tree<1>) -> Vec<Sum> {
    let totals = tree.totals();
    let children = Children::new(tree.parents.iter().copied());
    let mut sums: Vec<Sum> = Vec::new();
    let mut known = RowMap::<Shown, usize>::default();
    // Each node is met twice: on the way in and on the way out.
    let mut left = vec![(0_u32, true)];
    while let Some((node, inwards)) = left.pop() {
        let shown = tree.shown[node as usize];
        let sum = *known.entry(shown).or_insert_with(|| {
            sums.push(Sum { shown, self_: 0, total: 0, open: 0 });
            sums.len() - 1
        });
        let sum = &mut sums[sum];
        if !inwards {
            sum.open -= 1;
            continue;
        }
        sum.self_ = sum.self_.saturating_add(tree.selves[node as usize][0]);
        if sum.open == 0 {
            sum.total = sum.total.saturating_add(totals[node as usize][0]);
        }
        sum.open += 1;
        left.push((node, false));
        left.extend(children.of(node).iter().map(|child| (*child, true)));
    }
    sums
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::{TimeRange, WallNanos};
    use crate::store::drawing::{name_all, window};
    use crate::store::{CachedFrame, Store};

    /// Search and order are those of all functions, before the limit: the one function of many that a person looks for is found, and
    /// the least are the least of all.
    #[test]
    fn search_and_order_come_before_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        let lines: Vec<_> = (1..=40).map(|n| format!("web/7  start;f{n} x{n}")).collect();
        let unnamed = store.write_window(&window(0, &lines.join("\n"))).unwrap();
        name_all(&mut store, &unnamed);
        let mut reader = Reader::open(&path).unwrap();
        let range = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
        let mut ask = |order, ascending, search: &str| {
            let search = (!search.is_empty()).then(|| search.parse().unwrap());
            let wanted = TopRows { order, ascending, search, max_rows: 2 };
            let found = top(&mut reader, range.into(), &Selector::default(), &wanted).unwrap();
            let rows: Vec<_> =
                found.rows.iter().map(|row| (row.frame.name.to_string(), row.self_, row.total)).collect();
            (rows, found.hidden_rows, found.unmatched_rows)
        };
        let row = |name: &str, self_, total| (name.to_owned(), self_, total);
        assert_eq!(ask(TopOrder::Self_, false, "").0, [row("f40", 40, 40), row("f39", 39, 39)]);
        assert_eq!(ask(TopOrder::Self_, false, "sta"), (vec![row("start", 0, 820)], 0, 40));
        assert_eq!(ask(TopOrder::Self_, true, "/^f/"), (vec![row("f1", 1, 1), row("f2", 2, 2)], 38, 1));
        assert_eq!(ask(TopOrder::Total, false, "").0[0], row("start", 0, 820));
        assert_eq!(ask(TopOrder::Name, true, "").0, [row("f1", 1, 1), row("f10", 10, 10)]);
        assert_eq!(ask(TopOrder::Name, false, "").0[0], row("start", 0, 820));
    }

    /// `f` calls itself through `g`: its samples count once. Every sample has a row.
    #[test]
    fn recursion_counts_once_and_every_sample_has_a_row() {
        let mut tree = Tree::new();
        let [f, g] = [0, 1].map(|at| Shown::frame(CachedFrame(at)));
        let first = tree.push(0, f, [1]);
        let inner = tree.push(first, g, [0]);
        tree.push(inner, f, [10]);
        tree.push(0, g, [4]);
        let found: Vec<_> = sums(&tree).into_iter().map(|sum| (sum.shown, sum.self_, sum.total)).collect();
        let mut expected = vec![(Labels::ROOT, 0, 15), (f, 11, 11), (g, 4, 14)];
        expected.sort_by_key(|(shown, ..)| found.iter().position(|(other, ..)| other == shown));
        assert_eq!(found, expected);
        assert_eq!(found.iter().map(|(_, self_, _)| self_).sum::<u64>(), 15);
    }
}
