//! What is known of a binary's names besides the names: what was looked for, and where it was found.

use rusqlite::{OptionalExtension, Transaction};

use super::intern::identity;
use super::{Reader, Snapshot, Store, StoreError};
use crate::profile::{BinaryKey, FoundSource, NameSource, NameStatus, UnknownReason};

/// What is known of a place's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocationStatus {
    /// Row of its binary.
    pub(crate) binary: i64,
    /// `Ok` when it has one.
    pub(crate) named: Result<(), Option<UnknownReason>>,
    /// Functions inlined there.
    pub(crate) inlined: u64,
}

/// Keeps what is known; the newest look holds. A look that saw nothing (no child, no file) leaves what is there.
pub(super) fn write_status(tx: &Transaction<'_>, binary: &BinaryKey, status: &NameStatus) -> Result<(), StoreError> {
    if *status == NameStatus::default() {
        return Ok(());
    }
    let id: Option<i64> = tx
        .prepare_cached("SELECT id FROM binary WHERE identity = ?1")?
        .query_row([identity(binary)], |row| row.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(()) };
    for FoundSource { source, found } in &status.sources {
        tx.prepare_cached(
            "INSERT INTO name_source (binary, source, found) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET found = excluded.found WHERE found IS NOT excluded.found",
        )?
        .execute((id, *source as u8, found))?;
    }
    if let Some(package) = &status.package {
        tx.prepare_cached("UPDATE binary SET package = ?2 WHERE id = ?1 AND package IS NOT ?2")?
            .execute((id, package))?;
    }
    Ok(())
}

impl Store {
    /// Keeps what another database knows of its binaries, of those that are here too.
    ///
    /// # Errors
    /// Anything SQLite reports; nothing of the call is stored then.
    pub fn write_statuses(&mut self, statuses: &[(BinaryKey, NameStatus)]) -> Result<(), StoreError> {
        self.transact(|tx, _| statuses.iter().try_for_each(|(binary, status)| write_status(tx, binary, status)))
    }
}

impl Reader {
    /// What is known of the names of each binary, as far as anything is.
    ///
    /// # Errors
    /// Anything SQLite reports.
    pub fn name_statuses(&mut self) -> Result<Vec<(BinaryKey, NameStatus)>, StoreError> {
        let snapshot = self.snapshot()?;
        let mut select = snapshot.tx.prepare_cached(
            "SELECT id FROM binary WHERE package IS NOT NULL OR id IN (SELECT binary FROM name_source)",
        )?;
        let ids = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        ids.into_iter().map(|id| Ok((snapshot.binary(id)?.key.clone(), snapshot.name_status(id)?))).collect()
    }
}

impl Snapshot<'_> {
    /// What is known of a place's name.
    pub(crate) fn location_status(&self, location: u32) -> Result<LocationStatus, StoreError> {
        let found: Option<(i64, u8, u64)> = self
            .tx
            .prepare_cached(
                "SELECT binary, state, (SELECT count(*) FROM location_frame WHERE location = id AND inlined) FROM location
                 WHERE id = ?1",
            )?
            .query_row([location], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs())))
            .optional()?;
        let (binary, state, inlined) = found.ok_or(StoreError::BadRow("a stack names a location that is not there"))?;
        let named = if state == 1 { Ok(()) } else { Err(UnknownReason::from_u8(state)) };
        Ok(LocationStatus { binary, named, inlined })
    }

    /// What is known of a binary's names.
    pub(crate) fn name_status(&self, binary: i64) -> Result<NameStatus, StoreError> {
        let mut select =
            self.tx.prepare_cached("SELECT source, found FROM name_source WHERE binary = ?1 ORDER BY source")?;
        let rows = select.query_map([binary], |row| Ok((row.get::<_, u8>(0)?, row.get(1)?)))?;
        let mut sources = Vec::new();
        for row in rows {
            let (source, found) = row?;
            let source = NameSource::from_u8(source).ok_or(StoreError::BadRow("an unknown source of names"))?;
            sources.push(FoundSource { source, found });
        }
        let package = self
            .tx
            .prepare_cached("SELECT package FROM binary WHERE id = ?1")?
            .query_row([binary], |row| row.get(0))
            .optional()?;
        Ok(NameStatus { sources, package: package.flatten() })
    }

    /// The program that wrote code without a file: path of its executable, or its name.
    pub(crate) fn program_of(&self, binary: &BinaryKey) -> Result<Option<String>, StoreError> {
        let BinaryKey::Jit { boot_id, pid, start, .. } = binary else { return Ok(None) };
        let found: Option<(String, String)> = self
            .tx
            .prepare_cached(
                "SELECT exe.text, comm.text FROM process JOIN string AS exe ON exe.id = process.exe
                 JOIN string AS comm ON comm.id = process.comm JOIN string AS boot ON boot.id = process.boot
                 WHERE start_ticks = ?1 AND pid = ?2 AND boot.text = ?3 ORDER BY process.id DESC LIMIT 1",
            )?
            .query_row((start.0.cast_signed(), pid, boot_id), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(found.map(|(exe, comm)| if exe.is_empty() { comm } else { exe }))
    }
}
