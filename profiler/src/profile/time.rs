//! Two clocks, two types: samples carry the boot clock, people the wall clock.

/// Nanoseconds of `CLOCK_BOOTTIME`: steady, and running on through suspend (unlike the monotonic clock).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootNanos(pub u64);

/// Nanoseconds since the Unix epoch, as the wall clock said. May step; never used to order samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallNanos(pub i64);

impl WallNanos {
    /// From milliseconds since the Unix epoch (the unit of the HTTP interface); saturates.
    #[must_use]
    pub fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

/// Half-open range of wall-clock time: `from <= t < to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant inside.
    pub from: WallNanos,
    /// First instant after.
    pub to: WallNanos,
}
