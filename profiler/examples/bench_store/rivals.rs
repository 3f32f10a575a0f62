//! The same windows, kept as others keep them: one gzipped pprof file a window, plain SQLite rows, and one pprof file a
//! minute that `go tool pprof` merges.
//!
//! The rivals get what the store gets (process, thread name, stack, count) and no more. Functions are named once a file in
//! pprof and once in all in SQLite; the rows have no index, which is in their favour.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use profiler::export::pprof;
use profiler::profile::{
    BinaryId, CodeFile, CodePlace, FrameKind, FunctionNames, Location, PlaceLine, ProcessWindow, StackCount,
    StackSamples, Symbol, Symbolized, ThreadLabels, ThreadStack, Window,
};
use rusqlite::{Connection, params};

use crate::host::SECONDS;
use crate::shapes;

/// What gzip makes of one pprof file of these windows.
pub fn pprof(windows: &[Window], out: impl Write) -> io::Result<()> {
    let Some(first) = windows.first() else { return Ok(()) };
    let nanos_per_sample = 1_000_000_000 / u64::from(first.hz);
    // Equal stacks of the simulation are the same piece of memory.
    let mut sums = HashMap::<(u32, &str, *const Location), (&ProcessWindow, &StackCount, u64)>::new();
    for process in windows.iter().flat_map(|window| &window.processes) {
        for row in &process.stacks {
            let key = (process.facts.key.pid, &*row.thread, row.stack.as_ptr());
            sums.entry(key).or_insert((process, row, 0)).2 += row.count;
        }
    }
    let mut found = StackSamples {
        nodes: vec![(0, 0)],
        recorded_nanos: windows.len() as u64 * SECONDS * 1_000_000_000,
        ..StackSamples::default()
    };
    let mut binaries = HashMap::<BinaryId, u32>::new();
    for (id, binary) in &first.binaries {
        let (kind, path) = (binary.kind, binary.path.as_str().into());
        binaries
            .insert(*id, number(&mut found.binaries, CodeFile { kind, path, build_id: binary.build_id, code: None }));
    }
    let (mut functions, mut places) = (HashMap::<FunctionNames, u32>::new(), HashMap::<Location, u32>::new());
    let mut nodes = HashMap::<(u32, u32), u32>::new();
    for (process, row, samples) in sums.into_values() {
        let mut node = 0;
        for location in row.stack.iter() {
            let place = *places.entry(*location).or_insert_with(|| {
                let Symbolized::Named(symbols) = shapes::name(*location) else { unreachable!("all have names") };
                let line = |symbol: &Symbol| {
                    let (file, line) =
                        symbol.source.as_ref().map_or((None, 0), |at| (Some(at.file.clone()), at.line.unwrap_or(0)));
                    let (name, linker_name) = (symbol.name.clone(), symbol.name.clone());
                    let names = FunctionNames { name, linker_name, file, declared: 0 };
                    let function =
                        *functions.entry(names).or_insert_with_key(|names| number(&mut found.functions, names.clone()));
                    PlaceLine { function, line, kind: FrameKind::User }
                };
                let lines = symbols.iter().map(line).collect();
                let binary = binaries.get(&location.binary).copied();
                number(&mut found.places, CodePlace { binary, offset: location.offset, named: true, lines })
            });
            node = *nodes.entry((node, place)).or_insert_with(|| number(&mut found.nodes, (node, place)));
        }
        let none = Arc::<str>::default();
        let thread = ThreadLabels {
            pid: process.facts.key.pid,
            comm: process.facts.comm.as_str().into(),
            thread: row.thread.clone(),
            exe: none.clone(),
            cgroup: none.clone(),
            container: none.clone(),
            unit: none,
        };
        let thread = number(&mut found.threads, thread);
        found.samples.push(ThreadStack { thread, node, note: None, samples, nanos: samples * nanos_per_sample });
    }
    pprof::write(&found, &pprof::About { start: first.wall_start.0, ..pprof::About::default() }, out)
}

/// Enters a row: its index.
fn number<T>(table: &mut Vec<T>, row: T) -> u32 {
    table.push(row);
    table.len() as u32 - 1
}

/// A database of rows (time, thread, stack, count), of stacks as folded text, and of threads.
pub struct Rows {
    conn: Connection,
    stacks: HashMap<Arc<[Location]>, i64>,
    threads: HashMap<(u32, Arc<str>), i64>,
    samples: u64,
}

impl Rows {
    pub fn create(path: &Path) -> rusqlite::Result<Self> {
        let conn = Connection::open(path)?;
        conn.execute_batch(
            "PRAGMA journal_mode = OFF;
             CREATE TABLE sample (time INTEGER, thread INTEGER, stack INTEGER, n INTEGER);
             CREATE TABLE stack (id INTEGER PRIMARY KEY, folded TEXT);
             CREATE TABLE thread (id INTEGER PRIMARY KEY, pid INTEGER, comm TEXT, name TEXT);",
        )?;
        Ok(Self { conn, stacks: HashMap::new(), threads: HashMap::new(), samples: 0 })
    }

    pub fn add(&mut self, window: &Window) -> rusqlite::Result<()> {
        let tx = self.conn.transaction()?;
        let mut sums = HashMap::<(i64, i64), u64>::new();
        for process in &window.processes {
            for row in &process.stacks {
                let next = self.stacks.len() as i64;
                let stack = match self.stacks.get(&row.stack) {
                    Some(known) => *known,
                    None => {
                        tx.prepare_cached("INSERT INTO stack VALUES (?1, ?2)")?
                            .execute(params![next, folded(&row.stack)])?;
                        self.stacks.insert(row.stack.clone(), next);
                        next
                    }
                };
                let next = self.threads.len() as i64;
                let key = (process.facts.key.pid, row.thread.clone());
                let thread = match self.threads.get(&key) {
                    Some(known) => *known,
                    None => {
                        tx.prepare_cached("INSERT INTO thread VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                            next,
                            key.0,
                            process.facts.comm,
                            &*row.thread
                        ])?;
                        self.threads.insert(key, next);
                        next
                    }
                };
                *sums.entry((thread, stack)).or_default() += row.count;
                self.samples += row.count;
            }
        }
        // Neighbours alike, as anybody would.
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_unstable();
        let seconds = window.wall_start.0 / 1_000_000_000;
        for ((thread, stack), n) in sums {
            tx.prepare_cached("INSERT INTO sample VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![seconds, thread, stack, n as i64])?;
        }
        tx.commit()
    }

    /// Bytes a sample in a history of so many samples: rows and threads go on as they were, the stacks are all known.
    pub fn bytes_per_sample(&self, of: u64) -> rusqlite::Result<f64> {
        let pages = |table: &str| -> rusqlite::Result<f64> {
            self.conn.query_row("SELECT sum(pgsize) FROM dbstat WHERE name = ?1", [table], |row| row.get(0))
        };
        let (rows, stacks) = (pages("sample")? + pages("thread")?, pages("stack")?);
        Ok(rows / self.samples.max(1) as f64 + stacks / of.max(1) as f64)
    }
}

fn folded(stack: &[Location]) -> String {
    let mut text = String::new();
    for place in stack {
        let Symbolized::Named(symbols) = shapes::name(*place) else { continue };
        for symbol in symbols.iter().rev() {
            text += &symbol.name;
            text.push(';');
        }
    }
    text
}

/// How long `go tool pprof` takes to merge these files; `None` where there is no go.
pub fn merge(files: &[PathBuf], folder: &Path) -> io::Result<Option<Duration>> {
    let begun = Instant::now();
    let merged = folder.join("merged.pb.gz");
    let ended = Command::new("go")
        .args(["tool", "pprof", "-proto", "-symbolize=none", "-output"])
        .arg(&merged)
        .args(files)
        .env("PPROF_TMPDIR", folder)
        .output();
    match ended {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(output) if !output.status.success() || !merged.exists() => {
            Err(io::Error::other(format!("go tool pprof: {}", String::from_utf8_lossy(&output.stderr))))
        }
        Ok(_) => Ok(Some(begun.elapsed())),
    }
}
