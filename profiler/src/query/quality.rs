//! How good the stacks of a range are: how many are whole, and in which files the others end, and why.

use std::collections::HashMap;
use std::sync::Arc;

use super::merge::merge;
use super::{QueryError, Selector, remedy};
use crate::profile::{CpuTicks, FrameKind, MissedTicks, StackEnd, TimeRange};
use crate::store::{Reader, RowMap, Snapshot, StackId};

/// Stacks looked up between two questions whether to go on.
const CHECK: usize = 4096;

/// Samples whose user stack is cut short, of one cause, in one file, of processes of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// How the walk ended.
    pub end: StackEnd,
    /// Path of the file of the outermost frame there is: its caller is what is missing. `None` without any user frame.
    pub binary: Option<Arc<str>>,
    /// Name of the processes.
    pub comm: Arc<str>,
    /// Samples.
    pub samples: u64,
    /// What can be done about it.
    pub remedy: Option<&'static str>,
}

/// See above.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// All samples.
    pub samples: u64,
    /// Those whose user stack is whole, or that have none.
    pub complete: u64,
    /// The others, by falling samples; at most as many rows as were asked for.
    pub incomplete: Vec<Incomplete>,
    /// Rows left out.
    pub hidden_rows: u64,
    /// Ticks of the range that were due and not seen, whole host.
    pub missed: MissedTicks,
    /// Their share of all ticks due, 0 to 1.
    pub missed_share: f64,
}

/// The quality of what a range and a selector come to.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn quality(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    max_rows: usize,
) -> Result<Quality, QueryError> {
    let mut snapshot = reader.snapshot()?;
    let counts = merge(&mut snapshot, range, selector)?;
    let mut ticks = CpuTicks::default();
    for piece in snapshot.pieces(range, i64::MAX)? {
        ticks.busy = ticks.busy.saturating_add(piece.numbers.busy);
        ticks.idle = ticks.idle.saturating_add(piece.numbers.idle);
        ticks.missed.merge(&piece.numbers.missed);
    }
    let mut sums: HashMap<(StackEnd, u32, u32), u64> = HashMap::new();
    let mut roots = RowMap::default();
    for top in counts.tops() {
        let Some(end) = top.end else { continue };
        for (nth, (stack, samples)) in counts.stacks(top).enumerate() {
            if nth % CHECK == 0 {
                snapshot.check()?;
            }
            let root = outermost(&mut snapshot, &mut roots, stack)?;
            let sum = sums.entry((end, top.comm, root)).or_default();
            *sum = sum.saturating_add(samples);
        }
    }
    // Several places of one file are one row.
    type Shown = (StackEnd, Arc<str>, Option<Arc<str>>);
    let mut rows: HashMap<Shown, u64> = HashMap::new();
    for ((end, comm, location), samples) in sums {
        let binary = match location {
            0 => None,
            location => {
                let outermost = snapshot.frames_at(location)?.last().map(|placed| placed.frame);
                let frame = outermost.map(|frame| snapshot.frame(frame));
                frame.filter(|frame| frame.kind != FrameKind::Kernel).and_then(|frame| frame.binary.clone())
            }
        };
        let sum = rows.entry((end, snapshot.text(comm)?, binary)).or_default();
        *sum = sum.saturating_add(samples);
    }
    let row =
        |((end, comm, binary), samples): (Shown, u64)| Incomplete { end, binary, comm, samples, remedy: remedy(end) };
    let mut incomplete: Vec<Incomplete> = rows.into_iter().map(row).collect();
    incomplete.sort_by(|a, b| {
        b.samples.cmp(&a.samples).then_with(|| (a.end, &a.comm, &a.binary).cmp(&(b.end, &b.comm, &b.binary)))
    });
    let hidden_rows = incomplete.len().saturating_sub(max_rows) as u64;
    incomplete.truncate(max_rows);
    let complete = counts.samples.saturating_sub(counts.incomplete);
    let (missed, missed_share) = (ticks.missed, ticks.missed_share());
    Ok(Quality { samples: counts.samples, complete, incomplete, hidden_rows, missed, missed_share })
}

/// The location of a stack's outermost frame; 0 of the empty stack.
fn outermost(snapshot: &mut Snapshot<'_>, known: &mut RowMap<u32, u32>, stack: u32) -> Result<u32, QueryError> {
    let (mut at, mut location) = (stack, 0);
    let mut way = Vec::new();
    while at != 0 {
        if let Some(found) = known.get(&at) {
            location = *found;
            break;
        }
        way.push(at);
        let node = snapshot.stack(StackId(at))?;
        (at, location) = (node.parent.0, node.location);
    }
    known.extend(way.into_iter().map(|stack| (stack, location)));
    Ok(location)
}
