//! `profiler sql "SELECT ..."`: a question to the database, as a table, JSON or CSV.

use std::io::{self, Write};
use std::process::ExitCode;

use rusqlite::types::Value;

use super::args::{SqlArgs, SqlFormat};
use super::export::write_stdout;
use super::host;
use crate::query::{self, sql};
use crate::store::Reader;
use crate::store::sql::{Sql, SqlLimits};
use crate::sys::clock::wall_now;

/// Memory that a question may take.
const MEMORY: u64 = 1 << 30;
/// Widest column of a table on a terminal.
const WIDTH: usize = 80;

/// Runs the command.
///
/// # Errors
/// The database cannot be had; the question is none, or takes too much.
pub fn sql(args: &SqlArgs) -> anyhow::Result<ExitCode> {
    let selector = query::parse_selector(&args.filter)?;
    let range = query::parse_range(&args.from, &args.to, wall_now())?;
    let database = args.db.clone().unwrap_or_else(host::default_database);
    let limits = SqlLimits { rows: args.limit, time: args.timeout, memory: MEMORY };
    let asked = Sql::open(&database, limits)?;
    sql::prepare(&asked, &args.question, &mut Reader::open(&database)?, range, &selector)?;
    let (mut names, mut rows) = (Vec::new(), Vec::new());
    let more = asked.ask(&args.question, |columns| names = columns.to_vec(), |row| rows.push(row))?;
    write_stdout(|out| match args.format {
        SqlFormat::Table => table(&names, &rows, out),
        SqlFormat::Json => json(&names, &rows, out),
        SqlFormat::Csv => csv(&names, &rows, out),
    })?;
    if more {
        eprintln!("only the first {} rows; --limit shows more", args.limit);
    }
    Ok(ExitCode::SUCCESS)
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
