//! Shares of a worker that does one job at a time, by user: a user whose job took long waits in proportion before the next one.
//!
//! In: how long a job took, and for whom. Out: until when that user's jobs wait. Time is an argument.
//!
//! - Jobs of one user other than root take at most a quarter of the worker's time ([`REST_FACTOR`]), however many they are; files of
//!   root's are no attack, and never wait.
//! - A job below [`SHORT`] costs nothing: only users with long jobs are remembered, and only while they wait.

use std::collections::HashMap;
use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, StatxFlags};

/// Rest for time taken.
const REST_FACTOR: u32 = 3;
/// Time that costs nothing: that of almost every question about a file.
const SHORT: Duration = Duration::from_millis(100);
/// The user whose jobs never wait.
pub const ROOT: u32 = 0;
/// The user of a file that does not tell its owner.
const NOBODY: u32 = 65534;

/// Users that wait.
#[derive(Debug, Default)]
pub struct TimeShares {
    resting: HashMap<u32, Instant>,
}

impl TimeShares {
    /// A job of this user took so long, until `now`.
    pub fn took(&mut self, user: u32, took: Duration, now: Instant) {
        self.resting.retain(|_, until| *until > now);
        if user != ROOT && took >= SHORT {
            self.resting.insert(user, now + took * REST_FACTOR);
        }
    }

    /// How long this user's jobs still wait.
    #[must_use]
    pub fn rest(&self, user: u32, now: Instant) -> Duration {
        self.resting.get(&user).map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

/// The owner of a file, to whom work on it is charged. What the kernel knows without asking the file system, which may not answer.
#[must_use]
pub fn owner_of(file: &File) -> u32 {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(file, "", flags, StatxFlags::UID).map_or(NOBODY, |stat| stat.stx_uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user whose jobs always take ten seconds, and always wait, gets a quarter of the time; the others get the rest at once.
    #[test]
    fn a_user_gets_a_quarter_of_the_time() {
        let (mut shares, begin) = (TimeShares::default(), Instant::now());
        let (mut now, mut spent, job) = (begin, Duration::ZERO, Duration::from_secs(10));
        while now < begin + Duration::from_secs(3600) {
            if shares.rest(1000, now).is_zero() {
                (now, spent) = (now + job, spent + job);
                shares.took(1000, job, now);
            }
            assert!(shares.rest(1001, now).is_zero());
            now += Duration::from_secs(1);
        }
        let share = spent.as_secs_f64() / (now - begin).as_secs_f64();
        assert!((0.2..=0.26).contains(&share), "{share}");
    }

    /// Root's jobs never wait, nor do those that are over at once; nobody is remembered for longer than he waits.
    #[test]
    fn root_and_short_jobs_do_not_wait() {
        let (mut shares, now) = (TimeShares::default(), Instant::now());
        shares.took(ROOT, Duration::from_secs(100), now);
        shares.took(1000, SHORT / 2, now);
        assert!(shares.resting.is_empty());
        shares.took(1000, SHORT, now);
        assert_eq!(shares.rest(1000, now), SHORT * REST_FACTOR);
        shares.took(1001, Duration::ZERO, now + SHORT * REST_FACTOR);
        assert!(shares.resting.is_empty());
    }
}
