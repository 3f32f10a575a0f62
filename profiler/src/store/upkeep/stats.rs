//! What a database holds and what it costs.

use std::path::Path;

use rusqlite::Connection;

use crate::store::StoreError;
use crate::store::file::log_bytes;
use crate::store::reader::open_existing;

/// Figures of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Size of the main file.
    pub bytes: u64,
    /// Of these, pages that hold nothing now.
    pub free_bytes: u64,
    /// Size of the write-ahead log.
    pub log_bytes: u64,
    /// Windows, those included that are told apart no more.
    pub windows: u64,
    /// Samples stored in them.
    pub samples: u64,
    /// Samples lost in them.
    pub lost: u64,
    /// Nanoseconds of CPU that were watched: the windows' lengths times their CPUs.
    pub cpu_nanos: u64,
    /// Start of the first and end of the last window, by the wall clock.
    pub span: Option<(i64, i64)>,
    /// Tables with their indexes, the largest first, in bytes.
    pub tables: Vec<(String, u64)>,
}

impl Stats {
    /// Bytes in use a sample.
    #[must_use]
    pub fn bytes_per_sample(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.used() / self.samples as f64)
    }

    /// Bytes in use for each CPU and day.
    #[must_use]
    pub fn bytes_per_core_day(&self) -> Option<f64> {
        const DAY: f64 = 86_400e9;
        (self.cpu_nanos > 0).then(|| self.used() / (self.cpu_nanos as f64 / DAY))
    }

    fn used(&self) -> f64 {
        self.bytes.saturating_sub(self.free_bytes) as f64
    }
}

/// Reads the figures. Table sizes need a look at every page.
///
/// # Errors
/// Those of opening and reading.
pub fn stats(path: &Path) -> Result<Stats, StoreError> {
    let (_tidy, mut conn) = open_existing(path)?;
    let tx = conn.transaction()?;
    let pragma =
        |name: &str| -> Result<u64, StoreError> { Ok(unsigned(tx.pragma_query_value(None, name, |row| row.get(0))?)) };
    let page = pragma("page_size")?;
    let mut stats = Stats {
        bytes: pragma("page_count")?.saturating_mul(page),
        free_bytes: pragma("freelist_count")?.saturating_mul(page),
        log_bytes: log_bytes(path),
        tables: tables(&tx)?,
        ..Stats::default()
    };
    // A roll-up is `finest` when the windows it was made of are not listed any more.
    tx.query_row(
        "WITH held AS (
             SELECT 1 AS windows, stored, lost, length, cpus, wall_start AS start, wall_end FROM window
             UNION ALL
             SELECT windows, stored, lost, length, cpus, start, wall_end FROM rollup WHERE finest = 1)
         SELECT total(windows), total(stored), total(lost), total(length * CAST(cpus AS REAL)), min(start), max(wall_end)
         FROM held",
        [],
        |row| {
            stats.windows = row.get::<_, f64>(0)? as u64;
            stats.samples = row.get::<_, f64>(1)? as u64;
            stats.lost = row.get::<_, f64>(2)? as u64;
            stats.cpu_nanos = row.get::<_, f64>(3)? as u64;
            stats.span = row.get::<_, Option<i64>>(4)?.zip(row.get(5)?);
            Ok(())
        },
    )?;
    Ok(stats)
}

/// Pages by table, an index counted with its table.
fn tables(conn: &Connection) -> Result<Vec<(String, u64)>, StoreError> {
    let mut select = conn.prepare(
        "SELECT coalesce(tbl_name, dbstat.name), sum(pgsize) FROM dbstat
         LEFT JOIN sqlite_schema ON sqlite_schema.name = dbstat.name
         WHERE aggregate = TRUE GROUP BY 1 ORDER BY 2 DESC, 1",
    )?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn unsigned(n: i64) -> u64 {
    n.max(0).unsigned_abs()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::Store;
    use crate::store::drawing::{SECONDS, window};

    /// Figures are those of the windows, and every page in use is some table's.
    #[test]
    fn stats_tell_what_the_windows_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        for n in 0..3 {
            store.write_window(&window(n, "web/7  main;serve x5")).unwrap();
        }
        let stats = stats(&path).unwrap();
        assert_eq!((stats.windows, stats.samples, stats.lost), (3, 15, 0));
        let cpus = u64::from(window(0, "").cpus);
        assert_eq!(stats.cpu_nanos, 3 * SECONDS * 1_000_000_000 * cpus);
        let (from, to) = stats.span.unwrap();
        assert_eq!(to - from, 30_000_000_000);
        assert!(stats.log_bytes > 0 && stats.bytes_per_sample().unwrap() > 0.0);
        assert!(stats.tables.iter().map(|(_, bytes)| bytes).sum::<u64>() <= stats.bytes);
        assert!(stats.tables.iter().any(|(name, _)| name == "window"), "{:?}", stats.tables);
    }
}
