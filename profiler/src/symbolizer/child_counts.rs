//! What has become of the children of this process, all lanes together: for `/metrics` and the notice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Why a child was replaced before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It crashed, used up its processor time or spoke nonsense: its file's doing.
    Fault,
    /// It waited for its file, which did not answer: nobody's fault.
    NoAnswer,
    /// Something else ended it: kill -9, want of memory.
    Killed,
    /// It was stopped.
    Stopped,
    /// It had no processor time to work with: a busy host.
    Starved,
    /// It could not be started.
    NotStarted,
}

impl Restart {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Fault, Self::NoAnswer, Self::Killed, Self::Stopped, Self::Starved, Self::NotStarted];

    /// Name in `/metrics`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::NoAnswer => "no_answer",
            Self::Killed => "killed",
            Self::Stopped => "stopped",
            Self::Starved => "starved",
            Self::NotStarted => "not_started",
        }
    }
}

static RESTARTS: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];
static SET_ASIDE: AtomicU64 = AtomicU64::new(0);
static POSTPONED: AtomicU64 = AtomicU64::new(0);
static RETRIED: AtomicU64 = AtomicU64::new(0);
/// Lanes whose children end again and again by no fault of theirs, and why the last one did.
static HELD_UP: Mutex<(usize, String)> = Mutex::new((0, String::new()));

/// The figures now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChildCounts {
    /// Children replaced before their time, in the order of [`Restart::ALL`].
    pub restarts: [u64; 6],
    /// Files set aside now.
    pub set_aside: u64,
    /// Files postponed now.
    pub postponed: u64,
    /// Files tried again after they had been set aside or postponed.
    pub retried: u64,
    /// Why nothing is named or compiled at the moment, if that is so.
    pub held_up: Option<String>,
}

impl ChildCounts {
    /// Those of this process, now.
    #[must_use]
    pub fn now() -> Self {
        let (lanes, why) = &*HELD_UP.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            restarts: std::array::from_fn(|n| RESTARTS[n].load(Ordering::Relaxed)),
            set_aside: SET_ASIDE.load(Ordering::Relaxed),
            postponed: POSTPONED.load(Ordering::Relaxed),
            retried: RETRIED.load(Ordering::Relaxed),
            held_up: (*lanes > 0).then(|| why.clone()),
        }
    }
}

/// A child was replaced.
pub(super) fn restarted(why: Restart) {
    RESTARTS[why as usize].fetch_add(1, Ordering::Relaxed);
}

/// A file that was set aside or postponed is tried again.
pub(super) fn retried() {
    RETRIED.fetch_add(1, Ordering::Relaxed);
}

/// One lane's part in the figures that go up and down.
#[derive(Debug, Default)]
pub(super) struct LaneState {
    set_aside: u64,
    postponed: u64,
    held_up: bool,
}

impl LaneState {
    /// So many files are set aside, so many postponed.
    pub fn files(&mut self, set_aside: usize, postponed: usize) {
        let now = [set_aside as u64, postponed as u64];
        // The difference may be negative: it wraps around, and so does the sum.
        SET_ASIDE.fetch_add(now[0].wrapping_sub(self.set_aside), Ordering::Relaxed);
        POSTPONED.fetch_add(now[1].wrapping_sub(self.postponed), Ordering::Relaxed);
        [self.set_aside, self.postponed] = now;
    }

    /// Whether children end again and again, and why.
    pub fn held_up(&mut self, why: Option<String>) {
        let (lanes, last) = &mut *HELD_UP.lock().unwrap_or_else(PoisonError::into_inner);
        *lanes = *lanes + usize::from(why.is_some()) - usize::from(self.held_up);
        self.held_up = why.is_some();
        *last = why.unwrap_or_else(|| std::mem::take(last));
    }
}

impl Drop for LaneState {
    fn drop(&mut self) {
        self.files(0, 0);
        self.held_up(None);
    }
}
