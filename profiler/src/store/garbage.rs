//! Collecting what nobody needs any more: stacks that no window and no roll-up names, and the locations, names, processes and
//! strings that only these needed.
//!
//! Marks from the coarsest roll-ups down (they hold every stack of what they sum up), then sweeps. Numbers never come back: a node
//! becomes a hole in its page, the highest row of a table stays. Readers that look at an older moment still see everything.

use rusqlite::Transaction;

use super::codec::Profile;
use super::cover::{Place, cover};
use super::intern::Interned;
use super::marks::Marks;
use super::stack_page::{self, NODES, StackNode};
use super::{Store, StoreError, damage};
use crate::profile::{TimeRange, WallNanos};

/// Windows deleted for good before it is worth looking: an hour of them.
const WORTH_LOOKING: i64 = 360;

/// All there is.
const ALL_TIME: TimeRange = TimeRange { from: WallNanos(i64::MIN), to: WallNanos(i64::MAX) };

/// What is needed, by row.
#[derive(Default)]
struct Needed {
    stacks: Marks,
    locations: Marks,
    processes: Marks,
    strings: Marks,
}

impl Store {
    /// Collects garbage if there may be some: `true` when it has looked. Takes about a second for a million stacks.
    pub(super) fn collect_garbage(&mut self) -> Result<bool, StoreError> {
        let deleted: i64 = self.conn.query_row("SELECT value FROM meta WHERE key = 'garbage'", [], |row| row.get(0))?;
        if deleted < WORTH_LOOKING {
            return Ok(false);
        }
        self.step(damage::ALL_TIME, sweep)?;
        // They name rows that are gone.
        self.interned = Interned::new();
        Ok(true)
    }
}

fn sweep(tx: &Transaction<'_>) -> Result<(), StoreError> {
    let mut needed = mark(tx)?;
    sweep_stacks(tx, &mut needed)?;
    delete_others(tx, "location", &needed.locations)?;
    delete_others(tx, "process", &needed.processes)?;
    for sql in [
        "DELETE FROM location_frame WHERE location NOT IN (SELECT id FROM location)",
        "DELETE FROM function WHERE id NOT IN (SELECT function FROM location_frame)",
        "DELETE FROM binary WHERE id NOT IN (SELECT binary FROM location)",
        "DELETE FROM name_source WHERE binary NOT IN (SELECT id FROM binary)",
        "DELETE FROM cgroup WHERE id NOT IN (SELECT cgroup FROM process)",
    ] {
        tx.execute(sql, [])?;
    }
    let mut strings = tx.prepare(
        "SELECT name FROM function UNION SELECT file FROM function UNION SELECT raw FROM function UNION SELECT path FROM binary
         UNION SELECT path FROM cgroup UNION SELECT container FROM cgroup UNION SELECT unit FROM cgroup
         UNION SELECT comm FROM process UNION SELECT exe FROM process UNION SELECT boot FROM process
         UNION SELECT boot FROM window",
    )?;
    let mut rows = strings.query([])?;
    while let Some(row) = rows.next()? {
        needed.strings.set(row.get(0)?);
    }
    delete_others(tx, "string", &needed.strings)?;
    tx.execute("UPDATE meta SET value = 0 WHERE key = 'garbage'", [])?;
    Ok(())
}

/// What windows and roll-ups name.
fn mark(tx: &Transaction<'_>) -> Result<Needed, StoreError> {
    let mut needed = Needed::default();
    for piece in cover(tx, ALL_TIME, i64::MAX)? {
        let sql = match piece.place {
            Place::Rollup(_) => "SELECT directory, stacks FROM rollup WHERE id = ?1",
            Place::Fresh(_) => "SELECT directory, stacks FROM fresh WHERE window = ?1",
            Place::Part(_) | Place::Packed(_) => {
                return Err(StoreError::BadRow("all of time does not cover a roll-up"));
            }
        };
        let profile = tx.prepare_cached(sql)?.query_row([piece.place.id()], |row| {
            Ok(Profile::decode(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?))
        })??;
        for group in &profile.groups {
            needed.processes.set(group.key.process);
            needed.strings.set(group.key.thread);
        }
        for stack in profile.stacks.iter().filter(|stack| stack.0 != 0) {
            needed.stacks.set(stack.0);
        }
    }
    Ok(needed)
}

/// Makes holes of the nodes that are not needed, and marks the locations of the others. From the last page to the first: a node's
/// callees have marked it before its turn comes.
fn sweep_stacks(tx: &Transaction<'_>, needed: &mut Needed) -> Result<(), StoreError> {
    let mut pages = tx.prepare("SELECT page FROM stack_page ORDER BY page DESC")?;
    let pages = pages.query_map([], |row| row.get(0))?.collect::<Result<Vec<u32>, _>>()?;
    for (nth, page) in pages.into_iter().enumerate() {
        let mut nodes = tx
            .prepare_cached("SELECT nodes FROM stack_page WHERE page = ?1")?
            .query_row([page], |row| Ok(stack_page::decode(page, row.get_ref(0)?.as_blob()?)))??;
        let (mut changed, mut alive) = (false, false);
        for (slot, node) in nodes.iter_mut().enumerate().rev().filter(|(_, node)| node.location != 0) {
            if needed.stacks.has(page * NODES + slot as u32) {
                alive = true;
                needed.locations.set(node.location);
                if node.parent.0 != 0 {
                    needed.stacks.set(node.parent.0);
                }
            } else {
                changed = true;
                *node = StackNode::default();
            }
        }
        // The highest number must stay known.
        if !alive && nth > 0 {
            tx.prepare_cached("DELETE FROM stack_page WHERE page = ?1")?.execute([page])?;
        } else if changed {
            tx.prepare_cached("UPDATE stack_page SET nodes = ?2 WHERE page = ?1")?
                .execute((page, stack_page::encode(page, &nodes)))?;
        }
    }
    Ok(())
}

/// Deletes the rows that are not needed, but for the highest.
fn delete_others(tx: &Transaction<'_>, table: &str, needed: &Marks) -> Result<(), StoreError> {
    let mut select = tx.prepare(&format!("SELECT id FROM {table} WHERE id < (SELECT max(id) FROM {table})"))?;
    let ids = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<u32>, _>>()?;
    let mut delete = tx.prepare(&format!("DELETE FROM {table} WHERE id = ?1"))?;
    for id in ids.into_iter().filter(|id| !needed.has(*id)) {
        delete.execute([id])?;
    }
    Ok(())
}
