//! taken = stored + lost, on a machine that has no time to spare.

use std::path::Path;
use std::time::Duration;

use profiler::profile::{TimeRange, WallNanos};
use profiler::query::{self, Selector};
use profiler::store::Reader;

use crate::run::{Daemon, Running, recorded};

const ALL_TIME: TimeRange = TimeRange { from: WallNanos(i64::MIN), to: WallNanos(i64::MAX) };

/// What the kernel counted, what the windows hold, what their books call lost.
fn balance(database: &Path) -> (u64, u64, u64) {
    let mut reader = Reader::open(database).unwrap();
    let totals = query::totals(&mut reader).unwrap();
    let merged = query::flame_graph(&mut reader, ALL_TIME, &Selector::default(), usize::MAX).unwrap();
    assert_eq!(merged.tree.nodes[0].total, totals.stored, "the windows hold what they say they hold");
    (totals.taken, totals.stored, totals.losses.total())
}

/// More threads than cores, 997 Hz, a minute: every sample that the kernel side took is stored or counted.
#[test]
fn samples_taken_are_stored_or_counted_on_a_busy_machine() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("busy.db");
    let spin = "for i in 1 2 3 4 5 6; do (while :; do :; done) & done; \
                (while :; do cat /proc/self/maps > /dev/null; done) & sleep 120; kill 0";
    // In a process group of its own, so that its end ends all of it.
    let busy = Running::start(Path::new("setsid"), &["sh", "-c", spin]);
    let output = recorded(&["-a", "-F", "997", "-d", "60", "-o", database.to_str().unwrap()]);
    let _ = std::process::Command::new("kill").args(["--", &format!("-{}", busy.pid())]).status();
    let (taken, stored, lost) = balance(&database);
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(taken, stored + lost);
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    assert!(taken > 997 * 60 * cpus * 7 / 10, "{taken} samples of {cpus} busy CPUs in 60 s at 997 Hz");
    assert!(lost * 100 < taken, "{lost} of {taken} lost");
}

/// The same with stack maps of eight entries: collisions cost bytes, never samples.
#[test]
fn stack_maps_of_eight_entries_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("tiny.db");
    let tiny = ["--user-stack-slots", "8", "--kernel-stack-buckets", "8", "--window", "1s"];
    let work = "for i in $(seq 300); do cat /proc/self/status /proc/self/maps > /dev/null; done";
    let words = [&["-F", "997", "-o", database.to_str().unwrap()][..], &tiny, &["--", "sh", "-c", work]].concat();
    recorded(&words);
    let (taken, stored, lost) = balance(&database);
    assert_eq!((taken, lost), (stored, 0));
    assert!(taken > 50, "{taken}");
}

/// A profiler that is not run for two seconds (stopped here; starved elsewhere) loses what its ring cannot hold, counts it and
/// goes on.
#[test]
fn a_profiler_that_is_held_up_goes_on_and_its_books_balance() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("late.db");
    let _busy = Running::start(Path::new("sh"), &["-c", "while :; do :; done"]);
    let daemon = Daemon::start(&database, &["-F", "997", "--window", "1s"]);
    let stored = |status: &serde_json::Value| status["totals"]["stored"].as_u64().unwrap();
    let before = stored(&daemon.wait_for_status(Duration::from_secs(10), |status| stored(status) > 100));
    for signal in ["-STOP", "-CONT"] {
        let pid = daemon.child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
        std::thread::sleep(Duration::from_secs(2));
    }
    daemon.wait_for_status(Duration::from_secs(10), |status| stored(status) > before + 1000);
    daemon.stop();
    let (taken, stored, lost) = balance(&database);
    assert_eq!(taken, stored + lost);
}
