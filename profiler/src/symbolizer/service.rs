//! The thread that answers: takes requests in, asks the child, gives answers out.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::found;
use super::jit_names::sources_of;
use super::names::{Mapped, NamesWorker};
use super::packages::Packages;
use super::pending::{Job, Pending, owner};
use super::silent::Silent;
use crate::profile::{
    Binary, BinaryKey, BinaryKind, NameSource, NameStatus, Symbolized, UNRECORDED_PATH, UnknownReason,
};
use crate::store::LocationId;

/// Most requests that wait: a start-up on a busy host has about 10,000 locations. 64 bytes each.
pub(super) const MAX_WAITING: usize = 65_536;
/// Batches on their way to the thread; one comes per window, of a second at least, and one question may take two minutes on a busy host. What
/// is dropped here is not asked for again once its program has ended. Their memory is bounded by [`MAX_WAITING`].
const MAX_BATCHES: usize = 256;
/// A child that nobody asks is let go, and its memory with it.
const IDLE: Duration = Duration::from_secs(10);
/// A runtime tells of code some time after it runs it: what its file does not know yet is asked for again after these times.
const JIT_AGAIN: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10), Duration::from_secs(30)];
/// Most locations that wait for that.
const MAX_LATER: usize = 4096;
/// How often it is looked whether a debug file has come.
const DOWNLOAD: Duration = Duration::from_millis(500);
/// After a question that could not be asked, nothing is tried for this long, unless the worker says how long.
const PAUSE: Duration = Duration::from_secs(1);
/// Most binaries that are set aside and named again in time; each may hold a file open. What is beyond is named when it is next sampled
/// in another run.
const MAX_AGAIN: usize = 256;
/// Most of them in files of one user.
const AGAIN_OF_USER: usize = MAX_AGAIN / 8;

/// Why there is no symbolizer.
#[derive(Debug, thiserror::Error)]
pub enum SymbolizerError {
    /// No thread could be had.
    #[error("failed to start the symbolizer's thread: raise the limit on processes (ulimit -u)")]
    Thread(#[source] std::io::Error),
}

/// A location to be named.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which one.
    pub location: LocationId,
    /// The binary it is in, with its file.
    pub binary: Arc<Binary>,
    /// Where in the binary, as [`crate::profile::Location`] counts.
    pub offset: u64,
    /// Samples at it: the busiest are named first.
    pub weight: u64,
}

impl Request {
    /// The weight of what somebody waits for: it is named at once, however long its binary took before.
    pub const AT_ONCE: u64 = u64::MAX;
}

/// Names for locations of one binary.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Which.
    pub binary: Arc<Binary>,
    /// What was found where.
    pub status: NameStatus,
    /// Each location with its names.
    pub names: Vec<(LocationId, Symbolized)>,
    /// The program tells now of code that it did not tell of: what was answered before may have names.
    pub tells_more: bool,
}

/// Names locations on a thread of its own, with one child process while there is something to do.
#[derive(Debug)]
pub struct Symbolizer {
    queue: Option<SyncSender<Vec<Request>>>,
    thread: Option<JoinHandle<usize>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Requests taken and not answered yet.
    waiting: AtomicUsize,
    /// When the thread has to end; set once nothing more is asked.
    deadline: OnceLock<Instant>,
}

impl Symbolizer {
    /// Starts it, with this to ask. Answers are handed to `answers`, on the thread, a binary's at a time.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(worker: NamesWorker, answers: impl Fn(Answers) + Send + 'static) -> Result<Self, SymbolizerError> {
        let (queue, batches) = sync_channel(MAX_BATCHES);
        let shared = Arc::new(Shared::default());
        let mut service = Service {
            worker,
            answers,
            shared: shared.clone(),
            pending: Pending::default(),
            later: HashMap::new(),
            tries: HashMap::new(),
            silent: Silent::default(),
            is_last: false,
            packages: Packages::default(),
            set_aside: HashMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("symbolizer".to_owned())
            .spawn(move || service.run(&batches))
            .map_err(SymbolizerError::Thread)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), shared })
    }

    /// Asks for names; never blocks. Says how many of the batch, the least busy, found no room: they are to be asked for again.
    /// Locations that wait already are not taken twice.
    pub fn request(&self, mut batch: Vec<Request>) -> usize {
        let room = MAX_WAITING.saturating_sub(self.shared.waiting.load(Ordering::Relaxed));
        let asked = batch.len();
        if asked > room {
            batch.sort_by_key(|request| std::cmp::Reverse(request.weight));
            batch.truncate(room);
        }
        let taken = batch.len();
        self.shared.waiting.fetch_add(taken, Ordering::Relaxed);
        if let Some(queue) = &self.queue
            && queue.try_send(batch).is_ok()
        {
            return asked - taken;
        }
        self.shared.waiting.fetch_sub(taken, Ordering::Relaxed);
        asked
    }

    /// Requests taken and not answered yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Waits until all is answered, but no longer than `patience`; returns how many requests had none.
    #[must_use]
    pub fn finish(mut self, patience: Duration) -> usize {
        let _ = self.shared.deadline.set(Instant::now() + patience);
        self.queue = None;
        let thread = self.thread.take();
        thread.map_or(0, |thread| thread.join().unwrap_or_else(|_| self.waiting()))
    }
}

impl Drop for Symbolizer {
    /// Lets the thread end at its next step, without waiting for it.
    fn drop(&mut self) {
        let _ = self.shared.deadline.set(Instant::now());
    }
}

struct Service<F> {
    worker: NamesWorker,
    answers: F,
    shared: Arc<Shared>,
    pending: Pending,
    /// Locations of code that a living program has not told of yet: when to ask again, and how often that was done.
    later: HashMap<LocationId, (Instant, usize, Request)>,
    /// How often those of them that are asked for now were asked for before.
    tries: HashMap<LocationId, usize>,
    /// Programs to be asked about again, for whatever they had no answer to.
    silent: Silent,
    /// Nothing more is asked, and those programs have been looked at for the last time.
    is_last: bool,
    packages: Packages,
    /// Binaries whose file is set aside, and when it is tried again.
    set_aside: HashMap<BinaryKey, (Instant, Arc<Binary>)>,
}

impl<F: Fn(Answers)> Service<F> {
    /// Works until the queue is closed and empty, or the deadline has come; returns how many requests had no answer.
    fn run(&mut self, batches: &Receiver<Vec<Request>>) -> usize {
        let mut open = true;
        let mut paused: Option<Instant> = None;
        while open || self.pending.len() > 0 || !self.later.is_empty() || !self.is_last {
            let now = Instant::now();
            let hurry = self.shared.deadline.get().copied();
            self.ask_again(now, hurry.is_some());
            if hurry.is_some_and(|deadline| deadline <= now) {
                break;
            }
            if !open && !self.is_last {
                self.look_last();
            }
            paused = paused.filter(|until| *until > now);
            let pause = paused.map_or(Duration::ZERO, |until| until - now);
            let wait = match self.pending.wait(now) {
                Some(rest) if hurry.is_none() => rest.max(pause).min(IDLE),
                Some(_) => pause,
                None => self
                    .later
                    .values()
                    .map(|(at, ..)| at.saturating_duration_since(now))
                    .min()
                    .unwrap_or(IDLE)
                    .min(IDLE),
            };
            // A look at files of others' is no reason to keep a child: it wakes us without being work.
            let again = self.set_aside.values().map(|(at, _)| *at).min();
            let look = self.silent.next().into_iter().chain(again).min();
            let look = look.map_or(wait, |next| next.saturating_duration_since(now));
            open = open && self.take_in(batches, wait.min(look));
            if hurry.is_none() {
                self.hear();
            }
            if paused.is_some_and(|until| until > Instant::now()) {
                if !open {
                    // Nothing more comes in that could wake us.
                    std::thread::sleep(Duration::from_millis(20));
                }
                continue;
            }
            match self.pending.next(Instant::now(), hurry.is_some()) {
                Some(job) => {
                    if !self.serve(job) {
                        paused = Some(self.worker.not_before().unwrap_or(Instant::now() + PAUSE));
                    }
                }
                None if wait >= IDLE => self.worker.let_go(),
                None => {}
            }
        }
        self.pending.len() + self.later.len()
    }

    /// Passes on which programs tell more than they did, and which files are tried again.
    fn hear(&mut self) {
        let now = Instant::now();
        for (key, (_, binary)) in self.set_aside.extract_if(|_, (at, _)| *at <= now) {
            self.pending.wake(&key);
            (self.answers)(Answers { binary, status: NameStatus::default(), names: Vec::new(), tells_more: true });
        }
        let worker = &mut self.worker;
        for binary in self.silent.told(Instant::now(), |program| worker.look_at(program)) {
            (self.answers)(Answers { binary, status: NameStatus::default(), names: Vec::new(), tells_more: true });
        }
    }

    /// What programs tell by now, at the end, is used for all their places that have no name.
    fn look_last(&mut self) {
        self.is_last = true;
        let worker = &mut self.worker;
        for request in self.silent.finish(|program| worker.look_at(program)) {
            let is_new = !self.later.contains_key(&request.location) && self.pending.add(request);
            self.shared.waiting.fetch_add(usize::from(is_new), Ordering::Relaxed);
        }
    }

    /// Takes up what has waited long enough.
    fn ask_again(&mut self, now: Instant, hurry: bool) {
        for (location, (_, tries, request)) in self.later.extract_if(|_, (at, ..)| hurry || *at <= now) {
            self.tries.insert(location, tries);
            self.pending.add(request);
        }
    }

    /// Takes those out whose program may still tell of them; gives the rest with their answers.
    fn not_yet(&mut self, requests: Vec<Request>, results: Vec<Symbolized>) -> (Vec<Request>, Vec<Symbolized>) {
        let now = Instant::now();
        let mut alive: HashMap<u32, bool> = HashMap::new();
        let mut kept = (Vec::new(), Vec::new());
        for (request, result) in requests.into_iter().zip(results) {
            let tries = self.tries.remove(&request.location).unwrap_or(0);
            let again = JIT_AGAIN.get(tries).filter(|_| self.later.len() < MAX_LATER);
            if let (Some(wait), BinaryKey::Jit { pid, .. }) = (again, &request.binary.key)
                && result == Symbolized::Unknown(UnknownReason::NotFound)
                && *alive.entry(*pid).or_insert_with(|| Path::new(&format!("/proc/{pid}")).exists())
            {
                self.later.insert(request.location, (now + *wait, tries + 1, request));
            } else {
                kept.0.push(request);
                kept.1.push(result);
            }
        }
        kept
    }

    /// Takes in what comes within `wait`; `false` when nothing can come any more.
    fn take_in(&mut self, batches: &Receiver<Vec<Request>>, wait: Duration) -> bool {
        let mut next = batches.recv_timeout(wait);
        loop {
            match next {
                Ok(batch) => {
                    let waits = |request: &Request| {
                        self.later.contains_key(&request.location) || !self.pending.add(request.clone())
                    };
                    let again = batch.into_iter().filter(waits).count();
                    self.shared.waiting.fetch_sub(again, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            next = batches.recv_timeout(Duration::ZERO);
        }
    }

    /// Answers one job; `false` when no child could answer, by no fault of the file: the requests wait on.
    fn serve(&mut self, job: Job) -> bool {
        let taken = job.requests.len();
        let offsets: Vec<u64> = job.requests.iter().map(|request| request.offset).collect();
        let deadline = self.shared.deadline.get().copied();
        let Binary { key, kind, path, file, unopened, .. } = &*job.binary;
        let without_file = match key {
            _ if path == UNRECORDED_PATH => UnknownReason::TooManyMappings,
            key => unopened.unwrap_or(match key {
                BinaryKey::Claimed { .. } => UnknownReason::NotVerified,
                _ => UnknownReason::FileGone,
            }),
        };
        let sources = sources_of(&job.binary);
        let begin = Instant::now();
        if let (BinaryKind::File, Some(file), None) = (kind, file, deadline) {
            let mapped = Mapped::of(&job.binary, file);
            if self.worker.is_coming(&mapped) {
                // Others are named meanwhile. What comes too late is for the next run.
                self.pending.put_back(job, Instant::now() + DOWNLOAD);
                return true;
            }
        }
        let results = match (kind, file) {
            (BinaryKind::Vdso, Some(_)) if !self.worker.allows(NameSource::Vdso) => {
                Some(vec![Symbolized::Unknown(UnknownReason::SwitchedOff); taken])
            }
            (BinaryKind::File | BinaryKind::Vdso, Some(file)) => {
                let mapped = Mapped::of(&job.binary, file);
                self.worker.of_file(&mapped, &offsets, deadline)
            }
            (BinaryKind::File | BinaryKind::Vdso, None) => Some(vec![Symbolized::Unknown(without_file); taken]),
            (BinaryKind::Kernel, _) => self.worker.of_kernel(&offsets, deadline),
            (BinaryKind::Anonymous, _) => self.worker.of_jit(sources.as_ref(), &offsets, deadline),
        };
        let took = begin.elapsed();
        self.pending.took(&job.binary, took, Instant::now());
        let Some(results) = results else {
            // Others first, in case that it is this file after all: one that makes its child take all the memory there is, perhaps.
            let until = self.worker.not_before().unwrap_or(Instant::now() + PAUSE);
            self.pending.put_back(job, until + took.clamp(PAUSE / 10, PAUSE * 5));
            return false;
        };
        self.note_set_aside(&job.binary, file.is_some() || matches!(key, BinaryKey::Jit { .. }));
        let status = self.status(&job.binary, &results);
        let (requests, results) =
            if deadline.is_none() { self.not_yet(job.requests, results) } else { (job.requests, results) };
        self.shared.waiting.fetch_sub(requests.len(), Ordering::Relaxed);
        let is_unnamed =
            |name: &Symbolized| matches!(name, Symbolized::Unknown(UnknownReason::NoFile | UnknownReason::NotFound));
        // One that had ended by then has told all it will.
        if sources.is_some_and(|sources| !sources.has_ended())
            && !self.is_last
            && results.iter().any(is_unnamed)
            && let Some(looked) = self.worker.look_at(&job.binary)
        {
            let unnamed =
                requests.iter().zip(&results).filter(|(_, name)| is_unnamed(name)).map(|(request, _)| request);
            self.silent.note(&job.binary, looked, unnamed, Instant::now());
        }
        let names = requests.iter().map(|request| request.location).zip(results).collect();
        (self.answers)(Answers { binary: job.binary, status, names, tells_more: false });
        true
    }

    /// Notes when a binary just asked about is worth asking about again.
    fn note_set_aside(&mut self, binary: &Arc<Binary>, was_asked: bool) {
        if let Some(at) = self.worker.again_at().filter(|_| was_asked)
            && (self.set_aside.contains_key(&binary.key) || self.has_room_for(owner(binary)))
        {
            self.set_aside.insert(binary.key.clone(), (at, Arc::clone(binary)));
        }
    }

    fn has_room_for(&self, user: u32) -> bool {
        let theirs = self.set_aside.values().filter(|(_, binary)| owner(binary) == user);
        self.set_aside.len() < MAX_AGAIN && theirs.count() < AGAIN_OF_USER
    }

    /// What the names just given came from.
    fn status(&mut self, binary: &Binary, results: &[Symbolized]) -> NameStatus {
        let sources = match (binary.kind, &binary.file) {
            (BinaryKind::Vdso, Some(_)) => found::one(NameSource::Vdso, Some(binary.path.clone())),
            (BinaryKind::File | BinaryKind::Vdso, None) => Vec::new(),
            _ => self.worker.take_found(),
        };
        let stripped = results.iter().any(|result| result.reason() == Some(UnknownReason::NoSymbols));
        // A container's files are of its own packages.
        let host = binary.kind == BinaryKind::File && binary.root.is_none();
        let package = if stripped && host { self.packages.owner(&binary.path) } else { None };
        NameStatus { sources, package }
    }
}

#[cfg(test)]
mod tests;
