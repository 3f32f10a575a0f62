//! Sums by stack number for many groups at once, as fast as an array and not much larger than what is in it. Pure.
//!
//! Stacks of one process have neighbouring numbers, because they were first seen together: so each group has a small table of
//! tables of arrays of 64. Adding takes three look-ups of memory that was just used; a hash table takes one of memory that was not.

/// Sums in an array: a leaf.
const LEAF: usize = 64;

/// Sums by (group, number).
#[derive(Clone, Debug)]
pub(super) struct Sparse {
    /// Of each group, by the number's highest bits: the place of a branch, 0 for none.
    roots: Vec<Vec<u32>>,
    /// By the bits in the middle: the place of a leaf, 0 for none.
    branches: Vec<[u32; LEAF]>,
    leaves: Vec<[u64; LEAF]>,
    roots_len: usize,
}

impl Default for Sparse {
    fn default() -> Self {
        Self { roots: Vec::new(), branches: vec![[0; LEAF]], leaves: vec![[0; LEAF]], roots_len: 0 }
    }
}

impl Sparse {
    /// A new group, empty.
    pub(super) fn group(&mut self) -> usize {
        self.roots.push(Vec::new());
        self.roots.len() - 1
    }

    /// The place of the leaf that holds `at`; [`Self::add_at`] adds to it. Stays valid.
    #[inline]
    pub(super) fn leaf(&mut self, group: usize, at: u32) -> usize {
        let (high, middle) = ((at >> 12) as usize, (at >> 6) as usize % LEAF);
        let root = &mut self.roots[group];
        if high >= root.len() {
            self.roots_len += high + 1 - root.len();
            root.resize(high + 1, 0);
        }
        if root[high] == 0 {
            root[high] = self.branches.len() as u32;
            self.branches.push([0; LEAF]);
        }
        let leaf = &mut self.branches[root[high] as usize][middle];
        if *leaf == 0 {
            *leaf = self.leaves.len() as u32;
            self.leaves.push([0; LEAF]);
        }
        *leaf as usize
    }

    /// Adds to a number whose leaf is known.
    #[inline]
    pub(super) fn add_at(&mut self, leaf: usize, at: u32, n: u64) {
        let sum = &mut self.leaves[leaf][at as usize % LEAF];
        *sum = sum.saturating_add(n);
    }

    /// Adds to a number.
    #[inline]
    pub(super) fn add(&mut self, group: usize, at: u32, n: u64) {
        let leaf = self.leaf(group, at);
        self.add_at(leaf, at, n);
    }

    /// Every number of a group with a sum, the smallest first.
    pub(super) fn iter(&self, group: usize) -> impl DoubleEndedIterator<Item = (u32, u64)> {
        let there = |(at, place): (usize, u32)| (place != 0).then_some((at, place as usize));
        let branches = self.roots[group].iter().copied().enumerate().filter_map(there);
        branches.flat_map(move |(high, branch)| {
            let leaves = self.branches[branch].iter().copied().enumerate().filter_map(there);
            leaves.flat_map(move |(middle, leaf)| {
                let base = (high as u32) << 12 | (middle as u32) << 6;
                let sums = self.leaves[leaf].iter().enumerate();
                sums.filter_map(move |(low, sum)| (*sum > 0).then_some((base | low as u32, *sum)))
            })
        })
    }

    /// Memory taken.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.leaves[..]) + size_of_val(&self.branches[..]) + 4 * self.roots_len
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is a map of sums.
        #[test]
        fn sums_are_those_of_a_map(adds in vec((0..3_usize, prop_oneof![0..200_u32, 0..20_000_000_u32], 1..9_u64), 0..200)) {
            let mut sparse = Sparse::default();
            (0..3).for_each(|group| assert_eq!(sparse.group(), group));
            let mut model = [const { BTreeMap::new() }; 3];
            for (group, at, n) in adds {
                sparse.add(group, at, n);
                *model[group].entry(at).or_insert(0) += n;
            }
            for (group, model) in model.iter().enumerate() {
                let model: Vec<_> = model.iter().map(|(at, n)| (*at, *n)).collect();
                prop_assert_eq!(&sparse.iter(group).collect::<Vec<_>>(), &model);
                prop_assert!(sparse.iter(group).rev().eq(model.into_iter().rev()));
            }
        }
    }
}
