//! The command `profiler`: parse, run, print the error, exit. The only place that exits.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use profiler::cli::{self, Args};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Before any thread: the allocator's arenas are made with them.
    profiler::sys::memory::configure();
    let args = Args::of(std::env::args_os().collect());
    let level = match (args.quiet, args.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_env("PROFILER_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    match cli::run(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            cli::exit_code(&error).into()
        }
    }
}
