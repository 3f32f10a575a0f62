//! What the time between two passes was: a pause, a suspend of the machine, or a stop of the profiler.

use std::time::{Duration, Instant};

use crate::profile::BootNanos;
use crate::sys::clock::boot_now;

/// A pass that comes this late is worth a word, and a suspend this long ends its window.
const LATE: Duration = Duration::from_secs(1);

/// The pause between two passes, from its beginning by both clocks: the boot clock goes on while the machine is suspended, the
/// monotonic one does not.
pub(super) struct Nap {
    /// When it began, by the boot clock.
    pub boot: BootNanos,
    monotonic: Instant,
}

impl Nap {
    /// A pass has ended.
    pub fn begin() -> Self {
        Self { boot: boot_now(), monotonic: Instant::now() }
    }

    /// Says whether the machine was suspended meanwhile, or the pause was long all the same.
    pub fn end(&self, now: BootNanos) -> Pause {
        let (passed, awake) = (Duration::from_nanos(now.0.saturating_sub(self.boot.0)), self.monotonic.elapsed());
        if passed.saturating_sub(awake) > LATE {
            Pause::Suspended(passed)
        } else if awake > LATE {
            Pause::HeldUp(awake)
        } else {
            Pause::Short
        }
    }
}

/// Finds stops: a pass that came late, and a SIGCONT. Any thread may handle the signal, so that its flag can be set a
/// little after the sampling thread goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stops {
    /// The pass before.
    last: Instant,
    /// How late the last late pass was, and when.
    late: Option<(Duration, Instant)>,
}

impl Stops {
    /// The first pass.
    pub fn begin(now: Instant) -> Self {
        Self { last: now, late: None }
    }

    /// Call at each pass; how long the stop was, once for each.
    pub fn look(&mut self, now: Instant, continued: bool) -> Option<Duration> {
        let passed = now.duration_since(std::mem::replace(&mut self.last, now));
        if passed > LATE {
            self.late = Some((passed, now));
        }
        let (late, at) = self.late.filter(|_| continued)?;
        self.late = None;
        (now.duration_since(at) < LATE).then_some(late)
    }
}

/// What a pause was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// As long as it was meant to be.
    Short,
    /// The machine slept.
    Suspended(Duration),
    /// The machine was awake and we did not run: stopped, or not scheduled.
    HeldUp(Duration),
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The boot clock running ahead of the monotonic one is a suspend; both running on is a thread that was held up.
    #[test]
    fn a_suspend_is_told_from_a_delay() {
        let nap = |boot: u64, awake: u64| {
            let monotonic = Instant::now().checked_sub(Duration::from_secs(awake)).unwrap();
            Nap { boot: BootNanos(1_000_000_000_000 - boot * 1_000_000_000), monotonic }
                .end(BootNanos(1_000_000_000_000))
        };
        assert!(matches!(nap(600, 0), Pause::Suspended(_)), "ten minutes of which none were awake");
        assert!(matches!(nap(5, 5), Pause::HeldUp(_)), "stopped for five seconds");
        assert_eq!(nap(0, 0), Pause::Short);
    }

    /// A stop is told once, also when the flag of its SIGCONT comes after the pass that was late; a signal or a delay alone is none.
    #[test]
    fn a_stop_is_a_late_pass_with_a_signal() {
        let begin = Instant::now();
        let at = |millis: u64| begin + Duration::from_millis(millis);
        let mut stops = Stops::begin(begin);
        let (on_time, late) = ([(100, false), (200, true)], [(5200, true), (5300, false), (9300, false), (9400, true)]);
        let too_late = [(9500, true), (12_000, false), (12_900, false), (13_500, true)];
        let mut look = |(millis, continued)| stops.look(at(millis), continued).map(|time| time.as_secs());
        assert_eq!(on_time.map(&mut look), [None, None]);
        assert_eq!(late.map(&mut look), [Some(5), None, None, Some(4)]);
        assert_eq!(too_late.map(look), [None; 4]);
    }
}
