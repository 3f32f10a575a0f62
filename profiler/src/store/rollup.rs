//! Work between windows: the windows of closed five minutes are packed into one row, twelve of these into an hour, 24 hours into a day.
//!
//! Each step is one transaction: a roll-up is complete or absent, whenever the power goes. Nothing remembers how far the work
//! has come but the rows themselves (`window.packed`, `rollup.rolled`), so a step may be asked for at any time.
//!
//! What is closed is decided by the windows, not by a clock: five minutes are closed when the window written last ended outside
//! them. When the wall clock steps back, windows come into pieces that are rolled up already; these then grow, on every level.
//!
//! An hour takes the samples of its five minutes over, and says which were whose: see [`super::rollup_row`].
//!
//! Invariants: a roll-up holds exactly the packed windows whose wall-clock start lies in its time, of its series. Where
//! a piece of time has a row of one level, everything packed in it is in rows of that level.

use std::rc::Rc;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Transaction, params_from_iter};

use super::codec::Profile;
use super::columns::Effort;
use super::level::Level;
use super::merge::{merge, places};
use super::numbers::{ALL_COLUMNS, COLUMNS, Numbers};
use super::rollup_row::{LastRows, RollupRow, give, take_back};
use super::series::{HZ, SeriesId};
use super::split::{Share, Split};
use super::{Store, StoreError, hour_leaf, retention};

/// What is added to a roll-up.
#[derive(Default)]
struct Sum {
    numbers: Numbers,
    profile: Profile,
}

impl Sum {
    fn add(&mut self, numbers: &Numbers, profile: Profile) {
        self.numbers.add(numbers);
        self.profile = match self.profile.groups.is_empty() {
            true => profile,
            false => merge(&[std::mem::take(&mut self.profile), profile]),
        };
    }
}

impl Store {
    /// One step of the work that waits: short, durable, complete. `true` when there was something to do, and there may be more.
    ///
    /// # Errors
    /// Anything SQLite reports; nothing of the step is stored then, and it may be tried again.
    pub fn tend(&mut self) -> Result<bool, StoreError> {
        let Some(now) = self.last_end()? else { return Ok(false) };
        if let Some(start) = self.unpacked(now)? {
            self.step((start, Level::Minutes.end_of(start)), |tx| pack(tx, start))?;
            return Ok(true);
        }
        for level in [Level::Hour, Level::Day].into_iter().filter(|level| Some(*level) <= self.coarsest) {
            if let Some(start) = self.unrolled(level, now)? {
                self.step((start, level.end_of(start)), |tx| roll_up(tx, level, start))?;
                return Ok(true);
            }
        }
        self.collect_garbage()
    }

    /// Wall clock at the end of the window written last.
    pub(super) fn last_end(&self) -> Result<Option<i64>, StoreError> {
        let mut last = self.conn.prepare_cached("SELECT wall_end FROM window ORDER BY id DESC LIMIT 1")?;
        Ok(last.query_row([], |row| row.get(0)).optional()?)
    }

    /// The oldest five minutes with windows to pack, but for those that `now` lies in.
    fn unpacked(&self, now: i64) -> Result<Option<i64>, StoreError> {
        let open = Level::Minutes.start_of(now);
        let mut oldest = self.conn.prepare_cached(
            "SELECT wall_start FROM window WHERE packed = 0 AND (wall_start < ?1 OR wall_start >= ?2)
             ORDER BY wall_start LIMIT 1",
        )?;
        let oldest: Option<i64> = oldest.query_row((open, Level::Minutes.end_of(open)), |row| row.get(0)).optional()?;
        Ok(oldest.map(|start| Level::Minutes.start_of(start)))
    }

    /// The oldest piece of time of `level` with finer rows that are in no row of that level, but for the one that `now` lies in.
    fn unrolled(&self, level: Level, now: i64) -> Result<Option<i64>, StoreError> {
        let Some(finer) = level.finer() else { return Ok(None) };
        let open = level.start_of(now);
        let mut oldest = self.conn.prepare_cached(
            "SELECT start FROM rollup WHERE rolled = 0 AND level = ?1 AND (start < ?2 OR start >= ?3) ORDER BY start LIMIT 1",
        )?;
        let oldest: Option<i64> =
            oldest.query_row((finer as u8, open, level.end_of(open)), |row| row.get(0)).optional()?;
        Ok(oldest.map(|start| level.start_of(start)))
    }
}

/// A window on its series into a roll-up.
struct Fresh {
    id: i64,
    series: SeriesId,
    numbers: Numbers,
    profile: Profile,
}

/// Packs the windows of the five minutes that begin at `start`.
fn pack(tx: &Transaction<'_>, start: i64) -> Result<(), StoreError> {
    let mut fresh = Vec::new();
    let mut select = tx.prepare_cached(&format!(
        "SELECT id, series, directory, stacks, {COLUMNS} FROM window JOIN fresh ON fresh.window = id
         WHERE packed = 0 AND wall_start >= ?1 AND wall_start < ?2 ORDER BY id"
    ))?;
    let mut rows = select.query((start, Level::Minutes.end_of(start)))?;
    while let Some(row) = rows.next()? {
        let blob = |at: usize| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
        fresh.push(Fresh {
            id: row.get(0)?,
            series: row.get(1)?,
            profile: Profile::decode(blob(2)?, blob(3)?)?,
            numbers: Numbers::read(row, 4, 1)?,
        });
    }
    fresh.sort_by_key(|window| (window.series, window.id));
    for windows in fresh.chunk_by(|a, b| a.series == b.series) {
        pack_series(tx, start, windows[0].series, windows)?;
    }
    Ok(())
}

fn pack_series(tx: &Transaction<'_>, start: i64, series: SeriesId, windows: &[Fresh]) -> Result<(), StoreError> {
    let known = Known::find(tx, Level::Minutes, start, series)?;
    let mut sum = Sum {
        profile: merge(&windows.iter().map(|window| window.profile.clone()).collect::<Vec<_>>()),
        ..Sum::default()
    };
    windows.iter().for_each(|window| sum.numbers.add(&window.numbers));
    let (mut whole, mut parts) = (sum.profile.clone(), Some(Vec::new()));
    if let Some(known) = &known {
        whole = merge(&[known.row.whole.clone(), whole]);
        let moved = places(&known.row.whole, &whole);
        parts = known.row.split.as_ref().map(|split| split.shares(&known.row.whole));
        for place in parts.iter_mut().flatten().flat_map(|(_, share)| &mut share.places) {
            *place = moved[*place as usize];
        }
    }
    if let Some(parts) = &mut parts {
        parts.extend(windows.iter().map(|Fresh { id, profile, .. }| {
            (*id, Share { places: places(profile, &whole), counts: profile.counts.clone() })
        }));
    }
    let split = parts.map(|parts| Split::new(&whole, parts)).transpose()?;
    let mut numbers = known.as_ref().map(|known| known.numbers.clone()).unwrap_or_default();
    numbers.add(&sum.numbers);
    let finest = known.as_ref().is_some_and(|known| known.finest);
    write(
        tx,
        Level::Minutes,
        start,
        series,
        &Row { numbers: &numbers, profile: &whole, split: split.as_ref(), finest },
    )?;
    for window in windows {
        tx.prepare_cached("DELETE FROM fresh WHERE window = ?1")?.execute([window.id])?;
        // Where windows cannot be told apart any more, a late one cannot be either.
        let sql = match finest {
            false => "UPDATE window SET packed = 1 WHERE id = ?1",
            true => "DELETE FROM window WHERE id = ?1",
        };
        if finest {
            retention::delete_times(tx, "SELECT ?1", [window.id])?;
        }
        tx.prepare_cached(sql)?.execute([window.id])?;
    }
    lift(tx, Level::Minutes, start, series, &sum)
}

/// Sums up the rows of the next finer level in the piece of time of `level` that begins at `start`.
fn roll_up(tx: &Transaction<'_>, level: Level, start: i64) -> Result<(), StoreError> {
    let Some(finer) = level.finer() else { return Ok(()) };
    let mut series = tx.prepare_cached(
        "SELECT DISTINCT series FROM rollup WHERE level = ?1 AND start >= ?2 AND start < ?3 AND rolled = 0",
    )?;
    let series = series.query_map((finer as u8, start, level.end_of(start)), |row| row.get(0))?;
    for series in series.collect::<Result<Vec<SeriesId>, _>>()? {
        let (mut sum, mut parts) = (Sum::default(), Vec::new());
        let mut select = tx.prepare_cached(&format!(
            "SELECT windows, id, directory, stacks, {COLUMNS} FROM rollup
             WHERE level = ?1 AND start >= ?2 AND start < ?3 AND series = ?4 AND rolled = 0 ORDER BY start"
        ))?;
        let mut rows = select.query((finer as u8, start, level.end_of(start), series))?;
        while let Some(row) = rows.next()? {
            let blob = |at: usize| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
            let profile = Profile::decode(blob(2)?, blob(3)?)?;
            if level == Level::Hour {
                parts.push((row.get(1)?, profile.clone()));
            }
            sum.add(&Numbers::read(row, 4, row.get(0)?)?, profile);
        }
        // A row that grows is the sum of more than these.
        let is_new = grow(tx, level, start, series, &sum)?;
        if is_new && level == Level::Hour {
            give(tx, (level, start, series), &sum.profile, parts)?;
        }
        tx.prepare_cached(
            "UPDATE rollup SET rolled = 1 WHERE level = ?1 AND start >= ?2 AND start < ?3 AND series = ?4",
        )?
        .execute((finer as u8, start, level.end_of(start), series))?;
        lift(tx, level, start, series, &sum)?;
    }
    Ok(())
}

/// Adds what was added to a row also to the coarser ones, where these are there already.
fn lift(tx: &Transaction<'_>, level: Level, start: i64, series: SeriesId, sum: &Sum) -> Result<(), StoreError> {
    let Some(coarser) = level.coarser() else { return Ok(()) };
    let above = coarser.start_of(start);
    let mut is_there = tx.prepare_cached("SELECT 1 FROM rollup WHERE level = ?1 AND start = ?2")?;
    let mut any = false;
    // A day that is there needs its hours, also one that nobody had sampled in before.
    for level in Level::ALL.into_iter().filter(|level| *level >= coarser) {
        any |= is_there.exists((level as u8, level.start_of(start)))?;
    }
    if !any {
        return Ok(());
    }
    grow(tx, coarser, above, series, sum)?;
    tx.prepare_cached("UPDATE rollup SET rolled = 1 WHERE level = ?1 AND start = ?2 AND series = ?3")?.execute((
        level as u8,
        start,
        series,
    ))?;
    lift(tx, coarser, above, series, sum)
}

/// Adds to a row of an hour or a day, or makes it: `true` when it is new and may be split.
fn grow(tx: &Transaction<'_>, level: Level, start: i64, series: SeriesId, sum: &Sum) -> Result<bool, StoreError> {
    let Some(known) = Known::find(tx, level, start, series)? else {
        // A piece of time is the finest one for all series or for none.
        let finest = tx
            .prepare_cached("SELECT ifnull(max(finest), 0) FROM rollup WHERE level = ?1 AND start = ?2")?
            .query_row((level as u8, start), |row| row.get(0))?;
        write(tx, level, start, series, &Row { numbers: &sum.numbers, profile: &sum.profile, split: None, finest })?;
        return Ok(!finest);
    };
    take_back(tx, &known.row)?;
    let mut numbers = known.numbers;
    numbers.add(&sum.numbers);
    let profile = merge(&[known.row.whole.clone(), sum.profile.clone()]);
    write(tx, level, start, series, &Row { numbers: &numbers, profile: &profile, split: None, finest: known.finest })?;
    Ok(false)
}

/// A roll-up that is there already.
struct Known {
    finest: bool,
    numbers: Numbers,
    row: Rc<RollupRow>,
}

impl Known {
    fn find(tx: &Transaction<'_>, level: Level, start: i64, series: SeriesId) -> Result<Option<Self>, StoreError> {
        let mut select = tx.prepare_cached(&format!(
            "SELECT finest, windows, {COLUMNS} FROM rollup
             WHERE level = ?1 AND start = ?2 AND series = ?3"
        ))?;
        let mut rows = select.query((level as u8, start, series))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (finest, numbers) = (row.get(0)?, Numbers::read(row, 2, row.get(1)?)?);
        Ok(LastRows::default().find(tx, level, start, series)?.map(|row| Self { finest, numbers, row }))
    }
}

/// What is written of a roll-up.
struct Row<'a> {
    numbers: &'a Numbers,
    profile: &'a Profile,
    split: Option<&'a Split>,
    finest: bool,
}

fn write(tx: &Transaction<'_>, level: Level, start: i64, series: SeriesId, row: &Row<'_>) -> Result<(), StoreError> {
    let own: [Value; 8] = [
        i64::from(level as u8).into(),
        start.into(),
        i64::from(series.0).into(),
        row.finest.into(),
        i64::try_from(row.numbers.windows).unwrap_or(i64::MAX).into(),
        row.profile.directory(Effort::Much).into(),
        row.profile.entries(Effort::Much).into(),
        row.split.map_or(Value::Null, |split| split.encode().into()),
    ];
    tx.prepare_cached(&format!(
        "INSERT INTO rollup (level, start, series, hz, finest, windows, directory, stacks, split, {ALL_COLUMNS})
         VALUES (?, ?, ?, {HZ}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET windows = excluded.windows, directory = excluded.directory, stacks = excluded.stacks,
            split = excluded.split, wall_end = excluded.wall_end, length = excluded.length, cpus = excluded.cpus,
            busy = excluded.busy, idle = excluded.idle, filtered = excluded.filtered, taken = excluded.taken,
            stored = excluded.stored, lost = excluded.lost, incomplete = excluded.incomplete, losses = excluded.losses,
            missed = excluded.missed, misses = excluded.misses"
    ))?
    .execute(params_from_iter(own.into_iter().chain(row.numbers.values())))?;
    if level == Level::Hour {
        hour_leaf::write(tx, start, series, row.profile)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tempfile::TempDir;

    use super::super::drawing::{EPOCH, SECONDS, window};
    use super::*;
    use crate::profile::{TimeRange, WallNanos};
    use crate::query::{Selector, flame_graph, totals};
    use crate::store::Reader;

    fn store() -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&folder.path().join("x.db")).unwrap();
        // Thousands of windows, and no power cut.
        store.conn.pragma_update(None, "synchronous", "OFF").unwrap();
        (folder, store)
    }

    /// Windows that begin at these places of ten seconds each.
    fn write(store: &mut Store, places: impl IntoIterator<Item = u64>) {
        for n in places {
            store.write_window(&window(n, &format!("web/7  main;serve x5\ndb/{}  !main x1", n % 7))).unwrap();
        }
    }

    fn tend(store: &mut Store) {
        while store.tend().unwrap() {}
    }

    fn rows(store: &Store, sql: &str) -> Vec<i64> {
        let mut select = store.conn.prepare(sql).unwrap();
        select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn by_level(store: &Store) -> [i64; 3] {
        Level::ALL.map(|level| rows(store, &format!("SELECT count(*) FROM rollup WHERE level = {}", level as u8))[0])
    }

    /// Samples in a range given in places of ten seconds (nanoseconds, of several rates), and in the ledger.
    fn samples(folder: &TempDir, from: u64, to: u64) -> (u64, u64) {
        let wall = |n: u64| WallNanos((EPOCH + (n * SECONDS) as i64) * 1_000_000_000);
        let mut reader = Reader::open(&folder.path().join("x.db")).unwrap();
        let range = TimeRange { from: wall(from), to: wall(to) };
        let merged = flame_graph(&mut reader, range, &Selector::default(), 100).unwrap();
        (merged.tree.nodes[0].total, totals(&mut reader).unwrap().stored)
    }

    /// Only what is over is packed: five minutes have 30 windows, an hour 12 rows, a day 24.
    #[test]
    fn closed_pieces_of_time_are_rolled_up() {
        let (folder, mut store) = store();
        write(&mut store, 0..29);
        tend(&mut store);
        assert_eq!(by_level(&store), [0, 0, 0]);
        write(&mut store, 29..30);
        tend(&mut store);
        assert_eq!(by_level(&store), [1, 0, 0]);
        assert_eq!(rows(&store, "SELECT count(*) FROM fresh"), [0]);
        write(&mut store, (30..8640).step_by(10).chain([8640]));
        tend(&mut store);
        assert_eq!(by_level(&store), [288, 24, 1]);
        assert_eq!(rows(&store, "SELECT count(*) FROM rollup WHERE rolled = 0"), [1], "the day");
        assert_eq!(rows(&store, "SELECT windows FROM rollup WHERE level = 3"), [30 + 861]);
        assert_eq!(samples(&folder, 0, 10_000), (892 * 6, 892 * 6));
        assert_eq!(samples(&folder, 7, 8640), (23 * 6 + 861 * 6, 892 * 6));
    }

    /// When the wall clock steps back, windows come into time that is rolled up on all levels: they are in all of them then, and
    /// each counts once. Windows of another rate come in rows of their own.
    #[test]
    fn late_windows_grow_every_level() {
        let (folder, mut store) = store();
        write(&mut store, (0..17_280).step_by(30));
        tend(&mut store);
        let before = by_level(&store);
        for (nth, hz) in [(0, 100), (1, 100), (2, 19)] {
            let mut late = window(45, "web/7  main;other x3");
            late.start.0 += 1_000_000_000_000_000 + nth * 100_000_000_000;
            late.end.0 += 1_000_000_000_000_000 + nth * 100_000_000_000;
            late.hz = hz;
            store.write_window(&late).unwrap();
        }
        // At 100 Hz, and three at 19.
        let late = 6 * 10_000_000 + 3 * (1_000_000_000 / 19);
        assert_eq!(samples(&folder, 0, 20_000).0, 576 * 6 * 10_000_000 + late);
        // The clock has come back.
        write(&mut store, [17_310]);
        tend(&mut store);
        assert_eq!(
            by_level(&store),
            [before[0] + 1 + 1, before[1] + 2, before[2] + 2],
            "what was open, and another rate"
        );
        assert_eq!(samples(&folder, 0, 20_000), (577 * 6 * 10_000_000 + late, 577 * 6 + 9));
        assert_eq!(samples(&folder, 40, 50), (late, 577 * 6 + 9));
        assert_eq!(
            rows(&store, "SELECT sum(stored) FROM rollup WHERE level = 3 AND start < 1767312000000000000"),
            [288 * 6 + 9]
        );
    }

    /// A step that fails at any point leaves everything as it was.
    #[test]
    fn a_step_is_complete_or_absent() {
        let (folder, mut store) = store();
        write(&mut store, (0..8640).step_by(60).chain([8640]));
        let (mut steps, mut failures) = (0, 0);
        loop {
            let before = (by_level(&store), rows(&store, "SELECT count(*) FROM fresh"));
            let asked = Arc::new(AtomicU32::new(0));
            // One answer is no, somewhere in the step.
            let (count, stop) = (Arc::clone(&asked), 11 + steps * 17 % 500);
            store.conn.progress_handler(1, Some(move || count.fetch_add(1, Relaxed) == stop)).unwrap();
            let result = store.tend();
            store.conn.progress_handler(1, None::<fn() -> bool>).unwrap();
            match result {
                Ok(true) => {}
                Ok(false) => break,
                Err(StoreError::Interrupted) => {
                    // It may be complete and report an error all the same: the no came after the commit.
                    if before == (by_level(&store), rows(&store, "SELECT count(*) FROM fresh")) {
                        assert!(store.tend().unwrap());
                        failures += 1;
                    }
                }
                Err(other) => panic!("{other:?}"),
            }
            steps += 1;
            if steps % 50 == 0 {
                assert_eq!(samples(&folder, 0, 10_000), (145 * 6, 145 * 6));
            }
        }
        assert!(failures > 100, "{failures} of {steps}");
        assert_eq!(by_level(&store), [144, 24, 1]);
        assert_eq!(samples(&folder, 0, 10_000), (145 * 6, 145 * 6));
    }
}
