//! `profiler export`: a range of a database as folded stacks, a picture, a page, a pprof file or a small database.

use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

use super::args::ExportArgs;
use super::exit::NoSamples;
use super::open_range::{Ask, read, write};
use super::output::write_file;
use super::outputs::Output;
use super::{select, slice};

/// Runs the command.
///
/// # Errors
/// Bad selector or range, no samples, database or output not to be had.
pub fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let (selector, range) = select::of(&args.range)?;
    let database = args.database.path()?;
    let output = Output::parse(&args.output, args.format)?;
    output.check(args.form.force)?;
    let (Output::File(_, format) | Output::Stdout(format)) = output else {
        slice::write(&database, range, &selector, &args.output, args.form.force)?;
        return Ok(ExitCode::SUCCESS);
    };
    let ask =
        Ask { range, selector, demangle: args.form.demangle.into(), format, process_frames: args.form.process_frames };
    let part = read(&database, &ask)?;
    if part.is_empty() {
        anyhow::bail!(NoSamples(format!("no samples match; {}", part.kept())));
    }
    match output {
        Output::Stdout(_) => write_stdout(|out| write(&part, out))?,
        Output::File(path, _) | Output::Database(path) => write_file(&path, |out| write(&part, out))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Has standard output written. A reader who has seen enough (`profiler export | head`) is no failure.
///
/// # Errors
/// It cannot be written.
pub fn write_stdout(content: impl FnOnce(&mut BufWriter<StdoutLock<'_>>) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match content(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("failed to write to standard output"),
    }
}
