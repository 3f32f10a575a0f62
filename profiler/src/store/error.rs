//! What can go wrong in the store, by what the caller can do about it.

use std::io;
use std::path::PathBuf;

use rusqlite::{Connection, ErrorCode, ffi};

use crate::sys::sqlite;

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder, device or pipe stands where the database should be.
    #[error("{0} is not a regular file: name a file for the database")]
    NotAFile(PathBuf),
    /// A symbolic link that another user can have put there.
    #[error(
        "{0} is a link in a folder that others can write into, and is not followed: name the file that it leads to"
    )]
    PlantedLink(PathBuf),
    /// There is no database to read.
    #[error("{0} does not exist: record first, or name another database")]
    Missing(PathBuf),
    /// Another file has taken the place of the one that this process writes.
    #[error("{0} was replaced while in use: ask again in a moment")]
    Replaced(PathBuf),
    /// An SQLite database that another program made, or not a database at all. It was not touched.
    #[error("{0} is not a database of this program: name another file")]
    Foreign(PathBuf),
    /// A newer version of this program made it. It was not touched.
    #[error(
        "{path} has schema version {found}, this program knows up to {supported}: use a newer profiler, or name another file"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The highest version this program knows.
        supported: i64,
    },
    /// An older version made it, and a reader cannot migrate it.
    #[error(
        "{path} has the older schema version {found}: open it once with `profiler run` to bring it to version {supported}"
    )]
    Older {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The version this program reads.
        supported: i64,
    },
    /// Another writer has the file.
    #[error("another profiler is writing to {0}: stop it, or name another file")]
    Locked(PathBuf),
    /// The file may not be written.
    #[error("{0} may not be written: check its permissions, or name another file")]
    ReadOnly(PathBuf),
    /// The file system said no while the database was opened or created.
    #[error("failed to {doing} {path}")]
    File {
        /// What was being done: `create`, `lock`, `rename`, `read`.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk is full. Nothing of the transaction is stored; it may be tried again as it is.
    #[error("no space left for the database: free some, or lower the retention")]
    Full(#[source] rusqlite::Error),
    /// The disk failed. Nothing of the transaction is stored; it may be tried again as it is.
    #[error("disk error: failed to read or write the database file")]
    Io(#[source] rusqlite::Error),
    /// The file contradicts itself. The next [`super::Store::open`] finds out and sets it aside.
    #[error("the database is damaged: a profiler that writes it sets it aside and begins a new one")]
    Damaged(#[source] rusqlite::Error),
    /// A row says what no writer writes (found by our own checks). What it is, for the log.
    #[error("the database is damaged: {0}")]
    BadRow(&'static str),
    /// The database went from its path, or parts of it, and samples with it that had been stored.
    #[error("{samples} samples that were stored are gone with {path}, which was deleted or cut short from outside")]
    Gone {
        /// Where the database was.
        path: PathBuf,
        /// What was stored in it since the start.
        samples: u64,
    },
    /// Somebody else holds the database's lock for longer than the store waits.
    #[error("the database is busy: another program holds its lock")]
    Busy(#[source] rusqlite::Error),
    /// The question was cut off through [`super::Reader::interrupter`].
    #[error("the question was interrupted")]
    Interrupted,
    /// Windows of one boot may not overlap. Nothing of this one is stored.
    #[error("window {start}..{end} ns overlaps the stored window {other_start}..{other_end} ns of the same boot")]
    Overlap {
        /// Start of the refused window, boot clock.
        start: u64,
        /// Its end.
        end: u64,
        /// Start of the one in its way.
        other_start: u64,
        /// Its end.
        other_end: u64,
    },
    /// The window makes no sense; what is wrong with it. Nothing of it is stored.
    #[error("bad window: {0}")]
    BadWindow(&'static str),
    /// The schema could not be brought up to date.
    #[error("failed to migrate the database")]
    Migration(#[source] rusqlite_migration::Error),
    /// SQLite said no for another reason.
    #[error("database error")]
    Sqlite(#[source] rusqlite::Error),
}

impl StoreError {
    /// What an error of `conn` means. SQLite calls a failed read damage; the errno that its file remembers tells them apart.
    pub(super) fn of(conn: &Connection, error: impl Into<Self>) -> Self {
        match error.into() {
            Self::Damaged(error) if is_disk_error(conn) => Self::Io(error),
            other => other,
        }
    }

    /// Whether a read failed that SQLite took for damage: the connection remembers it, so the next verdict needs a new one.
    #[must_use]
    pub fn is_failed_read(&self) -> bool {
        matches!(self, Self::Io(error) if is_damage(error))
    }

    /// Whether the file contradicts itself: it must be set aside, and the same call may succeed with a new one.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::BadRow(_))
    }

    /// Whether the same call may succeed later without anything else being changed (space freed, a lock let go).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Io(_) | Self::Busy(_))
    }
}

/// Whether the disk failed under this connection.
pub(super) fn is_disk_error(conn: &Connection) -> bool {
    // As in SQLite's unixRead.
    sqlite::last_errnos(conn).iter().any(|errno| matches!(*errno, libc::EIO | libc::ENXIO | libc::ERANGE))
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

impl From<super::codec::BadBlob> for StoreError {
    fn from(bad: super::codec::BadBlob) -> Self {
        Self::BadRow(bad.0)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        // The log has fewer bytes than its index counts: it was cut short.
        if error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHORT_READ) {
            return Self::Damaged(error);
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(error),
            // Read-only: the file system was turned so, perhaps for a while.
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => Self::Io(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(error),
            Some(ErrorCode::OperationInterrupted) => Self::Interrupted,
            _ => Self::Sqlite(error),
        }
    }
}
