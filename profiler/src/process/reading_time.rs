//! Time that the sampling thread may spend on reading `/proc` in one pass, with a share for each user.
//!
//! Reading the mappings of one process takes a tenth of a millisecond, and tens of them if it has as many as it may. What finds no time
//! in this pass is read in one of the next.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// In one pass.
const ALL: Duration = Duration::from_millis(10);
/// For the processes of one user but root in one pass.
const ONE: Duration = Duration::from_millis(4);
/// Longest that one process's mappings are read; what comes after that is not known.
pub(super) const ONE_PROCESS: Duration = Duration::from_millis(20);

const ROOT: u32 = 0;

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

    /// Notes what reading has taken since `begin`.
    pub fn spend(&mut self, user: u32, begin: Instant) {
        let took = begin.elapsed();
        self.spent += took;
        *self.users.entry(user).or_default() += took;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A user whose processes take long to read leaves time for the others; the next pass has all of it again.
    #[test]
    fn one_user_leaves_time_for_the_others() {
        let ago = |ms| Instant::now().checked_sub(Duration::from_millis(ms)).unwrap();
        let mut time = ReadingTime::default();
        time.spend(7, ago(5));
        assert!(!time.is_left_for(7) && time.is_left_for(8) && time.is_left_for(0));
        time.spend(0, ago(5));
        assert!(!time.is_left() && !time.is_left_for(0));
        time.begin();
        assert!(time.is_left_for(7));
    }
}
