//! Trees grown from the heaviest branch on, only as far as they will be shown: bottom-up, callers, callees. Pure.
//!
//! A node is a list of places in the whole tree with the samples that came that way; its children are those places one step on (up
//! to the caller, or down to the callees), by the frame found there. Turned around, a busy day's tree has millions of nodes:
//! as the lists only ever split, and only the heaviest are split, time and memory go with what is shown.
//!
//! Invariant: as for any tree, a node's total is its self plus its children's totals.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::tree::{Budget, Children, Kept, Scale, Shown, Tree, add};
use crate::store::RowMap;

/// A place in the whole tree, and samples.
type Item<const N: usize> = (u32, [u64; N]);

/// Which way a tree is grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To the callers.
    Up,
    /// To the callees.
    Down,
}

/// A whole tree and its totals, to be seen from elsewhere.
pub(super) struct Whole<'a, const N: usize> {
    pub(super) tree: &'a Tree<N>,
    pub(super) totals: &'a [[u64; N]],
    pub(super) scale: Scale<N>,
    pub(super) max_nodes: usize,
}

impl<const N: usize> Whole<'_, N> {
    /// Below the root the functions that samples ended in, below each its callers.
    pub(super) fn bottom_up(&self) -> Kept<N> {
        let leaves = (1..self.tree.len() as u32).map(|at| (at, self.tree.selves[at as usize]));
        let leaves = leaves.filter(|(_, own)| *own != [0; N]).collect();
        self.grow(Way::Up, leaves, self.tree.selves[0])
    }

    /// Below the root the function, below it its callers. A sample with the function on it twice counts once, from the outer one.
    pub(super) fn callers(&self, is_it: impl Fn(Shown) -> bool) -> Kept<N> {
        self.grow(Way::Up, self.outermost(is_it), [0; N])
    }

    /// Below the root the function, below it its callees. A sample with the function on it twice counts once, from the outer one.
    pub(super) fn callees(&self, is_it: impl Fn(Shown) -> bool) -> Kept<N> {
        self.grow(Way::Down, self.outermost(is_it), [0; N])
    }

    /// Where the function is, but for places below other such places.
    fn outermost(&self, is_it: impl Fn(Shown) -> bool) -> Vec<Item<N>> {
        let mut inside = vec![false; self.tree.len()];
        let mut found = Vec::new();
        for at in 1..self.tree.len() {
            inside[at] = inside[self.tree.parents[at] as usize];
            if !inside[at] && is_it(self.tree.shown[at]) {
                inside[at] = true;
                found.push((at as u32, self.totals[at]));
            }
        }
        found
    }

    /// Items by the frame at their place.
    fn by_frame(&self, items: impl Iterator<Item = Item<N>>) -> Vec<(Shown, Vec<Item<N>>)> {
        let mut groups: Vec<(Shown, Vec<Item<N>>)> = Vec::new();
        let mut known = RowMap::<Shown, usize>::default();
        for (at, samples) in items {
            let shown = self.tree.shown[at as usize];
            let group = *known.entry(shown).or_insert_with(|| {
                groups.push((shown, Vec::new()));
                groups.len() - 1
            });
            groups[group].1.push((at, samples));
        }
        groups
    }

    fn grow(&self, way: Way, first: Vec<Item<N>>, at_root: [u64; N]) -> Kept<N> {
        let down = (way == Way::Down).then(|| Children::new(self.tree.parents.iter().copied()));
        let sum = |items: &[Item<N>]| {
            let mut sum = [0; N];
            items.iter().for_each(|(_, samples)| add(&mut sum, *samples));
            sum
        };
        let mut tree = Tree::new();
        tree.selves[0] = at_root;
        let mut total = sum(&first);
        add(&mut total, at_root);
        let mut totals = vec![total];
        // Of nodes that stay: children that have not (yet).
        let mut left: Vec<u32> = Vec::new();
        // What waits for its turn: weight, then who came first.
        let mut waiting = BinaryHeap::new();
        let mut groups: Vec<(Shown, Vec<Item<N>>)> = Vec::new();
        let enqueue =
            |parent: u32, found: Vec<(Shown, Vec<Item<N>>)>, waiting: &mut BinaryHeap<_>, groups: &mut Vec<_>| {
                for (shown, items) in found {
                    waiting.push((self.scale.weigh(&sum(&items)), Reverse(groups.len()), parent));
                    groups.push((shown, items));
                }
            };
        let found = self.by_frame(first.into_iter());
        let mut budget = Budget::new(self.max_nodes.max(2));
        budget.take(!found.is_empty(), false);
        left.push(found.len() as u32);
        enqueue(0, found, &mut waiting, &mut groups);
        while let Some((_, Reverse(group), parent)) = waiting.peek().copied() {
            let (shown, items) = (groups[group].0, std::mem::take(&mut groups[group].1));
            let (next, own) = self.step(way, down.as_ref(), &items);
            if !budget.take(!next.is_empty(), left[parent as usize] == 1) {
                break;
            }
            waiting.pop();
            left[parent as usize] -= 1;
            let node = tree.push(parent, shown, own);
            totals.push(sum(&items));
            left.push(next.len() as u32);
            enqueue(node, next, &mut waiting, &mut groups);
        }
        let hidden_nodes = left.iter().map(|left| u64::from(*left)).sum();
        Kept::new(tree, totals, hidden_nodes)
    }

    /// One step on: the children, and the samples that have none.
    fn step(&self, way: Way, down: Option<&Children>, items: &[Item<N>]) -> (Vec<(Shown, Vec<Item<N>>)>, [u64; N]) {
        let mut own = [0; N];
        let next: Vec<_> = match (way, down) {
            (Way::Down, Some(children)) => {
                items.iter().for_each(|(at, _)| add(&mut own, self.tree.selves[*at as usize]));
                let callees = items.iter().flat_map(|(at, _)| children.of(*at));
                callees.map(|child| (*child, self.totals[*child as usize])).collect()
            }
            _ => {
                let mut next = Vec::with_capacity(items.len());
                for (at, samples) in items {
                    match self.tree.parents[*at as usize] {
                        0 => add(&mut own, *samples),
                        parent => next.push((parent, *samples)),
                    }
                }
                next
            }
        };
        (self.by_frame(next.into_iter()), own)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::tree::{Labels, Placed};
    use super::*;
    use crate::store::CachedFrame;

    type Stacks = Vec<(Vec<u8>, u64)>;

    fn shown(frame: u8) -> Shown {
        Shown::frame(CachedFrame(u32::from(frame)))
    }

    fn build(stacks: &[(Vec<u8>, u64)]) -> Tree<1> {
        let mut tree = Tree::new();
        let mut known = std::collections::HashMap::new();
        for (stack, samples) in stacks {
            let mut node = 0;
            for frame in stack {
                let shown = shown(*frame);
                node = *known.entry((node, shown)).or_insert_with(|| tree.push(node, shown, [0]));
            }
            add(&mut tree.selves[node as usize], [*samples]);
        }
        tree
    }

    /// Samples by the path they end at, and the root's total.
    fn ends(kept: &Kept<1>) -> (BTreeMap<Vec<Shown>, u64>, u64) {
        let nodes = kept.place(Scale::ONE, |a, b| a.cmp(&b));
        let (mut path, mut ends) = (Vec::new(), BTreeMap::new());
        let mut sums = vec![0; nodes.len()];
        let mut open: Vec<usize> = Vec::new();
        for (at, Placed { depth, shown, total, selves }) in nodes.iter().enumerate() {
            path.truncate(*depth as usize);
            open.truncate(*depth as usize);
            path.push(*shown);
            if let Some(parent) = open.last() {
                sums[*parent] += total[0];
            }
            open.push(at);
            if selves[0] > 0 {
                ends.insert(path[1..].to_vec(), selves[0]);
            }
        }
        for (node, below) in nodes.iter().zip(sums) {
            assert_eq!(node.total[0], node.selves[0] + below, "a total is self plus children");
        }
        (ends, nodes[0].total[0])
    }

    fn model(stacks: &Stacks, path: impl Fn(&[u8]) -> Option<Vec<u8>>) -> BTreeMap<Vec<Shown>, u64> {
        let mut model = BTreeMap::new();
        for (stack, samples) in stacks {
            if let Some(path) = path(stack) {
                *model.entry(path.into_iter().map(shown).collect()).or_default() += samples;
            }
        }
        model
    }

    fn stacks() -> impl Strategy<Value = Stacks> {
        vec((vec(0..4_u8, 0..7), 1..50_u64), 0..50)
    }

    proptest! {
        /// Bottom-up is each stack turned around, callers end at the outermost, callees begin there; each sample once, and
        /// top-down and bottom-up totals agree.
        #[test]
        fn every_view_holds_the_same_samples(stacks in stacks(), focus in 0..4_u8) {
            let tree = build(&stacks);
            let totals = tree.totals();
            let whole = Whole { tree: &tree, totals: &totals, scale: Scale::ONE, max_nodes: usize::MAX };
            let all = stacks.iter().map(|(_, samples)| samples).sum::<u64>();
            let (found, total) = ends(&whole.bottom_up());
            prop_assert_eq!(total, all);
            prop_assert_eq!(found, model(&stacks, |stack| Some(stack.iter().rev().copied().collect())));
            let outer = |stack: &[u8]| stack.iter().position(|frame| *frame == focus);
            let with_it = stacks.iter().filter(|(stack, _)| outer(stack).is_some()).map(|(_, n)| n).sum::<u64>();
            let (found, total) = ends(&whole.callers(|frame| frame == shown(focus)));
            prop_assert_eq!(total, with_it);
            prop_assert_eq!(found, model(&stacks, |stack| outer(stack).map(|at| stack[..=at].iter().rev().copied().collect())));
            let (found, total) = ends(&whole.callees(|frame| frame == shown(focus)));
            prop_assert_eq!(total, with_it);
            prop_assert_eq!(found, model(&stacks, |stack| outer(stack).map(|at| stack[at..].to_vec())));
        }

        /// A cut keeps the root's total and fits the size.
        #[test]
        fn a_cut_view_still_adds_up(stacks in stacks(), max_nodes in 0..30_usize) {
            let tree = build(&stacks);
            let totals = tree.totals();
            let whole = Whole { tree: &tree, totals: &totals, scale: Scale::ONE, max_nodes };
            for kept in [whole.bottom_up(), whole.callers(|frame| frame == shown(1)), whole.callees(|frame| frame == shown(1))] {
                let nodes = kept.place(Scale::ONE, |a, b| a.cmp(&b));
                prop_assert!(nodes.len() <= max_nodes.max(2));
                let rests = nodes.iter().filter(|node| node.shown == Labels::REMAINDER).count();
                prop_assert_eq!(rests > 0, kept.hidden_nodes > 0);
                ends(&kept);
            }
            prop_assert_eq!(ends(&whole.bottom_up()).1, stacks.iter().map(|(_, samples)| samples).sum::<u64>());
        }
    }
}
