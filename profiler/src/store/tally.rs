//! Sums over everything that is held, kept with it, so that the status page never scans.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use super::StoreError;
use super::codec::Group;
use super::intern::int;
use super::numbers::Numbers;
use crate::profile::StackEnd;

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

fn change(
    tx: &Transaction<'_>,
    numbers: &Numbers,
    endings: &BTreeMap<StackEnd, u64>,
    sign: i64,
) -> Result<(), StoreError> {
    let mut add = tx.prepare_cached(
        "INSERT INTO tally (name, number, count) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET count = count + ?3",
    )?;
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
