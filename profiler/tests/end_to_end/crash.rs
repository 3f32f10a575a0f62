//! kill -9 at any moment: the file is whole, and every window that was there is there.

use std::path::Path;
use std::time::{Duration, Instant};

use profiler::query;
use profiler::store::Reader;

use crate::run::{Daemon, Running, build};

fn windows(database: &Path) -> u64 {
    Reader::open(database).map_or(0, |mut reader| query::totals(&mut reader).unwrap().windows)
}

/// `PRAGMA integrity_check`, by the sqlite3 shell: not by our own code.
pub fn integrity(database: &Path) -> String {
    let checked = std::process::Command::new("sqlite3").arg(database).arg("PRAGMA integrity_check").output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    String::from_utf8(checked.stdout).unwrap().trim().to_owned()
}

/// A count that an environment variable may change. What is not a number fails: a proof must not run short unnoticed.
pub fn count_from(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Err(std::env::VarError::NotPresent) => usual,
        text => text.unwrap().parse().unwrap_or_else(|error| panic!("{variable}: {error}")),
    }
}

/// How many kills, unless `PROFILER_KILLS` says otherwise (`make test-crash` does).
const KILLS: u64 = 50;

/// Kills at moments that fall anywhere in the life of a window, on one database that goes on growing.
#[test]
fn kill_9_at_any_moment_loses_no_committed_window() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("killed.db");
    let _busy = Running::start(&build(folder.path(), "ratio"), &[]);
    let kills = count_from("PROFILER_KILLS", KILLS);
    // `make test-crash` wants to read its figure.
    eprintln!("{kills} kills");
    let mut committed = 0;
    for round in 0..kills {
        // By frame pointers: no window waits for unwind rows, so that there are many of them.
        let mut daemon = Daemon::start(&database, &["--window", "200ms", "-F", "499", "--unwind", "fp"]);
        // Moments spread over 0.2 to 2.2 s by the golden ratio, finer than a commit takes.
        let wait = Duration::from_micros(200_000 + round * 618_034 % 2_000_000);
        let start = Instant::now();
        while start.elapsed() < wait {
            committed = committed.max(windows(&database));
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
        assert_eq!(integrity(&database), "ok", "round {round}");
        let after = windows(&database);
        assert!(after >= committed, "round {round}: {committed} windows were committed, {after} are there");
    }
    assert!(
        committed > kills,
        "only {committed} windows in {kills} rounds: the kills came too early to prove anything"
    );
    assert!(
        !std::fs::read_dir(folder.path()).unwrap().any(|entry| entry
            .unwrap()
            .path()
            .to_string_lossy()
            .contains("corrupt"))
    );
}
