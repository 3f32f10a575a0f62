//! A build id is a claim: what a file of some user's says decides nothing about a file of root's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::run::{Daemon, Running, folded};

const NOBODY: u32 = 65534;

/// A program that is nothing but one function. All of them have one build id, one length and one code: they differ in that function's name.
fn twin(folder: &Path, name: &str) -> PathBuf {
    let source = folder.join("twin.c");
    let text = "static volatile unsigned long sink;
        __attribute__((noinline)) static void WORK(void) { for (unsigned long i = 0; i < 100000; i++) sink += i; }
        int main(void) { for (;;) WORK(); }";
    fs::write(&source, text).unwrap();
    let program = folder.join(name);
    // The last page is part of what a file is known by, and would hold the names.
    let make = "cc -O0 -Wl,--build-id=0x1122334455667788990011223344556677889900 -DWORK=$0_work -o $0 twin.c
        head -c 8192 /dev/zero >> $0; chmod 755 $0";
    let made = std::process::Command::new("sh").current_dir(folder).args(["-ec", make, name]).status().unwrap();
    assert!(made.success());
    program
}

/// Samples of processes with this command name, by their stack.
fn stacks_of(daemon: &Daemon, comm: &str) -> BTreeMap<String, u64> {
    let path = format!("/api/v1/export/folded?from=now-1h&filter=%7Bcomm%3D%22{comm}%22%7D");
    match daemon.get(&path) {
        (200, body) => folded(&body),
        _ => BTreeMap::new(),
    }
}

/// Waits until this program's samples are named: by its own two functions, in stacks that reach both. Never by another's.
fn wait_for_names(daemon: &Daemon, comm: &str) {
    let start = Instant::now();
    let whole = format!(";main;{comm}_work");
    loop {
        let stacks = stacks_of(daemon, comm);
        let other = stacks.keys().find(|stack| stack.contains("_work") && !stack.contains(&format!("{comm}_work")));
        assert_eq!(other, None, "of {comm}: {stacks:#?}");
        let named: u64 = stacks.iter().filter(|(stack, _)| stack.contains(&whole)).map(|(_, count)| count).sum();
        if named > 200 {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(90), "not named after 90 s: {stacks:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A stranger runs a copy of root's program first, with the same build id, length and code, but with names of his own choice: root's
/// program keeps its names, in this run and in the next one on the same database, which begins with no names kept on disk.
#[test]
fn a_strangers_file_with_roots_build_id_names_nothing_of_roots() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (decoy, owned) = (twin(folder.path(), "decoy"), twin(folder.path(), "owned"));
    chown(&decoy, Some(NOBODY), Some(NOBODY)).unwrap();
    let differing = fs::read(&decoy).unwrap().iter().zip(fs::read(&owned).unwrap()).filter(|(a, b)| *a != b).count();
    assert!(differing <= 5, "{differing} bytes differ, not only the five letters of the name");

    let database = folder.path().join("run.db");
    for run in ["first", "second"] {
        let cache = folder.path().join(format!("cache-{run}"));
        let words = ["-F", "199", "--window", "1s", "--cache", cache.to_str().unwrap()];
        let daemon = Daemon::start(&database, &words);
        if run == "first" {
            let user = NOBODY.to_string();
            let words = ["--reuid", &user, "--regid", &user, "--clear-groups", decoy.to_str().unwrap()];
            let _stranger = Running::start(Path::new("setpriv"), &words);
            wait_for_names(&daemon, "decoy");
        }
        let _owned = Running::start(&owned, &[]);
        wait_for_names(&daemon, "owned");
        daemon.stop();
    }
}
