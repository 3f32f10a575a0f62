//! Weighted stacks of frames -> [`CallTree`], cut down to a size. Pure.
//!
//! Invariant: a node's total is its self plus its children's totals, exactly, cut or whole; cutting never changes the
//! total of a node that stays.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use crate::profile::{CallTree, Frame, FrameId, FrameKind, Node};
use crate::store::RowMap;

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

/// Builds a tree, node by node.
#[derive(Debug)]
pub(super) struct Builder {
    frames: Vec<Frame>,
    labels: HashMap<(FrameKind, Arc<str>), FrameId>,
    /// Parents before children.
    nodes: Vec<Growing>,
    children: RowMap<(NodeId, FrameId), NodeId>,
    lines: RowMap<(FrameId, u32), u64>,
}

/// A frame that is no code.
pub(super) fn label(name: &str, kind: FrameKind) -> Frame {
    Frame { name: name.into(), kind, binary: None, file: None, line: None, reason: None }
}

impl Builder {
    pub(super) fn new() -> Self {
        let mut builder = Self {
            frames: Vec::new(),
            labels: HashMap::new(),
            nodes: Vec::new(),
            children: RowMap::default(),
            lines: RowMap::default(),
        };
        let frame = builder.label("all", FrameKind::Root);
        builder.nodes.push(Growing { parent: NodeId::ROOT, frame, self_: 0 });
        builder
    }

    /// A frame that is not there yet; its line is left to [`Self::weigh_line`].
    pub(super) fn frame(&mut self, frame: Frame) -> FrameId {
        self.frames.push(frame);
        FrameId(self.frames.len() as u32 - 1)
    }

    /// The frame of this name that is no code; the same one each time.
    pub(super) fn label(&mut self, name: &str, kind: FrameKind) -> FrameId {
        let frame = label(name, kind);
        let key = (kind, Arc::clone(&frame.name));
        match self.labels.get(&key) {
            Some(known) => *known,
            None => {
                let id = self.frame(frame);
                self.labels.insert(key, id);
                id
            }
        }
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

    /// The finished tree, cut down to at most `max_nodes` nodes (never below two): the largest stay, and below each node that
    /// loses children one [`FrameKind::Remainder`] stands for them, so that every total still adds up.
    pub(super) fn finish(mut self, max_nodes: usize) -> CallTree {
        self.pick_lines();
        let mut totals: Vec<u64> = self.nodes.iter().map(|node| node.self_).collect();
        for (at, node) in self.nodes.iter().enumerate().skip(1).rev() {
            let parent = node.parent.0 as usize;
            totals[parent] = totals[parent].saturating_add(totals[at]);
        }
        let Self { mut frames, nodes, children, lines, .. } = self;
        // Large, and not needed any more.
        drop((children, lines));
        let kept = largest(&nodes, &totals, max_nodes.max(2));
        let hidden_nodes = kept.iter().filter(|kept| !**kept).count();
        let remainder = FrameId(frames.len() as u32);
        if hidden_nodes > 0 {
            frames.push(label("[smaller frames]", FrameKind::Remainder));
        }
        let children = Children::new(nodes.iter().map(|node| node.parent.0));
        let mut tree = CallTree { frames, hidden_nodes: hidden_nodes as u64, ..CallTree::default() };
        tree.nodes.reserve_exact(nodes.len().min(max_nodes));
        let placed = |at: u32, depth| {
            let Growing { frame, self_, .. } = nodes[at as usize];
            Node { depth, frame, total: totals[at as usize], self_ }
        };
        // No index: a remainder.
        let mut left = vec![(Some(0), placed(0, 0))];
        let mut below = Vec::new();
        while let Some((at, node)) = left.pop() {
            tree.nodes.push(node);
            let Some(at) = at else { continue };
            let (depth, mut hidden) = (node.depth + 1, 0_u64);
            for &child in children.of(at) {
                if kept[child as usize] {
                    below.push((Some(child), placed(child, depth)));
                } else {
                    hidden = hidden.saturating_add(totals[child as usize]);
                }
            }
            if hidden > 0 {
                below.push((None, Node { depth, frame: remainder, total: hidden, self_: hidden }));
            }
            sort_siblings(&mut below, &tree.frames);
            left.extend(below.drain(..).rev());
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

/// The children of every node, in one list.
struct Children {
    /// Where each node's children begin.
    starts: Vec<u32>,
    list: Vec<u32>,
}

impl Children {
    /// From each node's parent; node 0 is the root and nobody's child. In the order of their indexes.
    fn new(parents: impl Iterator<Item = u32> + Clone) -> Self {
        let nodes = parents.clone().count();
        let mut starts = vec![0; nodes + 1];
        parents.clone().skip(1).for_each(|parent| starts[parent as usize + 1] += 1);
        for at in 1..=nodes {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut list = vec![0; nodes.saturating_sub(1)];
        for (at, parent) in (0..).zip(parents).skip(1) {
            let place = &mut next[parent as usize];
            list[*place as usize] = at;
            *place += 1;
        }
        Self { starts, list }
    }

    fn of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.list[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

/// By falling total, then name, then what else tells frames apart.
fn sort_siblings(siblings: &mut [(Option<u32>, Node)], frames: &[Frame]) {
    siblings.sort_by(|(_, a), (_, b)| {
        let [frame_a, frame_b] = [a, b].map(|node| &frames[node.frame.0 as usize]);
        b.total.cmp(&a.total).then_with(|| by_content(frame_a, frame_b))
    });
}

/// By name, then what else tells frames apart.
pub(super) fn by_content(a: &Frame, b: &Frame) -> Ordering {
    a.name.cmp(&b.name).then_with(|| (a.kind, &a.binary, &a.file).cmp(&(b.kind, &b.binary, &b.file)))
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
    tree.frames = used.into_iter().map(|old: usize| tree.frames[old].clone()).collect();
}

/// Which nodes stay when at most `max_nodes` may, remainders included.
fn largest(nodes: &[Growing], totals: &[u64], max_nodes: usize) -> Vec<bool> {
    if nodes.len() <= max_nodes {
        return vec![true; nodes.len()];
    }
    let mut children_left = vec![0_u32; nodes.len()];
    nodes.iter().skip(1).for_each(|node| children_left[node.parent.0 as usize] += 1);

    // A parent is at least as large as its children and comes before them, so each prefix of this order is a tree.
    let mut order: Vec<u32> = (0..nodes.len() as u32).collect();
    order.sort_by_key(|at| Reverse(totals[*at as usize]));
    let mut kept = vec![false; nodes.len()];
    // Nodes kept, and remainders needed below them. The sum never falls as more are kept: a node adds itself, may add a
    // remainder below it, and takes at most its parent's away.
    let (mut stay, mut remainders) = (0, 0);
    for at in order.into_iter().map(|at| at as usize) {
        let parent = nodes[at].parent.0 as usize;
        let last_of_parent = at > 0 && children_left[parent] == 1;
        let then = (stay + 1, remainders + usize::from(children_left[at] > 0) - usize::from(last_of_parent));
        if then.0 + then.1 > max_nodes {
            break;
        }
        (stay, remainders) = then;
        if at > 0 {
            children_left[parent] -= 1;
        }
        kept[at] = true;
    }
    kept
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Names from the root to a node.
    type Path = Vec<String>;

    fn build(stacks: &[(Vec<u8>, u64)]) -> CallTree {
        build_cut(stacks, usize::MAX)
    }

    fn build_cut(stacks: &[(Vec<u8>, u64)], max_nodes: usize) -> CallTree {
        let mut builder = Builder::new();
        for (stack, samples) in stacks {
            let mut node = NodeId::ROOT;
            for name in stack {
                let frame = builder.label(&format!("f{name}"), FrameKind::User);
                node = builder.child(node, frame);
            }
            builder.add(node, *samples);
        }
        builder.finish(max_nodes)
    }

    fn paths(tree: &CallTree) -> Vec<(Path, Node)> {
        let mut path = Path::new();
        let walk = |node: &Node| {
            path.truncate(node.depth as usize);
            path.push(tree.frames[node.frame.0 as usize].name.to_string());
            (path.clone(), *node)
        };
        tree.nodes.iter().map(walk).collect()
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

    /// What [`CallTree`] promises, checked the slow way.
    fn check(tree: &CallTree) {
        let parents = parents(&tree.nodes);
        let mut sums: Vec<u64> = tree.nodes.iter().map(|node| node.self_).collect();
        for (at, node) in tree.nodes.iter().enumerate().skip(1) {
            let parent = parents[at] as usize;
            assert_eq!(node.depth, tree.nodes[parent].depth + 1);
            sums[parent] += node.total;
        }
        assert_eq!(sums, tree.nodes.iter().map(|node| node.total).collect::<Vec<_>>());
        let mut used = vec![false; tree.frames.len()];
        tree.nodes.iter().for_each(|node| used[node.frame.0 as usize] = true);
        assert!(used.into_iter().all(|used| used), "a frame that no node uses");
        let mut last = BTreeMap::new();
        for (at, node) in tree.nodes.iter().enumerate().skip(1) {
            let key = (Reverse(node.total), tree.frames[node.frame.0 as usize].name.clone());
            if let Some(before) = last.insert(parents[at], key.clone()) {
                assert!(before < key, "siblings out of order: {before:?} {key:?}");
            }
        }
    }

    fn stacks() -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
        vec((vec(0..5_u8, 0..7), 1..50_u64), 0..60)
    }

    proptest! {
        /// Every path of the tree holds exactly the samples that a plain sum over the stacks gives it.
        #[test]
        fn the_tree_is_the_sum_of_its_stacks(stacks in stacks()) {
            let tree = build(&stacks);
            check(&tree);
            let mut model = BTreeMap::<Path, (u64, u64)>::new();
            model.insert(vec!["all".into()], (0, 0));
            for (stack, samples) in &stacks {
                let mut path = vec!["all".to_owned()];
                path.extend(stack.iter().map(|name| format!("f{name}")));
                for depth in 1..=path.len() {
                    model.entry(path[..depth].to_vec()).or_default().0 += samples;
                }
                model.entry(path).or_default().1 += samples;
            }
            let found: BTreeMap<_, _> = paths(&tree).into_iter().map(|(path, node)| (path, (node.total, node.self_))).collect();
            prop_assert_eq!(found, model);
        }

        /// Cutting keeps the root's total and every kept node's, fits the size, and counts what it hid.
        #[test]
        fn a_pruned_tree_still_adds_up(stacks in stacks(), max in 0..40_usize) {
            let (whole, cut) = (build(&stacks), build_cut(&stacks, max));
            check(&cut);
            prop_assert!(cut.nodes.len() <= max.max(2));
            prop_assert_eq!(cut.nodes[0].total, whole.nodes[0].total);
            let originals: BTreeMap<_, _> = paths(&whole).into_iter().collect();
            let (mut kept, mut smallest) = (0, u64::MAX);
            for (path, node) in paths(&cut) {
                if cut.frames[node.frame.0 as usize].kind == FrameKind::Remainder {
                    continue;
                }
                let original = originals[&path];
                prop_assert_eq!((node.total, node.self_), (original.total, original.self_));
                kept += 1;
                smallest = smallest.min(node.total);
            }
            prop_assert_eq!(cut.hidden_nodes as usize, whole.nodes.len() - kept);
            // Nothing larger was left out.
            let larger = whole.nodes.iter().filter(|node| node.total > smallest).count();
            prop_assert!(larger <= kept);
        }
    }

    /// The drawing of a cut: the small ones of each parent become one.
    #[test]
    fn small_siblings_become_one_remainder() {
        let cut = build_cut(&[(vec![0, 1], 10), (vec![0, 2], 2), (vec![0, 3], 1), (vec![4], 5)], 5);
        let drawn: Vec<_> =
            paths(&cut).into_iter().map(|(path, node)| format!("{} {}", path.join(";"), node.total)).collect();
        assert_eq!(drawn, ["all 18", "all;f0 13", "all;f0;f1 10", "all;f0;[smaller frames] 3", "all;f4 5"]);
        assert_eq!(cut.hidden_nodes, 2);
    }

    /// The line shown is the one with the most samples, the first of equals, whatever the order of adding.
    #[test]
    fn a_frame_shows_its_heaviest_line() {
        let mut builder = Builder::new();
        let frame = builder.label("f", FrameKind::User);
        let node = builder.child(NodeId::ROOT, frame);
        builder.add(node, 1);
        for (line, samples) in [(9, 2), (7, 3), (5, 1), (6, 3), (5, 1)] {
            builder.weigh_line(frame, line, samples);
        }
        let tree = builder.finish(usize::MAX);
        assert_eq!(tree.frames.iter().find(|frame| &*frame.name == "f").unwrap().line, Some(6));
    }
}
