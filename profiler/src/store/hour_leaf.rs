//! The busiest places of an hour, for people's SQL: `hour_leaf` of migration 0003.
//!
//! Written in the transaction that writes the hour's roll-up, from the same entries; goes with it (a trigger). The rest of each
//! process name's samples is one row without a place, so the rows of an hour add up to its samples.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Transaction};

use super::codec::Profile;
use super::series::{HZ, SeriesId};
use super::stack_page::{self, NODES, StackNode};
use super::{RowMap, StackId, StoreError};

/// Rows with a place, of one hour.
const MOST: usize = 300;
/// What an hour number counts, in nanoseconds.
const HOUR: i64 = 3_600_000_000_000;

/// Replaces the rows of the hour that begins at `start`.
pub(super) fn write(tx: &Transaction<'_>, start: i64, series: SeriesId, profile: &Profile) -> Result<(), StoreError> {
    let hour = start.div_euclid(HOUR);
    tx.prepare_cached("DELETE FROM hour_leaf WHERE hour = ?1 AND series = ?2")?.execute((hour, series))?;
    let mut leaves = Leaves { tx, pages: RowMap::default() };
    let mut sums = HashMap::<(u32, u32), u64>::new();
    for (group, span) in profile.spans() {
        let comm: Option<u32> = tx
            .prepare_cached("SELECT comm FROM process WHERE id = ?1")?
            .query_row([group.key.process], |row| row.get(0))
            .optional()?;
        let comm = comm.ok_or(StoreError::BadRow("a profile names a process that is not there"))?;
        for at in span {
            let place = (comm, leaves.location(profile.stacks[at])?);
            let sum = sums.entry(place).or_default();
            *sum = sum.saturating_add(profile.counts[at]);
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_unstable_by_key(|(place, samples)| (std::cmp::Reverse(*samples), *place));
    let mut rows = HashMap::<(u32, u32), u64>::new();
    for (nth, ((comm, location), samples)) in sums.into_iter().enumerate() {
        let sum = rows.entry((comm, if nth < MOST { location } else { 0 })).or_default();
        *sum = sum.saturating_add(samples);
    }
    let mut add = tx.prepare_cached(&format!(
        "INSERT INTO hour_leaf (hour, comm, series, hz, location, samples) VALUES (?, ?, ?, {HZ}, ?, ?)"
    ))?;
    for ((comm, location), samples) in rows {
        add.execute((hour, comm, series, location, i64::try_from(samples).unwrap_or(i64::MAX)))?;
    }
    Ok(())
}

/// Where stacks end. Holds the pages met: those of one hour's stacks.
struct Leaves<'a> {
    tx: &'a Transaction<'a>,
    pages: RowMap<u32, Vec<StackNode>>,
}

impl Leaves<'_> {
    /// The location of a stack's leaf; 0 for the empty stack.
    fn location(&mut self, StackId(id): StackId) -> Result<u32, StoreError> {
        if id == 0 {
            return Ok(0);
        }
        let page = id / NODES;
        if !self.pages.contains_key(&page) {
            let nodes = self
                .tx
                .prepare_cached("SELECT nodes FROM stack_page WHERE page = ?1")?
                .query_row([page], |row| Ok(stack_page::decode(page, row.get_ref(0)?.as_blob()?)))
                .optional()?;
            self.pages.insert(page, nodes.ok_or(StoreError::BadRow("a page of stacks is not there"))??);
        }
        let node = self.pages.get(&page).and_then(|nodes| nodes.get((id % NODES) as usize));
        node.map(|node| node.location).ok_or(StoreError::BadRow("a stack is not there"))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use crate::store::Store;
    use crate::store::drawing::{name_all, window};

    /// The view's rows add up to the samples of the hours, name the function that was hit, and go when the hour goes.
    #[test]
    fn an_hour_shows_its_busiest_functions_in_plain_sql() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        // Three hours, of which two are over.
        for n in (0..3 * 360).step_by(60) {
            let unnamed =
                store.write_window(&window(n, "web/7  main;serve x5\nweb/8  main;k:read x1\ndb/9  x2")).unwrap();
            name_all(&mut store, &unnamed);
            while store.tend().unwrap() {}
        }
        let rows = |sql: &str| -> Vec<(String, String, i64)> {
            let conn = rusqlite::Connection::open(&path).unwrap();
            let mut select = conn.prepare(sql).unwrap();
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
            rows.collect::<Result<_, _>>().unwrap()
        };
        let found = rows("SELECT comm, function, sum(samples) FROM v_samples GROUP BY 1, 2 ORDER BY 3 DESC");
        let hours = rows("SELECT '', '', count(DISTINCT hour) FROM hour_leaf")[0].2;
        assert!(hours >= 2, "{found:?}");
        let of = |samples: i64| hours * 6 * samples;
        let want = [("web", "serve", of(5)), ("db", "[others]", of(2)), ("web", "read", of(1))];
        let want: Vec<_> = want.map(|(comm, function, n)| (comm.to_owned(), function.to_owned(), n)).into();
        assert_eq!(found, want);
        store.conn.execute("DELETE FROM rollup WHERE level = 2", []).unwrap();
        assert!(rows("SELECT comm, function, samples FROM v_samples").is_empty());
    }

    /// Every view can be read, in an empty database too.
    #[test]
    fn every_view_reads() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&folder.path().join("x.db")).unwrap();
        let mut names = store.conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'view'").unwrap();
        let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(names.len() >= 7, "{names:?}");
        for name in names {
            let rows: i64 =
                store.conn.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 0, "{name}");
        }
    }
}
