//! Trees of frames as flat lists, of one profile or of several beside each other: totals, the cut to a size, the order. Pure.
//!
//! Invariant: a node's total is its self plus its children's totals, exactly, cut or whole; cutting never changes the
//! total of a node that stays.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use crate::profile::{Frame, FrameKind};
use crate::store::CachedFrame;

/// What a node shows: a frame of the reader's, or a label of the tree's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Shown(u32);

/// The bit that tells labels from frames.
const LABEL: u32 = 1 << 31;

impl Shown {
    /// A frame with code.
    pub(super) const fn frame(frame: CachedFrame) -> Self {
        Self(frame.0)
    }

    /// The frame, or the label's place in [`Labels`].
    pub(super) const fn get(self) -> Result<CachedFrame, usize> {
        if self.0 & LABEL == 0 { Ok(CachedFrame(self.0)) } else { Err((self.0 & !LABEL) as usize) }
    }
}

/// Frames that are no code: the root, processes, notes, remainders.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    list: Vec<Frame>,
    known: HashMap<(FrameKind, Arc<str>), Shown>,
}

impl Labels {
    /// What all trees have at their root.
    pub(super) const ROOT: Shown = Shown(LABEL);
    /// Stands for nodes that were cut off.
    pub(super) const REMAINDER: Shown = Shown(LABEL | 1);

    pub(super) fn new() -> Self {
        let mut labels = Self { list: Vec::new(), known: HashMap::new() };
        labels.get("all", FrameKind::Root);
        labels.get("[smaller frames]", FrameKind::Remainder);
        labels
    }

    /// The label of this name; the same one each time.
    pub(super) fn get(&mut self, name: &str, kind: FrameKind) -> Shown {
        let frame = label(name, kind);
        let key = (kind, Arc::clone(&frame.name));
        *self.known.entry(key).or_insert_with(|| {
            self.list.push(frame);
            Shown(LABEL | (self.list.len() as u32 - 1))
        })
    }

    /// One of them, by its place.
    pub(super) fn frame(&self, at: usize) -> &Frame {
        &self.list[at]
    }
}

/// A frame that is no code.
pub(super) fn label(name: &str, kind: FrameKind) -> Frame {
    Frame { name: name.into(), kind, binary: None, file: None, line: None, reason: None }
}

/// A tree of `N` profiles: callers before callees. Node 0 is the root.
#[derive(Clone, Debug)]
pub(super) struct Tree<const N: usize> {
    pub(super) parents: Vec<u32>,
    pub(super) shown: Vec<Shown>,
    /// Samples that ended in each node.
    pub(super) selves: Vec<[u64; N]>,
}

/// `sum += n`, for each profile.
pub(super) fn add<const N: usize>(sum: &mut [u64; N], n: [u64; N]) {
    sum.iter_mut().zip(n).for_each(|(sum, n)| *sum = sum.saturating_add(n));
}

fn subtract<const N: usize>(sum: &mut [u64; N], n: [u64; N]) {
    sum.iter_mut().zip(n).for_each(|(sum, n)| *sum = sum.saturating_sub(n));
}

impl<const N: usize> Tree<N> {
    /// The root alone.
    pub(super) fn new() -> Self {
        Self { parents: vec![0], shown: vec![Labels::ROOT], selves: vec![[0; N]] }
    }

    /// Makes room: growing copies.
    pub(super) fn reserve(&mut self, nodes: usize) {
        self.parents.reserve(nodes);
        self.shown.reserve(nodes);
        self.selves.reserve(nodes);
    }

    /// A new node below `parent`.
    pub(super) fn push(&mut self, parent: u32, shown: Shown, selves: [u64; N]) -> u32 {
        self.parents.push(parent);
        self.shown.push(shown);
        self.selves.push(selves);
        self.parents.len() as u32 - 1
    }

    /// Nodes.
    pub(super) fn len(&self) -> usize {
        self.parents.len()
    }

    /// Samples at and below each node.
    pub(super) fn totals(&self) -> Vec<[u64; N]> {
        let mut totals = self.selves.clone();
        for at in (1..self.len()).rev() {
            let total = totals[at];
            add(&mut totals[self.parents[at] as usize], total);
        }
        totals
    }

    /// The nodes that stay when at most `max_nodes` may, remainders included (never below two): the heaviest; with `below`, those above
    /// and below that node alone, while the others stay behind remainders, whatever their weight.
    pub(super) fn cut_below(
        self,
        node: Option<u32>,
        totals: Vec<[u64; N]>,
        scale: Scale<N>,
        max_nodes: usize,
    ) -> Kept<N> {
        if self.len() <= max_nodes {
            return self.uncut(totals);
        }
        let wanted = node.map(|node| self.around(node));
        let kept = heaviest(&self.parents, &totals, wanted.as_deref(), scale, max_nodes.max(2));
        self.keep(&kept, &totals, max_nodes)
    }

    /// The same, by the samples that go [`through`](Self::through) some frames: what has none of these stays behind remainders.
    pub(super) fn cut_around(
        self,
        through: &[[u64; N]],
        totals: Vec<[u64; N]>,
        scale: Scale<N>,
        max_nodes: usize,
    ) -> Kept<N> {
        if self.len() <= max_nodes {
            return self.uncut(totals);
        }
        let wanted: Vec<bool> = (0..self.len()).map(|at| at == 0 || through[at] != [0; N]).collect();
        let kept = heaviest(&self.parents, through, Some(&wanted), scale, max_nodes.max(2));
        self.keep(&kept, &totals, max_nodes)
    }

    fn uncut(self, totals: Vec<[u64; N]>) -> Kept<N> {
        Kept { hidden: vec![[0; N]; self.len()], tree: self, totals, hidden_nodes: 0 }
    }

    fn keep(self, kept: &[bool], totals: &[[u64; N]], max_nodes: usize) -> Kept<N> {
        let all = self.len();
        let mut tree = Self { parents: Vec::new(), shown: Vec::new(), selves: Vec::new() };
        tree.reserve(max_nodes);
        let mut new_totals = Vec::with_capacity(max_nodes);
        let mut places = vec![0_u32; all];
        for at in (0..all).filter(|at| kept[*at]) {
            places[at] = tree.push(places[self.parents[at] as usize], self.shown[at], self.selves[at]);
            new_totals.push(totals[at]);
        }
        let hidden_nodes = (all - tree.len()) as u64;
        Kept::new(tree, new_totals, hidden_nodes)
    }
}

impl<const N: usize> Tree<N> {
    /// Samples at and below each node that have a frame on their stack that is the one, each once: above the outermost such frames these
    /// frames' samples, from there on all.
    pub(super) fn through(&self, totals: &[[u64; N]], is_it: impl Fn(Shown) -> bool) -> Vec<[u64; N]> {
        let mut inside = vec![false; self.len()];
        let mut through = vec![[0; N]; self.len()];
        for at in 1..self.len() {
            inside[at] = inside[self.parents[at] as usize] || is_it(self.shown[at]);
            if inside[at] {
                through[at] = totals[at];
            }
        }
        for at in (1..self.len()).rev() {
            let (parent, samples) = (self.parents[at] as usize, through[at]);
            if !inside[parent] {
                add(&mut through[parent], samples);
            }
        }
        through
    }

    /// Samples that ended in such a frame.
    pub(super) fn own(&self, is_it: impl Fn(Shown) -> bool) -> [u64; N] {
        let mut own = [0; N];
        let found = self.shown.iter().zip(&self.selves).filter(|(shown, _)| is_it(**shown));
        found.for_each(|(_, selves)| add(&mut own, *selves));
        own
    }

    /// Which nodes are a node's callers, itself, or below it.
    fn around(&self, node: u32) -> Vec<bool> {
        let mut around = vec![false; self.len()];
        around[node as usize] = true;
        for at in node as usize + 1..self.len() {
            around[at] = around[self.parents[at] as usize];
        }
        let mut at = node;
        while at != 0 {
            at = self.parents[at as usize];
            around[at as usize] = true;
        }
        around
    }
}

/// How the profiles of a tree are weighed against each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale<const N: usize>(pub(super) [f64; N]);

impl Scale<1> {
    /// Samples as they are.
    pub(super) const ONE: Self = Self([1.0]);
}

impl<const N: usize> Scale<N> {
    /// Never grows from a caller to its callees: rounding keeps order.
    pub(super) fn weigh(self, n: &[u64; N]) -> u64 {
        if N == 1 {
            return n[0];
        }
        n.iter().zip(self.0).map(|(n, scale)| *n as f64 * scale).sum::<f64>() as u64
    }
}

/// Which nodes stay when at most `max_nodes` may, remainders included: by falling weight, equals as they come, as long as there is room.
///
/// A parent is at least as heavy as its children and comes before them, so each prefix of this order is a tree. Most of a busy day's half a
/// million nodes weigh a few samples: they are counted into buckets of equal weight, or nearly so, and it follows from the numbers which
/// buckets stay as a whole. Only one has to be put in order.
fn heaviest<const N: usize>(
    parents: &[u32],
    totals: &[[u64; N]],
    wanted: Option<&[bool]>,
    scale: Scale<N>,
    max_nodes: usize,
) -> Vec<bool> {
    let weight = |at: usize| scale.weigh(&totals[at]);
    // What is not wanted comes after everything.
    let bucket_of = |at: usize| if wanted.is_none_or(|wanted| wanted[at]) { bucket(weight(at)) } else { BUCKETS };
    let buckets: Vec<u16> = (0..parents.len()).map(|at| bucket_of(at) as u16).collect();
    // By node: the bucket of its last child.
    let mut last_child = vec![0_u16; parents.len()];
    for (at, parent) in parents.iter().enumerate().skip(1) {
        let last = &mut last_child[*parent as usize];
        *last = (*last).max(buckets[at]);
    }
    // Nodes that come with each bucket, and remainders: a node needs one from its own bucket on, until its last child's has come.
    let mut more = vec![(0_usize, 0_isize); BUCKETS + 1];
    for (own, last) in buckets.iter().zip(&last_child) {
        more[*own as usize].0 += 1;
        if last > own {
            more[*own as usize].1 += 1;
            more[*last as usize].1 -= 1;
        }
    }
    let mut budget = Budget::new(max_nodes);
    let mut split = BUCKETS;
    for (at, (nodes, remainders)) in more[..BUCKETS].iter().enumerate() {
        if !budget.take_all(*nodes, *remainders) {
            split = at;
            break;
        }
    }
    let mut kept: Vec<bool> = buckets.iter().map(|bucket| usize::from(*bucket) < split).collect();
    let mut some: Vec<u32> = (0..)
        .zip(&buckets)
        .filter(|(_, bucket)| split < BUCKETS && usize::from(**bucket) == split)
        .map(|(at, _)| at)
        .collect();
    some.sort_by_key(|at| Reverse(weight(*at as usize)));
    let mut children_left = vec![0_u32; parents.len()];
    for (at, parent) in parents.iter().enumerate().skip(1).filter(|(at, _)| !kept[*at]) {
        children_left[*parent as usize] += 1;
        debug_assert!(at > *parent as usize, "callers come before their callees");
    }
    for at in some {
        let (at, parent) = (at as usize, parents[at as usize] as usize);
        if !budget.take(children_left[at] > 0, at > 0 && children_left[parent] == 1) {
            break;
        }
        if at > 0 {
            children_left[parent] -= 1;
        }
        kept[at] = true;
    }
    kept
}

/// Below this, every weight has a bucket of its own; above, every octave has half as many.
const EXACT: usize = 128;
const BUCKETS: usize = EXACT + 57 * (EXACT / 2);

/// The bucket of a weight, the heaviest first.
fn bucket(weight: u64) -> usize {
    let rank = match weight.checked_ilog2() {
        Some(octave) if weight >= EXACT as u64 => {
            EXACT + (octave as usize - 7) * (EXACT / 2) + (weight >> (octave - 6)) as usize % (EXACT / 2)
        }
        _ => weight as usize,
    };
    BUCKETS - 1 - rank
}

/// Nodes kept, and remainders needed below them. The sum never falls as more are kept: a node adds itself, may add a remainder
/// below it, and takes at most its parent's away.
pub(super) struct Budget {
    most: usize,
    stay: usize,
    remainders: usize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Self {
        Self { most, stay: 0, remainders: 0 }
    }

    /// Room for so many more nodes, and more (or fewer) remainders, unless there is none.
    fn take_all(&mut self, nodes: usize, remainders: isize) -> bool {
        let (stay, remainders) = (self.stay + nodes, self.remainders.saturating_add_signed(remainders));
        let fits = stay + remainders <= self.most;
        if fits {
            (self.stay, self.remainders) = (stay, remainders);
        }
        fits
    }

    /// Room for one more node, unless there is none.
    pub(super) fn take(&mut self, has_children: bool, last_of_parent: bool) -> bool {
        let (stay, remainders) =
            (self.stay + 1, self.remainders + usize::from(has_children) - usize::from(last_of_parent));
        let fits = stay + remainders <= self.most;
        if fits {
            (self.stay, self.remainders) = (stay, remainders);
        }
        fits
    }
}

/// A tree cut to a size.
#[derive(Clone, Debug)]
pub(super) struct Kept<const N: usize> {
    pub(super) tree: Tree<N>,
    pub(super) totals: Vec<[u64; N]>,
    /// Samples of the children of each node that did not stay.
    hidden: Vec<[u64; N]>,
    /// Nodes that did not stay.
    pub(super) hidden_nodes: u64,
}

/// A node in its final place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed<const N: usize> {
    pub(super) depth: u32,
    pub(super) shown: Shown,
    pub(super) total: [u64; N],
    pub(super) selves: [u64; N],
}

impl<const N: usize> Kept<N> {
    /// What a node's total has more than its self and its children is hidden.
    pub(super) fn new(tree: Tree<N>, totals: Vec<[u64; N]>, hidden_nodes: u64) -> Self {
        let mut hidden = totals.clone();
        for at in 0..tree.len() {
            subtract(&mut hidden[at], tree.selves[at]);
            if at > 0 {
                subtract(&mut hidden[tree.parents[at] as usize], totals[at]);
            }
        }
        Self { tree, totals, hidden, hidden_nodes }
    }

    /// The nodes depth first, siblings by falling weight, then by `order`, with a remainder wherever children did not stay.
    pub(super) fn place(&self, scale: Scale<N>, order: impl Fn(Shown, Shown) -> Ordering) -> Vec<Placed<N>> {
        let Tree { parents, shown, selves } = &self.tree;
        let children = Children::new(parents.iter().copied());
        let mut nodes = Vec::with_capacity(parents.len());
        let placed = |at: u32, depth| {
            let node = at as usize;
            Placed { depth, shown: shown[node], total: self.totals[node], selves: selves[node] }
        };
        // No place: a remainder.
        let mut left = vec![(Some(0), placed(0, 0))];
        let mut below: Vec<(u64, Option<u32>, Placed<N>)> = Vec::new();
        while let Some((at, node)) = left.pop() {
            nodes.push(node);
            let Some(at) = at else { continue };
            let depth = node.depth + 1;
            for &child in children.of(at) {
                below.push((scale.weigh(&self.totals[child as usize]), Some(child), placed(child, depth)));
            }
            let hidden = self.hidden[at as usize];
            if hidden != [0; N] {
                let rest = Placed { depth, shown: Labels::REMAINDER, total: hidden, selves: hidden };
                below.push((scale.weigh(&hidden), None, rest));
            }
            if below.len() > 1 {
                below.sort_unstable_by(|(a, _, one), (b, _, other)| {
                    b.cmp(a).then_with(|| order(one.shown, other.shown))
                });
            }
            left.extend(below.drain(..).rev().map(|(_, at, node)| (at, node)));
        }
        nodes
    }
}

/// The children of every node, in one list.
pub(super) struct Children {
    /// Where each node's children begin.
    starts: Vec<u32>,
    list: Vec<u32>,
}

impl Children {
    /// From each node's parent; node 0 is the root and nobody's child. In the order of their indexes.
    pub(super) fn new(parents: impl Iterator<Item = u32> + Clone) -> Self {
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

    pub(super) fn of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.list[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

/// By name, then what else tells frames apart.
pub(super) fn by_content(a: &Frame, b: &Frame) -> Ordering {
    a.name.cmp(&b.name).then_with(|| (a.kind, &a.binary, &a.file).cmp(&(b.kind, &b.binary, &b.file)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Numbers of frames from the root to a node.
    type Path = Vec<Shown>;

    fn build(stacks: &[(Vec<u8>, [u64; 2])]) -> Tree<2> {
        let mut tree = Tree::new();
        let mut known = HashMap::new();
        for (stack, samples) in stacks {
            let mut node = 0;
            for frame in stack {
                let shown = Shown::frame(CachedFrame(u32::from(*frame)));
                node = *known.entry((node, shown)).or_insert_with(|| tree.push(node, shown, [0; 2]));
            }
            add(&mut tree.selves[node as usize], *samples);
        }
        tree
    }

    const EVEN: Scale<2> = Scale([1.0, 1.0]);

    fn place(tree: Tree<2>, max_nodes: usize) -> (Vec<(Path, Placed<2>)>, u64) {
        let totals = tree.totals();
        let kept = tree.cut_below(None, totals, EVEN, max_nodes);
        let nodes = kept.place(EVEN, |a, b| a.cmp(&b));
        let mut path = Path::new();
        let walk = |node: &Placed<2>| {
            path.truncate(node.depth as usize);
            path.push(node.shown);
            (path.clone(), *node)
        };
        (nodes.iter().map(walk).collect(), kept.hidden_nodes)
    }

    /// What a placed tree promises, checked the slow way.
    fn check(nodes: &[(Path, Placed<2>)]) {
        let mut sums: BTreeMap<&Path, [u64; 2]> = nodes.iter().map(|(path, node)| (path, node.selves)).collect();
        for (path, node) in nodes.iter().skip(1) {
            add(sums.get_mut(&path[..path.len() - 1].to_vec()).expect("a parent that is there"), node.total);
        }
        let mut last = BTreeMap::new();
        for (path, node) in nodes {
            assert_eq!((path.len() as u32, sums[path]), (node.depth + 1, node.total));
            let key = (Reverse(EVEN.weigh(&node.total)), node.shown);
            if let Some(before) = last.insert(&path[..path.len() - 1], key) {
                assert!(before < key, "siblings out of order: {before:?} {key:?}");
            }
        }
    }

    fn stacks() -> impl Strategy<Value = Vec<(Vec<u8>, [u64; 2])>> {
        vec((vec(0..5_u8, 0..7), [1..50_u64, 0..50_u64]), 0..60)
    }

    proptest! {
        /// What stays is what a sort by weight, taken as far as there is room, would keep.
        #[test]
        fn the_heaviest_stay(nodes in vec((any::<proptest::sample::Index>(), prop_oneof![0..9_u64, 100..300_u64, any::<u64>()]), 0..80),
                             wanted in proptest::option::of(vec(any::<bool>(), 80)), max in 0..90_usize) {
            let mut parents = vec![0_u32];
            let mut totals = vec![[u64::MAX]];
            for (parent, weight) in nodes {
                let parent = parent.index(parents.len());
                totals.push([weight.min(totals[parent][0])]);
                parents.push(parent as u32);
            }
            // What is wanted hangs from the root.
            let wanted = wanted.map(|some| {
                let mut wanted = vec![true; parents.len()];
                (1..parents.len()).for_each(|at| wanted[at] = some[at - 1] && wanted[parents[at] as usize]);
                wanted
            });
            let mut order: Vec<_> = (0..parents.len()).filter(|at| wanted.as_ref().is_none_or(|wanted| wanted[*at])).collect();
            order.sort_by_key(|at| Reverse(totals[*at][0]));
            let mut left = vec![0_u32; parents.len()];
            parents.iter().skip(1).for_each(|parent| left[*parent as usize] += 1);
            let (mut want, mut budget) = (vec![false; parents.len()], Budget::new(max));
            for at in order {
                let parent = parents[at] as usize;
                if !budget.take(left[at] > 0, at > 0 && left[parent] == 1) {
                    break;
                }
                left[parent] -= u32::from(at > 0);
                want[at] = true;
            }
            prop_assert_eq!(heaviest(&parents, &totals, wanted.as_deref(), Scale::ONE, max), want);
        }

        /// Every path of the tree holds exactly the samples that a plain sum over the stacks gives it, of both profiles.
        #[test]
        fn the_tree_is_the_sum_of_its_stacks(stacks in stacks()) {
            let (nodes, hidden) = place(build(&stacks), usize::MAX);
            check(&nodes);
            prop_assert_eq!(hidden, 0);
            let mut model = BTreeMap::<Path, ([u64; 2], [u64; 2])>::new();
            model.insert(vec![Labels::ROOT], Default::default());
            for (stack, samples) in &stacks {
                let mut path = vec![Labels::ROOT];
                path.extend(stack.iter().map(|frame| Shown::frame(CachedFrame(u32::from(*frame)))));
                for depth in 1..=path.len() {
                    add(&mut model.entry(path[..depth].to_vec()).or_default().0, *samples);
                }
                add(&mut model.entry(path).or_default().1, *samples);
            }
            let found: BTreeMap<_, _> = nodes.into_iter().map(|(path, node)| (path, (node.total, node.selves))).collect();
            prop_assert_eq!(found, model);
        }

        /// Cutting keeps the root's total and every kept node's, fits the size, and counts what it hid.
        #[test]
        fn a_pruned_tree_still_adds_up(stacks in stacks(), max in 0..40_usize) {
            let ((whole, _), (cut, hidden)) = (place(build(&stacks), usize::MAX), place(build(&stacks), max));
            check(&cut);
            prop_assert!(cut.len() <= max.max(2));
            prop_assert_eq!(cut[0].1.total, whole[0].1.total);
            let nodes = whole.len();
            let originals: BTreeMap<_, _> = whole.into_iter().collect();
            let (mut kept, mut lightest) = (0, u64::MAX);
            for (path, node) in cut.iter().filter(|(_, node)| node.shown != Labels::REMAINDER) {
                prop_assert_eq!(originals[path], *node);
                kept += 1;
                lightest = lightest.min(EVEN.weigh(&node.total));
            }
            prop_assert_eq!(hidden as usize, nodes - kept);
            // Nothing heavier was left out.
            let heavier = originals.values().filter(|node| EVEN.weigh(&node.total) > lightest).count();
            prop_assert!(heavier <= kept);
        }
    }

    proptest! {
        /// What is spent on one node: itself, its callers, and the heaviest below it, with the totals that they have in the whole.
        #[test]
        fn a_cut_below_a_node_adds_up_and_keeps_to_it(stacks in stacks(), at in any::<proptest::sample::Index>(), max in 0..40_usize) {
            let tree = build(&stacks);
            let (whole, _) = place(tree.clone(), usize::MAX);
            let originals: BTreeMap<_, _> = whole.into_iter().collect();
            let node = at.index(tree.len()) as u32;
            let path_to = |mut at: u32| {
                let mut path = vec![tree.shown[at as usize]];
                while at != 0 {
                    at = tree.parents[at as usize];
                    path.insert(0, tree.shown[at as usize]);
                }
                path
            };
            let chosen = path_to(node);
            let kept = tree.clone().cut_below(Some(node), tree.totals(), EVEN, max);
            let mut path = Path::new();
            let mut nodes = Vec::new();
            for placed in kept.place(EVEN, |a, b| a.cmp(&b)) {
                path.truncate(placed.depth as usize);
                path.push(placed.shown);
                nodes.push((path.clone(), placed));
            }
            check(&nodes);
            prop_assert!(nodes.len() <= max.max(2).max(tree.len().min(max)));
            if tree.len() > max {
                for (path, placed) in nodes.iter().filter(|(_, node)| node.shown != Labels::REMAINDER) {
                    prop_assert_eq!(originals[path], *placed);
                    prop_assert!(path.starts_with(&chosen) || chosen.starts_with(path));
                }
            }
        }
    }

    proptest! {
        /// What is spent on a function, checked by the stacks themselves: its samples above and below it as far as there is room, the most
        /// first, with the totals that they have in the whole; nothing else.
        #[test]
        fn a_cut_around_a_function_is_of_the_stacks_with_it(stacks in stacks(), function in 0..6_u8, max in 0..60_usize) {
            let tree = build(&stacks);
            let is_it = |shown| shown == Shown::frame(CachedFrame(u32::from(function)));
            let (whole, _) = place(tree.clone(), usize::MAX);
            let originals: BTreeMap<_, _> = whole.into_iter().collect();
            // Every path of a stack with the function, with that stack's samples; and what ended in the function.
            let mut with_it = BTreeMap::from([(vec![Labels::ROOT], [0; 2])]);
            let mut ended = [0; 2];
            for (stack, samples) in stacks.iter().filter(|(stack, _)| stack.contains(&function)) {
                let mut path = vec![Labels::ROOT];
                path.extend(stack.iter().map(|frame| Shown::frame(CachedFrame(u32::from(*frame)))));
                for depth in 1..=path.len() {
                    add(with_it.entry(path[..depth].to_vec()).or_default(), *samples);
                }
                if stack.last() == Some(&function) {
                    add(&mut ended, *samples);
                }
            }
            let totals = tree.totals();
            let through = tree.through(&totals, is_it);
            prop_assert_eq!(through[0], with_it[&vec![Labels::ROOT]]);
            prop_assert_eq!(tree.own(is_it), ended);
            let all = tree.len();
            let kept = tree.cut_around(&through, totals, EVEN, max);
            let mut path = Path::new();
            let mut nodes = Vec::new();
            for placed in kept.place(EVEN, |a, b| a.cmp(&b)) {
                path.truncate(placed.depth as usize);
                path.push(placed.shown);
                nodes.push((path.clone(), placed));
            }
            check(&nodes);
            let kept: Vec<_> = nodes.iter().filter(|(_, node)| node.shown != Labels::REMAINDER).collect();
            prop_assert!(kept.iter().all(|(path, placed)| originals[path] == *placed));
            prop_assert!(nodes.len() <= max.max(2).max(all.min(max)));
            if all > max {
                let weight = |path: &Path| with_it.get(path).map(|samples| EVEN.weigh(samples));
                prop_assert!(kept.iter().all(|(path, _)| weight(path).is_some()));
                let lightest = kept.iter().filter_map(|(path, _)| weight(path)).min();
                let heavier = with_it.keys().filter(|path| weight(path) > lightest).count();
                prop_assert!(heavier <= kept.len(), "something heavier was left out");
            }
        }
    }

    /// The drawing of a cut: the small ones of each parent become one.
    #[test]
    fn small_siblings_become_one_remainder() {
        let stack = |frames: &[u8], n| (frames.to_vec(), [n, 0]);
        let (cut, hidden) =
            place(build(&[stack(&[0, 1], 10), stack(&[0, 2], 2), stack(&[0, 3], 1), stack(&[4], 5)]), 5);
        let drawn: Vec<_> = cut
            .iter()
            .map(|(_, node)| match node.shown {
                Labels::REMAINDER => format!("{} rest {}", node.depth, node.total[0]),
                shown => format!("{} {:?} {}", node.depth, shown.get().map(|frame| frame.0).ok(), node.total[0]),
            })
            .collect();
        assert_eq!(drawn, ["0 None 18", "1 Some(0) 13", "2 Some(1) 10", "2 rest 3", "1 Some(4) 5"]);
        assert_eq!(hidden, 2);
    }

    /// A label is one frame, however often it is asked for; labels and frames never meet.
    #[test]
    fn labels_are_shared_and_are_no_frames() {
        let mut labels = Labels::new();
        let web = labels.get("web", FrameKind::Process);
        assert_eq!(labels.get("web", FrameKind::Process), web);
        assert_ne!(labels.get("web", FrameKind::Note), web);
        assert_eq!(web.get().map_err(|at| &*labels.frame(at).name), Err("web"));
        assert_eq!(Shown::frame(CachedFrame(7)).get(), Ok(CachedFrame(7)));
    }
}
