//! The pipeline, wired: one thread samples, resolves and counts; one writes; the symbolizer answers the writer.
//!
//! ```text
//! sampling thread                                writer thread
//!   every 100 ms: sampler -> process -> aggregate    store <- windows, names
//!   every window: ------ WindowQueue ------------->    \-> symbolizer (its own thread and child) -> WindowQueue
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::args::NamingArgs;
use super::host;
use super::keep::Keep;
use super::notice::set_aside_notice;
use super::sampling::Sampling;
use super::unwinding::{self, Unwinding, Worker};
use super::upkeep::Retention;
use super::window_queue::WindowQueue;
use super::writer;
use crate::process::{ProcRoot, ProcessTable};
use crate::sampler::{Sampler, SamplerOptions};
use crate::server::{LiveStatus, SharedLive};
use crate::store::Store;
use crate::symbolizer::Debuginfod;
use crate::sys::clock::{boot_now, wall_now};
use crate::unwind::{Loader, Unwinder};

/// Longest that the start waits for the unwind tables of what is running: most come from the disk, in a tenth of it.
const PRELOAD: Duration = Duration::from_millis(500);
/// Longest that the start reads `/proc`: a thousand processes. The rest is read in slices, and sooner what is sampled.
const FIRST_SCAN: Duration = Duration::from_millis(100);

/// What to record, and where to.
pub struct RecorderOptions {
    /// What to sample.
    pub sampler: SamplerOptions,
    /// What to keep of it.
    pub keep: Keep,
    /// Length of a window.
    pub window: Duration,
    /// How long the samples of a window wait after its end for unwind rows and files.
    pub patience: Duration,
    /// The database.
    pub database: PathBuf,
    /// What to keep of it; `None` keeps everything.
    pub retention: Option<Retention>,
    /// Most kernel memory of the unwind tables, in bytes.
    pub unwind_memory: u64,
    /// Where unwind rows and names are kept for the next start.
    pub cache: Option<PathBuf>,
    /// How to name.
    pub naming: NamingArgs,
    /// Servers to ask for debug files.
    pub debuginfod: Option<Arc<Debuginfod>>,
}

/// A running pipeline.
pub struct Recorder {
    stop: Arc<AtomicBool>,
    queue: Arc<WindowQueue>,
    /// Figures for the server.
    pub live: SharedLive,
    sampling: JoinHandle<anyhow::Result<()>>,
    writing: JoinHandle<anyhow::Result<()>>,
}

impl Recorder {
    /// Opens the database and starts sampling. Returns once samples flow.
    ///
    /// # Errors
    /// The sampler cannot start, the database cannot be opened.
    pub fn start(options: RecorderOptions) -> anyhow::Result<Self> {
        let event = options.sampler.event;
        let mode = options.sampler.unwind;
        let members = options.sampler.target.members();
        // First what needs privileges: without them nothing is left behind.
        let mut sampler = Sampler::load(options.sampler)?;
        // Before anything is recorded: a database that is copied and migrated first takes its time.
        let (store, set_aside) = Store::open(&options.database)?;
        // The side-band events of what happens from now on wait in their rings and are applied on top.
        let mut table = ProcessTable::new(ProcRoot::host());
        table.begin_scan();
        table.scan_until(Instant::now() + FIRST_SCAN, boot_now());
        let mut unwinding = match sampler.take_unwind_maps() {
            Some(maps) => {
                let cache = options.cache.as_deref().and_then(unwinding::open_cache);
                let loader = Loader::start([Worker::default(), Worker::default()], cache)
                    .context("failed to start the threads that load unwind rows")?;
                Some(Unwinding::new(Unwinder::new(maps, options.unwind_memory, loader), mode))
            }
            None => None,
        };
        if let Some(unwinding) = &mut unwinding {
            let pids = members.unwrap_or_else(|| table.running(Instant::now() + PRELOAD / 2));
            unwinding.preload(&mut table, &pids, PRELOAD).context("failed to load unwind tables")?;
        }
        let started = boot_now();
        sampler.begin(started)?;
        let hz = sampler.hz();
        let notices: Vec<String> = set_aside.iter().map(|path| set_aside_notice(&options.database, path)).collect();
        notices.iter().for_each(|notice| tracing::warn!("{notice}"));
        let live = SharedLive::new(LiveStatus {
            event: event.name(),
            hz,
            hz_wanted: sampler.hz_wanted(),
            cpus: sampler.cpus(),
            since: wall_now(),
            window: options.window,
            name_sources: options.naming.names,
            being_read: table.being_read(),
            notices,
            ..LiveStatus::default()
        });
        let queue = Arc::new(WindowQueue::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (boot_id, window) = (boot_id()?, options.window);
        let writing = {
            let (queue, live, retention) = (Arc::clone(&queue), live.clone(), options.retention);
            let names = move || {
                host::names_worker(&options.naming, options.cache.as_deref())
                    .with_debuginfod(options.debuginfod.clone())
            };
            let work = move || writer::run(store, &queue, &live, retention, &names);
            thread::Builder::new().name("writer".into()).spawn(work)?
        };
        let sampling = {
            let (stop, queue, live) = (Arc::clone(&stop), Arc::clone(&queue), live.clone());
            let continued = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal_hook::consts::SIGCONT, Arc::clone(&continued))?;
            let sampling = Sampling::new(sampler, table, unwinding, event, started, window, boot_id, live, continued)
                .keeping(options.keep)
                .waiting(options.patience);
            let work = move || sampling.run(&stop, &queue);
            thread::Builder::new().name("sampler".into()).spawn(work)?
        };
        Ok(Self { stop, queue, live, sampling, writing })
    }

    /// Whether both threads are alive: when one is not, [`Self::finish`] says why.
    pub fn is_running(&self) -> bool {
        !self.sampling.is_finished() && !self.writing.is_finished()
    }

    /// Stops sampling, stores what was taken, waits for names that are under way.
    ///
    /// # Errors
    /// What stopped a thread.
    pub fn finish(self) -> anyhow::Result<LiveStatus> {
        self.stop.store(true, Ordering::Relaxed);
        // Whatever ended the one thread, the other one stores what there is.
        let sampled = self.sampling.join();
        self.queue.close();
        let written = self.writing.join();
        sampled.map_err(|_| anyhow::anyhow!("the sampling thread panicked"))?.context("sampling failed")?;
        written.map_err(|_| anyhow::anyhow!("the writer thread panicked"))?.context("storing failed")?;
        Ok(self.live.snapshot())
    }
}

fn boot_id() -> anyhow::Result<Arc<str>> {
    let path = "/proc/sys/kernel/random/boot_id";
    let id = std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?;
    Ok(id.trim().into())
}
