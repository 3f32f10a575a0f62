//! Questions to the database: few at once, each with a deadline, given up when nobody waits for the answer.
//!
//! SQLite blocks, so a question runs on a blocking thread with a [`Reader`] of its own. What bounds memory is the number
//! of questions at once; what comes beyond waits for its turn in a queue that peers share (`turns.rs`), then is turned away. A question that
//! passes its deadline, which begins with its turn, or whose client has gone is interrupted, and keeps its place until it has really ended.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use actix_web::{rt, web};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::connections::PeerKey;
use super::error::Failure;
use super::recording::Recording;
use super::turns::{Shares, Turn, Turns};
use crate::process::BudgetCounts;
use crate::profile::Demangle;
use crate::query::QueryError;
use crate::store::{KeptSums, Reader, StoreError};
use crate::sys::memory;

/// How often a question is told again to stop: one interrupt stops only the statement that is running just then.
const INTERRUPT_AGAIN: Duration = Duration::from_millis(50);

/// Without a question for so long, memory goes back to the kernel: people look at an answer for longer, but they drag a range or
/// click from frame to frame faster.
const IDLE: Duration = Duration::from_secs(5);

/// After so long, what questions have kept for later ones goes too.
const LONG_IDLE: Duration = Duration::from_secs(60);

/// Bytes that readers keep together between questions, beside the sums that they share: as much as one of them may keep. A reader that
/// comes back with more than the others leave forgets all of it.
const KEPT_BYTES: usize = 80 << 20;

/// Readers of one database.
#[derive(Debug)]
pub struct Readers {
    database: PathBuf,
    idle: Mutex<Vec<Reader>>,
    /// What their questions share.
    sums: Arc<KeptSums>,
    turns: Arc<Turns>,
    /// Questions so far.
    asked: AtomicUsize,
    deadline: Duration,
    /// Who is told of damage.
    recording: OnceLock<Recording>,
    /// Bytes that readers keep together between questions.
    kept_bytes: usize,
}

impl Readers {
    /// Questions that run and wait have these shares; no file is opened yet.
    #[must_use]
    pub fn new(database: PathBuf, shares: Shares, deadline: Duration) -> Self {
        let turns = Turns::new(shares);
        let (idle, sums, recording) = (Mutex::default(), Arc::default(), OnceLock::new());
        Self { database, idle, sums, turns, asked: AtomicUsize::new(0), deadline, recording, kept_bytes: KEPT_BYTES }
    }

    /// Has damage that a question meets reported to the pipeline that writes the database.
    pub fn report_damage(&self, recording: &Recording) {
        let _ = self.recording.set(recording.clone());
    }

    /// Opens a reader ahead of the first question.
    ///
    /// # Errors
    /// Those of [`Reader::open`].
    pub fn open_one(&self) -> Result<(), StoreError> {
        let reader = self.open()?;
        self.idle().push(reader);
        Ok(())
    }

    /// Bytes that readers without a question keep, these and `others`, and those of the sums that they share.
    #[must_use]
    pub fn kept_with(&self, others: &Self) -> [BudgetCounts; 2] {
        let both = [self, others];
        let readers = |of: &Self| of.idle().iter().map(Reader::kept_bytes).sum::<usize>();
        let counts = |used, limit: usize| BudgetCounts { used, limit: limit * both.len(), ..BudgetCounts::default() };
        [
            counts(both.into_iter().map(readers).sum(), self.kept_bytes),
            counts(both.into_iter().map(|of| of.sums.bytes()).sum(), KeptSums::MAX_BYTES),
        ]
    }

    /// Takes a reader back when its question has ended.
    fn put_back(&self, mut reader: Reader) {
        let mut idle = self.idle();
        let others: usize = idle.iter().map(Reader::kept_bytes).sum();
        if others + reader.kept_bytes() > self.kept_bytes {
            reader.forget();
        }
        idle.push(reader);
    }

    /// Questions that wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.turns.waiting()
    }

    fn open(&self) -> Result<Reader, StoreError> {
        Reader::sharing(&self.database, Arc::clone(&self.sums))
    }

    /// Asks `question` on a blocking thread. Dropping the future interrupts it.
    ///
    /// # Errors
    /// Those of the question; [`Failure::Busy`], [`Failure::TooLarge`], [`Failure::Database`] when no reader opens, and
    /// [`Failure::Internal`] when the question panics.
    pub async fn ask<T, Q>(self: &Arc<Self>, question: Q) -> Result<T, Failure>
    where
        T: Send + 'static,
        Q: FnOnce(&mut Reader) -> Result<T, Failure> + Send + 'static,
    {
        let turn = self.turns.take(PeerKey::current(), Instant::now() + self.deadline).await?;
        // Waiting for others takes nothing of a question's own time.
        let deadline = Instant::now() + self.deadline;
        let run = Arc::new(Run::default());
        // Dropped with this future, whether it ends or is given up.
        let (_waited_for, given_up) = oneshot::channel();
        let nth = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        rt::spawn({
            let (readers, run) = (Arc::clone(self), Arc::clone(&run));
            async move {
                give_up(run, deadline, given_up).await;
                readers.rest(nth).await;
            }
        });
        let (readers, ended) = (Arc::clone(self), Ended(run));
        let answer = web::block(move || readers.answer(ended, turn, question));
        match timeout_at(deadline, answer).await {
            Ok(Ok(Err(Failure::Query(QueryError::Store(_))))) if Instant::now() >= deadline => {
                Err(Failure::TooLarge(self.deadline))
            }
            Ok(Ok(answer)) => answer,
            Ok(Err(panicked)) => Err(Failure::Internal(panicked.to_string().into())),
            Err(_elapsed) => Err(Failure::TooLarge(self.deadline)),
        }
    }

    /// On the blocking thread. `_turn` is given back when the question has really ended.
    fn answer<T>(
        &self,
        ended: Ended,
        _turn: Turn,
        question: impl FnOnce(&mut Reader) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let idle = self.idle().pop();
        let mut reader = idle.map_or_else(|| self.open(), Ok).map_err(Failure::Database)?;
        // What the last question showed of names is no concern of this one.
        reader.set_demangle(Demangle::default());
        ended.0.begin(reader.interrupter());
        let answer = question(&mut reader);
        // Before the reader goes back: a late interrupt must not hit the next question.
        drop(ended);
        match answer {
            // It did what it was told, and what it has read makes the next question quick.
            Err(Failure::Query(QueryError::Store(StoreError::Interrupted))) => self.put_back(reader),
            // After a database error the connection is not trusted again.
            Err(Failure::Query(QueryError::Store(ref error))) => {
                // Only what SQLite itself calls damage: a row that we do not understand may be our own fault.
                let live = self.recording.get().and_then(Recording::live);
                if let (StoreError::Damaged(_), Some(live), false) = (error, live, reader.is_failed_read()) {
                    live.update(|live| live.damage_met = true);
                }
            }
            _ => self.put_back(reader),
        }
        answer
    }

    /// After the `nth` question has ended: gives memory back, unless another one has come.
    async fn rest(&self, nth: usize) {
        for (pause, all) in [(IDLE, false), (LONG_IDLE.saturating_sub(IDLE), true)] {
            sleep(pause).await;
            if self.asked.load(Ordering::Relaxed) != nth {
                return;
            }
            if all {
                self.sums.forget();
                self.idle().iter_mut().for_each(Reader::forget);
            }
            // It cannot fail.
            let _ = web::block(memory::give_back).await;
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From the deadline on, or once nobody waits any more, interrupts `run` until it has ended.
async fn give_up(run: Arc<Run>, deadline: Instant, nobody_waits: oneshot::Receiver<()>) {
    // Either outcome means the same.
    let _ = timeout_at(deadline, nobody_waits).await;
    while run.interrupt() {
        sleep(INTERRUPT_AGAIN).await;
    }
}

/// One question on its way, seen from outside.
#[derive(Default)]
struct Run(Mutex<Progress>);

#[derive(Default)]
enum Progress {
    #[default]
    NotBegun,
    Asking(Box<dyn Fn() + Send>),
    Ended,
}

impl Run {
    /// From here on it can be interrupted.
    fn begin(&self, interrupter: Box<dyn Fn() + Send>) {
        *self.progress() = Progress::Asking(interrupter);
    }

    /// Tells the question to stop; false when it has ended.
    fn interrupt(&self) -> bool {
        match &*self.progress() {
            Progress::NotBegun => true,
            Progress::Asking(interrupt) => {
                interrupt();
                true
            }
            Progress::Ended => false,
        }
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a run ended when dropped: by its answer, by a panic, or because it never got a thread.
struct Ended(Arc<Run>);

impl Drop for Ended {
    fn drop(&mut self) {
        *self.0.progress() = Progress::Ended;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::store::Store;
    use crate::store::drawing::window;

    /// A database, and readers of it with room for `at_once` and `waiting` and a deadline of `ms`.
    fn readers(at_once: usize, waiting: usize, ms: u64) -> (tempfile::TempDir, Arc<Readers>) {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("test.db");
        drop(Store::open(&database).unwrap());
        let shares = Shares { at_once, at_once_of_peer: at_once, waiting, waiting_of_peer: waiting };
        (folder, Arc::new(Readers::new(database, shares, Duration::from_millis(ms))))
    }

    /// Blocks until told to stop, as a long query would.
    fn until(stop: &Arc<AtomicBool>) -> impl FnOnce(&mut Reader) -> Result<(), Failure> + Send + use<> {
        let stop = Arc::clone(stop);
        move |_| {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        }
    }

    /// Waits for other tasks and threads to make `condition` true.
    async fn until_true(condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// An answer comes back, and its reader is used again.
    #[actix_web::test]
    async fn an_answer_comes_back_and_the_reader_is_kept() {
        let (_folder, readers) = readers(1, 0, 10_000);
        assert_eq!(readers.ask(|_| Ok(7)).await.unwrap(), 7);
        assert_eq!(readers.idle().len(), 1);
        assert_eq!(readers.ask(|_| Ok(8)).await.unwrap(), 8);
        assert_eq!(readers.idle().len(), 1);
    }

    /// A question that was interrupted leaves its reader as good as new; one that met a broken database does not.
    #[actix_web::test]
    async fn a_reader_is_kept_after_an_interrupt_and_dropped_after_an_error() {
        let (_folder, readers) = readers(1, 0, 10_000);
        for (error, kept) in [(StoreError::Interrupted, 1), (StoreError::BadRow("broken"), 0)] {
            readers.ask(|_| Ok(())).await.unwrap();
            let answer = readers.ask(|_| -> Result<(), Failure> { Err(QueryError::Store(error).into()) }).await;
            assert!(matches!(answer, Err(Failure::Query(QueryError::Store(_)))));
            assert_eq!(readers.idle().len(), kept);
        }
    }

    /// Beyond the turns and the queue a question is turned away at once, and the queue moves on when one ends.
    #[actix_web::test]
    async fn questions_beyond_the_queue_are_turned_away() {
        let (_folder, readers) = readers(1, 1, 10_000);
        let stop = Arc::new(AtomicBool::new(false));
        let first = rt::spawn({
            let (readers, question) = (Arc::clone(&readers), until(&stop));
            async move { readers.ask(question).await }
        });
        until_true(|| readers.turns.running() > 0).await;
        let second = rt::spawn({
            let readers = Arc::clone(&readers);
            async move { readers.ask(|_| Ok(2)).await }
        });
        until_true(|| readers.turns.waiting() > 0).await;
        assert!(matches!(readers.ask(|_| Ok(3)).await, Err(Failure::Busy)));
        stop.store(true, Ordering::Relaxed);
        first.await.unwrap().unwrap();
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert_eq!(readers.turns.waiting(), 0);
    }

    /// The client hears at the deadline; the turn comes back only when the question has really ended.
    #[actix_web::test]
    async fn a_question_past_its_deadline_keeps_its_turn_until_it_ends() {
        let (_folder, readers) = readers(1, 0, 50);
        let stop = Arc::new(AtomicBool::new(false));
        assert!(matches!(readers.ask(until(&stop)).await, Err(Failure::TooLarge(_))));
        assert!(matches!(readers.ask(|_| Ok(())).await, Err(Failure::Busy)));
        stop.store(true, Ordering::Relaxed);
        until_true(|| readers.turns.running() == 0).await;
        readers.ask(|_| Ok(())).await.unwrap();
    }

    /// What a reader keeps is counted, and all of it is forgotten when readers keep too much together.
    #[actix_web::test]
    async fn readers_keep_so_much_together_and_no_more() {
        for (limit, keeps) in [(KEPT_BYTES, true), (0, false)] {
            let (folder, readers) = readers(2, 0, 10_000);
            let mut readers = Arc::into_inner(readers).unwrap();
            readers.kept_bytes = limit;
            let readers = Arc::new(readers);
            let (mut store, _) = Store::open(&folder.path().join("test.db")).unwrap();
            store.write_window(&window(0, "web/7  main;serve x5")).unwrap();
            readers.open_one().unwrap();
            let [empty, _] = readers.kept_with(&readers);
            let text = |reader: &mut Reader| Ok(reader.snapshot().unwrap().text(1).unwrap());
            assert!(!readers.ask(text).await.unwrap().is_empty());
            let [kept, _] = readers.kept_with(&readers);
            assert_eq!((kept.used > empty.used, kept.limit), (keeps, 2 * limit));
        }
    }

    /// A question that panics is an internal error, and neither its turn nor the server is lost.
    #[actix_web::test]
    async fn a_question_that_panics_gives_its_turn_back() {
        let (_folder, readers) = readers(1, 0, 10_000);
        let answer = readers.ask(|_| -> Result<(), Failure> { panic!("on purpose") }).await;
        assert!(matches!(answer, Err(Failure::Internal(_))));
        readers.ask(|_| Ok(())).await.unwrap();
    }

    /// A run that has begun, what ends it, and how often it was interrupted.
    fn begun() -> (Arc<Run>, Ended, Arc<AtomicUsize>) {
        let (run, count) = (Arc::new(Run::default()), Arc::new(AtomicUsize::new(0)));
        let counting = Arc::clone(&count);
        run.begin(Box::new(move || {
            counting.fetch_add(1, Ordering::Relaxed);
        }));
        (Arc::clone(&run), Ended(run), count)
    }

    /// A client that left and a deadline that passed both interrupt, again and again until the question ends.
    #[actix_web::test]
    async fn a_question_nobody_waits_for_is_interrupted_until_it_ends() {
        let far = Instant::now() + Duration::from_secs(3600);
        for (deadline, client_leaves) in [(far, true), (Instant::now(), false)] {
            let (run, ended, count) = begun();
            let (waiting, given_up) = oneshot::channel();
            let watch = rt::spawn(give_up(run, deadline, given_up));
            let _waiting = (!client_leaves).then_some(waiting);
            until_true(|| count.load(Ordering::Relaxed) >= 2).await;
            drop(ended);
            watch.await.unwrap();
        }
    }

    /// While somebody waits and there is time, nothing is interrupted.
    #[actix_web::test]
    async fn a_question_in_time_is_not_interrupted() {
        let (run, ended, count) = begun();
        let (waiting, given_up) = oneshot::channel::<()>();
        let watch = rt::spawn(give_up(run, Instant::now() + Duration::from_secs(3600), given_up));
        sleep(INTERRUPT_AGAIN * 2).await;
        assert_eq!(count.load(Ordering::Relaxed), 0);
        drop(ended);
        drop(waiting);
        watch.await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    /// Interrupts reach a question while it runs, and never after it has ended.
    #[test]
    fn an_ended_question_is_never_interrupted() {
        let (run, ended, count) = begun();
        assert!(run.interrupt());
        drop(ended);
        assert!(!run.interrupt());
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
