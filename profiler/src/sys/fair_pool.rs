//! Thread pool for calls that may block for ever (looking up a path on a dead network file system, or on a FUSE file system whose
//! server does not answer), shared fairly by users.
//!
//! In: a job and the user it is done for. The job itself sends its result where it is wanted; submitting never waits for a thread.
//!
//! - Jobs of one user keep at most [`PER_USER`] threads busy ([`FOR_ROOT`] for root), so that the hanging jobs of one user leave
//!   threads for the others, and all users but root together leave [`RESERVED`] threads for root.
//! - Jobs that wait are bounded for each user ([`WAITING_PER_USER`]) and in all ([`WAITING`]); beyond that `submit` refuses.
//! - Users with waiting jobs have turns, one job each.
//! - Threads start when there is work for them and end after [`IDLE`] without any.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Threads in all, hanging ones included.
pub const THREADS: usize = 16;
/// Threads that jobs of one user may keep busy.
pub const PER_USER: usize = 2;
/// The same for root, whose programs may lie on a network file system but are no attack.
pub const FOR_ROOT: usize = 8;
/// Threads that other users leave for root.
pub const RESERVED: usize = 4;
/// Jobs of one user that may wait.
pub const WAITING_PER_USER: usize = 512;
/// Jobs that may wait in all.
pub const WAITING: usize = 4096;
/// A thread without work ends after this long.
const IDLE: Duration = Duration::from_secs(10);

const ROOT: u32 = 0;

type Job = Box<dyn FnOnce() + Send>;

/// The pool. Dropping it drops the jobs that wait; threads end after the job they are at.
pub struct FairPool {
    shared: Arc<Shared>,
}

/// Why a job was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many jobs of this user wait.
    UserFull,
    /// Too many jobs wait.
    Full,
}

/// What the pool does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Jobs that wait.
    pub waiting: usize,
    /// Jobs being done.
    pub running: usize,
    /// Threads.
    pub threads: usize,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    users: HashMap<u32, User>,
    /// Users with waiting jobs, the next one first.
    turns: VecDeque<u32>,
    waiting: usize,
    running: usize,
    /// Jobs of root among those.
    running_of_root: usize,
    threads: usize,
    idle: usize,
    closed: bool,
}

#[derive(Default)]
struct User {
    waiting: VecDeque<Job>,
    running: usize,
}

impl std::fmt::Debug for FairPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FairPool").field("name", &self.shared.name).field("counts", &self.counts()).finish()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("waiting", &self.waiting).field("running", &self.running).finish_non_exhaustive()
    }
}

impl FairPool {
    /// A pool whose threads have this name. Starts none yet.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { shared: Arc::new(Shared { name, state: Mutex::default(), work: Condvar::new() }) }
    }

    /// Has a job done for a user, soon and elsewhere.
    ///
    /// # Errors
    /// [`Refused`] when too many jobs wait; the job is dropped.
    pub fn submit(&self, user: u32, job: impl FnOnce() + Send + 'static) -> Result<(), Refused> {
        let mut state = self.shared.state();
        if state.waiting >= WAITING {
            return Err(Refused::Full);
        }
        let of_user = state.users.entry(user).or_default();
        if of_user.waiting.len() >= WAITING_PER_USER {
            return Err(Refused::UserFull);
        }
        of_user.waiting.push_back(Box::new(job));
        if of_user.waiting.len() == 1 {
            state.turns.push_back(user);
        }
        state.waiting += 1;
        self.shared.call_thread(&mut state);
        Ok(())
    }

    /// Whether a job of this user would begin at once.
    #[must_use]
    pub fn can_begin(&self, user: u32) -> bool {
        let state = self.shared.state();
        state.may_run(user) && state.users.get(&user).is_none_or(|user| user.waiting.is_empty())
    }

    /// What it does now.
    #[must_use]
    pub fn counts(&self) -> PoolCounts {
        let state = self.shared.state();
        PoolCounts { waiting: state.waiting, running: state.running, threads: state.threads }
    }
}

impl Drop for FairPool {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        state.users.values_mut().for_each(|user| user.waiting.clear());
        state.turns.clear();
        state.waiting = 0;
        self.shared.work.notify_all();
    }
}

impl State {
    /// Whether another job of this user may begin.
    fn may_run(&self, user: u32) -> bool {
        let running = self.users.get(&user).map_or(0, |user| user.running);
        if user == ROOT {
            running < FOR_ROOT
        } else {
            running < PER_USER && self.running - self.running_of_root < THREADS - RESERVED
        }
    }

    fn has_runnable(&self) -> bool {
        self.turns.iter().any(|user| self.may_run(*user))
    }

    /// Takes the job whose turn it is.
    fn next(&mut self) -> Option<(u32, Job)> {
        let at = self.turns.iter().position(|user| self.may_run(*user))?;
        let user = self.turns.remove(at)?;
        let of_user = self.users.get_mut(&user)?;
        let job = of_user.waiting.pop_front()?;
        of_user.running += 1;
        if !of_user.waiting.is_empty() {
            self.turns.push_back(user);
        }
        self.waiting -= 1;
        self.running += 1;
        self.running_of_root += usize::from(user == ROOT);
        Some((user, job))
    }

    fn done(&mut self, user: u32) {
        self.running -= 1;
        self.running_of_root -= usize::from(user == ROOT);
        if let Some(of_user) = self.users.get_mut(&user) {
            of_user.running -= 1;
            if of_user.running == 0 && of_user.waiting.is_empty() {
                self.users.remove(&user);
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes or starts a thread, if there is a job that may begin.
    fn call_thread(self: &Arc<Self>, state: &mut State) {
        if !state.has_runnable() {
            return;
        }
        if state.idle > 0 {
            self.work.notify_one();
        } else if state.threads < THREADS {
            let shared = Arc::clone(self);
            let started = std::thread::Builder::new().name(self.name.to_owned()).spawn(move || shared.work());
            // Without a thread the jobs wait for the next one that ends or starts.
            state.threads += usize::from(started.is_ok());
        }
    }

    fn work(self: &Arc<Self>) {
        let mut state = self.state();
        while !state.closed {
            if let Some((user, job)) = state.next() {
                // This job may hang: what else may begin needs another thread.
                self.call_thread(&mut state);
                drop(state);
                // A panic costs its job, not its thread.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.state();
                state.done(user);
                continue;
            }
            state.idle += 1;
            let (woken, wait) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if wait.timed_out() && !state.has_runnable() {
                break;
            }
        }
        state.threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Submits a job that hangs until the sender is dropped.
    fn hang(pool: &FairPool, user: u32) -> (Result<(), Refused>, Sender<()>) {
        let (release, hangs) = channel::<()>();
        (pool.submit(user, move || _ = hangs.recv()), release)
    }

    fn answers(pool: &FairPool, user: u32) -> Receiver<u32> {
        let (answer, answered) = channel();
        pool.submit(user, move || _ = answer.send(user)).unwrap();
        answered
    }

    fn wait_for(pool: &FairPool, what: impl Fn(PoolCounts) -> bool) {
        let begin = Instant::now();
        while !what(pool.counts()) {
            assert!(begin.elapsed() < LONG, "{:?}", pool.counts());
            std::thread::yield_now();
        }
    }

    /// Eight hanging jobs of one user, of which two are begun, leave the other users' jobs untouched, and root's.
    #[test]
    fn hanging_jobs_of_one_user_leave_the_others_untouched() {
        let pool = FairPool::new("test");
        let hanging: Vec<_> = (0..8).map(|_| hang(&pool, 1000)).collect();
        assert!(hanging.iter().all(|(submitted, _)| submitted.is_ok()));
        wait_for(&pool, |counts| counts.running == PER_USER);
        for user in [0, 1001, 1002] {
            assert_eq!(answers(&pool, user).recv_timeout(LONG), Ok(user));
        }
        assert_eq!(pool.counts().waiting, 8 - PER_USER);
        drop(hanging);
        wait_for(&pool, |counts| counts.waiting + counts.running == 0);
        assert_eq!(answers(&pool, 1000).recv_timeout(LONG), Ok(1000));
    }

    /// However many users let their jobs hang, root's files are opened.
    #[test]
    fn many_users_leave_threads_for_root() {
        let pool = FairPool::new("test");
        let hanging: Vec<_> = (0..40).map(|n| hang(&pool, 1000 + n / 2)).collect();
        wait_for(&pool, |counts| counts.running == THREADS - RESERVED);
        assert_eq!(answers(&pool, 0).recv_timeout(LONG), Ok(0));
        let ours: Vec<_> = (0..RESERVED).map(|_| hang(&pool, 0)).collect();
        wait_for(&pool, |counts| counts.running == THREADS);
        drop((hanging, ours));
        wait_for(&pool, |counts| counts.waiting + counts.running == 0);
    }

    /// One user may have so many jobs waiting, and all together so many; the rest is refused, with the reason.
    #[test]
    fn what_waits_is_bounded_for_each_user_and_in_all() {
        let pool = FairPool::new("test");
        let hanging: Vec<_> = (0..PER_USER).map(|_| hang(&pool, 1)).collect();
        wait_for(&pool, |counts| counts.running == PER_USER);
        let submit = |user| pool.submit(user, || ());
        assert!((0..WAITING_PER_USER).all(|_| submit(1).is_ok()));
        assert_eq!(submit(1), Err(Refused::UserFull));
        assert!(submit(2).is_ok(), "another user has room");
        drop(hanging);
        wait_for(&pool, |counts| counts.waiting == 0);
        let users = (WAITING / WAITING_PER_USER) as u32;
        let hanging: Vec<_> = (10..10 + users).flat_map(|user| [hang(&pool, user), hang(&pool, user)]).collect();
        let submitted = (10..10 + users).flat_map(|user| std::iter::repeat_n(user, WAITING_PER_USER)).map(submit);
        assert!(submitted.filter(Result::is_err).count() <= hanging.len());
        wait_for(&pool, |counts| counts.running == THREADS - RESERVED);
        let refused = (0..hanging.len()).map(|_| submit(3)).find(Result::is_err);
        assert_eq!(refused, Some(Err(Refused::Full)));
        drop(hanging);
    }

    /// Users take turns: a job of one does not wait for the hundreds of another.
    #[test]
    fn users_take_turns() {
        let mut state = State { threads: 1, ..State::default() };
        for user in [7, 7, 7, 8, 7] {
            let of_user = state.users.entry(user).or_default();
            of_user.waiting.push_back(Box::new(|| ()));
            if of_user.waiting.len() == 1 {
                state.turns.push_back(user);
            }
            state.waiting += 1;
        }
        let mut order = Vec::new();
        while let Some((user, _)) = state.next() {
            state.done(user);
            order.push(user);
        }
        assert_eq!(order, [7, 8, 7, 7, 7]);
        assert!(state.users.is_empty() && state.turns.is_empty());
    }

    /// A job that panics costs itself only.
    #[test]
    fn a_panic_costs_its_own_job() {
        let pool = FairPool::new("test");
        for _ in 0..2 * THREADS {
            pool.submit(5, || panic!("as it should")).unwrap();
        }
        assert_eq!(answers(&pool, 5).recv_timeout(LONG), Ok(5));
    }
}
