//! Whether every blob says what the plain columns beside it say: all samples that were stored, and when they were taken.

use rusqlite::{Connection, Row};

use super::check::FINDINGS;
use crate::store::codec::Profile;
use crate::store::level::Level;
use crate::store::rollup_row::LastRows;
use crate::store::{StoreError, damage, stack_page, times};

/// The rows that [`check`] looks at.
pub(super) const ROWS: &str =
    "SELECT (SELECT count(*) FROM fresh) + (SELECT count(*) FROM rollup) + (SELECT count(*) FROM stack_page)";

/// Reads every blob; tells what is damaged, and whose it is. `done` is called for each row.
pub(super) fn check(conn: &Connection, mut done: impl FnMut()) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let mut see = |what: &dyn Fn() -> String, result: Result<(), StoreError>| -> Result<bool, StoreError> {
        match result {
            Ok(()) => {}
            Err(StoreError::BadRow(bad)) => found.push(format!("{} is damaged: {bad}", what())),
            Err(error) if error.is_damage() => found.push(format!("{} cannot be read: {error}", what())),
            Err(error) => return Err(error),
        }
        done();
        Ok(found.len() < FINDINGS)
    };
    let mut pages = conn.prepare("SELECT page, nodes FROM stack_page")?;
    let mut rows = pages.query([])?;
    while let Some(row) = rows.next()? {
        let page: u32 = row.get(0)?;
        if !see(&|| format!("page {page} of the stacks"), page_of(page, row))? {
            return Ok(found);
        }
    }
    let mut fresh = conn.prepare(
        "SELECT id, wall_start, stored, directory, stacks, times FROM fresh JOIN window ON id = fresh.window
         LEFT JOIN sample_time ON sample_time.window = id ORDER BY id",
    )?;
    let mut rows = fresh.query([])?;
    while let Some(row) = rows.next()? {
        let (id, start): (i64, i64) = (row.get(0)?, row.get(1)?);
        if !see(&|| format!("window {id}, {}", damage::name(None, start)), window(row))? {
            return Ok(found);
        }
    }
    // Five minutes after the hour that may have their samples.
    let mut rollups = conn.prepare(
        "SELECT level, start, series, stored FROM rollup ORDER BY start / 3600000000000, series, level DESC, start",
    )?;
    let mut rows = rollups.query([])?;
    let mut last = LastRows::default();
    while let Some(row) = rows.next()? {
        let (level, start): (u8, i64) = (row.get(0)?, row.get(1)?);
        let level = Level::ALL.into_iter().find(|other| *other as u8 == level);
        if !see(&|| damage::name(level, start), rollup(conn, &mut last, row))? {
            return Ok(found);
        }
    }
    Ok(found)
}

fn page_of(page: u32, row: &Row<'_>) -> Result<(), StoreError> {
    stack_page::decode(page, row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
    Ok(())
}

fn window(row: &Row<'_>) -> Result<(), StoreError> {
    let blob = |at: usize| row.get_ref(at)?.as_blob_or_null().map_err(rusqlite::Error::from);
    let profile = Profile::decode(blob(3)?.unwrap_or_default(), blob(4)?.unwrap_or_default())?;
    if let Some(times) = blob(5)? {
        times::decode(times, &profile.counts, |_, _| {})?;
    }
    adds_up(&profile.counts, row.get(2)?)
}

/// A roll-up, its parts, and the times of its windows' samples.
fn rollup(conn: &Connection, last: &mut LastRows, row: &Row<'_>) -> Result<(), StoreError> {
    let level = Level::ALL.into_iter().find(|level| row.get(0).is_ok_and(|n: u8| *level as u8 == n));
    let level = level.ok_or(StoreError::BadRow("a roll-up of an unknown length"))?;
    let found = last.find(conn, level, row.get(1)?, row.get(2)?)?;
    let rollup = found.ok_or(StoreError::BadRow("a row that is not there"))?;
    adds_up(&rollup.whole.counts, row.get(3)?)?;
    let Some(split) = rollup.split.as_ref().filter(|_| level == Level::Minutes) else { return Ok(()) };
    let mut select = conn.prepare_cached(
        "SELECT stored, times FROM window LEFT JOIN sample_time ON sample_time.window = id WHERE id = ?1 AND packed = 1",
    )?;
    for (id, share) in split.shares(&rollup.whole) {
        let mut rows = select.query([id])?;
        let window = rows.next()?.ok_or(StoreError::BadRow("it has samples of a window that is not there"))?;
        adds_up(&share.counts, window.get(0)?)?;
        if let Some(times) = window.get_ref(1)?.as_blob_or_null().map_err(rusqlite::Error::from)? {
            times::decode(times, &share.counts, |_, _| {})?;
        }
    }
    Ok(())
}

fn adds_up(counts: &[u64], stored: i64) -> Result<(), StoreError> {
    let sum = counts.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
    if i64::try_from(sum) == Ok(stored) {
        Ok(())
    } else {
        Err(StoreError::BadRow("its samples are not as many as were stored"))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use rusqlite::Connection;

    use crate::profile::BootNanos;
    use crate::store::Store;
    use crate::store::drawing::{EPOCH, name_all, window};
    use crate::store::upkeep::check;

    /// One bit of any blob turned is found, and the finding names the window or the roll-up that it is in.
    #[test]
    fn a_turned_bit_is_found_in_every_kind_of_blob() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        // Two hours, of which one is over, some windows of each five minutes.
        for n in (0..2 * 360).step_by(10) {
            let mut window = window(n, &format!("web/7  main;serve x5\nweb/7  main;f{} x2\ndb/9  x2", n % 70));
            let start = window.start.0;
            for row in window.processes.iter_mut().flat_map(|process| &mut process.stacks) {
                row.times = (0..row.count).map(|nth| BootNanos(start + nth * 1_000_000_000)).collect();
            }
            let unnamed = store.write_window(&window).unwrap();
            name_all(&mut store, &unnamed);
        }
        while store.tend().unwrap() {}
        store.close().unwrap();
        let run = |path: &std::path::Path| check(path, &mut |_, _| {}).unwrap();
        assert_eq!(run(&path), Vec::<String>::new());
        let time = |nth: i64| jiff::Timestamp::from_second(EPOCH + nth * 10).unwrap();
        let hour = format!("the hour from {}", time(0));
        for (column, row, place) in [
            ("stacks", "rollup WHERE level = 2", hour.clone()),
            ("split", "rollup WHERE level = 2", hour),
            ("directory", "rollup WHERE level = 1 AND length(stacks) > 0", "five minutes from".into()),
            ("split", "rollup WHERE level = 1", "five minutes from".into()),
            ("stacks", "fresh", "window ".into()),
            ("directory", "fresh", "window ".into()),
            ("nodes", "stack_page", "page 0 of the stacks".into()),
            ("times", "sample_time", "five minutes from".into()),
        ] {
            let copy = folder.path().join("copy.db");
            std::fs::copy(&path, &copy).unwrap();
            let conn = Connection::open(&copy).unwrap();
            let select = format!("SELECT rowid, {column} FROM {row} LIMIT 1");
            let (id, mut blob): (i64, Vec<u8>) =
                conn.query_row(&select, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            let middle = blob.len() / 2;
            blob[middle] ^= 4;
            let table = row.split(' ').next().unwrap();
            conn.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE rowid = ?2"), (blob, id)).unwrap();
            drop(conn);
            let found = run(&copy);
            assert!(found.iter().any(|line| line.starts_with(&place)), "{column} of {row}: {found:?}");
        }
    }
}
