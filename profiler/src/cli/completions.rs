//! `profiler completions` and `profiler man`, made from the same definition as the command line itself.

use std::io;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::args::{Args, CompletionsArgs, ManArgs};

/// Prints a completion script.
///
/// # Errors
/// Standard output is closed.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "profiler", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script).context("failed to write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Writes one manual page a command.
///
/// # Errors
/// The folder cannot be written.
pub fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    clap_mangen::generate_to(Args::command(), &args.folder)
        .with_context(|| format!("failed to write manual pages into {}", args.folder.display()))?;
    eprintln!("wrote manual pages into {}", args.folder.display());
    Ok(ExitCode::SUCCESS)
}
