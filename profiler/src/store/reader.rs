//! The reader's connection: beside a live writer, or on a database at rest, with as few rights as possible.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, InterruptHandle, OpenFlags};

use super::error::is_disk_error;
use super::file::{self, FileId, Found};
use super::migrate::VERSION;
use super::older;
use super::snapshot::Caches;
use super::{KeptSums, Snapshot, StoreError, open_files};
use crate::profile::Demangle;

/// SQLite's page cache of one reader, in KiB.
const CACHE_KIB: i64 = 4 << 10;
/// A reader only waits for the recovery of a log, which is short.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// A read-only connection with its caches. One question at a time.
pub struct Reader {
    path: PathBuf,
    conn: Connection,
    /// Which file the path led to: another one may take its place.
    file: FileId,
    /// The file as it was when it was opened as one that nobody changes.
    frozen: Option<Stamp>,
    /// Its schema.
    version: i64,
    caches: Caches,
    /// What is shown of names.
    demangle: Demangle,
    stop: Arc<AtomicBool>,
    handle: Arc<Mutex<InterruptHandle>>,
    /// After the connection: it is dropped last.
    _tidy: Tidy,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).field("frozen", &self.frozen).finish_non_exhaustive()
    }
}

/// Size and time of change of a file.
type Stamp = (u64, SystemTime);

/// Takes away the log and its index that reading a database at rest has made: SQLite does so when the last connection that may
/// write is closed, and a reader may not.
#[derive(Debug)]
pub(super) struct Tidy(PathBuf);

impl Drop for Tidy {
    fn drop(&mut self) {
        // A log with something in it is a writer's, or was.
        if file::has_log(&self.0) || !file::beside(&self.0, "-shm").exists() {
            return;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if let Ok(conn) = Connection::open_with_flags(&self.0, flags) {
            // Only who has read takes part in the log, and cleans up. Nothing is lost if it does not.
            let _ = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        }
    }
}

impl Reader {
    /// Opens an existing database read-only; works without write permission to the file or its folder.
    ///
    /// # Errors
    /// No such file, not a profiler database, a newer or older version's file, permission.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::sharing(path, Arc::default())
    }

    /// The same; what this reader's questions make of roll-ups is kept there, and what other readers' have made of them is used.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn sharing(path: &Path, sums: Arc<KeptSums>) -> Result<Self, StoreError> {
        must_be_ours(path)?;
        let file = file_id(path)?;
        let (conn, frozen) = connect(path, Tables::OfThisSchema)?;
        let version = older::version_of(&conn)?;
        let handle = Arc::new(Mutex::new(conn.get_interrupt_handle()));
        let (caches, _tidy) = (Caches { sums, file, ..Caches::default() }, Tidy(path.into()));
        let (demangle, stop) = (Demangle::default(), Arc::default());
        Ok(Self { path: path.into(), conn, file, frozen, version, caches, demangle, stop, handle, _tidy })
    }

    /// What the next questions show of names. Another one than before costs the next question its caches.
    pub fn set_demangle(&mut self, demangle: Demangle) {
        self.demangle = demangle;
    }

    /// Bytes that it keeps from one question to the next, about, beside the sums that readers share.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let Caches { tree, names, processes, .. } = &self.caches;
        tree.bytes() + names.bytes() + processes.bytes()
    }

    /// Forgets them; the next question reads them again.
    pub fn forget(&mut self) {
        self.caches = Caches { sums: Arc::clone(&self.caches.sums), file: self.file, ..Caches::default() };
    }

    /// Whether what SQLite called damage was a read that failed.
    #[must_use]
    pub fn is_failed_read(&self) -> bool {
        is_disk_error(&self.conn)
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
        let file = file_id(&self.path)?;
        let thawed = match self.frozen {
            // Someone writes after all.
            Some(stamp) => file::has_log(&self.path) || stamp_of(&self.path)? != stamp,
            None => false,
        };
        // A writer may migrate what this reader sees through views of an older schema.
        let migrated = self.version < VERSION && older::version_of(&self.conn)? != self.version;
        if thawed || migrated || file != self.file {
            // Set aside, or replaced by hand: what was read before is not of this file.
            self.file = file;
            (self.conn, self.frozen) = connect(&self.path, Tables::OfThisSchema)?;
            self.version = older::version_of(&self.conn)?;
            *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = self.conn.get_interrupt_handle();
            self.forget();
        }
        let Self { conn, caches, demangle, stop, .. } = self;
        Snapshot::new(conn.transaction()?, caches, *demangle, stop)
    }
}

fn must_be_ours(path: &Path) -> Result<(), StoreError> {
    match file::inspect(path)? {
        Found::Nothing => Err(StoreError::Missing(path.into())),
        Found::Damaged => Err(StoreError::Foreign(path.into())),
        Found::Ours { .. } => Ok(()),
    }
}

/// A read-only connection for one job, without a reader's caches, and what tidies up after it. Bind them in this order: what is
/// bound last is dropped first.
pub(super) fn open_existing(path: &Path) -> Result<(Tidy, Connection), StoreError> {
    must_be_ours(path)?;
    let tidy = Tidy(path.into());
    Ok((tidy, connect(path, Tables::OfThisSchema)?.0))
}

/// The same, with the tables as they are: for a copy, which views of their names would be in the way of.
pub(super) fn open_as_it_is(path: &Path) -> Result<(Tidy, Connection), StoreError> {
    must_be_ours(path)?;
    let tidy = Tidy(path.into());
    Ok((tidy, connect(path, Tables::AsTheyAre)?.0))
}

/// What names of tables mean where a database is of an older schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tables {
    /// Views with the columns of this one.
    OfThisSchema,
    AsTheyAre,
}

fn file_id(path: &Path) -> Result<FileId, StoreError> {
    match file::file_id(path) {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(StoreError::Missing(path.into())),
        Err(source) => Err(StoreError::File { doing: "read", path: path.into(), source }),
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
fn connect(path: &Path, tables: Tables) -> Result<(Connection, Option<Stamp>), StoreError> {
    if !open_files::may_be_read(path, file_id(path)?) {
        return Err(StoreError::Replaced(path.into()));
    }
    let stamp = stamp_of(path)?;
    match open_uri(path, "mode=ro", tables) {
        Ok(conn) => Ok((conn, None)),
        // Reading a database in WAL mode needs its index in shared memory, beside the file. Where that can be neither found
        // nor made nobody can be writing, and without a log the file is all there is.
        Err(StoreError::Io(_) | StoreError::Sqlite(_)) if !file::has_log(path) => {
            Ok((open_uri(path, "immutable=1", tables)?, Some(stamp)))
        }
        Err(other) => Err(other),
    }
}

fn open_uri(path: &Path, how: &str, tables: Tables) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file::uri(path, how), flags)?;
    conn.busy_timeout(BUSY_WAIT)?;
    conn.set_prepared_statement_cache_capacity(32);
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    let found = older::version_of(&conn)?;
    let (path, supported) = (path.into(), VERSION);
    match found {
        VERSION => Ok(conn),
        older::OLDEST..VERSION => {
            if tables == Tables::OfThisSchema {
                older::stand_before(&conn, found)?;
            }
            Ok(conn)
        }
        ..older::OLDEST => Err(StoreError::Older { path, found, supported }),
        _ => Err(StoreError::Newer { path, found, supported }),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::super::drawing::{name_all, window};
    use super::super::{StackId, Store};
    use super::*;
    use crate::profile::{TimeRange, WallNanos};
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

    /// Looking at a database at rest leaves nothing beside it; beside a writer nothing of the writer's is touched.
    #[test]
    fn a_reader_leaves_no_files_behind() {
        let (folder, path, store) = database();
        let names = || {
            let files = fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        store.close().unwrap();
        assert_eq!(names(), ["x.db", "x.db.lock"]);
        let (mut first, mut second) = (Reader::open(&path).unwrap(), Reader::open(&path).unwrap());
        assert_eq!((samples(&mut first), samples(&mut second)), (5, 5));
        drop(first);
        assert_eq!(samples(&mut second), 5);
        let (mut store, _) = Store::open(&path).unwrap();
        write(&mut store, 1);
        drop(second);
        let mut third = Reader::open(&path).unwrap();
        assert_eq!(samples(&mut third), 10);
        store.close().unwrap();
        drop(third);
        assert_eq!(names(), ["x.db", "x.db.lock"]);
    }

    /// After a damaged database was set aside, a reader tells of the one that took its place.
    #[test]
    fn a_reader_follows_the_path_not_the_file() {
        let (_folder, path, store) = database();
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(samples(&mut reader), 5);
        store.set_aside().unwrap();
        assert!(matches!(totals(&mut reader), Err(QueryError::Store(StoreError::Missing(_)))));
        let (mut store, _) = Store::open(&path).unwrap();
        write(&mut store, 1);
        write(&mut store, 2);
        assert_eq!(samples(&mut reader), 10);
    }

    /// A question that takes its time sees its moment to the end, and windows are stored, packed and deleted meanwhile: nobody waits.
    #[test]
    fn a_long_question_and_the_writer_do_not_wait_for_each_other() {
        let (_folder, path, mut store) = database();
        (1..90).for_each(|n| write(&mut store, n));
        let mut reader = Reader::open(&path).unwrap();
        let mut snapshot = reader.snapshot().unwrap();
        let pieces = snapshot.pieces(ALL_TIME, i64::MAX).unwrap();
        let mut samples = |from: usize, to: usize| -> u64 {
            let stacks =
                |piece| snapshot.stacks(piece).unwrap().groups().iter().map(|group| group.samples).sum::<u64>();
            pieces[from..to].iter().map(stacks).sum()
        };
        let before = samples(0, 45);
        (90..100).for_each(|n| write(&mut store, n));
        assert!(store.tend().unwrap(), "packed, and what the question reads deleted");
        let keep = crate::store::Keep { windows: Duration::ZERO, ..Default::default() };
        store.retain(WallNanos(i64::MAX), &keep).unwrap();
        let unpacked: i64 = store.conn.query_row("SELECT count(*) FROM fresh", [], |row| row.get(0)).unwrap();
        assert!(unpacked < 80);
        assert_eq!((before, samples(45, 90)), (45 * 5, 45 * 5));
        drop(snapshot);
        assert_eq!(self::samples(&mut reader), 100 * 5);
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
            format!(
                "X has the older schema version 0: open it once with `profiler run` to bring it to version {VERSION}"
            )
        );
        begun.pragma_update(None, "user_version", 9).unwrap();
        assert_eq!(
            refusal(),
            format!(
                "X has schema version 9, this program knows up to {VERSION}: use a newer profiler, or name another file"
            )
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
        let mut snapshot = reader.snapshot().unwrap();
        interrupt();
        assert!(matches!(snapshot.check(), Err(StoreError::Interrupted)));
        let piece = snapshot.pieces(ALL_TIME, i64::MAX).unwrap().remove(0);
        assert!(matches!(snapshot.stacks(&piece), Err(StoreError::Interrupted)));
        drop(snapshot);
        assert_eq!(samples(&mut reader), 5);
    }

    /// Rows that no writer writes end a question with an error: no panic, no endless walk.
    #[test]
    fn hostile_rows_are_an_error() {
        for sql in [
            "UPDATE fresh SET stacks = x'0107000103'",
            "UPDATE fresh SET stacks = x'020100ff010000'",
            "UPDATE fresh SET directory = x''",
            "DELETE FROM fresh",
            "UPDATE window SET packed = 1; DELETE FROM fresh; INSERT INTO rollup (level, start, series, hz, windows, wall_end, length, cpus,
             busy, idle, filtered, taken, stored, lost, incomplete, directory, stacks) SELECT 1, wall_start / 300000000000 * 300000000000,
             series, 100, 1, wall_end, length, cpus, busy, idle, filtered, taken, stored, lost, incomplete, x'00', x'00' FROM window",
            "DELETE FROM stack_page",
            "UPDATE stack_page SET nodes = x'020300000105020004'",
            "UPDATE stack_page SET page = 7",
            "DELETE FROM location",
            "UPDATE location SET id = id + 1000000000000",
            "DELETE FROM process",
            "UPDATE process SET pid = -5",
            "DELETE FROM cgroup",
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
