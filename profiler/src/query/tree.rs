//! Weighted stacks of frames -> [`CallTree`], and cutting a tree down to a size. Pure.
//!
//! Invariant: a node's total is its self plus its children's totals, exactly, before and after cutting; cutting never changes
//! the total of a node that stays.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::profile::{CallTree, Frame, FrameId, FrameKind, Node};

/// Index of a node that is being built; `NodeId::ROOT` is there from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u32);

impl NodeId {
    pub(super) const ROOT: Self = Self(0);
}

#[derive(Clone, Copy, Debug)]
struct Growing {
    parent: NodeId,
    frame: FrameId,
    self_: u64,
}

/// Builds a tree, node by node. Frames with equal name, kind, binary and file are one.
#[derive(Debug)]
pub(super) struct Builder {
    frames: Vec<Frame>,
    by_frame: HashMap<Frame, FrameId>,
    /// Parents before children.
    nodes: Vec<Growing>,
    children: HashMap<(NodeId, FrameId), NodeId>,
    lines: HashMap<(FrameId, u32), u64>,
}

/// A frame that is no code.
pub(super) fn label(name: &str, kind: FrameKind) -> Frame {
    Frame { name: name.into(), kind, binary: None, file: None, line: None, reason: None }
}

impl Builder {
    pub(super) fn new() -> Self {
        let mut builder = Self {
            frames: Vec::new(),
            by_frame: HashMap::new(),
            nodes: Vec::new(),
            children: HashMap::new(),
            lines: HashMap::new(),
        };
        let frame = builder.frame(&label("all", FrameKind::Root));
        builder.nodes.push(Growing { parent: NodeId::ROOT, frame, self_: 0 });
        builder
    }

    /// The index of a frame; its line is left to [`Self::weigh_line`].
    pub(super) fn frame(&mut self, frame: &Frame) -> FrameId {
        if let Some(known) = self.by_frame.get(frame) {
            return *known;
        }
        let id = FrameId(self.frames.len() as u32);
        self.frames.push(frame.clone());
        self.by_frame.insert(frame.clone(), id);
        id
    }

    /// The node of `frame` below `parent`.
    pub(super) fn child(&mut self, parent: NodeId, frame: FrameId) -> NodeId {
        *self.children.entry((parent, frame)).or_insert_with(|| {
            self.nodes.push(Growing { parent, frame, self_: 0 });
            NodeId(self.nodes.len() as u32 - 1)
        })
    }

    /// Adds samples that ended at `node`.
    pub(super) fn add(&mut self, node: NodeId, samples: u64) {
        let sum = &mut self.nodes[node.0 as usize].self_;
        *sum = sum.saturating_add(samples);
    }

    /// Adds samples that had `frame` on their stack at `line`.
    pub(super) fn weigh_line(&mut self, frame: FrameId, line: u32, samples: u64) {
        let sum = self.lines.entry((frame, line)).or_default();
        *sum = sum.saturating_add(samples);
    }

    /// The finished tree.
    pub(super) fn finish(mut self) -> CallTree {
        let mut totals: Vec<u64> = self.nodes.iter().map(|node| node.self_).collect();
        let mut children = vec![Vec::new(); self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate().skip(1).rev() {
            let parent = node.parent.0 as usize;
            totals[parent] = totals[parent].saturating_add(totals[at]);
            children[parent].push(at as u32);
        }
        self.pick_lines();
        let mut tree = CallTree { frames: self.frames, ..CallTree::default() };
        let mut left = vec![(0, 0)];
        while let Some((at, depth)) = left.pop() {
            let (node, below) = (self.nodes[at as usize], &mut children[at as usize]);
            tree.nodes.push(Node { depth, frame: node.frame, total: totals[at as usize], self_: node.self_ });
            sort_siblings(below, &tree.frames, |child| (totals[*child as usize], self.nodes[*child as usize].frame));
            left.extend(below.drain(..).rev().map(|child| (child, depth + 1)));
        }
        compact_frames(&mut tree);
        tree
    }

    /// Gives each frame the line with the most samples, the first of equals.
    fn pick_lines(&mut self) {
        let mut best = HashMap::<FrameId, (u64, Reverse<u32>)>::new();
        for (&(frame, line), &samples) in &self.lines {
            let score = (samples, Reverse(line));
            best.entry(frame).and_modify(|best| *best = (*best).max(score)).or_insert(score);
        }
        for (frame, (_, Reverse(line))) in best {
            self.frames[frame.0 as usize].line = Some(line);
        }
    }
}

/// By falling total, then name, then what else tells frames apart.
fn sort_siblings<T>(siblings: &mut [T], frames: &[Frame], of: impl Fn(&T) -> (u64, FrameId)) {
    siblings.sort_by(|a, b| {
        let ((total_a, a), (total_b, b)) = (of(a), of(b));
        let [a, b] = [a, b].map(|id| &frames[id.0 as usize]);
        let content = |frame: &'_ Frame| (frame.kind, frame.binary.clone(), frame.file.clone());
        total_b.cmp(&total_a).then_with(|| a.name.cmp(&b.name)).then_with(|| content(a).cmp(&content(b)))
    });
}

/// Keeps the frames that nodes use, in the order of first use.
fn compact_frames(tree: &mut CallTree) {
    let mut new_ids = vec![None; tree.frames.len()];
    let mut used = Vec::new();
    for node in &mut tree.nodes {
        let old = node.frame.0 as usize;
        node.frame = *new_ids[old].get_or_insert_with(|| {
            used.push(old);
            FrameId(used.len() as u32 - 1)
        });
    }
    tree.frames =
        used.into_iter().map(|old| std::mem::replace(&mut tree.frames[old], label("", FrameKind::Root))).collect();
}

/// Cuts a tree down to at most `max_nodes` nodes (never below two): the largest stay, and below each node that loses children
/// one [`FrameKind::Remainder`] stands for them, so that every total still adds up.
#[must_use]
pub fn prune(tree: CallTree, max_nodes: usize) -> CallTree {
    let max_nodes = max_nodes.max(2);
    if tree.nodes.len() <= max_nodes {
        return tree;
    }
    let parents = parents(&tree.nodes);
    let mut children_left = vec![0_u32; tree.nodes.len()];
    parents.iter().skip(1).for_each(|parent| children_left[*parent as usize] += 1);

    // A parent is at least as large as its children and comes before them, so each prefix of this order is a tree.
    let mut order: Vec<u32> = (0..tree.nodes.len() as u32).collect();
    order.sort_by_key(|at| Reverse(tree.nodes[*at as usize].total));
    let mut kept = vec![false; tree.nodes.len()];
    // Nodes kept, and remainders needed below them. The sum never falls as more are kept: a node adds itself, may add a
    // remainder below it, and takes at most its parent's away.
    let (mut nodes, mut remainders) = (0, 0);
    for &at in &order {
        let at = at as usize;
        let last_of_parent = at > 0 && children_left[parents[at] as usize] == 1;
        let then = (nodes + 1, remainders + usize::from(children_left[at] > 0) - usize::from(last_of_parent));
        if then.0 + then.1 > max_nodes {
            break;
        }
        (nodes, remainders) = then;
        if at > 0 {
            children_left[parents[at] as usize] -= 1;
        }
        kept[at] = true;
    }
    rebuild(tree, &parents, &kept)
}

/// The kept nodes with remainders among them, siblings in order.
fn rebuild(mut tree: CallTree, parents: &[u32], kept: &[bool]) -> CallTree {
    let remainder = FrameId(tree.frames.len() as u32);
    tree.frames.push(label("[smaller frames]", FrameKind::Remainder));
    let mut lost = HashMap::<u32, u64>::new();
    let mut children = vec![Vec::new(); tree.nodes.len()];
    for (at, node) in tree.nodes.iter().enumerate().skip(1) {
        let parent = parents[at];
        match (kept[at], kept[parent as usize]) {
            (true, _) => children[parent as usize].push(at as u32),
            (false, true) => *lost.entry(parent).or_default() += node.total,
            (false, false) => {}
        }
        tree.hidden_nodes += u64::from(!kept[at]);
    }
    let mut nodes = Vec::new();
    let mut left = vec![(Some(0_u32), tree.nodes[0])];
    while let Some((at, node)) = left.pop() {
        nodes.push(node);
        let Some(at) = at else { continue };
        let mut below: Vec<_> =
            children[at as usize].drain(..).map(|child: u32| (Some(child), tree.nodes[child as usize])).collect();
        if let Some(total) = lost.get(&at) {
            below.push((None, Node { depth: node.depth + 1, frame: remainder, total: *total, self_: *total }));
        }
        sort_siblings(&mut below, &tree.frames, |(_, node)| (node.total, node.frame));
        left.extend(below.into_iter().rev());
    }
    tree.nodes = nodes;
    compact_frames(&mut tree);
    tree
}

/// The parent's index of each node; the root's is its own.
fn parents(nodes: &[Node]) -> Vec<u32> {
    let mut path: Vec<u32> = Vec::new();
    nodes
        .iter()
        .zip(0..)
        .map(|(node, at)| {
            path.truncate(node.depth as usize);
            let parent = path.last().copied().unwrap_or(0);
            path.push(at);
            parent
        })
        .collect()
}
