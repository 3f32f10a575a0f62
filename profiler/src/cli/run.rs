//! `profiler run`: sample, store, serve, until told to stop.

use std::process::ExitCode;

use anyhow::Context as _;

use super::args::RunArgs;
use super::host;
use super::recorder::{Recorder, RecorderOptions};
use super::serve::server_options;
use super::stop::Stop;
use super::writer::Retention;
use crate::server::{self, ServerOptions};
use crate::symbolizer::WorkerCommand;

/// Runs the command.
///
/// # Errors
/// Not allowed, no such target, port or database not to be had, a thread that failed.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals()?;
    host::raise_file_limit();
    let database = args.db.clone().unwrap_or_else(host::default_database);
    let target = host::target(&args.pids, args.cgroup.as_deref())?;
    let sampler = host::sampler_options(&args.sampling, target)?;
    let retention = Some(Retention { age: args.keep, bytes: args.keep_size.as_u64() });
    let debuginfod = host::debuginfod(&args.sampling)?;
    let cache = host::cache(&args.sampling.tables);
    let recorder = Recorder::start(RecorderOptions {
        sampler,
        window: args.sampling.window,
        database: database.clone(),
        retention,
        unwind_memory: args.sampling.tables.unwind_memory.as_u64(),
        cache: Some(cache.clone()),
        naming: args.sampling.naming.clone(),
        debuginfod: debuginfod.clone(),
    })
    .with_context(|| format!("failed to start sampling into {}", database.display()))?;
    let live = recorder.live.clone();
    let worker = WorkerCommand { sources: args.sampling.naming.names, ..WorkerCommand::default() };
    let kept_names = Some(host::kept_names(&cache));
    let options = ServerOptions { worker, debuginfod, kept_names, ..server_options(&args.listen, database.clone()) };
    let bound = match server::bind(options) {
        Ok(bound) => bound,
        Err(error) => {
            recorder.finish()?;
            return Err(error.into());
        }
    };
    let status = live.snapshot();
    eprintln!(
        "sampling {} CPUs at {} Hz by {}, history in {}",
        status.cpus,
        status.hz,
        status.event,
        database.display()
    );
    eprintln!("open {}  (Ctrl-C stops)", bound.url());
    let recorder = std::sync::Arc::new(recorder);
    let watched = std::sync::Arc::clone(&recorder);
    let served = bound.run(Some(live), stop.reached(move || watched.is_running()));
    let recorder = std::sync::Arc::into_inner(recorder).context("the server still holds the recorder")?;
    recorder.finish()?;
    served?;
    Ok(ExitCode::SUCCESS)
}
