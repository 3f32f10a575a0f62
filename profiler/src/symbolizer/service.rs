//! The thread that answers: takes requests in, asks the child, gives answers out.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::child::{WorkerChild, WorkerCommand};
use super::pending::{Job, Pending};
use super::wire::Kind;
use crate::profile::{Binary, BinaryKind, Symbolized, UnknownReason};
use crate::store::LocationId;

/// Most requests that wait: a start-up on a busy host has about 10,000 locations. 64 bytes each.
const MAX_WAITING: usize = 65_536;
/// Batches on their way to the thread; one comes per window.
const MAX_BATCHES: usize = 16;
/// A child that nobody asks is let go, and its memory with it.
const IDLE: Duration = Duration::from_secs(10);
/// After a child could not be started, nothing is tried for this long.
const SPAWN_PAUSE: Duration = Duration::from_secs(5);
/// Most files remembered as having crashed a child.
const MAX_SET_ASIDE: usize = 4096;

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
    /// Starts it. Answers are handed to `answers`, on the thread, a binary's at a time.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(answers: impl Fn(Vec<(LocationId, Symbolized)>) + Send + 'static) -> Result<Self, SymbolizerError> {
        Self::start_with(WorkerCommand::default(), answers)
    }

    /// Starts it with another child program.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start_with(
        command: WorkerCommand,
        answers: impl Fn(Vec<(LocationId, Symbolized)>) + Send + 'static,
    ) -> Result<Self, SymbolizerError> {
        let (queue, batches) = sync_channel(MAX_BATCHES);
        let shared = Arc::new(Shared::default());
        let mut service = Service {
            command,
            answers,
            shared: shared.clone(),
            pending: Pending::default(),
            child: None,
            dropped: 0,
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

/// What a file has done to its child: what may still be asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Its symbol tables; parsing its debug information ended the child.
    SymbolsOnly,
    /// Nothing.
    Nothing,
}

/// A file's content: when it changes, it is another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileContent {
    dev: u64,
    inode: u64,
    len: u64,
    mtime: (i64, i64),
}

impl FileContent {
    fn of(file: &File) -> Option<Self> {
        let stat = file.metadata().ok()?;
        let mtime = (stat.mtime(), stat.mtime_nsec());
        Some(Self { dev: stat.dev(), inode: stat.ino(), len: stat.len(), mtime })
    }
}

struct Service<F> {
    command: WorkerCommand,
    answers: F,
    shared: Arc<Shared>,
    pending: Pending,
    child: Option<WorkerChild>,
    /// Requests given up without an answer.
    dropped: usize,
    set_aside: HashMap<FileContent, Trust>,
}

impl<F: Fn(Vec<(LocationId, Symbolized)>)> Service<F> {
    /// Works until the queue is closed and empty, or the deadline has come; returns how many requests had no answer.
    fn run(&mut self, batches: &Receiver<Vec<Request>>) -> usize {
        let mut open = true;
        let mut paused: Option<Instant> = None;
        while open || self.pending.len() > 0 {
            let now = Instant::now();
            let hurry = self.shared.deadline.get().copied();
            if hurry.is_some_and(|deadline| deadline <= now) {
                break;
            }
            paused = paused.filter(|until| *until > now);
            let pause = paused.map_or(Duration::ZERO, |until| until - now);
            let wait = match self.pending.wait(now) {
                Some(rest) if hurry.is_none() => rest.max(pause).min(IDLE),
                Some(_) => pause,
                None => IDLE,
            };
            open = open && self.take_in(batches, wait);
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
                        paused = Some(Instant::now() + SPAWN_PAUSE);
                    }
                }
                None if wait >= IDLE => self.child = None,
                None => {}
            }
        }
        self.pending.len() + self.dropped
    }

    /// Takes in what comes within `wait`; `false` when nothing can come any more.
    fn take_in(&mut self, batches: &Receiver<Vec<Request>>, wait: Duration) -> bool {
        let mut next = batches.recv_timeout(wait);
        loop {
            match next {
                Ok(batch) => {
                    let again = batch.into_iter().filter(|request| !self.pending.add(request.clone())).count();
                    self.shared.waiting.fetch_sub(again, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            next = batches.recv_timeout(Duration::ZERO);
        }
    }

    /// Answers one job; `false` when no child could be had, so that the requests are dropped without an answer: the store
    /// asks again for what has no name.
    fn serve(&mut self, job: Job) -> bool {
        let reason = match (job.binary.kind, &job.binary.file) {
            (BinaryKind::Anonymous, _) => Some(UnknownReason::NoFile),
            (BinaryKind::File | BinaryKind::Vdso, None) => Some(UnknownReason::FileGone),
            (BinaryKind::Kernel, _) | (_, Some(_)) => None,
        };
        let taken = job.requests.len();
        let results = match reason {
            Some(reason) => Some(vec![Symbolized::Unknown(reason); taken]),
            None => {
                let begin = Instant::now();
                let offsets: Vec<u64> = job.requests.iter().map(|request| request.offset).collect();
                let results = self.ask(&job.binary, &offsets);
                self.pending.took(&job.binary.key, begin.elapsed(), Instant::now());
                results
            }
        };
        self.shared.waiting.fetch_sub(taken, Ordering::Relaxed);
        let Some(results) = results else {
            self.dropped += taken;
            return false;
        };
        (self.answers)(job.requests.iter().map(|request| request.location).zip(results).collect());
        true
    }

    /// Asks the child, piece by piece where answers are long. `None` when no child could be started, or we have to end.
    fn ask(&mut self, binary: &Binary, offsets: &[u64]) -> Option<Vec<Symbolized>> {
        let file = binary.file.as_deref();
        let content = file.and_then(FileContent::of);
        let mut results = Vec::with_capacity(offsets.len());
        while results.len() < offsets.len() {
            let trust = content.and_then(|content| self.set_aside.get(&content).copied());
            let kind = match (binary.kind, trust) {
                (BinaryKind::Kernel, _) => Kind::Kernel,
                (_, None) => Kind::Elf,
                (_, Some(Trust::SymbolsOnly)) => Kind::ElfSymbolsOnly,
                (_, Some(Trust::Nothing)) => break,
            };
            let child = match &mut self.child {
                Some(child) => child,
                none => {
                    let child = WorkerChild::spawn(&self.command);
                    let child =
                        child.inspect_err(|error| tracing::warn!(%error, "failed to start the symbolizer's child"));
                    none.insert(child.ok()?)
                }
            };
            let deadline = self.shared.deadline.get();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let patience = left.map_or(self.command.patience, |left| left.min(self.command.patience));
            match child.ask(kind, file, &offsets[results.len()..], patience) {
                Ok(reply) => {
                    results.extend(reply.results);
                    if reply.leaving {
                        self.child = None;
                    }
                }
                Err(error) => {
                    self.child = None;
                    // It is we who ran out of time, then.
                    if deadline.is_some_and(|deadline| *deadline <= Instant::now()) {
                        return None;
                    }
                    tracing::warn!(path = binary.path, %error, "the symbolizer's child failed on a file, which is set aside");
                    let Some(content) = content else { break };
                    if self.set_aside.len() >= MAX_SET_ASIDE {
                        self.set_aside.clear();
                    }
                    let trust = if kind == Kind::Elf { Trust::SymbolsOnly } else { Trust::Nothing };
                    self.set_aside.insert(content, trust);
                }
            }
        }
        results.resize(offsets.len(), Symbolized::Unknown(UnknownReason::SymbolizerFailed));
        Some(results)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::{Seek, Write};
    use std::sync::mpsc::channel;

    use super::super::worker::tests::{obedient_child, real_child};
    use super::*;
    use crate::profile::BinaryKey;

    /// A good file: ourselves.
    fn ourselves() -> Arc<Binary> {
        binary("ourselves", File::open(std::env::current_exe().unwrap()).unwrap())
    }

    fn binary(name: &str, file: File) -> Arc<Binary> {
        let key = BinaryKey::Inode { path: name.to_owned(), dev: 0, inode: 0, mtime: 0 };
        let (path, file) = (name.to_owned(), Some(Arc::new(file)));
        Arc::new(Binary { key, kind: BinaryKind::File, path, build_id: None, file })
    }

    fn special(kind: BinaryKind) -> Arc<Binary> {
        let key = BinaryKey::Inode { path: format!("{kind:?}"), dev: 0, inode: 0, mtime: 0 };
        Arc::new(Binary { key, kind, path: String::new(), build_id: None, file: None })
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    /// Asks for all, and gives the answers in the order of the requests.
    fn ask(command: WorkerCommand, requests: &[(&Arc<Binary>, u64)]) -> Vec<Symbolized> {
        let (sender, answers) = channel();
        let symbolizer = Symbolizer::start_with(command, move |batch| sender.send(batch).unwrap()).unwrap();
        let batch = requests.iter().enumerate().map(|(n, (binary, offset))| Request {
            location: LocationId(n as i64),
            binary: (*binary).clone(),
            offset: *offset,
            weight: 1,
        });
        assert_eq!(symbolizer.request(batch.collect()), 0);
        assert_eq!(symbolizer.finish(Duration::from_secs(60)), 0);
        let mut answers: Vec<_> = answers.iter().flatten().collect();
        answers.sort_by_key(|(location, _)| *location);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    const FAILED: Symbolized = Symbolized::Unknown(UnknownReason::SymbolizerFailed);

    /// Memory without a file and files never opened need no child to be answered.
    #[test]
    fn what_has_no_file_is_answered_at_once() {
        let nobody = WorkerCommand { program: "/nonexistent".into(), ..WorkerCommand::default() };
        let answers = ask(nobody, &[(&special(BinaryKind::Anonymous), 1), (&special(BinaryKind::File), 2)]);
        let expected = [UnknownReason::NoFile, UnknownReason::FileGone].map(Symbolized::Unknown);
        assert_eq!(answers, expected);
    }

    /// A file that ends its child takes only its own names with it: the next file has its answers from a new child.
    #[test]
    fn a_child_that_dies_is_replaced_and_the_file_set_aside() {
        let bad = binary("bad", file_of(b"ABORT"));
        let good = ourselves();
        let answers = ask(obedient_child(), &[(&bad, 1), (&good, 0), (&bad, 2)]);
        assert_eq!((&answers[0], &answers[2]), (&FAILED, &FAILED));
        assert_ne!(answers[1], FAILED);
    }

    /// A file that hangs its child costs its deadline, twice at most (with debug information, then without), and no more.
    #[test]
    fn a_child_that_hangs_is_killed_and_its_file_never_parsed_again() {
        let hang = binary("hang", file_of(b"HANG!"));
        let patience = Duration::from_millis(500);
        let command = WorkerCommand { patience, ..obedient_child() };
        let begin = Instant::now();
        let requests: Vec<_> = (0..3000).map(|offset| (&hang, offset)).collect();
        assert!(ask(command, &requests).iter().all(|answer| *answer == FAILED));
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    }

    /// A child killed from outside is replaced at the next question.
    #[test]
    fn a_killed_child_is_known_to_be_dead() {
        let good = ourselves();
        let file = good.file.as_deref();
        let mut child = WorkerChild::spawn(&real_child()).unwrap();
        assert_eq!(child.ask(Kind::Elf, file, &[0, 1], Duration::from_secs(20)).unwrap().results.len(), 2);
        child.kill();
        assert!(child.ask(Kind::Elf, file, &[0, 1], Duration::from_secs(20)).is_err());
        let mut child = WorkerChild::spawn(&real_child()).unwrap();
        assert!(child.ask(Kind::Elf, file, &[0, 1], Duration::from_secs(20)).is_ok());
    }

    /// Whoever is no child of ours is found out before a file is blamed: the requests stay without an answer.
    #[test]
    fn a_program_that_does_not_say_hello_is_no_child() {
        let command = WorkerCommand { program: "/bin/true".into(), args: Vec::new(), ..WorkerCommand::default() };
        assert!(WorkerChild::spawn(&command).is_err());
        let (sender, answers) = channel();
        let symbolizer = Symbolizer::start_with(command, move |batch| sender.send(batch).unwrap()).unwrap();
        let request = Request { location: LocationId(1), binary: ourselves(), offset: 0, weight: 1 };
        assert_eq!(symbolizer.request(vec![request]), 0);
        assert_eq!(symbolizer.finish(Duration::from_millis(300)), 1);
        assert_eq!(answers.iter().count(), 0);
    }

    /// More than there is room for is given back, and blocks nobody.
    #[test]
    fn a_full_queue_says_what_found_no_room() {
        let command = WorkerCommand { patience: Duration::from_millis(200), ..obedient_child() };
        let hang = binary("hang", file_of(b"HANG!"));
        let symbolizer = Symbolizer::start_with(command, |_| {}).unwrap();
        let request = |n| Request { location: LocationId(n), binary: hang.clone(), offset: 0, weight: n as u64 };
        let too_many = MAX_WAITING as i64 + 100;
        assert_eq!(symbolizer.request((0..too_many).map(request).collect()), 100);
        assert!(symbolizer.waiting() <= MAX_WAITING);
        let _ = symbolizer.finish(Duration::ZERO);
    }

    /// A file that is truncated and rewritten while it is parsed may end children, never us, and never the others' names.
    #[test]
    fn a_file_that_changes_while_it_is_parsed_harms_nobody_else() {
        let image = std::fs::read("/proc/self/exe").unwrap();
        let image = &image[..image.len().min(4 << 20)];
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), image).unwrap();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let owner = std::thread::spawn({
            let (stop, path, image) = (stop.clone(), path.path().to_owned(), image.to_vec());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    std::fs::write(&path, b"\x7fELF").unwrap();
                    std::fs::write(&path, &image).unwrap();
                }
            }
        });
        let good = ourselves();
        let here = file_offset_of(a_file_that_changes_while_it_is_parsed_harms_nobody_else as *const () as u64);
        for _ in 0..10 {
            let changing = binary("changing", File::open(path.path()).unwrap());
            let answers = ask(real_child(), &[(&changing, 0x1000), (&good, here)]);
            assert!(matches!(answers[1], Symbolized::Named(_)), "{:?}", answers[1]);
        }
        stop.store(true, Ordering::Relaxed);
        owner.join().unwrap();
    }

    /// Where an address of ours lies in our file.
    fn file_offset_of(address: u64) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let offset = maps.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let (start, end) = fields.next()?.split_once('-')?;
            let offset = hex(fields.nth(1)?);
            (hex(start)..hex(end)).contains(&address).then(|| address - hex(start) + offset)
        });
        offset.unwrap()
    }
}
