//! The top table: functions by the samples that ended in them.

use super::flame_graph::flame_graph;
use super::tree::by_content;
use super::{QueryError, Selector};
use crate::profile::{CallTree, Frame, FrameKind, TimeRange};
use crate::store::Reader;

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

/// Functions by falling self, then total, then name.
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
/// [`QueryError::Store`].
pub fn top(reader: &mut Reader, range: TimeRange, selector: &Selector, max_rows: usize) -> Result<Top, QueryError> {
    let merged = flame_graph(reader, range, selector, usize::MAX)?;
    let samples = merged.tree.nodes.first().map_or(0, |root| root.total);
    let mut rows = rows(merged.tree);
    let hidden_rows = rows.len().saturating_sub(max_rows) as u64;
    rows.truncate(max_rows);
    Ok(Top { samples, nanos_per_sample: merged.nanos_per_sample, rows, hidden_rows })
}

/// Every row of a whole tree, sorted.
fn rows(tree: CallTree) -> Vec<TopRow> {
    let mut sums = vec![(0_u64, 0_u64); tree.frames.len()];
    let mut on_path = vec![0_u32; tree.frames.len()];
    let mut path = Vec::new();
    for node in &tree.nodes {
        for above in path.drain(node.depth as usize..) {
            on_path[above] -= 1;
        }
        let frame = node.frame.0 as usize;
        let (self_, total) = &mut sums[frame];
        *self_ = self_.saturating_add(node.self_);
        if on_path[frame] == 0 {
            *total = total.saturating_add(node.total);
        }
        on_path[frame] += 1;
        path.push(frame);
    }
    let code = |kind| matches!(kind, FrameKind::User | FrameKind::Kernel | FrameKind::Inlined | FrameKind::Unknown);
    let mut rows: Vec<_> = tree
        .frames
        .into_iter()
        .zip(sums)
        .map(|(frame, (self_, total))| TopRow { frame, self_, total })
        .filter(|row| row.self_ > 0 || code(row.frame.kind))
        .collect();
    rows.sort_by(|a, b| {
        let counts = (b.self_, b.total).cmp(&(a.self_, a.total));
        counts.then_with(|| by_content(&a.frame, &b.frame))
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{FrameId, Node};
    use crate::query::tree::label;

    fn tree(drawing: &[(u32, u32, u64, u64)], frames: &[(&str, FrameKind)]) -> CallTree {
        let node = |&(depth, frame, total, self_): &_| Node { depth, frame: FrameId(frame), total, self_ };
        CallTree {
            nodes: drawing.iter().map(node).collect(),
            frames: frames.iter().map(|(name, kind)| label(name, *kind)).collect(),
            ..CallTree::default()
        }
    }

    /// `f` calls itself through `g`: its samples count once. Places without code show only where samples ended in them.
    #[test]
    fn recursion_counts_once_and_every_sample_has_a_row() {
        use FrameKind::{Note, Process, Root, User};
        let tree = tree(
            &[(0, 0, 17, 0), (1, 1, 17, 2), (2, 2, 11, 1), (3, 3, 10, 0), (4, 2, 10, 10), (2, 4, 4, 4), (2, 3, 0, 0)],
            &[("all", Root), ("web", Process), ("f", User), ("g", User), ("[cut]", Note)],
        );
        let found: Vec<_> =
            rows(tree).into_iter().map(|row| (row.frame.name.to_string(), row.self_, row.total)).collect();
        let row = |name: &str, self_, total| (name.to_owned(), self_, total);
        assert_eq!(found, [row("f", 11, 11), row("[cut]", 4, 4), row("web", 2, 17), row("g", 0, 10)]);
        assert_eq!(found.iter().map(|(_, self_, _)| self_).sum::<u64>(), 17);
    }
}
