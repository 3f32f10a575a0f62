//! Turns: few questions run at once, the others wait in a queue that is shared fairly among peers.
//!
//! The next turn goes to the peer that has used least time lately, of one peer's questions to the oldest. One peer runs and waits for
//! at most its share; when the queue is full, a peer with few waiting questions takes the place of the newest one of the peer with most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::connections::PeerKey;
use super::error::Failure;

/// Time used counts half after so long.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// Peers whose use is remembered; beyond them those that used least are forgotten.
const MOST_PEERS: usize = 64;

/// How many, of all peers and of one.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Running.
    pub at_once: usize,
    /// Running of one peer.
    pub at_once_of_peer: usize,
    /// Waiting.
    pub waiting: usize,
    /// Waiting of one peer.
    pub waiting_of_peer: usize,
}

/// The queue.
#[derive(Debug)]
pub struct Turns {
    shares: Shares,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<PeerKey, usize>,
    /// The oldest first.
    waiting: Vec<Waiter>,
    next: u64,
    used: HashMap<PeerKey, Used>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    peer: PeerKey,
    call: oneshot::Sender<()>,
}

/// Seconds used, as of a moment.
#[derive(Clone, Copy, Debug)]
struct Used {
    seconds: f64,
    at: Instant,
}

impl Used {
    fn by(&self, now: Instant) -> f64 {
        let halvings = now.saturating_duration_since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.seconds * (-halvings).exp2()
    }
}

/// A turn; given back when dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    peer: PeerKey,
    begun: Instant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.end(self.peer, self.begun.elapsed());
    }
}

impl Turns {
    /// Nobody waits yet.
    #[must_use]
    pub fn new(shares: Shares) -> Arc<Self> {
        Arc::new(Self { shares, state: Mutex::default() })
    }

    /// Waits for a turn of `peer`, at most until `deadline`.
    ///
    /// # Errors
    /// [`Failure::Busy`] when too many wait, or for too long.
    pub async fn take(self: &Arc<Self>, peer: PeerKey, deadline: Instant) -> Result<Turn, Failure> {
        let mut call = self.line_up(peer)?;
        match timeout_at(deadline, &mut call.called).await {
            Ok(Ok(())) => {
                call.answered = true;
                Ok(Turn { turns: Arc::clone(self), peer, begun: Instant::now() })
            }
            _ => Err(Failure::Busy),
        }
    }

    fn line_up(self: &Arc<Self>, peer: PeerKey) -> Result<Call, Failure> {
        let mut state = self.state();
        let of_peer = state.waiting_of(&peer);
        let has_room = state.waiting.len() < self.shares.waiting && of_peer < self.shares.waiting_of_peer;
        if !has_room && !state.can_run(&peer, &self.shares) {
            let most = state.waiting.iter().map(|waiter| (state.waiting_of(&waiter.peer), waiter.number)).max();
            let most = most.filter(|(most, _)| of_peer < self.shares.waiting_of_peer && *most > of_peer + 1);
            let (_, newest) = most.ok_or(Failure::Busy)?;
            // Its sender goes, so it hears that it has lost its place.
            state.waiting.retain(|waiter| waiter.number != newest);
        }
        let (call, called) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.waiting.push(Waiter { number, peer, call });
        state.call(&self.shares);
        Ok(Call { turns: Arc::clone(self), peer, number, called, answered: false })
    }

    fn end(&self, peer: PeerKey, took: Duration) {
        let mut state = self.state();
        state.stop(peer);
        let now = Instant::now();
        let seconds = state.used.get(&peer).map_or(0.0, |used| used.by(now)) + took.as_secs_f64();
        state.used.insert(peer, Used { seconds, at: now });
        if state.used.len() > MOST_PEERS {
            let least = state.used.iter().min_by(|a, b| a.1.by(now).total_cmp(&b.1.by(now))).map(|(peer, _)| *peer);
            least.map(|peer| state.used.remove(&peer));
        }
        state.call(&self.shares);
    }

    /// Questions that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Questions that run.
    #[cfg(test)]
    pub fn running(&self) -> usize {
        self.state().running.values().sum()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waiting_of(&self, peer: &PeerKey) -> usize {
        self.waiting.iter().filter(|waiter| waiter.peer == *peer).count()
    }

    fn can_run(&self, peer: &PeerKey, shares: &Shares) -> bool {
        let of_peer = self.running.get(peer).copied().unwrap_or(0);
        self.running.values().sum::<usize>() < shares.at_once && of_peer < shares.at_once_of_peer
    }

    fn stop(&mut self, peer: PeerKey) {
        if let Some(running) = self.running.get_mut(&peer) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(&peer);
            }
        }
    }

    /// Gives turns away while there are some.
    fn call(&mut self, shares: &Shares) {
        let now = Instant::now();
        loop {
            let used = |peer: &PeerKey| self.used.get(peer).map_or(0.0, |used| used.by(now));
            let able = self.waiting.iter().enumerate().filter(|(_, waiter)| self.can_run(&waiter.peer, shares));
            // The first of equal ones is the oldest.
            let next = able.min_by(|a, b| used(&a.1.peer).total_cmp(&used(&b.1.peer))).map(|(nth, _)| nth);
            let Some(next) = next else { return };
            let Waiter { peer, call, .. } = self.waiting.remove(next);
            *self.running.entry(peer).or_default() += 1;
            if call.send(()).is_err() {
                self.stop(peer);
            }
        }
    }
}

/// A place in the queue; left when dropped, and a turn that came to nobody given back.
struct Call {
    turns: Arc<Turns>,
    peer: PeerKey,
    number: u64,
    called: oneshot::Receiver<()>,
    answered: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let mut state = self.turns.state();
        state.waiting.retain(|waiter| waiter.number != self.number);
        self.called.close();
        if self.called.try_recv().is_ok() {
            state.stop(self.peer);
            state.call(&self.turns.shares);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use actix_web::rt;

    use super::*;

    const MALLORY: PeerKey = PeerKey::Uid(1001);
    const ALICE: PeerKey = PeerKey::Uid(1000);
    const SHARES: Shares = Shares { at_once: 2, at_once_of_peer: 1, waiting: 6, waiting_of_peer: 4 };

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Lets every task that can go on do so.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    fn ask(turns: &Arc<Turns>, peer: PeerKey) -> rt::task::JoinHandle<Result<Turn, Failure>> {
        let turns = Arc::clone(turns);
        rt::spawn(async move { turns.take(peer, later()).await })
    }

    /// One peer cannot take all turns, nor all places to wait; another one's question runs at once.
    #[actix_web::test]
    async fn a_peer_that_asks_too_much_holds_up_nobody_else() {
        let turns = Turns::new(SHARES);
        let asked: Vec<_> = (0..20).map(|_| ask(&turns, MALLORY)).collect();
        settle().await;
        assert_eq!((turns.running(), turns.waiting()), (1, 4));
        assert_eq!(asked.iter().filter(|asked| asked.is_finished()).count(), 1 + 15, "one runs, the rest is refused");
        turns.take(ALICE, Instant::now() + Duration::from_secs(20)).await.unwrap();
    }

    /// A turn goes to who has used least, however long others wait.
    #[actix_web::test]
    async fn the_next_turn_is_for_who_has_used_least() {
        let turns = Turns::new(Shares { at_once: 1, ..SHARES });
        let first = turns.take(MALLORY, later()).await.unwrap();
        let waiting: Vec<_> = (0..3).map(|_| ask(&turns, MALLORY)).collect();
        settle().await;
        let alice = ask(&turns, ALICE);
        settle().await;
        rt::time::sleep(Duration::from_millis(5)).await;
        drop(first);
        drop(alice.await.unwrap().unwrap());
        settle().await;
        assert_eq!((turns.running(), turns.waiting()), (1, 2));
        drop(waiting);
    }

    /// A full queue has room for a peer that waits with fewer: the newest of the one with most is turned away.
    #[actix_web::test]
    async fn a_full_queue_gives_way_to_who_has_least_in_it() {
        let turns = Turns::new(Shares { at_once: 1, waiting: 4, ..SHARES });
        let _running = turns.take(PeerKey::Uid(0), later()).await.unwrap();
        let mut full: Vec<_> = (0..4).map(|_| ask(&turns, MALLORY)).collect();
        settle().await;
        let alice = ask(&turns, ALICE);
        settle().await;
        assert!(matches!(full.pop().unwrap().await.unwrap(), Err(Failure::Busy)));
        assert!(full.iter().all(|asked| !asked.is_finished()) && !alice.is_finished());
        assert_eq!(turns.waiting(), 4);
    }

    /// Who leaves the queue, or does not take a turn that was given, holds up nobody.
    #[actix_web::test]
    async fn a_turn_that_nobody_takes_goes_to_the_next() {
        let turns = Turns::new(Shares { at_once: 1, ..SHARES });
        let first = turns.take(MALLORY, later()).await.unwrap();
        let (left, given) = (turns.line_up(MALLORY).unwrap(), turns.line_up(MALLORY).unwrap());
        drop(left);
        assert_eq!(turns.waiting(), 1);
        drop(first);
        assert_eq!((turns.running(), turns.waiting()), (1, 0));
        drop(given);
        assert_eq!(turns.running(), 0);
        turns.take(ALICE, later()).await.unwrap();
    }

    /// Use of long ago weighs little.
    #[test]
    fn use_is_forgotten_with_time() {
        let now = Instant::now();
        let used = Used { seconds: 8.0, at: now };
        assert!((used.by(now + HALF_LIFE * 3) - 1.0).abs() < 1e-9);
    }
}
