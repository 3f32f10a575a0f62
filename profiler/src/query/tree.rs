//! Trees of frames as flat lists, of one profile or of several beside each other: totals, the cut to a size, the order. Pure.
//!
//! Invariant: a node's total is its self plus its children's totals, exactly, cut or whole; cutting never changes the
//! total of a node that stays.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use crate::profile::{Frame, FrameKind, Reason, StackEnd};
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
        self.insert(label(name, kind))
    }

    /// The note of this wording.
    pub(super) fn note(&mut self, note: &str, end: StackEnd) -> Shown {
        self.insert(Frame { reason: Some(Reason::CutShort(end)), ..label(note, FrameKind::Note) })
    }

    fn insert(&mut self, frame: Frame) -> Shown {
        let kind = frame.kind;
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
mod tests;
