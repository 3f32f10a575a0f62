//! `profiler names`: how well each binary of a range is named, which processes run scripts whose functions are not, and what helps.

use std::collections::HashSet;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::args::NamesArgs;
use super::exit::NoSamples;
use super::export::write_stdout;
use super::select;
use crate::profile::{Reason, printable};
use crate::query::{self, Interpreted, NamedBinary, Remedy};
use crate::store::Reader;
use crate::sys::distribution::Distribution;

/// Widest path shown.
const WIDTH: usize = 100;

/// Runs the command.
///
/// # Errors
/// Bad selector or range, no samples, the database cannot be had.
pub fn names(args: &NamesArgs) -> anyhow::Result<ExitCode> {
    let (selector, range) = select::of(&args.range)?;
    let database = args.database.path()?;
    let mut reader = Reader::open(&database)?;
    let found = query::binaries(&mut reader, range, &selector, args.limit, &Distribution::here())?;
    if found.rows.is_empty() {
        anyhow::bail!(NoSamples("no samples match".into()));
    }
    let interpreters = query::quality(&mut reader, range.into(), &selector, args.limit)?.interpreters;
    if args.json {
        let rows: Vec<Row<'_>> = found.rows.iter().map(Row::of).collect();
        let text = serde_json::to_string_pretty(&Rows {
            rows,
            hidden_rows: found.hidden_rows,
            together: found.together.as_ref(),
            interpreters: interpreters.iter().map(Scripts::of).collect(),
        })? + "\n";
        write_stdout(|out| out.write_all(text.as_bytes()))?;
        return Ok(ExitCode::SUCCESS);
    }
    write_stdout(|mut out| {
        table(&found.rows, &mut out)?;
        if let Some(together) = &found.together {
            writeln!(out, "symbols of the heaviest of these at once:")?;
            remedy(together, &mut out)?;
        }
        scripts(&interpreters, &mut out)
    })?;
    if found.hidden_rows > 0 {
        eprintln!("{} more binaries; --limit shows more", found.hidden_rows);
    }
    Ok(ExitCode::SUCCESS)
}

/// The tables as JSON; names of fields as in `/api/v1/binaries` and `/api/v1/quality`.
#[derive(Serialize)]
struct Rows<'a> {
    rows: Vec<Row<'a>>,
    hidden_rows: u64,
    together: Option<&'a Remedy>,
    interpreters: Vec<Scripts<'a>>,
}

#[derive(Serialize)]
struct Scripts<'a> {
    comm: &'a str,
    runtime: String,
    file: Option<&'a str>,
    total: u64,
    named: u64,
    remedies: &'a [Remedy],
}

impl<'a> Scripts<'a> {
    fn of(row: &'a Interpreted) -> Self {
        Self {
            comm: &row.comm,
            runtime: row.runtime.to_string(),
            file: row.file.as_deref(),
            total: row.total,
            named: row.named,
            remedies: &row.remedies,
        }
    }
}

#[derive(Serialize)]
struct Row<'a> {
    path: &'a str,
    build_id: Option<String>,
    program: Option<&'a str>,
    frames: u64,
    named: u64,
    from: Vec<&'static str>,
    reason: Option<&'static str>,
    remedies: &'a [Remedy],
}

impl<'a> Row<'a> {
    fn of(row: &'a NamedBinary) -> Self {
        Self {
            path: &row.path,
            build_id: row.build_id.as_ref().map(ToString::to_string),
            program: row.program.as_deref(),
            frames: row.frames,
            named: row.named,
            from: from(row),
            reason: row.reason.map(Reason::name),
            remedies: &row.remedies,
        }
    }
}

fn from(row: &NamedBinary) -> Vec<&'static str> {
    row.sources.iter().filter(|source| source.found.is_some()).map(|source| source.source.name()).collect()
}

/// A command in a line of its own, to copy, and below it what it needs.
fn remedy(remedy: &Remedy, mut out: impl Write) -> io::Result<()> {
    for text in [&remedy.command, &remedy.note].into_iter().flatten() {
        writeln!(out, "{:22}{}", "", printable(text.as_bytes(), 4096))?;
    }
    Ok(())
}

fn table(rows: &[NamedBinary], mut out: impl Write) -> io::Result<()> {
    let path = |row: &NamedBinary| match &row.program {
        Some(program) => printable(format!("{} of {program}", row.path).as_bytes(), WIDTH),
        None => printable(row.path.as_bytes(), WIDTH),
    };
    let width = rows.iter().map(|row| path(row).chars().count()).max().unwrap_or(0);
    writeln!(out, "  named     frames  {:width$}  from", "binary")?;
    let mut said = HashSet::new();
    for row in rows {
        let share = if row.frames == 0 { 100.0 } else { row.named as f64 * 100.0 / row.frames as f64 };
        let from = from(row);
        writeln!(out, "{share:5.1} %{:11}  {:width$}  {}", row.frames, path(row), from.join(" "))?;
        if let Some(reason) = row.reason {
            writeln!(out, "{:20}{}", "", reason.describe())?;
            for one in &row.remedies {
                // What a command needs is said once.
                let note = one.note.clone().filter(|note| one.command.is_none() || said.insert(note.clone()));
                remedy(&Remedy { note, ..one.clone() }, &mut out)?;
            }
        }
    }
    Ok(())
}

/// Processes that run scripts, whose functions are in no binary: their share of samples with such a function, and what names the others.
fn scripts(rows: &[Interpreted], mut out: impl Write) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "  named    samples  process, with functions of its script")?;
    for row in rows {
        let (share, comm) = (row.named as f64 * 100.0 / row.total.max(1) as f64, printable(row.comm.as_bytes(), WIDTH));
        writeln!(out, "{share:5.1} %{:11}  {comm} ({})", row.total, row.runtime)?;
        if row.named < row.total {
            writeln!(out, "{:20}interpreter: functions of the script are not named yet", "")?;
            row.remedies.iter().try_for_each(|one| remedy(one, &mut out))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::{FoundSource, NameSource, UnknownReason};
    use crate::query::Runtime;

    /// What runs a script says so, with what helps; one whose functions all have names needs none, and without any there is no table.
    #[test]
    fn scripts_are_told_of_below_the_binaries() {
        let row = |comm: &str, named| Interpreted {
            comm: comm.into(),
            runtime: Runtime::CPython,
            file: None,
            total: 40,
            named,
            remedies: vec![Remedy { command: Some("py-spy record --pid 7".into()), note: None }],
        };
        let text = |rows: &[Interpreted]| {
            let mut text = Vec::new();
            scripts(rows, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let told = text(&[row("dj\u{1b}ango", 10), row("worker", 40)]);
        let lines: Vec<&str> = told.lines().map(str::trim).collect();
        assert_eq!(
            lines[1..],
            [
                "25.0 %         40  dj\u{fffd}ango (CPython)",
                "interpreter: functions of the script are not named yet",
                "py-spy record --pid 7",
                "100.0 %         40  worker (CPython)",
            ]
        );
        assert_eq!(text(&[]), "");
    }

    /// The share, where names came from, and below it why the rest has none and what helps; nothing that moves the cursor.
    #[test]
    fn a_binary_is_told_of_in_one_or_two_lines() {
        let full = NamedBinary {
            path: "/bin/x\u{1b}[2J".into(),
            build_id: None,
            program: None,
            samples_self: 5,
            frames: 8,
            named: 8,
            inlined_frames: 0,
            sources: vec![
                FoundSource { source: NameSource::Dwarf, found: Some("/bin/x".into()) },
                FoundSource { source: NameSource::Dwz, found: None },
            ],
            reason: None,
            remedies: Vec::new(),
        };
        let poor = NamedBinary {
            path: "[anon]".into(),
            program: Some("/usr/bin/node".into()),
            named: 2,
            sources: Vec::new(),
            reason: Some(Reason::Unnamed(Some(UnknownReason::NoFile))),
            remedies: vec![Remedy { command: Some("node --perf-basic-prof".into()), note: Some("start it so".into()) }],
            ..full.clone()
        };
        let mut text = Vec::new();
        table(&[poor, full], &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines[1], " 25.0 %          8  [anon] of /usr/bin/node");
        let told = ["memory without a file (JIT code)", "node --perf-basic-prof", "start it so"];
        assert_eq!(lines[2..5].iter().map(|line| line.trim()).collect::<Vec<_>>(), told);
        assert!(lines[5].starts_with("100.0 %          8  /bin/x") && lines[5].ends_with("  dwarf"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
