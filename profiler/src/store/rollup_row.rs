//! The samples of a row of `rollup`: its own, or its share of the next coarser row's.
//!
//! When an hour is made of its five minutes, they give it their samples and keep who has some (`directory`): the hour's `split` says
//! how many of each stack's samples were theirs. A row that has given its samples has an empty blob of stacks. Days and hours stay
//! apart: what an hour takes is little, and questions about hours would read whole days.
//!
//! When a late window comes into such an hour, the five minutes take their samples back ([`take_back`]).

use std::rc::Rc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::StoreError;
use super::codec::{Group, Profile, decode_directory};
use super::columns::Effort;
use super::level::Level;
use super::merge::places;
use super::series::SeriesId;
use super::split::{Share, Split};

/// A row as it is stored; what it means is found without the database.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) id: i64,
    level: Level,
    start: i64,
    series: SeriesId,
    directory: Vec<u8>,
    stacks: Vec<u8>,
    split: Option<Vec<u8>>,
}

impl Raw {
    /// The row of a piece of time.
    pub(super) fn read(
        conn: &Connection,
        level: Level,
        start: i64,
        series: SeriesId,
    ) -> Result<Option<Self>, StoreError> {
        let mut select = conn.prepare_cached(
            "SELECT id, directory, stacks, split FROM rollup WHERE level = ?1 AND start = ?2 AND series = ?3",
        )?;
        let read = |row: &Row<'_>| {
            let (id, directory, stacks, split) = row.try_into()?;
            Ok(Self { id, level, start, series, directory, stacks, split })
        };
        Ok(select.query_row((level as u8, start, series), read).optional()?)
    }

    /// Whether its samples are in the row of the next coarser level.
    pub(super) fn has_given(&self) -> bool {
        self.stacks.is_empty() && self.level != Level::Day
    }

    /// Who has samples in it.
    pub(super) fn groups(&self) -> Result<Vec<Group>, StoreError> {
        Ok(decode_directory(&self.directory)?)
    }

    /// Whether its own samples can be read.
    pub(super) fn is_whole(&self) -> bool {
        Profile::decode(&self.directory, &self.stacks).is_ok()
    }

    /// With its samples: `given` are those that it has given.
    pub(super) fn open(self, given: Option<Profile>) -> Result<RollupRow, StoreError> {
        let whole = match given {
            Some(given) if given.groups == self.groups()? => given,
            Some(_) => return Err(StoreError::BadRow("a roll-up has other samples than its directory says")),
            None => Profile::decode(&self.directory, &self.stacks)?,
        };
        let split = self.split.map(|blob| Split::decode(&blob, &whole)).transpose()?;
        Ok(RollupRow { id: self.id, level: self.level, start: self.start, series: self.series, whole, split })
    }
}

/// A row with its samples.
#[derive(Debug)]
pub(super) struct RollupRow {
    pub(super) id: i64,
    pub(super) level: Level,
    start: i64,
    series: SeriesId,
    pub(super) whole: Profile,
    /// Of windows or of five minutes, while they are told apart.
    pub(super) split: Option<Split>,
}

impl RollupRow {
    /// The samples of some parts, a sum of each set of ids.
    pub(super) fn sums(&self, sets: &[Vec<i64>]) -> Result<Vec<Profile>, StoreError> {
        let split = self.split.as_ref().filter(|split| sets.iter().flatten().all(|id| split.has(*id)));
        Ok(split
            .ok_or(StoreError::BadRow("samples are not in the roll-up that should have them"))?
            .sums(&self.whole, sets))
    }

    /// The samples of one part.
    fn part(&self, id: i64) -> Result<Profile, StoreError> {
        Ok(self.sums(&[vec![id]])?.pop().unwrap_or_default())
    }
}

/// The rows read last, one of each level: the next question is often about the same.
#[derive(Debug, Default)]
pub(super) struct LastRows(Vec<Rc<RollupRow>>);

impl LastRows {
    /// The row of a piece of time; reads the coarser row too, where that has its samples.
    pub(super) fn find(
        &mut self,
        conn: &Connection,
        level: Level,
        start: i64,
        series: SeriesId,
    ) -> Result<Option<Rc<RollupRow>>, StoreError> {
        if let Some(row) = self.0.iter().find(|row| (row.level, row.start, row.series) == (level, start, series)) {
            return Ok(Some(Rc::clone(row)));
        }
        let Some(raw) = Raw::read(conn, level, start, series)? else { return Ok(None) };
        let given = match level.coarser() {
            Some(coarser) if raw.has_given() => {
                let row = self.find(conn, coarser, coarser.start_of(start), series)?;
                Some(
                    row.ok_or(StoreError::BadRow("a roll-up without the coarser one that has its samples"))?
                        .part(raw.id)?,
                )
            }
            _ => None,
        };
        let row = Rc::new(raw.open(given)?);
        self.0.retain(|other| other.level != level);
        self.0.push(Rc::clone(&row));
        Ok(Some(row))
    }
}

/// Gives the samples of rows (ids with profiles, in order of time) to the coarser row that is their sum and has just been written.
pub(super) fn give(
    tx: &Transaction<'_>,
    (level, start, series): (Level, i64, SeriesId),
    whole: &Profile,
    parts: Vec<(i64, Profile)>,
) -> Result<(), StoreError> {
    let mut empty = tx.prepare_cached("UPDATE rollup SET stacks = x'' WHERE id = ?1")?;
    let mut shares = Vec::with_capacity(parts.len());
    for (id, part) in parts {
        empty.execute([id])?;
        shares.push((id, Share { places: places(&part, whole), counts: part.counts }));
    }
    tx.prepare_cached("UPDATE rollup SET split = ?4 WHERE level = ?1 AND start = ?2 AND series = ?3")?.execute((
        level as u8,
        start,
        series,
        Split::new(whole, shares)?.encode(),
    ))?;
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
