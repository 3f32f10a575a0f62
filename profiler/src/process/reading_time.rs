//! Time that the sampling thread may spend on reading `/proc` in one pass, with a share for each user.
//!
//! Reading the mappings of one process takes a tenth of a millisecond, and tens of them if it has as many as it may. What finds no time
//! in this pass is read in one of the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::clock::thread_time;

/// In one pass.
const ALL: Duration = Duration::from_millis(10);
/// For the processes of one user but root in one pass.
const ONE: Duration = Duration::from_millis(4);
/// For one process's mappings ([`Patience`]).
pub(super) const ONE_PROCESS: Duration = Duration::from_millis(20);
/// How much longer than its processor time something may take by the clock.
const LATE: u32 = 10;

const ROOT: u32 = 0;

/// How long one process is read: so much processor time, which says that it is large; and by the clock several times as much, which says
/// that others have the CPU, or hold the process's mappings, and that it is to be tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    time: Duration,
    used: Duration,
    begin: Instant,
}

impl Patience {
    /// From now on.
    pub fn of(time: Duration) -> Self {
        Self { time, used: thread_time(), begin: Instant::now() }
    }

    /// Whether the processor time is used up.
    pub fn is_over(&self) -> bool {
        thread_time().saturating_sub(self.used) >= self.time
    }

    /// Whether it has taken too long by the clock.
    pub fn is_late(&self) -> bool {
        self.begin.elapsed() >= self.time * LATE
    }
}

/// The process whose mappings are being read, for other threads to say what the sampling thread waits for: the kernel gives them only when
/// nobody else holds the process's memory map.
#[derive(Clone, Debug, Default)]
pub struct BeingRead(Arc<Mutex<Option<(u32, String, Instant)>>>);

impl BeingRead {
    /// Reading begins.
    pub fn begin(&self, pid: u32, comm: &str, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((pid, comm.to_owned(), at));
    }

    /// It is over.
    pub fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// `NAME (pid PID)`, if it has been read for at least so long.
    #[must_use]
    pub fn since(&self, least: Duration) -> Option<String> {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (pid, comm, begin) = now.as_ref()?;
        (begin.elapsed() >= least).then(|| format!("{comm} (pid {pid})"))
    }
}

/// When some reading began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    at: Instant,
    used: Duration,
}

impl Begin {
    /// Now.
    pub fn now() -> Self {
        Self { at: Instant::now(), used: thread_time() }
    }
}

/// The time spent in this pass.
#[derive(Debug, Default)]
pub(super) struct ReadingTime {
    spent: Duration,
    users: HashMap<u32, Duration>,
}

impl ReadingTime {
    /// A pass begins.
    pub fn begin(&mut self) {
        self.spent = Duration::ZERO;
        self.users.clear();
    }

    /// Whether there is time for anybody.
    pub fn is_left(&self) -> bool {
        self.spent < ALL
    }

    /// Whether there is time for a process of this user.
    pub fn is_left_for(&self, user: u32) -> bool {
        self.is_left() && (user == ROOT || self.users.get(&user).is_none_or(|spent| *spent < ONE))
    }

    /// Notes what reading has taken since `begin`: processor time, or a part of the time by the clock where that was held up. On a busy host
    /// the clock runs while others have the CPU, and what had no time would be placed without being read.
    pub fn spend(&mut self, user: u32, begin: Begin) {
        let took = thread_time().saturating_sub(begin.used).max(begin.at.elapsed() / LATE);
        self.spent += took;
        *self.users.entry(user).or_default() += took;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Work uses patience up, waiting only makes late.
    #[test]
    fn waiting_is_no_work() {
        let patience = Patience::of(Duration::from_millis(5));
        std::thread::sleep(Duration::from_millis(10));
        assert!(!patience.is_over());
        std::thread::sleep(Duration::from_millis(45));
        assert!(patience.is_late() && !patience.is_over());
        while !patience.is_over() {}
    }

    /// Reading that began so long ago by the clock, and this much earlier by the thread's processor time.
    fn begun(ago: u64, used: u64) -> Begin {
        let used = thread_time().saturating_sub(Duration::from_millis(used));
        Begin { at: Instant::now().checked_sub(Duration::from_millis(ago)).unwrap(), used }
    }

    /// A thread that has used more processor time than any test asks for.
    fn work_a_while() {
        while thread_time() < Duration::from_millis(30) {}
    }

    /// A user whose processes take long to read leaves time for the others; the next pass has all of it again.
    #[test]
    fn one_user_leaves_time_for_the_others() {
        work_a_while();
        let mut time = ReadingTime::default();
        time.spend(7, begun(5, 5));
        assert!(!time.is_left_for(7) && time.is_left_for(8) && time.is_left_for(0));
        time.spend(0, begun(5, 5));
        assert!(!time.is_left() && !time.is_left_for(0));
        time.begin();
        assert!(time.is_left_for(7));
    }

    /// Time in which others have the CPU is not spent, unless it is very long: then it is the reading that hangs.
    #[test]
    fn being_held_up_costs_little() {
        let mut time = ReadingTime::default();
        time.spend(7, begun(20, 0));
        assert!(time.is_left_for(7));
        time.spend(7, begun(500, 0));
        assert!(!time.is_left());
    }
}
