//! Which of a roll-up's samples belong to which of its parts: windows of five minutes, five minutes of an hour. Pure.
//!
//! The roll-up says whose, which stacks and how many in all. What is left to say is where in its time they were: the time is
//! halved, and halved again, and each time it is written how many of each entry's samples were in the first half
//! ([`super::halves`]). That is what it takes and no more: half the bytes of parts kept as lists of entries and numbers.
//!
//! ```text
//! version=3   number of parts   { id - the one before } *   { bytes   a division, the whole first, then its first half.. } *   check
//! ```
//!
//! Each division is coded by itself, so some parts that lie side by side, as a question wants them, are added up by reading as
//! many divisions as there are halvings. Version 2 listed the places of each window's entries in the roll-up; it is still read.
//!
//! Invariant: the parts add up to the roll-up, whatever the bytes say.

use super::codec::{BadBlob, Group, Profile};
use super::columns;
use super::halves::{Halves, Sides};
use super::range_coder::{Reader, Writer};
use super::varint::{put, put_signed, take, take_signed, take_u32};

const VERSION: u8 = 3;
/// The version that listed windows.
const LISTS: u8 = 2;
/// More parts than there can be: windows of a tenth of a second.
const MOST_PARTS: usize = 3_000;

/// Some samples of some entries: places in the roll-up, sorted, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) places: Vec<u32>,
    pub(super) counts: Vec<u64>,
}

/// The divisions of a roll-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    parts: Vec<i64>,
    /// One less than parts.
    divisions: Vec<Vec<u8>>,
}

impl Share {
    fn with_capacity(entries: usize) -> Self {
        Self { places: Vec::with_capacity(entries), counts: Vec::with_capacity(entries) }
    }
}

impl Split {
    /// Of a roll-up into parts: ids with their shares, in order of time. Without parts nothing is said about it.
    pub(super) fn new(whole: &Profile, parts: Vec<(i64, Share)>) -> Result<Self, BadBlob> {
        let (ids, mut shares): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let mut split = Self { divisions: vec![Vec::new(); ids.len().saturating_sub(1)], parts: ids };
        if shares.is_empty() {
            return Ok(split);
        }
        let sum = split.divide(&whole.groups, &mut shares, 0);
        // A reader knows the sum from the roll-up.
        let as_whole = sum.counts == whole.counts && sum.places.iter().copied().eq(0..whole.stacks.len() as u32);
        if as_whole { Ok(split) } else { Err(BadBlob("parts do not add up to their roll-up")) }
    }

    /// Writes the division of some parts, the `at`th one, and those below; gives their sum.
    fn divide(&mut self, groups: &[Group], shares: &mut [Share], at: usize) -> Share {
        if let [share] = shares {
            return std::mem::take(share);
        }
        let parts = shares.len();
        let (first, second) = shares.split_at_mut(parts / 2);
        let second_at = at + first.len();
        let (first, second) = (self.divide(groups, first, at + 1), self.divide(groups, second, second_at));
        let mut whole = Share::default();
        let (mut writer, mut halves) = (Writer::new(), Halves::new(parts as u32 / 2, parts as u32));
        let mut sides = SidesOf::new(groups);
        let (mut a, mut b) = (0, 0);
        loop {
            let (in_first, in_second) = (first.places.get(a), second.places.get(b));
            let Some(&place) = [in_first, in_second].into_iter().flatten().min() else { break };
            let count = |share: &Share, at: &mut usize, here: bool| {
                let n = if here { share.counts[*at] } else { 0 };
                *at += usize::from(here);
                n
            };
            let (here, there) = (in_first == Some(&place), in_second == Some(&place));
            let n = count(&first, &mut a, here);
            let all = n.saturating_add(count(&second, &mut b, there));
            halves.code(&mut writer, sides.at(place), all, n);
            whole.places.push(place);
            whole.counts.push(all);
        }
        self.divisions[at] = writer.finish();
        whole
    }

    /// All parts, with their shares of `whole`.
    pub(super) fn shares(&self, whole: &Profile) -> Vec<(i64, Share)> {
        let sets: Vec<_> = (0..self.parts.len()).map(Some).collect();
        let mut shares = Vec::with_capacity(sets.len());
        self.walk(whole, &sets, |set, share| shares.push((self.parts[set], share)));
        shares
    }

    /// The sum of each set of parts of `whole`; no part is in two.
    pub(super) fn sums(&self, whole: &Profile, sets: &[Vec<i64>]) -> Vec<Profile> {
        let set_of = |id: &i64| sets.iter().position(|set| set.contains(id));
        let set_of: Vec<_> = self.parts.iter().map(set_of).collect();
        let mut sums = vec![vec![0; whole.stacks.len()]; sets.len()];
        self.walk(whole, &set_of, |set, share| {
            let sums = &mut sums[set];
            share.places.iter().zip(&share.counts).for_each(|(place, n)| sums[*place as usize] += n);
        });
        sums.iter().map(|sums| whole.with_counts(sums)).collect()
    }

    /// Is this a part.
    pub(super) fn has(&self, id: i64) -> bool {
        self.parts.contains(&id)
    }

    /// Hands out the shares of sets of parts; of a set whose parts lie side by side as few as there can be.
    fn walk(&self, whole: &Profile, sets: &[Option<usize>], take: impl FnMut(usize, Share)) {
        let share = Share { places: (0..whole.stacks.len() as u32).collect(), counts: whole.counts.clone() };
        if !sets.is_empty() {
            Walk { divisions: &self.divisions, groups: &whole.groups, take }.descend(0, sets, share);
        }
    }

    /// The blob.
    #[must_use]
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut blob = vec![VERSION];
        put(&mut blob, self.parts.len() as u64);
        let mut before = 0;
        for id in &self.parts {
            put_signed(&mut blob, id.wrapping_sub(before));
            before = *id;
        }
        for division in &self.divisions {
            put(&mut blob, division.len() as u64);
            blob.extend_from_slice(division);
        }
        columns::seal(&mut blob);
        blob
    }

    /// From the blob of a roll-up.
    pub(super) fn decode(blob: &[u8], whole: &Profile) -> Result<Self, BadBlob> {
        if blob.first() == Some(&LISTS) {
            return lists(blob, whole);
        }
        let mut rest = columns::unseal(blob, VERSION)?;
        let many = |n: u64| usize::try_from(n).ok().filter(|n| *n <= MOST_PARTS).ok_or(BadBlob("too many parts"));
        let mut split = Self::default();
        let mut id = 0_i64;
        for _ in 0..many(take(&mut rest)?)? {
            id = id.wrapping_add(take_signed(&mut rest)?);
            split.parts.push(id);
        }
        for _ in 1..split.parts.len() {
            let length = take_u32(&mut rest)? as usize;
            let (division, tail) = rest.split_at_checked(length).ok_or(BadBlob("cut short"))?;
            split.divisions.push(division.to_vec());
            rest = tail;
        }
        if rest.is_empty() { Ok(split) } else { Err(BadBlob("more divisions than there should be")) }
    }
}

/// From the whole down to what is wanted.
struct Walk<'a, T> {
    divisions: &'a [Vec<u8>],
    groups: &'a [Group],
    take: T,
}

impl<T: FnMut(usize, Share)> Walk<'_, T> {
    /// `share` is that of parts that are in these sets, or in none; they are divided by the `at`th division.
    fn descend(&mut self, at: usize, sets: &[Option<usize>], share: Share) {
        let [first_set, rest @ ..] = sets else { return };
        if rest.iter().all(|set| set == first_set) {
            return first_set.map_or((), |set| (self.take)(set, share));
        }
        let (in_first, in_second) = sets.split_at(sets.len() / 2);
        let wanted = [in_first, in_second].map(|sets| sets.iter().any(Option::is_some));
        let mut halves = Halves::new(in_first.len() as u32, sets.len() as u32);
        let (mut reader, mut sides) = (Reader::new(&self.divisions[at]), SidesOf::new(self.groups));
        let mut shares = wanted.map(|wanted| Share::with_capacity(if wanted { share.places.len() } else { 0 }));
        for (place, all) in share.places.into_iter().zip(share.counts) {
            let n = halves.code(&mut reader, sides.at(place), all, 0);
            for (nth, n) in [n, all - n].into_iter().enumerate() {
                if wanted[nth] && n > 0 {
                    shares[nth].places.push(place);
                    shares[nth].counts.push(n);
                }
            }
        }
        let [first, second] = shares;
        if wanted[0] {
            self.descend(at + 1, in_first, first);
        }
        if wanted[1] {
            self.descend(at + in_first.len(), in_second, second);
        }
    }
}

/// The sides that the group of a place has been on; places come in order.
struct SidesOf<'a> {
    groups: std::slice::Iter<'a, Group>,
    end: u32,
    sides: Sides,
}

impl<'a> SidesOf<'a> {
    fn new(groups: &'a [Group]) -> Self {
        Self { groups: groups.iter(), end: 0, sides: Sides::default() }
    }

    #[inline]
    fn at(&mut self, place: u32) -> &mut Sides {
        while place >= self.end
            && let Some(group) = self.groups.next()
        {
            self.end = self.end.saturating_add(group.entries);
            self.sides = Sides::default();
        }
        &mut self.sides
    }
}

/// Version 2: columns of window id - the one before, entries of each window | place - the one before | samples - 1.
fn lists(blob: &[u8], whole: &Profile) -> Result<Split, BadBlob> {
    let columns = columns::unpack::<3>(blob)?;
    let [mut windows, mut gaps, mut counts] = columns.each_ref().map(|column| &column[..]);
    let mut parts = Vec::new();
    let mut window = 0_i64;
    while !windows.is_empty() {
        window = window.checked_add(take_signed(&mut windows)?).ok_or(BadBlob("window out of range"))?;
        let (mut share, mut next) = (Share::default(), 0_usize);
        for _ in 0..take_u32(&mut windows)? {
            let place = next.saturating_add(take_u32(&mut gaps)? as usize);
            if place >= whole.stacks.len() {
                return Err(BadBlob("a window's entry is not in the roll-up"));
            }
            share.places.push(place as u32);
            share.counts.push(take(&mut counts)?.saturating_add(1));
            next = place + 1;
        }
        parts.push((window, share));
    }
    if !gaps.is_empty() || !counts.is_empty() {
        return Err(BadBlob("columns of different lengths"));
    }
    Split::new(whole, parts)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::codec::tests::entries;
    use super::super::columns::Effort;
    use super::super::merge::{merge, places};
    use super::*;

    fn share(part: &Profile, whole: &Profile) -> Share {
        Share { places: places(part, whole), counts: part.counts.clone() }
    }

    fn split(parts: &[Profile], whole: &Profile) -> Split {
        Split::new(whole, (0..).zip(parts).map(|(n, part)| (n * 3 + 1, share(part, whole))).collect()).unwrap()
    }

    proptest! {
        /// Each part comes out of the roll-up as it went in, alone and in any sum.
        #[test]
        fn parts_come_out_as_they_went_in(parts in vec(entries(), 0..9), from in 0..9_i64, to in 0..9_i64) {
            let parts: Vec<_> = parts.into_iter().map(Profile::from_entries).collect();
            let whole = merge(&parts);
            let split = split(&parts, &whole);
            prop_assert_eq!(&Split::decode(&split.encode(), &whole).unwrap(), &split);
            let shares = split.shares(&whole);
            prop_assert_eq!(shares.len(), parts.len());
            for (n, part) in (0..).zip(&parts) {
                prop_assert_eq!(&shares[n as usize], &(n * 3 + 1, share(part, &whole)));
                prop_assert_eq!(&split.sums(&whole, &[vec![n * 3 + 1]])[0], part);
            }
            let sets = [from.min(to)..from.max(to), from.max(to)..9];
            let ids = sets.clone().map(|set| set.filter(|n| *n < parts.len() as i64).map(|n| n * 3 + 1).collect());
            for (set, sum) in sets.into_iter().zip(split.sums(&whole, &ids)) {
                let some = (0..).zip(&parts).filter(|(n, _)| set.contains(n)).map(|(_, part)| part.clone());
                prop_assert_eq!(sum, merge(&some.collect::<Vec<_>>()));
            }
        }

        /// Lists of the version before come out as they went in.
        #[test]
        fn lists_are_still_read(parts in vec(entries(), 0..5)) {
            let parts: Vec<_> = parts.into_iter().map(Profile::from_entries).collect();
            let whole = merge(&parts);
            let mut columns = [const { Vec::new() }; 3];
            for part in &parts {
                put_signed(&mut columns[0], 7);
                put(&mut columns[0], part.stacks.len() as u64);
                let mut next = 0;
                for place in places(part, &whole) {
                    put(&mut columns[1], u64::from(place - next));
                    next = place + 1;
                }
                part.counts.iter().for_each(|n| put(&mut columns[2], n - 1));
            }
            let split = Split::decode(&columns::pack_v2(&columns), &whole).unwrap();
            for (n, part) in (1..).zip(&parts) {
                prop_assert_eq!(&split.sums(&whole, &[vec![n * 7]])[0], part);
            }
        }

        /// Any bytes are parts that add up, or an error.
        #[test]
        fn hostile_bytes_are_an_error_at_worst(bytes in vec(prop_oneof![0..4_u8, any::<u8>()], 0..60), whole in entries(),
                                               columns in proptest::array::uniform3(vec(prop_oneof![0..4_u8, any::<u8>()], 0..40))) {
            let whole = Profile::from_entries(whole);
            let mut blob = vec![VERSION];
            blob.extend(bytes);
            columns::seal(&mut blob);
            for blob in [blob, columns::pack(&columns, Effort::Little), columns::pack_v2(&columns)] {
                let Ok(split) = Split::decode(&blob, &whole) else { continue };
                let samples = split.shares(&whole).iter().flat_map(|(_, share)| &share.counts).sum::<u64>();
                prop_assert_eq!(samples, if split.parts.is_empty() { 0 } else { whole.samples() });
            }
        }
    }
}
