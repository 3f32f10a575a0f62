//! What the numbers of an answer stand for. Samples of one rate are counted. Where there are several, a sample weighs the time between
//! two of its rate, for one at 19 Hz stands for five times as much as one at 97 Hz. Pure.

/// What the numbers of an answer stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Time between two samples on a CPU, nanoseconds: of the slowest rate; 0 where there is none.
    slowest: u64,
    /// There are others.
    is_mixed: bool,
}

impl Measure {
    /// That of samples of these rates, in samples per second and CPU.
    #[must_use]
    pub fn of(rates: impl IntoIterator<Item = u32>) -> Self {
        rates.into_iter().map(period).fold(Self::default(), |measure, period| Self {
            slowest: measure.slowest.max(period),
            is_mixed: measure.is_mixed || (measure.slowest != 0 && measure.slowest != period),
        })
    }

    /// What a sample of a rate adds to the numbers.
    #[must_use]
    pub fn weight(self, hz: u32) -> u64 {
        if self.is_mixed { period(hz) } else { 1 }
    }

    /// The most that one sample adds: a number is at most as noisy as if all its samples added so much.
    #[must_use]
    pub const fn heaviest(self) -> u64 {
        if self.is_mixed { self.slowest } else { 1 }
    }

    /// CPU time that each of the numbers stands for, in nanoseconds; 0 where nothing was recorded.
    #[must_use]
    pub const fn scale(self) -> u64 {
        if self.is_mixed { 1 } else { self.slowest }
    }

    /// Whether the numbers are samples; else they are nanoseconds.
    #[must_use]
    pub const fn counts_samples(self) -> bool {
        !self.is_mixed
    }
}

/// CPU time that a sample stands for at a rate, in nanoseconds.
#[must_use]
pub fn period(hz: u32) -> u64 {
    1_000_000_000 / u64::from(hz.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One rate is counted, however often it is there; several are weighed.
    #[test]
    fn samples_of_several_rates_are_weighed() {
        let one = Measure::of([100, 100]);
        assert_eq!((one.weight(100), one.scale(), one.heaviest(), one.counts_samples()), (1, 10_000_000, 1, true));
        let two = Measure::of([100, 20, 100]);
        assert_eq!((two.weight(100), two.weight(20)), (10_000_000, 50_000_000));
        assert_eq!((two.scale(), two.heaviest(), two.counts_samples()), (1, 50_000_000, false));
        assert_eq!((Measure::of([]).scale(), Measure::default().weight(97)), (0, 1));
    }
}
