//! Profiles added up, group by group, on ids alone. Pure.
//!
//! Holds one group of all parts at a time beside the sum, so that a day made of 24 hours takes little more memory than the day.

use super::codec::{GroupKey, Profile, StackId};

/// The sum of profiles.
#[must_use]
pub(super) fn merge(parts: &[Profile]) -> Profile {
    let mut sum = Profile::default();
    // Where each part is: its group, and that group's first entry.
    let mut cursors = vec![(0_usize, 0_usize); parts.len()];
    let mut entries: Vec<(StackId, u64)> = Vec::new();
    while let Some(key) = next_key(parts, &cursors) {
        for (part, (group, at)) in parts.iter().zip(&mut cursors) {
            let Some(found) = part.groups.get(*group).filter(|found| found.key == key) else { continue };
            let span = *at..*at + found.entries as usize;
            entries.extend(part.stacks[span.clone()].iter().copied().zip(part.counts[span].iter().copied()));
            *at += found.entries as usize;
            *group += 1;
        }
        // Sorted runs: the stable sort finds and merges them.
        entries.sort_by_key(|(stack, _)| *stack);
        entries.drain(..).for_each(|(stack, count)| sum.push(key, stack, count));
    }
    sum
}

fn next_key(parts: &[Profile], cursors: &[(usize, usize)]) -> Option<GroupKey> {
    parts.iter().zip(cursors).filter_map(|(part, (group, _))| part.groups.get(*group)).map(|group| group.key).min()
}

/// The place of each entry of `part` in `whole`, which holds them all.
#[must_use]
pub(super) fn places(part: &Profile, whole: &Profile) -> Vec<u32> {
    let mut places = Vec::with_capacity(part.stacks.len());
    let mut spans = whole.spans();
    for (group, span) in part.spans() {
        let Some((_, mut rest)) = spans.find(|(other, _)| other.key == group.key) else { break };
        for stack in &part.stacks[span] {
            let Some(at) = rest.find(|at| whole.stacks[*at] == *stack) else { break };
            places.push(at as u32);
        }
    }
    debug_assert_eq!(places.len(), part.stacks.len(), "a part is in its whole");
    places
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::codec::tests::{entries, listed, sums};
    use super::*;

    proptest! {
        /// A roll-up is the sum of its parts, however they are grouped on the way.
        #[test]
        fn a_merge_is_the_sum_of_its_parts(parts in vec(entries(), 0..5), cut in 0..5_usize) {
            let profiles: Vec<_> = parts.iter().map(|part| Profile::from_entries(part.clone())).collect();
            let whole = merge(&profiles);
            prop_assert_eq!(listed(&whole), sums(parts.iter().flatten()));
            prop_assert_eq!(whole.samples(), profiles.iter().map(Profile::samples).sum::<u64>());
            let (left, right) = profiles.split_at(cut.min(profiles.len()));
            prop_assert_eq!(&merge(&[merge(left), merge(right)]), &whole);
            for part in &profiles {
                let places = places(part, &whole);
                let found: Vec<_> = places.iter().map(|place| whole.stacks[*place as usize]).collect();
                prop_assert_eq!(&found, &part.stacks);
                prop_assert!(places.is_sorted_by(|a, b| a < b));
            }
        }
    }
}
