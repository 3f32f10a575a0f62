//! Whether a database is sound: by SQLite's own checks, by what every writer of ours sees to, and blob by blob ([`super::blobs`]).

use std::path::Path;

use rusqlite::Connection;

use super::{Progress, blobs};
use crate::profile::LossCause;
use crate::store::level::Level;
use crate::store::reader::open_existing;
use crate::store::{StoreError, damage};

/// Most findings told of one check.
pub(super) const FINDINGS: usize = 20;

/// What must give no row, and what it means if it does.
const RULES: [(&str, &str); 5] = [
    ("SELECT id FROM window WHERE taken <> stored + lost", "a window's samples taken are not those stored and lost"),
    ("SELECT id FROM rollup WHERE taken <> stored + lost", "a roll-up's samples taken are not those stored and lost"),
    (
        // Each window ends before the next one begins: quick, where a join would not be.
        "SELECT id FROM (SELECT id, boot_start, lag(boot_start + length) OVER (PARTITION BY series, boot ORDER BY boot_start) AS before
         FROM window) WHERE before > boot_start",
        "windows of one series and boot overlap",
    ),
    (
        "SELECT id FROM location WHERE state = 1 AND id NOT IN (SELECT location FROM location_frame)",
        "a named location has no name",
    ),
    ("SELECT count FROM tally WHERE count < 0", "a sum is negative"),
];

/// Checks everything; returns what is wrong, nothing when all is well.
///
/// # Errors
/// Those of opening; damage that keeps a check from being made is a finding, not an error.
pub fn check(path: &Path, progress: Progress<'_>) -> Result<Vec<String>, StoreError> {
    let (_tidy, conn) = open_existing(path)?;
    let rows: i64 = conn.query_row(blobs::ROWS, [], |row| row.get(0))?;
    let steps = 1 + RULES.len() as u64 + rows.max(0).cast_unsigned();
    let mut found = Vec::new();
    let mut done = 0;
    let mut step = |found: &mut Vec<String>, result: Result<Vec<String>, StoreError>| {
        match result {
            Ok(findings) => found.extend(findings),
            Err(error) if error.is_damage() => found.push(error.to_string()),
            Err(error) => return Err(error),
        }
        done += 1;
        progress(done, steps);
        Ok(())
    };
    let rows = |sql: &str, tell: &dyn Fn(String) -> Option<String>| -> Result<Vec<String>, StoreError> {
        let mut select = conn.prepare(sql)?;
        let mut rows = select.query([])?;
        let mut found = Vec::new();
        while found.len() < FINDINGS
            && let Some(row) = rows.next()?
        {
            let cell = match row.get_ref(0)? {
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                other => format!("{other:?}"),
            };
            found.extend(tell(cell));
        }
        Ok(found)
    };
    step(&mut found, rows("PRAGMA integrity_check(20)", &|line| (line != "ok").then_some(line)))?;
    for (sql, meaning) in RULES {
        step(&mut found, rows(sql, &|row| Some(format!("{meaning} (row {row})"))))?;
    }
    found.extend(set_aside(&conn)?);
    match blobs::check(&conn, || {
        done += 1;
        progress(done.min(steps), steps);
    }) {
        Ok(findings) => found.extend(findings),
        Err(error) if error.is_damage() => found.push(error.to_string()),
        Err(error) => return Err(error),
    }
    Ok(found)
}

/// Rows that the writer has set aside, where they are the finest of their time.
fn set_aside(conn: &Connection) -> Result<Vec<String>, StoreError> {
    let mut select = conn.prepare(
        "SELECT * FROM (SELECT NULL, wall_start AS start, json_extract(losses, ?1) AS n FROM window
                        UNION ALL SELECT level, start, json_extract(losses, ?1) FROM rollup WHERE finest = 1)
         WHERE n > 0 ORDER BY start LIMIT ?2",
    )?;
    let cause = format!("$.\"{}\"", LossCause::Damaged as u8);
    let mut rows = select.query((cause, FINDINGS as u32))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let number: Option<u8> = row.get(0)?;
        let level = Level::ALL.into_iter().find(|level| Some(*level as u8) == number);
        let (start, samples): (i64, i64) = (row.get(1)?, row.get(2)?);
        found.push(format!("{} has lost {samples} samples to damage that was met before", damage::name(level, start)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::Store;
    use crate::store::drawing::{name_all, window};

    fn database() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        for n in 0..20 {
            let unnamed = store.write_window(&window(n, "web/7  main;serve x5")).unwrap();
            name_all(&mut store, &unnamed);
        }
        store.close().unwrap();
        (folder, path)
    }

    /// What our own writer wrote is sound, and the way there is told.
    #[test]
    fn a_database_of_ours_passes() {
        let (_folder, path) = database();
        let mut last = (0, 0);
        assert_eq!(check(&path, &mut |done, of| last = (done, of)).unwrap(), Vec::<String>::new());
        assert!(last.0 == last.1 && last.1 > 0, "{last:?}");
    }

    /// Wrong books are found although SQLite has nothing against them; so is a page that makes no sense.
    #[test]
    fn wrong_books_and_wrong_pages_are_found() {
        let (_folder, path) = database();
        let conn = Connection::open(&path).unwrap();
        conn.execute("UPDATE window SET taken = taken + 1 WHERE id = 3", []).unwrap();
        drop(conn);
        let found = check(&path, &mut |_, _| {}).unwrap();
        assert!(found.len() == 1 && found[0].contains("(row 3)"), "{found:?}");
        let bytes = std::fs::read(&path).unwrap();
        let mut bad = bytes.clone();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bad[middle..middle + 4096].fill(0xa5);
        std::fs::write(&path, bad).unwrap();
        assert!(!check(&path, &mut |_, _| {}).unwrap().is_empty());
    }
}
