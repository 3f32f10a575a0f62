//! What is known of a process: its program before an exec, its group before a move, all of it after its first thread has ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::run::{Daemon, PROFILER, Running, build, folded, recorded, share};

/// A thread works, then executes another program, all within one window: what ran before stands under the program that ran.
#[test]
fn what_ran_before_an_exec_stands_under_its_own_program() {
    let folder = tempfile::tempdir().unwrap();
    let old = build(folder.path(), "act");
    let new = folder.path().join("second");
    fs::copy(&old, &new).unwrap();
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    let output = folder.path().join("exec.folded");
    recorded(&["-F", "199", "-o", output.to_str().unwrap(), "--", old, "1.5", new, "1.5"]);
    let stacks = folded(&fs::read_to_string(output).unwrap());
    let under = |function: &str, program: &str| {
        let whole = format!("{function};spin");
        share(&stacks, |stack| stack.contains(&whole), |stack| stack.starts_with(&format!("{program};")))
    };
    let shares = [under("before_exec", "act"), under("after_exec", "second")];
    assert_eq!(shares, [1.0, 1.0], "{stacks:#?}");
}

/// Control groups of a container's name in every hierarchy that can be written: version 2, or all of version 1.
struct Groups(Vec<PathBuf>);

impl Groups {
    fn make(container: &str) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let roots = if root.join("cgroup.controllers").exists() {
            vec![root.to_owned()]
        } else {
            let all = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
            all.filter(|path| path.join("cgroup.procs").exists() && !path.ends_with("cpuset")).collect()
        };
        let name = format!("profiler-test-{}/docker/{container}", std::process::id());
        let groups = roots.iter().map(|root| root.join(&name)).filter(|group| fs::create_dir_all(group).is_ok());
        Self(groups.collect())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for group in &self.0 {
            for folder in group.ancestors().take(3) {
                let _ = fs::remove_dir(folder);
            }
        }
    }
}

/// A runtime works, moves itself into a container's group and executes the container's program: the container is that of the program.
#[test]
fn a_container_is_known_after_the_move_into_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "act");
    let container = "c0de".repeat(16);
    let groups = Groups::make(&container);
    assert!(!groups.0.is_empty(), "no control group can be made");
    let moves: String = groups.0.iter().map(|group| format!("echo $$ > {}/cgroup.procs; ", group.display())).collect();
    let script = format!("i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; {moves} exec {} 2", program.display());
    let database = folder.path().join("moved.db");
    recorded(&["-F", "199", "-o", database.to_str().unwrap(), "--", "sh", "-c", &script]);
    let question = "SELECT comm, coalesce(container, '-'), sum(samples) FROM samples GROUP BY 1, 2";
    let sql = ["sql", "--format", "csv", "--db", database.to_str().unwrap(), question];
    let answer = Command::new(PROFILER).args(sql).output().unwrap();
    let answer = String::from_utf8(answer.stdout).unwrap();
    let of = |start: &str| -> u64 {
        let lines = answer.lines().filter(|line| line.starts_with(start));
        lines.map(|line| line.rsplit(',').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let (inside, outside) = (of(&format!("act,{container}")), of("act,-"));
    assert!(inside > 50 && outside == 0, "{answer}");
    assert!(of("sh,-") > 20 && of(&format!("sh,{container}")) < 10, "{answer}");
}

/// The first thread of a process has ended before the profiler came, or ends while it looks: to `/proc` the process is a zombie then, with
/// no memory, no executable and no root, but its second thread has all of that.
#[test]
fn a_process_without_its_first_thread_is_read_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "leader");
    let before = Running::start(&program, &["0"]);
    let during = Running::start(&program, &["4000"]);
    let output = folder.path().join("out.folded");
    before.wait_until(|fields| fields[0] == "Z");
    during.wait_until_busy();
    for running in [&before, &during] {
        let pid = running.pid().to_string();
        recorded(&["-F", "199", "-d", "6", "-o", output.to_str().unwrap(), "-p", &pid]);
        let stacks = folded(&fs::read_to_string(&output).unwrap());
        let is_whole = |stack: &str| stack.starts_with("leader;") && stack.contains(";shift;grind");
        let whole = share(&stacks, |_| true, |stack| is_whole(stack) && !stack.contains("[stack cut"));
        assert!(whole >= 0.97, "{whole}: {stacks:#?}");
        fs::remove_file(&output).unwrap();
    }
}

/// After its first thread has ended a process is no process that has left: its mappings are known after half a minute of rest too.
#[test]
fn a_process_without_its_first_thread_is_kept_while_it_rests() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "leader");
    let daemon = Daemon::start(&folder.path().join("rest.db"), &["-F", "199", "--window", "1s"]);
    let running = Running::start(&program, &["1000"]);
    let signal = |name: &str| {
        let pid = running.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    let sampled = || {
        // Windows are stored a while after their end.
        let begin = Instant::now();
        loop {
            let (_, text) = daemon.get("/api/v1/export/folded?from=now-15s&filter=%7Bcomm%3D%22leader%22%7D");
            let stacks = folded(&text);
            if stacks.values().sum::<u64>() > 100 {
                return stacks;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "too few samples: {text}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    running.wait_until(|fields| fields[0] == "Z");
    sampled();
    signal("-STOP");
    // The rest itself: after half a minute without a sample a process is looked for in `/proc`.
    std::thread::sleep(Duration::from_secs(36));
    signal("-CONT");
    let stacks = sampled();
    let whole = share(&stacks, |_| true, |stack| stack.contains(";shift;grind") && !stack.contains("[stack cut"));
    assert!(whole >= 0.97, "{whole}: {stacks:#?}");
    daemon.stop();
}
