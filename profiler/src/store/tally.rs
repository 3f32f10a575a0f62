//! Sums over everything that is held, kept with it, so that the status page never scans.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use super::StoreError;
use super::codec::{Group, decode_directory};
use super::intern::int;
use super::numbers::Numbers;
use crate::profile::{LossCause, StackEnd};

/// Adds what has come.
pub(super) fn add(
    tx: &Transaction<'_>,
    numbers: &Numbers,
    endings: &BTreeMap<StackEnd, u64>,
) -> Result<(), StoreError> {
    change(tx, numbers, endings, 1)
}

/// Takes out what has gone.
pub(super) fn remove(
    tx: &Transaction<'_>,
    numbers: &Numbers,
    endings: &BTreeMap<StackEnd, u64>,
) -> Result<(), StoreError> {
    change(tx, numbers, endings, -1)
}

/// Samples by how the walk of the user stack ended.
pub(super) fn endings(groups: &[Group]) -> BTreeMap<StackEnd, u64> {
    let mut endings = BTreeMap::new();
    for group in groups {
        let sum: &mut u64 = endings.entry(group.key.end).or_default();
        *sum = sum.saturating_add(group.samples);
    }
    endings
}

/// Adds bytes of sample times, or takes them out.
pub(super) fn add_times(tx: &Transaction<'_>, bytes: i64) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO tally (name, number, count) VALUES ('times', 0, ?1) ON CONFLICT DO UPDATE SET count = count + ?1",
    )?
    .execute([bytes])?;
    Ok(())
}

/// Samples that were stored are lost to damage.
pub(super) fn set_aside(tx: &Transaction<'_>, samples: u64) -> Result<(), StoreError> {
    let mut add = tx.prepare_cached(ADD)?;
    add.execute(("stored", 0, -int(samples)))?;
    add.execute(("lost", LossCause::Damaged as u32, int(samples)))?;
    Ok(())
}

/// Counts the ends anew, from who is in windows and in the coarsest roll-ups, where that can be read.
pub(super) fn count_endings(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute("DELETE FROM tally WHERE name = 'ending'", [])?;
    let mut select =
        tx.prepare("SELECT directory FROM fresh UNION ALL SELECT directory FROM rollup WHERE rolled = 0")?;
    let mut add = tx.prepare_cached(ADD)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let Ok(groups) = decode_directory(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?) else { continue };
        for (end, n) in endings(&groups) {
            add.execute(("ending", end as u32, int(n)))?;
        }
    }
    Ok(())
}

/// A change of one sum.
const ADD: &str =
    "INSERT INTO tally (name, number, count) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET count = count + ?3";

fn change(
    tx: &Transaction<'_>,
    numbers: &Numbers,
    endings: &BTreeMap<StackEnd, u64>,
    sign: i64,
) -> Result<(), StoreError> {
    let mut add = tx.prepare_cached(ADD)?;
    let mut change = |name: &str, number: u32, n: u64| add.execute((name, number, sign * int(n)));
    change("windows", 0, numbers.windows)?;
    change("taken", 0, numbers.taken)?;
    change("stored", 0, numbers.stored)?;
    for (cause, n) in &numbers.losses.0 {
        change("lost", *cause as u32, *n)?;
    }
    for (end, n) in endings {
        change("ending", *end as u32, *n)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use crate::query::{QueryError, totals};
    use crate::store::drawing::window;
    use crate::store::{Reader, Store, StoreError};

    /// A sum that no writer writes is damage with a name, whichever of its cells is wrong.
    #[test]
    fn a_damaged_sum_is_named() {
        for damage in [
            "number = number + 4611686018427387904",
            "name = CAST(x'ff' AS TEXT)",
            "name = 'lost', number = 200 + rowid",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.db");
            let (mut store, _) = Store::open(&path).unwrap();
            store.write_window(&window(0, "web/7  main x5")).unwrap();
            let damaged = store
                .conn
                .execute(&format!("UPDATE OR REPLACE tally SET {}", damage.replace("rowid", "length(name)")), []);
            assert!(damaged.unwrap() > 0);
            match totals(&mut Reader::open(&path).unwrap()) {
                Err(QueryError::Store(StoreError::BadRow(what))) => assert!(what.contains("tally"), "{what}"),
                other => panic!("{damage}: {other:?}"),
            }
        }
    }
}
