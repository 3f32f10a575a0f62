//! Naming again what was stored before: which places have no name, and better names for them.

use rusqlite::{Connection, OptionalExtension, Transaction};
use std::sync::Arc;

use super::intern::identity;
use super::name_status::write_status;
use super::names::write_name;
use super::place::binary;
use super::{LocationId, Reader, Store, StoreError};
use crate::profile::{Binary, BinaryKey, NameStatus, Symbolized, UnknownReason};

/// Places in one binary whose names may be better now.
#[derive(Clone, Debug)]
pub struct Unnamed {
    /// The binary, without its file.
    pub binary: Arc<Binary>,
    /// Each place with its offset.
    pub places: Vec<(LocationId, u64)>,
}

/// What was found out about a binary's places, for [`Store::write_better_names`].
#[derive(Clone, Debug)]
pub struct Renamed {
    /// The binary.
    pub binary: Arc<Binary>,
    /// What was found where.
    pub status: NameStatus,
    /// The names.
    pub names: Vec<(LocationId, Symbolized)>,
}

impl Store {
    /// Binaries with places that have no name; with `all`, those with any place.
    ///
    /// # Errors
    /// Anything SQLite reports.
    pub fn unnamed_binaries(&self, all: bool) -> Result<Vec<i64>, StoreError> {
        let mut select = self.conn.prepare(
            "SELECT binary FROM location WHERE ?1 OR state <> 1 GROUP BY binary ORDER BY sum(state <> 1) DESC, binary",
        )?;
        Ok(select.query_map([all], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// The places of a binary that have no name; with `all`, all of them.
    ///
    /// # Errors
    /// Anything SQLite reports; no such binary.
    pub fn unnamed_of(&self, id: i64, all: bool) -> Result<Unnamed, StoreError> {
        let mut select = self
            .conn
            .prepare_cached("SELECT id, offset FROM location WHERE binary = ?1 AND (?2 OR state <> 1) ORDER BY id")?;
        let place = |row: &rusqlite::Row<'_>| Ok((LocationId(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned()));
        let places = select.query_map((id, all), place)?.collect::<Result<_, _>>()?;
        Ok(Unnamed { binary: binary(&self.conn, id)?, places })
    }

    /// The places without a name of a binary that is at hand; none of one that is not stored.
    ///
    /// # Errors
    /// Anything SQLite reports.
    pub fn unnamed_in(&self, binary: &BinaryKey) -> Result<Vec<(LocationId, u64)>, StoreError> {
        let id: Option<i64> = self
            .conn
            .prepare_cached("SELECT id FROM binary WHERE identity = ?1")?
            .query_row([identity(binary)], |row| row.get(0))
            .optional()?;
        id.map_or(Ok(Vec::new()), |id| Ok(self.unnamed_of(id, false)?.places))
    }

    /// Stores what is better than what is there, all in one transaction: a name where there was none, or more inlined functions and
    /// lines than there were. Says how many places each binary gained.
    ///
    /// # Errors
    /// Anything SQLite reports; nothing of the call is stored then.
    pub fn write_better_names(&mut self, renamed: &[Renamed]) -> Result<Vec<u64>, StoreError> {
        self.transact(|tx, interned| {
            let mut gained = Vec::with_capacity(renamed.len());
            for Renamed { binary, status, names } in renamed {
                let mut better = 0;
                write_status(tx, &binary.key, status)?;
                for (id, name) in names {
                    if is_better(tx, *id, name)? {
                        write_name(tx, interned, *id, name)?;
                        better += 1;
                    }
                }
                gained.push(better);
            }
            Ok(gained)
        })
    }
}

impl Reader {
    /// Places without a name.
    ///
    /// # Errors
    /// Anything SQLite reports.
    pub fn unnamed(&mut self) -> Result<u64, StoreError> {
        let snapshot = self.snapshot()?;
        Ok(snapshot.tx.query_row("SELECT count(*) FROM location WHERE state <> 1", [], |row| {
            row.get::<_, i64>(0).map(i64::unsigned_abs)
        })?)
    }
}

/// Whether an answer says more than the one that is stored.
fn is_better(tx: &Transaction<'_>, LocationId(id): LocationId, name: &Symbolized) -> Result<bool, StoreError> {
    let Symbolized::Named(symbols) = name else { return Ok(false) };
    let lines = symbols.iter().filter(|symbol| symbol.source.is_some()).count();
    Ok(told(tx, id)?.is_some_and(|before| before < (symbols.len(), lines)))
}

/// Functions at a place, and how many of them have a file; `None` when there is no such place.
fn told(conn: &Connection, id: i64) -> Result<Option<(usize, usize)>, StoreError> {
    let known: Option<u8> = conn
        .prepare_cached("SELECT state FROM location WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    if known.is_none() || known.is_some_and(|state| state != 1 && UnknownReason::from_u8(state).is_none() && state != 0)
    {
        return Ok(None);
    }
    let mut select = conn.prepare_cached(
        "SELECT count(*), coalesce(sum(file.text <> ''), 0) FROM location_frame JOIN function ON function.id = function
         JOIN string AS file ON file.id = function.file WHERE location = ?1",
    )?;
    let (functions, files): (i64, i64) = select.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Some((functions.unsigned_abs() as usize, files.unsigned_abs() as usize)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::{SourceLine, Symbol};
    use crate::store::drawing::window;

    fn named(inlined: usize, line: bool) -> Symbolized {
        let source = line.then(|| SourceLine { file: "a.c".into(), line: Some(1) });
        let symbol = |inlined| Symbol { name: "f".into(), source: source.clone(), inlined, ..Symbol::default() };
        Symbolized::Named((0..inlined).map(|_| symbol(true)).chain([symbol(false)]).collect())
    }

    /// What has no name is listed by binary; names come to what had none, or become more, never less; samples are not touched.
    #[test]
    fn names_become_better_and_never_worse() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        let unnamed = store.write_window(&window(0, "web/7  a;b x5\nweb/8  a;k:r x1")).unwrap();
        let unknown = Symbolized::Unknown(UnknownReason::NoSymbols);
        store.write_names(&unnamed.iter().map(|at| (at.location, unknown.clone())).collect::<Vec<_>>()).unwrap();
        let samples = |store: &Store| -> Vec<u8> {
            store.conn.query_row("SELECT stacks FROM fresh", [], |row| row.get(0)).unwrap()
        };
        let before = samples(&store);
        let ids = store.unnamed_binaries(false).unwrap();
        assert_eq!(ids.len(), 2);
        let app = store.unnamed_of(ids[0], false).unwrap();
        assert_eq!((app.binary.path.as_str(), app.places.len()), ("/usr/bin/app", 2));
        let mut write = |name: &Symbolized| {
            let names = app.places.iter().map(|(id, _)| (*id, name.clone())).collect();
            let renamed = Renamed { binary: Arc::clone(&app.binary), status: NameStatus::default(), names };
            store.write_better_names(&[renamed]).unwrap()
        };
        let gained =
            [&unknown, &named(0, false), &named(0, false), &named(0, true), &named(2, true), &named(0, true), &unknown]
                .map(|name| write(name)[0]);
        assert_eq!(gained, [0, 2, 0, 2, 2, 0, 0]);
        assert_eq!(store.unnamed_binaries(false).unwrap(), ids[1..]);
        assert_eq!(store.unnamed_binaries(true).unwrap().len(), 2);
        assert_eq!(samples(&store), before);
        assert_eq!(Reader::open(&path).unwrap().unnamed().unwrap(), 1);
    }
}
