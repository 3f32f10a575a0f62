//! Bits with known odds, written in as little space as the odds allow: an adaptive binary range coder. Pure.
//!
//! The way of LZMA's (Martin 1979; Igor Pavlov's `lzma-specification.txt`): a range is divided by the odds of each bit. Odds are
//! 15 bits and move towards what was seen. What is written ends with its last byte that is not 0: past the end there are zeros.
//!
//! [`Coder`] is both sides, so that one function says what is written and what is read. Invariant: integers only, so every
//! machine reads what another one wrote; any bytes are bits, never an error.

/// Odds are of so many.
const WHOLE: u32 = 1 << 15;
/// Below this, a byte is shifted out.
const NARROW: u32 = 1 << 24;

/// The odds that a bit is 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Odds(u16);

impl Odds {
    /// Nothing is certain: the bit that nobody expected costs 8 bits.
    pub(super) fn of(share: f64) -> Self {
        let odds = (share * f64::from(WHOLE)) as u32;
        Self(odds.clamp(WHOLE >> 8, WHOLE - (WHOLE >> 8)) as u16)
    }

    /// Moves by a part of `1 / 2^rate` towards what was seen.
    #[inline]
    fn see(&mut self, bit: bool, rate: u32) {
        self.see_masked(u16::from(bit).wrapping_neg(), rate);
    }

    /// The same; all bits of the mask are the bit.
    #[inline]
    fn see_masked(&mut self, mask: u16, rate: u32) {
        let (less, more) = (self.0 >> rate, (WHOLE as u16 - self.0) >> rate);
        self.0 = self.0 + (more & !mask) - (less & mask);
    }
}

/// A side: [`Writer`] writes the bits it is given, [`Reader`] takes no notice of them. Both return what is in the bytes.
pub(super) trait Coder {
    /// A bit with odds, which learn from it at `rate`.
    fn bit(&mut self, odds: &mut Odds, rate: u32, bit: bool) -> bool;

    /// So many bits of a number that could be anything.
    fn raw(&mut self, bits: u32, number: u64) -> u64 {
        (0..bits).rev().fold(0, |read, at| {
            let bit = self.bit(&mut Odds(WHOLE as u16 / 2), 15, number >> at & 1 == 1);
            read << 1 | u64::from(bit)
        })
    }
}

/// Writes.
#[derive(Debug)]
pub(super) struct Writer {
    low: u64,
    range: u32,
    /// The byte that a carry may still reach, and how many 0xff follow it.
    waiting: u8,
    full: usize,
    bytes: Vec<u8>,
}

impl Writer {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { low: 0, range: u32::MAX, waiting: 0, full: 0, bytes: Vec::new() }
    }

    fn shift(&mut self) {
        if self.low < 0xff00_0000 || self.low > u64::from(u32::MAX) {
            let carry = (self.low >> 32) as u8;
            self.bytes.push(self.waiting.wrapping_add(carry));
            self.bytes.extend(std::iter::repeat_n(0xff_u8.wrapping_add(carry), self.full));
            (self.full, self.waiting) = (0, (self.low >> 24) as u8);
        } else {
            self.full += 1;
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    /// The bytes: of all numbers in the last range, the one that ends with most zeros.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let end = self.low + u64::from(self.range);
        let round = |bits: u32| (self.low + (1 << bits) - 1) >> bits << bits;
        self.low = [24, 16, 8].map(round).into_iter().find(|low| *low < end).unwrap_or(self.low);
        (0..5).for_each(|_| self.shift());
        let length = self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.bytes.truncate(length);
        // The first byte was waiting before there was anything: it is always 0.
        self.bytes.drain(..1.min(length));
        self.bytes
    }
}

impl Coder for Writer {
    fn bit(&mut self, odds: &mut Odds, rate: u32, bit: bool) -> bool {
        let bound = (self.range >> 15) * u32::from(odds.0);
        if bit {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        odds.see(bit, rate);
        while self.range < NARROW {
            self.range <<= 8;
            self.shift();
        }
        bit
    }
}

/// Reads.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    code: u32,
    range: u32,
    rest: std::slice::Iter<'a, u8>,
}

impl<'a> Reader<'a> {
    /// From what a [`Writer`] wrote.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut reader = Self { code: 0, range: u32::MAX, rest: bytes.iter() };
        (0..4).for_each(|_| reader.take());
        reader
    }

    #[inline]
    fn take(&mut self) {
        self.code = self.code << 8 | u32::from(self.rest.next().copied().unwrap_or(0));
    }
}

impl Coder for Reader<'_> {
    #[inline]
    fn bit(&mut self, odds: &mut Odds, rate: u32, _: bool) -> bool {
        let bound = (self.range >> 15) * u32::from(odds.0);
        let bit = self.code >= bound;
        // A bit worth its space cannot be foreseen: masks instead of branches, which would be wrong half of the time.
        let mask = u32::from(bit).wrapping_neg();
        self.code -= bound & mask;
        self.range = bound ^ ((bound ^ (self.range - bound)) & mask);
        odds.see_masked(mask as u16, rate);
        while self.range < NARROW {
            self.range <<= 8;
            self.take();
        }
        bit
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What was written is read, with odds that learn and numbers that have none; also where a carry runs through.
        #[test]
        fn bits_round_trip(bits in vec((0..3_usize, prop::bool::weighted(0.9)), 0..400), raw in vec((0..64_u32, any::<u64>()), 0..9),
                           share in 0.0..1.0_f64) {
            let write = |coder: &mut dyn FnMut(usize, bool, Option<(u32, u64)>) -> u64| -> Vec<u64> {
                let bits = bits.iter().map(|(at, bit)| (*at, *bit, None));
                let raw = raw.iter().map(|raw| (0, false, Some(*raw)));
                bits.chain(raw).map(|(at, bit, raw)| coder(at, bit, raw)).collect()
            };
            let mut writer = Writer::new();
            let mut odds = [Odds::of(share); 3];
            let written = write(&mut |at, bit, raw| match raw {
                Some((bits, number)) => writer.raw(bits, number & ((1 << bits) - 1)),
                None => u64::from(writer.bit(&mut odds[at], 4, bit)),
            });
            let bytes = writer.finish();
            prop_assert!(bytes.last() != Some(&0));
            let mut reader = Reader::new(&bytes);
            let mut odds = [Odds::of(share); 3];
            let read = write(&mut |at, _, raw| match raw {
                Some((bits, _)) => reader.raw(bits, 0),
                None => u64::from(reader.bit(&mut odds[at], 4, false)),
            });
            prop_assert_eq!(read, written);
        }
    }

    /// A thousand bits that are expected take a few bytes; a thousand that could be anything take a thousand bits.
    #[test]
    fn space_follows_the_odds() {
        let size = |bit: fn(u32) -> bool| {
            let (mut writer, mut odds) = (Writer::new(), Odds::of(0.5));
            (0..1000).for_each(|n| {
                writer.bit(&mut odds, 6, bit(n));
            });
            writer.finish().len()
        };
        assert!(size(|_| false) < 20, "{}", size(|_| false));
        let noise = size(|n| n.wrapping_mul(0x9e37_79b9).count_ones() % 2 == 0);
        assert!((120..140).contains(&noise), "{noise}");
    }
}
