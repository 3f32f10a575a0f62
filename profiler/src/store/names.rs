//! Names for locations: the symbolizer's answers, stored as they come.

use rusqlite::{OptionalExtension, Transaction};

use super::intern::Interned;
use super::name_status::write_status;
use super::{LocationId, Store, StoreError};
use crate::profile::{BinaryKey, NameStatus, Symbol, Symbolized, UnknownReason};

/// The state of a location that has names; from 2 on it is an [`UnknownReason`].
const NAMED: u8 = 1;

/// Inlined functions kept of one location; the deepest real ones are a few dozen.
const MAX_INLINED: usize = 128;

impl Store {
    /// Stores names in one transaction. Better names replace older ones.
    ///
    /// # Errors
    /// Anything SQLite reports; nothing of the call is stored then.
    pub fn write_names(&mut self, names: &[(LocationId, Symbolized)]) -> Result<(), StoreError> {
        self.transact(|tx, interned| names.iter().try_for_each(|(id, name)| write_name(tx, interned, *id, name)))?;
        names.iter().for_each(|(id, _)| self.interned.answered(*id));
        Ok(())
    }

    /// The same with what is known of the binary that they all lie in.
    ///
    /// # Errors
    /// As above.
    pub fn write_names_of(
        &mut self,
        binary: &BinaryKey,
        status: &NameStatus,
        names: &[(LocationId, Symbolized)],
    ) -> Result<(), StoreError> {
        self.transact(|tx, interned| {
            write_status(tx, binary, status)?;
            names.iter().try_for_each(|(id, name)| write_name(tx, interned, *id, name))
        })?;
        names.iter().for_each(|(id, _)| self.interned.answered(*id));
        Ok(())
    }
}

pub(super) fn write_name(
    tx: &Transaction<'_>,
    interned: &mut Interned,
    LocationId(id): LocationId,
    name: &Symbolized,
) -> Result<(), StoreError> {
    let (state, begin, symbols): (u8, Option<i64>, &[Symbol]) = match name {
        Symbolized::Named(symbols) if !symbols.is_empty() => (NAMED, None, symbols),
        Symbolized::Named(_) => (UnknownReason::NotFound as u8, None, &[]),
        Symbolized::Unknown(reason) => (*reason as u8, None, &[]),
        Symbolized::Nameless(reason, begin) => (*reason as u8, Some(begin.cast_signed()), &[]),
    };
    let before: Option<(u8, Option<i64>)> = tx
        .prepare_cached("SELECT state, begin FROM location WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match before {
        // A location that the store never gave out.
        None => return Ok(()),
        Some((0, _)) => {}
        // Asked again, and nothing new: readers need not look.
        Some(before) if before == (state, begin) && symbols.is_empty() => return Ok(()),
        Some(_) => {
            tx.prepare_cached("DELETE FROM location_frame WHERE location = ?1")?.execute([id])?;
            tx.prepare_cached("UPDATE meta SET value = value + 1 WHERE key = 'renames'")?.execute([])?;
        }
    }
    tx.prepare_cached("UPDATE location SET state = ?2, begin = ?3 WHERE id = ?1")?.execute((id, state, begin))?;
    // Of an absurdly long list, the function that really stands in the file is kept.
    let symbols = &symbols[symbols.len().saturating_sub(MAX_INLINED)..];
    for (position, symbol) in (0_u32..).zip(symbols) {
        let (file, line) = symbol.source.as_ref().map_or(("", 0), |source| (&source.file, source.line.unwrap_or(0)));
        let function = interned.function(tx, symbol, file)?;
        tx.prepare_cached(
            "INSERT INTO location_frame (location, position, function, line, inlined, declared) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((id, position, function, line, symbol.inlined, symbol.declared))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tempfile::TempDir;

    use super::super::drawing::{name_all, window};
    use super::*;
    use crate::profile::SourceLine;

    fn store() -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&folder.path().join("x.db")).unwrap();
        (folder, store)
    }

    fn count(store: &Store, sql: &str) -> i64 {
        store.conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Busiest leaves come first; a location is asked for in each window until it has its answer, whatever that is.
    #[test]
    fn locations_wait_for_an_answer() {
        let (_folder, mut store) = store();
        let unnamed = store.write_window(&window(0, "web/7  a;b x1\nweb/7  a;c x5\nweb/8  c x1")).unwrap();
        let leaves: Vec<_> = unnamed.iter().map(|unnamed| unnamed.weight).collect();
        assert_eq!(leaves, [6, 1, 0]);
        store.write_names(&[(unnamed[0].location, Symbolized::Unknown(UnknownReason::NotFound))]).unwrap();
        let again = store.write_window(&window(1, "web/7  a;b x1\nweb/7  a;c x5")).unwrap();
        assert_eq!(
            again.iter().map(|unnamed| unnamed.location).collect::<Vec<_>>(),
            [unnamed[1].location, unnamed[2].location]
        );
        name_all(&mut store, &again);
        assert_eq!(store.write_window(&window(2, "web/7  a;b x1")).unwrap(), []);
        // Nor after the caches are gone.
        store.interned = Interned::new();
        assert_eq!(store.write_window(&window(3, "web/7  a;b x1")).unwrap(), []);
    }

    /// What had no name for a reason that may pass (a crash, no debug package) is asked for once more in the next run; readers are
    /// told only when something has changed.
    #[test]
    fn reasons_that_may_pass_are_asked_again() {
        let (_folder, mut store) = store();
        let unnamed = store.write_window(&window(0, "web/7  a;b x1")).unwrap();
        let failed = Symbolized::Unknown(UnknownReason::SymbolizerFailed);
        let final_ = Symbolized::Unknown(UnknownReason::NotFound);
        store.write_names(&[(unnamed[0].location, failed.clone()), (unnamed[1].location, final_)]).unwrap();
        assert_eq!(store.write_window(&window(1, "web/7  a;b x1")).unwrap(), [], "answered in this run");
        store.interned = Interned::new();
        let again = store.write_window(&window(2, "web/7  a;b x1")).unwrap();
        assert_eq!(again.iter().map(|unnamed| unnamed.location).collect::<Vec<_>>(), [unnamed[0].location]);
        store.write_names(&[(again[0].location, failed)]).unwrap();
        assert_eq!(count(&store, "SELECT value FROM meta WHERE key = 'renames'"), 0);
        assert_eq!(store.write_window(&window(3, "web/7  a;b x1")).unwrap(), []);
    }

    /// Where a function without a name begins is kept until there is a name.
    #[test]
    fn a_name_replaces_the_begin_of_a_nameless_function() {
        let (_folder, mut store) = store();
        let unnamed = store.write_window(&window(0, "web/7  a;b x1\nweb/7  a;c x2")).unwrap();
        let stripped = |begin| Symbolized::Nameless(UnknownReason::NoSymbols, begin);
        let all: Vec<_> = unnamed.iter().map(|unnamed| (unnamed.location, stripped(0x40))).collect();
        store.write_names(&all).unwrap();
        store.write_names(&all).unwrap();
        assert_eq!(count(&store, "SELECT value FROM meta WHERE key = 'renames'"), 0, "nothing new");
        assert_eq!(count(&store, "SELECT count(DISTINCT begin) FROM location WHERE state = 4"), 1);
        let named = Symbolized::Named(vec![Symbol { name: "found".into(), ..Symbol::default() }]);
        store.write_names(&[(unnamed[0].location, named)]).unwrap();
        assert_eq!(count(&store, "SELECT count(*) FROM location WHERE begin IS NULL"), 1);
    }

    /// A better answer replaces the one before, frames and all, and readers are told.
    #[test]
    fn names_can_improve() {
        let (_folder, mut store) = store();
        let unnamed = store.write_window(&window(0, "web/7  a x1")).unwrap();
        let symbol = |name: &str, inlined| Symbol {
            name: name.into(),
            raw: None,
            source: Some(SourceLine { file: "a.c".into(), line: None }),
            declared: None,
            inlined,
        };
        let mut write = |symbols| store.write_names(&[(unnamed[0].location, Symbolized::Named(symbols))]).unwrap();
        write(vec![symbol("x", true), symbol("y", true), symbol("z", false)]);
        write(vec![symbol("z", false)]);
        write(Vec::new());
        assert_eq!(count(&store, "SELECT count(*) FROM location_frame"), 0);
        assert_eq!(count(&store, "SELECT state FROM location"), i64::from(UnknownReason::NotFound as u8));
        assert_eq!(count(&store, "SELECT value FROM meta WHERE key = 'renames'"), 2);
        // A row nobody gave out is ignored.
        store.write_names(&[(LocationId(99), Symbolized::Unknown(UnknownReason::FileGone))]).unwrap();
    }
}
