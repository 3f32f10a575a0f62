//! Reading: rows for `query`, one consistent moment per question, beside a live writer or from a database at rest.

use std::fmt::{self, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, InterruptHandle, OpenFlags, OptionalExtension, Transaction};

use super::codec::ThreadId;
use super::file::{self, Found};
use super::migrate::VERSION;
use super::name_cache::{CachedFrame, NameCache, PlacedFrame};
use super::stack_cache::{StackCache, StackNode};
use super::{StackId, StoreError};
use crate::profile::{Frame, LossCause, Losses, StackEnd, TimeRange, WallNanos};

/// SQLite's page cache of one reader, in KiB.
const CACHE_KIB: i64 = 4 << 10;
/// A reader only waits for the recovery of a log, which is short.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// A read-only connection with its caches. One question at a time.
pub struct Reader {
    path: PathBuf,
    conn: Connection,
    /// The file as it was when it was opened as one that nobody changes.
    frozen: Option<Stamp>,
    stacks: StackCache,
    names: NameCache,
    stop: Arc<AtomicBool>,
    handle: Arc<Mutex<InterruptHandle>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).field("frozen", &self.frozen).finish_non_exhaustive()
    }
}

/// Size and time of change of a file.
type Stamp = (u64, SystemTime);

impl Reader {
    /// Opens an existing database read-only; works without write permission to the file or its folder.
    ///
    /// # Errors
    /// No such file, not a profiler database, a newer or older version's file, permission.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match file::inspect(path)? {
            Found::Nothing => return Err(StoreError::Missing(path.into())),
            Found::Damaged => return Err(StoreError::Foreign(path.into())),
            Found::Ours { .. } => {}
        }
        let (conn, frozen) = connect(path)?;
        let handle = Arc::new(Mutex::new(conn.get_interrupt_handle()));
        Ok(Self {
            path: path.into(),
            conn,
            frozen,
            stacks: StackCache::default(),
            names: NameCache::default(),
            stop: Arc::default(),
            handle,
        })
    }

    /// Makes the question under way (on another thread) fail soon with [`StoreError::Interrupted`].
    #[must_use]
    pub fn interrupter(&self) -> Box<dyn Fn() + Send> {
        let (stop, handle) = (Arc::clone(&self.stop), Arc::clone(&self.handle));
        Box::new(move || {
            stop.store(true, Relaxed);
            handle.lock().unwrap_or_else(PoisonError::into_inner).interrupt();
        })
    }

    /// Begins a question: everything asked of the snapshot sees one moment.
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot<'_>, StoreError> {
        self.stop.store(false, Relaxed);
        if let Some(stamp) = self.frozen
            && (file::has_log(&self.path) || stamp_of(&self.path)? != stamp)
        {
            // Someone writes after all.
            (self.conn, self.frozen) = connect(&self.path)?;
            *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = self.conn.get_interrupt_handle();
            (self.stacks, self.names) = (StackCache::default(), NameCache::default());
        }
        let Self { conn, stacks, names, stop, .. } = self;
        let tx = conn.transaction()?;
        names.begin(&tx)?;
        Ok(Snapshot { tx, stacks, names, stop })
    }
}

fn stamp_of(path: &Path) -> Result<Stamp, StoreError> {
    path.metadata().and_then(|meta| Ok((meta.len(), meta.modified()?))).map_err(|source| StoreError::File {
        doing: "read",
        path: path.into(),
        source,
    })
}

/// A connection, and the file's stamp when it was opened without locks.
fn connect(path: &Path) -> Result<(Connection, Option<Stamp>), StoreError> {
    let stamp = stamp_of(path)?;
    match open_uri(path, "mode=ro") {
        Ok(conn) => Ok((conn, None)),
        // Reading a database in WAL mode needs its index in shared memory, beside the file. Where that can be neither found
        // nor made nobody can be writing, and without a log the file is all there is.
        Err(StoreError::Io(_) | StoreError::Sqlite(_)) if !file::has_log(path) => {
            Ok((open_uri(path, "immutable=1")?, Some(stamp)))
        }
        Err(other) => Err(other),
    }
}

fn open_uri(path: &Path, how: &str) -> Result<Connection, StoreError> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'_' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            _ => write!(uri, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(format!("{uri}?{how}"), flags)?;
    conn.busy_timeout(BUSY_WAIT)?;
    conn.set_prepared_statement_cache_capacity(32);
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let (path, supported) = (path.into(), VERSION);
    match found.cmp(&VERSION) {
        std::cmp::Ordering::Less => Err(StoreError::Older { path, found, supported }),
        std::cmp::Ordering::Greater => Err(StoreError::Newer { path, found, supported }),
        std::cmp::Ordering::Equal => Ok(conn),
    }
}

/// A window's own numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WindowRow {
    /// Wall clock at its start.
    pub(crate) start: i64,
    /// Length, by the boot clock, in nanoseconds.
    pub(crate) length: u64,
    /// Samples per second and CPU.
    pub(crate) hz: u32,
    /// Ticks that hit a task.
    pub(crate) busy: u64,
    /// Ticks that hit idle.
    pub(crate) idle: u64,
    /// Samples stored.
    pub(crate) stored: u64,
    /// Of these, cut short.
    pub(crate) incomplete: u64,
    /// Samples lost.
    pub(crate) lost: u64,
}

/// A process's share of a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share<'a> {
    /// Wall clock at the window's start.
    pub(crate) start: i64,
    /// Samples per second and CPU.
    pub(crate) hz: u32,
    /// Row of the process.
    pub(crate) process: i64,
    /// Samples.
    pub(crate) samples: u64,
    /// Of these, cut short.
    pub(crate) incomplete: u64,
    /// Packed stacks: see [`super::decode`].
    pub(crate) stacks: &'a [u8],
}

/// What the labels of a process say; empty where there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessRow {
    /// Name of its main thread.
    pub(crate) comm: String,
    /// Host pid.
    pub(crate) pid: u32,
    /// Path of its executable.
    pub(crate) exe: String,
    /// Control group.
    pub(crate) cgroup: String,
    /// Container id.
    pub(crate) container: String,
    /// systemd unit.
    pub(crate) unit: String,
}

/// Sums over all stored windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Windows.
    pub(crate) windows: u64,
    /// Samples taken.
    pub(crate) taken: u64,
    /// Samples stored.
    pub(crate) stored: u64,
    /// Samples lost.
    pub(crate) losses: Losses,
    /// Stored samples by stack end.
    pub(crate) endings: Vec<(StackEnd, u64)>,
}

/// One question's view of the database.
pub(crate) struct Snapshot<'a> {
    tx: Transaction<'a>,
    stacks: &'a mut StackCache,
    names: &'a mut NameCache,
    stop: &'a AtomicBool,
}

impl Snapshot<'_> {
    /// Fails once the question was interrupted; for loops that do not ask the database.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.stop.load(Relaxed) { Err(StoreError::Interrupted) } else { Ok(()) }
    }

    /// Every window whose wall-clock start lies in the range, by that start.
    pub(crate) fn windows(&self, range: TimeRange, mut each: impl FnMut(WindowRow)) -> Result<(), StoreError> {
        let mut select = self.tx.prepare_cached(
            "SELECT wall_start, boot_end - boot_start, hz, busy, idle, stored, incomplete, lost FROM window
             WHERE wall_start >= ?1 AND wall_start < ?2 ORDER BY wall_start",
        )?;
        let mut rows = select.query([range.from.0, range.to.0])?;
        while let Some(row) = rows.next()? {
            self.check()?;
            each(WindowRow {
                start: row.get(0)?,
                length: count(row.get(1)?),
                hz: row.get(2)?,
                busy: count(row.get(3)?),
                idle: count(row.get(4)?),
                stored: count(row.get(5)?),
                incomplete: count(row.get(6)?),
                lost: count(row.get(7)?),
            });
        }
        Ok(())
    }

    /// Lengths in nanoseconds of the newest windows in the range, at most `most`.
    pub(crate) fn window_lengths(&self, range: TimeRange, most: u32) -> Result<Vec<u64>, StoreError> {
        let mut select = self.tx.prepare_cached(
            "SELECT boot_end - boot_start FROM window WHERE wall_start >= ?1 AND wall_start < ?2
             ORDER BY wall_start DESC LIMIT ?3",
        )?;
        let rows = select.query_map((range.from.0, range.to.0, most), |row| row.get(0))?;
        rows.map(|length| Ok(count(length?))).collect()
    }

    /// Every process's share of every window whose wall-clock start lies in the range.
    pub(crate) fn shares<E: From<StoreError>>(
        &self,
        range: TimeRange,
        mut each: impl FnMut(Share<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let lift = |error: rusqlite::Error| E::from(error.into());
        // CROSS JOIN: windows outside, each a range of the inner table's key.
        let mut select = self
            .tx
            .prepare_cached(
                "SELECT wall_start, hz, process, samples, profile.incomplete, stacks
                 FROM window CROSS JOIN profile ON profile.window = window.id
                 WHERE wall_start >= ?1 AND wall_start < ?2",
            )
            .map_err(lift)?;
        let mut rows = select.query([range.from.0, range.to.0]).map_err(lift)?;
        while let Some(row) = rows.next().map_err(lift)? {
            self.check()?;
            let share = || -> Result<Share<'_>, rusqlite::Error> {
                Ok(Share {
                    start: row.get(0)?,
                    hz: row.get(1)?,
                    process: row.get(2)?,
                    samples: count(row.get(3)?),
                    incomplete: count(row.get(4)?),
                    stacks: row.get_ref(5)?.as_blob()?,
                })
            };
            each(share().map_err(lift)?)?;
        }
        Ok(())
    }

    /// The process of a share.
    pub(crate) fn process(&self, id: i64) -> Result<ProcessRow, StoreError> {
        self.tx
            .prepare_cached(
                "SELECT comm.text, pid, exe.text, cgroup.text, container.text, unit.text FROM process
                 JOIN string AS comm ON comm.id = process.comm
                 JOIN string AS exe ON exe.id = process.exe
                 JOIN string AS cgroup ON cgroup.id = process.cgroup
                 JOIN string AS container ON container.id = process.container
                 JOIN string AS unit ON unit.id = process.unit
                 WHERE process.id = ?1",
            )?
            .query_row([id], |row| {
                Ok(ProcessRow {
                    comm: row.get(0)?,
                    pid: row.get(1)?,
                    exe: row.get(2)?,
                    cgroup: row.get(3)?,
                    container: row.get(4)?,
                    unit: row.get(5)?,
                })
            })
            .optional()?
            .ok_or(StoreError::BadRow("a profile names a process that is not there"))
    }

    /// The name of a thread.
    pub(crate) fn thread(&self, ThreadId(id): ThreadId) -> Result<String, StoreError> {
        self.tx
            .prepare_cached("SELECT text FROM thread JOIN string ON string.id = thread.name WHERE thread.id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?
            .ok_or(StoreError::BadRow("a profile names a thread that is not there"))
    }

    /// A node of the stack tree.
    pub(crate) fn stack(&mut self, id: StackId) -> Result<StackNode, StoreError> {
        self.stacks.node(&self.tx, id)
    }

    /// The frames at a location, outer function first, for [`Self::placed`]; at least one.
    pub(crate) fn frames(&mut self, location: u32) -> Result<Range<u32>, StoreError> {
        self.names.at(&self.tx, location)
    }

    /// One of [`Self::frames`].
    pub(crate) fn placed(&self, at: u32) -> PlacedFrame {
        self.names.placed(at)
    }

    /// What to show of a frame.
    pub(crate) fn frame(&self, frame: CachedFrame) -> &Frame {
        self.names.frame(frame)
    }

    /// Sums over all windows, and the time they span.
    pub(crate) fn sums(&self) -> Result<(Sums, Option<TimeRange>), StoreError> {
        let mut sums = Sums::default();
        let mut select = self.tx.prepare_cached("SELECT name, number, count FROM tally ORDER BY name, number")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (number, n): (u32, u64) = (row.get(1)?, count(row.get(2)?));
            match row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)? {
                "windows" => sums.windows = n,
                "taken" => sums.taken = n,
                "stored" => sums.stored = n,
                "lost" => {
                    let cause = u8::try_from(number).ok().and_then(LossCause::from_u8);
                    sums.losses.add(cause.ok_or(StoreError::BadRow("an unknown cause of loss"))?, n);
                }
                "ending" if n > 0 => {
                    let end = StackEnd::from_u32(number).ok_or(StoreError::BadRow("an unknown stack end"))?;
                    sums.endings.push((end, n));
                }
                _ => {}
            }
        }
        // Two statements: SQLite answers min and max from an index one at a time only.
        let edge = |sql| self.tx.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional();
        let from = edge("SELECT wall_start FROM window ORDER BY wall_start LIMIT 1")?;
        let to = edge("SELECT wall_end FROM window ORDER BY wall_start DESC LIMIT 1")?;
        let span = from.zip(to).map(|(from, to)| TimeRange { from: WallNanos(from), to: WallNanos(to) });
        Ok((sums, span))
    }
}

/// Counts are never negative; a damaged row may be.
fn count(n: i64) -> u64 {
    n.max(0).cast_unsigned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::super::Store;
    use super::super::drawing::{name_all, window};
    use super::*;
    use crate::query::{QueryError, Selector, flame_graph, totals};

    const ALL_TIME: TimeRange = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };

    /// A folder whose name no URI can hold as it is, with a database of one window.
    fn database() -> (TempDir, PathBuf, Store) {
        let folder = tempfile::Builder::new().prefix("a b?c#d%41\u{e9}").tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        write(&mut store, 0);
        (folder, path, store)
    }

    fn write(store: &mut Store, n: u64) {
        let unnamed = store.write_window(&window(n, "web/7  main;serve x5")).unwrap();
        name_all(store, &unnamed);
    }

    fn samples(reader: &mut Reader) -> u64 {
        let merged = flame_graph(reader, ALL_TIME, &Selector::default(), 100).unwrap();
        assert_eq!(totals(reader).unwrap().stored, merged.tree.nodes[0].total);
        merged.tree.nodes[0].total
    }

    /// A reader sees each window as soon as it is stored, and one question sees one moment.
    #[test]
    fn a_reader_follows_a_live_writer() {
        let (_folder, path, mut store) = database();
        let mut reader = Reader::open(&path).unwrap();
        for n in 1..5 {
            assert_eq!(samples(&mut reader), 5 * n);
            write(&mut store, n);
        }
        let snapshot = reader.snapshot().unwrap();
        let before = snapshot.sums().unwrap();
        write(&mut store, 5);
        assert_eq!(snapshot.sums().unwrap(), before);
        drop(snapshot);
        assert_eq!(samples(&mut reader), 30);
    }

    /// Runs `ask` on a thread that may read the folder's files and write none of them.
    fn without_rights<T: Send>(folder: &Path, ask: impl FnOnce() -> T + Send) -> T {
        let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        fs::read_dir(folder).unwrap().for_each(|file| chmod(&file.unwrap().path(), 0o444));
        chmod(folder, 0o555);
        let answer = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // Root may write anywhere; this is of the thread, and undone by its end.
                if rustix::process::geteuid().is_root() {
                    rustix::thread::set_thread_res_uid(None, Some(rustix::process::Uid::from_raw(65534)), None)
                        .unwrap();
                }
                assert!(fs::write(folder.join("probe"), "").is_err());
                ask()
            });
            thread.join().unwrap()
        });
        chmod(folder, 0o755);
        fs::read_dir(folder).unwrap().for_each(|file| chmod(&file.unwrap().path(), 0o644));
        answer
    }

    /// A database at rest, in a folder that may not be written, is read as it is; when a writer comes after all, the reader
    /// notices.
    #[test]
    fn a_database_at_rest_is_read_without_rights() {
        let (folder, path, store) = database();
        store.close().unwrap();
        let mut reader = without_rights(folder.path(), || {
            let mut reader = Reader::open(&path).unwrap();
            assert_eq!(samples(&mut reader), 5);
            reader
        });
        assert!(reader.frozen.is_some());
        let (mut store, _) = Store::open(&path).unwrap();
        write(&mut store, 1);
        assert_eq!(samples(&mut reader), 10);
        assert!(reader.frozen.is_none());
    }

    /// Beside a live writer a reader needs no rights either, and sees what is only in the log.
    #[test]
    fn a_live_database_is_read_without_rights() {
        let (folder, path, mut store) = database();
        let mut reader = without_rights(folder.path(), || {
            let mut reader = Reader::open(&path).unwrap();
            assert!(reader.frozen.is_none());
            assert_eq!(samples(&mut reader), 5);
            reader
        });
        write(&mut store, 1);
        assert_eq!(samples(&mut reader), 10);
    }

    /// A log that a killed writer left is read, or is an error: answering without its windows would be a lie.
    #[test]
    fn a_log_left_behind_is_not_passed_over() {
        let (folder, path, store) = database();
        let copies = folder.path().join("copies");
        let copy = copies.join("x.db");
        fs::create_dir(&copies).unwrap();
        for suffix in ["", "-wal"] {
            fs::copy(file::beside(&path, suffix), file::beside(&copy, suffix)).unwrap();
        }
        assert!(file::has_log(&copy));
        drop(store);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let found = without_rights(&copies, || Reader::open(&copy).map(|mut reader| samples(&mut reader)));
        assert!(matches!(found, Ok(5) | Err(StoreError::Io(_))), "{found:?}");
        assert_eq!(samples(&mut Reader::open(&copy).unwrap()), 5);
    }

    /// Each refusal names the file and the way out.
    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let refusal = || Reader::open(&path).unwrap_err().to_string().replace(&*path.to_string_lossy(), "X");
        assert_eq!(refusal(), "X does not exist: record first, or name another database");
        fs::write(&path, "hello").unwrap();
        assert_eq!(refusal(), "X is not a database of this program: name another file");
        fs::remove_file(&path).unwrap();
        let begun = Connection::open(&path).unwrap();
        begun.pragma_update(None, "application_id", super::super::migrate::APPLICATION_ID).unwrap();
        assert_eq!(
            refusal(),
            "X has the older schema version 0: open it once with `profiler run` to bring it to version 1"
        );
        begun.pragma_update(None, "user_version", 9).unwrap();
        assert_eq!(
            refusal(),
            "X has schema version 9, this program knows up to 1: use a newer profiler, or name another file"
        );
    }

    /// An interrupt ends the question under way, and only that one.
    #[test]
    fn a_question_can_be_interrupted() {
        let (_folder, path, _store) = database();
        let mut reader = Reader::open(&path).unwrap();
        let interrupt = reader.interrupter();
        interrupt();
        assert_eq!(samples(&mut reader), 5, "nothing was under way");
        let snapshot = reader.snapshot().unwrap();
        interrupt();
        assert!(matches!(snapshot.check(), Err(StoreError::Interrupted)));
        let asked = snapshot.shares(ALL_TIME, |_| -> Result<(), StoreError> { Ok(()) });
        assert!(matches!(asked, Err(StoreError::Interrupted)));
        drop(snapshot);
        assert_eq!(samples(&mut reader), 5);
    }

    /// Rows that no writer writes end a question with an error: no panic, no endless walk.
    #[test]
    fn hostile_rows_are_an_error() {
        for sql in [
            "UPDATE profile SET stacks = x'0107000103'",
            "UPDATE profile SET stacks = x'01010001630a'",
            "DELETE FROM stack",
            "PRAGMA ignore_check_constraints = 1; UPDATE stack SET parent = 2",
            "DELETE FROM location",
            "UPDATE location SET id = id + 1000000000000",
            "DELETE FROM process",
            "UPDATE profile SET process = -5",
            "UPDATE location_frame SET function = 77",
            "DELETE FROM string",
            "UPDATE binary SET kind = 99",
            "DELETE FROM meta",
        ] {
            let (_folder, path, store) = database();
            store.conn.pragma_update(None, "foreign_keys", false).unwrap();
            store.conn.execute_batch(sql).unwrap();
            let mut reader = Reader::open(&path).unwrap();
            let result = flame_graph(&mut reader, ALL_TIME, &Selector::default(), 100);
            assert!(matches!(result, Err(QueryError::Store(_))), "{sql}");
        }
    }

    /// The stack cache loads pages around what is asked for, and the newest page again when it has grown.
    #[test]
    fn new_stacks_on_a_known_page_are_found() {
        let (_folder, path, mut store) = database();
        let mut reader = Reader::open(&path).unwrap();
        let mut snapshot = reader.snapshot().unwrap();
        let leaf = snapshot.stack(StackId(2)).unwrap();
        assert_eq!(leaf.parent, StackId(1));
        assert!(matches!(snapshot.stack(StackId(3)), Err(StoreError::BadRow(_))));
        drop(snapshot);
        store.write_window(&window(1, "web/7  main;serve;parse x5")).unwrap();
        assert_eq!(reader.snapshot().unwrap().stack(StackId(3)).unwrap().parent, StackId(2));
    }
}
