//! The write-ahead log of a database in use: whatever reads or writes the database beside the profiler, the log stays, and after
//! kill -9 the file has every sample that the profiler called stored.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use profiler::query;
use profiler::store::Reader;

use crate::crash::{count_from, integrity};
use crate::run::{Daemon, PROFILER, Running, build};

const WINDOWS: [&str; 6] = ["--window", "200ms", "-F", "499", "--unwind", "fp"];
const PATIENCE: Duration = Duration::from_secs(40);

/// How many rounds of a read and a kill, unless `PROFILER_LOG_ROUNDS` says otherwise (`make test-log` does).
const ROUNDS: u64 = 3;

/// Samples that the profiler says it has stored since it started.
fn told(daemon: &Daemon) -> u64 {
    let (_, metrics) = daemon.get("/metrics");
    metrics.lines().find_map(|line| line.strip_prefix("profiler_samples_stored_total ")).unwrap().parse().unwrap()
}

fn stored(database: &Path) -> u64 {
    query::totals(&mut Reader::open(database).unwrap()).unwrap().stored
}

/// Whether the process holds SQLite's shared lock on the database by POSIX: `/proc/locks`, `man 5 proc_locks`.
fn holds_shared_lock(daemon: &Daemon, database: &Path) -> bool {
    let (pid, inode) = (daemon.child.id().to_string(), format!(":{}", database.metadata().unwrap().ino()));
    std::fs::read_to_string("/proc/locks").unwrap().lines().any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        matches!(words[..], [_, "POSIX", _, "READ", owner, file, from, to]
            if owner == pid && file.ends_with(&inode) && from == "1073741826" && to == "1073742335")
    })
}

fn beside(database: &Path, suffix: &str) -> std::path::PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The inodes of the database, its log and the log's index.
fn inodes(database: &Path) -> [u64; 3] {
    ["", "-wal", "-shm"].map(|suffix| beside(database, suffix).metadata().map_or(0, |meta| meta.ino()))
}

/// What people do with a database in use; `DB` stands for it, `DIR` for a folder.
const VISITS: [&str; 17] = [
    "sqlite3 DB 'SELECT count(*) FROM v_windows'",
    "sqlite3 -readonly DB 'SELECT count(*) FROM v_windows'",
    "sqlite3 -cmd '.timeout 30000' DB 'CREATE TABLE IF NOT EXISTS mine (x); INSERT INTO mine VALUES (1)'",
    "sqlite3 -cmd '.timeout 30000' DB VACUUM",
    "sqlite3 DB '.backup DIR/backup.db'",
    "sqlite3 -cmd '.timeout 30000' DB 'PRAGMA wal_checkpoint(TRUNCATE)'",
    "python3 -c 'import sqlite3; c = sqlite3.connect(\"DB\"); print(c.execute(\"SELECT count(*) FROM window\").fetchone()); c.close()'",
    "cp DB DIR/copy.db && cat DB-wal > DIR/copy.db-wal && cat DB-shm > /dev/null",
    "PROFILER sql --db DB 'SELECT count(*) FROM v_windows'",
    "PROFILER export --db DB --from now-1h -o DIR/out.folded",
    "rm -f DIR/part.db; PROFILER export --db DB --from now-1h -o DIR/part.db",
    "PROFILER names --db DB",
    "PROFILER db check --db DB",
    "PROFILER db stats --db DB",
    "rm -f DIR/copied.db; PROFILER db backup --db DB -o DIR/copied.db",
    "PROFILER db compact --db DB",
    "timeout -s INT 1 PROFILER serve DB --listen 127.0.0.1:0; true",
];

/// Questions that the profiler itself answers from the database it writes.
const QUESTIONS: [&str; 9] = [
    "/api/v1/status",
    "/api/v1/flamegraph",
    "/api/v1/top",
    "/api/v1/timeline",
    "/api/v1/heatmap",
    "/api/v1/labels/comm/values",
    "/api/v1/quality",
    "/api/v1/binaries",
    "/",
];

/// After each of them the lock is held, the log is where it was, and windows are stored; after kill -9 all of them are there.
#[test]
fn whatever_visits_the_database_the_log_stays() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("x.db");
    let _busy = Running::start(&build(folder.path(), "ratio"), &[]);
    let mut daemon = Daemon::start(&database, &WINDOWS);
    daemon.wait_for_status(PATIENCE, |status| status["database"]["windows"].as_u64() > Some(3));
    let files = inodes(&database);
    let held = |what: &str| {
        assert!(holds_shared_lock(&daemon, &database), "no lock on the database after {what}");
        assert_eq!(inodes(&database), files, "other files after {what}");
    };
    held("the start");
    for question in QUESTIONS {
        let (code, body) = daemon.get(question);
        assert!(matches!(code, 200 | 303), "{question}: {code} {body}");
        held(question);
    }
    for visit in VISITS {
        let words = visit
            .replace("DB", database.to_str().unwrap())
            .replace("DIR", folder.path().to_str().unwrap())
            .replace("PROFILER", PROFILER);
        let done = Command::new("sh").args(["-c", &words]).output().unwrap();
        assert!(done.status.success(), "{words}: {done:?}");
        held(visit);
        let before = told(&daemon);
        daemon.wait_for_status(PATIENCE, |_| told(&daemon) > before);
    }
    let told = told(&daemon);
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    assert_eq!(integrity(&database), "ok");
    let stored = stored(&database);
    assert!(stored >= told, "{told} samples were called stored, {stored} are there");
}

/// A read by the shell, which closes the database as if it were the last, then kill -9: what was called stored is there.
#[test]
fn after_a_read_by_the_shell_and_kill_9_all_that_was_told_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("x.db");
    let _busy = Running::start(&build(folder.path(), "ratio"), &[]);
    let mut before = 0;
    for round in 0..count_from("PROFILER_LOG_ROUNDS", ROUNDS) {
        let mut daemon = Daemon::start(&database, &WINDOWS);
        daemon.wait_for_status(PATIENCE, |_| told(&daemon) > 0);
        let read = Command::new("sqlite3").arg(&database).arg("SELECT count(*) FROM v_windows").output().unwrap();
        assert!(read.status.success(), "{read:?}");
        let at_the_read = told(&daemon);
        daemon.wait_for_status(PATIENCE, |_| told(&daemon) > at_the_read + 100);
        let told = told(&daemon);
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
        let now = stored(&database);
        eprintln!("round {round}: told {told}, stored {}", now - before);
        assert!(now - before >= told, "round {round}: {told} samples were called stored, {} are there", now - before);
        before = now;
    }
    assert_eq!(integrity(&database), "ok");
}
