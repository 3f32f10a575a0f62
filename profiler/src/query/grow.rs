//! Samples by stack -> tree of frames: root, process, note, user frames, kernel frames; and back to names.
//!
//! The store knows each stack's place in a tree of frames, so this is adding up by number. Callers have smaller numbers than their
//! callees: walking the numbers upwards meets parents first, downwards sums children into parents.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::merge::Counts;
use super::tree::{Kept, Labels, Placed, Scale, Shown, Tree, add, by_content};
use super::{QueryError, note_in};
use crate::profile::{Frame, FrameId, FrameKind};
use crate::store::{FunctionId, Marks, RowMap, Snapshot, StackId};

/// Stacks looked up between two questions whether to go on.
const CHECK: usize = 4096;

/// The whole tree of several profiles beside each other.
pub(super) fn grow<const N: usize>(
    snapshot: &mut Snapshot<'_>,
    labels: &mut Labels,
    counts: [&Counts; N],
) -> Result<Tree<N>, QueryError> {
    let mut tree = Tree::new();
    let mut processes = HashMap::new();
    let mut marks = Marks::default();
    // By function, the empty stack's first.
    let mut selves: Vec<[u64; N]> = Vec::new();
    let mut nodes: Vec<u32> = Vec::new();
    let tops: BTreeSet<_> = counts.iter().flat_map(|counts| counts.tops()).collect();
    // Most functions hang from one top only.
    tree.reserve(snapshot.functions());
    for top in tops {
        let value = match (top.value, counts[0].by) {
            (Some(row), Some(label)) => {
                let text = label.text(snapshot, row)?;
                let none = format!("[no {}]", label.name());
                let value = labels.get(if text.is_empty() { &none } else { &text }, FrameKind::Process);
                *processes.entry((0, value)).or_insert_with(|| tree.push(0, value, [0; N]))
            }
            _ => 0,
        };
        let comm = labels.get(&snapshot.text(top.comm)?, FrameKind::Process);
        let process = *processes.entry((value, comm)).or_insert_with(|| tree.push(value, comm, [0; N]));
        // The notes of this top, by the file that the walk ended in: one more row for each below the process.
        let mut notes: HashMap<Option<Arc<str>>, u32> = HashMap::new();
        let mut note_of = |tree: &mut Tree<N>, binary: Option<&Arc<str>>| match top
            .end
            .and_then(|end| note_in(end, binary.map(|path| &**path)))
        {
            Some(note) => *notes
                .entry(binary.cloned())
                .or_insert_with(|| tree.push(process, labels.get(&note, FrameKind::Note), [0; N])),
            None => process,
        };
        for (side, counts) in counts.iter().enumerate() {
            counts.stacks(top).enumerate().try_for_each(|(nth, (stack, samples))| {
                if nth % CHECK == 0 {
                    snapshot.check()?;
                }
                let function = snapshot.function(StackId(stack))?;
                if selves.len() < snapshot.functions() {
                    selves.resize(snapshot.functions(), [0; N]);
                    nodes.resize(snapshot.functions(), 0);
                }
                let sum = &mut selves[function.0 as usize][side];
                *sum = sum.saturating_add(samples);
                let mut at = function;
                while at.0 != 0 && marks.set(at.0) {
                    (at, _) = snapshot.caller(at);
                }
                Ok::<_, QueryError>(())
            })?;
        }
        if let Some(empty) = selves.first_mut()
            && empty.iter().any(|samples| *samples > 0)
        {
            let node = note_of(&mut tree, None);
            add(&mut tree.selves[node as usize], std::mem::replace(empty, [0; N]));
        }
        marks.drain(|at| {
            let (parent, frame) = snapshot.caller(FunctionId(at));
            let parent = match parent.0 {
                0 => {
                    let outermost = snapshot.frame(frame);
                    let file = outermost.binary.as_ref().filter(|_| outermost.kind != FrameKind::Kernel);
                    note_of(&mut tree, file)
                }
                caller => nodes[caller as usize],
            };
            let own = std::mem::replace(&mut selves[at as usize], [0; N]);
            nodes[at as usize] = tree.push(parent, Shown::frame(frame), own);
        });
    }
    Ok(tree)
}

/// The order of siblings of equal weight.
pub(super) fn order<'a>(snapshot: &'a Snapshot<'_>, labels: &'a Labels) -> impl Fn(Shown, Shown) -> Ordering {
    let frame = move |shown: Shown| frame_of(snapshot, labels, shown);
    move |a, b| by_content(frame(a), frame(b))
}

/// What a node shows.
pub(super) fn frame_of<'a>(snapshot: &'a Snapshot<'_>, labels: &'a Labels, shown: Shown) -> &'a Frame {
    match shown.get() {
        Ok(frame) => snapshot.frame(frame),
        Err(label) => labels.frame(label),
    }
}

/// A tree as it is shown.
pub(super) struct Named<const N: usize> {
    /// In their order.
    pub(super) nodes: Vec<Placed<N>>,
    /// The frame of each node.
    pub(super) used: Vec<FrameId>,
    /// The frames.
    pub(super) frames: Vec<Frame>,
}

/// The nodes of a cut tree in their order, and the frames they show, in the order of first use, each with its heaviest line.
pub(super) fn name<const N: usize>(
    snapshot: &mut Snapshot<'_>,
    labels: &Labels,
    kept: &Kept<N>,
    scale: Scale<N>,
    counts: [&Counts; N],
) -> Result<Named<N>, QueryError> {
    let nodes = kept.place(scale, order(snapshot, labels));
    let mut ids = RowMap::<Shown, FrameId>::default();
    let (mut frames, mut shown) = (Vec::<Frame>::new(), Vec::<Shown>::new());
    let mut used = Vec::with_capacity(nodes.len());
    for node in &nodes {
        used.push(*ids.entry(node.shown).or_insert_with(|| {
            frames.push(match node.shown.get() {
                Ok(frame) => snapshot.frame(frame).clone(),
                Err(label) => labels.frame(label).clone(),
            });
            shown.push(node.shown);
            FrameId(frames.len() as u32 - 1)
        }));
    }
    pick_lines(snapshot, &ids, counts, &mut frames)?;
    Ok(Named { nodes, used, frames })
}

/// Gives each frame the line with the most samples, the first of equals.
pub(super) fn pick_lines<const N: usize>(
    snapshot: &mut Snapshot<'_>,
    frames_of: &RowMap<Shown, FrameId>,
    counts: [&Counts; N],
    frames: &mut [Frame],
) -> Result<(), QueryError> {
    let by_location = by_location(snapshot, counts)?;
    let mut wanted = vec![None; snapshot.frames()];
    for (shown, id) in frames_of {
        if let Ok(frame) = shown.get() {
            wanted[frame.0 as usize] = Some(*id);
        }
    }
    let mut lines = RowMap::<(FrameId, u32), u64>::default();
    for (location, samples) in (0_u32..).zip(by_location).filter(|(_, samples)| *samples > 0) {
        for placed in snapshot.frames_at(location)?.filter(|placed| placed.line > 0) {
            if let Some(Some(id)) = wanted.get(placed.frame.0 as usize) {
                let sum = lines.entry((*id, placed.line)).or_default();
                *sum = sum.saturating_add(samples);
            }
        }
    }
    let mut best = vec![(0, 0); frames.len()];
    for ((frame, line), samples) in lines {
        let (most, first) = &mut best[frame.0 as usize];
        if samples > *most || (samples == *most && line < *first) {
            (*most, *first) = (samples, line);
        }
    }
    for (frame, (samples, line)) in frames.iter_mut().zip(best) {
        if samples > 0 {
            frame.line = Some(line);
        }
    }
    Ok(())
}

/// Samples that had each location on their stack; of a location twice on one stack, twice.
fn by_location<const N: usize>(snapshot: &mut Snapshot<'_>, counts: [&Counts; N]) -> Result<Vec<u64>, QueryError> {
    let last = counts.iter().flat_map(|counts| counts.tops().filter_map(|top| Some(counts.stacks(top).next_back()?.0)));
    let mut totals = vec![0_u64; last.max().map_or(0, |last| last as usize + 1)];
    let mut marks = Marks::default();
    for counts in counts {
        for top in counts.tops() {
            counts.stacks(top).filter(|(stack, _)| *stack != 0).for_each(|(stack, samples)| {
                totals[stack as usize] = totals[stack as usize].saturating_add(samples);
                marks.set(stack);
            });
        }
    }
    let mut by_location = Vec::new();
    // Callees before their callers, which are marked on the way.
    let (mut below, mut left) = (u32::MAX, CHECK);
    while let Some(at) = marks.pop_below(&mut below) {
        left -= 1;
        if left == 0 {
            snapshot.check()?;
            left = CHECK;
        }
        let node = snapshot.stack(StackId(at))?;
        let samples = totals[at as usize];
        if by_location.len() <= node.location as usize {
            by_location.resize(node.location as usize + 1, 0_u64);
        }
        let sum = &mut by_location[node.location as usize];
        *sum = sum.saturating_add(samples);
        if node.parent.0 != 0 {
            let total = &mut totals[node.parent.0 as usize];
            *total = total.saturating_add(samples);
            marks.set(node.parent.0);
        }
    }
    Ok(by_location)
}
