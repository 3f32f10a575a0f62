//! `record` and what it leaves behind: files, owners, the command it ran.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::run::{PROFILER, record, recorded};

const SPIN: &str = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Children of a process that run a shell.
fn children(pid: u32) -> Vec<String> {
    let output = Command::new("pgrep").args(["-x", "sh", "-P", &pid.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Whether a shell has set its trap.
fn ignores_sigterm(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (rustix::process::Signal::TERM.as_raw() - 1) & 1 == 1)
}

/// A recording is one file, and one that failed is none: the next try is not in its own way.
#[test]
fn a_recording_is_one_file_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for command in ["/nonexistent/program", "/etc/passwd"] {
        let output = record(&["-F", "1", "-o", &path("x.db"), "--", command]);
        assert!(!output.status.success(), "{command}: {}", said(&output));
        assert_eq!(names(folder.path()), [""; 0], "after {command}");
    }
    recorded(&["-F", "997", "-o", &path("x.db"), "-o", &path("x.folded"), "--", "sh", "-c", SPIN]);
    assert_eq!(names(folder.path()), ["x.db", "x.folded"]);
    for name in ["x.db", "x.folded"] {
        let again = record(&["-o", &path(name), "--", "true"]);
        assert!(again.status.code() == Some(2) && said(&again).contains(&format!("{name} exists")), "{}", said(&again));
        assert!(said(&again).contains("name another one with -o"), "{}", said(&again));
    }
    // Replaced when that is asked for, and not before the new one is whole.
    let before = fs::read(path("x.db")).unwrap();
    let failed = record(&["--force", "-o", &path("x.db"), "--", "/nonexistent/program"]);
    assert_eq!(failed.status.code(), Some(127), "{}", said(&failed));
    assert_eq!(fs::read(path("x.db")).unwrap(), before);
    recorded(&["--force", "-F", "997", "-o", &path("x.db"), "-o", &path("x.folded"), "--", "sh", "-c", SPIN]);
    assert_eq!(names(folder.path()), ["x.db", "x.folded"]);
    assert_ne!(fs::read(path("x.db")).unwrap(), before);
    let sound = Command::new(PROFILER).args(["db", "check", &path("x.db")]).output().unwrap();
    assert!(sound.status.success(), "{}", said(&sound));
    let part = |words: &[&str]| Command::new(PROFILER).args(["export", &path("x.db")]).args(words).output().unwrap();
    assert!(part(&["-o", &path("part.db")]).status.success());
    assert!(part(&["-o", &path("part.db"), "--force"]).status.success());
    assert!(said(&part(&["-o", &path("x.db"), "--force"])).contains("a part of itself"));
    assert_eq!(names(folder.path()), ["part.db", "x.db", "x.folded"]);
}

/// A wrapper passes the code on: also where nothing was sampled, and not where an output was lost.
#[test]
fn the_commands_exit_code_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (nth, (script, code)) in [("exit 42", 42), ("kill -9 $$", 137), ("true", 0)].into_iter().enumerate() {
        let (database, stacks) = (path(&format!("{nth}.db")), path(&format!("{nth}.folded")));
        let output = record(&["-F", "1", "-o", &database, "-o", &stacks, "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{script}: {}", said(&output));
        assert!(!said(&output).contains("100.0 % of stacks complete"), "{}", said(&output));
        // They are there, be they empty.
        assert!(Path::new(&stacks).exists(), "{}", said(&output));
        assert!(Command::new(PROFILER).args(["db", "check", &database]).status().unwrap().success());
    }
    let spin = format!("{SPIN}; exit 42");
    let busy = record(&["-F", "997", "-o", &path("busy.svg"), "sh", "-c", &spin]);
    assert_eq!(busy.status.code(), Some(42), "{}", said(&busy));
    // The folder goes while the command runs.
    fs::create_dir(path("gone")).unwrap();
    let lost = format!("{SPIN}; rmdir {}; exit 42", path("gone"));
    let lost = record(&["-F", "997", "-o", &path("gone/x.svg"), "sh", "-c", &lost]);
    assert_eq!(lost.status.code(), Some(1), "{}", said(&lost));
    // Nothing that was asked for ran: that is ours to say.
    let mut idle = Command::new("sleep").arg("60").spawn().unwrap();
    let nothing = record(&["-p", &idle.id().to_string(), "-d", "0.5", "-o", &path("nothing.folded")]);
    idle.kill().unwrap();
    idle.wait().unwrap();
    assert_eq!(nothing.status.code(), Some(3), "{}", said(&nothing));
}

/// Time, samples and losses while it runs, the hottest functions at its end; and all of it for programs.
#[test]
fn a_recording_says_how_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let program = crate::run::build(folder.path(), "ratio");
    let running = crate::run::Running::start(&program, &[]);
    let words = format!(
        "{PROFILER} record -F 499 -d 1.5 -p {} -o {} --json={}",
        running.pid(),
        path("x.folded"),
        path("x.json")
    );
    let shown = Command::new("script").args(["-qec", &words, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(" s of 1.5 s: ") && shown.contains(" samples, 0 lost; Ctrl-C ends it"), "{shown}");
    assert!(shown.contains("hottest functions:") && shown.contains(" %  seventy  "), "{shown}");
    let summary: serde_json::Value = serde_json::from_str(&fs::read_to_string(path("x.json")).unwrap()).unwrap();
    assert_eq!((&summary["hottest"][0]["function"], &summary["lost"]), (&"seventy".into(), &0.into()), "{summary}");
    assert_eq!(summary["taken"], summary["samples"]);
    let lines = |output: &Output| said(output).lines().filter(|line| line.starts_with("recording ")).count();
    let words = ["-F", "499", "-d", "0.5", "-p", &running.pid().to_string(), "-f", "-o", &path("x.folded")];
    let plain = recorded(&words);
    assert_eq!(lines(&plain), 0, "standard error is no terminal: {}", said(&plain));
    assert_eq!(said(&recorded(&[&words[..], &["-q"]].concat())), "");
}

/// What is left out by user, name, thread or CPU is no loss: taken is what was kept, and the books balance.
#[test]
fn what_is_not_asked_for_is_filtered_and_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let program = crate::run::build(folder.path(), "ratio");
    fs::copy(&program, path("other")).unwrap();
    let kept = crate::run::Running::start(&program, &[]);
    let _other = crate::run::Running::start(Path::new(&path("other")), &[]);
    let own = kept.pid().to_string();
    let comms = |database: &str| -> Vec<String> {
        let words = ["sql", database, "SELECT DISTINCT comm FROM samples", "--json"];
        let output = Command::new(PROFILER).args(words).output().unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        rows.as_array().unwrap().iter().map(|row| row["comm"].as_str().unwrap().to_owned()).collect()
    };
    let uid = own_user();
    for (name, words, others) in [
        ("comm", &["--comm", "ratio"][..], false),
        ("thread", &["-t", &own], false),
        // Of a busy host everything else would be named, too.
        ("user", &["-u", &uid, "--comm", "ratio", "--comm", "other"], true),
        ("cpu", &["-C", "0-1023", "--comm", "other", "--comm", "ratio"], true),
    ] {
        let database = path(&format!("{name}.db"));
        let output = recorded(&[&["-F", "199", "-d", "1.5", "--json", "-o", &database], words].concat());
        let text = said(&output);
        let summary: serde_json::Value = serde_json::from_str(&text[text.find("\n{").unwrap()..]).unwrap();
        assert!(summary["samples"].as_u64().unwrap() > 0, "{name}: {summary}");
        assert_eq!(
            summary["taken"].as_u64().unwrap(),
            summary["samples"].as_u64().unwrap() + summary["lost"].as_u64().unwrap(),
            "{name}: {summary}"
        );
        let found = comms(&database);
        assert!(found.contains(&"ratio".to_owned()), "{name}: {found:?}");
        assert_eq!(found.contains(&"other".to_owned()), others, "{name}: {found:?}");
        let filtered = Command::new(PROFILER)
            .args(["sql", &database, "SELECT busy >= taken, stored + lost = taken FROM v_windows", "--format", "csv"])
            .output()
            .unwrap();
        let rows = String::from_utf8(filtered.stdout).unwrap();
        assert!(rows.lines().skip(1).all(|row| row == "1,1"), "{name}: {rows}");
    }
    // No CPU of this number, and nobody's user.
    for words in [["-C", "65000"], ["-u", "4000000000"]] {
        let none = record(&[&["-d", "0.5", "-o", &path("none.db")][..], &words].concat());
        assert_eq!(none.status.code(), Some(3), "{}", said(&none));
    }
}

/// The user of this process.
fn own_user() -> String {
    fs::metadata("/proc/self").unwrap().uid().to_string()
}

/// In a folder that everybody writes into, another user has put links at the names that root writes: no output follows one.
#[test]
fn links_that_others_planted_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let plant = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, path(name)).unwrap();
        std::os::unix::fs::lchown(path(name), Some(65_534), Some(65_534)).unwrap();
    };
    let profiler = |words: &[&str]| Command::new(PROFILER).args(words).stdin(Stdio::null()).output().unwrap();
    let db = path("mine.db");
    recorded(&["-F", "997", "-o", &db, "--", "sh", "-c", SPIN]);
    let before = fs::read(&db).unwrap();
    fs::write(path("victim"), "secret").unwrap();

    let files = ["r.folded", "r.svg", "r.html", "r.pb.gz", "e.folded", "e.svg", "e.html", "e.pb.gz"].map(path);
    files.iter().for_each(|file| plant("victim", file));
    let mut words = vec!["-F", "997", "--force"];
    files[..4].iter().for_each(|file| words.extend(["-o", file.as_str()]));
    words.extend(["--", "sh", "-c", SPIN]);
    recorded(&words);
    for file in &files[4..] {
        let exported = profiler(&["export", "--db", &db, "-o", file, "--force"]);
        assert!(exported.status.success(), "{}", said(&exported));
    }
    for file in &files {
        assert!(fs::symlink_metadata(file).unwrap().is_file() && fs::metadata(file).unwrap().len() > 20, "{file}");
    }
    assert_eq!(fs::read_to_string(path("victim")).unwrap(), "secret");

    // Databases: not where there is nothing yet, not into one of ours, not by the lock beside them, not by a copy.
    plant("new-victim", "n.db");
    plant("mine.db", "m.db");
    plant("lock-victim", "l.db.lock");
    plant("copy-victim", "c.db");
    plant("copy-victim", "p.db.part");
    let not_followed = |output: &Output| {
        assert!(!output.status.success(), "{}", said(output));
        assert!(!said(output).contains("panicked"), "{}", said(output));
    };
    for name in ["n.db", "m.db", "l.db"] {
        not_followed(&record(&["-F", "997", "-o", &path(name), "--", "sh", "-c", SPIN]));
        let run = profiler(&["run", "--listen", "127.0.0.1:0", "--db", &path(name)]);
        not_followed(&run);
        assert_eq!(run.status.code(), Some(7), "{}", said(&run));
        let sliced = profiler(&["export", "--db", &db, "-o", &path(name)]);
        not_followed(&sliced);
    }
    let refused = said(&profiler(&["run", "--listen", "127.0.0.1:0", "--db", &path("m.db")]));
    assert!(refused.contains("m.db is a link in a folder that others can write into"), "{refused}");
    not_followed(&profiler(&["db", "compact", "--db", &path("m.db")]));
    not_followed(&profiler(&["db", "backup", "--db", &db, "-o", &path("c.db")]));
    let copied = profiler(&["db", "backup", "--db", &db, "-o", &path("p.db")]);
    assert!(copied.status.success(), "{}", said(&copied));
    assert_eq!(fs::read(&db).unwrap(), before);
    for name in ["new-victim", "lock-victim", "copy-victim"] {
        assert!(fs::symlink_metadata(path(name)).is_err(), "{name} was made");
    }
}

/// Under sudo the files belong to who called it; a file that was there before keeps its owner.
#[test]
fn under_sudo_the_files_are_the_callers() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("old.folded"), "").unwrap();
    let mut command = Command::new(PROFILER);
    command.args(["record", "-F", "997", "--force"]);
    for name in ["x.db", "x.svg", "old.folded"] {
        command.arg("-o").arg(path(name));
    }
    let output = command
        .args(["--", "sh", "-c", SPIN])
        .env("SUDO_UID", "65534")
        .env("SUDO_GID", "65533")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let owner = |name: &str| fs::metadata(path(name)).map(|file| (file.uid(), file.gid())).unwrap();
    assert_eq!((owner("x.db"), owner("x.svg"), owner("old.folded")), ((65534, 65533), (65534, 65533), (0, 0)));
}

/// A second Ctrl-C does not wait for anything, and leaves no temporary folder.
#[test]
fn a_second_ctrl_c_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    // It ignores SIGTERM, so that the first Ctrl-C waits for it.
    let stubborn = "trap '' TERM INT; while :; do :; done";
    let mut profiler = Command::new(PROFILER)
        .args(["record", "-o"])
        .arg(folder.path().join("x.folded"))
        .args(["--", "sh", "-c", stubborn])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !names(folder.path()).iter().any(|name| folder.path().join(name).join("record.db").exists()) {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", names(folder.path()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let stubborn = loop {
        let found = children(profiler.id());
        if let [pid] = &found[..]
            && ignores_sigterm(pid)
        {
            break found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{found:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    // A second one that comes before the first was taken counts as one with it.
    let ended = loop {
        assert!(Command::new("kill").args(["-INT", &profiler.id().to_string()]).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(20));
        if let Some(ended) = profiler.try_wait().unwrap() {
            break ended;
        }
        assert!(start.elapsed() < Duration::from_secs(60));
    };
    assert_eq!(ended.code(), Some(130));
    assert_eq!(names(folder.path()), [""; 0]);
    assert!(Command::new("kill").arg("-9").args(stubborn).status().unwrap().success());
}

/// A command that will not end when its time is up is ended.
#[test]
fn a_command_that_ignores_sigterm_is_ended_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.folded");
    let start = Instant::now();
    recorded(&["-d", "1", "-o", out.to_str().unwrap(), "--", "sh", "-c", "trap '' TERM; while :; do :; done"]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// The profiler needs many files open; the command does not get that limit from it.
#[test]
fn the_command_keeps_its_limit_on_open_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.folded");
    let line =
        format!("ulimit -Sn 512; exec {PROFILER} record -F 997 -o {} -- sh -c 'ulimit -Sn; {SPIN}'", out.display());
    let output = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "512\n", "{}", said(&output));
}

/// In a container with process ids of its own nothing can be told of processes: it says so instead of mixing them up.
#[test]
fn a_pid_namespace_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", PROFILER, "record", "-d", "1", "-o"])
        .arg(folder.path().join("x.folded"))
        .output()
        .unwrap();
    assert!(output.status.code() == Some(5) && said(&output).contains("--pid=host"), "{}", said(&output));
}

/// A disk that stays full ends the recording with the reason, in its own time. (Whether it is the last window or only the closing
/// of the file that finds no room is a matter of bytes.)
#[test]
fn a_full_disk_ends_the_recording_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=320k", "tmpfs"]).arg(folder.path()).status();
    assert!(mount.unwrap().success());
    let start = Instant::now();
    let database = folder.path().join("x.db");
    let words = ["-a", "-F", "997", "-d", "4", "--window", "500ms", "-o", database.to_str().unwrap()];
    let output = record(&words);
    let took = start.elapsed();
    assert!(Command::new("umount").arg(folder.path()).status().unwrap().success());
    let said = said(&output);
    assert!(output.status.code() == Some(7) && said.contains("no space left"), "{:?} {said}", output.status);
    assert!(took < Duration::from_secs(60), "{took:?}");
}
