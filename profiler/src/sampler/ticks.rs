//! Books of one CPU's ticks: which of those that were due the program has not seen, and why.
//!
//! Pure. In: a [`Reading`] now and then. Out: [`UnseenTicks`] since the last one.
//! - The software clock's period is fixed and by the monotonic clock (`perf_swevent_hrtimer`), so the
//!   ticks due are counted from the time alone, over the whole life of the event: readings that fall
//!   between a tick and its program correct each other.
//! - The newest period may still be on its way and is not due yet.
//! - A virtual CPU that sleeps may have no timer interrupts at all. What did not come while the kernel
//!   says that the CPU was idle was idle.
//! - Cycles are due only while a CPU works: of them, what the kernel says itself is booked.

use crate::profile::{MissCause, MissedTicks, SampleEvent};
use crate::sys::sampling_event::EventTimes;

/// What is known of one CPU's event at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Monotonic clock, nanoseconds. Read before `seen`.
    pub at: u64,
    /// Runs of our program on this CPU.
    pub seen: u64,
    /// Those of them that hit the idle task.
    pub seen_idle: u64,
    /// How long the CPU was idle by the kernel's own books, in clock ticks of 10 ms; `None` where it
    /// does not say.
    pub idle: Option<u64>,
    /// What the kernel says.
    pub times: EventTimes,
    /// Nanoseconds for which the kernel had throttled the event.
    pub throttled: u64,
}

/// Ticks that were due and that our program has not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnseenTicks {
    /// Nothing was running: the CPU slept through them.
    pub idle: u64,
    /// Nobody knows what was running.
    pub missed: MissedTicks,
}

impl UnseenTicks {
    /// Adds those of another CPU.
    pub fn merge(&mut self, other: &Self) {
        self.idle += other.idle;
        self.missed.merge(&other.missed);
    }
}

/// Nanoseconds of a clock tick of the kernel's books (`USER_HZ`).
const CLOCK_TICK: u64 = 10_000_000;

/// One CPU's books.
#[derive(Clone, Debug)]
pub struct TickBook {
    event: SampleEvent,
    /// Nanoseconds between two ticks.
    period: u64,
    first: Reading,
    last: Reading,
    /// Ticks booked as unseen since `first`.
    booked: u64,
    /// What [`MissCause::ProgramBusy`] counts from: `fired` and `seen` of one instant.
    base: (Option<u64>, u64),
}

impl TickBook {
    /// Begins with a reading taken just after the event was started.
    pub fn new(event: SampleEvent, hz: u32, first: Reading) -> Self {
        let period = 1_000_000_000 / u64::from(hz.max(1));
        Self { event, period, first, last: first, booked: 0, base: (first.times.fired, first.seen) }
    }

    /// The ticks that were due and not seen since the last call.
    pub fn unseen_until(&mut self, now: Reading) -> UnseenTicks {
        let before = std::mem::replace(&mut self.last, now);
        match self.event {
            SampleEvent::CpuClock => self.clock(&before, &now),
            SampleEvent::Cycles => UnseenTicks { idle: 0, missed: self.cycles(&before, &now) },
        }
    }

    fn clock(&mut self, before: &Reading, now: &Reading) -> UnseenTicks {
        let throttled = now.throttled.saturating_sub(before.throttled);
        let busy = self.skipped(now, throttled > 0);
        let due = (now.at.saturating_sub(self.first.at) / self.period).saturating_sub(1);
        let missing = due.saturating_sub(now.seen.saturating_sub(self.first.seen));
        // What has fired was due, whatever the clock says.
        let mut rest = missing.saturating_sub(self.booked).max(busy);
        self.booked += rest;
        let mut missed = MissedTicks::default();
        let mut book = |cause, most: u64| {
            let ticks = most.min(rest);
            rest -= ticks;
            missed.add(cause, ticks);
        };
        book(MissCause::ProgramBusy, busy);
        book(MissCause::Throttled, throttled.div_ceil(self.period));
        book(MissCause::NotScheduled, off_cpu(before, now) / self.period);
        let idle = rest.min(self.slept(before, now));
        rest -= idle;
        let cause = if now.times.fired.is_some() { MissCause::TimerLate } else { MissCause::Unknown };
        missed.add(cause, rest);
        UnseenTicks { idle, missed }
    }

    /// Ticks that an idle CPU had none of: those that its idle time would have, without those that came.
    fn slept(&self, before: &Reading, now: &Reading) -> u64 {
        let (Some(idle), Some(idle_before)) = (now.idle, before.idle) else { return 0 };
        // The kernel's clock tick that is under way counts when it is over.
        let nanos = (idle.saturating_sub(idle_before) + 1).saturating_mul(CLOCK_TICK);
        (nanos / self.period).saturating_sub(now.seen_idle.saturating_sub(before.seen_idle))
    }

    /// Firings of the timer that the program has not seen, since they were last counted. Throttling
    /// stops both timers of the group at different ticks: counting begins anew then. `seen` is read
    /// last and may be ahead by a tick, which the next call finds.
    fn skipped(&mut self, now: &Reading, throttled: bool) -> u64 {
        let (Some(fired), (Some(base_fired), base_seen)) = (now.times.fired, self.base) else { return 0 };
        let (fired_since, seen_since) = (fired.saturating_sub(base_fired), now.seen.saturating_sub(base_seen));
        if throttled {
            self.base = (Some(fired), now.seen);
            return 0;
        }
        let skipped = fired_since.saturating_sub(seen_since);
        self.base.0 = Some(base_fired + skipped);
        skipped
    }

    fn cycles(&mut self, before: &Reading, now: &Reading) -> MissedTicks {
        let mut missed = MissedTicks::default();
        missed.add(MissCause::Throttled, now.throttled.saturating_sub(before.throttled) / self.period);
        let running = now.times.running.saturating_sub(before.times.running);
        let off = now.times.enabled.saturating_sub(before.times.enabled).saturating_sub(running);
        // As many as came in the time that the counter ran.
        let seen = now.seen.saturating_sub(before.seen);
        let share = if running == 0 { 0 } else { u128::from(seen) * u128::from(off) / u128::from(running) };
        missed.add(MissCause::NotScheduled, u64::try_from(share).unwrap_or(u64::MAX));
        missed
    }
}

/// Nanoseconds between two readings for which the event did not run, as far as two clocks that differ
/// by up to 500 ppm, and by the time that reading takes, can tell.
fn off_cpu(before: &Reading, now: &Reading) -> u64 {
    let passed = now.at.saturating_sub(before.at);
    let running = now.times.running.saturating_sub(before.times.running);
    let off = passed.saturating_sub(running);
    if off > passed / 50 { off } else { 0 }
}

/// How long an event has been throttled, by its `THROTTLE` and `UNTHROTTLE` records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Nanoseconds, of the stops that are over.
    pub nanos: u64,
    since: Option<u64>,
}

impl Throttling {
    /// The kernel stopped the event at `time`.
    pub fn begin(&mut self, time: u64) {
        self.since.get_or_insert(time);
    }

    /// The kernel started it again at `time`.
    pub fn end(&mut self, time: u64) {
        if let Some(since) = self.since.take() {
            self.nanos = self.nanos.saturating_add(time.saturating_sub(since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u32 = 100;
    const PERIOD: u64 = 10_000_000;

    fn at(ticks: u64, seen: u64, fired: Option<u64>) -> Reading {
        let at = ticks * PERIOD + PERIOD / 2;
        Reading { at, seen, times: EventTimes { enabled: at, running: at, fired }, ..Reading::default() }
    }

    fn book(event: SampleEvent, fired: Option<u64>) -> TickBook {
        TickBook::new(event, HZ, Reading { times: EventTimes { fired, ..EventTimes::default() }, ..Reading::default() })
    }

    fn missed(counts: &[(MissCause, u64)]) -> MissedTicks {
        let mut missed = MissedTicks::default();
        counts.iter().for_each(|(cause, n)| missed.add(*cause, *n));
        missed
    }

    /// Every tick came: nothing is missed, also where a reading fell between a tick and its program.
    #[test]
    fn ticks_that_came_are_not_missed() {
        let mut book = book(SampleEvent::CpuClock, Some(0));
        for (ticks, seen, fired) in [(100, 100, 100), (200, 199, 200 - 1), (300, 300, 299), (400, 400, 400)] {
            assert_eq!(book.unseen_until(at(ticks, seen, Some(fired))).missed, MissedTicks::default(), "{ticks}");
        }
    }

    /// The timer fired and the program did not run: to the tick, and each once.
    #[test]
    fn firings_without_a_run_are_another_programs() {
        let mut book = book(SampleEvent::CpuClock, Some(0));
        assert_eq!(book.unseen_until(at(100, 60, Some(100))).missed, missed(&[(MissCause::ProgramBusy, 40)]));
        assert_eq!(book.unseen_until(at(200, 160, Some(200))).missed, MissedTicks::default());
        assert_eq!(book.unseen_until(at(300, 159 + 100, Some(300))).missed, missed(&[(MissCause::ProgramBusy, 1)]));
    }

    /// The timer did not fire: it was late. Without a count of firings nobody can say.
    #[test]
    fn a_timer_that_does_not_fire_is_late_or_unknown() {
        let mut counted = book(SampleEvent::CpuClock, Some(0));
        assert_eq!(counted.unseen_until(at(100, 70, Some(70))).missed, missed(&[(MissCause::TimerLate, 29)]));
        assert_eq!(counted.unseen_until(at(200, 170, Some(170))).missed, missed(&[(MissCause::TimerLate, 0)]));
        let mut uncounted = book(SampleEvent::CpuClock, None);
        assert_eq!(uncounted.unseen_until(at(100, 70, None)).missed, missed(&[(MissCause::Unknown, 29)]));
    }

    /// A CPU that sleeps has no ticks, and they are idle; what did not come while it worked is missed all the same.
    #[test]
    fn ticks_that_an_idle_cpu_slept_through_are_idle() {
        let reading =
            |ticks, seen, seen_idle, idle| Reading { seen_idle, idle: Some(idle), ..at(ticks, seen, Some(seen)) };
        let mut book = TickBook::new(SampleEvent::CpuClock, HZ, reading(0, 0, 0, 0));
        let unseen = |idle, late| UnseenTicks { idle, missed: missed(&[(MissCause::TimerLate, late)]) };
        assert_eq!(book.unseen_until(reading(101, 3, 1, 98)), unseen(97, 0), "it slept");
        assert_eq!(book.unseen_until(reading(201, 53, 1, 98)), unseen(1, 49), "it worked, or would have");
        assert_eq!(book.unseen_until(reading(301, 103, 21, 148)), unseen(31, 19), "both: 50 idle, of which 20 came");
    }

    /// Throttled ticks are not put down to another program although both timers part then, and what
    /// another program takes afterwards is counted again.
    #[test]
    fn throttling_is_its_own_cause() {
        let mut book = book(SampleEvent::CpuClock, Some(0));
        let throttled = Reading { throttled: 20 * PERIOD, ..at(100, 80, Some(10)) };
        assert_eq!(book.unseen_until(throttled).missed, missed(&[(MissCause::Throttled, 19)]));
        let after = Reading { throttled: 20 * PERIOD, ..at(200, 175, Some(110)) };
        assert_eq!(book.unseen_until(after).missed, missed(&[(MissCause::ProgramBusy, 5), (MissCause::TimerLate, 0)]));
    }

    /// An event that did not run for half of the time.
    #[test]
    fn an_event_off_the_cpu_is_not_scheduled() {
        let mut clock = book(SampleEvent::CpuClock, Some(0));
        let mut half = at(100, 50, Some(50));
        half.times.running /= 2;
        assert_eq!(clock.unseen_until(half).missed, missed(&[(MissCause::NotScheduled, 49)]));
        let mut cycles = book(SampleEvent::Cycles, None);
        let mut shared = at(100, 20, None);
        shared.times.running /= 2;
        assert_eq!(cycles.unseen_until(shared).missed, missed(&[(MissCause::NotScheduled, 20)]), "as many as came");
        let idle = Reading { at: 300 * PERIOD, ..shared };
        assert_eq!(cycles.unseen_until(idle).missed, MissedTicks::default(), "an idle CPU has no cycles");
    }

    /// Stops that overlap a reading count when they end; an end without a beginning is nothing.
    #[test]
    fn throttled_time_is_that_of_whole_stops() {
        let mut throttling = Throttling::default();
        throttling.end(5);
        throttling.begin(10);
        throttling.begin(12);
        assert_eq!(throttling.nanos, 0);
        throttling.end(30);
        assert_eq!(throttling.nanos, 20);
    }
}
