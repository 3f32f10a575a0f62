//! Series: what was sampled, on which host, how often. Samples of one series stand for equal amounts and are added up; a row of samples is
//! of one series.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::intern::int;
use super::{RowMap, StoreError};
use crate::profile::{Host, SampleEvent, Window};

/// What the samples of the CPU are called, as pprof and Pyroscope name types.
pub(super) const PROCESS_CPU: &str = "process_cpu";

/// Row of `series`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SeriesId(pub(super) u32);

impl ToSql for SeriesId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(i64::from(self.0).into())
    }
}

impl FromSql for SeriesId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        u32::column_result(value).map(Self)
    }
}

/// A series of CPU samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// Its row.
    pub(crate) id: SeriesId,
    /// Row of its host.
    pub(crate) host: u32,
    /// What made the samples.
    pub(crate) event: SampleEvent,
    /// Samples per second and CPU.
    pub(crate) hz: u32,
}

/// What stands in the columns `hz`, which tell no more than the series does (migration 0008): of the third parameter of a statement.
pub(super) const HZ: &str = "(SELECT (1000000000 + period / 2) / period FROM series WHERE id = ?3)";

/// The series of CPU samples by their rows.
pub(super) fn of_cpu(conn: &Connection) -> Result<RowMap<SeriesId, Series>, StoreError> {
    let mut select = conn.prepare_cached("SELECT id, host, event, period FROM series WHERE type = ?1")?;
    let mut rows = select.query([PROCESS_CPU])?;
    let mut found = RowMap::default();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        let event = SampleEvent::from_name(name).ok_or(StoreError::BadRow("a series of an unknown event"))?;
        let series = Series { id: row.get(0)?, host: row.get(1)?, event, hz: rate(row.get::<_, i64>(3)?) };
        found.insert(series.id, series);
    }
    Ok(found)
}

/// The series of a window's samples; makes it, and its host, where it is new.
pub(super) fn of_window(tx: &Transaction<'_>, window: &Window) -> Result<SeriesId, StoreError> {
    let host = host(tx, &window.host)?;
    let key = (host, PROCESS_CPU, window.event.name(), int(period(window.hz)));
    let known = tx
        .prepare_cached("SELECT id FROM series WHERE host = ?1 AND type = ?2 AND event = ?3 AND period = ?4")?
        .query_row(key, |row| row.get(0))
        .optional()?;
    if let Some(known) = known {
        return Ok(known);
    }
    let mut insert = tx.prepare_cached("INSERT INTO series (host, type, event, period) VALUES (?1, ?2, ?3, ?4)")?;
    let id = insert.insert(key)?;
    u32::try_from(id).map(SeriesId).map_err(|_| StoreError::BadWindow("more than 2^32 series"))
}

/// The row of a host, which is called so now.
fn host(tx: &Transaction<'_>, host: &Host) -> Result<i64, StoreError> {
    let known: Option<(i64, String)> = tx
        .prepare_cached("SELECT id, name FROM host WHERE machine = ?1")?
        .query_row([&host.machine], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match known {
        Some((id, name)) if name == host.name => Ok(id),
        Some((id, _)) => {
            tx.prepare_cached("UPDATE host SET name = ?2 WHERE id = ?1")?.execute((id, &host.name))?;
            Ok(id)
        }
        None => {
            let mut insert = tx.prepare_cached("INSERT INTO host (machine, name) VALUES (?1, ?2)")?;
            Ok(insert.insert((&host.machine, &host.name))?)
        }
    }
}

/// The host of a row.
pub(super) fn host_of(conn: &Connection, id: u32) -> Result<Host, StoreError> {
    let found = conn
        .prepare_cached("SELECT machine, name FROM host WHERE id = ?1")?
        .query_row([id], |row| Ok(Host { machine: row.get(0)?, name: row.get(1)? }))
        .optional()?;
    found.ok_or(StoreError::BadRow("a series of a host that is not there"))
}

/// Nanoseconds between two samples of a CPU.
fn period(hz: u32) -> u64 {
    1_000_000_000 / u64::from(hz.max(1))
}

/// The rate that has this period.
fn rate(period: i64) -> u32 {
    let period = period.max(1).cast_unsigned();
    u32::try_from((1_000_000_000 + period / 2) / period).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::Store;
    use super::super::drawing::window;
    use super::*;

    /// Every rate that there is comes back.
    #[test]
    fn a_rate_is_known_by_its_period() {
        for hz in 1..=10_000 {
            assert_eq!(rate(int(period(hz))), hz);
        }
    }

    /// A series is made once; a host is known by its machine, whatever it is called.
    #[test]
    fn series_are_interned() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&folder.path().join("x.db")).unwrap();
        for (n, machine, name, hz) in
            [(0, "a", "old", 97), (1, "a", "new", 97), (2, "a", "new", 19), (3, "b", "new", 97)]
        {
            let mut window = window(n, "web/7  main x1");
            (window.host, window.hz) = (Host { machine: machine.into(), name: name.into() }.into(), hz);
            store.write_window(&window).unwrap();
        }
        let conn = &store.conn;
        let series: Vec<i64> = conn
            .prepare("SELECT series FROM window ORDER BY wall_start")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(series, [1, 1, 2, 3]);
        let all = of_cpu(conn).unwrap();
        let rates: Vec<_> =
            (1..=3).map(|id| (all[&SeriesId(id)].hz, host_of(conn, all[&SeriesId(id)].host).unwrap().name)).collect();
        assert_eq!(rates, [(97, "new".into()), (19, "new".into()), (97, "new".into())]);
    }
}
