//! Where runtimes tell of the code they made: a perf map that comes late, or at the end, or goes with its container; a jitdump wherever it
//! lies; a parent's map for its workers; names that are asked for when the recording is long over.

#![cfg(target_arch = "x86_64")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::run::{PROFILER, Running, build, folded, recorded, share};

/// A perf map in our `/tmp`, removed with its value.
struct Map(PathBuf);

impl Map {
    fn of(pid: u32) -> Self {
        Self(format!("/tmp/perf-{pid}.map").into())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A folder with the program.
struct Place {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = build(folder.path(), "jit");
        Self { folder, program }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn start(&self, words: &[&str]) -> (Running, Map) {
        let running = Running::start(&self.program, words);
        let map = Map::of(running.pid());
        (running, map)
    }

    /// Records with these words into a file, and gives the share of the program's samples in the code it made that have its name.
    fn named(&self, words: &[&str]) -> f64 {
        let output = self.at("out.folded");
        let _ = std::fs::remove_file(&output);
        recorded(&[&["-F", "199", "-o", &output], words].concat());
        named(&output)
    }
}

fn named(output: &str) -> f64 {
    let mut stacks = folded(&std::fs::read_to_string(output).unwrap());
    // Whether the stack is whole is another test's matter.
    stacks.retain(|stack, _| stack.starts_with("jit;") && (stack.contains(";made_code") || stack.contains("[anon")));
    let share = share(&stacks, |_| true, |stack| stack.contains(";made_code"));
    println!("{share:.3} named: {stacks:#?}");
    share
}

/// A jitdump lies anywhere: its mapping leads to it.
#[test]
fn a_jitdump_is_found_by_its_mapping() {
    let place = Place::new();
    let dump = place.at("jit-4711.dump");
    let (running, _map) = place.start(&["dump", &dump]);
    running.wait_until_busy();
    let pid = running.pid().to_string();
    assert!(place.named(&["-d", "2", "-p", &pid]) >= 0.9);
    assert!(place.named(&["-d", "2", "--", place.program.to_str().unwrap(), "dump", &dump]) >= 0.9);
}

/// A map that comes while the recording goes on names what was sampled before, too.
#[test]
fn a_late_map_is_used_at_the_end() {
    let place = Place::new();
    let (running, _map) = place.start(&["late"]);
    let pid = running.pid().to_string();
    assert!(place.named(&["-d", "7", "-p", &pid]) >= 0.9);
}

/// So does one that the runtime writes when it ends.
#[test]
fn a_map_of_the_end_is_used() {
    let place = Place::new();
    let (running, _map) = place.start(&["exit"]);
    let pid = running.pid().to_string();
    assert!(place.named(&["-d", "8", "-p", &pid]) >= 0.9);
}

/// A worker that was forked has its parent's code, and names from its parent's map.
#[test]
fn a_forked_worker_uses_its_parents_map() {
    let place = Place::new();
    let (running, _map) = place.start(&["fork"]);
    let children = format!("/proc/{0}/task/{0}/children", running.pid());
    let begin = Instant::now();
    let worker = loop {
        let pids = std::fs::read_to_string(&children).unwrap();
        if let Some(pid) = pids.split_ascii_whitespace().next() {
            break pid.to_owned();
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "no worker");
    };
    let share = place.named(&["-d", "2", "-p", &worker]);
    assert!(Command::new("kill").args(["-9", &worker]).status().unwrap().success());
    assert!(share >= 0.9);
}

/// The `/tmp` of a container goes with its last process: the map was held before.
#[test]
fn a_map_outlives_its_container() {
    let place = Place::new();
    let program = place.program.to_str().unwrap();
    // The program must be reached: it is not below `/tmp`.
    let folder = Path::new("/var/tmp").join(format!("profiler-jit-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let copy = folder.join("jit");
    std::fs::copy(program, &copy).unwrap();
    let inside = format!("mount -t tmpfs none /tmp && exec {} brief", copy.display());
    let share = place.named(&["--", "unshare", "-m", "--propagation", "private", "sh", "-c", &inside]);
    std::fs::remove_dir_all(folder).unwrap();
    assert!(share >= 0.9);
}

/// What had no name is named when the program tells at last, by pid and start time.
#[test]
fn a_recording_is_named_when_the_map_is_there_at_last() {
    let place = Place::new();
    let (running, map) = place.start(&["late"]);
    let (database, output) = (place.at("out.db"), place.at("out.folded"));
    let export = || {
        let words = ["export", &database, "-o", &output, "--force"];
        let done = Command::new(PROFILER).args(words).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        named(&output)
    };
    let pid = running.pid().to_string();
    recorded(&["-F", "199", "-d", "500ms", "-p", &pid, "-o", &database]);
    assert!(!map.0.exists() && export() == 0.0, "the map came before the recording was over");
    let begin = Instant::now();
    while std::fs::metadata(&map.0).map_or(0, |map| map.len()) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "no map");
        std::thread::sleep(Duration::from_millis(20));
    }
    let done = Command::new(PROFILER).args(["symbolize", &database]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(export() >= 0.9);
}
