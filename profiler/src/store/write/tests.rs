//! Windows on their way into the tables: all of one or nothing, never twice, whatever fails.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tempfile::TempDir;

use super::super::drawing::{facts, window};
use super::super::stack_page;
use super::*;
use crate::profile::LossCause;

const DRAWING: &str = "web/7  main;serve;parse x5
                       web/7~io  main;poll;k:read x2
                       web/8  !serve x1
                       idle/9  x3";

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&folder.path().join("x.db")).unwrap();
    // The same in all, so that their rows can be compared.
    store.conn.execute("UPDATE meta SET value = 7 WHERE key = 'seed'", []).unwrap();
    (folder, store)
}

/// Every row of every table that holds content.
fn dump(store: &Store) -> Vec<String> {
    let tables = "string binary location function location_frame stack_page cgroup process window fresh rollup sample_time tally meta";
    let mut rows = Vec::new();
    for table in tables.split(' ') {
        let mut select = store.conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = select.column_count();
        let mut found = select.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let cells: Vec<_> = (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect();
            rows.push(format!("{table} {}", cells.join(" ")));
        }
    }
    rows
}

fn count(store: &Store, sql: &str) -> i64 {
    store.conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The kept sums are the sums, and every window's ledger is even.
fn check_ledger(store: &Store) {
    let sums = "SELECT count(*) FROM (
        SELECT 'windows' AS name, 0 AS number, count(*) AS count FROM window
        UNION ALL SELECT 'taken', 0, sum(taken) FROM window
        UNION ALL SELECT 'stored', 0, sum(stored) FROM window
        UNION ALL SELECT 'lost', key, sum(value) FROM window, json_each(losses) GROUP BY key
    ) AS real FULL JOIN (SELECT * FROM tally WHERE name <> 'ending') AS kept USING (name, number)
    WHERE ifnull(real.count, 0) <> ifnull(kept.count, 0)";
    assert_eq!(count(store, sums), 0);
    assert_eq!(count(store, "SELECT count(*) FROM window WHERE taken <> stored + lost"), 0);
    assert_eq!(
        count(store, "SELECT ifnull(sum(count), 0) FROM tally WHERE name = 'ending'"),
        count(store, "SELECT sum(count) FROM tally WHERE name = 'stored'")
    );
    let mut select = store
        .conn
        .prepare("SELECT stored, incomplete, directory, stacks FROM window JOIN fresh ON window = id")
        .unwrap();
    let mut rows = select.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let blob = |at| row.get_ref(at).unwrap().as_blob().unwrap();
        let profile = Profile::decode(blob(2), blob(3)).unwrap();
        let cut: u64 =
            profile.groups.iter().filter(|group| !group.key.end.is_complete()).map(|group| group.samples).sum();
        assert_eq!(
            (profile.samples(), cut),
            (row.get::<_, i64>(0).unwrap() as u64, row.get::<_, i64>(1).unwrap() as u64)
        );
    }
}

/// Nodes of the stack tree, without the empty stack.
fn nodes(store: &Store) -> usize {
    let blob: Option<Vec<u8>> =
        store.conn.query_row("SELECT nodes FROM stack_page", [], |row| row.get(0)).optional().unwrap();
    blob.map_or(0, |blob| stack_page::decode(0, &blob).unwrap().len() - 1)
}

/// Equal things have one row, however many windows name them.
#[test]
fn equal_things_are_stored_once() {
    let (_folder, mut store) = store();
    store.write_window(&window(0, DRAWING)).unwrap();
    let locations = |store: &Store| count(store, "SELECT count(*) FROM location");
    assert_eq!((nodes(&store), locations(&store)), (6, 5), "main;serve;parse, poll;read, serve alone; five places");
    let strings = count(&store, "SELECT count(*) FROM string");
    store.write_window(&window(1, DRAWING)).unwrap();
    // Nor after a restart.
    store.interned = Interned::new();
    store.write_window(&window(2, DRAWING)).unwrap();
    assert_eq!((nodes(&store), locations(&store)), (6, 5));
    assert_eq!(count(&store, "SELECT count(*) FROM string"), strings);
    assert_eq!(count(&store, "SELECT count(DISTINCT text) FROM string"), strings);
    check_ledger(&store);
}

/// A window that fails at any point leaves nothing behind; if it fails after the commit it is all there, and writing it
/// again changes nothing.
#[test]
fn a_window_is_all_or_nothing() {
    let first = window(0, DRAWING);
    let second = window(1, "new/11  start;work x4\nweb/7  main;serve;other x1\nweb/7  main;serve x9");
    let (_folder, mut untroubled) = store();
    untroubled.write_window(&first).unwrap();
    let before = dump(&untroubled);
    untroubled.write_window(&second).unwrap();
    let after = dump(&untroubled);

    let (_folder, mut store) = store();
    store.write_window(&first).unwrap();
    let mut failures = 0;
    for step in (0..).step_by(7) {
        // SQLite asks after each step of its machine whether to go on; one answer is no.
        let asked = AtomicU32::new(0);
        let ask = move || asked.fetch_add(1, Relaxed) == step;
        store.conn.progress_handler(1, Some(ask)).unwrap();
        let result = store.write_window(&second);
        store.conn.progress_handler(1, None::<fn() -> bool>).unwrap();
        let found = dump(&store);
        match result {
            Err(StoreError::Interrupted) if found == before => failures += 1,
            Ok(_) | Err(StoreError::Interrupted) => {
                assert_eq!(found, after);
                break;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(failures > 50, "the failures reached all of the transaction: {failures}");
    store.write_window(&second).unwrap();
    assert_eq!(dump(&store), after);
    check_ledger(&store);
}

/// A transaction that was left open by a failure does not stand in the way of the next.
#[test]
fn a_transaction_left_open_is_rolled_back() {
    let (_folder, mut store) = store();
    let before = dump(&store);
    let mut left_open = 0;
    for step in 0..30 {
        let asked = AtomicU32::new(0);
        store.conn.progress_handler(1, Some(move || asked.fetch_add(1, Relaxed) >= step)).unwrap();
        assert!(store.write_window(&window(0, DRAWING)).is_err());
        store.conn.progress_handler(1, None::<fn() -> bool>).unwrap();
        left_open += u32::from(!store.conn.is_autocommit());
    }
    assert!(left_open > 0);
    store.write_names(&[]).unwrap();
    assert_eq!(dump(&store), before);
    store.write_window(&window(0, DRAWING)).unwrap();
    check_ledger(&store);
}

/// A full disk is told apart, loses nothing, and the same window goes in once there is room.
#[test]
fn a_window_can_be_written_again_after_a_full_disk() {
    let (_folder, mut store) = store();
    let pages: i64 = store.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.conn.pragma_update(None, "max_page_count", pages).unwrap();
    let many: String = (0..2000).map(|n| format!("web/7  main;f{n};leaf x1\n")).collect();
    let before = dump(&store);
    let error = store.write_window(&window(0, &many)).unwrap_err();
    assert!(matches!(error, StoreError::Full(_)) && error.is_transient(), "{error:?}");
    assert_eq!(dump(&store), before);
    store.conn.pragma_update(None, "max_page_count", 1 << 20).unwrap();
    assert_eq!(store.write_window(&window(0, &many)).unwrap().len(), 2002);
    check_ledger(&store);
}

/// A commit whose answer got lost may be repeated: the window is not there twice.
#[test]
fn the_same_window_is_stored_once() {
    let (_folder, mut store) = store();
    store.write_window(&window(0, DRAWING)).unwrap();
    let before = dump(&store);
    store.write_window(&window(0, DRAWING)).unwrap();
    assert_eq!(dump(&store), before);
}

/// Windows of one series and boot share no instant; others may.
#[test]
fn windows_of_a_boot_never_overlap() {
    let (_folder, mut store) = store();
    store.write_window(&window(5, DRAWING)).unwrap();
    let mut shifted = window(5, DRAWING);
    for by in [-9_999_999_999_i64, -1, 1, 9_999_999_999] {
        shifted.start.0 = window(5, "").start.0.wrapping_add_signed(by);
        shifted.end.0 = window(5, "").end.0.wrapping_add_signed(by);
        assert!(matches!(store.write_window(&shifted), Err(StoreError::Overlap { .. })), "{by}");
    }
    let mut around = window(5, DRAWING);
    (around.start.0, around.end.0) = (around.start.0 - 1, around.end.0 + 1);
    assert!(matches!(store.write_window(&around), Err(StoreError::Overlap { .. })));
    store.write_window(&window(4, DRAWING)).unwrap();
    store.write_window(&window(6, DRAWING)).unwrap();
    shifted.boot_id = "another".into();
    store.write_window(&shifted).unwrap();
    (shifted.start.0, shifted.end.0) = (9, 9);
    assert!(matches!(store.write_window(&shifted), Err(StoreError::BadWindow(_))));
    check_ledger(&store);
}

/// Losses are part of the ledger, in a window without samples too.
#[test]
fn losses_are_kept_by_cause() {
    let (_folder, mut store) = store();
    let mut lossy = window(0, "");
    lossy.losses.add(LossCause::RingFull, 3);
    lossy.losses.add(LossCause::QueueFull, 4);
    lossy.taken = 7;
    store.write_window(&lossy).unwrap();
    check_ledger(&store);
    assert_eq!(count(&store, "SELECT lost FROM window"), 7);
}

/// A process that calls exec, or moves to another control group, is another row; the old samples keep the old facts.
#[test]
fn changed_facts_are_a_new_row() {
    let (_folder, mut store) = store();
    let mut two = window(0, "sh/7  main x1\nweb/8  main x2");
    let mut moved = (*facts("sh", 7)).clone();
    moved.cgroup = "/elsewhere".into();
    two.processes[1].facts = Arc::new(moved);
    store.write_window(&two).unwrap();
    store.write_window(&window(1, "bash/7  main x1")).unwrap();
    store.write_window(&window(2, "sh/7  main x1")).unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM process WHERE pid = 7"), 3);
    let used: i64 = count(&store, "SELECT count(DISTINCT directory) FROM fresh");
    assert_eq!(used, 3, "each window names another row");
}

/// Full caches start over; rows are the same as with endless ones, only a stack may have two numbers.
#[test]
fn small_caches_change_no_rows() {
    let (_folder, mut small) = store();
    let (_other, mut large) = store();
    for n in 0..4 {
        small.interned = Interned::with_capacity(2);
        let drawing = format!("{DRAWING}\nnew/1{n}  main;f{n};f{} x1", n % 2);
        assert_eq!(
            small.write_window(&window(n, &drawing)).unwrap(),
            large.write_window(&window(n, &drawing)).unwrap()
        );
    }
    let stacks = |row: &String| ["stack_page", "fresh"].iter().any(|table| row.starts_with(table));
    let rows = |store: &Store| dump(store).into_iter().filter(|row| !stacks(row)).collect::<Vec<_>>();
    assert_eq!(rows(&small), rows(&large));
    assert!(nodes(&small) > nodes(&large));
}

/// A stack in a binary that the window does not list cannot be placed.
#[test]
fn an_unlisted_binary_refuses_the_window() {
    let (_folder, mut store) = store();
    let mut odd = window(0, DRAWING);
    odd.binaries.truncate(1);
    assert!(matches!(store.write_window(&odd), Err(StoreError::BadWindow(_))));
    assert_eq!(count(&store, "SELECT count(*) FROM string"), 0);
}

/// Names of other people's making are cut, at a character, not refused.
#[test]
fn endless_strings_are_cut() {
    let (_folder, mut store) = store();
    let mut long = window(0, "web/7  main x1");
    long.processes[0].stacks[0].thread = "\u{e9}".repeat(20_000).into();
    store.write_window(&long).unwrap();
    assert_eq!(count(&store, "SELECT max(length(CAST(text AS BLOB))) FROM string"), 16 << 10);
}
