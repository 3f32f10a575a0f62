//! The samples of a row of `rollup`: its own, or its share of the next coarser row's.
//!
//! When an hour is made of its five minutes, they give it their samples and keep who has some (`directory`): the hour's `split` says
//! how many of each stack's samples were theirs. A row that has given its samples has an empty blob of stacks. Days and hours stay
//! apart: what an hour takes is little, and questions about hours would read whole days.
//!
//! When a late window comes into such an hour, the five minutes take their samples back ([`take_back`]).

use std::rc::Rc;

use rusqlite::{Connection, Transaction};

use super::StoreError;
use super::codec::{Group, Profile, decode_directory};
use super::columns::Effort;
use super::level::Level;
use super::merge::places;
use super::split::{Share, Split};

/// A way of sampling: event and frequency. Samples of different ways stand for different times.
pub(super) type Way = (u8, u32);

/// A row with its samples.
#[derive(Debug)]
pub(super) struct RollupRow {
    pub(super) id: i64,
    pub(super) level: Level,
    pub(super) start: i64,
    pub(super) way: Way,
    pub(super) whole: Profile,
    /// Of windows or of five minutes, while they are told apart.
    pub(super) split: Option<Split>,
}

impl RollupRow {
    /// The row of a piece of time. `coarser` is asked for the one that has its samples, if it has given them.
    pub(super) fn find(
        conn: &Connection,
        level: Level,
        start: i64,
        way: Way,
        coarser: impl FnOnce(Level, i64) -> Result<Rc<Self>, StoreError>,
    ) -> Result<Option<Self>, StoreError> {
        let mut select = conn.prepare_cached(
            "SELECT id, directory, stacks, split FROM rollup WHERE level = ?1 AND start = ?2 AND event = ?3 AND hz = ?4",
        )?;
        let mut rows = select.query((level as u8, start, way.0, way.1))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let id = row.get(0)?;
        let blob = |at: usize| row.get_ref(at)?.as_blob_or_null().map_err(rusqlite::Error::from);
        let (directory, stacks) = (blob(1)?.unwrap_or_default(), blob(2)?.unwrap_or_default());
        let whole = match level.coarser() {
            Some(above) if stacks.is_empty() => coarser(above, above.start_of(start))?.part(id)?,
            _ => Profile::decode(directory, stacks)?,
        };
        let split = blob(3)?.map(|blob| Split::decode(blob, &whole)).transpose()?;
        Ok(Some(Self { id, level, start, way, whole, split }))
    }

    /// The same, reading also the coarser row where need be.
    pub(super) fn read(conn: &Connection, level: Level, start: i64, way: Way) -> Result<Option<Self>, StoreError> {
        Self::find(conn, level, start, way, |level, start| {
            Ok(Rc::new(Self::read(conn, level, start, way)?.ok_or(StoreError::BadRow(GIVEN_TO_NOBODY))?))
        })
    }

    /// The samples of one part.
    pub(super) fn part(&self, id: i64) -> Result<Profile, StoreError> {
        self.sum(&[id])
    }

    /// The samples of some parts together.
    pub(super) fn sum(&self, ids: &[i64]) -> Result<Profile, StoreError> {
        let split = self.split.as_ref().filter(|split| ids.iter().all(|id| split.has(*id)));
        Ok(split.ok_or(StoreError::BadRow(GIVEN_TO_NOBODY))?.sum(&self.whole, |id| ids.contains(&id)))
    }
}

const GIVEN_TO_NOBODY: &str = "samples are not in the roll-up that should have them";

/// Who has samples in the five minutes that begin at `start`.
pub(super) fn directory(conn: &Connection, level: Level, start: i64, way: Way) -> Result<Vec<Group>, StoreError> {
    let mut select =
        conn.prepare_cached("SELECT directory FROM rollup WHERE level = ?1 AND start = ?2 AND event = ?3 AND hz = ?4")?;
    let mut rows = select.query((level as u8, start, way.0, way.1))?;
    let row = rows.next()?.ok_or(StoreError::BadRow("a packed window without its roll-up"))?;
    Ok(decode_directory(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?)
}

/// Gives the samples of rows (ids with profiles, in order of time) to the coarser row that is their sum and has just been written.
pub(super) fn give(
    tx: &Transaction<'_>,
    (level, start, way): (Level, i64, Way),
    whole: &Profile,
    parts: Vec<(i64, Profile)>,
) -> Result<(), StoreError> {
    let mut empty = tx.prepare_cached("UPDATE rollup SET stacks = x'' WHERE id = ?1")?;
    let mut shares = Vec::with_capacity(parts.len());
    for (id, part) in parts {
        empty.execute([id])?;
        shares.push((id, Share { places: places(&part, whole), counts: part.counts }));
    }
    tx.prepare_cached("UPDATE rollup SET split = ?5 WHERE level = ?1 AND start = ?2 AND event = ?3 AND hz = ?4")?
        .execute((level as u8, start, way.0, way.1, Split::new(whole, shares)?.encode()))?;
    Ok(())
}

/// Gives the rows that a coarser row is made of their samples back, but for those that have some of their own by now. To be called
/// before the coarser row changes.
pub(super) fn take_back(tx: &Transaction<'_>, row: &RollupRow) -> Result<(), StoreError> {
    let Some(split) = row.split.as_ref().filter(|_| row.level > Level::Minutes) else { return Ok(()) };
    let mut fill = tx.prepare_cached("UPDATE rollup SET stacks = ?2 WHERE id = ?1 AND length(stacks) = 0")?;
    for (id, share) in split.shares(&row.whole) {
        let part = row.whole.at(&share.places, &share.counts);
        fill.execute((id, part.entries(Effort::Much)))?;
    }
    tx.prepare_cached("UPDATE rollup SET split = NULL WHERE id = ?1")?.execute([row.id])?;
    Ok(())
}
