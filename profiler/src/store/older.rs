//! Databases of an older schema: read as they are, and copied before they are migrated.
//!
//! A reader does not migrate: it may not write. Where it meets an older schema, views in SQLite's `temp` schema stand before the tables and
//! have the columns of this one, so that every question is asked in the same words. They go with the connection. Views for people are the
//! file's own.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::file::{beside, log_bytes};
use super::migrate::VERSION;
use super::reader::open_as_it_is;
use super::{StoreError, upkeep};

/// The oldest schema that is read without being migrated.
pub(super) const OLDEST: i64 = 5;

/// A number for each way of sampling: rows of these schemas have none. Below 10,000 Hz, so that it fits 32 bits.
const NUMBER: &str = "event * 1000000 + hz";

/// What the file's header says.
pub(super) fn version_of(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Lets a database of schema `found` be asked as one of [`VERSION`].
pub(super) fn stand_before(conn: &Connection, found: i64) -> rusqlite::Result<()> {
    let missed = if found < 6 { ", NULL AS missed, NULL AS misses" } else { "" };
    let mut sql = format!(
        "CREATE TEMP VIEW host AS SELECT 1 AS id, '' AS machine, '' AS name;
         CREATE TEMP VIEW series AS
         SELECT {NUMBER} AS id, 1 AS host, 'process_cpu' AS type, iif(event = 0, 'cpu-clock', 'cycles') AS event,
                1000000000 / max(hz, 1) AS period
         FROM (SELECT event, hz FROM main.window UNION SELECT event, hz FROM main.rollup);
         CREATE TEMP VIEW window AS SELECT *, {NUMBER} AS series{missed} FROM main.window;
         CREATE TEMP VIEW rollup AS SELECT *, {NUMBER} AS series{missed} FROM main.rollup;
         CREATE TEMP VIEW hour_leaf AS SELECT *, {NUMBER} AS series FROM main.hour_leaf;"
    );
    if found < 7 {
        sql += "CREATE TEMP VIEW binary AS
                SELECT *, NULL AS code_offset, NULL AS code_address, NULL AS code_len FROM main.binary;
                CREATE TEMP VIEW location_frame AS SELECT *, NULL AS declared FROM main.location_frame;";
    }
    conn.execute_batch(&sql)
}

/// Before a database is migrated: a copy of it as `NAME.schema-7`, where the disk has room for that and for what migrating takes. `None`
/// where there is nothing to migrate, no room, or such a copy from the last try.
pub(super) fn copy_before_migrating(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let found = {
        let (_tidy, conn) = open_as_it_is(path)?;
        version_of(&conn)?
    };
    let copy = beside(path, &format!(".schema-{found}"));
    if found == VERSION || copy.exists() {
        return Ok(None);
    }
    let size = path.metadata().map_or(0, |meta| meta.len()).saturating_add(log_bytes(path));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let free = rustix::fs::statvfs(folder).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    // The copy, and as much again for the log and the tables that are written anew.
    if free / 2 < size {
        tracing::warn!(
            "{} is brought to schema {VERSION} without a copy: the disk has no room for one",
            path.display()
        );
        return Ok(None);
    }
    tracing::warn!("{} has the older schema {found}: it is copied first", path.display());
    let mut told = 0;
    upkeep::backup(path, &copy, &mut |done, of| {
        let tenth = done.saturating_mul(10) / of.max(1);
        if tenth > told {
            told = tenth;
            tracing::warn!("copied {} %", tenth * 10);
        }
    })?;
    Ok(Some(copy))
}

#[cfg(test)]
#[path = "older/tests.rs"]
mod tests;
