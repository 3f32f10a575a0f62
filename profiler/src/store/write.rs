//! Writing windows: interning, packing, one transaction each.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params_from_iter};

use super::codec::{GroupKey, Profile, StackId};
use super::columns::Effort;
use super::intern::{Interned, int};
use super::level::Level;
use super::numbers::{ALL_COLUMNS, Numbers};
use super::open::BUSY_WAIT;
use super::open_files::OpenFiles;
use super::series::{self, SeriesId};
use super::{StoreError, file, tally, times};
use crate::profile::{BinaryId, BootNanos, Location, ProcessWindow, Window};

/// Row number of a location; stable in one database file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocationId(pub i64);

/// A location that the database has no answer for yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// Its row.
    pub location: LocationId,
    /// Where it is; the binary is one of the window's.
    pub place: Location,
    /// Samples with it as the leaf in this window: names the busiest first.
    pub weight: u64,
}

/// The only writer of a database.
#[derive(Debug)]
pub struct Store {
    pub(super) conn: Connection,
    /// Where it is, without links.
    pub(super) path: PathBuf,
    /// Where it was asked for.
    pub(super) asked: PathBuf,
    pub(super) files: OpenFiles,
    /// Held, never read: see [`file::lock`].
    pub(super) lock: File,
    pub(super) interned: Interned,
    /// Damage was met: the next start must check the file.
    pub(super) damaged: bool,
    /// Rows that were set aside since somebody asked.
    pub(super) aside: Vec<super::SetAside>,
    /// The longest roll-ups to make; `None` makes none.
    pub(super) coarsest: Option<Level>,
}

/// Past this size of the log, left by a long reader, the store asks for it to be emptied after each window.
pub const LOG_ALARM_BYTES: u64 = 64 << 20;

/// A log that is larger than this (SQLite moves it into the file every 1,000 pages by itself) is emptied when there is time.
const LOG_IDLE_BYTES: u64 = 4 << 20;

/// How long a window's writer waits for the log's readers.
const LOG_WAIT: Duration = Duration::from_millis(100);

impl Store {
    pub(super) fn new(conn: Connection, asked: &Path, path: PathBuf, lock: File) -> Result<Self, StoreError> {
        let (interned, aside) = (Interned::new(), Vec::new());
        let (files, asked) = (OpenFiles::at(&path)?, asked.into());
        Ok(Self { conn, path, asked, files, lock, interned, damaged: false, aside, coarsest: Some(Level::Day) })
    }

    /// Stores a window in one durable transaction; returns what still needs a name, busiest first. May be repeated with
    /// the same window after an error; a window that is stored already is not stored twice.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`] and [`StoreError::Busy`] may pass; [`StoreError::Overlap`] and
    /// [`StoreError::BadWindow`] will not. Nothing of the window is stored then.
    pub fn write_window(&mut self, window: &Window) -> Result<Vec<Unnamed>, StoreError> {
        let unnamed = self.transact(|tx, interned| Writing::new(tx, interned, window)?.run(window))?;
        if file::log_bytes(&self.path) > LOG_ALARM_BYTES
            && let Err(error) = self.empty_log()
        {
            // The window is stored; a disk that fails refuses the next one.
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to empty the write-ahead log");
        }
        Ok(unnamed)
    }

    /// Size of the write-ahead log. SQLite empties it now and then; it only grows past 64 MiB while some reader holds on to
    /// an old moment, which deserves a warning.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        file::log_bytes(&self.path)
    }

    /// For when no window waits: empties a log that has grown, unless a reader is in the way.
    ///
    /// # Errors
    /// The disk failed, is full, or the file is damaged; the data is safe in the log.
    pub fn rest(&mut self) -> Result<(), StoreError> {
        if self.log_bytes() > LOG_IDLE_BYTES { self.empty_log() } else { Ok(()) }
    }

    /// Where the database is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it was asked for, which may be a link.
    #[must_use]
    pub fn asked(&self) -> &Path {
        &self.asked
    }

    /// Waits a moment for readers to let go of the log. If they do not, the next window tries again: the data is safe.
    pub(super) fn empty_log(&mut self) -> Result<(), StoreError> {
        self.conn.busy_timeout(LOG_WAIT)?;
        // A row of three numbers, the first of which says that readers were in the way: no error.
        let emptied = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.conn.busy_timeout(BUSY_WAIT)?;
        self.files.log_was_emptied();
        match emptied.map_err(|error| StoreError::of(&self.conn, error)) {
            Err(StoreError::Busy(_)) => Ok(()),
            done => done,
        }
    }

    /// Runs `work` in one transaction: all of it is stored, durably, or nothing.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Interned) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Self { conn, interned, .. } = self;
        if !conn.is_autocommit() {
            // The last one failed so badly that it is still open.
            conn.execute_batch("ROLLBACK")?;
        }
        let done = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::from)
            .and_then(|tx| {
                let value = work(&tx, interned)?;
                tx.commit()?;
                Ok(value)
            })
            .map_err(|error| StoreError::of(conn, error));
        if let Err(error) = &done {
            // The caches may hold rows that were rolled back.
            self.interned = Interned::new();
            self.damaged |= matches!(error, StoreError::Damaged(_) | StoreError::BadRow(_));
        }
        done
    }
}

/// One window on its way into the tables.
struct Writing<'a> {
    tx: &'a Transaction<'a>,
    interned: &'a mut Interned,
    series: SeriesId,
    boot: i64,
    binaries: HashMap<BinaryId, i64>,
    /// Leaf and its location's row by the memory that a stack is in: threads and processes share it.
    stacks: HashMap<*const [Location], (StackId, u32)>,
    unnamed: HashMap<u32, (Location, u64)>,
}

/// An entry, and when its samples were taken.
type Entry<'w> = (GroupKey, StackId, u64, &'w [BootNanos]);

impl<'a> Writing<'a> {
    fn new(tx: &'a Transaction<'a>, interned: &'a mut Interned, window: &Window) -> Result<Self, StoreError> {
        let (series, boot) = (series::of_window(tx, window)?, interned.string(tx, &window.boot_id)?);
        let mut binaries = HashMap::with_capacity(window.binaries.len());
        for (id, binary) in &window.binaries {
            binaries.insert(*id, interned.binary(tx, binary)?);
        }
        Ok(Self { tx, interned, series, boot, binaries, stacks: HashMap::new(), unnamed: HashMap::new() })
    }

    fn run(mut self, window: &Window) -> Result<Vec<Unnamed>, StoreError> {
        if !self.is_stored(window)? {
            let mut entries = Vec::new();
            for process in &window.processes {
                let row = self.interned.process(self.tx, self.boot, &process.facts)?;
                self.intern_stacks(process, row, &mut entries)?;
            }
            self.interned.stacks.save(self.tx)?;
            self.insert(window, entries)?;
        }
        let mut unnamed: Vec<_> = self
            .unnamed
            .into_iter()
            .map(|(id, (place, weight))| Unnamed { location: LocationId(id.into()), place, weight })
            .collect();
        unnamed.sort_unstable_by_key(|unnamed| (std::cmp::Reverse(unnamed.weight), unnamed.location));
        Ok(unnamed)
    }

    /// Whether this very window is here already: a commit may succeed and still report an error.
    fn is_stored(&self, window: &Window) -> Result<bool, StoreError> {
        let (start, end) = (int(window.start.0), int(window.end.0));
        if start >= end {
            return Err(StoreError::BadWindow("it does not end after it starts"));
        }
        // Stored windows of a series do not overlap, so the last one that starts before our end is the one that could be in the way.
        let before: Option<(i64, i64, i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT boot_start, boot_start + length, taken, stored FROM window
                 WHERE series = ?1 AND boot = ?2 AND boot_start < ?3 ORDER BY boot_start DESC LIMIT 1",
            )?
            .query_row((self.series, self.boot, end), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        match before {
            Some((other_start, other_end, taken, stored)) if other_end > start => {
                let same = (start, end, int(window.taken), int(window.samples()));
                if same == (other_start, other_end, taken, stored) {
                    return Ok(true);
                }
                Err(StoreError::Overlap {
                    start: window.start.0,
                    end: window.end.0,
                    other_start: other_start.cast_unsigned(),
                    other_end: other_end.cast_unsigned(),
                })
            }
            _ => Ok(false),
        }
    }

    fn intern_stacks<'w>(
        &mut self,
        process: &'w ProcessWindow,
        row: u32,
        entries: &mut Vec<Entry<'w>>,
    ) -> Result<(), StoreError> {
        self.walk_stacks(process)?;
        for stack in process.stacks.iter().filter(|stack| stack.count > 0) {
            let (leaf, location) = self.stacks.get(&(&raw const *stack.stack)).copied().unwrap_or_default();
            if let Some((_, weight)) = self.unnamed.get_mut(&location) {
                *weight = weight.saturating_add(stack.count);
            }
            let key = GroupKey { process: row, thread: self.interned.name(self.tx, &stack.thread)?, end: stack.end };
            entries.push((key, leaf, stack.count, &stack.times));
        }
        Ok(())
    }

    /// Walks stacks that are new to this window in sorted order: neighbours share their roots, so only what differs is looked up.
    fn walk_stacks(&mut self, process: &ProcessWindow) -> Result<(), StoreError> {
        let counted = process.stacks.iter().filter(|stack| stack.count > 0).map(|stack| &*stack.stack);
        let mut stacks: Vec<_> = counted.filter(|stack| !self.stacks.contains_key(&(&raw const **stack))).collect();
        stacks.sort_unstable();
        // The nodes and location rows from the root to the leaf of the stack before.
        let mut path: Vec<(StackId, u32)> = Vec::new();
        let mut before: &[Location] = &[];
        for stack in stacks {
            let shared = before.iter().zip(stack).take_while(|(a, b)| a == b).count();
            path.truncate(shared);
            for place in &stack[shared..] {
                let parent = path.last().map_or(StackId(0), |(node, _)| *node);
                let location = self.location(*place)?;
                path.push((self.interned.stacks.node(self.tx, parent, location)?, location));
            }
            before = stack;
            self.stacks.insert(&raw const *stack, path.last().copied().unwrap_or_default());
        }
        Ok(())
    }

    fn location(&mut self, place: Location) -> Result<u32, StoreError> {
        let binary = self.binaries.get(&place.binary);
        let binary = *binary.ok_or(StoreError::BadWindow("a stack names a binary that the window does not list"))?;
        let (id, unasked) = self.interned.location(self.tx, binary, place.offset)?;
        if unasked {
            self.unnamed.entry(id).or_insert((place, 0));
        }
        Ok(id)
    }

    fn insert(&self, window: &Window, mut entries: Vec<Entry<'_>>) -> Result<(), StoreError> {
        entries.sort_unstable_by_key(|(key, stack, ..)| (*key, *stack));
        let profile =
            Profile::from_entries(entries.iter().map(|(key, stack, count, _)| (*key, *stack, *count)).collect());
        let endings = tally::endings(&profile.groups);
        let incomplete = endings.iter().filter(|(end, _)| !end.is_complete()).map(|(_, n)| n).sum();
        let numbers = Numbers::of(window, incomplete);
        let own: [Value; 5] = [
            i64::from(self.series.0).into(),
            self.boot.into(),
            int(window.start.0).into(),
            window.wall_start.0.into(),
            0.into(),
        ];
        let id = self
            .tx
            .prepare_cached(&format!(
                "INSERT INTO window (series, boot, boot_start, wall_start, packed, {ALL_COLUMNS})
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            ))?
            .insert(params_from_iter(own.into_iter().chain(numbers.values())))?;
        self.tx.prepare_cached("INSERT INTO fresh (window, directory, stacks) VALUES (?1, ?2, ?3)")?.execute((
            id,
            profile.directory(Effort::Little),
            profile.entries(Effort::Little),
        ))?;
        if let Some(mut ticks) = ticks(window.start, &entries) {
            let blob = times::encode(&profile.counts, &mut ticks);
            self.tx.prepare_cached("INSERT INTO sample_time (window, times) VALUES (?1, ?2)")?.execute((id, &blob))?;
            tally::add_times(self.tx, int(blob.len() as u64))?;
        }
        tally::add(self.tx, &numbers, &endings)
    }
}

/// When the samples were taken, in ticks after the window's start, in the order of the entries; `None` unless all are known.
fn ticks(start: BootNanos, entries: &[Entry<'_>]) -> Option<Vec<u32>> {
    if entries.is_empty() || entries.iter().any(|(.., count, times)| times.len() as u64 != *count) {
        return None;
    }
    let after = |time: &BootNanos| u32::try_from(time.0.saturating_sub(start.0) / times::TICK).unwrap_or(u32::MAX);
    Some(entries.iter().flat_map(|(.., times)| times.iter().map(after)).collect())
}

#[cfg(test)]
mod tests;
