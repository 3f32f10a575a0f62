//! Writing windows and names: interning, packing, one transaction each.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::codec::{self, Entry, StackId};
use super::intern::{Interned, int};
use super::{StoreError, file};
use crate::profile::{BinaryId, Location, ProcessWindow, StackEnd, Symbol, Symbolized, UnknownReason, Window};

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
    pub(super) path: PathBuf,
    /// Held, never read: see [`file::lock`].
    pub(super) _lock: File,
    interned: Interned,
    /// Damage was met: the next start must check the file.
    pub(super) damaged: bool,
}

/// Past this size of the log, left by a long reader, the store asks for it to be emptied after each window.
const LOG_ALARM_BYTES: u64 = 64 << 20;

/// The state of a location that has names; from 2 on it is an [`UnknownReason`].
const NAMED: u8 = 1;

/// Inlined functions kept of one location; the deepest real ones are a few dozen.
const MAX_INLINED: usize = 128;

impl Store {
    pub(super) fn new(conn: Connection, path: PathBuf, lock: File) -> Self {
        Self { conn, path, _lock: lock, interned: Interned::new(), damaged: false }
    }

    /// Stores a window in one durable transaction; returns what still needs a name, busiest first. May be repeated with
    /// the same window after an error; a window that is stored already is not stored twice.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`] and [`StoreError::Busy`] may pass; [`StoreError::Overlap`] and
    /// [`StoreError::BadWindow`] will not. Nothing of the window is stored then.
    pub fn write_window(&mut self, window: &Window) -> Result<Vec<Unnamed>, StoreError> {
        let unnamed = self.transact(|tx, interned| Writing::new(tx, interned, window)?.run(window))?;
        if file::log_bytes(&self.path) > LOG_ALARM_BYTES {
            // A reader may still hold it; then the next window tries again. The data is safe either way.
            let _ = self.conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
        }
        Ok(unnamed)
    }

    /// Stores names in one transaction. Better names replace older ones.
    ///
    /// # Errors
    /// Anything SQLite reports; nothing of the call is stored then.
    pub fn write_names(&mut self, names: &[(LocationId, Symbolized)]) -> Result<(), StoreError> {
        self.transact(|tx, interned| names.iter().try_for_each(|(id, name)| write_name(tx, interned, *id, name)))?;
        names.iter().for_each(|(id, _)| self.interned.answered(*id));
        Ok(())
    }

    /// Runs `work` in one transaction: all of it is stored, durably, or nothing.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Interned) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Self { conn, interned, .. } = self;
        let done =
            conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from).and_then(|tx| {
                let value = work(&tx, interned)?;
                tx.commit()?;
                Ok(value)
            });
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
    boot: i64,
    binaries: HashMap<BinaryId, i64>,
    unnamed: HashMap<u32, (Location, u64)>,
}

impl<'a> Writing<'a> {
    fn new(tx: &'a Transaction<'a>, interned: &'a mut Interned, window: &Window) -> Result<Self, StoreError> {
        let boot = interned.string(tx, &window.boot_id)?;
        let mut binaries = HashMap::with_capacity(window.binaries.len());
        for (id, binary) in &window.binaries {
            binaries.insert(*id, interned.binary(tx, binary)?);
        }
        Ok(Self { tx, interned, boot, binaries, unnamed: HashMap::new() })
    }

    fn run(mut self, window: &Window) -> Result<Vec<Unnamed>, StoreError> {
        if !self.is_stored(window)? {
            let mut profiles = BTreeMap::<i64, Vec<Entry>>::new();
            for process in &window.processes {
                let row = self.interned.process(self.tx, self.boot, &process.facts)?;
                self.intern_stacks(process, row, profiles.entry(row).or_default())?;
            }
            self.insert(window, profiles)?;
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
        // Stored windows do not overlap, so the last one that starts before our end is the one that could be in the way.
        let before: Option<(i64, i64, i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT boot_start, boot_end, taken, stored FROM window WHERE boot = ?1 AND boot_start < ?2
                 ORDER BY boot_start DESC LIMIT 1",
            )?
            .query_row((self.boot, end), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
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

    /// Walks the stacks in sorted order: neighbours share their roots, so only what differs is looked up.
    fn intern_stacks(&mut self, process: &ProcessWindow, row: i64, entries: &mut Vec<Entry>) -> Result<(), StoreError> {
        let mut stacks: Vec<_> = process.stacks.iter().filter(|stack| stack.count > 0).collect();
        stacks.sort_unstable_by(|a, b| a.stack.cmp(&b.stack));
        // The nodes and location rows from the root to the leaf of the stack before.
        let mut path: Vec<(StackId, u32)> = Vec::new();
        let mut before: &[Location] = &[];
        for stack in stacks {
            let shared = before.iter().zip(stack.stack.iter()).take_while(|(a, b)| a == b).count();
            path.truncate(shared);
            for place in &stack.stack[shared..] {
                let parent = path.last().map_or(StackId(0), |(node, _)| *node);
                let location = self.location(*place)?;
                path.push((self.interned.stack(self.tx, parent, location)?, location));
            }
            before = &stack.stack;
            if let Some((_, location)) = path.last()
                && let Some((_, weight)) = self.unnamed.get_mut(location)
            {
                *weight = weight.saturating_add(stack.count);
            }
            entries.push(Entry {
                thread: self.interned.thread(self.tx, row, stack)?,
                end: stack.end,
                stack: path.last().map_or(StackId(0), |(node, _)| *node),
                count: stack.count,
            });
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

    fn insert(&self, window: &Window, profiles: BTreeMap<i64, Vec<Entry>>) -> Result<(), StoreError> {
        let samples = |entries: &[Entry], keep: fn(StackEnd) -> bool| -> i64 {
            int(entries.iter().filter(|entry| keep(entry.end)).fold(0, |sum, entry| entry.count.saturating_add(sum)))
        };
        let mut endings = BTreeMap::<StackEnd, i64>::new();
        for entry in profiles.values().flatten() {
            let sum = endings.entry(entry.end).or_default();
            *sum = sum.saturating_add(int(entry.count));
        }
        let stored = int(window.samples());
        let lost = int(window.losses.total());
        let incomplete = endings.iter().filter(|(end, _)| !end.is_complete()).map(|(_, n)| n).sum::<i64>();
        let id: i64 = self
            .tx
            .prepare_cached(
                "INSERT INTO window (boot, boot_start, boot_end, wall_start, wall_end, event, hz, cpus, busy, idle, filtered,
                                     taken, stored, lost, incomplete)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) RETURNING id",
            )?
            .query_row(
                (
                    self.boot,
                    int(window.start.0),
                    int(window.end.0),
                    window.wall_start.0,
                    window.wall_end.0,
                    window.event as u8,
                    window.hz,
                    window.cpus,
                    int(window.ticks.busy),
                    int(window.ticks.idle),
                    int(window.ticks.filtered),
                    int(window.taken),
                    stored,
                    lost,
                    incomplete,
                ),
                |row| row.get(0),
            )?;
        let mut add = self.tx.prepare_cached(
            "INSERT INTO profile (window, process, samples, incomplete, stacks) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (process, mut entries) in profiles {
            let all = samples(&entries, |_| true);
            let cut = samples(&entries, |end| !end.is_complete());
            add.execute((id, process, all, cut, codec::encode(&mut entries)))?;
        }
        let mut add = self.tx.prepare_cached("INSERT INTO loss (window, cause, count) VALUES (?1, ?2, ?3)")?;
        for (cause, n) in &window.losses.0 {
            add.execute((id, *cause as u8, int(*n)))?;
            self.tally("lost", *cause as u32, int(*n))?;
        }
        let mut add = self.tx.prepare_cached("INSERT INTO ending (window, end, count) VALUES (?1, ?2, ?3)")?;
        for (end, n) in endings {
            add.execute((id, end as u32, n))?;
            self.tally("ending", end as u32, n)?;
        }
        self.tally("windows", 0, 1)?;
        self.tally("taken", 0, int(window.taken))?;
        self.tally("stored", 0, stored)
    }

    fn tally(&self, name: &str, number: u32, n: i64) -> Result<(), StoreError> {
        let mut add = self.tx.prepare_cached(
            "INSERT INTO tally (name, number, count) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET count = count + ?3",
        )?;
        add.execute((name, number, n))?;
        Ok(())
    }
}

fn write_name(
    tx: &Transaction<'_>,
    interned: &mut Interned,
    LocationId(id): LocationId,
    name: &Symbolized,
) -> Result<(), StoreError> {
    let (state, symbols): (u8, &[Symbol]) = match name {
        Symbolized::Named(symbols) if !symbols.is_empty() => (NAMED, symbols),
        Symbolized::Named(_) => (UnknownReason::NotFound as u8, &[]),
        Symbolized::Unknown(reason) => (*reason as u8, &[]),
    };
    let before: Option<u8> =
        tx.prepare_cached("SELECT state FROM location WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()?;
    match before {
        // A location that the store never gave out.
        None => return Ok(()),
        Some(0) => {}
        Some(_) => {
            tx.prepare_cached("DELETE FROM location_frame WHERE location = ?1")?.execute([id])?;
            tx.prepare_cached("UPDATE meta SET value = value + 1 WHERE key = 'renames'")?.execute([])?;
        }
    }
    tx.prepare_cached("UPDATE location SET state = ?2 WHERE id = ?1")?.execute((id, state))?;
    // Of an absurdly long list, the function that really stands in the file is kept.
    let symbols = &symbols[symbols.len().saturating_sub(MAX_INLINED)..];
    for (position, symbol) in (0_u32..).zip(symbols) {
        let (file, line) = symbol.source.as_ref().map_or(("", 0), |source| (&source.file, source.line.unwrap_or(0)));
        let function = interned.function(tx, &symbol.name, file)?;
        tx.prepare_cached(
            "INSERT INTO location_frame (location, position, function, line, inlined) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((id, position, function, line, symbol.inlined))?;
    }
    Ok(())
}
