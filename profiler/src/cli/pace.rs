//! How soon the sampling thread makes its next pass: at its own pace, or at once where somebody waits for unwind tables.
//!
//! A pass costs a few tenths of a millisecond even if there is nothing to do. A new program, the start and a deep stack deserve some; a
//! host where fifty processes are started each second would have it awake all the time for programs that are over before their tables
//! are there, and whose stacks come along with the samples anyway. So haste has a budget.

use std::time::{Duration, Instant};

/// Time between two passes over the rings: a person does not notice it, and nobody is woken for a single sample.
pub(super) const POLL: Duration = Duration::from_millis(100);
/// The same after a process without unwind tables was met, as soon as its sample has settled, and while rows are on their way.
pub(super) const POLL_IN_HASTE: Duration = Duration::from_millis(25);
/// Early passes at once: half a second of haste.
const BURST: f64 = 20.0;
/// Early passes each second in the long run.
const PER_SECOND: f64 = 4.0;

/// A bucket of early passes (a token bucket).
#[derive(Debug)]
pub(super) struct Pace {
    left: f64,
    since: Instant,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    /// Whether a pass may come early.
    pub fn may_hurry(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.left = (self.left + passed * PER_SECOND).min(BURST);
        self.since = now;
        self.left >= 1.0
    }

    /// Notes how long the thread has slept.
    pub fn slept(&mut self, pause: Duration) {
        if pause < POLL {
            self.left -= 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Haste at the start, four early passes a second in a storm that does not end, and all of it again after five quiet seconds.
    #[test]
    fn haste_has_a_budget() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        let mut storm = |from: u64, seconds: u64| {
            let (mut now, mut early) = (Duration::from_secs(from), 0);
            while now < Duration::from_secs(from + seconds) {
                let pause = if pace.may_hurry(begin + now) { POLL_IN_HASTE } else { POLL };
                pace.slept(pause);
                early += u32::from(pause < POLL);
                now += pause;
            }
            early
        };
        assert!((20..=24).contains(&storm(0, 1)));
        assert!((39..=41).contains(&storm(1, 10)));
        assert!((20..=24).contains(&storm(20, 1)));
    }
}
