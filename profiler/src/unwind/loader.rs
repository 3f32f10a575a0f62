//! The threads that get images: from the cache on disk, or from the worker that parses foreign files.
//!
//! Small files first: the first minute on a busy host wants hundreds. A large one that is in no cache takes seconds, in which no small one
//! waits: it is compiled on a thread of its own, with a worker of its own. What comes back has been checked; the sampling thread only copies it
//! into the pool.
//!
//! - A file whose child was ended by something else is tried again, after those that were not.
//! - Files of one user other than root get a share of the time (`sys/time_share.rs`) and of the places of those that wait.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use profiler_ebpf::tables::PAGE;

use super::cache::{Cache, CacheKey};
use super::{Image, Missing};
use crate::profile::{BinaryId, BuildId};
use crate::sys::time_share::{ROOT, TimeShares, owner_of};

/// Files that may wait: those of the largest process many times over. 24 bytes each.
const MAX_WAITING: usize = 16_384;
/// Files of one user other than root.
const MAX_OF_USER: usize = MAX_WAITING / 4;
/// Bytes of images that may wait to be copied; one more is let in.
const MAX_READY: usize = 32 << 20;

/// Files from this length on are large: they take tenths of a second, or seconds.
const LARGE: u64 = 8 << 20;

/// The parser is let go when nothing was asked for this long.
const IDLE: Duration = Duration::from_secs(10);

/// A file whose image is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which one.
    pub binary: BinaryId,
    /// The open file.
    pub file: Arc<File>,
    /// The user who owns it, where that was found out; else whom its file system names.
    pub user: Option<u32>,
    /// Its length.
    pub len: u64,
    /// By it its image is kept on disk; `None` where it is not to be kept.
    pub kept_as: Option<CacheKey>,
}

/// What stands for the build id of a file that has none (rustc's driver, 150 MB, is one): where it lies and when it was changed.
#[must_use]
pub fn stand_in(file: &Metadata) -> Option<BuildId> {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&file.dev().to_le_bytes());
    bytes[8..16].copy_from_slice(&file.ino().to_le_bytes());
    let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()].map(i64::to_le_bytes);
    bytes[16..].copy_from_slice(&crc32fast::hash(times.as_flattened()).to_le_bytes());
    BuildId::new(&bytes)
}

/// Why there is no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCompiled {
    /// The file has none, or none that can be had now.
    Missing(Missing),
    /// The child that parsed it was ended by something else.
    Interrupted,
}

/// Parses a file, in the place where foreign files are parsed: an encoded image, not to be trusted.
pub trait Compile: Send + 'static {
    /// Compiles the rows of a file.
    ///
    /// # Errors
    /// Why there are none.
    fn compile(&mut self, file: &File, user: Option<u32>) -> Result<Vec<u8>, NotCompiled>;
    /// Nothing has been asked for a while: memory can be given back.
    fn idle(&mut self);
}

/// The threads' other end.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
}

/// What both ends see.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    wanted: Vec<Waiting>,
    shares: TimeShares,
    ready: VecDeque<(BinaryId, Result<Image, Missing>)>,
    /// Memory of the images in `ready`.
    bytes: usize,
    closed: bool,
}

/// A file that waits.
#[derive(Debug)]
struct Waiting {
    request: Request,
    owner: u32,
    /// How often its child was ended by something else.
    tries: u32,
    /// Who gets it.
    lane: Lane,
}

/// The threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Looks into the cache, and compiles small files.
    Quick,
    /// Compiles large ones that are not in the cache.
    Large,
}

impl State {
    /// The smallest file of a lane that was tried least, so that what all processes share does not wait behind the largest program of one.
    /// Users who had their share of the time wait.
    fn next(&self, lane: Lane, now: Instant) -> Option<usize> {
        let of_lane = (0..self.wanted.len()).filter(|at| self.wanted[*at].lane == lane);
        let awake = of_lane.filter(|at| self.shares.rest(self.wanted[*at].owner, now).is_zero());
        awake.min_by_key(|at| (self.wanted[*at].tries, self.wanted[*at].request.len))
    }

    fn has_room_for(&self, owner: u32) -> bool {
        let waiting = self.wanted.len();
        let theirs = || self.wanted.iter().filter(|waiting| waiting.owner == owner).count();
        waiting < MAX_WAITING && (owner == ROOT || waiting < MAX_OF_USER || theirs() < MAX_OF_USER)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next file of a lane; `None` after a while without any.
    fn next_wanted(&self, lane: Lane) -> Option<Waiting> {
        let begin = Instant::now();
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(next) = state.next(lane, now) {
                return Some(state.wanted.swap_remove(next));
            }
            let left = IDLE.saturating_sub(now - begin);
            if state.closed || left.is_zero() {
                return None;
            }
            let of_lane = state.wanted.iter().filter(|waiting| waiting.lane == lane);
            let rests = of_lane.map(|waiting| state.shares.rest(waiting.owner, now));
            let wait = rests.min().unwrap_or(left).min(left);
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A file waits again.
    fn put_back(&self, waiting: Waiting) {
        self.lock().wanted.push(waiting);
        self.changed.notify_all();
    }

    /// Gets the image of a file and hands it over, or lets it wait for another try.
    fn load(&self, waiting: Waiting, compile: &mut impl Compile, cache: Option<&Cache>) {
        let (begin, Waiting { request, lane, .. }) = (Instant::now(), &waiting);
        let kept = cache.zip(request.kept_as.as_ref());
        let known = kept.filter(|_| *lane == Lane::Quick).and_then(|(cache, key)| cache.get(key));
        if let Some(image) = known {
            return self.done(&waiting, Ok(image), begin);
        }
        if *lane == Lane::Quick && request.len >= LARGE {
            return self.put_back(Waiting { lane: Lane::Large, ..waiting });
        }
        match compiled(request, compile, kept) {
            Err(NotCompiled::Interrupted) => self.put_back(Waiting { tries: waiting.tries + 1, ..waiting }),
            Err(NotCompiled::Missing(why)) => self.done(&waiting, Err(why), begin),
            Ok(image) => self.done(&waiting, Ok(image), begin),
        }
    }

    /// Hands an image over, once those before it have left room.
    fn done(&self, of: &Waiting, image: Result<Image, Missing>, begin: Instant) {
        self.lock().shares.took(of.owner, begin.elapsed(), Instant::now());
        let bytes = |image: &Result<Image, Missing>| image.as_ref().map_or(0, |image| image.pages() as usize * PAGE);
        let full = |state: &mut State| !state.closed && state.bytes > MAX_READY;
        let mut state = self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        state.bytes += bytes(&image);
        state.ready.push_back((of.request.binary, image));
    }
}

impl Loader {
    /// Starts the threads, each with a parser of its own: the second one for large files.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start<C: Compile>([quick, large]: [C; 2], cache: Option<Cache>) -> io::Result<Self> {
        let loader = Self { shared: Arc::default() };
        let cache = Arc::new(cache);
        for (lane, mut compile) in [(Lane::Quick, quick), (Lane::Large, large)] {
            let (shared, cache) = (Arc::clone(&loader.shared), Arc::clone(&cache));
            thread::Builder::new().name("unwind rows".into()).spawn(move || {
                while !shared.lock().closed {
                    match shared.next_wanted(lane) {
                        Some(waiting) => shared.load(waiting, &mut compile, (*cache).as_ref()),
                        None => compile.idle(),
                    }
                }
            })?;
        }
        Ok(loader)
    }

    /// Asks for an image; `false` when too many wait already, in all or of the file's owner.
    pub fn ask(&self, request: Request) -> bool {
        let owner = request.user.unwrap_or_else(|| owner_of(&request.file));
        let mut state = self.shared.lock();
        let room = state.has_room_for(owner);
        if room {
            state.wanted.push(Waiting { request, owner, tries: 0, lane: Lane::Quick });
            self.shared.changed.notify_all();
        }
        room
    }

    /// The images that have come.
    pub fn take(&self) -> VecDeque<(BinaryId, Result<Image, Missing>)> {
        let mut state = self.shared.lock();
        state.bytes = 0;
        self.shared.changed.notify_all();
        std::mem::take(&mut state.ready)
    }
}

impl Drop for Loader {
    /// Lets the threads end after the files they are at, without waiting for them.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

fn compiled(
    request: &Request,
    compile: &mut impl Compile,
    kept: Option<(&Cache, &CacheKey)>,
) -> Result<Image, NotCompiled> {
    let encoded = compile.compile(&request.file, request.user)?;
    let image = Image::decode(&encoded).map_err(|_| NotCompiled::Missing(Missing::Failed))?;
    if let Some((cache, key)) = kept
        && let Err(error) = cache.put(key, &encoded)
    {
        tracing::debug!(%error, "unwind rows are not kept");
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::profile::BinaryId;

    /// Says which file it was asked about, by its length, and does what it is told.
    struct Told {
        asked: Sender<u64>,
        answers: Receiver<Result<Vec<u8>, NotCompiled>>,
    }

    impl Compile for Told {
        fn compile(&mut self, file: &File, _user: Option<u32>) -> Result<Vec<u8>, NotCompiled> {
            self.asked.send(file.metadata().unwrap().len()).unwrap();
            self.answers.recv().unwrap()
        }

        fn idle(&mut self) {}
    }

    fn request(user: u32, len: u64) -> Request {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        rustix::fs::fchown(&file, Some(rustix::fs::Uid::from_raw(user)), None).unwrap();
        Request { binary: BinaryId(len as u32), file: Arc::new(file), user: None, len, kept_as: None }
    }

    /// Two of them, with the files that each is asked about, and where its answers go in.
    #[expect(clippy::type_complexity, reason = "what a test needs of two ends each")]
    fn told() -> ([Told; 2], [(Receiver<u64>, Sender<Result<Vec<u8>, NotCompiled>>); 2]) {
        let pair = || {
            let ((asked, files), (answer, answers)) = (channel(), channel());
            (Told { asked, answers }, (files, answer))
        };
        let ((quick, its), (large, theirs)) = (pair(), pair());
        ([quick, large], [its, theirs])
    }

    /// A small file does not wait for a large one, nor a large one for another thread than its own.
    #[test]
    fn small_files_do_not_wait_for_large_ones() {
        let (told, [(small, answer), (large, answer_large)]) = told();
        let loader = Loader::start(told, None).unwrap();
        let next = |files: &Receiver<u64>| files.recv_timeout(Duration::from_secs(60)).unwrap();
        let refused = || Err(NotCompiled::Missing(Missing::NoRows));
        assert!(loader.ask(request(0, 2 * LARGE)));
        assert_eq!(next(&large), 2 * LARGE);
        assert!([3 * LARGE, 7, LARGE].into_iter().all(|len| loader.ask(request(0, len))));
        assert_eq!(next(&small), 7);
        answer.send(refused()).unwrap();
        let order = [0; 2].map(|_| {
            answer_large.send(refused()).unwrap();
            next(&large)
        });
        assert_eq!(order, [LARGE, 3 * LARGE]);
        assert!(small.try_recv().is_err());
        answer_large.send(refused()).unwrap();
    }

    /// A file whose child is ended by something else is tried again, after the others, until there is an answer.
    #[test]
    fn an_interrupted_file_is_tried_again_after_the_others() {
        let (told, [(files, answer), _large]) = told();
        let loader = Loader::start(told, None).unwrap();
        let next = || files.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(loader.ask(request(0, 1)));
        assert_eq!(next(), 1);
        assert!([2, 3].into_iter().all(|len| loader.ask(request(0, len))));
        let refused = || Err(NotCompiled::Missing(Missing::NoRows));
        let order: Vec<u64> = [Err(NotCompiled::Interrupted), Err(NotCompiled::Interrupted), refused(), refused()]
            .into_iter()
            .map(|told| {
                answer.send(told).unwrap();
                next()
            })
            .collect();
        assert_eq!(order, [2, 3, 1, 2]);
        answer.send(refused()).unwrap();
        let (begin, mut ready) = (Instant::now(), 0);
        while ready < 3 {
            ready += loader.take().len();
            assert!(begin.elapsed() < Duration::from_secs(60));
            thread::yield_now();
        }
    }

    /// After a file of one user that took long, other users' files come first, and a user's files do not take all places.
    #[test]
    fn a_user_has_a_share_of_time_and_places() {
        let (mut state, now) = (State::default(), Instant::now());
        let ask = |state: &mut State, owner, len| {
            let room = state.has_room_for(owner);
            if room {
                state.wanted.push(Waiting { request: request(0, len), owner, tries: 0, lane: Lane::Quick });
            }
            room
        };
        assert!(ask(&mut state, 1000, 1) && ask(&mut state, 1001, 2) && ask(&mut state, 0, 3));
        state.shares.took(1000, Duration::from_secs(10), now);
        let len = |state: &State, at: Option<usize>| at.map(|at| state.wanted[at].request.len);
        assert_eq!(len(&state, state.next(Lane::Quick, now)), Some(2));
        assert_eq!(state.next(Lane::Large, now), None);
        assert_eq!(len(&state, state.next(Lane::Quick, now + Duration::from_secs(30))), Some(1));
        let one = request(1000, 1);
        state.wanted = (0..MAX_OF_USER)
            .map(|_| Waiting { request: one.clone(), owner: 1000, tries: 0, lane: Lane::Quick })
            .collect();
        assert!(!ask(&mut state, 1000, 1) && ask(&mut state, 1001, 1) && ask(&mut state, 0, 1));
    }
}
