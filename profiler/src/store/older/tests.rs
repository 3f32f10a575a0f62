//! Databases of schema 7, made of one of this schema by turning the migration around: their answers are known from before.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Command;
use std::time::Duration;

use rusqlite::types::Value;
use tempfile::TempDir;

use super::super::drawing::{EPOCH, name_all, window};
use super::super::migrate::to_version;
use super::super::reader::open_existing;
use super::super::{Keep, Reader, Store};
use super::*;
use crate::profile::{BootNanos, SampleEvent, TimeRange, WallNanos};
use crate::query::{
    By, FunctionIs, Grid, Selector, Shape, TopRows, code, diff, flame_graph_from, heat_map, label_values,
    parse_selector, quality, series, stack_samples, timeline, top, totals,
};

/// Takes the place of the tables and views of schema 8.
fn turn_back(path: &Path) {
    let mut old = Connection::open_in_memory().unwrap();
    to_version(&mut old, 7);
    let names = "'window', 'window_by_wall_start', 'window_fresh', 'v_windows', 'v_history', 'v_samples', 'hour_leaf_goes_with_its_hour'";
    let sql = format!("SELECT sql FROM sqlite_schema WHERE name IN ({names}) ORDER BY rowid");
    let made: Vec<String> =
        old.prepare(&sql).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(made.len(), 7);
    let columns = "id, boot, boot_start, length, wall_start, wall_end, cpus, busy, idle, filtered, taken, stored, lost, incomplete, losses,
        packed, missed, misses";
    let conn = Connection::open(path).unwrap();
    let number = |table| format!("(SELECT event = 'cycles' FROM series WHERE id = {table}.series)");
    conn.execute_batch(&format!(
        "BEGIN;
         DROP VIEW v_windows; DROP VIEW v_history; DROP VIEW v_samples; DROP VIEW v_series; DROP TRIGGER hour_leaf_goes_with_its_hour;
         ALTER TABLE window RENAME TO new;
         DROP INDEX window_by_wall_start; DROP INDEX window_fresh;
         {};
         INSERT INTO window ({columns}, event, hz)
         SELECT {columns}, {}, (SELECT (1000000000 + period / 2) / period FROM series WHERE id = new.series) FROM new;
         DROP TABLE new;
         UPDATE rollup SET series = 1000 + {}; UPDATE rollup SET series = series - 1000;
         ALTER TABLE rollup RENAME COLUMN series TO event;
         UPDATE hour_leaf SET series = 1000 + {}; UPDATE hour_leaf SET series = series - 1000;
         ALTER TABLE hour_leaf RENAME COLUMN series TO event;
         DROP TABLE series; DROP TABLE host;
         {};
         DELETE FROM migration WHERE version = 8;
         PRAGMA user_version = 7;
         COMMIT;",
        made[..3].join(";"),
        number("new"),
        number("rollup"),
        number("hour_leaf"),
        made[3..].join(";")
    ))
    .unwrap();
}

/// A day and more of several rates and two events: windows, five minutes, hours and days, some of them the finest that there is.
fn history(path: &Path) {
    let (mut store, _) = Store::open(path).unwrap();
    for n in 0..130 {
        let drawing = format!("web/7  main;serve x{}\nweb/7~io  main;k:read x2\ndb/{}  !main x1", n % 9 + 1, n % 3 + 8);
        let mut window = window(n * 75, &drawing);
        (window.hz, window.event) = match n % 7 {
            3 => (19, SampleEvent::CpuClock),
            5 => (97, SampleEvent::Cycles),
            6 => (50, SampleEvent::Cycles),
            _ => (97, SampleEvent::CpuClock),
        };
        let start = window.start.0;
        for row in window.processes.iter_mut().flat_map(|process| &mut process.stacks) {
            row.times = (0..row.count).rev().map(|nth| BootNanos(start + nth * 100_000_000)).collect();
        }
        let unnamed = store.write_window(&window).unwrap();
        name_all(&mut store, &unnamed);
        // The last ones are not packed.
        while n < 120 && store.tend().unwrap() {}
    }
    let hour = Duration::from_secs(3600);
    let keep = Keep { windows: 4 * hour, minutes: 12 * hour, hours: 20 * hour, times: 6 * hour, ..Keep::default() };
    // Each call does a little.
    for _ in 0..200 {
        store.retain(WallNanos((EPOCH + 130 * 750) * 1_000_000_000), &keep).unwrap();
    }
    store.close().unwrap();
}

fn rows(path: &Path, sql: &str) -> Vec<Vec<Value>> {
    let (_tidy, conn) = open_existing(path).unwrap();
    let mut select = conn.prepare(sql).unwrap();
    let columns = select.column_count();
    let rows = select.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// What is asked of a history, answered; and how many samples are in it.
fn answers(path: &Path) -> (Vec<String>, u64) {
    let mut reader = Reader::open(path).unwrap();
    let hours = |from: i64, to: i64| {
        let at = |hour: i64| WallNanos((EPOCH + hour * 3600 + 1234) * 1_000_000_000);
        TimeRange { from: at(from), to: at(to) }
    };
    let all = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
    let mut said = Vec::new();
    let totals = totals(&mut reader).unwrap();
    said.push(format!("{totals:?}"));
    for range in [all, hours(0, 5), hours(3, 20), hours(13, 14), hours(22, 24), hours(25, 28)] {
        for selector in ["", r#"comm="db""#, r#"thread!="io""#] {
            let selector = parse_selector(selector).unwrap();
            for group in [None, Some("pid".to_owned())] {
                let shape = Shape { group, max_nodes: 1000, ..Shape::default() };
                said.push(format!("{:?}", flame_graph_from(&mut reader, range, &selector, &shape).unwrap()));
            }
            let wanted = TopRows { max_rows: 100, ..TopRows::default() };
            said.push(format!("{:?}", top(&mut reader, range.into(), &selector, &wanted).unwrap()));
            said.push(format!("{:?}", timeline(&mut reader, range, &selector, 100).unwrap()));
            said.push(format!("{:?}", series(&mut reader, range, &selector, 100, "comm", 5).unwrap()));
            said.push(format!("{:?}", label_values(&mut reader, range.into(), &selector, "pid", 9).unwrap()));
            said.push(format!("{:?}", quality(&mut reader, range.into(), &selector, 9).unwrap()));
            said.push(format!("{:?}", stack_samples(&mut reader, range, &selector).unwrap()));
            let main = FunctionIs { name: "main".into(), ..FunctionIs::default() };
            let places = code(&mut reader, range, &selector, &main).unwrap();
            said.push(format!("{:?}", places.map(|code| (code.total, code.measure, code.places))));
            let grid = Grid { range: hours(25, 28), columns: 60, rows: 50 };
            said.push(format!("{:?}", heat_map(&mut reader, grid, &selector).unwrap()));
        }
    }
    let (early, late) = (hours(0, 10), hours(20, 28));
    let everything = Selector::default();
    let sides = [(early, &everything), (late, &everything)];
    said.push(format!("{:?}", diff(&mut reader, sides, By::Time, None, 1000).unwrap()));
    drop(reader);
    let figures = "utc, seconds, hz, cpus, busy, idle, taken, stored, lost, incomplete, missed";
    for sql in [
        format!("SELECT id, event, losses, misses, {figures} FROM v_windows ORDER BY id"),
        format!("SELECT piece, {figures} FROM v_history ORDER BY time, hz, busy, taken, stored"),
        "SELECT utc, comm, function, binary, sum(samples), round(sum(cpu_seconds), 9) FROM v_samples GROUP BY 1, 2, 3, 4".into(),
    ] {
        said.push(format!("{:?}", rows(path, &sql)));
    }
    (said, totals.stored)
}

fn old() -> (TempDir, PathBuf, (Vec<String>, u64)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("x.db");
    history(&path);
    let levels = rows(&path, "SELECT level, count(*) > 3, sum(finest) > 0, sum(rolled) > 0 FROM rollup GROUP BY level");
    let level = |n: i64, rolled: i64| vec![Value::Integer(n), 1.into(), 1.into(), rolled.into()];
    assert_eq!(levels[..2], [level(1, 1), level(2, 1)], "what is asked about is there");
    let known = answers(&path);
    turn_back(&path);
    (folder, path, known)
}

fn version(path: &Path) -> i64 {
    version_of(&Connection::open(path).unwrap()).unwrap()
}

#[track_caller]
fn same(found: &(Vec<String>, u64), known: &(Vec<String>, u64), what: &str) {
    assert_eq!(found.1, known.1, "{what}");
    for (nth, (found, known)) in found.0.iter().zip(&known.0).enumerate() {
        assert_eq!(found, known, "{what}, answer {nth}");
    }
}

/// A file that may not be written, or that nobody has migrated yet, is answered from as it is, and stays byte for byte as it was.
#[test]
fn an_older_schema_is_read_as_it_is() {
    let (_folder, path, known) = old();
    let before = std::fs::read(&path).unwrap();
    same(&answers(&path), &known, "schema 7");
    assert_eq!(upkeep::check(&path, &mut |_, _| {}).unwrap(), Vec::<String>::new());
    assert_eq!(upkeep::stats(&path).unwrap().samples, known.1);
    assert_eq!((version(&path), std::fs::read(&path).unwrap() == before), (7, true));
}

/// Once migrated, every answer is the same to the sample; the copy has them too, and what is recorded next adds to them.
#[test]
fn a_migrated_history_answers_as_before() {
    let (_folder, path, known) = old();
    let mut reading = Reader::open(&path).unwrap();
    assert_eq!(totals(&mut reading).unwrap().stored, known.1);
    let copy = copy_before_migrating(&path).unwrap();
    assert_eq!(copy.as_deref(), Some(&*beside(&path, ".schema-7")));
    let (mut store, damaged) = Store::open(&path).unwrap();
    assert_eq!((damaged, version(&path)), (None, VERSION));
    same(&answers(&path), &known, "migrated");
    assert_eq!(totals(&mut reading).unwrap().stored, known.1, "a reader from before goes on");
    assert_eq!(upkeep::check(&path, &mut |_, _| {}).unwrap(), Vec::<String>::new());
    let copy = beside(&path, ".schema-7");
    assert_eq!(version(&copy), 7);
    same(&answers(&copy), &known, "the copy");
    // The hour before the last is rolled up of rows from before and after.
    for n in 9_700..9_750 {
        let unnamed = store.write_window(&window(n, "web/7  main;serve x1")).unwrap();
        name_all(&mut store, &unnamed);
    }
    store.write_window(&window(20_000, "web/7  main;serve x1")).unwrap();
    while store.tend().unwrap() {}
    store.close().unwrap();
    assert_eq!(answers(&path).1, known.1 + 51);
    assert_eq!(upkeep::check(&path, &mut |_, _| {}).unwrap(), Vec::<String>::new());
}

/// Rows of the commonest rate are not written: a large history of one is migrated at once.
#[test]
fn roll_ups_of_one_rate_stay_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let (mut store, _) = Store::open(&path).unwrap();
    for n in 0..40 {
        store.write_window(&window(n * 30, "web/7  main;serve x5")).unwrap();
        while store.tend().unwrap() {}
    }
    store.conn.execute("UPDATE rollup SET split = randomblob(200000)", []).unwrap();
    store.close().unwrap();
    turn_back(&path);
    let rows = rows(&path, "SELECT count(*) FROM rollup")[0][0].clone();
    assert!(matches!(rows, Value::Integer(40..)), "{rows:?}");
    let (store, _) = Store::open(&path).unwrap();
    assert!(log_bytes(&path) < 1 << 20, "{} bytes were written for 8 MB of blobs", log_bytes(&path));
    drop(store);
}

/// For the next test, which kills it: opens a database, which migrates it.
#[test]
fn opens_the_database_it_is_told() {
    if let Some(path) = std::env::var_os("PROFILER_TEST_MIGRATE") {
        Store::open(Path::new(&path)).unwrap();
    }
}

/// Killed at any moment of it, copying included, a migration has been made or has not: no row is lost, and the next one is whole.
#[test]
fn a_migration_that_is_killed_loses_nothing() {
    const KILLS: u32 = 50;
    let (folder, path, _) = old();
    // So many that migrating takes a while: windows of another boot, far away.
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "WITH RECURSIVE n (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM n WHERE at < 20000)
         INSERT INTO window (boot, boot_start, length, wall_start, wall_end, event, hz, cpus, busy, idle, filtered, taken, stored, lost,
                             incomplete, packed)
         SELECT 1000000, at, 1, at, at + 1, at % 2, 97 + at % 5, 1, 1, 1, 1, at, at, 0, 0, 1 FROM n",
    )
    .unwrap();
    drop(conn);
    let sums = "SELECT count(*), sum(taken), sum(hz), count(DISTINCT event), (SELECT sum(stored) FROM rollup),
        (SELECT sum(length(stacks) * start % 1000003) FROM rollup), (SELECT sum(samples) FROM hour_leaf) FROM v_windows";
    let before = rows(&path, sums);
    let run = |file: &Path| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "store::older::tests::opens_the_database_it_is_told"])
            .env("PROFILER_TEST_MIGRATE", file);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command
    };
    let fresh = |name: &str| {
        let file = folder.path().join(name);
        std::fs::copy(&path, &file).unwrap();
        file
    };
    let file = fresh("timed.db");
    let begun = std::time::Instant::now();
    assert!(run(&file).status().unwrap().success());
    let (took, mut versions) = (begun.elapsed(), [0; 2]);
    for kill in 0..KILLS {
        let file = fresh(&format!("{kill}.db"));
        let mut child = run(&file).spawn().unwrap();
        // Spread by the golden ratio over the time that one takes.
        std::thread::sleep(took.mul_f64((f64::from(kill) * 0.618_034).fract()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(rows(&file, sums), before, "kill {kill}");
        let found = version(&file);
        versions[usize::from(found == VERSION)] += 1;
        assert!(found == 7 || found == VERSION, "kill {kill}: {found}");
        let (store, damaged) = Store::open(&file).unwrap();
        assert_eq!((damaged, rows(&file, sums)), (None, before.clone()), "kill {kill}");
        drop(store);
        assert_eq!(rows(&file, "PRAGMA integrity_check"), [["ok".to_owned().into()]], "kill {kill}");
        for part in ["", "-wal", "-shm", ".lock", ".schema-7", ".schema-7.part"] {
            let _ = std::fs::remove_file(beside(&file, part));
        }
    }
    assert!(versions.iter().all(|n| *n > 2), "{versions:?} before and after in {took:?}: the moments prove nothing");
}
