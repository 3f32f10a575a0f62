//! Opening and closing the writer's connection.
//!
//! Order of things: look at the file without touching it, take the lock, look again, open, check if there is reason to,
//! migrate. Damage found on the way sets the file aside and begins a new one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::file::{self, Found};
use super::migrate::{self, APPLICATION_ID, VERSION};
use super::{Store, StoreError, older};

/// Up to this size the file is checked at every start (measured: 54 MB take 0.08 s); a larger one only when the
/// last writer did not close it: then something happened that this program does not know of.
const ALWAYS_CHECKED_BYTES: u64 = 64 << 20;

/// The log's file shrinks to this after a checkpoint.
const LOG_LIMIT_BYTES: i64 = 64 << 20;

/// Part of the profiler's 150 MiB: SQLite's page cache of the writer, in KiB.
const CACHE_KIB: i64 = 4 << 10;

/// How long to wait for a lock that a reader's recovery or another tool holds.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

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
    pub fn open(asked: &Path) -> Result<(Self, Option<PathBuf>), StoreError> {
        file::inspect(asked)?;
        let path = file::settle(asked)?;
        let lock = file::lock(&path)?;
        let damaged = match file::inspect(&path)? {
            Found::Nothing => false,
            Found::Ours { whole, .. } => !whole,
            Found::Damaged => true,
        };
        if !damaged {
            keep_older(&path);
            match connect(&path) {
                Ok(conn) => return Ok((Self::new(conn, asked, path, lock)?, None)),
                Err(StoreError::Damaged(_) | StoreError::BadRow(_)) => {}
                Err(other) => return Err(other),
            }
        }
        let aside = file::set_aside(&path)?;
        let conn = connect(&path)?;
        Ok((Self::new(conn, asked, path, lock)?, Some(aside)))
    }

    /// Gives a database up in which damage was met: it is set aside with its log, whole, and what [`Store::open`] finds at the
    /// path next is nothing.
    ///
    /// # Errors
    /// The files cannot be renamed; they are where they were.
    pub fn set_aside(self) -> Result<PathBuf, StoreError> {
        let Self { files: _files, conn, path, lock, .. } = self;
        // What is in the log may be what is damaged: it stays a file of its own.
        drop(conn);
        let aside = file::set_aside(&path);
        drop(lock);
        aside
    }

    /// Moves the log into the main file and marks the database as whole. Dropping a store instead loses nothing, and makes
    /// the next start check the file.
    ///
    /// # Errors
    /// Anything SQLite reports; the data is safe in the log then.
    pub fn close(self) -> Result<(), StoreError> {
        let Self { files, conn, damaged, .. } = self;
        if !damaged {
            set_clean(&conn, true)?;
        }
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        files.let_go();
        conn.close().map_err(|(_, error)| error.into())
    }
}

/// A copy of what is about to be migrated. Migrating does not wait for one that cannot be made: it is one transaction, and what is wrong
/// with the file is found when it is opened.
fn keep_older(path: &Path) {
    match older::copy_before_migrating(path) {
        Ok(None) => {}
        Ok(Some(copy)) => tracing::warn!("the copy is {}: delete it when all is well", copy.display()),
        // There is none yet, or it is no database.
        Err(StoreError::Missing(_) | StoreError::Foreign(_) | StoreError::Damaged(_) | StoreError::Older { .. }) => {}
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "no copy was made"),
    }
}

fn set_clean(conn: &Connection, clean: bool) -> Result<(), StoreError> {
    match conn.execute("UPDATE meta SET value = ?1 WHERE key = 'clean_shutdown'", [clean])? {
        1 => Ok(()),
        _ => Err(StoreError::BadRow("it does not say whether it was closed")),
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let new = file::inspect(path)? == Found::Nothing;
    if new {
        file::create(path)?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut conn = Connection::open_with_flags(path, flags)?;
    if conn.is_readonly("main")? {
        return Err(StoreError::ReadOnly(path.into()));
    }
    let set_up = set_up(&mut conn, path, new);
    set_up.map_err(|error| StoreError::of(&conn, error))?;
    Ok(conn)
}

fn set_up(conn: &mut Connection, path: &Path, new: bool) -> Result<(), StoreError> {
    // Only `Store::close` lets closing move the log into the file and delete it, by its path: the file may be damaged, and the path
    // may lead to another one by then.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
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
        check_version(conn, path)?;
        check(conn, path)?;
    }
    migrate::migrate(conn)?;
    set_clean(conn, false)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::super::drawing::window;
    use super::*;

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("x.db");
        (folder, path)
    }

    /// A database with one window, closed properly.
    fn closed(path: &Path) {
        let (mut store, _) = Store::open(path).unwrap();
        store.write_window(&window(0, "web/7  main x5")).unwrap();
        store.close().unwrap();
    }

    fn windows(store: &Store) -> i64 {
        store.conn.query_row("SELECT count(*) FROM window", [], |row| row.get(0)).unwrap()
    }

    fn refusal(path: &Path) -> String {
        Store::open(path).map(drop).unwrap_err().to_string().replace(&*path.to_string_lossy(), "X")
    }

    /// Set aside, whole, and replaced by an empty database that works.
    fn set_aside(path: &Path) -> PathBuf {
        let (store, aside) = Store::open(path).unwrap();
        assert_eq!(windows(&store), 0);
        let aside = aside.unwrap();
        assert!(aside.to_string_lossy().contains("x.db.corrupt-1"), "{aside:?}");
        aside
    }

    /// What others may read of a host is the owner's to say.
    #[test]
    fn a_new_database_is_the_owners_alone() {
        let (folder, _) = folder();
        let path = folder.path().join("a/b/x.db");
        let (mut store, aside) = Store::open(&path).unwrap();
        store.write_window(&window(0, "web/7  main x5")).unwrap();
        assert_eq!(aside, None);
        let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a"), mode("a/b")), (0o700, 0o700));
        assert_eq!((mode("a/b/x.db"), mode("a/b/x.db-wal"), mode("a/b/x.db.lock")), (0o600, 0o600, 0o600));
    }

    /// A database given up while in use keeps all it had, log included, and makes way for a new one.
    #[test]
    fn a_damaged_database_in_use_is_set_aside_whole() {
        let (_folder, path) = folder();
        closed(&path);
        let (mut store, _) = Store::open(&path).unwrap();
        store.write_window(&window(1, "web/7  main x5")).unwrap();
        let aside = store.set_aside().unwrap();
        assert!(!path.exists() && file::has_log(&aside) && !file::has_log(&path));
        let (new, damaged) = Store::open(&path).unwrap();
        assert_eq!((windows(&new), damaged), (0, None));
        let (old, damaged) = Store::open(&aside).unwrap();
        assert_eq!((windows(&old), damaged), (2, None));
    }

    /// What durability and retention rest on is really set, in the file or on the connection.
    #[test]
    fn the_connection_is_durable_and_checked() {
        let (_folder, path) = folder();
        closed(&path);
        let (store, _) = Store::open(&path).unwrap();
        let pragma = |name: &str| {
            store.conn.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap()
        };
        assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
        assert_eq!(pragma("application_id"), i64::from(APPLICATION_ID).into());
        for (name, value) in
            [("synchronous", 2), ("foreign_keys", 1), ("auto_vacuum", 2), ("journal_size_limit", 64 << 20)]
        {
            assert_eq!(pragma(name), value.into(), "{name}");
        }
    }

    /// Closed or dropped, what was written is there; closed, there is no log left to lose.
    #[test]
    fn windows_survive_closing_and_dropping() {
        let (_folder, path) = folder();
        closed(&path);
        assert!(!file::beside(&path, "-wal").exists());
        let (mut store, _) = Store::open(&path).unwrap();
        store.write_window(&window(1, "web/7  main x5")).unwrap();
        drop(store);
        let (store, aside) = Store::open(&path).unwrap();
        assert_eq!((windows(&store), aside), (2, None));
    }

    /// The second of two writers is refused, by whatever name it calls the file, and the first goes on.
    #[test]
    fn two_writers_are_refused() {
        let (folder, path) = folder();
        let (mut store, _) = Store::open(&path).unwrap();
        assert_eq!(refusal(&path), "another profiler is writing to X: stop it, or name another file");
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(Store::open(&link), Err(StoreError::Locked(_))));
        store.write_window(&window(0, "web/7  main x5")).unwrap();
        drop(store);
        assert!(Store::open(&link).is_ok());
    }

    /// Another program's database, a newer version's and a folder stay byte for byte as they were.
    #[test]
    fn what_is_not_ours_is_not_touched() {
        let (folder, path) = folder();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE mail (id); PRAGMA user_version = 1").unwrap();
        drop(other);
        let before = fs::read(&path).unwrap();
        assert_eq!(refusal(&path), "X is not a database of this program: name another file");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(&path, "dear diary").unwrap();
        assert_eq!(refusal(&path), "X is not a database of this program: name another file");
        assert_eq!(fs::read(&path).unwrap(), b"dear diary");
        assert_eq!(refusal(folder.path()), "X is not a regular file: name a file for the database");
        assert_eq!(refusal(Path::new("/dev/null")), "X is not a regular file: name a file for the database");
    }

    /// Both versions are named, whether the main file says so or only the log.
    #[test]
    fn a_newer_database_is_refused() {
        let (_folder, path) = folder();
        closed(&path);
        let newer = Connection::open(&path).unwrap();
        let next = VERSION + 1;
        newer.pragma_update(None, "user_version", next).unwrap();
        let text = format!(
            "X has schema version {next}, this program knows up to {VERSION}: use a newer profiler, or name another file"
        );
        assert!(file::has_log(&path));
        assert_eq!(refusal(&path), text);
        drop(newer);
        assert!(!file::has_log(&path));
        let before = fs::read(&path).unwrap();
        assert_eq!(refusal(&path), text);
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    type Damage = fn(&mut Vec<u8>);

    /// Damage of any sort costs no byte of the old file and no start of the new one.
    #[test]
    fn a_damaged_file_is_set_aside() {
        let damages: [(&str, Damage); 5] = [
            ("not a database", |bytes| *bytes = b"once upon a time".repeat(500)),
            ("shorter than a header", |bytes| bytes.truncate(50)),
            ("cut short", |bytes| bytes.truncate(bytes.len() / 2)),
            ("a page of noise", |bytes| bytes[4096 * 3..4096 * 4].fill(0xa5)),
            ("a broken schema page", |bytes| bytes[100..200].fill(0xff)),
        ];
        for (name, damage) in damages {
            let (_folder, path) = folder();
            closed(&path);
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, &bytes).unwrap();
            let aside = set_aside(&path);
            assert_eq!(fs::read(aside).unwrap(), bytes, "{name}");
        }
    }

    /// A log goes with its database, and a log whose database is gone is not thrown away either.
    #[test]
    fn the_log_is_set_aside_too() {
        let (_folder, path) = folder();
        let (mut store, _) = Store::open(&path).unwrap();
        store.write_window(&window(0, "web/7  main x5")).unwrap();
        let log = fs::read(file::beside(&path, "-wal")).unwrap();
        drop(store);
        for main in [b"rubbish".repeat(1000), Vec::new()] {
            fs::write(&path, &main).unwrap();
            fs::write(file::beside(&path, "-wal"), &log).unwrap();
            let aside = set_aside(&path);
            assert_eq!(fs::read(&aside).unwrap(), main);
            assert_eq!(fs::read(file::beside(&aside, "-wal")).unwrap(), log);
        }
    }

    /// Killed at any moment of its creation, a database is opened as if nothing had been there.
    #[test]
    fn an_unfinished_creation_is_finished() {
        let (_folder, path) = folder();
        file::create(&path).unwrap();
        closed(&path);
        let (_folder, path) = folder();
        let begun = Connection::open(&path).unwrap();
        begun.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        drop(begun);
        closed(&path);
    }

    /// A large file is checked only when its last writer did not close it.
    #[test]
    fn closing_is_remembered() {
        let (_folder, path) = folder();
        let clean = |path: &Path| {
            let conn = Connection::open(path).unwrap();
            conn.query_row("SELECT value FROM meta WHERE key = 'clean_shutdown'", [], |row| row.get::<_, bool>(0))
                .unwrap()
        };
        closed(&path);
        assert!(clean(&path));
        let (store, _) = Store::open(&path).unwrap();
        assert!(!clean(&path));
        drop(store);
        assert!(!clean(&path));
        let (mut store, _) = Store::open(&path).unwrap();
        store.damaged = true;
        store.close().unwrap();
        assert!(!clean(&path), "damage met while writing is looked into at the next start");
    }
}
