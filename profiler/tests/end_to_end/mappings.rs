//! One user's processes with very many mappings: what they cost is bounded, and the others do not notice.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{Daemon, PROFILER, Running, build};

/// Seconds of a window.
const WINDOW: u64 = 2;
const PROCESSES: &str = "12";
const MAPPINGS: &str = "2000";
/// Path of each mapping, in bytes.
const LENGTH: &str = "3900";

/// The processes, as an unprivileged user, in a folder in memory.
fn map_much(program: &Path, folder: &Path, seconds: &str) -> Child {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let mut storm = Command::new("setpriv");
    storm.args(nobody).arg(program).arg(folder).args([PROCESSES, MAPPINGS, LENGTH]);
    storm.arg(seconds).stdin(Stdio::null()).spawn().unwrap()
}

/// A figure of `/metrics`.
fn metric(daemon: &Daemon, name: &str) -> u64 {
    let (_, text) = daemon.get("/metrics");
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).split(' ').nth(1).unwrap().parse().unwrap()
}

/// Twelve processes of one user with two thousand mappings each, all by paths of 3.9 KB: 94 MB of paths. Windows keep their length, the
/// mappings beyond the user's share are counted and named so, another user's program has its names, and the memory comes back.
#[test]
fn mappings_of_one_user_are_bounded_and_windows_keep_their_length() {
    let folder = tempfile::tempdir().unwrap();
    let in_memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let (program, ratio) = (build(in_memory.path(), "mappings"), build(folder.path(), "ratio"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let database = folder.path().join("mappings.db");
    let daemon = Daemon::start(
        &database,
        &["--window", &format!("{WINDOW}s"), "--cache", folder.path().join("cache").to_str().unwrap()],
    );
    daemon.wait_for_status(Duration::from_secs(30), |status| status["totals"]["stored"].as_u64().unwrap() > 0);
    let mut storm = map_much(&program, in_memory.path(), "15");
    // It comes while the storm is on.
    let other = Running::start(&ratio, &[]);
    let begin = Instant::now();
    while metric(&daemon, "profiler_mappings_refused_total") == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing was refused");
        assert!(storm.try_wait().unwrap().is_none(), "the storm is over");
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut most = 0;
    let mut healthy = true;
    while storm.try_wait().unwrap().is_none() {
        most = most.max(metric(&daemon, "profiler_mappings_memory_bytes"));
        healthy &= daemon.get("/healthz").0 == 200;
        assert!(begin.elapsed() < Duration::from_secs(120), "the storm does not end");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(storm.wait().unwrap().success());
    assert!(healthy, "/healthz was not ok throughout");
    let limit = metric(&daemon, "profiler_mappings_memory_limit_bytes");
    assert!(most < limit / 4 + (8 << 20), "{most} bytes of mappings");
    let has = |what: &str| {
        let top = daemon.json("/api/v1/top?limit=10000");
        top["rows"].as_array().unwrap().iter().any(|row| row.to_string().contains(what))
    };
    let begin = Instant::now();
    while !has("too many mappings of this user") || !has("seventy") {
        assert!(begin.elapsed() < Duration::from_secs(60), "{}", daemon.json("/api/v1/top?limit=50"));
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(other);
    let begin = Instant::now();
    while metric(&daemon, "profiler_mappings_memory_bytes") > 4 << 20 {
        assert!(begin.elapsed() < Duration::from_secs(90), "{}", metric(&daemon, "profiler_mappings_memory_bytes"));
        std::thread::sleep(Duration::from_secs(1));
    }
    daemon.stop();
    let question = "SELECT max(seconds) FROM v_windows";
    let answer = Command::new(PROFILER).args(["sql", "--db"]).arg(&database).arg(question).output().unwrap();
    let text = String::from_utf8(answer.stdout).unwrap();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|word| word.parse::<f64>().ok());
    let longest = numbers.next_back().expect(&text);
    assert!(longest > 0.0 && longest <= 2.0 * WINDOW as f64, "a window of {longest} s");
}
