//! CPython 3.13 of another distribution, in a root of its own, that tells of its functions (`-X perf`): each call goes through a
//! trampoline of the process's own code, which the map in its own `/tmp` names. `scripts/setup.sh test` puts it there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::run::{Daemon, Running, folded, recorded, share};

const SCRIPT: &str = "
def leaf(n): return sum(range(n))
def work(n): return leaf(n) + leaf(n)
def outer():
    while True: work(2000)
outer()
";

/// The script, where the interpreter sees it; it and what the interpreter writes go with it.
struct Script(PathBuf);

impl Script {
    fn new(name: &str) -> Self {
        let root = root();
        assert!(root.join(".stamp").exists(), "no CPython in {}: run scripts/setup.sh test", root.display());
        let file = root.join("tmp").join(name);
        std::fs::write(&file, SCRIPT).unwrap();
        Self(file)
    }

    /// What runs it, once the root is changed.
    fn words(&self) -> Vec<String> {
        let inside = format!("/tmp/{}", self.0.file_name().unwrap().to_str().unwrap());
        let root = root().to_str().unwrap().to_owned();
        [root.as_str(), "/usr/bin/python3.13", "-S", "-E", "-X", "perf", &inside].map(str::to_owned).into()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Removes a process's map with its value.
struct Map(PathBuf);

impl Drop for Map {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn root() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|cache| cache.is_absolute());
    let cache = cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"));
    cache.join("profiler-build/python3.13")
}

/// Functions and their files, in order, between the interpreter's own; walked through the trampolines to the thread's first function.
#[test]
#[cfg(target_arch = "x86_64")]
fn python_functions_have_names_and_files() {
    let script = Script::new("named.py");
    let words = script.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let running = Running::start(Path::new("chroot"), &words);
    let pid = running.pid().to_string();
    let _map = Map(root().join(format!("tmp/perf-{pid}.map")));
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("python.db"), &["-F", "499", "--window", "1s", "-p", &pid]);
    let start = Instant::now();
    let row = loop {
        let top = daemon.json("/api/v1/top?sort=total");
        let row = top["rows"].as_array().unwrap().iter().find(|row| row["name"] == "leaf").cloned();
        if let Some(row) = row {
            break row;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "no function has its name: {top}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(row["file"], "/tmp/named.py", "{row}");
    daemon.stop();

    let out = folder.path().join("out.folded");
    recorded(&["-F", "499", "-d", "3", "-p", &pid, "-o", out.to_str().unwrap()]);
    let stacks = folded(&std::fs::read_to_string(out).unwrap());
    let calls = |stack: &str| {
        let mut frames = stack.split(';');
        ["_start", "Py_BytesMain", "<module>", "outer"].iter().all(|name| frames.any(|frame| frame == *name))
    };
    let whole = share(&stacks, |_| true, calls);
    assert!(whole >= 0.95, "{whole:.3} of the samples lead from _start to outer: {stacks:#?}");
    let below = |stack: &str| {
        let mut frames = stack.split(';');
        ["outer", "work", "leaf"].iter().all(|name| frames.any(|frame| frame == *name))
    };
    let leaf = share(&stacks, calls, below);
    assert!(leaf >= 0.8, "{leaf:.3} of them are in leaf, called by work: {stacks:#?}");
}
