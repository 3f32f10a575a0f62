//! What the operating system said last to an SQLite connection.
//!
//! SQLite reports a read that failed with `EIO` as a malformed database (`SQLITE_IOERR_CORRUPTFS` becomes `SQLITE_CORRUPT` when a
//! statement ends), and forgets the errno. Its file objects keep it.

#![expect(unsafe_code, reason = "rusqlite does not wrap sqlite3_file_control")]

use std::ffi::{c_int, c_void};
use std::ptr;

use rusqlite::{Connection, ffi};

/// The last errnos of a connection's main file and of its write-ahead log; 0 for none.
#[must_use]
pub fn last_errnos(conn: &Connection) -> [i32; 2] {
    let (mut main, mut log): (c_int, c_int) = (0, 0);
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open for as long as it is borrowed, and used by this thread alone. Both operations write one value
    // of the type given (https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html). The file object belongs to the connection;
    // without methods it is not open.
    unsafe {
        let db = conn.handle();
        ffi::sqlite3_file_control(db, c"main".as_ptr(), ffi::SQLITE_FCNTL_LAST_ERRNO, (&raw mut main).cast::<c_void>());
        let to = (&raw mut file).cast::<c_void>();
        ffi::sqlite3_file_control(db, c"main".as_ptr(), ffi::SQLITE_FCNTL_JOURNAL_POINTER, to);
        if let Some(file) = file.as_mut()
            && let Some(methods) = file.pMethods.as_ref()
            && let Some(control) = methods.xFileControl
        {
            control(file, ffi::SQLITE_FCNTL_LAST_ERRNO, (&raw mut log).cast::<c_void>());
        }
    }
    [main, log]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Neither a connection without files nor one whose reads went well has an errno.
    #[test]
    fn without_an_error_there_is_no_errno() {
        let folder = tempfile::tempdir().unwrap();
        let conn = Connection::open_in_memory().unwrap();
        assert_eq!(last_errnos(&conn), [0, 0]);
        let conn = Connection::open(folder.path().join("x.db")).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE x (y); SELECT * FROM x").unwrap();
        assert_eq!(last_errnos(&conn), [0, 0]);
    }
}
