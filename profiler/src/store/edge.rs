//! What a range has of an hour that does not lie in it as a whole: some of its five minutes, and some windows of two more.
//!
//! The rows are read first; adding up is left to any thread, for it takes most of a question's time. One walk through the hour's
//! halves serves its five minutes and those that windows are taken out of.

use rusqlite::Connection;

use super::StoreError;
use super::codec::{Group, Profile};
use super::cover::{Piece, Place};
use super::level::Level;
use super::rollup_row::Raw;
use super::series::Series;

/// A part of an hour.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Samples per second and CPU.
    pub(crate) hz: u32,
    hour: Option<Raw>,
    /// Five minutes of it.
    parts: Vec<i64>,
    /// Other five minutes, and some windows of each.
    minutes: Vec<(Raw, Vec<i64>)>,
}

/// Takes the pieces out that are parts of rows.
pub(super) fn take(conn: &Connection, pieces: &mut Vec<Piece>) -> Result<Vec<Edge>, StoreError> {
    let is_part = |piece: &mut Piece| matches!(piece.place, Place::Part(_) | Place::Packed(_));
    let mut parts: Vec<Piece> = pieces.extract_if(.., is_part).collect();
    let hour = |piece: &Piece| (Level::Hour.start_of(piece.start), piece.series.id);
    parts.sort_by_key(|piece| (hour(piece), piece.start));
    parts.chunk_by(|a, b| hour(a) == hour(b)).map(|parts| Edge::read(conn, hour(&parts[0]).0, parts)).collect()
}

impl Edge {
    fn read(conn: &Connection, hour: i64, pieces: &[Piece]) -> Result<Self, StoreError> {
        let Series { id: series, hz, .. } = pieces[0].series;
        let mut edge = Self { hz, hour: None, parts: Vec::new(), minutes: Vec::new() };
        let minutes = |piece: &Piece| Level::Minutes.start_of(piece.start);
        for same in pieces.chunk_by(|a, b| minutes(a) == minutes(b)) {
            let windows = same.iter().filter(|piece| matches!(piece.place, Place::Packed(_)));
            let windows: Vec<_> = windows.map(|piece| piece.place.id()).collect();
            if !windows.is_empty() {
                let row = Raw::read(conn, Level::Minutes, minutes(&same[0]), series)?;
                edge.minutes.push((row.ok_or(StoreError::BadRow("a packed window without its roll-up"))?, windows));
            }
            edge.parts.extend(same.iter().filter(|p| matches!(p.place, Place::Part(_))).map(|p| p.place.id()));
        }
        if !edge.parts.is_empty() || edge.minutes.iter().any(|(row, _)| row.has_given()) {
            edge.hour = Raw::read(conn, Level::Hour, hour, series)?;
        }
        Ok(edge)
    }

    /// All who may have samples in it, and others.
    pub(crate) fn candidates(&self) -> Result<Vec<Group>, StoreError> {
        let mut groups = self.hour.as_ref().map_or_else(|| Ok(Vec::new()), Raw::groups)?;
        for (row, _) in self.minutes.iter().filter(|(row, _)| !row.has_given()) {
            groups.extend(row.groups()?);
        }
        Ok(groups)
    }

    /// The samples: profiles to be added up.
    pub(crate) fn profiles(self) -> Result<Vec<Profile>, StoreError> {
        let mut sets = vec![self.parts];
        sets.extend(self.minutes.iter().filter(|(row, _)| row.has_given()).map(|(row, _)| vec![row.id]));
        let mut given = match self.hour {
            Some(hour) => hour.open(None)?.sums(&sets)?,
            None => Vec::new(),
        }
        .into_iter();
        let mut profiles: Vec<_> = given.next().into_iter().collect();
        for (row, windows) in self.minutes {
            let samples = if row.has_given() { given.next() } else { None };
            profiles.extend(row.open(samples)?.sums(&[windows])?);
        }
        Ok(profiles)
    }
}
