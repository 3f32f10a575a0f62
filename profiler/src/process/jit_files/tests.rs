#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::{chown, symlink};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::profile::StartTicks;

fn root() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("tmp")).unwrap();
    root
}

/// The sources of a program of `user`'s that calls itself 7, sees this root and began just now. No process has its pid.
fn sources(root: &Path, user: u32) -> JitSources {
    let process = ProcessKey { pid: u32::MAX >> 1, start: StartTicks::from_boot(boot_now()) };
    JitSources::new(program(process, (7, user)), Some(Arc::new(File::open(root).unwrap())), booted())
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Files(Vec<NameSource>),
    Missing,
    Refused,
}

fn seen(sources: &JitSources) -> Seen {
    let begin = Instant::now();
    let JitLook { files, refused, .. } = look_for_jit_files(&ProcRoot::host(), sources, [true; 2]);
    assert!(begin.elapsed() < Duration::from_secs(1), "blocked");
    match files.is_empty() {
        false => Seen::Files(files.into_iter().map(|(source, _)| source).collect()),
        true if refused => Seen::Refused,
        true => Seen::Missing,
    }
}

fn in_root(root: &TempDir, user: u32) -> Seen {
    seen(&sources(root.path(), user))
}

fn set_age(path: &Path, age: Duration) {
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

const HOUR: Duration = Duration::from_secs(3600);

/// The program's own and root's files are believed, by the pid that the program knows itself by; somebody else's is not.
#[test]
fn only_the_programs_user_and_root_are_believed() {
    let root = root();
    let map = root.path().join("tmp/perf-7.map");
    assert_eq!(in_root(&root, 1000), Seen::Missing);
    File::create(&map).unwrap();
    assert_eq!(in_root(&root, 0), Seen::Missing, "nothing is written yet");
    std::fs::write(&map, "1000 10 f\n").unwrap();
    assert_eq!(in_root(&root, 1000), Seen::Files(vec![NameSource::PerfMap]), "root's");
    chown(&map, Some(1000), None).unwrap();
    assert_eq!(in_root(&root, 1000), Seen::Files(vec![NameSource::PerfMap]), "theirs");
    assert_eq!(in_root(&root, 1001), Seen::Refused, "somebody else's");
    assert_eq!(in_root(&root, 0), Seen::Refused, "nobody names root's frames but root");
    std::fs::write(root.path().join("tmp/jit-7.dump"), "x").unwrap();
    assert_eq!(in_root(&root, 1000), Seen::Files(vec![NameSource::PerfMap, NameSource::Jitdump]));
}

/// FIFOs, devices, directories, links of both sorts, huge files and files from before the program are refused, at once.
#[test]
fn traps_are_refused() {
    let root = root();
    let map = root.path().join("tmp/perf-7.map");
    let secret = root.path().join("secret");
    std::fs::write(&secret, "CANARY 10 f\n").unwrap();
    let traps: [(&str, &dyn Fn()); 8] = [
        ("fifo", &|| mknodat(CWD, &map, FileType::Fifo, Mode::RUSR, 0).unwrap()),
        ("directory", &|| std::fs::create_dir(&map).unwrap()),
        ("link", &|| symlink("../secret", &map).unwrap()),
        ("link outside", &|| symlink("/etc/shadow", &map).unwrap()),
        ("device", &|| symlink("/dev/zero", &map).unwrap()),
        ("hard link", &|| std::fs::hard_link(&secret, &map).unwrap()),
        ("8 GiB of nothing", &|| File::create(&map).unwrap().set_len(8 << 30).unwrap()),
        ("old", &|| {
            std::fs::write(&map, "1000 10 f\n").unwrap();
            set_age(&map, HOUR);
        }),
    ];
    for (name, make) in traps {
        make();
        assert_eq!(in_root(&root, 0), Seen::Refused, "{name}");
        let _ = std::fs::remove_file(&map).or_else(|_| std::fs::remove_dir(&map));
    }
    // `/tmp` itself may be a link.
    std::fs::remove_dir(root.path().join("tmp")).unwrap();
    symlink("/", root.path().join("tmp")).unwrap();
    std::fs::write(root.path().join("perf-7.map"), "1000 10 f\n").unwrap();
    assert_eq!(in_root(&root, 0), Seen::Refused);
}

/// The clock was set an hour on after the map was written: the map seems to be older than the program, and is not. One from a day before
/// is.
#[test]
fn setting_the_clock_makes_no_map_old() {
    let root = root();
    let map = root.path().join("tmp/perf-7.map");
    std::fs::write(&map, "1000 10 f\n").unwrap();
    set_age(&map, HOUR);
    let JitSources { booted: WallNanos(booted), root: seen_root, .. } = sources(root.path(), 0);
    let known = sources(root.path(), 0).files().programs.remove(0);
    let before_the_step = WallNanos(booted - HOUR.as_nanos() as i64);
    let looked_at_before = || JitSources::new(known.clone(), seen_root.clone(), before_the_step);
    assert_eq!(seen(&looked_at_before()), Seen::Files(vec![NameSource::PerfMap]));
    set_age(&map, 24 * HOUR);
    assert_eq!(seen(&looked_at_before()), Seen::Refused);
}

/// What is held stays when the path is gone or leads elsewhere, and after the program has ended nothing else is taken.
#[test]
fn what_is_held_outlives_its_path_and_what_comes_later_is_not_taken() {
    let root = root();
    let map = root.path().join("tmp/perf-7.map");
    std::fs::write(&map, "1000 10 own\n").unwrap();
    let own = sources(root.path(), 0);
    let text = |sources: &JitSources| {
        let look = look_for_jit_files(&ProcRoot::host(), sources, [true; 2]);
        look.files.first().map(|(_, file)| std::io::read_to_string(file.try_clone().unwrap()).unwrap())
    };
    look(&ProcRoot::host(), &own, true);
    std::fs::remove_file(&map).unwrap();
    std::fs::write(&map, "1000 10 of a later process\n").unwrap();
    assert_eq!(text(&own).as_deref(), Some("1000 10 own\n"));
    std::fs::remove_file(&map).unwrap();
    let without = sources(root.path(), 0);
    look(&ProcRoot::host(), &without, true);
    std::fs::write(&map, "1000 10 of a later process\n").unwrap();
    assert_eq!(text(&without), None);
}

/// Where `/proc` does not answer, for want of descriptors say, a program is not taken for one that has ended: its map may come yet.
#[test]
fn a_program_that_cannot_be_looked_at_has_not_ended() {
    let (root, proc) = (root(), tempfile::tempdir().unwrap());
    let own = sources(root.path(), 0);
    let entry = proc.path().join((u32::MAX >> 1).to_string());
    let look = || look_for_jit_files(&ProcRoot::at(proc.path()), &own, [true; 2]);
    File::create(&entry).unwrap();
    assert!(!look().ended);
    std::fs::remove_file(&entry).unwrap();
    std::fs::write(root.path().join("tmp/perf-7.map"), "1000 10 f\n").unwrap();
    let last = look();
    assert!(last.ended && last.files.len() == 1);
}

/// A shell with a line, gone with its value.
struct Shell(Child);

impl Shell {
    fn new(line: &str) -> Self {
        Self(Command::new("sh").args(["-c", line]).stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A map that a program has open is its own however old it seems: the clock may have been set before we came.
#[test]
fn an_open_map_has_any_age() {
    let pid_of = |shell: &Shell| shell.0.id();
    for (line, open) in
        [("exec 9>>/tmp/perf-$$.map; echo 1000 10 f >&9; exec sleep 60", true), ("exec sleep 60", false)]
    {
        let shell = Shell::new(line);
        let map = format!("/tmp/perf-{}.map", pid_of(&shell));
        let begin = Instant::now();
        while open && std::fs::metadata(&map).map_or(0, |map| map.len()) == 0 {
            assert!(begin.elapsed() < Duration::from_secs(10));
        }
        if !open {
            std::fs::write(&map, "1000 10 f\n").unwrap();
        }
        set_age(Path::new(&map), 24 * HOUR);
        let dir = ProcRoot::host().process(pid_of(&shell)).unwrap();
        let process = ProcessKey { pid: pid_of(&shell), start: dir.stat().unwrap().start };
        let found = seen(&sources_in(&dir, process).unwrap());
        std::fs::remove_file(map).unwrap();
        assert_eq!(found, if open { Seen::Files(vec![NameSource::PerfMap]) } else { Seen::Refused }, "{open}");
    }
}

/// A shell and what it forks are programs of one layout; what it executes is not.
#[test]
fn a_fork_has_its_parents_layout() {
    let shell = Shell::new("(read none </dev/zero; sleep 60; :) & sleep 60 & wait");
    let children = || {
        let list = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.0.id())).unwrap();
        list.split_ascii_whitespace().map(|pid| pid.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    let begin = Instant::now();
    let parents_of = |pid| parents(&ProcRoot::host(), &ProcRoot::host().process(pid).unwrap());
    let found = loop {
        let found: Vec<_> = children().into_iter().map(|pid| parents_of(pid).first().map(|found| found.pid)).collect();
        if found.len() == 2 && found[1].is_none() {
            break found;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{found:?}");
    };
    children().iter().for_each(|pid| drop(Command::new("kill").args(["-9", &pid.to_string()]).status()));
    assert_eq!(found, [Some(shell.0.id()), None]);
}

/// A jitdump is known by its name, wherever it lies.
#[test]
fn jitdumps_are_known_by_name() {
    for path in ["/home/x/jit-17.dump", "jit-1.dump", "/x/.debug/jit/java-jit-1/jit-9.dump (deleted)"] {
        assert!(is_jitdump(path.as_bytes()), "{path}");
    }
    for path in ["/x/jit-.dump", "/x/jit-1a.dump", "/x/ajit-1.dump", "/x/jit-1.dump/f", "", "[vdso]"] {
        assert!(!is_jitdump(path.as_bytes()), "{path}");
    }
}
