//! The top table: functions by the samples that ended in them.

use super::busy_lines::BusyLines;
use super::grow::{Ids, frame_of, grow, order};
use super::merge::merge;
use super::tree::{Children, Labels, Shown, Tree};
use super::{QueryError, Selector};
use crate::profile::{Frame, FrameId, TimeRange};
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

/// What the first rows of the table have most of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopOrder {
    /// Samples that ended in the function.
    #[default]
    Self_,
    /// Samples with it on the stack: what waits for others to do the work is first.
    Total,
}

/// Functions by falling self, then total, then name; or by total, then self.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// Samples in all; the sum of every row's self, hidden ones included.
    pub samples: u64,
    /// CPU time one sample stands for.
    pub nanos_per_sample: u64,
    /// At most the number of rows asked for.
    pub rows: Vec<TopRow>,
    /// Functions left out.
    pub hidden_rows: u64,
}

/// The functions of a range.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn top(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    by: TopOrder,
    max_rows: usize,
) -> Result<Top, QueryError> {
    let mut snapshot = reader.snapshot()?;
    let counts = merge(&mut snapshot, range, selector)?;
    let mut labels = Labels::new();
    let tree = grow(&mut snapshot, &mut labels, [&counts])?;
    let mut sums: Vec<Sum> = sums(&tree).into_iter().filter(|sum| sum.self_ > 0 || sum.shown.get().is_ok()).collect();
    let hidden_rows = sums.len().saturating_sub(max_rows) as u64;
    let by_name = order(&snapshot, &labels);
    let weight = |sum: &Sum| match by {
        TopOrder::Self_ => (sum.self_, sum.total),
        TopOrder::Total => (sum.total, sum.self_),
    };
    let before = |a: &Sum, b: &Sum| weight(b).cmp(&weight(a)).then_with(|| by_name(a.shown, b.shown));
    if max_rows < sums.len() {
        sums.select_nth_unstable_by(max_rows, before);
        sums.truncate(max_rows);
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
    Ok(Top { samples: counts.samples, nanos_per_sample: counts.nanos_per_sample(), rows: rows.collect(), hidden_rows })
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
    use super::*;
    use crate::store::CachedFrame;

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
