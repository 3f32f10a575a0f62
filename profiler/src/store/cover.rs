//! The fewest pieces that make up a range: days, where a whole day lies inside, then hours, five minutes and windows at the edges.
//!
//! A window belongs to a range when its wall-clock start lies inside; so does a roll-up whose parts are gone already. So the pieces
//! of two ranges that touch are those of both together, none twice, none missing.

use rusqlite::{Connection, Row};

use super::level::Level;
use super::numbers::{COLUMNS, Numbers};
use super::series::{self, Series, SeriesId};
use super::{RowMap, StoreError};
use crate::profile::TimeRange;

/// A window or a roll-up, without its stacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where its stacks are.
    pub(super) place: Place,
    /// Wall clock at its start.
    pub(crate) start: i64,
    /// How much time it stands for, in nanoseconds: a roll-up's own length, also where windows are missing.
    pub(crate) span: i64,
    /// What its samples are of.
    pub(crate) series: Series,
    /// Its numbers.
    pub(crate) numbers: Numbers,
}

/// Where a piece's stacks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// This row of `rollup`.
    Rollup(i64),
    /// This row of `rollup`, which has given its samples to its hour.
    Part(i64),
    /// This row of `fresh`.
    Fresh(i64),
    /// This window in the roll-up of its five minutes.
    Packed(i64),
}

impl Place {
    /// The row.
    pub(super) const fn id(self) -> i64 {
        match self {
            Self::Rollup(id) | Self::Part(id) | Self::Fresh(id) | Self::Packed(id) => id,
        }
    }
}

/// The pieces of `range`, in order of time. Roll-ups longer than `longest` nanoseconds stand only where nothing finer is left.
pub(super) fn cover(conn: &Connection, range: TimeRange, longest: i64) -> Result<Vec<Piece>, StoreError> {
    let mut cover = Cover { conn, longest, series: series::of_cpu(conn)?, pieces: Vec::new() };
    let (from, to) = (range.from.0, range.to.0);
    cover.level(Level::Day, from, to)?;
    cover.windows("packed = 0", Place::Fresh, from, to)?;
    cover.pieces.sort_by_key(|piece| piece.start);
    Ok(cover.pieces)
}

/// The windows that any instant of `range` lies in, where they are told apart. None is longer than [`LONGEST_WINDOW`].
pub(super) fn windows(conn: &Connection, range: TimeRange) -> Result<Vec<Piece>, StoreError> {
    let mut cover = Cover { conn, longest: 0, series: series::of_cpu(conn)?, pieces: Vec::new() };
    let from = range.from.0.saturating_sub(LONGEST_WINDOW);
    cover.windows("packed = 1", Place::Packed, from, range.to.0)?;
    cover.windows("packed = 0", Place::Fresh, from, range.to.0)?;
    cover.pieces.retain(|piece| piece.numbers.wall_end > range.from.0);
    cover.pieces.sort_by_key(|piece| piece.start);
    Ok(cover.pieces)
}

/// Windows are seconds to minutes long: `--window` goes up to an hour.
const LONGEST_WINDOW: i64 = 3_600_000_000_000;

struct Cover<'a> {
    conn: &'a Connection,
    longest: i64,
    /// What is asked about: other rows are not seen.
    series: RowMap<SeriesId, Series>,
    pieces: Vec<Piece>,
}

impl Cover<'_> {
    fn level(&mut self, level: Level, from: i64, to: i64) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let mut select = self.conn.prepare_cached(&format!(
            "SELECT id, start, series, finest, windows, length(stacks) = 0, {COLUMNS} FROM rollup
             WHERE level = ?1 AND start > ?2 AND start < ?3 ORDER BY start"
        ))?;
        let mut rows = select.query((level as u8, from.saturating_sub(level.length()), to))?;
        let mut found: Vec<(bool, Piece)> = Vec::new();
        while let Some(row) = rows.next()? {
            if let Some(series) = self.series.get(&row.get(2)?) {
                found.push((row.get(3)?, rollup(level, *series, row)?));
            }
        }
        let mut at = from;
        for same_time in found.chunk_by(|(_, a), (_, b)| a.start == b.start) {
            let (start, end) = (same_time[0].1.start, level.end_of(same_time[0].1.start));
            self.finer(level, at, start)?;
            let finest = same_time.iter().any(|(finest, _)| *finest);
            let whole = start >= from && end <= to && level.length() <= self.longest;
            if (finest && start >= from) || (!finest && whole) {
                self.pieces.extend(same_time.iter().map(|(_, piece)| piece.clone()));
            } else if !finest {
                match level.finer() {
                    Some(finer) => self.level(finer, start.max(from), end.min(to))?,
                    None => self.windows("packed = 1", Place::Packed, start.max(from), end.min(to))?,
                }
            }
            at = end.max(at);
        }
        self.finer(level, at, to)
    }

    /// A time without a row of `level`: what is packed in it is in finer ones.
    fn finer(&mut self, level: Level, from: i64, to: i64) -> Result<(), StoreError> {
        level.finer().map_or(Ok(()), |finer| self.level(finer, from, to))
    }

    fn windows(&mut self, which: &str, place: fn(i64) -> Place, from: i64, to: i64) -> Result<(), StoreError> {
        let mut select = self.conn.prepare_cached(&format!(
            "SELECT id, wall_start, series, {COLUMNS} FROM window
             WHERE {which} AND wall_start >= ?1 AND wall_start < ?2 ORDER BY wall_start"
        ))?;
        let mut rows = select.query((from, to))?;
        while let Some(row) = rows.next()? {
            let Some(series) = self.series.get(&row.get(2)?) else { continue };
            let numbers = Numbers::read(row, 3, 1)?;
            self.pieces.push(Piece {
                place: place(row.get(0)?),
                start: row.get(1)?,
                span: numbers.length.cast_signed(),
                series: *series,
                numbers,
            });
        }
        Ok(())
    }
}

fn rollup(level: Level, series: Series, row: &Row<'_>) -> Result<Piece, StoreError> {
    Ok(Piece {
        place: if row.get(5)? { Place::Part(row.get(0)?) } else { Place::Rollup(row.get(0)?) },
        start: row.get(1)?,
        span: level.length(),
        series,
        numbers: Numbers::read(row, 6, row.get(4)?)?,
    })
}
