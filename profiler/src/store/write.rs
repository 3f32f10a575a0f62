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
        let boot = interned.string(tx, &window.boot_id)?;
        let mut binaries = HashMap::with_capacity(window.binaries.len());
        for (id, binary) in &window.binaries {
            binaries.insert(*id, interned.binary(tx, binary)?);
        }
        Ok(Self { tx, interned, boot, binaries, stacks: HashMap::new(), unnamed: HashMap::new() })
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
        // Stored windows do not overlap, so the last one that starts before our end is the one that could be in the way.
        let before: Option<(i64, i64, i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT boot_start, boot_start + length, taken, stored FROM window WHERE boot = ?1 AND boot_start < ?2
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
        let own: [Value; 6] = [
            self.boot.into(),
            int(window.start.0).into(),
            window.wall_start.0.into(),
            (window.event as u8).into(),
            window.hz.into(),
            i64::from(0).into(),
        ];
        let id = self
            .tx
            .prepare_cached(&format!(
                "INSERT INTO window (boot, boot_start, wall_start, event, hz, packed, {ALL_COLUMNS})
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
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
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tempfile::TempDir;

    use super::super::drawing::{facts, window};
    use super::super::stack_page;
    use super::*;
    use crate::profile::LossCause;

    const DRAWING: &str = "web/7  main;serve;parse x5
                           web/7~io  main;poll;k:read x2
                           web/8  !serve x1
                           idle/9  x3";

    fn store() -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&folder.path().join("x.db")).unwrap();
        // The same in all, so that their rows can be compared.
        store.conn.execute("UPDATE meta SET value = 7 WHERE key = 'seed'", []).unwrap();
        (folder, store)
    }

    /// Every row of every table that holds content.
    fn dump(store: &Store) -> Vec<String> {
        let tables = "string binary location function location_frame stack_page cgroup process window fresh rollup sample_time tally meta";
        let mut rows = Vec::new();
        for table in tables.split(' ') {
            let mut select = store.conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = select.column_count();
            let mut found = select.query([]).unwrap();
            while let Some(row) = found.next().unwrap() {
                let cells: Vec<_> = (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect();
                rows.push(format!("{table} {}", cells.join(" ")));
            }
        }
        rows
    }

    fn count(store: &Store, sql: &str) -> i64 {
        store.conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The kept sums are the sums, and every window's ledger is even.
    fn check_ledger(store: &Store) {
        let sums = "SELECT count(*) FROM (
            SELECT 'windows' AS name, 0 AS number, count(*) AS count FROM window
            UNION ALL SELECT 'taken', 0, sum(taken) FROM window
            UNION ALL SELECT 'stored', 0, sum(stored) FROM window
            UNION ALL SELECT 'lost', key, sum(value) FROM window, json_each(losses) GROUP BY key
        ) AS real FULL JOIN (SELECT * FROM tally WHERE name <> 'ending') AS kept USING (name, number)
        WHERE ifnull(real.count, 0) <> ifnull(kept.count, 0)";
        assert_eq!(count(store, sums), 0);
        assert_eq!(count(store, "SELECT count(*) FROM window WHERE taken <> stored + lost"), 0);
        assert_eq!(
            count(store, "SELECT ifnull(sum(count), 0) FROM tally WHERE name = 'ending'"),
            count(store, "SELECT sum(count) FROM tally WHERE name = 'stored'")
        );
        let mut select = store
            .conn
            .prepare("SELECT stored, incomplete, directory, stacks FROM window JOIN fresh ON window = id")
            .unwrap();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let blob = |at| row.get_ref(at).unwrap().as_blob().unwrap();
            let profile = Profile::decode(blob(2), blob(3)).unwrap();
            let cut: u64 =
                profile.groups.iter().filter(|group| !group.key.end.is_complete()).map(|group| group.samples).sum();
            assert_eq!(
                (profile.samples(), cut),
                (row.get::<_, i64>(0).unwrap() as u64, row.get::<_, i64>(1).unwrap() as u64)
            );
        }
    }

    /// Nodes of the stack tree, without the empty stack.
    fn nodes(store: &Store) -> usize {
        let blob: Option<Vec<u8>> =
            store.conn.query_row("SELECT nodes FROM stack_page", [], |row| row.get(0)).optional().unwrap();
        blob.map_or(0, |blob| stack_page::decode(0, &blob).unwrap().len() - 1)
    }

    /// Equal things have one row, however many windows name them.
    #[test]
    fn equal_things_are_stored_once() {
        let (_folder, mut store) = store();
        store.write_window(&window(0, DRAWING)).unwrap();
        let locations = |store: &Store| count(store, "SELECT count(*) FROM location");
        assert_eq!((nodes(&store), locations(&store)), (6, 5), "main;serve;parse, poll;read, serve alone; five places");
        let strings = count(&store, "SELECT count(*) FROM string");
        store.write_window(&window(1, DRAWING)).unwrap();
        // Nor after a restart.
        store.interned = Interned::new();
        store.write_window(&window(2, DRAWING)).unwrap();
        assert_eq!((nodes(&store), locations(&store)), (6, 5));
        assert_eq!(count(&store, "SELECT count(*) FROM string"), strings);
        assert_eq!(count(&store, "SELECT count(DISTINCT text) FROM string"), strings);
        check_ledger(&store);
    }

    /// A window that fails at any point leaves nothing behind; if it fails after the commit it is all there, and writing it
    /// again changes nothing.
    #[test]
    fn a_window_is_all_or_nothing() {
        let first = window(0, DRAWING);
        let second = window(1, "new/11  start;work x4\nweb/7  main;serve;other x1\nweb/7  main;serve x9");
        let (_folder, mut untroubled) = store();
        untroubled.write_window(&first).unwrap();
        let before = dump(&untroubled);
        untroubled.write_window(&second).unwrap();
        let after = dump(&untroubled);

        let (_folder, mut store) = store();
        store.write_window(&first).unwrap();
        let mut failures = 0;
        for step in (0..).step_by(7) {
            // SQLite asks after each step of its machine whether to go on; one answer is no.
            let asked = AtomicU32::new(0);
            let ask = move || asked.fetch_add(1, Relaxed) == step;
            store.conn.progress_handler(1, Some(ask)).unwrap();
            let result = store.write_window(&second);
            store.conn.progress_handler(1, None::<fn() -> bool>).unwrap();
            let found = dump(&store);
            match result {
                Err(StoreError::Interrupted) if found == before => failures += 1,
                Ok(_) | Err(StoreError::Interrupted) => {
                    assert_eq!(found, after);
                    break;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(failures > 50, "the failures reached all of the transaction: {failures}");
        store.write_window(&second).unwrap();
        assert_eq!(dump(&store), after);
        check_ledger(&store);
    }

    /// A transaction that was left open by a failure does not stand in the way of the next.
    #[test]
    fn a_transaction_left_open_is_rolled_back() {
        let (_folder, mut store) = store();
        let before = dump(&store);
        let mut left_open = 0;
        for step in 0..30 {
            let asked = AtomicU32::new(0);
            store.conn.progress_handler(1, Some(move || asked.fetch_add(1, Relaxed) >= step)).unwrap();
            assert!(store.write_window(&window(0, DRAWING)).is_err());
            store.conn.progress_handler(1, None::<fn() -> bool>).unwrap();
            left_open += u32::from(!store.conn.is_autocommit());
        }
        assert!(left_open > 0);
        store.write_names(&[]).unwrap();
        assert_eq!(dump(&store), before);
        store.write_window(&window(0, DRAWING)).unwrap();
        check_ledger(&store);
    }

    /// A full disk is told apart, loses nothing, and the same window goes in once there is room.
    #[test]
    fn a_window_can_be_written_again_after_a_full_disk() {
        let (_folder, mut store) = store();
        let pages: i64 = store.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        store.conn.pragma_update(None, "max_page_count", pages).unwrap();
        let many: String = (0..2000).map(|n| format!("web/7  main;f{n};leaf x1\n")).collect();
        let before = dump(&store);
        let error = store.write_window(&window(0, &many)).unwrap_err();
        assert!(matches!(error, StoreError::Full(_)) && error.is_transient(), "{error:?}");
        assert_eq!(dump(&store), before);
        store.conn.pragma_update(None, "max_page_count", 1 << 20).unwrap();
        assert_eq!(store.write_window(&window(0, &many)).unwrap().len(), 2002);
        check_ledger(&store);
    }

    /// A commit whose answer got lost may be repeated: the window is not there twice.
    #[test]
    fn the_same_window_is_stored_once() {
        let (_folder, mut store) = store();
        store.write_window(&window(0, DRAWING)).unwrap();
        let before = dump(&store);
        store.write_window(&window(0, DRAWING)).unwrap();
        assert_eq!(dump(&store), before);
    }

    /// Windows of one boot share no instant; of different boots they may.
    #[test]
    fn windows_of_a_boot_never_overlap() {
        let (_folder, mut store) = store();
        store.write_window(&window(5, DRAWING)).unwrap();
        let mut shifted = window(5, DRAWING);
        for by in [-9_999_999_999_i64, -1, 1, 9_999_999_999] {
            shifted.start.0 = window(5, "").start.0.wrapping_add_signed(by);
            shifted.end.0 = window(5, "").end.0.wrapping_add_signed(by);
            assert!(matches!(store.write_window(&shifted), Err(StoreError::Overlap { .. })), "{by}");
        }
        let mut around = window(5, DRAWING);
        (around.start.0, around.end.0) = (around.start.0 - 1, around.end.0 + 1);
        assert!(matches!(store.write_window(&around), Err(StoreError::Overlap { .. })));
        store.write_window(&window(4, DRAWING)).unwrap();
        store.write_window(&window(6, DRAWING)).unwrap();
        shifted.boot_id = "another".into();
        store.write_window(&shifted).unwrap();
        (shifted.start.0, shifted.end.0) = (9, 9);
        assert!(matches!(store.write_window(&shifted), Err(StoreError::BadWindow(_))));
        check_ledger(&store);
    }

    /// Losses are part of the ledger, in a window without samples too.
    #[test]
    fn losses_are_kept_by_cause() {
        let (_folder, mut store) = store();
        let mut lossy = window(0, "");
        lossy.losses.add(LossCause::RingFull, 3);
        lossy.losses.add(LossCause::QueueFull, 4);
        lossy.taken = 7;
        store.write_window(&lossy).unwrap();
        check_ledger(&store);
        assert_eq!(count(&store, "SELECT lost FROM window"), 7);
    }

    /// A process that calls exec, or moves to another control group, is another row; the old samples keep the old facts.
    #[test]
    fn changed_facts_are_a_new_row() {
        let (_folder, mut store) = store();
        let mut two = window(0, "sh/7  main x1\nweb/8  main x2");
        let mut moved = (*facts("sh", 7)).clone();
        moved.cgroup = "/elsewhere".into();
        two.processes[1].facts = Arc::new(moved);
        store.write_window(&two).unwrap();
        store.write_window(&window(1, "bash/7  main x1")).unwrap();
        store.write_window(&window(2, "sh/7  main x1")).unwrap();
        assert_eq!(count(&store, "SELECT count(*) FROM process WHERE pid = 7"), 3);
        let used: i64 = count(&store, "SELECT count(DISTINCT directory) FROM fresh");
        assert_eq!(used, 3, "each window names another row");
    }

    /// Full caches start over; rows are the same as with endless ones, only a stack may have two numbers.
    #[test]
    fn small_caches_change_no_rows() {
        let (_folder, mut small) = store();
        let (_other, mut large) = store();
        for n in 0..4 {
            small.interned = Interned::with_capacity(2);
            let drawing = format!("{DRAWING}\nnew/1{n}  main;f{n};f{} x1", n % 2);
            assert_eq!(
                small.write_window(&window(n, &drawing)).unwrap(),
                large.write_window(&window(n, &drawing)).unwrap()
            );
        }
        let stacks = |row: &String| ["stack_page", "fresh"].iter().any(|table| row.starts_with(table));
        let rows = |store: &Store| dump(store).into_iter().filter(|row| !stacks(row)).collect::<Vec<_>>();
        assert_eq!(rows(&small), rows(&large));
        assert!(nodes(&small) > nodes(&large));
    }

    /// A stack in a binary that the window does not list cannot be placed.
    #[test]
    fn an_unlisted_binary_refuses_the_window() {
        let (_folder, mut store) = store();
        let mut odd = window(0, DRAWING);
        odd.binaries.truncate(1);
        assert!(matches!(store.write_window(&odd), Err(StoreError::BadWindow(_))));
        assert_eq!(count(&store, "SELECT count(*) FROM string"), 0);
    }

    /// Names of other people's making are cut, at a character, not refused.
    #[test]
    fn endless_strings_are_cut() {
        let (_folder, mut store) = store();
        let mut long = window(0, "web/7  main x1");
        long.processes[0].stacks[0].thread = "\u{e9}".repeat(20_000).into();
        store.write_window(&long).unwrap();
        assert_eq!(count(&store, "SELECT max(length(CAST(text AS BLOB))) FROM string"), 16 << 10);
    }
}
