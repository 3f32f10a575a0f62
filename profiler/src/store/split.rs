//! Which of a roll-up's samples belong to which of its windows: ten-second detail at half the bytes of windows kept apart. Pure.
//!
//! ```text
//! columns: window id - the one before, entries of each window | place in the roll-up - the one before | samples - 1
//! ```
//!
//! The roll-up lists who and which stacks once; a window is places in that list, most of them a few steps apart.
//!
//! Invariant: the windows add up to the roll-up.

use super::codec::{BadBlob, Profile};
use super::columns::{self, Effort};
use super::varint::{put, put_signed, take, take_signed, take_u32};

/// The windows of a roll-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    windows: Vec<Part>,
    /// Places in the roll-up, one window's after the other's, sorted within each.
    ranks: Vec<u32>,
    counts: Vec<u64>,
}

/// One window of a [`Split`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    window: i64,
    entries: u32,
}

impl Split {
    /// Adds a window, after all others.
    pub(super) fn push(&mut self, window: i64, ranks: &[u32], counts: &[u64]) {
        self.windows.push(Part { window, entries: ranks.len() as u32 });
        self.ranks.extend_from_slice(ranks);
        self.counts.extend_from_slice(counts);
    }

    /// Each window's id, with its places and samples.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (i64, &[u32], &[u64])> {
        let mut at = 0;
        self.windows.iter().map(move |part| {
            let span = at..at + part.entries as usize;
            at = span.end;
            (part.window, &self.ranks[span.clone()], &self.counts[span])
        })
    }

    /// The same windows in a roll-up that has grown: `places` says where its entries are now.
    pub(super) fn moved(mut self, places: &[u32]) -> Self {
        self.ranks.iter_mut().for_each(|rank| *rank = places[*rank as usize]);
        self
    }

    /// The profile of one window of `whole`.
    pub(super) fn profile(whole: &Profile, ranks: &[u32], counts: &[u64]) -> Profile {
        let mut profile = Profile::default();
        let mut spans = whole.spans();
        let Some(mut place) = spans.next() else { return profile };
        for (rank, count) in ranks.iter().zip(counts) {
            while *rank as usize >= place.1.end {
                let Some(next) = spans.next() else { return profile };
                place = next;
            }
            profile.push(place.0.key, whole.stacks[*rank as usize], *count);
        }
        profile
    }

    /// The blob.
    #[must_use]
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut columns = [const { Vec::new() }; 3];
        let mut before = 0;
        for (window, ranks, counts) in self.windows() {
            put_signed(&mut columns[0], window - before);
            put(&mut columns[0], ranks.len() as u64);
            before = window;
            let mut next = 0;
            for rank in ranks {
                put(&mut columns[1], u64::from(rank - next));
                next = rank + 1;
            }
            counts.iter().for_each(|count| put(&mut columns[2], count - 1));
        }
        columns::pack(&columns, Effort::Much)
    }

    /// From the blob of a roll-up with so many entries.
    pub(super) fn decode(blob: &[u8], entries: usize) -> Result<Self, BadBlob> {
        let columns = columns::unpack::<3>(blob)?;
        let [mut windows, mut gaps, mut counts] = columns.each_ref().map(|column| &column[..]);
        let mut split = Self {
            windows: Vec::new(),
            ranks: Vec::with_capacity(gaps.len()),
            counts: Vec::with_capacity(counts.len()),
        };
        let mut window = 0_i64;
        while !windows.is_empty() {
            window = window.checked_add(take_signed(&mut windows)?).ok_or(BadBlob("window out of range"))?;
            let part = Part { window, entries: take_u32(&mut windows)? };
            split.windows.push(part);
            let mut next = 0_usize;
            for _ in 0..part.entries {
                let rank = next.saturating_add(take_u32(&mut gaps)? as usize);
                if rank >= entries {
                    return Err(BadBlob("a window's entry is not in the roll-up"));
                }
                split.ranks.push(rank as u32);
                split.counts.push(take(&mut counts)?.checked_add(1).ok_or(BadBlob("number too large"))?);
                next = rank + 1;
            }
        }
        if gaps.is_empty() && counts.is_empty() { Ok(split) } else { Err(BadBlob("columns of different lengths")) }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::codec::tests::entries;
    use super::super::merge::{merge, ranks};
    use super::*;

    fn split(parts: &[Profile], whole: &Profile) -> Split {
        let mut split = Split::default();
        for (n, part) in (0..).zip(parts) {
            split.push(n * 3 + 1, &ranks(part, whole), &part.counts);
        }
        split
    }

    proptest! {
        /// Each window comes out of the roll-up as it went in, also after the roll-up has grown.
        #[test]
        fn windows_come_out_as_they_went_in(parts in vec(entries(), 0..5), late in entries()) {
            let mut parts: Vec<_> = parts.into_iter().map(Profile::from_entries).collect();
            let whole = merge(&parts);
            let decoded = Split::decode(&split(&parts, &whole).encode(), whole.stacks.len()).unwrap();
            prop_assert_eq!(&decoded, &split(&parts, &whole));
            let late = Profile::from_entries(late);
            let grown = merge(&[whole.clone(), late.clone()]);
            let mut moved = decoded.moved(&ranks(&whole, &grown));
            moved.push(parts.len() as i64 * 3 + 1, &ranks(&late, &grown), &late.counts);
            parts.push(late);
            prop_assert_eq!(&moved, &split(&parts, &grown));
            for (part, (n, (window, ranks, counts))) in parts.iter().zip((0..).zip(moved.windows())) {
                prop_assert_eq!(window, n * 3 + 1);
                prop_assert_eq!(&Split::profile(&grown, ranks, counts), part);
            }
        }

        /// Any bytes in the columns end in windows or an error.
        #[test]
        fn hostile_bytes_are_an_error_at_worst(columns in proptest::array::uniform3(vec(prop_oneof![0..4_u8, any::<u8>()], 0..40))) {
            let _ = Split::decode(&columns::pack(&columns, Effort::Little), 5);
        }
    }
}
