//! Whether the files at the database's path are still those that the writer has open.
//!
//! SQLite does not notice that a file it has open was deleted, moved, replaced or cut short from outside: it goes on writing into
//! what nobody will find. The writer therefore looks before each transaction and after it, before a window counts as stored, and
//! every second without one: device and inode of the database, its log and the log's index, and their sizes.
//!
//! The room that opens files of other people (mapped binaries, debug files, sources) may be led to ours by a link, and closing it
//! drops SQLite's locks (`store/file.rs`). So the writer holds the two that matter a second time, by descriptors of its own.
//!
//! Limits: a file cut short and grown again between two looks is met as damage when its pages are read.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use super::file::{self, FileId, Header, SetAsideFile, beside, file_id};
use super::{Store, StoreError};
use crate::sys::file_lock::SharedRange;

/// SQLite's shared lock on the database: whoever closes it needs these bytes for themselves before they delete the log
/// (`SHARED_FIRST`, `SHARED_SIZE` in sqlite3.c; <https://sqlite.org/fileformat.html>, "The Lock-Byte Page").
const SHARED: (i64, i64) = (0x4000_0002, 510);
/// SQLite's lock that says that the log's index is in use: whoever opens it needs this byte for themselves before they begin the
/// index anew, which would pull it away from under whoever has it mapped (`UNIX_SHM_DMS`).
const INDEX_IN_USE: (i64, i64) = (128, 1);

/// How often, and how long apart, a file is looked at that is shorter than its header says: another program's checkpoint writes
/// the header before the last pages.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// What became of a database that was in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its path leads nowhere, or to another file; it is somewhere else, where known.
    Moved(Option<PathBuf>),
    /// Its path leads nowhere, or to another file, and it has no other name.
    Deleted,
    /// Its write-ahead log, or the log's index, was deleted or replaced.
    Log,
    /// It, or its log, is shorter than it must be.
    Cut,
}

/// The files of a connection, as they were when it was opened.
#[derive(Debug)]
pub(super) struct OpenFiles {
    main: FileId,
    log: Option<FileId>,
    index: Option<FileId>,
    /// Size of the log when it was looked at last.
    log_bytes: u64,
    /// Where they are, as [`WRITTEN`] has it.
    path: PathBuf,
    /// SQLite's locks once more. Dropped after the connection: closing these files drops its locks.
    held: Vec<SharedRange>,
}

impl OpenFiles {
    /// Those at `path`, to which a connection has just been opened that has written once.
    ///
    /// # Errors
    /// One of them cannot be looked at.
    pub(super) fn at(path: &Path) -> Result<Self, StoreError> {
        let id = |suffix: &str| {
            let path = beside(path, suffix);
            file_id(&path).map_err(|source| StoreError::File { doing: "read", path, source })
        };
        let main = id("")?.ok_or_else(|| StoreError::Missing(path.into()))?;
        let held =
            [("", SHARED), ("-shm", INDEX_IN_USE)].into_iter().filter_map(|(suffix, range)| hold(path, suffix, range));
        let (log, index, held) = (id("-wal")?, id("-shm")?, held.collect());
        written().insert(path.into(), main);
        Ok(Self { main, log, index, log_bytes: file::log_bytes(path), path: path.into(), held })
    }

    /// Lets go of the locks, so that closing the connection can take them. The files stay open.
    pub(super) fn let_go(&self) {
        for range in &self.held {
            // It cannot fail: unlocking needs no memory.
            let _ = range.unlock();
        }
    }

    /// The log may be shorter now than it was.
    pub(super) fn log_was_emptied(&mut self) {
        self.log_bytes = 0;
    }

    /// Whether `path` leads to the database still. A path that cannot be looked at (the disk failed) is taken as it was: the next
    /// write says what is wrong.
    fn is_at(&self, path: &Path) -> bool {
        file_id(path).map_or(true, |id| id == Some(self.main))
    }

    /// What holds the log: whether both files are at `path` still.
    fn has_log(&self, path: &Path) -> bool {
        let same = |suffix, then: Option<FileId>| file_id(&beside(path, suffix)).map_or(true, |now| now == then);
        same("-wal", self.log) && same("-shm", self.index)
    }

    /// Where a descriptor of ours on the database leads now, and whether the file has a name at all. Only `stat`s and reads links:
    /// nothing is opened.
    fn name(&self) -> Gone {
        for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
            let Ok(meta) = fs::metadata(entry.path()) else { continue };
            if (meta.dev(), meta.ino()) != self.main {
                continue;
            }
            if meta.nlink() == 0 {
                return Gone::Deleted;
            }
            let name = fs::read_link(entry.path()).ok();
            return Gone::Moved(name.filter(|name| file_id(name).is_ok_and(|id| id == Some(self.main))));
        }
        Gone::Moved(None)
    }
}

impl Drop for OpenFiles {
    fn drop(&mut self) {
        written().remove(&self.path);
    }
}

/// The databases that this process writes, by path.
///
/// Another file may take the place of one of them. Until the writer has noticed, the log at the path is still that of the old
/// file: a reader of this process that opened the new file would read it with the old one's log, and hand that log's index
/// on to the writer's next connection, because SQLite keeps one index for each file in a process.
static WRITTEN: Mutex<BTreeMap<PathBuf, FileId>> = Mutex::new(BTreeMap::new());

fn written() -> MutexGuard<'static, BTreeMap<PathBuf, FileId>> {
    WRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a reader of this process may open what is at `path`: not if a writer of this process has another file open there.
pub(super) fn may_be_read(path: &Path, found: FileId) -> bool {
    let Ok(path) = path.canonicalize() else { return true };
    written().get(&path).is_none_or(|file| *file == found)
}

/// Takes a lock of SQLite's a second time. A file system without such locks goes without.
fn hold(path: &Path, suffix: &str, (start, length): (i64, i64)) -> Option<SharedRange> {
    let path = beside(path, suffix);
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path).ok()?;
    match SharedRange::lock(file, start, length) {
        Ok(range) => Some(range),
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, path = %path.display(), "no lock of our own");
            None
        }
    }
}

impl Store {
    /// Looks whether the database is still where it was opened, with its log, and whole. Cheap: five `stat`s and a page.
    ///
    /// # Errors
    /// The log was cut short, and whether that lost anything cannot be found out.
    pub fn look(&mut self) -> Result<Option<Gone>, StoreError> {
        // The path as it was given may be a link that leads elsewhere now.
        if !self.files.is_at(&self.path) || !self.files.is_at(&self.asked) {
            return Ok(Some(self.files.name()));
        }
        if !self.files.has_log(&self.path) {
            return Ok(Some(Gone::Log));
        }
        self.keep_lock()?;
        if is_cut(&self.path) && !self.log_has_the_rest()? {
            return Ok(Some(Gone::Cut));
        }
        let log = file::log_bytes(&self.path);
        if log < self.files.log_bytes && self.log_is_cut()? {
            return Ok(Some(Gone::Cut));
        }
        self.files.log_bytes = log;
        Ok(None)
    }

    /// Locks anew where the lock's file was deleted: two writers would lock two files of one name.
    fn keep_lock(&mut self) -> Result<(), StoreError> {
        let held = self.lock.metadata().map(|meta| Some((meta.dev(), meta.ino())));
        if let (Ok(held), Ok(now)) = (held, file_id(&beside(&self.path, ".lock")))
            && held != now
        {
            self.lock = file::lock(&self.path)?;
        }
        Ok(())
    }

    /// Whether every page that the main file is too short for is in the log. So it is where a reader held a checkpoint up: of each page the
    /// newest version is moved, unless the reader does not see it, and the header may be moved without the last page.
    fn log_has_the_rest(&self) -> Result<bool, StoreError> {
        let number =
            |name| self.conn.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).map_err(StoreError::from);
        let (pages, size) = match (number("page_count"), number("page_size")) {
            (Ok(pages), Ok(size)) => (pages, size),
            (Err(StoreError::Damaged(_)), _) | (_, Err(StoreError::Damaged(_))) => return Ok(false),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let there = |path: &Path| Some(path.metadata().ok()?.len() / u64::from(size));
        let before = there(&self.path);
        let logged = file::pages_in_log(&self.path).unwrap_or_default();
        let first = before.map_or(1, |pages| u32::try_from(pages).unwrap_or(u32::MAX).saturating_add(1));
        // What another program has moved meanwhile is in the file now.
        Ok((first..=pages).all(|page| logged.contains(&page)) || there(&self.path) > before)
    }

    /// The log is shorter than it was. Another program may have emptied it, which is its right; then every page of it is in the
    /// main file already, and a checkpoint reads nothing of it.
    fn log_is_cut(&self) -> Result<bool, StoreError> {
        match self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(StoreError::from) {
            Ok(()) => Ok(false),
            Err(StoreError::Damaged(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Leaves a database that is gone, so that as much as can be of what it held stays with it, and nothing of it is in the way of
    /// the next one at its path.
    #[must_use]
    pub fn leave(self, gone: &Gone) -> Left {
        let Self { conn, path, files, lock, .. } = self;
        let set_aside = |whole| Left { aside: Some(file::set_aside(&path)), whole };
        let left = match gone {
            Gone::Moved(to) => {
                // By descriptor: into the file, wherever it is.
                let emptied = empty_log(&conn);
                drop(conn);
                if let (false, Some(to)) = (emptied, to) {
                    files.rename_log(&path, to);
                }
                files.remove_rest(&path, emptied);
                Left { aside: None, whole: true }
            }
            Gone::Deleted => {
                drop(conn);
                files.remove_rest(&path, true);
                Left { aside: None, whole: false }
            }
            Gone::Log => {
                // Unless somebody else has written into a log of their own since: two logs of one file exclude each other.
                let is_foreign = file::has_log(&path) && !files.has(&beside(&path, "-wal"), files.log);
                let whole = !is_foreign && empty_log(&conn);
                drop(conn);
                set_aside(whole)
            }
            Gone::Cut => {
                drop(conn);
                set_aside(false)
            }
        };
        drop((files, lock));
        left
    }

    /// The databases beside this one that were set aside, oldest first, are older than anything in it: they go first when all
    /// together are larger than `most` bytes, or more than [`file::MOST_SET_ASIDE`]. Returns those that went.
    ///
    /// # Errors
    /// One cannot be deleted; the sizes cannot be read.
    pub fn drop_set_aside(&self, most: u64) -> Result<Vec<SetAsideFile>, StoreError> {
        let mut kept = file::set_aside_beside(&self.path);
        let room = most.saturating_sub(self.counted_bytes()?);
        let is_over = |kept: &[SetAsideFile]| {
            kept.len() > file::MOST_SET_ASIDE || kept.iter().map(|file| file.bytes).sum::<u64>() > room
        };
        let mut dropped = Vec::new();
        while !kept.is_empty() && is_over(&kept) {
            let oldest = kept.remove(0);
            file::remove_set_aside(&oldest.path)?;
            dropped.push(oldest);
        }
        Ok(dropped)
    }
}

/// What [`Store::leave`] left.
#[derive(Debug)]
pub struct Left {
    /// Where it was set aside, if it was to be; or why it could not be. What is at the path stays as it is then.
    pub aside: Option<Result<PathBuf, StoreError>>,
    /// Everything that was stored is still somewhere.
    pub whole: bool,
}

impl OpenFiles {
    fn has(&self, path: &Path, which: Option<FileId>) -> bool {
        file_id(path).is_ok_and(|now| now.is_some() && now == which)
    }

    /// A log that could not be emptied belongs beside its database.
    fn rename_log(&self, path: &Path, to: &Path) {
        let (from, to) = (beside(path, "-wal"), beside(to, "-wal"));
        if self.has(&from, self.log) && !to.exists() {
            // If it fails, it is set aside when the next database is begun.
            let _ = fs::rename(from, to);
        }
    }

    /// Takes what the database left behind from its path. A new database must get neither a log of other pages nor an index that
    /// connections of this process still have mapped.
    fn remove_rest(&self, path: &Path, log_is_useless: bool) {
        for (suffix, id, remove) in [("-wal", self.log, log_is_useless), ("-shm", self.index, true)] {
            let path = beside(path, suffix);
            if remove && self.has(&path, id) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Moves the whole log into the database; says whether it did.
fn empty_log(conn: &Connection) -> bool {
    let done = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    match done {
        Ok(busy) => busy == 0,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "failed to empty the log of a database that is gone"
            );
            false
        }
    }
}

/// Whether the main file is shorter than its header says, and stays so.
fn is_cut(path: &Path) -> bool {
    let length = || path.metadata().ok().map(|meta| meta.len());
    let is_short = |length: u64| length == 0 || Header::read(path).is_ok_and(|header| header.is_cut);
    let mut before = length();
    let mut looks = 0;
    while let Some(now) = before
        && is_short(now)
    {
        if looks == LOOKS {
            return true;
        }
        thread::sleep(PAUSE);
        let next = length();
        // It grows: somebody's checkpoint is under way.
        looks = if next == before { looks + 1 } else { 0 };
        before = next;
    }
    false
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved(Some(to)) => write!(f, "was moved to {} while in use", to.display()),
            Self::Moved(None) => f.write_str("is no longer at its path: it was moved, or its file system unmounted"),
            Self::Deleted => f.write_str("was deleted while in use"),
            Self::Log => {
                f.write_str("lost its write-ahead log while in use (the -wal or -shm file was deleted or replaced)")
            }
            Self::Cut => f.write_str("was cut short while in use"),
        }
    }
}

#[cfg(test)]
mod tests;
