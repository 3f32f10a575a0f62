//! How many of a number of samples fell into the first half of a time: odds, and how they learn. Pure.
//!
//! If samples fell evenly, the number would be binomial; that is where the odds begin, so that nothing has to be learned of what
//! is even. Small numbers are written bit by bit, each with odds of its own; large ones as the distance from the middle in units
//! of an eighth of the spread or less. Processes that live for a part of the time have all their stacks in one half: once a group's stacks
//! were all on one side, it is asked first whether the next is too.
//!
//! Invariant: the number is at most what it is of, whatever the bytes say. Arithmetic is IEEE's four operations, so all machines
//! begin with the same odds.

use super::range_coder::{Coder, Odds};

/// Numbers up to this have odds for each value.
const SMALL: usize = 15;
/// Spreads told apart: by octave of the variance; larger ones are divided by a power of 4 to be one of the last two.
const SPREADS: usize = 6;
/// Values of a large number: 0 is "further away than these".
const STEPS: usize = 64;
/// How fast odds learn that begin well, and those that have to find out.
const SLOW: u32 = 7;
const QUICK: u32 = 4;

/// On which sides a group's samples were so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sides {
    /// Nothing seen yet.
    #[default]
    Unknown = 0,
    /// One stack, all in the first half.
    First = 1,
    /// More than one, all in the first half.
    OnlyFirst = 2,
    /// One stack, all in the second half.
    Second = 3,
    /// More than one, all in the second half.
    OnlySecond = 4,
    /// In both.
    Both = 5,
}

impl Sides {
    /// After `first` of `all` samples in the first half.
    fn after(self, first: u64, all: u64) -> Self {
        match (self, first == all, first == 0) {
            (Self::Unknown, true, _) => Self::First,
            (Self::Unknown, _, true) => Self::Second,
            (Self::First | Self::OnlyFirst, true, _) => Self::OnlyFirst,
            (Self::Second | Self::OnlySecond, _, true) => Self::OnlySecond,
            _ => Self::Both,
        }
    }
}

/// The odds of one division in two.
#[derive(Debug)]
pub(super) struct Halves {
    /// By what to multiply a number for the mean and the variance of its share, in 2^32ths: dividing takes longer than all the rest.
    mean: u64,
    variance: u64,
    /// Is all of it on one side, by [`Sides`] and the number.
    one_side: [[Odds; SMALL + 1]; 5],
    /// Is that the first side.
    side: Odds,
    small: [[Odds; SMALL + 1]; SMALL + 1],
    large: [[Odds; STEPS]; SPREADS],
}

impl Halves {
    /// For a first half of so many parts of all.
    pub(super) fn new(first: u32, parts: u32) -> Self {
        let share = f64::from(first) / f64::from(parts);
        let mut small = [[Odds::of(0.5); SMALL + 1]; SMALL + 1];
        for (n, odds) in small.iter_mut().enumerate().skip(1) {
            // Of n samples none, then one more each time.
            let mut chances = [0.0; SMALL + 1];
            chances[0] = (0..n).fold(1.0, |chance, _| chance * (1.0 - share));
            for k in 0..n {
                chances[k + 1] = chances[k] * (n - k) as f64 / (k + 1) as f64 * (share / (1.0 - share));
            }
            fill(odds, 1, &chances[..1 << width(n)]);
        }
        let mut large = [[Odds::of(0.5); STEPS]; SPREADS];
        for (spread, odds) in large.iter_mut().enumerate() {
            // A binomial of that variance around the middle.
            let half = 2.0 * 1.41 * f64::from(1_u32 << spread);
            let mut chances = [1e-4; STEPS];
            let mut chance = 1.0;
            for step in 0..STEPS / 2 - 1 {
                chances[STEPS / 2 + step] += chance;
                chances[STEPS / 2 - step] = chances[STEPS / 2 + step];
                chance *= ((half - step as f64) / (half + step as f64 + 1.0)).max(0.0);
            }
            fill(odds, 1, &chances);
        }
        let one_side = [[Odds::of(0.5); SMALL + 1]; 5];
        let (first, parts) = (u64::from(first), u64::from(parts));
        let mean = (first << 32) / parts;
        let variance = mean * (parts - first) / parts;
        Self { mean, variance, one_side, side: Odds::of(1.0 - share), small, large }
    }

    /// How many of `all` samples are in the first half: `first` when writing.
    pub(super) fn code(&mut self, coder: &mut impl Coder, sides: &mut Sides, all: u64, first: u64) -> u64 {
        let found = self.first_of(coder, *sides, all, first).min(all);
        *sides = sides.after(found, all);
        found
    }

    fn first_of(&mut self, coder: &mut impl Coder, sides: Sides, all: u64, first: u64) -> u64 {
        let Some(one_side) = self.one_side.get_mut(sides as usize) else { return self.number(coder, all, first) };
        let as_before = match sides {
            Sides::First | Sides::OnlyFirst => first == all,
            Sides::Second | Sides::OnlySecond => first == 0,
            Sides::Unknown | Sides::Both => first == 0 || first == all,
        };
        let certain = sides == Sides::Unknown && all == 1;
        let odds = &mut one_side[usize::try_from(all).map_or(SMALL, |all| all.min(SMALL))];
        if !certain && !coder.bit(odds, QUICK, as_before) {
            return self.number(coder, all, first);
        }
        match sides {
            Sides::First | Sides::OnlyFirst => all,
            Sides::Second | Sides::OnlySecond => 0,
            Sides::Unknown | Sides::Both if coder.bit(&mut self.side, SLOW, first == all) => all,
            Sides::Unknown | Sides::Both => 0,
        }
    }

    fn number(&mut self, coder: &mut impl Coder, all: u64, first: u64) -> u64 {
        if let Some(odds) = usize::try_from(all).ok().and_then(|all| self.small.get_mut(all)) {
            return tree(coder, odds, width(all as usize), first);
        }
        let [middle, variance] = [self.mean, self.variance].map(|by| ((u128::from(all) * u128::from(by)) >> 32) as u64);
        let octave = variance.checked_ilog2().unwrap_or(0);
        let shift = octave.saturating_sub(SPREADS as u32 - 2) / 2;
        let odds = &mut self.large[(octave - 2 * shift) as usize];
        let base = middle >> shift;
        let step = (first >> shift).wrapping_add(STEPS as u64 / 2).wrapping_sub(base);
        let step = tree(coder, odds, STEPS.ilog2(), if step < STEPS as u64 { step } else { 0 });
        if step == 0 {
            return coder.raw(u64::BITS - all.leading_zeros(), first);
        }
        let high = base.saturating_add(step).saturating_sub(STEPS as u64 / 2);
        high << shift | coder.raw(shift, first & ((1 << shift) - 1))
    }
}

/// Bits of a number up to `n`.
const fn width(n: usize) -> u32 {
    usize::BITS - n.leading_zeros()
}

/// A number bit by bit, the highest first; the odds of each bit are those after the bits before it.
fn tree(coder: &mut impl Coder, odds: &mut [Odds], width: u32, number: u64) -> u64 {
    let mut node = 1;
    for at in (0..width).rev() {
        node = node << 1 | usize::from(coder.bit(&mut odds[node], SLOW, number >> at & 1 == 1));
    }
    (node - (1 << width)) as u64
}

/// The odds of each bit of a number whose chances are known; returns their sum.
fn fill(odds: &mut [Odds], node: usize, chances: &[f64]) -> f64 {
    let [low, high] = match chances {
        [chance] => return *chance,
        _ => [&chances[..chances.len() / 2], &chances[chances.len() / 2..]],
    };
    let (low, high) = (fill(odds, node * 2, low), fill(odds, node * 2 + 1, high));
    if low + high > 0.0 {
        odds[node] = Odds::of(low / (low + high));
    }
    low + high
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::range_coder::{Reader, Writer};
    use super::*;

    proptest! {
        /// Every number comes back, small or enormous, even or not.
        #[test]
        fn numbers_round_trip(numbers in vec((prop_oneof![1..20_u64, 1..5000_u64, 1..=u64::MAX], 0.0..=1.0_f64), 0..60),
                              first in 1..9_u32, second in 1..9_u32) {
            let pairs: Vec<_> = numbers.iter().map(|(all, share)| (*all, ((*all as f64 * share) as u64).min(*all))).collect();
            let (mut writer, mut halves, mut sides) = (Writer::new(), Halves::new(first, first + second), Sides::default());
            for (all, first) in &pairs {
                prop_assert_eq!(halves.code(&mut writer, &mut sides, *all, *first), *first);
            }
            let bytes = writer.finish();
            let (mut reader, mut halves, mut sides) = (Reader::new(&bytes), Halves::new(first, first + second), Sides::default());
            for (all, first) in &pairs {
                prop_assert_eq!(halves.code(&mut reader, &mut sides, *all, 0), *first);
            }
        }

        /// Any bytes are numbers that are not more than what they are of.
        #[test]
        fn hostile_bytes_are_numbers(bytes in vec(any::<u8>(), 0..80), of in vec(prop_oneof![1..40_u64, 1..=u64::MAX], 0..80)) {
            let (mut reader, mut halves, mut sides) = (Reader::new(&bytes), Halves::new(1, 3), Sides::default());
            for all in of {
                prop_assert!(halves.code(&mut reader, &mut sides, all, 0) <= all);
            }
        }
    }
}
