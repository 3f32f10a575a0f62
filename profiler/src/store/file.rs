//! The database as a file: what it is before SQLite touches it, who may write it, and setting a damaged one aside.
//!
//! Nothing here deletes or overwrites. A file is looked at through its first 100 bytes (<https://sqlite.org/fileformat.html>,
//! section 1.3), so that a foreign or newer database stays byte for byte as it was: SQLite itself may write on opening.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::StoreError;
use super::migrate::{APPLICATION_ID, VERSION};

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
    let mut header = [0; 100];
    match File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return damaged(path),
        Err(e) => return Err(failed(e)),
    }
    if header[..16] != *b"SQLite format 3\0" {
        return damaged(path);
    }
    let word = |at| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if word(68) != APPLICATION_ID {
        return Err(StoreError::Foreign(path.into()));
    }
    let version = i64::from(word(60));
    if version > VERSION {
        return Err(StoreError::Newer { path: path.into(), found: version, supported: VERSION });
    }
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        n => u64::from(n),
    };
    // A log may hold pages that the main file lacks; without one the file must have every page its header counts.
    let whole = has_log(path) || meta.len() >= page.saturating_mul(word(28).max(0) as u64);
    Ok(Found::Ours { whole, version })
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
/// the same lock. Makes the folders above it, for the owner alone.
pub(super) fn settle(path: &Path) -> Result<PathBuf, StoreError> {
    if let Ok(real) = path.canonicalize() {
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

/// Makes the empty file for a new database, readable by the owner alone; SQLite gives its log the same mode.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map(drop).map_err(|source| StoreError::File { doing: "create", path: path.into(), source })
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
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&name).map_err(failed)?;
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
    let free = |n: u32| match n {
        0 => beside(path, &format!(".corrupt-{seconds}")),
        n => beside(path, &format!(".corrupt-{seconds}-{n}")),
    };
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
