//! `profiler db`: stats, check, backup, compact, with a progress bar where somebody watches.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::args::{DbArgs, DbCommand, database};
use super::export::write_stdout;
use super::owner;
use crate::store::upkeep::{self, Stats};

/// The exit code for a database that is not sound.
const NOT_SOUND: u8 = 7;
/// How often the bar moves while there is nothing new.
const TICK: Duration = Duration::from_millis(200);

/// Runs the command.
///
/// # Errors
/// The database cannot be had, the copy cannot be written.
pub fn db(args: &DbArgs) -> anyhow::Result<ExitCode> {
    let database = database(args.command.file(), args.db.as_deref())?;
    match &args.command {
        DbCommand::Stats(_) => stats(&database, args.json),
        DbCommand::Check(_) => check(&database, args.json),
        DbCommand::Backup { output, .. } => backup(&database, output, args.json),
        DbCommand::Compact(_) => compact(&database, args.json),
    }
}

/// Draws on standard error, on a terminal only.
fn bar(doing: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {percent:>3} %  {elapsed}");
    let bar = ProgressBar::new(1).with_message(doing);
    bar.enable_steady_tick(TICK);
    match style {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

fn watched<T>(doing: &'static str, work: impl FnOnce(upkeep::Progress<'_>) -> T) -> T {
    let bar = bar(doing);
    let done = work(&mut |done, of| {
        bar.set_length(of.max(1));
        bar.set_position(done);
    });
    bar.finish_and_clear();
    done
}

/// [`Stats`] as JSON.
#[derive(Serialize)]
struct Figures<'a> {
    bytes: u64,
    free_bytes: u64,
    log_bytes: u64,
    windows: u64,
    samples: u64,
    lost: u64,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    core_days: f64,
    bytes_per_sample: Option<f64>,
    bytes_per_core_day: Option<f64>,
    tables: Vec<Table<'a>>,
}

#[derive(Serialize)]
struct Table<'a> {
    name: &'a str,
    bytes: u64,
}

fn stats(database: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let stats = watched("reading", |_| upkeep::stats(database))?;
    let text = if json {
        let tables = stats.tables.iter().map(|(name, bytes)| Table { name, bytes: *bytes }).collect();
        let figures = Figures {
            bytes: stats.bytes,
            free_bytes: stats.free_bytes,
            log_bytes: stats.log_bytes,
            windows: stats.windows,
            samples: stats.samples,
            lost: stats.lost,
            from_ms: stats.span.map(|(from, _)| from / 1_000_000),
            to_ms: stats.span.map(|(_, to)| to / 1_000_000),
            core_days: core_days(&stats),
            bytes_per_sample: stats.bytes_per_sample(),
            bytes_per_core_day: stats.bytes_per_core_day(),
            tables,
        };
        serde_json::to_string_pretty(&figures)? + "\n"
    } else {
        told(database, &stats)
    };
    write_stdout(|out| out.write_all(text.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

fn core_days(stats: &Stats) -> f64 {
    stats.cpu_nanos as f64 / 86_400e9
}

/// The figures as people read them.
fn told(database: &Path, stats: &Stats) -> String {
    let mut text = String::new();
    let mut line = |what: &str, figure: String| {
        let _ = writeln!(text, "{what:<16} {figure}");
    };
    line("database", database.display().to_string());
    line("size", format!("{} ({} free, log {})", mb(stats.bytes), mb(stats.free_bytes), mb(stats.log_bytes)));
    line("windows", stats.windows.to_string());
    if let Some((from, to)) = stats.span {
        let time = |at: i64| {
            jiff::Timestamp::from_second(at / 1_000_000_000).map_or_else(|_| at.to_string(), |t| t.to_string())
        };
        line("from", time(from));
        line("to", time(to));
    }
    line("samples", format!("{} stored, {} lost", stats.samples, stats.lost));
    line("CPU time watched", format!("{:.3} core days", core_days(stats)));
    if let Some(bytes) = stats.bytes_per_sample() {
        line("a sample", format!("{bytes:.2} B"));
    }
    // Of less than an hour the file's fixed costs are most of it.
    if let Some(bytes) = stats.bytes_per_core_day().filter(|_| core_days(stats) >= 1.0 / 24.0) {
        line("a core and day", format!("{:.2} MB", bytes / 1e6));
    }
    for (name, bytes) in &stats.tables {
        line(&format!("  {name}"), mb(*bytes));
    }
    text
}

fn mb(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// What was found or done.
fn print(value: &serde_json::Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    write_stdout(|out| out.write_all(text.as_bytes()))
}

fn check(database: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let found = watched("checking", |progress| upkeep::check(database, progress))?;
    if json {
        let findings: Vec<String> = found.iter().map(ToString::to_string).collect();
        print(&json!({"sound": findings.is_empty(), "findings": findings}))?;
        return Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_SOUND) });
    }
    if found.is_empty() {
        eprintln!("{} is sound", database.display());
        return Ok(ExitCode::SUCCESS);
    }
    found.iter().for_each(|finding| eprintln!("{finding}"));
    eprintln!(
        "error: {} is damaged ({} findings): the profiler sets it aside at its next start and begins a new one; \
         a backup can take its place before",
        database.display(),
        found.len()
    );
    Ok(ExitCode::from(NOT_SOUND))
}

fn backup(database: &Path, output: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let bytes = watched("copying", |progress| upkeep::backup(database, output, progress))?;
    owner::give_database_to_caller(output);
    if json {
        print(&json!({"output": output, "bytes": bytes}))?;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("wrote {} ({}); `profiler serve {0}` shows it", output.display(), mb(bytes));
    Ok(ExitCode::SUCCESS)
}

fn compact(database: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let done = watched("compacting", |progress| upkeep::compact(database, progress))?;
    if json {
        print(&json!({"bytes_before": done.before, "bytes": done.after, "rewritten": !done.beside_writer}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let how = if done.beside_writer { "; a profiler is writing, so the file was not written anew" } else { "" };
    eprintln!("{}: {} became {}{how}", database.display(), mb(done.before), mb(done.after));
    Ok(ExitCode::SUCCESS)
}
