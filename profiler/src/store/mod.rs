//! SQLite: one writer, many readers.

use std::path::Path;

use crate::profile::{Location, Symbolized, Window};

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("database error")]
    Sqlite(#[from] rusqlite::Error),
}

/// Row number of a location; stable in one database file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocationId(pub i64);

/// The only writer of a database.
#[derive(Debug)]
pub struct Store {}

/// A location that the database has no answer for yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// Its row.
    pub location: LocationId,
    /// Where it is; the binary is one of the window's.
    pub place: Location,
    /// Samples with it as the leaf in this window: names the busiest first.
    pub weight: u64,
}

impl Store {
    /// Opens or creates the database, migrating it. A damaged file is set aside (renamed, never deleted) and a new one begun;
    /// the returned path says where the damaged one went.
    ///
    /// # Errors
    /// Permission, a newer version's file, not a database, disk full.
    pub fn open(_path: &Path) -> Result<(Self, Option<std::path::PathBuf>), StoreError> {
        Ok((Self {}, None))
    }

    /// Stores a window in one durable transaction; returns what still needs a name.
    ///
    /// # Errors
    /// Anything SQLite reports; nothing of the window is stored then.
    pub fn write_window(&mut self, _window: &Window) -> Result<Vec<Unnamed>, StoreError> {
        Ok(Vec::new())
    }

    /// Stores names in one transaction.
    ///
    /// # Errors
    /// Anything SQLite reports.
    pub fn write_names(&mut self, _names: &[(LocationId, Symbolized)]) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A read-only connection with its caches. One question at a time.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// Opens an existing database read-only; works without write permission to the file or its folder.
    ///
    /// # Errors
    /// No such file, not a profiler database, a newer version's file, permission.
    pub fn open(_path: &Path) -> Result<Self, StoreError> {
        Ok(Self {})
    }

    /// Makes the question under way (on another thread) fail soon.
    #[must_use]
    pub fn interrupter(&self) -> Box<dyn Fn() + Send> {
        Box::new(|| ())
    }
}
