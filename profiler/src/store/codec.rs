//! A profile as columns of numbers: whose samples, which stacks, how many; one window's or a roll-up's. Pure.
//!
//! ```text
//! directory   five columns, one number a group: process - the one before, thread name, stack end, entries, samples
//! stacks      two columns, one number an entry: stack - the one before, samples - 1
//! ```
//!
//! A group is one (process, thread name, stack end); groups are sorted by these and entries by stack, so that most numbers are
//! small differences. The first entry of a group counts from the first one of the group before (signed). The directory is a
//! blob of its own: questions about samples by process and thread read nothing else. All blobs are [`super::columns`].
//!
//! Invariant: what is encoded is decoded again as the same sorted profile; other bytes are an error, never a panic. A profile that
//! decodes adds up: a group's samples are the sum of its entries'.

use super::columns::{self, Effort};
use super::varint::{put, put_signed, step, take, take_signed, take_u32};
use crate::profile::StackEnd;

/// Number of a stack's leaf node; 0 is the empty stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(pub u32);

/// Whose samples a group's are. The order of the fields is the order in the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupKey {
    /// Row of the process.
    pub(crate) process: u32,
    /// Row of the thread's name in `string`.
    pub(crate) thread: u32,
    /// How the walk of the user stack ended.
    pub(crate) end: StackEnd,
}

/// Entries with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Whose.
    pub(crate) key: GroupKey,
    /// Entries.
    pub(crate) entries: u32,
    /// Samples of all entries.
    pub(crate) samples: u64,
}

/// Samples by group and stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    /// Sorted by key, none twice, none without entries.
    pub(crate) groups: Vec<Group>,
    /// The entries of all groups, one group's after the other's; sorted within each, none twice.
    pub(crate) stacks: Vec<StackId>,
    /// Samples of each entry, never 0.
    pub(crate) counts: Vec<u64>,
}

/// What is wrong with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("profile blob: {0}")]
pub struct BadBlob(pub &'static str);

impl Profile {
    /// Sorts entries, adds up equal ones and leaves out those without samples.
    pub(super) fn from_entries(mut entries: Vec<(GroupKey, StackId, u64)>) -> Self {
        entries.sort_unstable_by_key(|(key, stack, _)| (*key, *stack));
        let mut profile = Self::default();
        for (key, stack, count) in entries.into_iter().filter(|(.., count)| *count > 0) {
            profile.push(key, stack, count);
        }
        profile
    }

    /// Adds samples at the end, or to the last entry.
    pub(super) fn push(&mut self, key: GroupKey, stack: StackId, count: u64) {
        match self.groups.last_mut() {
            Some(group) if group.key == key => {
                group.samples = group.samples.saturating_add(count);
                if let (Some(last), Some(sum)) = (self.stacks.last(), self.counts.last_mut())
                    && *last == stack
                {
                    *sum = sum.saturating_add(count);
                    return;
                }
                group.entries += 1;
            }
            _ => self.groups.push(Group { key, entries: 1, samples: count }),
        }
        self.stacks.push(stack);
        self.counts.push(count);
    }

    /// Each group with its entries' place in the flat lists.
    pub(super) fn spans(&self) -> impl Iterator<Item = (&Group, std::ops::Range<usize>)> {
        let mut at = 0;
        self.groups.iter().map(move |group| {
            let from = at;
            at += group.entries as usize;
            (group, from..at)
        })
    }

    /// The same entries with other numbers, without those of which there are none then.
    pub(super) fn with_counts(&self, counts: &[u64]) -> Self {
        let mut profile = Self::default();
        for (group, span) in self.spans() {
            for at in span.filter(|at| counts[*at] > 0) {
                profile.push(group.key, self.stacks[at], counts[at]);
            }
        }
        profile
    }

    /// The entries at some places, sorted, with other numbers.
    pub(super) fn at(&self, places: &[u32], counts: &[u64]) -> Self {
        let mut profile = Self::default();
        let mut spans = self.spans();
        let Some(mut span) = spans.next() else { return profile };
        for (place, count) in places.iter().zip(counts) {
            while *place as usize >= span.1.end {
                let Some(next) = spans.next() else { return profile };
                span = next;
            }
            profile.push(span.0.key, self.stacks[*place as usize], *count);
        }
        profile
    }

    /// All samples.
    #[cfg(test)]
    pub(super) fn samples(&self) -> u64 {
        self.groups.iter().fold(0, |sum, group| sum.saturating_add(group.samples))
    }

    /// The directory's blob.
    #[must_use]
    pub(super) fn directory(&self, effort: Effort) -> Vec<u8> {
        let mut columns = [const { Vec::new() }; 5];
        let mut process = 0;
        for Group { key, entries, samples } in &self.groups {
            put(&mut columns[0], u64::from(key.process - process));
            put(&mut columns[1], u64::from(key.thread));
            put(&mut columns[2], u64::from(key.end as u32));
            put(&mut columns[3], u64::from(*entries));
            put(&mut columns[4], *samples);
            process = key.process;
        }
        columns::pack(&columns, effort)
    }

    /// The stacks' blob.
    #[must_use]
    pub(super) fn entries(&self, effort: Effort) -> Vec<u8> {
        let mut columns = [const { Vec::new() }; 2];
        let mut first = 0;
        for (_, span) in self.spans() {
            let stacks = &self.stacks[span];
            put_signed(&mut columns[0], i64::from(stacks[0].0) - i64::from(first));
            first = stacks[0].0;
            stacks.windows(2).for_each(|pair| put(&mut columns[0], u64::from(pair[1].0 - pair[0].0)));
        }
        self.counts.iter().for_each(|count| put(&mut columns[1], count - 1));
        columns::pack(&columns, effort)
    }

    /// From both blobs.
    pub(super) fn decode(directory: &[u8], entries: &[u8]) -> Result<Self, BadBlob> {
        let packed = Packed::unpack(decode_directory(directory)?, entries)?;
        let mut profile = Self { groups: packed.groups.clone(), ..Self::default() };
        profile.stacks.reserve_exact(packed.gaps.len());
        profile.counts.reserve_exact(packed.gaps.len());
        packed.each(
            |_, _| true,
            |_, stack, count| {
                profile.stacks.push(stack);
                profile.counts.push(count);
            },
        )?;
        Ok(profile)
    }
}

/// Unpacks a directory.
pub(crate) fn decode_directory(blob: &[u8]) -> Result<Vec<Group>, BadBlob> {
    let columns = columns::unpack::<5>(blob)?;
    let [mut processes, mut threads, mut ends, mut entries, mut samples] = columns.each_ref().map(|column| &column[..]);
    let mut groups: Vec<Group> = Vec::with_capacity(ends.len());
    let mut process = 0_u32;
    while !processes.is_empty() {
        process = process.checked_add(take_u32(&mut processes)?).ok_or(BadBlob("process out of range"))?;
        let thread = take_u32(&mut threads)?;
        let end = StackEnd::from_u32(take_u32(&mut ends)?).ok_or(BadBlob("unknown stack end"))?;
        let key = GroupKey { process, thread, end };
        if groups.last().is_some_and(|before| before.key >= key) {
            return Err(BadBlob("groups out of order"));
        }
        let group = Group { key, entries: take_u32(&mut entries)?, samples: take(&mut samples)? };
        if group.entries == 0 || group.samples < u64::from(group.entries) {
            return Err(BadBlob("group without samples"));
        }
        groups.push(group);
    }
    if [threads, ends, entries, samples].iter().all(|rest| rest.is_empty()) {
        Ok(groups)
    } else {
        Err(BadBlob("columns of different lengths"))
    }
}

/// A profile whose entries are read one after the other, without a list of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed {
    /// As in [`Profile`].
    pub(crate) groups: Vec<Group>,
    gaps: Vec<u8>,
    counts: Vec<u8>,
}

impl Packed {
    /// From the decoded directory and the stacks' blob.
    pub(crate) fn unpack(groups: Vec<Group>, entries: &[u8]) -> Result<Self, BadBlob> {
        let [gaps, counts] = columns::unpack(entries)?;
        let all = groups.iter().try_fold(0_usize, |sum, group| sum.checked_add(group.entries as usize));
        // An entry is at least a byte of each: a number that cannot be true is found here.
        if all.is_none_or(|all| all > gaps.len() || all > counts.len()) {
            return Err(BadBlob("impossible number of entries"));
        }
        Ok(Self { groups, gaps, counts })
    }

    /// Every entry of every group that `wanted` wants (given the group and its index), in order.
    pub(crate) fn each(
        &self,
        mut wanted: impl FnMut(usize, &Group) -> bool,
        mut each: impl FnMut(usize, StackId, u64),
    ) -> Result<(), BadBlob> {
        let (mut gaps, mut counts) = (&self.gaps[..], &self.counts[..]);
        let mut first = 0;
        for (at, group) in self.groups.iter().enumerate() {
            let wanted = wanted(at, group);
            first = step(first, take_signed(&mut gaps)?)?;
            let (mut stack, mut sum) = (first, 0_u64);
            for nth in 0..group.entries {
                if nth > 0 {
                    let gap = take_u32(&mut gaps)?;
                    stack = stack.checked_add(gap).ok_or(BadBlob("stack out of range"))?;
                    if gap == 0 {
                        return Err(BadBlob("stacks out of order"));
                    }
                }
                let count = take(&mut counts)?.checked_add(1).ok_or(BadBlob("number too large"))?;
                sum = sum.saturating_add(count);
                if wanted {
                    each(at, StackId(stack), count);
                }
            }
            if sum != group.samples {
                return Err(BadBlob("a group does not add up"));
            }
        }
        if gaps.is_empty() && counts.is_empty() { Ok(()) } else { Err(BadBlob("columns of different lengths")) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    pub(in crate::store) type Entry = (GroupKey, StackId, u64);

    pub(in crate::store) fn entry(process: u32, thread: u32, end: StackEnd, stack: u32, count: u64) -> Entry {
        (GroupKey { process, thread, end }, StackId(stack), count)
    }

    /// Entries of few processes and stacks, so that some are equal, or of any.
    pub(in crate::store) fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let id = prop_oneof![5 => 0..20_u32, 1 => any::<u32>()];
        let one = (0..5_u32, 0..3_u32, 0..10_usize, id, prop_oneof![8 => 0..5_u64, 1 => 0..u64::MAX / 512])
            .prop_map(|(process, thread, end, stack, count)| entry(process, thread, StackEnd::ALL[end], stack, count));
        vec(one, 0..60)
    }

    /// What a profile holds, as a plain map.
    pub(in crate::store) fn sums<'a>(
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> BTreeMap<(GroupKey, StackId), u64> {
        let mut sums = BTreeMap::new();
        for (key, stack, count) in entries.into_iter().filter(|(.., count)| *count > 0) {
            *sums.entry((*key, *stack)).or_default() += count;
        }
        sums
    }

    pub(in crate::store) fn listed(profile: &Profile) -> BTreeMap<(GroupKey, StackId), u64> {
        let rows = profile.spans().flat_map(|(group, span)| span.map(|at| (group.key, at)));
        rows.map(|(key, at)| ((key, profile.stacks[at]), profile.counts[at])).collect()
    }

    fn recode(profile: &Profile, effort: Effort) -> Result<Profile, BadBlob> {
        Profile::decode(&profile.directory(effort), &profile.entries(effort))
    }

    /// The layout in the file's header is the real one; it is on disk, so it may not drift.
    #[test]
    fn the_documented_layout_is_the_layout() {
        let complete = StackEnd::Complete;
        let profile = Profile::from_entries(vec![
            entry(7, 3, complete, 9, 1),
            entry(7, 3, complete, 3, 4),
            entry(7, 3, complete, 3, 6),
            entry(9, 2, StackEnd::FramePointerLost, 2, 1),
        ]);
        let end = StackEnd::FramePointerLost as u8;
        let directory = [3, 2, 0, 7, 2, 2, 0, 3, 2, 2, 0, 0, end, 2, 0, 2, 1, 2, 0, 11, 1];
        let written = profile.directory(Effort::Much);
        assert_eq!(written[..written.len() - 4], directory);
        let entries = profile.entries(Effort::Much);
        assert_eq!(entries[..entries.len() - 4], [3, 3, 0, 6, 6, 1, 3, 0, 9, 0, 0]);
        assert_eq!(recode(&profile, Effort::Much).unwrap(), profile);
    }

    /// Every way of being wrong has its own words.
    #[test]
    fn wrong_blobs_say_what_is_wrong() {
        let group = |entries, samples| {
            let key = GroupKey { process: 1, thread: 1, end: StackEnd::Complete };
            vec![Group { key, entries, samples }]
        };
        for (groups, blob, bad) in [
            (group(1, 1), &[2, 0, 0, 0, 0][..], "impossible number of entries"),
            (group(1, 2), &[2, 1, 0, 6, 1, 0, 0], "a group does not add up"),
            (group(2, 2), &[2, 2, 0, 6, 0, 2, 0, 0, 0], "stacks out of order"),
            (group(1, 1), &[2, 1, 0, 1, 1, 0, 0], "id out of range"),
            (group(1, 1), &[2, 2, 0, 2, 2, 1, 0, 0], "columns of different lengths"),
        ] {
            let found = Packed::unpack(groups, blob).and_then(|packed| packed.each(|_, _| true, |_, _, _| {}));
            assert_eq!(found, Err(BadBlob(bad)), "{blob:?}");
        }
        for (columns, bad) in [
            ([&[1][..], &[1], &[99], &[1], &[1]], "unknown stack end"),
            ([&[1, 0], &[1, 1], &[0, 0], &[1, 1], &[1, 1]], "groups out of order"),
            ([&[1], &[1], &[0], &[0], &[1]], "group without samples"),
            ([&[1], &[1], &[0], &[2], &[1]], "group without samples"),
            ([&[1], &[1, 1], &[0], &[1], &[1]], "columns of different lengths"),
            ([&[1, 1], &[1], &[0], &[1], &[1]], "cut short"),
        ] {
            let blob = columns::pack(&columns.map(<[u8]>::to_vec), Effort::Little);
            assert_eq!(decode_directory(&blob), Err(BadBlob(bad)), "{columns:?}");
        }
    }

    proptest! {
        /// Decoding gives back the sorted sums of what was encoded, and nothing else.
        #[test]
        fn profiles_round_trip(list in entries(), much in any::<bool>()) {
            let effort = if much { Effort::Much } else { Effort::Little };
            let profile = Profile::from_entries(list.clone());
            prop_assert_eq!(listed(&profile), sums(&list));
            prop_assert_eq!(recode(&profile, effort).unwrap(), profile);
        }

        /// Any bytes in the columns end in entries or an error, no panic, no endless list.
        #[test]
        fn hostile_bytes_are_an_error_at_worst(columns in proptest::array::uniform5(vec(prop_oneof![0..4_u8, any::<u8>()], 0..40)),
                                               stacks in proptest::array::uniform2(vec(prop_oneof![0..4_u8, any::<u8>()], 0..60))) {
            let directory = columns::pack(&columns, Effort::Little);
            let entries = columns::pack(&stacks, Effort::Little);
            if let Ok(profile) = Profile::decode(&directory, &entries) {
                prop_assert!(profile.stacks.len() <= stacks[0].len());
                prop_assert_eq!(recode(&profile, Effort::Little).unwrap(), profile);
            }
        }
    }
}
