//! What clients were refused, by cause: counted for `/metrics`, and told to the log at most once a minute for each cause.
//!
//! A client decides how often it is refused, so no refusal has a line of its own: the first one is told at once, those after it by their
//! number, with the message of the last one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connections::PeerKey;
use super::error::Failure;

/// Two lines about one cause are at least this far apart.
const PAUSE: Duration = Duration::from_secs(60);

/// Why a client got no answer, or not the one that it wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A connection that waited for a request made room for another one.
    ConnectionEvicted,
    /// All connections are being answered.
    ConnectionRefused,
    /// A request did not come, or an answer was not taken, in time.
    ConnectionTooSlow,
    /// The peer has its share of answers on their way.
    AnswersOfPeer,
    /// All that may be are being answered.
    AnswersFull,
    /// Enough questions wait.
    Busy,
    /// A question took too long.
    Deadline,
    /// The database was not to be read.
    Database,
    /// A defect of ours.
    Internal,
    /// No login.
    LoginRequired,
    /// A wrong token or session, a link that was used or is too old.
    LoginWrong,
    /// Too many of these from one peer.
    LoginTries,
    /// Not addressed to us, by another site's page, or with what is not accepted.
    NotForUs,
}

impl Cause {
    /// All, by number.
    pub const ALL: [Self; 13] = [
        Self::ConnectionEvicted,
        Self::ConnectionRefused,
        Self::ConnectionTooSlow,
        Self::AnswersOfPeer,
        Self::AnswersFull,
        Self::Busy,
        Self::Deadline,
        Self::Database,
        Self::Internal,
        Self::LoginRequired,
        Self::LoginWrong,
        Self::LoginTries,
        Self::NotForUs,
    ];

    /// The value of the label `cause`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectionEvicted => "connection_evicted",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTooSlow => "connection_too_slow",
            Self::AnswersOfPeer => "answers_of_peer",
            Self::AnswersFull => "answers_full",
            Self::Busy => "busy",
            Self::Deadline => "deadline",
            Self::Database => "database_unreadable",
            Self::Internal => "internal",
            Self::LoginRequired => "login_required",
            Self::LoginWrong => "wrong_login",
            Self::LoginTries => "too_many_tries",
            Self::NotForUs => "not_for_us",
        }
    }

    fn of(failure: &Failure) -> Option<Self> {
        use crate::query::QueryError;
        match failure {
            Failure::Busy => Some(Self::Busy),
            Failure::TooLarge(_) => Some(Self::Deadline),
            Failure::Database(_) | Failure::Query(QueryError::Store(_)) => Some(Self::Database),
            Failure::Internal(_) => Some(Self::Internal),
            Failure::WrongHost
            | Failure::NoHost
            | Failure::Method
            | Failure::Body
            | Failure::CrossSite
            | Failure::OtherPage => Some(Self::NotForUs),
            _ => None,
        }
    }

    /// Whether the log should have it: what the operator may mend, not what a client did wrong.
    fn is_told(self) -> bool {
        !matches!(self, Self::NotForUs | Self::LoginRequired)
    }
}

/// Counts by cause, since the server began.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<[Count; Cause::ALL.len()]>);

#[derive(Debug, Default)]
struct Count {
    total: u64,
    untold: u64,
    told: Option<Instant>,
    message: String,
}

impl Refusals {
    /// One more without a message of its own.
    pub fn count(&self, cause: Cause) {
        self.add(cause, || cause.name().replace('_', " "), Instant::now());
    }

    /// One more, if this failure is one.
    pub fn failure(&self, failure: &Failure) {
        if let Some(cause) = Cause::of(failure) {
            self.add(cause, || chain(failure), Instant::now());
        }
    }

    /// One more that has no login, or a wrong one.
    pub fn login(&self, cause: Cause, who: Option<PeerKey>) {
        let who = match who {
            Some(PeerKey::Uid(uid)) => format!(" by user {uid} of this host"),
            Some(PeerKey::Address(address)) => format!(" by {address}"),
            None => String::new(),
        };
        self.add(cause, || cause.name().replace('_', " ") + &who, Instant::now());
    }

    fn add(&self, cause: Cause, message: impl FnOnce() -> String, now: Instant) -> bool {
        let mut counts = self.counts();
        let count = &mut counts[cause as usize];
        count.total += 1;
        if !cause.is_told() {
            return false;
        }
        count.untold += 1;
        count.message = message();
        count.tell(cause, now)
    }

    /// Tells of what has come since, where it is time.
    pub fn report(&self, now: Instant) {
        for (cause, count) in Cause::ALL.into_iter().zip(self.counts().iter_mut()) {
            if count.untold > 0 {
                count.tell(cause, now);
            }
        }
    }

    /// How many there were.
    #[must_use]
    pub fn total(&self, cause: Cause) -> u64 {
        self.counts()[cause as usize].total
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, [Count; Cause::ALL.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    /// Writes the line, unless there was one in the last minute.
    fn tell(&mut self, cause: Cause, now: Instant) -> bool {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < PAUSE) {
            return false;
        }
        let (cause_name, refused, last) = (cause.name(), self.untold, self.message.as_str());
        match cause {
            Cause::Internal => tracing::error!(cause = cause_name, refused, last, "requests failed"),
            _ => tracing::warn!(cause = cause_name, refused, last, "clients were refused"),
        }
        (self.told, self.untold) = (Some(now), 0);
        true
    }
}

/// An error and its causes, of bounded length.
fn chain(failure: &Failure) -> String {
    let mut chain = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        chain.push_str(": ");
        chain.push_str(&error.to_string());
        cause = error.source();
    }
    if chain.len() > 1000 {
        chain.truncate(chain.floor_char_boundary(1000));
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand refusals in a minute are two lines: the first one, and the rest by number.
    #[test]
    fn refusals_are_told_once_a_minute() {
        let (refusals, begin) = (Refusals::default(), Instant::now());
        let told = (0..10_000).filter(|_| refusals.add(Cause::Busy, String::new, begin + PAUSE / 2)).count();
        assert_eq!(told, 1);
        assert!(refusals.add(Cause::Deadline, String::new, begin + PAUSE / 2), "another cause has a line of its own");
        refusals.report(begin + PAUSE);
        assert_eq!(refusals.counts()[Cause::Busy as usize].untold, 9_999);
        refusals.report(begin + PAUSE * 2);
        assert_eq!(refusals.counts()[Cause::Busy as usize].untold, 0);
        assert_eq!(refusals.total(Cause::Busy), 10_000);
    }

    /// What clients do wrong is counted, and has no line.
    #[test]
    fn requests_that_are_not_for_us_are_only_counted() {
        let refusals = Refusals::default();
        refusals.failure(&Failure::WrongHost);
        refusals.failure(&Failure::NoSuchEndpoint);
        assert_eq!(refusals.total(Cause::NotForUs), 1);
        assert_eq!(refusals.counts()[Cause::NotForUs as usize].untold, 0);
    }

    /// Numbers are places in the table.
    #[test]
    fn every_cause_has_its_own_place_and_name() {
        let names: std::collections::BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert_eq!(names.len(), Cause::ALL.len());
        assert!(Cause::ALL.iter().enumerate().all(|(nth, cause)| *cause as usize == nth));
    }
}
