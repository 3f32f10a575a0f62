//! People's SQL: a read-only connection that cannot write, attach, run long, or take much memory.
//!
//! Tables of its own live in SQLite's `temp` schema and go with it. See <https://sqlite.org/security.html>.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::limits::Limit;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode};

use super::StoreError;
use super::reader::{Tidy, open_existing};

/// How many steps of SQLite's machine lie between two looks at the clock: about a millisecond.
const STEPS: i32 = 100_000;

/// What a question may take.
#[derive(Clone, Copy, Debug)]
pub struct SqlLimits {
    /// Rows of the answer.
    pub rows: u64,
    /// Time.
    pub time: Duration,
    /// Memory of this whole process's SQLite.
    pub memory: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The text is not a question.
    #[error("{0}")]
    Bad(String),
    /// It took too long.
    #[error("the question took longer than {0:?}: ask about less, or allow more with --timeout")]
    Time(Duration),
    /// It took too much memory.
    #[error("the question takes more than {} MiB of memory: ask about less", .0 >> 20)]
    Memory(u64),
    /// The database failed.
    #[error("failed to read the database")]
    Store(#[from] StoreError),
}

/// A connection for one question.
#[derive(Debug)]
pub struct Sql {
    // The connection is dropped before what tidies up after it.
    conn: Connection,
    _tidy: Tidy,
    limits: SqlLimits,
}

impl Sql {
    /// Opens an existing database.
    ///
    /// # Errors
    /// Those of [`super::Reader::open`].
    pub fn open(path: &Path, limits: SqlLimits) -> Result<Self, SqlError> {
        let (tidy, conn) = open_existing(path)?;
        let begun = Instant::now();
        let set = || -> rusqlite::Result<()> {
            conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
            conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, 64 << 20)?;
            conn.pragma_update(None, "hard_heap_limit", i64::try_from(limits.memory).unwrap_or(i64::MAX))?;
            conn.progress_handler(STEPS, Some(move || begun.elapsed() > limits.time))
        };
        set().map_err(StoreError::from)?;
        Ok(Self { conn, _tidy: tidy, limits })
    }

    /// For tables of one's own in `temp`; everything else is read-only.
    pub(crate) fn temporary(&self) -> &Connection {
        &self.conn
    }

    /// What an error of this connection means.
    pub(crate) fn blame(&self, error: rusqlite::Error) -> SqlError {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => SqlError::Time(self.limits.time),
            Some(ErrorCode::OutOfMemory) => SqlError::Memory(self.limits.memory),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure) => {
                SqlError::Store(error.into())
            }
            _ => match error {
                rusqlite::Error::SqlInputError { msg, sql, offset, .. } => {
                    let at = usize::try_from(offset).ok().and_then(|at| sql.get(at..)).unwrap_or_default();
                    let near: String = at.chars().take(30).collect();
                    SqlError::Bad(if near.is_empty() { msg } else { format!("{msg}, at {near:?}") })
                }
                rusqlite::Error::SqliteFailure(_, Some(text)) => SqlError::Bad(text),
                other => SqlError::Bad(other.to_string()),
            },
        }
    }

    /// Asks one question; gives the columns' names, then rows, at most as many as are allowed. Says whether there were more.
    ///
    /// # Errors
    /// [`SqlError`].
    pub fn ask(
        &self,
        question: &str,
        names: impl FnOnce(&[String]),
        mut each: impl FnMut(Vec<Value>),
    ) -> Result<bool, SqlError> {
        let ask = || -> rusqlite::Result<Option<bool>> {
            self.conn.pragma_update(None, "query_only", true)?;
            let mut select = self.conn.prepare(question)?;
            if !select.readonly() || select.column_count() == 0 {
                return Ok(None);
            }
            let columns: Vec<String> = select.column_names().into_iter().map(str::to_owned).collect();
            names(&columns);
            let mut rows = select.query([])?;
            let mut left = self.limits.rows;
            while let Some(row) = rows.next()? {
                if left == 0 {
                    return Ok(Some(true));
                }
                left -= 1;
                each((0..columns.len()).map(|at| row.get(at)).collect::<rusqlite::Result<_>>()?);
            }
            Ok(Some(false))
        };
        ask()
            .map_err(|error| self.blame(error))?
            .ok_or_else(|| SqlError::Bad("only questions (SELECT, VALUES, WITH, EXPLAIN) are answered".into()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::Store;
    use crate::store::drawing::window;

    const LIMITS: SqlLimits = SqlLimits { rows: 3, time: Duration::from_millis(300), memory: 1 << 30 };

    fn database() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        store.write_window(&window(0, "web/7  main x5")).unwrap();
        store.close().unwrap();
        (folder, path)
    }

    fn ask(path: &Path, question: &str) -> Result<(Vec<Vec<Value>>, bool), String> {
        let mut rows = Vec::new();
        let sql = Sql::open(path, LIMITS).unwrap();
        let more = sql.ask(question, |_| {}, |row| rows.push(row)).map_err(|error| error.to_string())?;
        Ok((rows, more))
    }

    /// A question is answered, up to the limit of rows.
    #[test]
    fn questions_are_answered_within_limits() {
        let (_folder, path) = database();
        assert_eq!(ask(&path, "SELECT stored FROM v_windows").unwrap(), (vec![vec![Value::Integer(5)]], false));
        let many = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT n FROM n";
        let (rows, more) = ask(&path, many).unwrap();
        assert_eq!((rows.len(), more), (3, true));
        let endless = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT max(n) FROM n";
        assert!(ask(&path, endless).unwrap_err().contains("longer than"));
    }

    /// Whatever is no question is refused, and leaves the file as it was.
    #[test]
    fn nothing_can_be_written_or_attached() {
        let (folder, path) = database();
        let before = std::fs::read(&path).unwrap();
        for bad in [
            "DELETE FROM window",
            "DROP TABLE window",
            "ATTACH '/tmp/other.db' AS other",
            "PRAGMA user_version = 9",
            "VACUUM INTO '/tmp/copy.db'",
            "CREATE TEMP TABLE x (y)",
            "SELECT 1; DELETE FROM window",
            "SELEC 1",
            "",
        ] {
            let refused = ask(&path, bad);
            // A pragma reads as a question: SQLite itself refuses to do what it says.
            assert!(refused.is_err() || bad.starts_with("PRAGMA"), "{bad}: {refused:?}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert!(!folder.path().join("x.db-wal").exists());
    }
}
