//! The top table: functions by the samples that ended in them.

use super::flame_graph::whole;
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
    let merged = whole(reader, range, selector)?;
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
        let rest = |frame: &Frame| (frame.kind, frame.binary.clone(), frame.file.clone());
        counts.then_with(|| a.frame.name.cmp(&b.frame.name)).then_with(|| rest(&a.frame).cmp(&rest(&b.frame)))
    });
    rows
}
