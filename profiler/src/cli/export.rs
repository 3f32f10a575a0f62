//! `profiler export`: a range of a database as folded stacks, a picture, a page, a pprof file or a small database.

use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::args::{ExportArgs, Format};
use super::host;
use super::open_range::{read, write};
use super::output::write_file;
use super::slice;
use crate::query;
use crate::sys::clock::wall_now;

/// Runs the command.
///
/// # Errors
/// Bad selector or range, no samples, database or output not to be had.
pub fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let selector = query::parse_selector(&args.filter)?;
    let range = query::parse_range(&args.from, &args.to, wall_now())?;
    let database = args.db.clone().unwrap_or_else(host::default_database);
    let format = args.format.or_else(|| format_of(&args.output)).unwrap_or(Format::Folded);
    if format == Format::Db {
        slice::write(&database, range, &selector, &args.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let part = read(&database, range, &selector, args.demangle.into(), format)?;
    if args.output == Path::new("-") {
        write_stdout(|out| write(&part, out))?;
    } else {
        write_file(&args.output, |out| write(&part, out))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The format that a file name asks for.
pub fn format_of(path: &Path) -> Option<Format> {
    if path.file_name()?.to_str()?.ends_with(".pb.gz") {
        return Some(Format::Pprof);
    }
    match path.extension()?.to_str()? {
        "folded" | "txt" => Some(Format::Folded),
        "svg" => Some(Format::Svg),
        "html" => Some(Format::Html),
        "db" => Some(Format::Db),
        _ => None,
    }
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
