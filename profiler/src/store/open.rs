//! Opening and closing the writer's connection.
//!
//! Order of things: look at the file without touching it, take the lock, look again, open, check if there is reason to,
//! migrate. Damage found on the way sets the file aside and begins a new one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::file::{self, Found};
use super::migrate::{self, APPLICATION_ID, VERSION};
use super::{Store, StoreError};

/// Up to this size the file is checked at every start (measured: 64 MiB take about 0.1 s); a larger one only when the
/// last writer did not close it: then something happened that this program does not know of.
const ALWAYS_CHECKED_BYTES: u64 = 64 << 20;

/// The log's file shrinks to this after a checkpoint.
const LOG_LIMIT_BYTES: i64 = 64 << 20;

/// Part of the profiler's 150 MiB: SQLite's page cache of the writer, in KiB.
const CACHE_KIB: i64 = 4 << 10;

/// How long to wait for a lock that a reader's recovery or another tool holds.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Most statements in use at once, so that none is parsed twice.
const STATEMENTS: usize = 64;

impl Store {
    /// Opens or creates the database, migrating it. A damaged file is set aside (renamed, never deleted) and a new one
    /// begun; the returned path says where the damaged one went.
    ///
    /// The whole file is checked (`PRAGMA quick_check`) if it is small or the last writer did not call [`Store::close`].
    ///
    /// # Errors
    /// Permission, another writer, a newer version's file, another program's database, not a file, disk full.
    pub fn open(path: &Path) -> Result<(Self, Option<PathBuf>), StoreError> {
        file::inspect(path)?;
        let path = file::settle(path)?;
        let lock = file::lock(&path)?;
        let damaged = match file::inspect(&path)? {
            Found::Nothing => false,
            Found::Ours { whole, .. } => !whole,
            Found::Damaged => true,
        };
        if !damaged {
            match connect(&path) {
                Ok(conn) => return Ok((Self::new(conn, path, lock), None)),
                Err(StoreError::Damaged(_) | StoreError::BadRow(_)) => {}
                Err(other) => return Err(other),
            }
        }
        let aside = file::set_aside(&path)?;
        let conn = connect(&path)?;
        Ok((Self::new(conn, path, lock), Some(aside)))
    }

    /// Moves the log into the main file and marks the database as whole. Dropping a store instead loses nothing, and makes
    /// the next start check the file.
    ///
    /// # Errors
    /// Anything SQLite reports; the data is safe in the log then.
    pub fn close(self) -> Result<(), StoreError> {
        let Self { conn, damaged, .. } = self;
        if !damaged {
            set_clean(&conn, true)?;
        }
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        conn.close().map_err(|(_, error)| error.into())
    }
}

fn set_clean(conn: &Connection, clean: bool) -> Result<(), StoreError> {
    conn.execute("UPDATE meta SET value = ?1 WHERE key = 'clean_shutdown'", [clean])?;
    Ok(())
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let new = file::inspect(path)? == Found::Nothing;
    if new {
        file::create(path)?;
    }
    let mut conn =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    if conn.is_readonly("main")? {
        return Err(StoreError::ReadOnly(path.into()));
    }
    conn.busy_timeout(BUSY_WAIT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    if new {
        // Before anything is written; the application id first, so that no crash leaves a file that is not ours.
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    // A hostile or damaged schema must not run anything (https://sqlite.org/security.html).
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "journal_size_limit", LOG_LIMIT_BYTES)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    if !new {
        // The log is part of the database by now: what it says counts.
        check_version(&conn, path)?;
        check(&conn, path)?;
    }
    migrate::migrate(&mut conn)?;
    set_clean(&conn, false)?;
    Ok(conn)
}

fn check_version(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > VERSION {
        return Err(StoreError::Newer { path: path.into(), found, supported: VERSION });
    }
    Ok(())
}

fn check(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let small = path.metadata().is_ok_and(|meta| meta.len() <= ALWAYS_CHECKED_BYTES);
    let clean = conn.query_row("SELECT value FROM meta WHERE key = 'clean_shutdown'", [], |row| row.get(0));
    // A database killed before its first migration has no such table.
    if !small && clean.unwrap_or(false) {
        return Ok(());
    }
    let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::BadRow("quick_check found damage")) }
}
