//! Forgetting: the older, the coarser, until it goes for good; and never more than so many bytes.
//!
//! Ten-second detail goes first, then five minutes, hours, days: each step makes the next coarser roll-up the finest one of its
//! time and deletes what it was made of, in one transaction. Only what has been rolled up loses its parts. When the file is too
//! large, the oldest of the finest goes first, because that is most of the file.
//!
//! Each call does a bounded number of steps, so that a window waiting to be written waits little and a wrong clock cannot erase
//! a history in one stroke: what is old is judged by the clock and by the windows, whichever says younger.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction};

use super::codec::decode_directory;
use super::level::Level;
use super::numbers::{COLUMNS, Numbers};
use super::{Store, StoreError, tally};
use crate::profile::WallNanos;

/// Most steps of one call; at one call a minute this is 300 times faster than time goes by.
const STEPS: u32 = 60;
/// Ten-second detail of this time is never deleted for the file's size: if that does not fit, it is not windows that fill it.
const KEPT: i64 = 3_600_000_000_000;
/// Windows whose sample times are deleted in one step.
const TIMES: u32 = 30;
/// How many windows back to look for the time, when the clock has jumped: an hour at ten seconds each.
const RECENT: u32 = 360;
/// Free pages kept for the next windows (4 MiB): without them the file would shrink and grow at every call.
const SPARE_PAGES: u64 = 1024;
/// Most free pages given back to the file system in one call (16 MiB).
const MAX_PAGES: u64 = 4096;

const DAY: Duration = Duration::from_secs(86_400);

/// What to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Nothing older, at any resolution.
    pub age: Duration,
    /// Ten-second windows.
    pub windows: Duration,
    /// Five minutes.
    pub minutes: Duration,
    /// Hours; days are kept until they are too old for `age`.
    pub hours: Duration,
    /// Most bytes of the database, sample times counted apart.
    pub bytes: u64,
    /// When each sample was taken.
    pub times: Duration,
    /// Most bytes of sample times.
    pub times_bytes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            age: 365 * DAY,
            windows: 30 * DAY,
            minutes: 90 * DAY,
            hours: 365 * DAY,
            bytes: 10 << 30,
            times: DAY,
            times_bytes: 1 << 30,
        }
    }
}

impl Keep {
    /// The longest roll-ups to make: a day of which one hour is too old already would keep that hour for a day too long.
    pub(super) fn coarsest(&self) -> Option<Level> {
        let age = nanos(self.age);
        Level::ALL.into_iter().rev().find(|level| level.length().saturating_mul(8) <= age)
    }

    /// How long rows of a level are kept.
    fn of(&self, level: Level) -> i64 {
        nanos(match level {
            Level::Minutes => self.minutes.min(self.age),
            Level::Hour => self.hours.min(self.age),
            Level::Day => self.age,
        })
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// What [`Store::retain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Steps done: each made one piece of time coarser, or deleted it.
    pub steps: u32,
    /// There is more to do: call again soon.
    pub unfinished: bool,
    /// The file is over its size and there is nothing left that may go.
    pub over_size: bool,
    /// Size of the main file's used pages afterwards, without the sample times.
    pub bytes: u64,
}

impl Store {
    /// Makes what is old coarser, deletes what is too old, then more of the oldest while the database is larger than it may be; a
    /// bounded number of steps a call. Gives the space back to the file system.
    ///
    /// # Errors
    /// Anything SQLite reports; what was done before stays done.
    pub fn retain(&mut self, now: WallNanos, keep: &Keep) -> Result<Retained, StoreError> {
        self.coarsest = keep.coarsest();
        let mut done = Retained { bytes: self.counted_bytes()?, ..Retained::default() };
        let now = now.0.min(self.recent_end()?.unwrap_or(now.0));
        while done.steps < STEPS && self.forget_old(now, keep)? {
            done.steps += 1;
        }
        done.bytes = self.counted_bytes()?;
        while done.steps < STEPS && done.bytes > keep.bytes && !done.over_size {
            match self.forget_large()? {
                true => done.steps += 1,
                false => done.over_size = true,
            }
            done.bytes = self.counted_bytes()?;
        }
        done.unfinished = done.steps == STEPS;
        let spare = self.pragma("freelist_count")?.saturating_sub(SPARE_PAGES).min(MAX_PAGES);
        if spare > 0 {
            let mut vacuum = self.conn.prepare(&format!("PRAGMA incremental_vacuum({spare})"))?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(done)
    }

    /// The earliest time that it can be by the last windows of this boot: by the wall clock then, and the boot clock since.
    fn recent_end(&self) -> Result<Option<i64>, StoreError> {
        let mut recent = self.conn.prepare_cached(
            "SELECT min(wall_end - boot_start - length) + max(boot_start + length) FROM
                (SELECT wall_end, boot_start, length FROM window
                 WHERE boot = (SELECT boot FROM window ORDER BY id DESC LIMIT 1) ORDER BY id DESC LIMIT ?1)",
        )?;
        Ok(recent.query_row([RECENT], |row| row.get(0))?)
    }

    /// One step because of age.
    fn forget_old(&mut self, now: i64, keep: &Keep) -> Result<bool, StoreError> {
        let before = |age: i64| now.saturating_sub(age);
        // All ages when there are too many.
        let oldest = if self.times_bytes()? > keep.times_bytes { i64::MAX } else { before(nanos(keep.times)) };
        if self.oldest_time()?.is_some_and(|end| end < oldest) {
            self.transact(|tx, _| forget_times(tx, oldest))?;
            return Ok(true);
        }
        for level in Level::ALL {
            // What a row is made of: windows, five minutes, hours.
            let age =
                level.finer().map_or_else(|| nanos(keep.windows).min(keep.of(Level::Minutes)), |finer| keep.of(finer));
            let oldest = self.oldest("finest = 0", level)?;
            if let Some(start) = oldest.filter(|start| level.end_of(*start) <= before(age)) {
                self.transact(|tx, _| make_finest(tx, level, start))?;
                return Ok(true);
            }
        }
        for level in Level::ALL {
            let oldest = self.oldest(if level == Level::Day { "TRUE" } else { "rolled = 0" }, level)?;
            if let Some(start) = oldest.filter(|start| level.end_of(*start) <= before(nanos(keep.age))) {
                self.step((start, level.end_of(start)), |tx| delete(tx, level, start))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One step because of size.
    fn forget_large(&mut self) -> Result<bool, StoreError> {
        let newest = self.last_end()?.unwrap_or(i64::MAX).saturating_sub(KEPT);
        for level in Level::ALL {
            let oldest = self.oldest("finest = 0", level)?;
            if let Some(start) = oldest.filter(|start| level.end_of(*start) <= newest) {
                self.transact(|tx, _| make_finest(tx, level, start))?;
                return Ok(true);
            }
        }
        for level in Level::ALL.into_iter().rev() {
            let oldest = self.oldest(if level == Level::Day { "TRUE" } else { "rolled = 0" }, level)?;
            if let Some(start) = oldest.filter(|start| level.end_of(*start) <= newest) {
                self.step((start, level.end_of(start)), |tx| delete(tx, level, start))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Start of the oldest row of a level that is so.
    fn oldest(&self, which: &str, level: Level) -> Result<Option<i64>, StoreError> {
        Ok(self.conn.prepare_cached(&oldest(which))?.query_row([level as u8], |row| row.get(0)).optional()?)
    }

    /// Wall clock at the end of the oldest window with sample times.
    fn oldest_time(&self) -> Result<Option<i64>, StoreError> {
        let mut oldest = self.conn.prepare_cached(
            "SELECT wall_end FROM sample_time JOIN window ON id = sample_time.window ORDER BY sample_time.window LIMIT 1",
        )?;
        Ok(oldest.query_row([], |row| row.get(0)).optional()?)
    }

    fn times_bytes(&self) -> Result<u64, StoreError> {
        let mut sum = self.conn.prepare_cached("SELECT count FROM tally WHERE name = 'times' AND number = 0")?;
        let bytes: Option<i64> = sum.query_row([], |row| row.get(0)).optional()?;
        Ok(bytes.unwrap_or(0).max(0).cast_unsigned())
    }

    /// Bytes of the pages in use, without the log and without the sample times, which have a budget of their own.
    pub(super) fn counted_bytes(&self) -> Result<u64, StoreError> {
        let pages = self.pragma("page_count")?.saturating_sub(self.pragma("freelist_count")?);
        Ok(pages.saturating_mul(self.pragma("page_size")?).saturating_sub(self.times_bytes()?))
    }

    fn pragma(&self, name: &str) -> Result<u64, StoreError> {
        let n: i64 = self.conn.pragma_query_value(None, name, |row| row.get(0))?;
        Ok(n.max(0).cast_unsigned())
    }
}

/// One step down an index, for whatever is asked ([`Store::oldest`]): it is asked at each step, and rows that are not so may be many.
fn oldest(which: &str) -> String {
    let index = match which {
        "finest = 0" => "INDEXED BY rollup_detailed",
        "rolled = 0" => "INDEXED BY rollup_unrolled",
        _ => "",
    };
    format!("SELECT start FROM rollup {index} WHERE level = ?1 AND {which} ORDER BY start LIMIT 1")
}

/// Deletes the sample times of the oldest windows that ended before `end`.
fn forget_times(tx: &Transaction<'_>, end: i64) -> Result<(), StoreError> {
    let oldest = "SELECT sample_time.window FROM sample_time JOIN window ON id = sample_time.window
                  WHERE wall_end < ?1 ORDER BY sample_time.window LIMIT ?2";
    delete_times(tx, oldest, (end, TIMES))
}

/// Deletes the sample times of the windows that a query lists.
pub(super) fn delete_times(
    tx: &Transaction<'_>,
    windows: &str,
    values: impl rusqlite::Params + Clone,
) -> Result<(), StoreError> {
    let bytes: i64 = tx
        .prepare_cached(&format!("SELECT ifnull(sum(length(times)), 0) FROM sample_time WHERE window IN ({windows})"))?
        .query_row(values.clone(), |row| row.get(0))?;
    tx.prepare_cached(&format!("DELETE FROM sample_time WHERE window IN ({windows})"))?.execute(values)?;
    tally::add_times(tx, -bytes)
}

/// Makes the rows of a piece of time the finest ones: what they were made of goes.
pub(super) fn make_finest(tx: &Transaction<'_>, level: Level, start: i64) -> Result<(), StoreError> {
    delete_parts(tx, level, start)?;
    tx.prepare_cached("UPDATE rollup SET finest = 1, split = NULL WHERE level = ?1 AND start = ?2")?
        .execute((level as u8, start))?;
    Ok(())
}

/// Deletes everything that the rows of a piece of time are made of.
fn delete_parts(tx: &Transaction<'_>, level: Level, start: i64) -> Result<(), StoreError> {
    let range = (start, level.end_of(start));
    delete_times(tx, "SELECT id FROM window WHERE packed = 1 AND wall_start >= ?1 AND wall_start < ?2", range)?;
    tx.prepare_cached("DELETE FROM window WHERE packed = 1 AND wall_start >= ?1 AND wall_start < ?2")?
        .execute(range)?;
    for finer in Level::ALL.into_iter().filter(|finer| *finer < level) {
        tx.prepare_cached("DELETE FROM rollup WHERE level = ?1 AND start >= ?2 AND start < ?3")?.execute((
            finer as u8,
            range.0,
            range.1,
        ))?;
    }
    Ok(())
}

/// Deletes a piece of time for good, and takes its numbers out of the sums.
fn delete(tx: &Transaction<'_>, level: Level, start: i64) -> Result<(), StoreError> {
    let mut select = tx
        .prepare_cached(&format!("SELECT windows, directory, {COLUMNS} FROM rollup WHERE level = ?1 AND start = ?2"))?;
    let mut rows = select.query((level as u8, start))?;
    while let Some(row) = rows.next()? {
        let numbers = Numbers::read(row, 2, row.get(0)?)?;
        let groups = decode_directory(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
        tally::remove(tx, &numbers, &tally::endings(&groups))?;
        tx.prepare_cached("UPDATE meta SET value = value + ?1 WHERE key = 'garbage'")?
            .execute([i64::try_from(numbers.windows).unwrap_or(i64::MAX)])?;
    }
    delete_parts(tx, level, start)?;
    tx.prepare_cached("DELETE FROM rollup WHERE level = ?1 AND start = ?2")?.execute((level as u8, start))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::array;
    use proptest::collection::btree_set;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::super::drawing::{EPOCH, SECONDS, name_all, window};
    use super::*;
    use crate::profile::{BootNanos, Frame, LossCause, Reason, TimeRange};
    use crate::query::{Selector, flame_graph, timeline, totals};
    use crate::store::Reader;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Retention asks for the oldest row at each step: the answer takes as many steps of SQLite whether ten rows or ten thousand are not it.
    #[test]
    fn the_oldest_row_is_found_without_a_scan() {
        let (_folder, store, _) = store([]);
        let steps = |rows: i64, which: &str| {
            store.conn.execute("DELETE FROM rollup", []).unwrap();
            let insert = "WITH RECURSIVE n (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM n WHERE at < ?1)
                INSERT INTO rollup SELECT NULL, 1, at * 300000000000, 0, 97, 1 - (at = ?1), 1 - (at = ?1),
                    1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, NULL, x'', x'', NULL, 0, NULL FROM n";
            store.conn.execute(insert, [rows]).unwrap();
            let mut select = store.conn.prepare(&oldest(which)).unwrap();
            let start: i64 = select.query_row([Level::Minutes as u8], |row| row.get(0)).unwrap();
            assert_eq!(start, if which == "TRUE" { 1 } else { rows } * 300_000_000_000);
            select.get_status(rusqlite::StatementStatus::VmStep)
        };
        for which in ["finest = 0", "rolled = 0", "TRUE"] {
            assert_eq!(steps(10, which), steps(10_000, which), "{which}");
        }
    }

    /// Windows of ten seconds at these places, packed and rolled up; each with stacks of its own beside common ones.
    fn store(places: impl IntoIterator<Item = u64>) -> (TempDir, Store, u64) {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&folder.path().join("x.db")).unwrap();
        // Thousands of windows, and no power cut.
        store.conn.pragma_update(None, "synchronous", "OFF").unwrap();
        let mut windows = 0;
        for n in places {
            let mut window = window(n, &format!("web/7  main;serve x5\nw{n}/8  !main;f{n} x1"));
            window.losses.add(LossCause::RingFull, 1);
            window.taken += 1;
            let start = window.start.0;
            for row in window.processes.iter_mut().flat_map(|process| &mut process.stacks) {
                row.times = (0..row.count).map(|nth| BootNanos(start + nth * 1_000_000_000)).collect();
            }
            let unnamed = store.write_window(&window).unwrap();
            name_all(&mut store, &unnamed);
            windows += 1;
        }
        while store.tend().unwrap() {}
        (folder, store, windows)
    }

    fn reader(folder: &TempDir) -> Reader {
        Reader::open(&folder.path().join("x.db")).unwrap()
    }

    /// Samples of a range given in places of ten seconds.
    fn samples(folder: &TempDir, from: u64, to: u64) -> u64 {
        let range = TimeRange { from: at(from), to: at(to) };
        let merged = flame_graph(&mut reader(folder), range, &Selector::default(), 100).unwrap();
        let columns = timeline(&mut reader(folder), range, &Selector::default(), 100).unwrap();
        let total = merged.tree.nodes[0].total;
        assert_eq!(columns.buckets.iter().map(|bucket| bucket.samples).sum::<u64>(), total);
        total
    }

    fn at(n: u64) -> WallNanos {
        WallNanos((EPOCH + (n * SECONDS) as i64) * 1_000_000_000)
    }

    fn count(store: &Store, sql: &str) -> i64 {
        store.conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn retain_all(store: &mut Store, now: WallNanos, keep: &Keep) {
        while store.retain(now, keep).unwrap().unfinished {}
    }

    /// What is old becomes coarser and coarser; no sample is lost on the way, and any split of a range still adds up.
    #[test]
    fn the_older_the_coarser_and_nothing_is_lost() {
        let (folder, mut store, windows) = store((0..8640 * 2).step_by(60));
        let all = windows * 6;
        for keep in [
            Keep { windows: HOUR, ..Keep::default() },
            Keep { windows: HOUR, minutes: 6 * HOUR, ..Keep::default() },
            Keep { windows: HOUR, minutes: 2 * HOUR, hours: 16 * HOUR, ..Keep::default() },
        ] {
            retain_all(&mut store, at(8640 * 2), &keep);
            assert_eq!(samples(&folder, 0, 20_000), all);
            for cut in [1, 4000, 8639, 8640, 9000, 17_000, 17_275] {
                assert_eq!(samples(&folder, 0, cut) + samples(&folder, cut, 20_000), all, "{cut}");
            }
            // Young detail is still there.
            assert_eq!(samples(&folder, 17_160, 17_161), 6);
        }
        assert_eq!(count(&store, "SELECT count(*) FROM rollup WHERE level = 2 AND start < 1767312000000000000"), 0);
        let totals = totals(&mut reader(&folder)).unwrap();
        assert_eq!((totals.windows, totals.stored, totals.losses.total()), (windows, all, windows));
        assert_eq!(totals.span.unwrap().from, at(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever is kept how long: what is younger than the age is in every range that it was in, and ten-second windows can be told
        /// apart for as long as they should be.
        #[test]
        fn retention_never_drops_what_is_in_range(places in btree_set(0..17_280_u64, 1..30), hours in array::uniform4(0..60_u64),
                                                  cut in 0.0..1.0_f64) {
            let (folder, mut store, windows) = store(places.iter().copied());
            let [age, windows_age, minutes, long] = hours.map(|hours| HOUR * hours as u32);
            let keep = Keep { age: age + HOUR, windows: windows_age, minutes, hours: long, ..Keep::default() };
            let now = places.last().unwrap() + 1;
            retain_all(&mut store, at(now), &keep);
            let ago = |age: Duration| now.saturating_sub(age.as_secs() / SECONDS);
            let since = |from: u64| places.range(from..).count() as u64 * 6;
            // Of what is older than the age, days may be left.
            let day = ago(keep.age) / 8640 * 8640;
            let found = samples(&folder, day, 20_000);
            prop_assert!((since(ago(keep.age))..=since(day)).contains(&found), "{found}");
            prop_assert!(samples(&folder, 0, 20_000) <= windows * 6);
            // What is finer than the coarsest that is still wanted goes with it.
            let fine = ago(keep.windows.min(keep.minutes).min(keep.hours).min(keep.age));
            let cut = fine + ((now - fine) as f64 * cut) as u64;
            prop_assert_eq!(samples(&folder, cut, 20_000), since(cut));
        }
    }

    /// What is too old goes, with its numbers, and then what only it needed; the rest keeps its names.
    #[test]
    fn what_is_too_old_goes_for_good() {
        let (folder, mut store, windows) = store((0..8640 * 3).step_by(20));
        let keep = Keep { age: 23 * HOUR, ..Keep::default() };
        let names = "SELECT count(*) FROM location";
        let before = count(&store, names);
        retain_all(&mut store, at(8640 * 3), &keep);
        while store.tend().unwrap() {}
        let left = samples(&folder, 0, 30_000);
        // A day goes by the hour.
        assert_eq!(left, 432 * 6, "one of three days");
        let totals = totals(&mut reader(&folder)).unwrap();
        assert_eq!((totals.windows, totals.stored, totals.losses.total()), (432, left, 432));
        assert_eq!(totals.stacks.iter().map(|(_, n)| n).sum::<u64>(), left);
        assert_eq!((before, count(&store, names)), (windows as i64 + 2, 432 + 2));
        assert_eq!(count(&store, "SELECT count(*) FROM location_frame"), 432 + 2);
        assert_eq!(count(&store, "SELECT count(*) FROM process"), 433);
        let merged = flame_graph(
            &mut reader(&folder),
            TimeRange { from: at(0), to: at(30_000) },
            &Selector::default(),
            usize::MAX,
        );
        let tree = merged.unwrap().tree;
        let is_unnamed = |frame: &Frame| matches!(frame.reason, Some(Reason::Unnamed(_)));
        assert!(!tree.frames.iter().any(is_unnamed), "every name is still there");
        // Going on works: numbers go on where they were.
        let unnamed = store.write_window(&window(8640 * 3 + 5, "web/7  main;serve;new x5")).unwrap();
        assert_eq!(unnamed.len(), 1);
        assert_eq!(samples(&folder, 0, 30_000), left + 5);
    }

    /// A short age makes no long roll-ups, which would keep what is too old.
    #[test]
    fn a_short_age_is_kept_to_within_five_minutes() {
        let (folder, mut store, _) = store([]);
        let keep = Keep { age: HOUR, ..Keep::default() };
        for n in 0..1080 {
            store.write_window(&window(n, "web/7  main;serve x5")).unwrap();
            while store.tend().unwrap() {}
            retain_all(&mut store, at(n + 1), &keep);
        }
        assert!((360 * 5..=390 * 5).contains(&samples(&folder, 0, 2000)));
    }

    /// A clock that jumps years ahead deletes nothing before an hour of windows says the same.
    #[test]
    fn a_jump_of_the_clock_deletes_nothing() {
        let (folder, mut store, windows) = store(0..100);
        retain_all(&mut store, WallNanos(i64::MAX), &Keep::default());
        assert_eq!(samples(&folder, 0, 2000), windows * 6);
        let mut jumped = window(100, "web/7  main x1");
        jumped.wall_start.0 += 300_000_000_000_000_000;
        jumped.wall_end.0 += 300_000_000_000_000_000;
        store.write_window(&jumped).unwrap();
        while store.tend().unwrap() {}
        retain_all(&mut store, WallNanos(i64::MAX), &Keep::default());
        assert_eq!(samples(&folder, 0, 2000), windows * 6);
    }

    /// A call does a bounded number of steps.
    #[test]
    fn a_call_does_a_bounded_number_of_steps() {
        let (_folder, mut store, _) = store((0..8640).step_by(20));
        let keep = Keep { windows: Duration::ZERO, ..Keep::default() };
        let done = store.retain(at(10_000), &keep).unwrap();
        assert_eq!((done.steps, done.unfinished), (STEPS, true));
    }

    /// Too large a database loses detail before it loses history, never the last hour's, and says when that is not enough.
    #[test]
    fn a_large_database_loses_its_oldest_detail_first() {
        let (folder, mut store, windows) = store((0..8640 + 400).step_by(4));
        let size = store.retain(at(9040), &Keep::default()).unwrap().bytes;
        let keep = Keep { bytes: size - 200_000, ..Keep::default() };
        retain_all(&mut store, at(9040), &keep);
        assert!(store.counted_bytes().unwrap() <= keep.bytes);
        assert_eq!(samples(&folder, 0, 20_000), windows * 6);
        let keep = Keep { bytes: 1, ..Keep::default() };
        while !store.retain(at(9040), &keep).unwrap().over_size {}
        let left = samples(&folder, 0, 20_000);
        assert!((360 / 4 * 6..1000 * 6).contains(&left), "{left}");
        assert_eq!(samples(&folder, 9036, 9037), 6, "the last hour in detail");
    }

    /// When samples were taken is kept for a day, within its own bytes, and goes before anything else.
    #[test]
    fn sample_times_have_a_budget_of_their_own() {
        let (folder, mut store, windows) = store((0..8640 * 2).step_by(60));
        let rows = "SELECT count(*) FROM sample_time";
        assert_eq!(count(&store, rows), windows as i64);
        retain_all(&mut store, at(8640 * 2), &Keep::default());
        assert_eq!(count(&store, rows), 145, "a day of one window in ten minutes");
        let bytes = count(&store, "SELECT sum(length(times)) FROM sample_time");
        assert_eq!(store.times_bytes().unwrap(), bytes as u64);
        retain_all(&mut store, at(8640 * 2), &Keep { times_bytes: bytes as u64 / 2, ..Keep::default() });
        assert!(store.times_bytes().unwrap() <= bytes as u64 / 2);
        assert_eq!(samples(&folder, 0, 20_000), windows * 6);
    }

    /// Deleted space goes back to the file system, but for a little that the next windows use.
    #[test]
    fn space_is_given_back() {
        let (folder, mut store, _) = store((0..600).step_by(6));
        store.conn.execute("UPDATE rollup SET split = zeroblob(1000000) WHERE level = 1", []).unwrap();
        let size = || folder.path().join("x.db").metadata().unwrap().len();
        store.empty_log().unwrap();
        let before = size();
        for _ in 0..4 {
            store.retain(at(10_000), &Keep { windows: Duration::ZERO, ..Keep::default() }).unwrap();
        }
        store.empty_log().unwrap();
        assert!(before - size() > 10 << 20, "{before} -> {}", size());
        let page = store.pragma("page_size").unwrap();
        assert!(store.pragma("freelist_count").unwrap() * page <= 4 << 20);
        assert_eq!(store.conn.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
    }
}
