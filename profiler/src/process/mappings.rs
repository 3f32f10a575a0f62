//! The executable ranges of one address space, in order.
//!
//! A pure interval map: what is mapped later covers what was there before, as in the kernel, which tells of new
//! mappings but not of `munmap`. Invariant: ranges are sorted, disjoint, not empty, and neighbours which continue each
//! other are one range. Generic over what backs a range, so that tests can use a letter; only [`Mappings::has_file`] asks what it is.

use super::backing::BackingRef;

/// Most ranges of one address space; what comes on top is refused. Linux allows 65,530 mappings, real programs have tens
/// of executable ones, and a hostile one must not make the others pay.
pub(super) const MAX_RANGES: usize = 4096;

/// One executable range.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mapping<B> {
    /// First address.
    pub start: u64,
    /// First address after.
    pub end: u64,
    /// Offset in the backing file of `start`; for memory without a file, `start` itself.
    pub offset: u64,
    /// What is mapped.
    pub backing: B,
}

impl<B> Mapping<B> {
    /// Offset in the backing of an address inside the range. Wraps, as hostile offsets may be anything.
    pub fn offset_of(&self, address: u64) -> u64 {
        address.wrapping_sub(self.start).wrapping_add(self.offset)
    }
}

/// All executable ranges of an address space.
#[derive(Clone, Debug)]
pub(super) struct Mappings<B> {
    ranges: Vec<Mapping<B>>,
}

impl<B> Default for Mappings<B> {
    fn default() -> Self {
        Self { ranges: Vec::new() }
    }
}

impl<B: Clone + PartialEq> Mappings<B> {
    /// The range around an address.
    pub fn find(&self, address: u64) -> Option<&Mapping<B>> {
        let at = self.ranges.partition_point(|range| range.end <= address);
        self.ranges.get(at).filter(|range| range.start <= address)
    }

    /// All ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping<B>> {
        self.ranges.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether nothing executable is known.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether this is mapped already, just so.
    pub fn has(&self, new: &Mapping<B>) -> bool {
        self.find(new.start).is_some_and(|range| {
            new.end <= range.end && range.backing == new.backing && range.offset_of(new.start) == new.offset
        })
    }

    /// Whether anything is mapped between two addresses.
    pub fn overlaps(&self, start: u64, end: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.end <= start);
        self.ranges.get(at).is_some_and(|range| range.start < end)
    }

    /// Makes a range empty, shortening or splitting what reaches into it.
    pub fn cut(&mut self, start: u64, end: u64) {
        self.replace(start, end, None);
    }

    /// Maps a range over whatever was there. Says no, leaving a hole there, when there are too many ranges.
    pub fn insert(&mut self, new: Mapping<B>) -> bool {
        if new.start >= new.end {
            return true;
        }
        let room = self.ranges.len() < MAX_RANGES;
        let (start, end) = (new.start, new.end);
        self.replace(start, end, room.then_some(new));
        room
    }

    fn replace(&mut self, start: u64, end: u64, new: Option<Mapping<B>>) {
        if start >= end {
            return;
        }
        let first = self.ranges.partition_point(|range| range.end <= start);
        let after = self.ranges.partition_point(|range| range.start < end);
        let overlapped = &self.ranges[first..after];
        let left = overlapped.first().filter(|range| range.start < start).map(|range| {
            let mut left = range.clone();
            left.end = start;
            left
        });
        let right = overlapped.last().filter(|range| range.end > end).map(|range| {
            let mut right = range.clone();
            right.offset = range.offset_of(end);
            right.start = end;
            right
        });
        let added = usize::from(left.is_some());
        let inserted = new.is_some();
        self.ranges.splice(first..after, left.into_iter().chain(new).chain(right));
        if inserted {
            let mut at = first + added;
            if at > 0 && self.join(at - 1) {
                at -= 1;
            }
            self.join(at);
        }
    }

    /// Joins a range with the one after it, if the one continues the other.
    fn join(&mut self, at: usize) -> bool {
        let [one, next, ..] = &self.ranges[at..] else { return false };
        if one.end != next.start || one.offset_of(one.end) != next.offset || one.backing != next.backing {
            return false;
        }
        let end = next.end;
        self.ranges.remove(at + 1);
        self.ranges[at].end = end;
        true
    }
}

impl Mappings<BackingRef> {
    /// Whether code of a file is mapped between two addresses.
    pub fn has_file(&self, start: u64, end: u64) -> bool {
        let first = self.ranges.partition_point(|range| range.end <= start);
        self.ranges[first..]
            .iter()
            .take_while(|range| range.start < end)
            .any(|range| range.backing.file_path().is_some())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Draws an address space: one letter a byte, `.` where nothing is mapped.
    fn draw(mappings: &Mappings<char>, width: u64) -> String {
        (0..width).map(|address| mappings.find(address).map_or('.', |range| range.backing)).collect()
    }

    fn map(mappings: &mut Mappings<char>, start: u64, end: u64, offset: u64, backing: char) {
        assert!(mappings.insert(Mapping { start, end, offset, backing }));
    }

    /// A new mapping covers the middle of an old one, whose right part keeps its place in the file.
    #[test]
    fn a_new_mapping_splits_the_old_one_below_it() {
        let mut space = Mappings::default();
        map(&mut space, 2, 12, 100, 'a');
        map(&mut space, 5, 8, 0, 'b');
        assert_eq!(draw(&space, 14), "..aaabbbaaaa..");
        assert_eq!(space.find(8).map(|range| range.offset_of(8)), Some(106));
        space.cut(0, 6);
        assert_eq!(draw(&space, 14), "......bbaaaa..");
        assert_eq!(space.find(6).map(|range| range.offset_of(6)), Some(1));
    }

    /// A JIT that grows its area piece by piece has one range, not thousands.
    #[test]
    fn neighbours_that_continue_each_other_become_one() {
        let mut space = Mappings::default();
        for piece in [0, 2, 1] {
            map(&mut space, piece * 10, piece * 10 + 10, piece * 10, 'j');
        }
        assert_eq!(space.ranges.len(), 1);
        map(&mut space, 30, 40, 0, 'j');
        assert_eq!(space.ranges.len(), 2, "same backing, but another place in it");
    }

    /// A process that maps without end is bounded, and keeps what it had.
    #[test]
    fn too_many_ranges_are_refused() {
        let mut space = Mappings::default();
        for n in 0..MAX_RANGES as u64 {
            map(&mut space, n * 4, n * 4 + 2, 0, 'a');
        }
        assert!(!space.insert(Mapping { start: u64::MAX - 9, end: u64::MAX, offset: 0, backing: 'b' }));
        assert_eq!(space.ranges.len(), MAX_RANGES);
        assert!(space.find(u64::MAX - 5).is_none());
    }

    proptest! {
        /// The interval map agrees with an array of bytes, each painted by the last mapping over it.
        #[test]
        fn it_agrees_with_a_painted_array(
            steps in proptest::collection::vec((0_u64..64, 0_u64..20, 0_u64..64, 0_u8..4), 0..40)
        ) {
            let mut space = Mappings::default();
            let mut painted = [None; 96];
            for (start, len, offset, what) in steps {
                let end = start + len;
                let backing = (what > 0).then(|| char::from(b'a' + what));
                match backing {
                    Some(backing) => {
                        space.insert(Mapping { start, end, offset, backing });
                    }
                    None => space.cut(start, end),
                }
                for address in start..end {
                    painted[address as usize] = backing.map(|backing| (backing, offset + address - start));
                }
            }
            for (address, expected) in painted.iter().enumerate() {
                let found = space.find(address as u64).map(|range| (range.backing, range.offset_of(address as u64)));
                prop_assert_eq!(found, *expected, "at {}", address);
            }
            for pair in space.ranges.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
            }
            prop_assert!(space.ranges.iter().all(|range| range.start < range.end));
        }
    }
}
