//! The thread that gets images: from the cache on disk, or from the worker that parses foreign files.
//!
//! One file at a time, small ones first: the first minute on a busy host wants hundreds. What comes back has been checked; the
//! sampling thread only copies it into the pool.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use profiler_ebpf::tables::PAGE;

use super::cache::{Cache, CacheKey};
use super::{Image, Missing};
use crate::profile::{BinaryId, BuildId};

/// Files that may wait: those of the largest process many times over. 24 bytes each.
const MAX_WAITING: usize = 16_384;
/// Bytes of images that may wait to be copied; one more is let in.
const MAX_READY: usize = 32 << 20;

/// The parser is let go when nothing was asked for this long.
const IDLE: Duration = Duration::from_secs(10);

/// A file whose image is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which one.
    pub binary: BinaryId,
    /// The open file.
    pub file: Arc<File>,
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

/// Parses a file, in the place where foreign files are parsed: an encoded image, not to be trusted.
pub trait Compile: Send + 'static {
    /// Compiles the rows of a file.
    ///
    /// # Errors
    /// Why there are none.
    fn compile(&mut self, file: &File) -> Result<Vec<u8>, Missing>;
    /// Nothing has been asked for a while: memory can be given back.
    fn idle(&mut self);
}

/// The thread's other end.
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
    wanted: Vec<Request>,
    ready: VecDeque<(BinaryId, Result<Image, Missing>)>,
    /// Memory of the images in `ready`.
    bytes: usize,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next file: the smallest, so that what all processes share does not wait behind the largest program of one. `None` after
    /// a while without any.
    fn next_wanted(&self) -> Option<Request> {
        let idle = |state: &mut State| !state.closed && state.wanted.is_empty();
        let (mut state, _) =
            self.changed.wait_timeout_while(self.lock(), IDLE, idle).unwrap_or_else(PoisonError::into_inner);
        let smallest = (0..state.wanted.len()).min_by_key(|at| state.wanted[*at].len)?;
        Some(state.wanted.swap_remove(smallest))
    }

    /// Hands an image over, once those before it have left room.
    fn done(&self, binary: BinaryId, image: Result<Image, Missing>) {
        let bytes = |image: &Result<Image, Missing>| image.as_ref().map_or(0, |image| image.pages() as usize * PAGE);
        let full = |state: &mut State| !state.closed && state.bytes > MAX_READY;
        let mut state = self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        state.bytes += bytes(&image);
        state.ready.push_back((binary, image));
    }
}

impl Loader {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(mut compile: impl Compile, cache: Option<Cache>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name("unwind rows".into()).spawn(move || {
            while !theirs.lock().closed {
                match theirs.next_wanted() {
                    Some(request) => theirs.done(request.binary, get(&request, &mut compile, cache.as_ref())),
                    None => compile.idle(),
                }
            }
        })?;
        Ok(Self { shared })
    }

    /// Asks for an image; `false` when too many wait already.
    pub fn ask(&self, request: Request) -> bool {
        let mut state = self.shared.lock();
        let room = state.wanted.len() < MAX_WAITING;
        if room {
            state.wanted.push(request);
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
    /// Lets the thread end after the file it is at, without waiting for it.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

fn get(request: &Request, compile: &mut impl Compile, cache: Option<&Cache>) -> Result<Image, Missing> {
    let kept = cache.zip(request.kept_as.as_ref());
    if let Some(image) = kept.and_then(|(cache, key)| cache.get(key)) {
        return Ok(image);
    }
    let encoded = compile.compile(&request.file)?;
    let image = Image::decode(&encoded).map_err(|_| Missing::Failed)?;
    if let Some((cache, key)) = kept
        && let Err(error) = cache.put(key, &encoded)
    {
        tracing::debug!(%error, "unwind rows are not kept");
    }
    Ok(image)
}
