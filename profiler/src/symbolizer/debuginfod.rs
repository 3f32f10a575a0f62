//! Debug files from servers that give them out by build id (`man 8 debuginfod`), for those who ask for it: build ids of what runs here
//! are sent to these servers.
//!
//! One thread downloads, one file at a time; who needs one asks, goes on, and finds it in the folder later. A file is bounded in bytes and
//! time, written beside and renamed when it is whole, and kept only if it has the build id that was asked for. What the server
//! sends is as foreign as any file: it is parsed in the sandboxed child. What no server has is not asked for again for an hour.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::process::build_id_of;
use crate::profile::BuildId;

/// Files that wait for their download.
const MAX_WAITING: usize = 256;
/// Most files remembered as asked for.
const MAX_ASKED: usize = 4096;
/// Who waits for a file waits no longer than this.
const MOST_WAIT: Duration = Duration::from_secs(180);
/// What no server had may be there later.
const AGAIN: Duration = Duration::from_secs(3600);
/// Beginning of the name of a file that is being written.
const UNFINISHED: &str = ".new-";
/// Most files looked at when room is made.
const MAX_FILES: usize = 10_000;

/// What a server may take of us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of the folder.
    pub folder: u64,
    /// Time for one file.
    pub time: Duration,
}

/// Chromium's debug information has about 1 GiB, and takes a minute at 150 Mbit/s.
const LIMITS: Limits = Limits { file: 2 << 30, folder: 4 << 30, time: Duration::from_secs(120) };

/// Why no server can be asked.
#[derive(Debug, thiserror::Error)]
pub enum DebuginfodError {
    /// No address.
    #[error("--debuginfod has no server to ask: write --debuginfod=https://debuginfod.example, or set DEBUGINFOD_URLS")]
    NoServer,
    /// Something else than an address.
    #[error("{0:?} is no debuginfod server: write http:// or https:// addresses, separated by spaces")]
    BadServer(String),
    /// The folder for downloaded files.
    #[error("failed to use {folder} for downloaded debug files: name another folder with --cache")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// Servers, and the folder of what they gave.
#[derive(Debug)]
pub struct Debuginfod {
    inner: Arc<Inner>,
    queue: SyncSender<BuildId>,
}

#[derive(Debug)]
struct Inner {
    servers: Vec<String>,
    folder: PathBuf,
    limits: Limits,
    asked: Mutex<HashMap<BuildId, Asked>>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    ended: bool,
}

impl Debuginfod {
    /// For these servers (addresses separated by spaces), with a folder made if need be.
    ///
    /// # Errors
    /// [`DebuginfodError`].
    pub fn start(servers: &str, folder: &Path) -> Result<Arc<Self>, DebuginfodError> {
        Self::start_with(servers, folder, LIMITS)
    }

    pub(super) fn start_with(servers: &str, folder: &Path, limits: Limits) -> Result<Arc<Self>, DebuginfodError> {
        // Debian's and Fedora's variable may have words for elfutils among the addresses.
        let words = servers.split_ascii_whitespace().filter(|word| !word.starts_with("ima:"));
        let servers: Vec<String> = words.map(|word| word.trim_end_matches('/').to_owned()).collect();
        if servers.is_empty() {
            return Err(DebuginfodError::NoServer);
        }
        if let Some(bad) = servers.iter().find(|one| !one.starts_with("http://") && !one.starts_with("https://")) {
            return Err(DebuginfodError::BadServer(bad.clone()));
        }
        let failed = |error| DebuginfodError::Folder { folder: folder.to_owned(), error };
        open_folder(folder).map_err(failed)?;
        let inner = Arc::new(Inner { servers, folder: folder.to_owned(), limits, asked: Mutex::default() });
        let (queue, wanted) = sync_channel(MAX_WAITING);
        let theirs = Arc::clone(&inner);
        // Ends when the last of us is gone.
        let thread = std::thread::Builder::new().name("debuginfod".to_owned()).spawn(move || theirs.run(&wanted));
        thread.map_err(failed)?;
        Ok(Arc::new(Self { inner, queue }))
    }

    /// The debug file with this build id, if it has been downloaded.
    pub(super) fn file(&self, id: &BuildId) -> Option<File> {
        let path = self.inner.path_of(id);
        let file = File::open(&path).ok().filter(|file| build_id_of(file) == Some(*id))?;
        // What was used last goes last.
        let _ = file.set_modified(SystemTime::now());
        Some(file)
    }

    /// Asks for a file, once; says whether it is worth to wait for it.
    pub(super) fn ask(&self, id: &BuildId) -> bool {
        let mut asked = self.inner.asked();
        let now = Instant::now();
        match asked.get(id) {
            Some(Asked { at, ended: true }) if at.elapsed() < AGAIN => return false,
            Some(Asked { at, ended: false }) => return at.elapsed() < MOST_WAIT,
            _ => {}
        }
        if asked.len() >= MAX_ASKED {
            asked.retain(|_, asked| !asked.ended);
        }
        let taken = self.queue.try_send(*id).is_ok();
        if taken {
            asked.insert(*id, Asked { at: now, ended: false });
        }
        taken
    }
}

impl Inner {
    fn asked(&self) -> MutexGuard<'_, HashMap<BuildId, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path_of(&self, id: &BuildId) -> PathBuf {
        self.folder.join(format!("{id}.debug"))
    }

    fn run(&self, wanted: &Receiver<BuildId>) {
        while let Ok(id) = wanted.recv() {
            match self.fetch(&id) {
                Ok(()) => tracing::info!(%id, "downloaded a debug file"),
                Err(error) => tracing::info!(%id, error, "no server gave a debug file"),
            }
            self.asked().insert(id, Asked { at: Instant::now(), ended: true });
        }
    }

    /// Downloads a file from the first server that has it.
    fn fetch(&self, id: &BuildId) -> Result<(), String> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(self.limits.time))
            .timeout_connect(Some(self.limits.time.min(Duration::from_secs(10))))
            .max_redirects(3)
            .user_agent(concat!("profiler/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = ureq::Agent::new_with_config(config);
        let unfinished = self.folder.join(format!("{UNFINISHED}{}-{id}", std::process::id()));
        let mut failures = Vec::new();
        for server in &self.servers {
            let fetched = self.fetch_from(&agent, server, id, &unfinished);
            let kept = fetched.and_then(|()| {
                make_room(&self.folder, self.limits.folder).map_err(|error| error.to_string())?;
                fs::rename(&unfinished, self.path_of(id)).map_err(|error| error.to_string())
            });
            match kept {
                Ok(()) => return Ok(()),
                Err(failure) => failures.push(format!("{server}: {failure}")),
            }
            let _ = fs::remove_file(&unfinished);
        }
        Err(failures.join("; "))
    }

    fn fetch_from(&self, agent: &ureq::Agent, server: &str, id: &BuildId, into: &Path) -> Result<(), String> {
        let url = format!("{server}/buildid/{id}/debuginfo");
        let mut response = agent.get(&url).call().map_err(|error| error.to_string())?;
        let mut body = response.body_mut().with_config().limit(self.limits.file).reader();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(into);
        let mut file = file.map_err(|error| error.to_string())?;
        io::copy(&mut body, &mut file).map_err(|error| error.to_string())?;
        if build_id_of(&file) == Some(*id) { Ok(()) } else { Err("the file it sent has another build id".to_owned()) }
    }
}

/// Makes the folder ours alone, and clears what an earlier run left half written.
fn open_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not a folder of ours alone"));
    }
    for entry in fs::read_dir(folder)?.take(MAX_FILES).flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Forgets the files used longest ago until the folder is within its bytes, unfinished ones counted.
fn make_room(folder: &Path, most: u64) -> io::Result<()> {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)?.take(MAX_FILES).flatten() {
        if let Ok(stat) = entry.metadata() {
            files.push((stat.modified()?, stat.len(), entry.path()));
        }
    }
    files.sort();
    let mut sum: u64 = files.iter().map(|(_, len, _)| *len).sum();
    for (_, len, path) in files.iter().filter(|(_, _, path)| path.extension().is_some_and(|end| end == "debug")) {
        if sum <= most {
            break;
        }
        fs::remove_file(path)?;
        sum -= len;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
