//! The lengths of roll-ups. Pure.

/// How much time a roll-up sums. The numbers are stored: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Level {
    /// Five minutes; its windows can be told apart while it is young.
    Minutes = 1,
    /// An hour.
    Hour = 2,
    /// A day, UTC.
    Day = 3,
}

impl Level {
    /// From the finest to the coarsest.
    pub(crate) const ALL: [Self; 3] = [Self::Minutes, Self::Hour, Self::Day];

    /// Nanoseconds.
    pub(crate) const fn length(self) -> i64 {
        const SECOND: i64 = 1_000_000_000;
        match self {
            Self::Minutes => 300 * SECOND,
            Self::Hour => 3_600 * SECOND,
            Self::Day => 86_400 * SECOND,
        }
    }

    /// The next coarser one.
    pub(crate) const fn coarser(self) -> Option<Self> {
        match self {
            Self::Minutes => Some(Self::Hour),
            Self::Hour => Some(Self::Day),
            Self::Day => None,
        }
    }

    /// The next finer one; `None` stands for windows.
    pub(crate) const fn finer(self) -> Option<Self> {
        match self {
            Self::Minutes => None,
            Self::Hour => Some(Self::Minutes),
            Self::Day => Some(Self::Hour),
        }
    }

    /// Start of the piece of time that `at` lies in.
    pub(crate) const fn start_of(self, at: i64) -> i64 {
        // The first piece of all time would begin before it.
        match at.checked_sub(at.rem_euclid(self.length())) {
            Some(start) => start,
            None => i64::MIN,
        }
    }

    /// First instant after the piece that starts at `start`.
    pub(crate) const fn end_of(self, start: i64) -> i64 {
        start.saturating_add(self.length())
    }
}
