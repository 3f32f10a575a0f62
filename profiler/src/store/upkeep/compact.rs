//! Giving space back to the file system.
//!
//! Beside a running profiler free pages are given back a few at a time, so that a window never waits for longer than one such
//! step. A database at rest is written anew (`VACUUM`), which also brings neighbours together.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::Progress;
use crate::store::file;
use crate::store::{Store, StoreError};

/// Pages given back in one transaction: 1 MiB, a few milliseconds.
const STEP: u64 = 256;
/// Rest between steps, for the writer.
const REST: Duration = Duration::from_millis(5);
/// How long to wait for the writer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The file's size before.
    pub before: u64,
    /// And after.
    pub after: u64,
    /// A profiler was writing: free pages were given back, no more.
    pub beside_writer: bool,
}

/// Makes the file as small as can be.
///
/// # Errors
/// Those of opening; `VACUUM` needs as much room again beside the file.
pub fn compact(path: &Path, progress: Progress<'_>) -> Result<Compacted, StoreError> {
    let size = || path.metadata().map_or(0, |meta| meta.len());
    let before = size();
    if file::inspect(path)? == file::Found::Nothing {
        return Err(StoreError::Missing(path.into()));
    }
    match file::lock(&file::settle(path)?) {
        Ok(lock) => {
            drop(lock);
            at_rest(path, progress)?;
            Ok(Compacted { before, after: size(), beside_writer: false })
        }
        Err(StoreError::Locked(_)) => {
            beside_writer(path, progress)?;
            Ok(Compacted { before, after: size(), beside_writer: true })
        }
        Err(other) => Err(other),
    }
}

/// As the writer, for a while.
fn at_rest(path: &Path, progress: Progress<'_>) -> Result<(), StoreError> {
    let (store, damaged) = Store::open(path)?;
    if damaged.is_some() {
        return Err(StoreError::BadRow("it was set aside, and a new one begun"));
    }
    progress(0, 2);
    store.conn.execute_batch("VACUUM")?;
    progress(1, 2);
    store.close()?;
    progress(2, 2);
    Ok(())
}

fn beside_writer(path: &Path, progress: Progress<'_>) -> Result<(), StoreError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(PATIENCE)?;
    let free = || -> Result<u64, StoreError> {
        Ok(conn.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0))?.max(0).unsigned_abs())
    };
    let all = free()?;
    let mut left = all;
    while left > 0 {
        let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({STEP})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        let now = free()?;
        progress(all - now.min(all), all);
        if now >= left {
            // The writer frees as quickly, or the file's format does not allow it.
            break;
        }
        left = now;
        std::thread::sleep(REST);
    }
    // The file shrinks when the log moves into it. If a reader is in the way, it does so later.
    match conn
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(|error| StoreError::of(&conn, error))
    {
        Err(StoreError::Busy(_)) => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::drawing::window;
    use crate::store::upkeep::check;

    /// A database with a megabyte of holes.
    fn holey(path: &Path) -> Store {
        let (mut store, _) = Store::open(path).unwrap();
        store.write_window(&window(0, "web/7  main x5")).unwrap();
        store
            .conn
            .execute_batch("CREATE TABLE bulk (x); INSERT INTO bulk VALUES (zeroblob(4000000)); DROP TABLE bulk")
            .unwrap();
        store.empty_log().unwrap();
        store
    }

    /// Beside the writer, which goes on, and at rest: the holes are gone and everything else is there.
    #[test]
    fn holes_are_given_back_beside_a_writer_and_at_rest() {
        let folder = tempfile::tempdir().unwrap();
        for running in [true, false] {
            let path = folder.path().join(format!("{running}.db"));
            let mut store = Some(holey(&path));
            if !running {
                store.take().unwrap().close().unwrap();
            }
            let mut last = (0, 1);
            let done = compact(&path, &mut |done, of| last = (done, of)).unwrap();
            assert_eq!((done.beside_writer, last.0), (running, last.1));
            assert!(done.before > 4_000_000 && done.after < 1_000_000, "{done:?}");
            if let Some(store) = &mut store {
                store.write_window(&window(1, "web/7  main x5")).unwrap();
            }
            drop(store);
            assert_eq!(check(&path, &mut |_, _| {}).unwrap(), Vec::<String>::new());
        }
    }
}
