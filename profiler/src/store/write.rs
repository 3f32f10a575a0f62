//! Writing windows: interning, packing, one transaction each.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::codec::{self, Entry, StackId};
use super::intern::{Interned, int};
use super::open::BUSY_WAIT;
use super::{StoreError, file};
use crate::profile::{BinaryId, Location, ProcessWindow, StackEnd, Window};

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
    pub(super) interned: Interned,
    /// Damage was met: the next start must check the file.
    pub(super) damaged: bool,
}

/// Past this size of the log, left by a long reader, the store asks for it to be emptied after each window.
const LOG_ALARM_BYTES: u64 = 64 << 20;

/// How long a window's writer waits for the log's readers.
const LOG_WAIT: Duration = Duration::from_millis(100);

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
            self.empty_log();
        }
        Ok(unnamed)
    }

    /// Size of the write-ahead log. SQLite empties it now and then; it only grows past 64 MiB while some reader holds on to
    /// an old moment, which deserves a warning.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        file::log_bytes(&self.path)
    }

    /// Waits a moment for readers to let go of the log. If they do not, the next window tries again: the data is safe.
    pub(super) fn empty_log(&self) {
        let _ = self.conn.busy_timeout(LOG_WAIT);
        let _ = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let _ = self.conn.busy_timeout(BUSY_WAIT);
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tempfile::TempDir;

    use super::super::drawing::{facts, window};
    use super::*;
    use crate::profile::LossCause;

    const DRAWING: &str = "web/7  main;serve;parse x5
                           web/7~io  main;poll;k:read x2
                           web/8  !serve x1
                           idle/9  x3";

    fn store() -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&folder.path().join("x.db")).unwrap();
        (folder, store)
    }

    /// Every row of every table that holds content.
    fn dump(store: &Store) -> Vec<String> {
        let tables =
            "string binary location function location_frame stack process thread window loss ending profile tally meta";
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
            UNION ALL SELECT 'lost', cause, sum(count) FROM loss GROUP BY cause
            UNION ALL SELECT 'ending', end, sum(count) FROM ending GROUP BY end
        ) AS real FULL JOIN tally USING (name, number) WHERE ifnull(real.count, 0) <> ifnull(tally.count, 0)";
        assert_eq!(count(store, sums), 0);
        assert_eq!(count(store, "SELECT count(*) FROM window WHERE taken <> stored + lost"), 0);
        let shares = "SELECT count(*) FROM window WHERE stored <> (SELECT ifnull(sum(samples), 0) FROM profile WHERE window = id)
                      OR incomplete <> (SELECT ifnull(sum(incomplete), 0) FROM profile WHERE window = id)";
        assert_eq!(count(store, shares), 0);
    }

    /// Equal things have one row, however many windows name them.
    #[test]
    fn equal_things_are_stored_once() {
        let (_folder, mut store) = store();
        store.write_window(&window(0, DRAWING)).unwrap();
        let before = dump(&store).iter().filter(|row| row.starts_with("stack") || row.starts_with("location")).count();
        assert_eq!(before, 6 + 5, "main;serve;parse, poll;read, serve alone; five places");
        store.write_window(&window(1, DRAWING)).unwrap();
        let after = dump(&store).iter().filter(|row| row.starts_with("stack") || row.starts_with("location")).count();
        assert_eq!(before, after);
        assert_eq!(count(&store, "SELECT count(*) FROM profile"), 6);
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
        assert_eq!(count(&store, "SELECT count(DISTINCT process) FROM profile"), 3);
    }

    /// Full caches start over; what is stored is the same as with endless ones.
    #[test]
    fn small_caches_change_nothing() {
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
        assert_eq!(dump(&small), dump(&large));
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
