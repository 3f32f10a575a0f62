//! Databases that are taken away, replaced or cut under the writer.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::process::Command;

use tempfile::TempDir;

use super::super::Reader;
use super::super::drawing::window;
use super::*;
use crate::query::totals;

/// A database with one window, open.
fn database() -> (TempDir, PathBuf, Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("x.db");
    let (mut store, _) = Store::open(&path).unwrap();
    store.write_window(&window(0, "web/7  main x5")).unwrap();
    assert_eq!(store.look().unwrap(), None);
    (folder, path, store)
}

fn windows(path: &Path) -> u64 {
    totals(&mut Reader::open(path).unwrap()).unwrap().windows
}

/// Another program, which closes the database as the last one that has it open, as far as the locks tell.
fn shell(path: &Path, sql: &str) {
    let done = Command::new("sqlite3").arg(path).arg(sql).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// Whatever this process opens and closes, another program's close leaves the log and its index where they are.
#[test]
fn a_file_opened_and_closed_by_this_process_does_not_cost_the_log() {
    let (_folder, path, mut store) = database();
    for suffix in ["", "-wal", "-shm"] {
        drop(File::open(beside(&path, suffix)).unwrap());
        shell(&path, "SELECT count(*) FROM window");
        assert_eq!(store.look().unwrap(), None, "{suffix}");
    }
    store.write_window(&window(1, "web/7  main x5")).unwrap();
    // Not closed: as after kill -9.
    assert_eq!(windows(&path), 2);
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).unwrap();
    fs::copy(beside(&path, "-wal"), beside(&copy, "-wal")).unwrap();
    assert_eq!(windows(&copy), 2);
    // Closing it properly takes the locks that were held twice.
    store.close().unwrap();
    assert!(!beside(&path, "-wal").exists());
}

/// What other programs may do with a database leaves it at its path.
#[test]
fn other_programs_may_use_the_database() {
    let (folder, path, mut store) = database();
    let copy = folder.path().join("copy.db");
    for (number, sql) in [
        "CREATE TABLE mine (x); INSERT INTO mine VALUES (1)",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "VACUUM",
        &format!(".backup {}", copy.display()),
    ]
    .into_iter()
    .enumerate()
    {
        shell(&path, sql);
        assert_eq!(store.look().unwrap(), None, "{sql}");
        store.write_window(&window(number as u64 + 1, "web/7  main x5")).unwrap();
        assert_eq!((store.look().unwrap(), windows(&path)), (None, number as u64 + 2), "{sql}");
    }
}

/// Moved, alone or with its folder, a database takes its whole log along, and a new one is begun at the path.
#[test]
fn a_database_that_was_moved_keeps_everything() {
    for with_folder in [false, true] {
        let (folder, path, mut store) = database();
        let below = folder.path().canonicalize().unwrap().join("below");
        let (path, to) = if with_folder {
            store.close().unwrap();
            fs::create_dir(&below).unwrap();
            let path = below.join("x.db");
            store = Store::open(&path).unwrap().0;
            store.write_window(&window(0, "web/7  main x5")).unwrap();
            let moved = below.with_extension("moved");
            fs::rename(&below, &moved).unwrap();
            (path, moved.join("x.db"))
        } else {
            let to = path.with_extension("moved");
            fs::rename(&path, &to).unwrap();
            (path, to)
        };
        // In use by this process too.
        store.write_window(&window(1, "web/7  main x5")).unwrap();
        let gone = store.look().unwrap();
        assert_eq!(gone, Some(Gone::Moved(Some(to.clone()))));
        let left = store.leave(&gone.unwrap());
        assert!(left.whole && left.aside.is_none(), "{left:?}");
        let (mut store, aside) = Store::open(&path).unwrap();
        store.write_window(&window(2, "web/7  main x5")).unwrap();
        assert_eq!((aside, store.look().unwrap()), (None, None));
        assert_eq!((windows(&to), windows(&path)), (2, 1));
    }
}

/// While a reader is in the middle of a question the log cannot be emptied: then it goes to its database.
#[test]
fn a_moved_database_that_is_being_read_gets_its_log_too() {
    let (_folder, path, mut store) = database();
    let mut reader = Reader::open(&path).unwrap();
    let snapshot = reader.snapshot().unwrap();
    snapshot.sums().unwrap();
    store.write_window(&window(1, "web/7  main x5")).unwrap();
    store.conn.busy_timeout(Duration::from_millis(10)).unwrap();
    let to = path.with_extension("moved");
    fs::rename(&path, &to).unwrap();
    let gone = store.look().unwrap().unwrap();
    assert!(store.leave(&gone).whole);
    let (mut store, aside) = Store::open(&path).unwrap();
    store.write_window(&window(2, "web/7  main x5")).unwrap();
    // The question goes on in what it began with.
    assert_eq!(snapshot.sums().unwrap().0.windows, 1);
    drop(snapshot);
    assert_eq!((windows(&to), windows(&path), aside), (2, 1, None));
    assert_eq!(totals(&mut reader).unwrap().windows, 1);
}

/// Deleted, or replaced by another database, it is gone, and the log of the one is not taken for the other's.
#[test]
fn a_database_that_was_deleted_or_replaced_is_gone() {
    let (folder, path, store) = database();
    store.close().unwrap();
    let backup = folder.path().join("backup.db");
    fs::copy(&path, &backup).unwrap();
    for replaced in [false, true] {
        let (mut store, _) = Store::open(&path).unwrap();
        store.write_window(&window(1, "web/7  main x5")).unwrap();
        if replaced {
            fs::rename(&backup, &path).unwrap();
        } else {
            ["", "-wal", "-shm", ".lock"].iter().for_each(|suffix| fs::remove_file(beside(&path, suffix)).unwrap());
        }
        assert_eq!(store.look().unwrap(), Some(Gone::Deleted));
        assert!(!store.leave(&Gone::Deleted).whole);
        let (mut store, aside) = Store::open(&path).unwrap();
        store.write_window(&window(2, "web/7  main x5")).unwrap();
        let held = 1 + u64::from(replaced);
        assert_eq!((windows(&path), aside, store.look().unwrap()), (held, None, None), "{replaced}");
    }
}

/// A lock that was deleted is taken again before somebody else has it; if somebody has, windows wait.
#[test]
fn a_lock_that_was_deleted_is_taken_again() {
    let (_folder, path, mut store) = database();
    let lock = beside(&path, ".lock");
    fs::remove_file(&lock).unwrap();
    assert_eq!(store.look().unwrap(), None);
    assert!(matches!(Store::open(&path), Err(StoreError::Locked(_))));
    fs::remove_file(&lock).unwrap();
    let other = file::lock(&path).unwrap();
    assert!(matches!(store.look(), Err(StoreError::Locked(_))));
    drop(other);
    assert_eq!(store.look().unwrap(), None);
}

/// What was set aside counts as the oldest of what is kept, and is never more than so many files.
#[test]
fn databases_set_aside_go_oldest_first() {
    let (folder, path, store) = database();
    let aside = |name: &str, bytes: usize| fs::write(beside(&path, name), vec![0; bytes]).unwrap();
    for number in 0..20 {
        aside(&format!(".corrupt-{}", 1000 + number), 1000);
        aside(&format!(".corrupt-{}-wal", 1000 + number), 500);
    }
    aside(".corrupt-1000-1", 10);
    // Not ours to delete.
    aside(".corrupt-mine", 10);
    let all = file::set_aside_beside(&path);
    assert_eq!((all.len(), all[0].bytes, all[1].bytes), (21, 1500, 10));
    let dropped = store.drop_set_aside(u64::MAX).unwrap();
    assert_eq!((dropped.len(), file::set_aside_beside(&path).len()), (5, 16));
    assert_eq!(dropped[1].path, beside(&path, ".corrupt-1000-1"));
    let used = store.counted_bytes().unwrap();
    assert_eq!(store.drop_set_aside(used + 3000).unwrap().len(), 14);
    assert_eq!(store.drop_set_aside(0).unwrap().len(), 2);
    let left = fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("corrupt"));
    assert_eq!(left.count(), 1);
}

/// Until the writer has noticed that another database has taken the place of its own, no reader of the process opens that one: it
/// would be read with the log of the other.
#[test]
fn a_database_that_took_the_place_of_another_is_read_once_the_writer_knows() {
    let (folder, path, store) = database();
    store.close().unwrap();
    let backup = folder.path().join("backup.db");
    fs::copy(&path, &backup).unwrap();
    let (mut store, _) = Store::open(&path).unwrap();
    store.write_window(&window(1, "web/7  main x5")).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(totals(&mut reader).unwrap().windows, 2);
    fs::rename(&backup, &path).unwrap();
    assert!(matches!(Reader::open(&path), Err(StoreError::Replaced(_))));
    assert!(totals(&mut reader).is_err());
    assert_eq!(store.look().unwrap(), Some(Gone::Deleted));
    let _ = store.leave(&Gone::Deleted);
    let (mut store, aside) = Store::open(&path).unwrap();
    store.write_window(&window(2, "web/7  main x5")).unwrap();
    assert_eq!((aside, totals(&mut reader).unwrap().windows, store.look().unwrap()), (None, 2, None));
}

/// A log that is gone is noticed, and what it held goes into the database before that is set aside.
#[test]
fn a_log_that_was_deleted_costs_nothing() {
    for suffix in ["-wal", "-shm"] {
        let (_folder, path, mut store) = database();
        fs::remove_file(beside(&path, suffix)).unwrap();
        assert_eq!(store.look().unwrap(), Some(Gone::Log));
        let left = store.leave(&Gone::Log);
        assert!(left.whole);
        assert_eq!(windows(&left.aside.unwrap().unwrap()), 1, "{suffix}");
        let (mut store, _) = Store::open(&path).unwrap();
        store.write_window(&window(1, "web/7  main x5")).unwrap();
        assert_eq!((windows(&path), store.look().unwrap()), (1, None));
    }
}

/// The database or its log cut short from outside: what is left is set aside as it is.
#[test]
fn a_database_or_a_log_that_was_cut_short_is_set_aside() {
    for (suffix, length) in [("", 8192), ("", 0), ("-wal", 0), ("-wal", 100)] {
        let (_folder, path, mut store) = database();
        if suffix.is_empty() {
            store.empty_log().unwrap();
            assert_eq!(store.look().unwrap(), None);
        }
        fs::OpenOptions::new().write(true).open(beside(&path, suffix)).unwrap().set_len(length).unwrap();
        assert_eq!(store.look().unwrap(), Some(Gone::Cut), "{suffix} {length}");
        let aside = store.leave(&Gone::Cut).aside.unwrap().unwrap();
        assert_eq!(beside(&aside, suffix).metadata().unwrap().len(), length);
        let (mut store, _) = Store::open(&path).unwrap();
        store.write_window(&window(1, "web/7  main x5")).unwrap();
        assert_eq!((windows(&path), store.look().unwrap()), (1, None));
    }
}

/// A reader holds a checkpoint up: the header is moved into the file, and says more pages than there are, the last pages are not, for the
/// reader does not see their newest versions. Nothing is cut; the log has them. Where it has not, the file is cut.
#[test]
fn a_checkpoint_that_a_reader_holds_up_cuts_nothing() {
    let (_folder, path, mut store) = database();
    assert!(empty_log(&store.conn));
    store.conn.execute_batch("CREATE TABLE extra (b BLOB); INSERT INTO extra VALUES (zeroblob(200000))").unwrap();
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM extra").unwrap();
    store.conn.execute_batch("UPDATE extra SET b = randomblob(200000)").unwrap();
    store.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    assert!(is_cut(&path), "the file is shorter than its header says");
    assert_eq!(store.look().unwrap(), None);
    store.write_window(&window(1, "web/7  main x1")).unwrap();
    drop(reader);
    assert!(empty_log(&store.conn) && !is_cut(&path));
    assert_eq!(store.look().unwrap(), None);
    assert!(Command::new("truncate").args(["-s", "8192"]).arg(&path).status().unwrap().success());
    assert_eq!(store.look().unwrap(), Some(Gone::Cut));
}
