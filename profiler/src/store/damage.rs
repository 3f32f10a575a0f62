//! Damage that the writer meets in a row of ours while SQLite has nothing against the file: the row is set aside, all others stay.
//!
//! Blobs end with a check, so a bit that a disk turned is noticed when windows are packed, rolled up, deleted or collected. The step that met it
//! is given up; every row of its time is looked at, and what cannot be read is made to say so:
//!
//! - a window, or a roll-up whose parts are gone, loses its samples: `stored` becomes `lost`, cause `damaged`, and it is empty from then on;
//! - a day whose hours are there, or an hour whose five minutes have samples of their own, is deleted, and made anew from them;
//! - a roll-up that can be read, but not taken apart, keeps its samples: it is the finest of its time from then on.
//!
//! Invariant: in every row taken = stored + lost, and the sums of all rows say so too.

use std::fmt;

use rusqlite::Transaction;

use super::codec::Profile;
use super::columns::Effort;
use super::level::Level;
use super::rollup_row::Raw;
use super::series::SeriesId;
use super::{Store, StoreError, hour_leaf, retention, tally};
use crate::profile::LossCause;

/// All of time. Of what is in coarser rows too nobody asks then.
pub(super) const ALL_TIME: (i64, i64) = (i64::MIN, i64::MAX);

/// A row that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAside {
    level: Option<Level>,
    start: i64,
    /// Samples that cannot be read any more.
    pub samples: u64,
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = name(self.level, self.start);
        match self.samples {
            0 => write!(f, "{what} lost its details to damage of the file; no sample was lost"),
            n => write!(f, "{what} is damaged: {n} samples cannot be read any more"),
        }
    }
}

/// What people know a row by.
pub(super) fn name(level: Option<Level>, start: i64) -> String {
    let what = match level {
        None => "the window",
        Some(Level::Minutes) => "five minutes",
        Some(Level::Hour) => "the hour",
        Some(Level::Day) => "the day",
    };
    let start =
        jiff::Timestamp::from_nanosecond(start.into()).map_or_else(|_| format!("{start} ns"), |time| time.to_string());
    format!("{what} from {start}")
}

impl Store {
    /// The rows that were set aside since this was asked last.
    pub fn take_set_aside(&mut self) -> Vec<SetAside> {
        std::mem::take(&mut self.aside)
    }

    /// Does a step of tidying up in one transaction. If it meets a row that no writer writes, the damaged rows of this time are set aside
    /// instead, and the step may be tried again; if there are none, the damage is elsewhere, and the error says what it met.
    pub(super) fn step(
        &mut self,
        (from, to): (i64, i64),
        work: impl FnOnce(&Transaction<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self.transact(|tx, _| work(tx)) {
            Err(StoreError::BadRow(bad)) => {
                let found = self.transact(|tx, _| set_aside(tx, from, to))?;
                if found.is_empty() {
                    return Err(StoreError::BadRow(bad));
                }
                self.aside.extend(found);
                Ok(())
            }
            done => done,
        }
    }
}

fn set_aside(tx: &Transaction<'_>, from: i64, to: i64) -> Result<Vec<SetAside>, StoreError> {
    let mut found = windows(tx, from, to)?;
    let all_time = (from, to) == ALL_TIME;
    // Hours before the five minutes whose samples they have.
    for level in Level::ALL.into_iter().rev() {
        let mut select = tx.prepare_cached(
            "SELECT start, series, rolled FROM rollup WHERE level = ?1 AND start >= ?2 AND start < ?3 AND rolled <= ?4
             ORDER BY start",
        )?;
        let rows = select.query_map((level as u8, level.start_of(from), to, !all_time), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        for (start, series, rolled) in rows.collect::<Result<Vec<(i64, SeriesId, bool)>, _>>()? {
            if let Some(samples) = roll_up(tx, level, start, series, rolled)? {
                found.push(SetAside { level: Some(level), start, samples });
            }
        }
    }
    if found.iter().any(|row| row.samples > 0) {
        tally::count_endings(tx)?;
    }
    Ok(found)
}

/// Empties windows that cannot be read.
fn windows(tx: &Transaction<'_>, from: i64, to: i64) -> Result<Vec<SetAside>, StoreError> {
    let mut select = tx.prepare_cached(
        "SELECT id, wall_start, stored, directory, stacks FROM window JOIN fresh ON fresh.window = id
         WHERE packed = 0 AND wall_start >= ?1 AND wall_start < ?2",
    )?;
    let (mut rows, mut found) = (select.query((from, to))?, Vec::new());
    while let Some(row) = rows.next()? {
        let blob = |at: usize| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
        if Profile::decode(blob(3)?, blob(4)?).is_err() {
            found.push((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.max(0).cast_unsigned()));
        }
    }
    drop(rows);
    let nothing = Profile::default();
    let blobs = (nothing.directory(Effort::Little), nothing.entries(Effort::Little));
    for (id, _, samples) in &found {
        tx.prepare_cached("UPDATE fresh SET directory = ?2, stacks = ?3 WHERE window = ?1")?
            .execute((id, &blobs.0, &blobs.1))?;
        retention::delete_times(tx, "SELECT ?1", [id])?;
        lose(tx, "window", *id)?;
        tally::set_aside(tx, *samples)?;
    }
    Ok(found.into_iter().map(|(_, start, samples)| SetAside { level: None, start, samples }).collect())
}

/// Looks at a roll-up; the samples that were lost, if it was damaged.
fn roll_up(
    tx: &Transaction<'_>,
    level: Level,
    start: i64,
    series: SeriesId,
    rolled: bool,
) -> Result<Option<u64>, StoreError> {
    let Some(raw) = Raw::read(tx, level, start, series)? else { return Ok(None) };
    let id = raw.id;
    // What has given its samples is as sound as the row that has them.
    if raw.has_given() {
        return Ok(None);
    }
    let whole = raw.is_whole();
    match raw.open(None) {
        Ok(_) => return Ok(None),
        Err(StoreError::BadRow(_)) => {}
        Err(error) => return Err(error),
    }
    if whole {
        retention::make_finest(tx, level, start)?;
        return Ok(Some(0));
    }
    if !rolled && has_parts(tx, level, start, series)? {
        tx.prepare_cached("DELETE FROM rollup WHERE id = ?1")?.execute([id])?;
        let finer = level.finer().map(|finer| finer as u8);
        tx.prepare_cached(
            "UPDATE rollup SET rolled = 0 WHERE level = ?1 AND start >= ?2 AND start < ?3 AND series = ?4",
        )?
        .execute((finer, start, level.end_of(start), series))?;
        return Ok(Some(0));
    }
    retention::make_finest(tx, level, start)?;
    let samples: i64 =
        tx.prepare_cached("SELECT stored FROM rollup WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
    let samples = samples.max(0).cast_unsigned();
    let nothing = Profile::default();
    tx.prepare_cached("UPDATE rollup SET directory = ?2, stacks = ?3 WHERE id = ?1")?.execute((
        id,
        nothing.directory(Effort::Much),
        nothing.entries(Effort::Much),
    ))?;
    if level == Level::Hour {
        hour_leaf::write(tx, start, series, &nothing)?;
    }
    lose(tx, "rollup", id)?;
    // A coarser row still has them otherwise.
    if !rolled {
        tally::set_aside(tx, samples)?;
    }
    Ok(Some(samples))
}

/// Whether everything that a row is made of is there, with samples of its own.
fn has_parts(tx: &Transaction<'_>, level: Level, start: i64, series: SeriesId) -> Result<bool, StoreError> {
    let Some(finer) = level.finer() else { return Ok(false) };
    let mut select = tx.prepare_cached(
        "SELECT count(*) > 0 AND sum(stored) = (SELECT stored FROM rollup WHERE level = ?5 AND start = ?2 AND series = ?4)
            AND min(length(stacks)) > 0
         FROM rollup WHERE level = ?1 AND start >= ?2 AND start < ?3 AND series = ?4",
    )?;
    let range = (finer as u8, start, level.end_of(start), series, level as u8);
    Ok(select.query_row(range, |row| row.get::<_, Option<bool>>(0))?.unwrap_or(false))
}

/// The samples of a row become lost ones.
fn lose(tx: &Transaction<'_>, table: &str, id: i64) -> Result<(), StoreError> {
    // The cause is a key of the JSON object in `losses`.
    let key = format!("$.\"{}\"", LossCause::Damaged as u8);
    tx.prepare_cached(&format!(
        "UPDATE {table} SET losses = json_set(ifnull(losses, '{{}}'), ?2, ifnull(json_extract(losses, ?2), 0) + stored),
            lost = lost + stored, stored = 0, incomplete = 0 WHERE id = ?1 AND stored > 0"
    ))?
    .execute((id, key))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::path::Path;

    use rusqlite::Connection;

    use super::super::drawing::{name_all, window};
    use super::*;
    use crate::profile::{TimeRange, WallNanos};
    use crate::query::{Selector, flame_graph, totals};
    use crate::store::Reader;
    use crate::store::upkeep::check;

    /// Turns a bit of a blob where it lies in the file, as a disk does; the samples of its row.
    fn damage(path: &Path, select: &str) -> u64 {
        let read = || -> (Vec<u8>, i64) {
            let conn = Connection::open(path).unwrap();
            conn.query_row(select, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        let (blob, stored) = read();
        let mut file = std::fs::read(path).unwrap();
        // A long blob is cut up by pages, and other rows or free pages may have the same bytes.
        for part in blob[blob.len() / 3..].chunks_exact(32.min(blob.len() / 2)) {
            for at in 0..file.len() - part.len() {
                if file[at..].starts_with(part) {
                    file[at] ^= 0x14;
                    std::fs::write(path, &file).unwrap();
                    if read().0 != blob {
                        return stored.cast_unsigned();
                    }
                    file[at] ^= 0x14;
                }
            }
        }
        panic!("{select}: not found in the file");
    }

    fn open(path: &Path) -> Store {
        let (store, aside) = Store::open(path).unwrap();
        assert_eq!(aside, None, "the file is sound as such");
        // Many windows, and no power cut.
        store.conn.pragma_update(None, "synchronous", "OFF").unwrap();
        store
    }

    fn write(store: &mut Store, n: u64) {
        let some: Vec<_> =
            (0..60).map(|at| format!("w{at}/{at}  main;f{at};g{} x{}", n * at % 97, 1 + n * at % 13)).collect();
        let unnamed = store.write_window(&window(n, &some.join("\n"))).unwrap();
        name_all(store, &unnamed);
        while store.tend().unwrap() {}
    }

    /// A byte of a window, of five minutes and of an hour goes bad on the disk: writing, packing and rolling up go on, what is lost is
    /// counted and named, and everything else is there.
    #[test]
    fn a_damaged_blob_costs_its_own_samples() {
        // Two hours and some minutes, a window a minute: the last five minutes are not packed, the last hour not rolled up.
        for (select, last, place) in [
            (
                "SELECT stacks, stored FROM fresh JOIN window ON id = fresh.window ORDER BY id LIMIT 1",
                820,
                "the window from ",
            ),
            (
                "SELECT stacks, stored FROM rollup WHERE level = 1 AND length(stacks) > 0 LIMIT 1",
                1200,
                "five minutes from ",
            ),
            ("SELECT stacks, stored FROM rollup WHERE level = 2 LIMIT 1", 24 * 360 + 30, "the hour from "),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.db");
            let mut store = open(&path);
            (0..790).step_by(6).for_each(|n| write(&mut store, n));
            store.close().unwrap();
            let lost = damage(&path, select);
            let mut store = open(&path);
            [792, last].into_iter().for_each(|n| write(&mut store, n));
            let found = store.take_set_aside();
            assert!(found.len() == 1 && found[0].samples == lost && lost > 0, "{select}: {found:?}, not {lost}");
            assert!(found[0].to_string().starts_with(place), "{}", found[0]);
            let mut reader = Reader::open(&path).unwrap();
            let sums = totals(&mut reader).unwrap();
            assert_eq!((sums.taken, sums.losses.0.get(&LossCause::Damaged)), (sums.stored + lost, Some(&lost)));
            let range = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
            let merged = flame_graph(&mut reader, range, &Selector::default(), 100).unwrap();
            assert_eq!(merged.tree.nodes[0].total, sums.stored);
            store.close().unwrap();
            let told = check(&path, &mut |_, _| {}).unwrap();
            assert!(told.len() == 1 && told[0].starts_with(place) && told[0].contains(&lost.to_string()), "{told:?}");
        }
    }

    /// A day that goes bad is made anew from its hours; a roll-up that cannot be taken apart keeps its samples.
    #[test]
    fn what_can_be_made_anew_costs_nothing() {
        for (column, level) in [("directory", 3), ("split", 2)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.db");
            let mut store = open(&path);
            (0..25 * 360).step_by(90).for_each(|n| write(&mut store, n));
            store.close().unwrap();
            damage(&path, &format!("SELECT {column}, stored FROM rollup WHERE level = {level} LIMIT 1"));
            let mut store = open(&path);
            // The clock has stepped back: the day, its first hour and their parts grow.
            let mut late = window(25 * 360, "late/1  main x3");
            (late.wall_start, late.wall_end) = (window(3, "").wall_start, window(3, "").wall_end);
            store.write_window(&late).unwrap();
            write(&mut store, 25 * 360 + 60);
            let found = store.take_set_aside();
            assert!(found.len() == 1 && found[0].samples == 0, "{column}: {found:?}");
            let mut reader = Reader::open(&path).unwrap();
            let sums = totals(&mut reader).unwrap();
            assert_eq!((sums.taken, sums.losses.total()), (sums.stored, 0));
            let range = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
            let merged = flame_graph(&mut reader, range, &Selector::default(), 100).unwrap();
            assert_eq!(merged.tree.nodes[0].total, sums.stored, "{column}");
            store.close().unwrap();
            assert_eq!(check(&path, &mut |_, _| {}).unwrap(), Vec::<String>::new(), "{column}");
        }
    }
}
