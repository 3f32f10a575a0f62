//! Each link once: which were used, for as long as they could be used again.
//!
//! Only links that are of this token, made since this process began and not expired come in here, so nobody without the token can fill
//! the table; the limit is against a program that makes links in a loop. When it is reached, links are refused until older ones expire.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::refusal::Why;
use super::token::{LINK_LIFE, Link};
use crate::profile::WallNanos;

/// Links used within ten minutes.
const MOST_USED: usize = 10_000;
/// A clock may have been set back by so much between making a link and using it.
const CLOCK_STEP_MS: i64 = 60_000;

/// Used links, with the time when they were made.
#[derive(Debug)]
pub struct Links {
    since_ms: i64,
    used: Mutex<HashMap<u64, i64>>,
}

impl Links {
    /// None used; a link from before `now` could have been, by a process that is gone.
    #[must_use]
    pub fn since(now: WallNanos) -> Self {
        Self { since_ms: now.as_millis(), used: Mutex::default() }
    }

    /// Uses `link`.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn use_up(&self, link: Link, now: WallNanos) -> Result<(), Why> {
        let now = now.as_millis();
        let life = i64::try_from(LINK_LIFE.as_millis()).expect("ten minutes");
        let holds = |made: i64| made > now - life && made <= now + CLOCK_STEP_MS;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.contains_key(&link.nonce) {
            return Err(Why::LinkUsed);
        }
        if !holds(link.made_ms) || link.made_ms < self.since_ms {
            return Err(Why::LinkExpired);
        }
        if used.len() >= MOST_USED {
            used.retain(|_, made| holds(*made));
        }
        if used.len() >= MOST_USED {
            return Err(Why::TooMany);
        }
        used.insert(link.nonce, link.made_ms);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> WallNanos {
        WallNanos::from_millis(1_793_534_400_000 + seconds * 1000)
    }

    fn made(seconds: i64, nonce: u64) -> Link {
        Link { made_ms: at(seconds).as_millis(), nonce }
    }

    /// Once, within ten minutes, and not one that a process before this could have seen used.
    #[test]
    fn a_link_is_used_once_and_in_time() {
        let links = Links::since(at(0));
        assert_eq!(links.use_up(made(0, 1), at(5)), Ok(()));
        assert_eq!(links.use_up(made(0, 1), at(6)), Err(Why::LinkUsed));
        assert_eq!(links.use_up(made(0, 2), at(599)), Ok(()));
        assert_eq!(links.use_up(made(0, 3), at(600)), Err(Why::LinkExpired));
        assert_eq!(links.use_up(made(-1, 4), at(5)), Err(Why::LinkExpired), "from before the start");
        assert_eq!(links.use_up(made(3600, 5), at(5)), Err(Why::LinkExpired), "from the future");
    }

    /// The table has a limit, and room again when links have expired; a used one stays used until then.
    #[test]
    fn used_links_are_bounded() {
        let links = Links::since(at(0));
        for nonce in 0..MOST_USED as u64 {
            assert_eq!(links.use_up(made(0, nonce), at(1)), Ok(()));
        }
        assert_eq!(links.use_up(made(1, u64::MAX), at(2)), Err(Why::TooMany));
        assert_eq!(links.use_up(made(0, 0), at(2)), Err(Why::LinkUsed));
        assert_eq!(links.use_up(made(700, u64::MAX), at(700)), Ok(()));
    }
}
