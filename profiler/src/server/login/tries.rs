//! How often a peer may be wrong: a token bucket for each, in a table of bounded size.
//!
//! What is right is never refused for
//! what was wrong before it: neither a stranger nor a neighbour behind the same address can lock anybody out. What is wrong beyond the
//! bucket is answered late, on a connection that is closed then, so that a peer's rate is its share of connections a second.
//!
//! When the table is full, the peer that was wrong the longest time ago makes room.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::server::PeerKey;

/// Wrong tries that are answered at once.
const BURST: f64 = 10.0;
/// After which one more is.
const REFILL: Duration = Duration::from_secs(6);
/// Peers that are remembered.
const MOST_PEERS: usize = 1024;

/// The buckets.
#[derive(Debug, Default)]
pub struct Tries(Mutex<HashMap<PeerKey, (f64, Instant)>>);

impl Tries {
    /// Counts a wrong try; `false` when it is beyond the bucket.
    pub fn wrong(&self, who: PeerKey, now: Instant) -> bool {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MOST_PEERS && !peers.contains_key(&who) {
            let oldest = peers.iter().min_by_key(|(_, (_, last))| *last).map(|(peer, _)| *peer);
            oldest.map(|peer| peers.remove(&peer));
        }
        let (left, last) = peers.entry(who).or_insert((BURST, now));
        let refilled = now.saturating_duration_since(*last).as_secs_f64() / REFILL.as_secs_f64();
        *left = (*left + refilled).min(BURST);
        *last = now;
        let within = *left >= 1.0;
        if within {
            *left -= 1.0;
        }
        within
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Ten at once, then one each six seconds; others are not concerned.
    #[test]
    fn each_peer_has_ten_tries_and_one_more_every_six_seconds() {
        let (tries, start) = (Tries::default(), Instant::now());
        let count = |who, at| (0..100).filter(|_| tries.wrong(who, at)).count();
        assert_eq!(count(PeerKey::Uid(1), start), 10);
        assert_eq!(count(PeerKey::Uid(2), start), 10);
        assert_eq!(count(PeerKey::Uid(1), start + Duration::from_secs(13)), 2);
    }

    /// Many peers push out the oldest, and the table stays small.
    #[test]
    fn the_table_is_bounded() {
        let (tries, start) = (Tries::default(), Instant::now());
        for peer in 0..5000 {
            tries.wrong(PeerKey::Uid(peer), start + Duration::from_millis(peer.into()));
        }
        assert_eq!(tries.0.lock().unwrap().len(), MOST_PEERS);
    }
}
