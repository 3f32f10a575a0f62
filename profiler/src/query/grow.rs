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
use crate::store::{CachedFrame, FunctionId, Marks, RowMap, Snapshot, StackId};

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
        let mut note_of = |tree: &mut Tree<N>, binary: Option<&Arc<str>>| {
            let note = |end| Some((end, note_in(end, binary.map(|path| &**path))?));
            match top.end.and_then(note) {
                Some((end, note)) => {
                    *notes.entry(binary.cloned()).or_insert_with(|| tree.push(process, labels.note(&note, end), [0; N]))
                }
                None => process,
            }
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
    /// Their numbers.
    pub(super) ids: Ids,
}

/// The nodes of a cut tree in their order, and the frames they show, in the order of first use.
pub(super) fn name<const N: usize>(
    snapshot: &Snapshot<'_>,
    labels: &Labels,
    kept: &Kept<N>,
    scale: Scale<N>,
) -> Named<N> {
    let nodes = kept.place(scale, order(snapshot, labels));
    let mut ids = Ids::new(snapshot);
    let mut frames = Vec::<Frame>::new();
    let mut used = Vec::with_capacity(nodes.len());
    for node in &nodes {
        let id = ids.of(node.shown, || {
            frames.push(frame_of(snapshot, labels, node.shown).clone());
            FrameId(frames.len() as u32 - 1)
        });
        used.push(id);
    }
    Named { nodes, used, frames, ids }
}

/// The numbers of what is shown.
pub(super) struct Ids {
    /// By the reader's number: most frames of a busy day are shown.
    frames: Vec<Option<FrameId>>,
    labels: RowMap<Shown, FrameId>,
}

impl Ids {
    pub(super) fn new(snapshot: &Snapshot<'_>) -> Self {
        Self { frames: vec![None; snapshot.frames()], labels: RowMap::default() }
    }

    /// The number of what is shown; `new` gives it one at its first use.
    pub(super) fn of(&mut self, shown: Shown, new: impl FnOnce() -> FrameId) -> FrameId {
        match shown.get() {
            Ok(frame) => *self.frames[frame.0 as usize].get_or_insert_with(new),
            Err(_) => *self.labels.entry(shown).or_insert_with(new),
        }
    }

    /// The number of a frame, if it is shown.
    pub(super) fn of_frame(&self, frame: CachedFrame) -> Option<FrameId> {
        self.frames.get(frame.0 as usize).copied().flatten()
    }
}
