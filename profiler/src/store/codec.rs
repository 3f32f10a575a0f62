//! The blob of one process in one window: (thread, stack, end, samples), packed.
//!
//! Pure: bytes in, entries out. Entries are grouped by (thread, end) and sorted by stack, so that most numbers are small
//! differences. All numbers are LEB128 varints:
//!
//! ```text
//! version=1  { thread - previous thread   end   n   { stack - previous stack   samples } * n } *
//!
//! thread 7: stack 3 x 10, stack 9 x 1, complete  ->  01  07 00 02  03 0a  06 01
//! ```
//!
//! Invariant: what [`encode`] writes, [`decode`] reads back as the same sorted entries; other bytes are an error, never a
//! panic, and decoding allocates nothing.

use crate::profile::StackEnd;

/// The first byte. Goes up when the layout changes; old versions stay readable.
const VERSION: u8 = 1;

/// Row number of a stack's leaf node; 0 is the empty stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(pub u32);

/// Row number of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub u32);

/// Equal stacks of one thread. The order of the fields is the order in the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The thread.
    pub thread: ThreadId,
    /// How the walk of the user stack ended.
    pub end: StackEnd,
    /// The stack.
    pub stack: StackId,
    /// Samples, never 0.
    pub count: u64,
}

/// What is wrong with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("profile blob: {0}")]
pub struct BadBlob(pub &'static str);

/// Packs entries, adding up equal ones and leaving out those without samples. Sorts `entries` on the way.
#[must_use]
pub fn encode(entries: &mut Vec<Entry>) -> Vec<u8> {
    entries.sort_unstable();
    entries.retain(|entry| entry.count > 0);
    entries.dedup_by(|next, kept| {
        let same = (next.thread, next.end, next.stack) == (kept.thread, kept.end, kept.stack);
        if same {
            kept.count = kept.count.saturating_add(next.count);
        }
        same
    });
    // 4 bytes an entry is the measured order of size; the Vec grows if it is more.
    let mut blob = Vec::with_capacity(1 + 4 * entries.len());
    blob.push(VERSION);
    let mut thread = 0;
    for group in entries.chunk_by(|a, b| (a.thread, a.end) == (b.thread, b.end)) {
        put(&mut blob, u64::from(group[0].thread.0 - thread));
        put(&mut blob, u64::from(group[0].end as u32));
        put(&mut blob, group.len() as u64);
        thread = group[0].thread.0;
        let mut stack = 0;
        for entry in group {
            put(&mut blob, u64::from(entry.stack.0 - stack));
            put(&mut blob, entry.count);
            stack = entry.stack.0;
        }
    }
    blob
}

/// Unpacks a blob, entry by entry, in sorted order. After an error the iterator is at its end.
pub fn decode(blob: &[u8]) -> Decoder<'_> {
    let (rest, bad) = match blob.split_first() {
        Some((&VERSION, rest)) => (rest, None),
        Some(_) => (&[][..], Some(BadBlob("unknown version"))),
        None => (&[][..], Some(BadBlob("empty"))),
    };
    Decoder { rest, thread: 0, end: None, left: 0, stack: None, bad }
}

/// Iterator of [`decode`].
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    thread: u32,
    end: Option<StackEnd>,
    /// Entries left in the group.
    left: u64,
    /// The entry before in this group.
    stack: Option<u32>,
    bad: Option<BadBlob>,
}

impl Decoder<'_> {
    fn group(&mut self) -> Result<StackEnd, BadBlob> {
        let step = take(&mut self.rest)?;
        let thread = u32::try_from(step).ok().and_then(|step| self.thread.checked_add(step));
        let thread = thread.ok_or(BadBlob("thread out of range"))?;
        let end = u32::try_from(take(&mut self.rest)?).ok().and_then(StackEnd::from_u32);
        let end = end.ok_or(BadBlob("unknown stack end"))?;
        if step == 0 && self.end.is_some_and(|before| end <= before) {
            return Err(BadBlob("groups out of order"));
        }
        self.left = take(&mut self.rest)?;
        // An entry is at least two bytes: a count that cannot be true is found here, not at the end.
        if self.left == 0 || self.left > self.rest.len() as u64 / 2 {
            return Err(BadBlob("impossible number of entries"));
        }
        (self.thread, self.end, self.stack) = (thread, Some(end), None);
        Ok(end)
    }

    fn entry(&mut self) -> Result<Entry, BadBlob> {
        let end = match self.end {
            Some(end) if self.left > 0 => end,
            _ => self.group()?,
        };
        let step = u32::try_from(take(&mut self.rest)?).map_err(|_| BadBlob("stack out of range"))?;
        let stack = match self.stack {
            None => step,
            Some(_) if step == 0 => return Err(BadBlob("stacks out of order")),
            Some(before) => before.checked_add(step).ok_or(BadBlob("stack out of range"))?,
        };
        let count = take(&mut self.rest)?;
        if count == 0 {
            return Err(BadBlob("entry without samples"));
        }
        self.stack = Some(stack);
        self.left -= 1;
        Ok(Entry { thread: ThreadId(self.thread), end, stack: StackId(stack), count })
    }
}

impl Iterator for Decoder<'_> {
    type Item = Result<Entry, BadBlob>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(bad) = self.bad.take() {
            return Some(Err(bad));
        }
        if self.left == 0 && self.rest.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            (self.rest, self.left) = (&[], 0);
        }
        Some(entry)
    }
}

fn put(blob: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        blob.push(n as u8 | 0x80);
        n >>= 7;
    }
    blob.push(n as u8);
}

fn take(rest: &mut &[u8]) -> Result<u64, BadBlob> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(BadBlob("cut short"))?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        n |= bits << shift;
        if byte < 0x80 {
            return Ok(n);
        }
    }
    Err(BadBlob("number too large"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn entry(thread: u32, end: StackEnd, stack: u32, count: u64) -> Entry {
        Entry { thread: ThreadId(thread), end, stack: StackId(stack), count }
    }

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let ids = prop_oneof![0..20_u32, any::<u32>()];
        let one = (ids.clone(), 0..10_usize, ids, prop_oneof![0..5_u64, any::<u64>()])
            .prop_map(|(thread, end, stack, count)| entry(thread, StackEnd::ALL[end], stack, count));
        vec(one, 0..60)
    }

    /// The layout in the file's header is the real one; it is on disk, so it may not drift.
    #[test]
    fn the_documented_example_is_the_layout() {
        let mut list = vec![
            entry(7, StackEnd::Complete, 9, 1),
            entry(7, StackEnd::Complete, 3, 4),
            entry(7, StackEnd::Complete, 3, 6),
        ];
        assert_eq!(encode(&mut list), [1, 7, 0, 2, 3, 10, 6, 1]);
    }

    /// A blob of another layout is refused by its first byte.
    #[test]
    fn an_unknown_version_is_an_error() {
        let found: Vec<_> = decode(&[2, 7, 0, 1, 3, 10]).collect();
        assert_eq!(found, [Err(BadBlob("unknown version"))]);
        assert_eq!(decode(&[]).collect::<Vec<_>>(), [Err(BadBlob("empty"))]);
    }

    /// Every way of being wrong has its own words, and ends the iteration.
    #[test]
    fn wrong_blobs_say_what_is_wrong() {
        for (blob, bad) in [
            (&[1, 7, 0][..], "cut short"),
            (&[1, 7, 99, 1, 3, 10], "unknown stack end"),
            (&[1, 7, 0, 0], "impossible number of entries"),
            (&[1, 7, 0, 200, 200, 1, 3, 10], "impossible number of entries"),
            (&[1, 7, 0, 1, 3, 0], "entry without samples"),
            (&[1, 7, 0, 2, 3, 1, 0, 1], "stacks out of order"),
            (&[1, 7, 0, 1, 3, 1, 0, 0, 1, 3, 1], "groups out of order"),
            (&[1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2, 0, 1, 3, 1], "number too large"),
            (&[1, 255, 255, 255, 255, 31, 0, 1, 3, 1], "thread out of range"),
        ] {
            assert_eq!(decode(blob).last().unwrap(), Err(BadBlob(bad)), "{blob:?}");
        }
    }

    proptest! {
        /// Decoding gives back the sorted sums of what was encoded, and nothing else.
        #[test]
        fn blobs_round_trip(list in entries()) {
            let mut sums = std::collections::BTreeMap::<_, u64>::new();
            for e in list.iter().filter(|e| e.count > 0) {
                let sum = sums.entry((e.thread, e.end, e.stack)).or_default();
                *sum = sum.saturating_add(e.count);
            }
            let want: Vec<_> =
                sums.into_iter().map(|((thread, end, stack), count)| Entry { thread, end, stack, count }).collect();
            let blob = encode(&mut list.clone());
            let got: Vec<_> = decode(&blob).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(got, want);
        }

        /// Arbitrary bytes end in entries or one error: at most one entry per two bytes, no panic.
        #[test]
        fn hostile_bytes_are_an_error_at_worst(mut blob in vec(prop_oneof![0..4_u8, any::<u8>()], 0..200), tag in any::<bool>()) {
            if tag {
                blob.insert(0, VERSION);
            }
            let found: Vec<_> = decode(&blob).collect();
            prop_assert!(found.len() <= 1 + blob.len() / 2);
            prop_assert!(found.iter().rev().skip(1).all(Result::is_ok));
        }

        /// One wrong byte never makes the decoder panic or run away.
        #[test]
        fn a_flipped_byte_is_survived(list in entries(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut blob = encode(&mut list.clone());
            let at = at.index(blob.len());
            blob[at] = to;
            prop_assert!(decode(&blob).count() <= 1 + blob.len() / 2);
        }
    }
}
