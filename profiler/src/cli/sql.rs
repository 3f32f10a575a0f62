//! `profiler sql "SELECT ..."`: a question to the database, as a table, JSON or CSV.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use rusqlite::types::Value;

use super::args::{SqlArgs, SqlFormat, database};
use super::exit::Usage;
use super::export::write_stdout;
use super::select;
use crate::query::sql;
use crate::store::Reader;
use crate::store::sql::{Sql, SqlError, SqlLimits};

/// Memory that a question may take.
const MEMORY: u64 = 1 << 30;
/// Widest column of a table on a terminal.
const WIDTH: usize = 80;
/// What can be asked about.
const TABLES: &str =
    "samples, frames, v_samples, v_functions, v_locations, v_processes, v_binaries, v_windows and v_history";

/// Runs the command.
///
/// # Errors
/// The database cannot be had; the question is none, or takes too much.
pub fn sql(args: &SqlArgs) -> anyhow::Result<ExitCode> {
    let (selector, range) = select::of(&args.range)?;
    let (question, file) = question(&args.words)?;
    let database = database(file, args.db.as_deref())?;
    let format = if args.json { SqlFormat::Json } else { args.format };
    let limits = SqlLimits { rows: args.limit, time: args.timeout, memory: MEMORY };
    let asked = Sql::open(&database, limits)?;
    sql::prepare(&asked, question, &mut Reader::open(&database)?, range, &selector)?;
    let (mut names, mut rows) = (Vec::new(), Vec::new());
    let more = asked.ask(question, |columns| names = columns.to_vec(), |row| rows.push(row)).map_err(with_tables)?;
    write_stdout(|out| match format {
        SqlFormat::Table => table(&names, &rows, out),
        SqlFormat::Json => json(&names, &rows, out),
        SqlFormat::Csv => csv(&names, &rows, out),
    })?;
    if more {
        eprintln!("only the first {} rows; --limit shows more", args.limit);
    }
    Ok(ExitCode::SUCCESS)
}

/// The question and the database of the command line: of one word the question, unless a file is called so; of two that which is a file,
/// or the first, is the database.
fn question(words: &[String]) -> Result<(&str, Option<&Path>), Usage> {
    let is_file = |word: &String| Path::new(word).is_file();
    match words {
        [one] if !is_file(one) => Ok((one, None)),
        [question, database] if is_file(database) && !is_file(question) => Ok((question, Some(Path::new(database)))),
        [database, question] => Ok((question, Some(Path::new(database)))),
        _ => Err(Usage("no question: profiler sql DB 'SELECT comm, sum(samples) FROM samples GROUP BY comm'".into())),
    }
}

/// Says what can be asked about where that was not known.
fn with_tables(error: SqlError) -> anyhow::Error {
    let hint = matches!(&error, SqlError::Bad(text) if text.contains("no such table") || text.contains("syntax error"));
    let error = anyhow::Error::from(error);
    if hint { error.context(format!("this cannot be asked; there are the tables {TABLES}")) } else { error }
}

/// A cell as people read it. Control characters would move the cursor: names are other people's.
fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::Integer(n) => return n.to_string(),
        Value::Real(n) => return n.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    } else {
        text
    }
}

fn table(names: &[String], rows: &[Vec<Value>], mut out: impl Write) -> io::Result<()> {
    let cells: Vec<Vec<String>> = std::iter::once(names.to_vec())
        .chain(rows.iter().map(|row| row.iter().map(|cell| text(cell).chars().take(WIDTH).collect()).collect()))
        .collect();
    let numeric: Vec<bool> = (0..names.len())
        .map(|at| rows.iter().all(|row| matches!(row.get(at), Some(Value::Integer(_) | Value::Real(_) | Value::Null))))
        .collect();
    let widths: Vec<usize> = (0..names.len())
        .map(|at| cells.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    for row in &cells {
        let mut line = String::new();
        for ((cell, width), numeric) in row.iter().zip(&widths).zip(&numeric) {
            line += &if *numeric { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn json(names: &[String], rows: &[Vec<Value>], mut out: impl Write) -> io::Result<()> {
    let cell = |value: &Value| match value {
        Value::Null => serde_json::Value::Null,
        Value::Integer(n) => (*n).into(),
        Value::Real(n) => (*n).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Blob(_) => text(value).into(),
    };
    let object = |row: &Vec<Value>| -> serde_json::Value {
        names.iter().cloned().zip(row.iter().map(cell)).collect::<serde_json::Map<_, _>>().into()
    };
    serde_json::to_writer_pretty(&mut out, &rows.iter().map(object).collect::<Vec<_>>())?;
    writeln!(out)
}

/// RFC 4180.
fn csv(names: &[String], rows: &[Vec<Value>], mut out: impl Write) -> io::Result<()> {
    let field = |text: &str| {
        if text.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.to_owned()
        }
    };
    let raw = |value: &Value| match value {
        Value::Text(text) => field(text),
        other => text(other),
    };
    let line = |cells: Vec<String>| cells.join(",") + "\r\n";
    out.write_all(line(names.iter().map(|name| field(name)).collect()).as_bytes())?;
    for row in rows {
        out.write_all(line(row.iter().map(raw).collect()).as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The database is the word that is a file, or the first of two.
    #[test]
    fn one_of_the_words_may_be_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.db").to_str().unwrap().to_owned();
        std::fs::write(&file, "").unwrap();
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            question(&words)
                .map(|(question, database)| (question.to_owned(), database.map(|path| path.to_owned())))
                .ok()
        };
        let (select, path) = ("SELECT 1".to_owned(), Some(Path::new(&file).to_owned()));
        assert_eq!(read(&["SELECT 1"]), Some((select.clone(), None)));
        assert_eq!(read(&[&file, "SELECT 1"]), Some((select.clone(), path.clone())));
        assert_eq!(read(&["SELECT 1", &file]), Some((select.clone(), path)));
        assert_eq!(read(&["gone.db", "SELECT 1"]), Some((select, Some("gone.db".into()))));
        assert_eq!(read(&[&file]), None);
    }

    /// The same answer in three shapes, names that break formats included.
    #[test]
    fn answers_have_three_shapes() {
        let names = ["name".to_owned(), "n".to_owned()];
        let rows = [vec![Value::Text("a\"b,\u{1b}c".into()), Value::Integer(12)], vec![Value::Null, Value::Real(1.5)]];
        let written = |write: &dyn Fn(&mut Vec<u8>) -> io::Result<()>| {
            let mut out = Vec::new();
            write(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&|out| table(&names, &rows, out)), "name      n\na\"b, c   12\n        1.5\n");
        assert_eq!(written(&|out| csv(&names, &rows, out)), "name,n\r\n\"a\"\"b,\u{1b}c\",12\r\n,1.5\r\n");
        let json: serde_json::Value = serde_json::from_str(&written(&|out| json(&names, &rows, out))).unwrap();
        assert_eq!((json[0]["name"].as_str().unwrap(), json[1]["n"].as_f64().unwrap()), ("a\"b,\u{1b}c", 1.5));
    }
}
