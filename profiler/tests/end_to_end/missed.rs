//! Missed ticks on their whole way: from the kernel into the database, the timeline, the metrics and a notice.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cpus::{SAMPLE_RATE, limit};
use crate::held::hold;
use crate::run::{Daemon, PROFILER};

fn sql(database: &Path, question: &str) -> Vec<i64> {
    let output =
        Command::new(PROFILER).args(["sql", "--format", "csv", "--db"]).arg(database).arg(question).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().nth(1).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    line.split(',').map(|n| n.parse().unwrap()).collect()
}

/// The value of a line of `/metrics`.
fn metric(daemon: &Daemon, name: &str) -> u64 {
    let (_, metrics) = daemon.get("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
    line.trim().parse().unwrap()
}

/// Time that another eBPF program takes is neither work nor idle: it is missed, with its cause, wherever somebody looks, and the
/// ticks of all windows add up to those that were due.
#[test]
fn ticks_taken_by_another_program_are_missed_in_every_answer() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("x.db");
    let daemon = Daemon::start(&database, &["-F", "997", "--window", "500ms"]);
    let patience = Duration::from_secs(20);
    daemon.wait_for_status(patience, |status| status["database"]["windows"].as_u64() > Some(1));
    let held = std::thread::spawn(|| hold(1, Duration::from_secs(3)));
    let told = |status: &serde_json::Value| {
        let notices = status["notices"].to_string();
        notices.contains("% of ticks missed, another eBPF program held the CPU")
    };
    daemon.wait_for_status(patience, told);
    let nanos: u64 = held.join().unwrap().iter().map(|[begin, end]| end - begin).sum();
    let taken = nanos * 997 / 1_000_000_000;
    daemon.wait_for_status(patience, |status| !told(status));
    let status = daemon.json("/api/v1/status");
    let missed = status["recording"]["ticks_missed"]["program_busy"].as_u64().unwrap();
    println!("{taken} ticks fell into holds, {missed} missed: {}", status["recording"]["ticks_missed"]);
    // A virtual CPU that is not run meanwhile has its ticks late instead.
    let late = status["recording"]["ticks_missed"]["timer_late"].as_u64().unwrap();
    assert!(taken > 200 && missed + late > taken * 9 / 10, "{missed} and {late} of {taken}");
    assert!(missed > taken / 2 && missed < taken * 11 / 10 + 50, "{missed} of {taken}");
    assert!(metric(&daemon, "profiler_ticks_missed_total{cause=\"program_busy\"}") >= missed);

    let range = "from=now-1m&to=now";
    let timeline = daemon.json(&format!("/api/v1/timeline?{range}"));
    let of = |name: &str| timeline["buckets"][name].as_array().unwrap().clone();
    let worst = of("missed_share").iter().filter_map(serde_json::Value::as_f64).fold(0.0, f64::max);
    assert!(worst > 0.02, "one of {} CPUs was held: {worst}", status["recording"]["cpus"]);
    assert!(of("missed_cause").contains(&"program_busy".into()), "{timeline}");
    let quality = daemon.json("/api/v1/quality?from=now-10m&to=now");
    assert!(quality["missed_share"].as_f64() > Some(0.01), "{}", quality["missed_share"]);
    // The newest window may not be stored yet.
    let stored = quality["ticks_missed"]["program_busy"].as_u64().unwrap();
    assert!(stored > missed / 2, "{stored} of {missed}");

    daemon.stop();
    let books = sql(
        &database,
        "SELECT sum(busy), sum(idle), sum(missed), cast(sum(hz * cpus * seconds) AS integer) FROM v_windows",
    );
    let [busy, idle, missed, due] = books[..] else { panic!("{books:?}") };
    println!("{busy} busy, {idle} idle, {missed} missed of {due}");
    assert!((busy + idle + missed).abs_diff(due) as i64 <= due / 50 + 50, "{books:?}");
    let in_causes =
        sql(&database, "SELECT sum(value) FROM v_windows, json_each(misses) WHERE key IN ('0', '1', '2', '3', '4')");
    assert_eq!(in_causes, [missed]);
}

/// Ticks between the fall of the kernel's limit and our following it are throttled; they are counted as that.
#[test]
fn throttled_ticks_are_missed_for_that_cause() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("x.db"), &["-F", "997", "--window", "500ms"]);
    let patience = Duration::from_secs(20);
    daemon.wait_for_status(patience, |status| status["database"]["windows"].as_u64() > Some(1));
    let before = fs::read_to_string(SAMPLE_RATE).unwrap();
    let rate = limit(100);
    let status = daemon.wait_for_status(patience, |status| {
        status["recording"]["hz"] == 100 && status["recording"]["ticks_missed"]["throttled"].as_u64() > Some(0)
    });
    println!("{}", status["recording"]["ticks_missed"]);
    drop(rate);
    assert_eq!(fs::read_to_string(SAMPLE_RATE).unwrap(), before);
    daemon.stop();
}
