//! Forgetting the oldest windows, by age and by size.
//!
//! Windows only: strings, functions, locations and stacks stay, since others may use them (collecting the unused is a later
//! migration's work). Each transaction is short, so that a window waiting to be written waits little, and each call deletes a
//! bounded number, so that a wrong clock cannot erase a history in one stroke.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction};

use super::{Store, StoreError};
use crate::profile::WallNanos;

/// Most windows deleted in one call: at one call a window, 60 times faster than they come.
const MAX_WINDOWS: u64 = 60;
/// Windows deleted in one transaction.
const BATCH: u64 = 20;
/// The newest windows are never deleted for their size (an hour at ten seconds each): if these do not fit, it is not windows
/// that fill the file.
const KEPT: u64 = 360;
/// Free pages kept for the next windows (4 MiB): without them the file would shrink and grow at every call.
const SPARE_PAGES: u64 = 1024;
/// Most free pages given back to the file system in one call (16 MiB).
const MAX_PAGES: u64 = 4096;

/// What [`Store::retain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Windows deleted.
    pub windows_deleted: u64,
    /// There is more to delete: call again soon.
    pub unfinished: bool,
    /// The file is over its size and there is no window left that may go.
    pub over_size: bool,
    /// Size of the main file's used pages afterwards.
    pub bytes: u64,
}

/// Why a window must go.
#[derive(Clone, Copy)]
enum Overdue {
    /// Ended before this.
    Age(i64),
    /// Too large a file: the oldest, in the order of writing.
    Size,
}

impl Store {
    /// Deletes the oldest windows that ended more than `max_age` before `now`, then more of the oldest while the database is
    /// larger than `max_bytes`; a bounded number a call. Gives the space back to the file system.
    ///
    /// # Errors
    /// Anything SQLite reports; what was deleted before stays deleted.
    pub fn retain(&mut self, now: WallNanos, max_age: Duration, max_bytes: u64) -> Result<Retained, StoreError> {
        let age = i64::try_from(max_age.as_nanos()).unwrap_or(i64::MAX);
        let cutoff = now.0.saturating_sub(age);
        let mut done = Retained::default();
        loop {
            let deleted = self.delete(Overdue::Age(cutoff), BATCH)?;
            done.windows_deleted += deleted;
            if deleted < BATCH {
                break;
            }
            if done.windows_deleted >= MAX_WINDOWS {
                done.unfinished = true;
                break;
            }
        }
        done.bytes = self.used_bytes()?;
        while done.bytes > max_bytes && !done.unfinished {
            let deleted = self.delete(Overdue::Size, BATCH)?;
            done.windows_deleted += deleted;
            done.over_size = deleted == 0;
            done.bytes = self.used_bytes()?;
            if done.over_size {
                break;
            }
            done.unfinished = done.windows_deleted >= MAX_WINDOWS && done.bytes > max_bytes;
        }
        let spare = self.pragma("freelist_count")?.saturating_sub(SPARE_PAGES).min(MAX_PAGES);
        if spare > 0 {
            let mut vacuum = self.conn.prepare(&format!("PRAGMA incremental_vacuum({spare})"))?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(done)
    }

    /// Bytes of the pages in use, without the log.
    fn used_bytes(&self) -> Result<u64, StoreError> {
        let pages = self.pragma("page_count")?.saturating_sub(self.pragma("freelist_count")?);
        Ok(pages.saturating_mul(self.pragma("page_size")?))
    }

    fn pragma(&self, name: &str) -> Result<u64, StoreError> {
        let n: i64 = self.conn.pragma_query_value(None, name, |row| row.get(0))?;
        Ok(n.max(0).cast_unsigned())
    }

    fn delete(&mut self, why: Overdue, most: u64) -> Result<u64, StoreError> {
        self.transact(|tx, _| {
            let mut deleted = 0;
            while deleted < most
                && let Some(window) = oldest(tx, why)?
            {
                delete_window(tx, window)?;
                deleted += 1;
            }
            Ok(deleted)
        })
    }
}

fn oldest(tx: &Transaction<'_>, why: Overdue) -> Result<Option<i64>, StoreError> {
    let found = match why {
        Overdue::Age(cutoff) => tx
            .prepare_cached(
                "SELECT id FROM window WHERE wall_start < ?1 AND wall_end <= ?1 ORDER BY wall_start LIMIT 1",
            )?
            .query_row([cutoff], |row| row.get(0))
            .optional(),
        Overdue::Size => tx
            .prepare_cached(
                "SELECT min(id) FROM window
                 WHERE (SELECT count FROM tally WHERE name = 'windows' AND number = 0) > ?1 HAVING min(id) IS NOT NULL",
            )?
            .query_row([KEPT as i64], |row| row.get(0))
            .optional(),
    };
    Ok(found?)
}

/// Takes a window's rows out, and its numbers out of the sums.
fn delete_window(tx: &Transaction<'_>, window: i64) -> Result<(), StoreError> {
    for sql in [
        "UPDATE tally SET count = count - 1 WHERE name = 'windows' AND number = 0",
        "UPDATE tally SET count = count - (SELECT taken FROM window WHERE id = ?1) WHERE name = 'taken' AND number = 0",
        "UPDATE tally SET count = count - (SELECT stored FROM window WHERE id = ?1) WHERE name = 'stored' AND number = 0",
        "UPDATE tally SET count = tally.count - loss.count FROM loss
         WHERE loss.window = ?1 AND name = 'lost' AND number = loss.cause",
        "UPDATE tally SET count = tally.count - ending.count FROM ending
         WHERE ending.window = ?1 AND name = 'ending' AND number = ending.end",
        "DELETE FROM loss WHERE window = ?1",
        "DELETE FROM ending WHERE window = ?1",
        "DELETE FROM profile WHERE window = ?1",
        "DELETE FROM window WHERE id = ?1",
    ] {
        let mut statement = tx.prepare_cached(sql)?;
        let known = statement.parameter_count();
        statement.execute(rusqlite::params_from_iter((known > 0).then_some(window)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tempfile::TempDir;

    use super::super::drawing::{EPOCH, SECONDS, window};
    use super::*;
    use crate::profile::LossCause;
    use crate::query::totals;
    use crate::store::Reader;

    fn store(windows: u64) -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&folder.path().join("x.db")).unwrap();
        for n in 0..windows {
            let mut window = window(n, "web/7  main;serve x5\nweb/8  !main x1");
            window.losses.add(LossCause::RingFull, n);
            window.taken += n;
            store.write_window(&window).unwrap();
        }
        (folder, store)
    }

    fn starts(store: &Store) -> Vec<u64> {
        let mut select = store.conn.prepare("SELECT boot_start FROM window ORDER BY id").unwrap();
        let rows = select.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        rows.map(|start| (start.unwrap() as u64 / 1_000_000_000 - 1000) / SECONDS).collect()
    }

    /// The wall clock at the end of the `n`-th window.
    fn end(n: u64) -> WallNanos {
        WallNanos((EPOCH + ((n + 1) * SECONDS) as i64) * 1_000_000_000)
    }

    /// What ended too long ago goes, with its numbers; what ended just in time stays.
    #[test]
    fn old_windows_go_and_take_their_numbers_along() {
        let (folder, mut store) = store(10);
        let week = Duration::from_secs(7 * 86_400);
        let now = WallNanos(end(3).0 + week.as_nanos() as i64);
        let done = store.retain(now, week, u64::MAX).unwrap();
        assert_eq!((done.windows_deleted, done.unfinished, done.over_size), (4, false, false));
        assert_eq!(starts(&store), [4, 5, 6, 7, 8, 9]);
        let totals = totals(&mut Reader::open(&folder.path().join("x.db")).unwrap()).unwrap();
        assert_eq!((totals.windows, totals.stored, totals.losses.total()), (6, 36, 39));
        assert_eq!(totals.taken, 36 + 39);
        assert_eq!(totals.stacks.iter().map(|(_, n)| n).sum::<u64>(), 36);
        assert_eq!(store.retain(now, week, u64::MAX).unwrap().windows_deleted, 0);
    }

    /// A clock that jumps years ahead costs a bounded number of windows before someone notices.
    #[test]
    fn a_call_deletes_a_bounded_number() {
        let (_folder, mut store) = store(MAX_WINDOWS + 5);
        let done = store.retain(WallNanos(i64::MAX), Duration::ZERO, u64::MAX).unwrap();
        assert_eq!((done.windows_deleted, done.unfinished), (MAX_WINDOWS, true));
        assert_eq!(starts(&store), (MAX_WINDOWS..MAX_WINDOWS + 5).collect::<Vec<_>>());
    }

    /// Too large a database loses its oldest windows, but never the newest hour, and says when that is not enough.
    #[test]
    fn a_large_database_loses_its_oldest_windows() {
        let (_folder, mut store) = store(KEPT + 30);
        let forever = Duration::from_secs(u64::MAX);
        assert_eq!(store.retain(end(0), forever, u64::MAX).unwrap().windows_deleted, 0);
        let done = store.retain(end(0), forever, 1).unwrap();
        assert_eq!((done.windows_deleted, done.over_size), (30, true));
        assert_eq!(starts(&store)[0], 30);
        assert!(done.bytes > 1);
    }

    /// Deleted windows' space goes back to the file system, but for a little that the next ones use.
    #[test]
    fn space_is_given_back() {
        let (folder, mut store) = store(1);
        let many = |n: u64| (0..100).map(|f| format!("w{f}/{f}  main x{n}\n")).collect::<String>();
        (1..=MAX_WINDOWS).for_each(|n| drop(store.write_window(&window(n, &many(n))).unwrap()));
        // Larger than the spare pages.
        store.conn.execute("UPDATE profile SET stacks = zeroblob(3500) WHERE window > 1", []).unwrap();
        let size = || folder.path().join("x.db").metadata().unwrap().len();
        store.empty_log();
        let before = size();
        for _ in 0..3 {
            store.retain(WallNanos(i64::MAX), Duration::ZERO, u64::MAX).unwrap();
        }
        store.empty_log();
        assert!(before - size() > 10 << 20, "{before} -> {}", size());
        let page = store.pragma("page_size").unwrap();
        assert!(store.pragma("freelist_count").unwrap() * page <= 4 << 20);
        assert_eq!(store.conn.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
    }
}
