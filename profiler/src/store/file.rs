//! The database as a file: what it is before it is opened for good, who may write it, and setting a damaged one aside.
//!
//! **Nothing in this program opens a database file but SQLite.** Closing any descriptor of a file drops all POSIX locks that the
//! process holds on it, SQLite's too (<https://sqlite.org/howtocorrupt.html>, section 2.2): the next program that closes the
//! database would believe that it is the last one, and delete the write-ahead log under the writer. `stat` and `rename` are
//! harmless; `tests/one_opener.rs` lists the few files that this room opens itself (docs/decisions/0070).
//!
//! A header is read through an `immutable` connection: SQLite takes no lock for it, looks at no log and writes nothing, so a
//! foreign or newer database stays byte for byte as it was.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fmt::Write;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::StoreError;
use super::migrate::{APPLICATION_ID, VERSION};
use crate::sys::planted_link::is_planted_link;

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// The file that a path leads to; `None` when there is none.
pub(super) fn file_id(path: &Path) -> io::Result<Option<FileId>> {
    match path.metadata() {
        Ok(meta) => Ok(Some((meta.dev(), meta.ino()))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No file, or an empty one.
    Nothing,
    /// One of ours.
    Ours {
        /// Its size says it is whole.
        whole: bool,
        /// Its schema version, as far as the main file knows (the log may know better).
        version: i64,
    },
    /// Neither a database nor empty, or an empty one beside a log of changes to it.
    Damaged,
}

/// Looks at the file at `path`.
///
/// # Errors
/// Not a regular file, another program's database, a newer version's, unreadable.
pub(super) fn inspect(path: &Path) -> Result<Found, StoreError> {
    let failed = |source| StoreError::File { doing: "read", path: path.into(), source };
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(empty(path)),
        Err(e) => return Err(failed(e)),
    };
    if !meta.is_file() {
        return Err(StoreError::NotAFile(path.into()));
    }
    if meta.len() == 0 {
        return Ok(empty(path));
    }
    // SQLite tells less of what the file system said.
    accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS).map_err(|error| failed(error.into()))?;
    if meta.len() < HEADER_BYTES {
        return damaged(path);
    }
    let header = match Header::read(path) {
        Ok(header) => header,
        Err(StoreError::Damaged(_)) => return damaged(path),
        Err(error) => return Err(error),
    };
    if header.application != APPLICATION_ID {
        return Err(StoreError::Foreign(path.into()));
    }
    let version = header.version;
    if version > VERSION {
        return Err(StoreError::Newer { path: path.into(), found: version, supported: VERSION });
    }
    // A log may hold pages that the main file lacks; without one the file must have every page its header counts.
    let whole = has_log(path) || !header.is_cut;
    Ok(Found::Ours { whole, version })
}

/// The pages that the log has a version of (<https://sqlite.org/fileformat.html>, section 4.1): nobody's lock is on that file, so that it may be
/// opened and closed.
pub(super) fn pages_in_log(path: &Path) -> io::Result<HashSet<u32>> {
    const HEADER: usize = 32;
    const FRAME: usize = 24;
    let log = File::open(beside(path, "-wal"))?;
    let mut header = [0; HEADER];
    log.read_exact_at(&mut header, 0)?;
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (size, salts) = (u64::from(word(&header, 8)), header[16..24].to_vec());
    let (mut pages, mut at, mut frame) = (HashSet::new(), HEADER as u64, [0; FRAME]);
    // Frames of an older log, which this one is written over, have other salts.
    while log.read_exact_at(&mut frame, at).is_ok() && frame[8..16] == salts {
        pages.insert(word(&frame, 0));
        at += FRAME as u64 + size;
    }
    Ok(pages)
}

/// Length of a database's header (<https://sqlite.org/fileformat.html>, section 1.3).
const HEADER_BYTES: u64 = 100;

/// What the main file says of itself, without its log.
pub(super) struct Header {
    application: i32,
    version: i64,
    /// The file has fewer pages than the header counts.
    pub(super) is_cut: bool,
}

impl Header {
    /// # Errors
    /// [`StoreError::Damaged`] when this is no database.
    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(uri(path, "immutable=1"), flags)?;
        let number = |name| {
            let number = conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            number.map_err(|error| StoreError::of(&conn, error))
        };
        // SQLite looks at the number of pages before it gives out anything, unless the schema may be written (`lockBtree`). These
        // values are in the header and need no schema.
        let is_cut = match number("user_version") {
            Ok(_) => false,
            Err(StoreError::Damaged(_)) => true,
            Err(error) => return Err(error),
        };
        if is_cut {
            conn.pragma_update(None, "writable_schema", true)?;
        }
        let application = i32::try_from(number("application_id")?).unwrap_or(0);
        Ok(Self { application, version: number("user_version")?, is_cut })
    }
}

/// A path as SQLite's URI, with parameters.
pub(super) fn uri(path: &Path, parameters: &str) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'_' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            _ => write!(uri, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    uri + "?" + parameters
}

/// A file that is no database: a damaged one of ours if our lock lies beside it, else somebody's own, named by mistake.
fn damaged(path: &Path) -> Result<Found, StoreError> {
    let real = path.canonicalize().unwrap_or_else(|_| path.into());
    if beside(&real, ".lock").exists() { Ok(Found::Damaged) } else { Err(StoreError::Foreign(path.into())) }
}

fn empty(path: &Path) -> Found {
    // SQLite would delete a log without a database. Someone may still want it.
    if has_log(path) { Found::Damaged } else { Found::Nothing }
}

/// Whether a write-ahead log with anything in it lies beside the database.
pub(super) fn has_log(path: &Path) -> bool {
    log_bytes(path) > 0
}

/// Size of the write-ahead log; 0 when there is none.
pub(super) fn log_bytes(path: &Path) -> u64 {
    beside(path, "-wal").metadata().map_or(0, |meta| meta.len())
}

/// `path` with `suffix` added to its last part.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The one name of a file that may not exist yet: symbolic links are followed, so that two names of one database meet at
/// the same lock. Makes the folders above it, for the owner alone. A link that comes later than this look is not followed:
/// SQLite opens the name with `SQLITE_OPEN_NOFOLLOW`.
///
/// # Errors
/// [`StoreError::PlantedLink`]; a folder cannot be made.
pub(super) fn settle(path: &Path) -> Result<PathBuf, StoreError> {
    if is_planted_link(path) {
        return Err(StoreError::PlantedLink(path.into()));
    }
    if path.is_symlink()
        && let Ok(real) = path.canonicalize()
    {
        return Ok(real);
    }
    let name = path.file_name().ok_or_else(|| StoreError::NotAFile(path.into()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .and_then(|()| parent.canonicalize())
        .map(|parent| parent.join(name))
        .map_err(|source| StoreError::File { doing: "create", path: parent.into(), source })
}

/// Makes the empty file for a new database, readable by the owner alone; SQLite gives its log the same mode. A file that is there
/// is not opened: only of a new one is it certain that no connection of this process has it.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::File { doing: "create", path: path.into(), source: error })
        }
        _ => Ok(()),
    }
}

/// How long another writer may take to let go of the lock: one that has just ended, or a child of ours between `fork` and `exec`, which
/// has the descriptor until then.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Takes the writer's lock: `flock` on `NAME.lock`, which the kernel lets go of when this process ends in any way. The
/// file stays: deleting it would let two writers lock two files of one name.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let name = beside(path, ".lock");
    let failed = |source| StoreError::File { doing: "lock", path: name.clone(), source };
    let mut options = OpenOptions::new();
    // In a folder that others write into, a link there would have us create or lock a file elsewhere.
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(&name).map_err(failed)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(path.into())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

/// Renames a damaged database with its log to `NAME.corrupt-SECONDS`, and says where it is. Call with the lock held.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let free = |n: u32| beside(path, &aside_suffix(seconds, n.into()));
    let taken = |name: &Path| ["", "-wal", "-shm"].iter().any(|suffix| beside(name, suffix).exists());
    let aside = (0..).map(free).find(|name| !taken(name)).expect("a folder holds fewer than 2^32 files");
    // The log first: a crash in between must not leave the new database with the old one's log.
    for suffix in ["-wal", "-shm", ""] {
        match std::fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::File { doing: "set aside", path: beside(path, suffix), source: e });
            }
            _ => {}
        }
    }
    Ok(aside)
}

/// Most databases set aside that are kept.
pub(super) const MOST_SET_ASIDE: usize = 16;

/// A database that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAsideFile {
    /// Its main file; its log and index may lie beside it.
    pub path: PathBuf,
    /// Size of all of them.
    pub bytes: u64,
}

/// The databases that were set aside beside `path`, oldest first. A folder that cannot be read has none.
#[must_use]
pub fn set_aside_beside(path: &Path) -> Vec<SetAsideFile> {
    let real = path.canonicalize().unwrap_or_else(|_| path.into());
    let (Some(folder), Some(name)) = (real.parent(), real.file_name()) else { return Vec::new() };
    let mut found = BTreeMap::<(u64, u64), u64>::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let Some(rest) = file.as_bytes().strip_prefix(name.as_bytes()) else { continue };
        let rest = str::from_utf8(rest).unwrap_or_default();
        if let Some(age) = rest.strip_prefix(".corrupt-").and_then(age) {
            *found.entry(age).or_default() += entry.metadata().map_or(0, |meta| meta.len());
        }
    }
    let file = |((seconds, n), bytes)| SetAsideFile { path: beside(&real, &aside_suffix(seconds, n)), bytes };
    found.into_iter().map(file).collect()
}

/// `SECONDS[-N][-wal|-shm]`, as [`set_aside`] names files.
fn age(name: &str) -> Option<(u64, u64)> {
    let name = name.strip_suffix("-wal").or_else(|| name.strip_suffix("-shm")).unwrap_or(name);
    let (seconds, n) = name.split_once('-').unwrap_or((name, "0"));
    Some((seconds.parse().ok()?, n.parse().ok()?))
}

fn aside_suffix(seconds: u64, n: u64) -> String {
    match n {
        0 => format!(".corrupt-{seconds}"),
        n => format!(".corrupt-{seconds}-{n}"),
    }
}

/// Deletes a database that was set aside.
pub(super) fn remove_set_aside(aside: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-shm", ""] {
        let path = beside(aside, suffix);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::File { doing: "delete", path, source });
            }
            _ => {}
        }
    }
    Ok(())
}
