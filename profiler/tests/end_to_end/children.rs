//! The children that parse files, when somebody with the right to kills them or stops them.

use std::collections::HashSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::run::Daemon;
use crate::storm::programs;

/// Programs that nobody has seen before, so that the children have work: one half while they are killed, the other while they are stopped.
const PROGRAMS: usize = 80;
/// Children killed with SIGKILL.
const KILLS: usize = 10;
/// How long children are stopped at least.
const STOPPED: Duration = Duration::from_secs(3);
/// By then a stopped child was asked for something.
const NOTICED: Duration = Duration::from_secs(60);
/// All is named so soon after the last signal.
const NAMED: Duration = Duration::from_secs(60);

/// Those that are the symbolizer's already, not still this program's fork.
fn children(parent: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let all: Vec<String> = threads.filter_map(|thread| thread.ok().map(of_thread)).collect();
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let all = all.iter().flat_map(|pids| pids.split_whitespace()).map(|pid| pid.parse().unwrap());
    all.filter(|pid| name(pid).trim() == "profiler-names").collect()
}

fn signal(pid: u32, signal: Signal) -> bool {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).is_ok()
}

/// A figure of `/metrics`, by what its line begins with; the sum of all such lines.
fn metric(daemon: &Daemon, begins: &str) -> u64 {
    let (status, text) = daemon.get("/metrics");
    assert_eq!(status, 200);
    let lines: Vec<u64> =
        text.lines().filter_map(|line| line.strip_prefix(begins)?.rsplit(' ').next()?.parse().ok()).collect();
    assert!(!lines.is_empty(), "no {begins} in {text}");
    lines.iter().sum()
}

/// Root kills the children again and again, then stops them, while eighty programs that nobody has seen before want names: no file is set
/// aside, postponed or blamed, and every program is named within a minute.
#[test]
fn children_that_are_killed_or_stopped_cost_no_file_its_names() {
    let folder = tempfile::tempdir().unwrap();
    programs(folder.path(), PROGRAMS);
    let cache = folder.path().join("cache");
    let words = ["-F", "499", "--window", "1s", "--cache", cache.to_str().unwrap()];
    let daemon = Daemon::start(&folder.path().join("children.db"), &words);
    let storm = |numbers: std::ops::Range<usize>| {
        let (first, last) = (numbers.start, numbers.end - 1);
        let run =
            format!("cd {}; for n in $(seq -f %03g {first} {last}); do ./storm-$n 100; done", folder.path().display());
        Command::new("bash").args(["-c", &run]).stdin(Stdio::null()).spawn().unwrap()
    };
    let mut running = storm(0..PROGRAMS / 2);

    let (mut killed, begin) = (HashSet::new(), Instant::now());
    while killed.len() < KILLS {
        assert!(begin.elapsed() < Duration::from_secs(120), "only {} children came", killed.len());
        killed.extend(children(daemon.child.id()).into_iter().filter(|child| signal(*child, Signal::KILL)));
        std::thread::sleep(Duration::from_millis(5));
    }
    let restarts = |cause: &str| metric(&daemon, &format!("profiler_symbolizer_restarts_total{{cause=\"{cause}\"}}"));
    assert!(running.wait().unwrap().success());
    let mut running = storm(PROGRAMS / 2..PROGRAMS);
    let (mut stopped, begin) = (HashSet::new(), Instant::now());
    while begin.elapsed() < STOPPED || restarts("stopped") == 0 {
        assert!(begin.elapsed() < NOTICED, "{} children are stopped, and nobody has noticed", stopped.len());
        stopped.extend(children(daemon.child.id()).into_iter().filter(|child| signal(*child, Signal::STOP)));
        std::thread::sleep(Duration::from_millis(5));
    }
    stopped.iter().for_each(|child| _ = signal(*child, Signal::CONT));
    assert!(running.wait().unwrap().success());

    let begin = Instant::now();
    let named = || {
        let top = daemon.json("/api/v1/top?limit=10000&filter=comm=~%22storm-.*%22");
        let names = top["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned());
        names.filter(|name| name.starts_with("work_")).collect::<HashSet<_>>().len()
    };
    while named() < PROGRAMS {
        assert!(begin.elapsed() < NAMED, "{} of {PROGRAMS} programs are named", named());
        std::thread::sleep(Duration::from_millis(500));
    }
    let figures = ["killed", "stopped", "not_started", "fault", "no_answer"].map(|cause| (cause, restarts(cause)));
    eprintln!("{PROGRAMS} programs named {:?} after the last signal; {figures:?}", begin.elapsed());
    assert!(restarts("killed") + restarts("not_started") > 0, "{figures:?}: not in the middle");
    assert_eq!(restarts("fault") + restarts("no_answer"), 0, "{figures:?}");
    for files in ["set_aside", "postponed"] {
        assert_eq!(metric(&daemon, &format!("profiler_symbolizer_files_{files} ")), 0, "{files}");
    }
    daemon.stop();
}
