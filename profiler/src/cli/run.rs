//! `profiler run`: sample, store, serve, until told to stop.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;

use super::args::{RunArgs, database};
use super::host;
use super::keep::Keep;
use super::recorder::{Recorder, RecorderOptions};
use super::sampling::PATIENCE;
use super::serve::{say_where, server_options};
use super::stop::{Hangup, Stop};
use super::upkeep::Retention;
use crate::server::{self, Login, Recording, ServerOptions, Starting};
use crate::symbolizer::WorkerCommand;

/// Runs the command.
///
/// # Errors
/// Not allowed, no such target, port or database not to be had, a thread that failed.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals(Hangup::GoesOn)?;
    host::raise_file_limit();
    let database = database(args.file.as_deref(), args.db.as_deref())?;
    let (keep, target) = (Keep::of(&args.who)?, host::target(&args.who)?);
    let sampler = host::sampler_options(&args.sampling, target)?;
    let retention = Some(Retention { age: args.keep, bytes: args.keep_size.as_u64() });
    let debuginfod = host::debuginfod(&args.sampling)?;
    let cache = host::cache(&args.sampling.tables);
    let worker = WorkerCommand { sources: args.sampling.naming.names, ..WorkerCommand::default() };
    let kept_names = Some(host::kept_names(&cache));
    let options = ServerOptions {
        worker,
        debuginfod: debuginfod.clone(),
        kept_names,
        ..server_options(&args.listen, database.clone())
    };
    // First of all: whoever watches over the profiler is answered while it starts, however much runs on this host.
    let bound = server::listen(options)?;
    let recorder = RecorderOptions {
        sampler,
        keep,
        window: args.sampling.window,
        patience: PATIENCE,
        database,
        retention,
        unwind_memory: args.sampling.tables.unwind_memory.as_u64(),
        cache: Some(cache),
        naming: args.sampling.naming.clone(),
        debuginfod,
    };
    let starting = Starting::now();
    let pipeline = Pipeline::start(recorder, starting.clone(), bound.url(), bound.login(), args.listen.open)?;
    let watched = pipeline.clone();
    let served = bound.run(Recording::Beside(starting), stop.reached(move || watched.is_alive()));
    pipeline.finish()?;
    served?;
    Ok(ExitCode::SUCCESS)
}

/// A recorder that is started beside the server.
#[derive(Clone)]
struct Pipeline(Arc<Mutex<Stage>>);

enum Stage {
    Starting(JoinHandle<()>),
    /// Until the handle of the thread is here, or after it was taken.
    Unknown,
    Started(anyhow::Result<Recorder>),
}

impl Pipeline {
    /// Starts it on a thread of its own, and says so there.
    fn start(
        options: RecorderOptions,
        starting: Starting,
        url: String,
        login: Arc<Login>,
        opens: bool,
    ) -> anyhow::Result<Self> {
        let pipeline = Self(Arc::new(Mutex::new(Stage::Unknown)));
        let this = pipeline.clone();
        let start = move || {
            let database = options.database.clone();
            let recorder = Recorder::start(options)
                .with_context(|| format!("failed to start sampling into {}", database.display()));
            if let Ok(recorder) = &recorder {
                let live = recorder.live.snapshot();
                login.keep();
                starting.begin(recorder.live.clone());
                eprintln!(
                    "sampling {} CPUs at {} Hz by {}, history in {}",
                    live.cpus,
                    live.hz,
                    live.event,
                    database.display()
                );
                say_where(&url, &login, opens);
            }
            *this.stage() = Stage::Started(recorder);
        };
        let thread = thread::Builder::new().name("start".into()).spawn(start).context("failed to start a thread")?;
        let mut stage = pipeline.stage();
        if matches!(*stage, Stage::Unknown) {
            *stage = Stage::Starting(thread);
        }
        drop(stage);
        Ok(pipeline)
    }

    /// Whether it starts or runs.
    fn is_alive(&self) -> bool {
        match &*self.stage() {
            Stage::Starting(thread) => !thread.is_finished(),
            Stage::Unknown => true,
            Stage::Started(recorder) => recorder.as_ref().is_ok_and(Recorder::is_running),
        }
    }

    /// Waits for the end of the start, and ends what was started.
    fn finish(&self) -> anyhow::Result<()> {
        let stage = std::mem::replace(&mut *self.stage(), Stage::Unknown);
        let stage = match stage {
            Stage::Starting(thread) => {
                thread.join().map_err(|_| anyhow::anyhow!("the thread that starts sampling panicked"))?;
                std::mem::replace(&mut *self.stage(), Stage::Unknown)
            }
            other => other,
        };
        match stage {
            Stage::Started(recorder) => recorder?.finish().map(drop),
            Stage::Starting(_) | Stage::Unknown => Ok(()),
        }
    }

    fn stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
