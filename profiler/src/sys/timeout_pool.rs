//! Runs calls that may block for ever (looking up a path on a dead network file system, or on one in user space whose server does not
//! answer) on other threads, and waits only so long for each.
//!
//! In: a call and the user whose file it is about. Out: its result, or an error in time. The threads are shared fairly by users
//! (`fair_pool.rs`): with as many of a user's calls hanging as he may have threads, his next ones are refused at once, nobody else's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::fair_pool::FairPool;

/// A pool of threads, and how long to wait for each call.
#[derive(Debug)]
pub struct TimeoutPool {
    timeout: Duration,
    pool: FairPool,
}

impl TimeoutPool {
    /// Waits so long for each call. Starts nothing yet.
    #[must_use]
    pub fn new(name: &'static str, timeout: Duration) -> Self {
        Self { timeout, pool: FairPool::new(name) }
    }

    /// Makes the call on another thread.
    ///
    /// # Errors
    /// `TimedOut` when it takes too long: it then goes on, and its result is dropped. `WouldBlock` when too many calls hang already, of
    /// this user or in all. `BrokenPipe` when it panicked.
    pub fn run<T: Send + 'static>(&self, user: u32, call: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        if !self.pool.can_begin(user) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (answer, answered) = sync_channel(1);
        let late = Arc::new(AtomicBool::new(false));
        let dropped = Arc::clone(&late);
        // One that had no thread in time is not made at all.
        let job = move || _ = (!dropped.load(Ordering::Relaxed)).then(|| answer.send(call()));
        self.pool.submit(user, job).map_err(|_| io::ErrorKind::WouldBlock)?;
        answered.recv_timeout(self.timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                late.store(true, Ordering::Relaxed);
                io::ErrorKind::TimedOut.into()
            }
            RecvTimeoutError::Disconnected => io::ErrorKind::BrokenPipe.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::mpsc::{Sender, channel};
    use std::time::Instant;

    use super::super::fair_pool::{FOR_ROOT, PER_USER};
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Makes calls that hang until the senders are dropped, for as long as they are not refused: their number.
    fn hang(pool: &TimeoutPool, user: u32, release: &mut Vec<Sender<()>>) -> usize {
        for n in 0.. {
            let (sender, hangs) = channel::<()>();
            let error = pool.run(user, move || hangs.recv().is_ok()).unwrap_err();
            if error.kind() == io::ErrorKind::WouldBlock {
                return n;
            }
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            release.push(sender);
        }
        unreachable!()
    }

    /// A call that ends in time has its result.
    #[test]
    fn calls_that_end_are_answered() {
        let pool = TimeoutPool::new("test", LONG);
        assert!((0..100).all(|n| pool.run(n % 3, move || n).unwrap() == n));
    }

    /// Hanging calls of one user cost the timeout each and two threads, and no other user anything; when they go on at last, there is
    /// room again.
    #[test]
    fn hanging_calls_of_one_user_leave_the_others_alone() {
        let pool = TimeoutPool::new("test", Duration::from_millis(50));
        let (mut release, begin) = (Vec::new(), Instant::now());
        assert_eq!(hang(&pool, 1000, &mut release), PER_USER);
        assert!(begin.elapsed() >= pool.timeout * PER_USER as u32);
        let patient = TimeoutPool { timeout: LONG, ..pool };
        for user in [1001, 0] {
            assert_eq!(patient.run(user, || 7).unwrap(), 7, "{user}");
        }
        let refused = Instant::now();
        assert_eq!(patient.run(1000, || ()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(refused.elapsed() < LONG, "at once");
        let pool = TimeoutPool { timeout: Duration::from_millis(50), ..patient };
        assert_eq!(hang(&pool, 0, &mut release), FOR_ROOT);
        drop(release);
        while pool.run(1000, || ()).is_err() || pool.run(0, || ()).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "the calls never ended");
            std::thread::yield_now();
        }
    }

    /// A panic on the other thread is an error here.
    #[test]
    fn a_panic_is_an_error() {
        let pool = TimeoutPool::new("test", LONG);
        assert!(pool.run(0, || panic!("as it should")).is_err());
        assert_eq!(pool.run(0, || 7).unwrap(), 7);
    }
}
