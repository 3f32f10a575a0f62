//! The thread that gets images: from the cache on disk, or from the worker that parses foreign files.
//!
//! One file at a time, at low priority: the first minute on a busy host wants hundreds. What comes back has been checked; the
//! sampling thread only copies it into the pool.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::cache::Cache;
use super::{Image, Missing};
use crate::profile::{BinaryId, BuildId};

/// Files that may wait: those of the largest process many times over. 24 bytes each.
const MAX_WAITING: usize = 16_384;
/// Images that may wait to be copied: a large one takes 10 MB.
const MAX_READY: usize = 4;

/// The parser is let go when nothing was asked for this long.
const IDLE: Duration = Duration::from_secs(10);

/// A file whose image is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which one.
    pub binary: BinaryId,
    /// The open file.
    pub file: Arc<File>,
    /// Its build id, by which its image is kept on disk.
    pub build_id: Option<BuildId>,
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
    requests: Option<SyncSender<Request>>,
    ready: Receiver<(BinaryId, Result<Image, Missing>)>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(mut compile: impl Compile, cache: Option<Cache>) -> std::io::Result<Self> {
        let (requests, wanted) = sync_channel::<Request>(MAX_WAITING);
        let (done, ready) = sync_channel(MAX_READY);
        let thread = thread::Builder::new().name("unwind rows".into()).spawn(move || {
            // A better neighbour; nothing is lost where it is refused.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 5);
            loop {
                match wanted.recv_timeout(IDLE) {
                    Ok(request) => {
                        let image = get(&request, &mut compile, cache.as_ref());
                        if done.send((request.binary, image)).is_err() {
                            break;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => compile.idle(),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        })?;
        Ok(Self { requests: Some(requests), ready, thread: Some(thread) })
    }

    /// Asks for an image; `false` when too many wait already.
    pub fn ask(&self, request: Request) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.try_send(request).is_ok())
    }

    /// The next image that has come.
    pub fn next(&self) -> Option<(BinaryId, Result<Image, Missing>)> {
        self.ready.try_recv().ok()
    }
}

impl Drop for Loader {
    /// Lets the thread end after the file it is at, without waiting for it.
    fn drop(&mut self) {
        self.requests = None;
        drop(self.thread.take());
    }
}

fn get(request: &Request, compile: &mut impl Compile, cache: Option<&Cache>) -> Result<Image, Missing> {
    let len = request.file.metadata().map_err(|_| Missing::Unreadable)?.len();
    let kept = cache.zip(request.build_id.as_ref());
    if let Some(image) = kept.and_then(|(cache, id)| cache.get(id, len)) {
        return Ok(image);
    }
    let encoded = compile.compile(&request.file)?;
    let image = Image::decode(&encoded).map_err(|_| Missing::Failed)?;
    if let Some((cache, id)) = kept
        && let Err(error) = cache.put(id, len, &encoded)
    {
        tracing::debug!(%error, "unwind rows are not kept");
    }
    Ok(image)
}
