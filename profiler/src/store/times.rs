//! When each sample of a window was taken, to 10 ms, in the order of the window's entries. Pure.
//!
//! ```text
//! columns: low byte of each tick - the one before in its entry | what is above it
//! ```
//!
//! Who and which stack is said by the window's entries already, which also say how many ticks belong to each: only the time is new.
//! A tick is 10 ms, about as long as a sampling period at 97 Hz; in a window of ten seconds it has ten bits, fewer where an entry
//! has many samples, because they are sorted. The low bytes are nearly noise: they are kept apart from the rest, which packs.
//!
//! Invariant: as many ticks as the entries have samples, sorted within each entry.

use super::codec::BadBlob;
use super::columns::{self, Effort};
use super::varint::{put, take};

/// Nanoseconds of a tick.
pub(crate) const TICK: u64 = 10_000_000;

/// Ticks a window may have: more than a day.
const MOST: u32 = 1 << 24;

/// The blob of a window's times: `ticks` of all entries one after the other, as many of each as `counts` says. Sorts them.
#[must_use]
pub(super) fn encode(counts: &[u64], ticks: &mut [u32]) -> Vec<u8> {
    let (mut low, mut high) = (Vec::with_capacity(ticks.len()), Vec::with_capacity(ticks.len()));
    let mut rest = ticks;
    for count in counts {
        let (entry, tail) = rest.split_at_mut(*count as usize);
        rest = tail;
        entry.sort_unstable();
        let mut before = 0;
        for tick in entry.iter().map(|tick| (*tick).min(MOST)) {
            low.push((tick - before) as u8);
            put(&mut high, u64::from((tick - before) >> 8));
            before = tick;
        }
    }
    columns::pack(&[low, high], Effort::Much)
}

/// Every tick of every entry, with the entry's index.
pub(super) fn decode(blob: &[u8], counts: &[u64], mut each: impl FnMut(usize, u32)) -> Result<(), BadBlob> {
    let columns = columns::unpack::<2>(blob)?;
    let [mut low, mut high] = columns.each_ref().map(|column| &column[..]);
    for (entry, count) in counts.iter().enumerate() {
        let mut tick = 0_u64;
        for _ in 0..*count {
            let (byte, tail) = low.split_first().ok_or(BadBlob("fewer times than samples"))?;
            low = tail;
            tick = take(&mut high)?
                .checked_mul(256)
                .and_then(|high| tick.checked_add(high + u64::from(*byte)))
                .unwrap_or(u64::MAX);
            each(
                entry,
                u32::try_from(tick).ok().filter(|tick| *tick <= MOST).ok_or(BadBlob("a time after its window"))?,
            );
        }
    }
    if low.is_empty() && high.is_empty() { Ok(()) } else { Err(BadBlob("more times than samples")) }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Times come back sorted, each with its entry.
        #[test]
        fn times_round_trip(entries in vec(vec(prop_oneof![0..1000_u32, 0..MOST], 1..20), 0..20)) {
            let counts: Vec<u64> = entries.iter().map(|entry| entry.len() as u64).collect();
            let mut ticks: Vec<u32> = entries.iter().flatten().copied().collect();
            let blob = encode(&counts, &mut ticks);
            let mut found = vec![Vec::new(); entries.len()];
            decode(&blob, &counts, |entry, tick| found[entry].push(tick)).expect("what was encoded");
            let sorted: Vec<Vec<u32>> = entries.into_iter().map(|mut entry| { entry.sort_unstable(); entry }).collect();
            prop_assert_eq!(found, sorted);
        }

        /// Any bytes are times or an error, and no more of them than samples.
        #[test]
        fn hostile_bytes_are_an_error_at_worst(low in vec(any::<u8>(), 0..40), high in vec(any::<u8>(), 0..60), counts in vec(1..5_u64, 0..9)) {
            let mut found = 0;
            let _ = decode(&columns::pack(&[low, high], Effort::Little), &counts, |_, _| found += 1);
            prop_assert!(found <= counts.iter().sum::<u64>());
        }
    }
}
