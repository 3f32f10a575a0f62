//! The command `profiler`: parse, run, print the error, exit. The only place that exits.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use profiler::cli::{self, Args};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Before any thread: the allocator's arenas are made with them.
    profiler::sys::memory::configure();
    let filter = EnvFilter::try_from_env("PROFILER_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    match cli::run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            cli::exit_code(&error).into()
        }
    }
}
