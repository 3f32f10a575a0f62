//! `profiler completions` and `profiler man`, made from the same definition as the command line itself.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::args::{Args, CompletionsArgs, ManArgs};
use super::output::write_file;

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

/// Writes the pages of a command and of those below it. (`clap_mangen::generate_to` does, and follows links.)
fn pages(command: clap::Command, folder: &Path) -> anyhow::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(below.clone(), folder)?;
    }
    let page = clap_mangen::Man::new(command);
    write_file(&folder.join(page.get_filename()), |out| page.render(out))
}

/// Writes one manual page a command.
///
/// # Errors
/// The folder cannot be written.
pub fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    pages(command, &args.folder)?;
    eprintln!("wrote manual pages into {}", args.folder.display());
    Ok(ExitCode::SUCCESS)
}
