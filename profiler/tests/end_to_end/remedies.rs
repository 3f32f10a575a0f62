//! What the profiler tells people to type, typed as it is told: names come of it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::{Daemon, PROFILER, Running, Setting, recorded};

/// What the commands below are waited for. A cold host compiles rows and names of whole runtimes first.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a row of the binaries that has a command, and returns that.
fn command_for(daemon: &Daemon, is_it: impl Fn(&Value) -> bool) -> String {
    let begin = Instant::now();
    loop {
        let found = daemon.json("/api/v1/binaries?from=now-1h");
        let rows = found["binaries"].as_array().unwrap();
        let row = rows.iter().find(|row| is_it(row));
        if let Some(command) = row.and_then(|row| row["remedies"][0]["command"].as_str()) {
            return command.to_owned();
        }
        assert!(begin.elapsed() < PATIENCE, "no remedy: {found}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Code in memory that a program of this name wrote.
fn is_code_of(program: &str) -> impl Fn(&Value) -> bool {
    let end = format!("/{program}");
    move |row| row["program"].as_str().is_some_and(|program| program.ends_with(&end))
}

/// Waits until the table has a function whose name has this in it.
fn wait_for_function(daemon: &Daemon, name: &str) {
    let begin = Instant::now();
    loop {
        let top = daemon.json(&format!("/api/v1/top?from=now-1h&search={name}"));
        if top["rows"].as_array().unwrap().iter().any(|row| row["self"].as_u64().unwrap() > 0) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "nothing is called {name}: {top}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Types a command, as a person would in this folder.
fn types(folder: &Path, command: &str) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {command}")]).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    shell.spawn().unwrap()
}

/// The map that a process of a runtime leaves behind.
fn remove_map(pid: u32) {
    let _ = fs::remove_file(format!("/tmp/perf-{pid}.map"));
}

/// Calls itself: no compiler makes its name disappear by putting all of it where it is called.
const SCRIPT: &str = "function fibonacci(n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
while (true) fibonacci(25);";

#[test]
fn node_is_started_as_told_and_its_functions_have_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("app.js"), SCRIPT).unwrap();
    let script = folder.path().join("app.js").to_str().unwrap().to_owned();
    let plain = Running::start(Path::new("node"), &[&script]);
    let daemon = Daemon::start(&folder.path().join("node.db"), &["-F", "199", "--window", "1s"]);
    let command = command_for(&daemon, is_code_of("node"));
    drop(plain);
    let told = Running(types(folder.path(), &format!("{command} {script}")));
    wait_for_function(&daemon, "fibonacci");
    remove_map(told.pid());
}

/// A person without the page is told of scripts, too: the interpreter has all its names, and none of them is the script's.
#[test]
fn the_command_line_says_that_functions_of_a_script_have_no_names() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("script.db").to_str().unwrap().to_owned();
    let script = "while True: sorted(range(100))";
    recorded(&["-F", "499", "-d", "2", "-o", &database, "--", "/usr/bin/python3", "-c", script]);
    let names = |more: &[&str]| {
        let done = Command::new(PROFILER).args(["names", &database]).args(more).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let text = names(&[]);
    for said in ["(CPython)", "interpreter: functions of the script are not named yet"] {
        assert!(text.contains(said), "{text}");
    }
    let found: Value = serde_json::from_str(&names(&["--json"])).unwrap();
    let row = &found["interpreters"][0];
    assert_eq!((&row["runtime"], &row["named"]), (&"CPython".into(), &0.into()), "{found}");
    assert!(row["total"].as_u64().unwrap() > 50 && row["remedies"][0]["command"].is_string(), "{found}");
}

const PROGRAM: &str = "public class Fib {
    static int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
    public static void main(String[] words) { while (true) fibonacci(25); }
}";

#[test]
fn java_is_asked_as_told_and_its_methods_have_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Fib.java"), PROGRAM).unwrap();
    let program = folder.path().join("Fib.java").to_str().unwrap().to_owned();
    let running = Running::start(Path::new("java"), &["-XX:+PreserveFramePointer", &program]);
    let daemon = Daemon::start(&folder.path().join("java.db"), &["-F", "199", "--window", "1s"]);
    // The launcher is compiled code at first, the program a second later.
    running.wait_until(|fields| fields[11].parse::<u64>().unwrap() >= 500);
    let command = command_for(&daemon, is_code_of("java"));
    assert!(command.contains(&format!("jcmd {} ", running.pid())), "{command}");
    assert!(types(folder.path(), &format!("sh -c '{command}'")).wait().unwrap().success(), "{command}");
    wait_for_function(&daemon, "fibonacci");
    remove_map(running.pid());
}

/// A host that hides its kernel's symbols, also from root.
#[test]
fn the_kernel_is_shown_as_told_and_its_functions_have_names() {
    let folder = tempfile::tempdir().unwrap();
    let hidden = Setting::set("/proc/sys/kernel/kptr_restrict", "2");
    let busy = Running::start(Path::new("sh"), &["-c", "while :; do (:); done"]);
    let daemon = Daemon::start(&folder.path().join("hidden.db"), &["-F", "199", "--window", "1s"]);
    let command = command_for(&daemon, |row| row["path"] == "[kernel]" && row["reason"] == "kernel_hidden");
    daemon.stop();
    assert!(types(folder.path(), &command).wait().unwrap().success(), "{command}");
    let daemon = Daemon::start(&folder.path().join("shown.db"), &["-F", "199", "--window", "1s"]);
    // Of the system call behind each round of the loop, on any processor.
    wait_for_function(&daemon, "kernel_clone");
    drop((busy, hidden));
}
