//! Names for processes that are gone and files that are gone.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::run::{Running, build, folded, recorded, share};

/// 500 processes that live 20 to 50 ms each are dead when their samples are read, and still have their names.
#[test]
fn brief_processes_have_their_binary_and_function() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "brief");
    let out = folder.path().join("brief.folded");
    let many = format!("i=0; while [ $i -lt 500 ]; do {} $((20 + i % 31)); i=$((i + 1)); done", program.display());
    recorded(&["-F", "499", "-o", out.to_str().unwrap(), "--", "sh", "-c", &many]);
    let stacks = folded(&fs::read_to_string(out).unwrap());
    let own = |stack: &str| stack.starts_with("brief;");
    let at_work = share(&stacks, own, |stack| stack.contains(";main;brief_work"));
    // The loader, libc's clock and the kernel's exec have names of their own; a bracket is an address without one.
    let unnamed = share(&stacks, own, |stack| stack.rsplit(';').next().unwrap().starts_with('['));
    let samples: u64 = stacks.iter().filter(|(stack, _)| own(stack)).map(|(_, n)| n).sum();
    eprintln!("{samples} samples of brief processes: {at_work:.4} in brief_work, {unnamed:.4} with an unnamed leaf");
    assert!(samples > 4000, "{samples} samples of 17.5 s of CPU at 499 Hz");
    assert!(at_work >= 0.85, "{at_work:.4} of the samples are in the function that does the work");
    assert!(unnamed <= 0.01, "{unnamed:.4} of the samples of brief processes have no function");
    assert_eq!(share(&stacks, own, |stack| stack.contains("[brief+")), 0.0, "the program itself always has names");
}

/// A container's files: an overlay of two file systems, mounted where only its processes see it. Its programs have no build id and live 30 ms:
/// what is found at their path is known to be the mapped file by what the kernel calls it when it is mapped again.
#[test]
fn brief_programs_without_build_id_on_an_overlay_have_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let in_memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let brief = build(folder.path(), "brief");
    let lower = folder.path().join("lower");
    fs::create_dir(&lower).unwrap();
    let strip = ["--remove-section=.note.gnu.build-id", brief.to_str().unwrap(), lower.join("noid").to_str().unwrap()]
        .map(str::to_owned);
    assert!(Command::new("objcopy").args(strip).status().unwrap().success());
    let (upper, lower) = (in_memory.path().display(), lower.display());
    let script = format!(
        "cd {upper} && mkdir upper work merged &&
        mount -t overlay overlay -o lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work merged &&
        cp merged/noid merged/copied && i=0 && while [ $i -lt 60 ]; do merged/noid 30; merged/copied 30; i=$((i + 1)); done"
    );
    let out = folder.path().join("out.folded");
    let words = ["-F", "499", "-o", out.to_str().unwrap(), "--", "unshare", "--mount", "sh", "-c", &script];
    recorded(&words);
    let stacks = folded(&fs::read_to_string(out).unwrap());
    for name in ["noid;", "copied;"] {
        let of_it = |stack: &str| stack.starts_with(name);
        let samples: u64 = stacks.iter().filter(|(stack, _)| of_it(stack)).map(|(_, count)| count).sum();
        assert!(samples > 200, "{samples} samples of {name} {stacks:#?}");
        let named = share(&stacks, of_it, |stack| !stack.contains(&format!("[{}+", name.trim_end_matches(';'))));
        assert!(named >= 0.95, "{named} of {name} {stacks:#?}");
    }
}

/// A file of more than 4 GiB: its tables lie within reach, whatever lies behind them.
#[test]
fn a_file_of_eight_gigabytes_has_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "ratio");
    fs::File::options().write(true).open(&program).unwrap().set_len(8 << 30).unwrap();
    let running = Running::start(&program, &[]);
    assert_eq!(share_in_seventy(&running, folder.path()), 1.0);
}

/// Deleted while it runs, before the profiler came: the kernel still has the file, so do we.
#[test]
fn a_deleted_binary_still_has_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "ratio");
    let running = Running::start(&program, &[]);
    fs::remove_file(&program).unwrap();
    assert_eq!(share_in_seventy(&running, folder.path()), 1.0);
}

/// Replaced by another program of the same name while it runs (an upgrade): the names are the old one's.
#[test]
fn a_replaced_binary_keeps_the_names_of_the_one_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "ratio");
    let running = Running::start(&program, &[]);
    let other = build(
        &{
            let other = folder.path().join("other");
            fs::create_dir(&other).unwrap();
            other
        },
        "brief",
    );
    fs::rename(other, &program).unwrap();
    assert_eq!(share_in_seventy(&running, folder.path()), 1.0);
}

/// Share of the program's samples below `main` that have a name of the `ratio` fixture.
fn share_in_seventy(running: &Running, folder: &std::path::Path) -> f64 {
    let out = folder.join("out.folded");
    recorded(&["-F", "499", "-d", "3", "-p", &running.pid().to_string(), "-o", out.to_str().unwrap()]);
    let stacks = folded(&fs::read_to_string(out).unwrap());
    let known =
        |stack: &str| ["seventy", "twenty", "ten", "main"].iter().any(|name| stack.split(';').any(|f| f == *name));
    share(&stacks, |_| true, known)
}

/// Asks again until there is an answer, for ten seconds.
fn wait_for<T>(answer: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "no answer in 10 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// In a pid namespace the process is shown with the host's pid.
#[test]
fn a_process_in_a_pid_namespace_has_its_host_pid() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "ratio");
    let database = folder.path().join("ns.db");
    let mut unshare = Command::new("unshare").args(["--pid", "--fork", "--kill-child"]).arg(&program).spawn().unwrap();
    let host_pid = wait_for(|| {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", unshare.id())).unwrap();
        let pid = children.trim().to_owned();
        (fs::read_link(format!("/proc/{pid}/exe")).ok()? == program).then_some(pid)
    });
    recorded(&["-F", "199", "-d", "2", "-p", &host_pid, "-o", database.to_str().unwrap()]);
    unshare.kill().unwrap();
    unshare.wait().unwrap();
    let filter = format!("{{pid=\"{host_pid}\"}}");
    let exported = Command::new(crate::run::PROFILER)
        .args(["export", "--from", "now-1h", "--filter", &filter, "--db"])
        .arg(&database)
        .output()
        .unwrap();
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let stacks = folded(&String::from_utf8(exported.stdout).unwrap());
    assert!(share(&stacks, |_| true, |stack| stack.contains(";seventy")) > 0.5);
}

/// A stripped program in a container (a mount namespace and a root directory of its own, on a file system that nobody else sees) is
/// named by the debug file in its own root.
#[test]
fn a_program_in_a_container_is_named_by_its_own_debug_file() {
    let folder = tempfile::tempdir().unwrap();
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ratio.c");
    let make = format!(
        "cc -O0 -g -static -Wl,--build-id -o app {}; objcopy --only-keep-debug app app.debug; strip app; mkdir root
         readelf -n app | sed -n 's/.*Build ID: \\(..\\)\\(.*\\)/\\1 \\2/p'",
        source.display()
    );
    let made = Command::new("sh").current_dir(&folder).args(["-ec", &make]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let id = String::from_utf8(made.stdout).unwrap();
    let (first, rest) = id.trim().split_once(' ').unwrap();
    let enter = format!(
        "mount -t tmpfs none root; debug=root/usr/lib/debug/.build-id/{first}; mkdir -p $debug
         cp app root/app; cp app.debug $debug/{rest}.debug; exec chroot root /app"
    );
    let mut container = Command::new("unshare");
    container.current_dir(&folder).args(["--mount", "sh", "-ec", &enter]);
    let running = Running(container.spawn().unwrap());
    wait_for(|| (fs::read_to_string(format!("/proc/{}/comm", running.pid())).ok()?.trim() == "app").then_some(()));
    assert_eq!(share_in_seventy(&running, folder.path()), 1.0);
}

/// A container that is gone before its samples are named, with the only file system that had its program: the names are there.
#[test]
fn programs_of_a_container_that_is_gone_have_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/brief.c");
    let make = format!("cc -O0 -g -static -o brief {}; mkdir root", source.display());
    assert!(Command::new("sh").current_dir(&folder).args(["-ec", &make]).status().unwrap().success());
    let out = folder.path().join("out.folded");
    let root = folder.path().join("root");
    let enter = format!(
        "mount -t tmpfs none {root}; mv {program} {root}/brief
         i=0; while [ $i -lt 15 ]; do chroot {root} /brief 100; i=$((i + 1)); done",
        root = root.display(),
        program = folder.path().join("brief").display()
    );
    recorded(&["-F", "499", "-o", out.to_str().unwrap(), "--", "unshare", "--mount", "sh", "-ec", &enter]);
    assert!(fs::read_dir(&root).unwrap().next().is_none(), "the program is still there");
    let stacks = folded(&fs::read_to_string(out).unwrap());
    let own = |stack: &str| stack.starts_with("brief;");
    let at_work = share(&stacks, own, |stack| stack.contains(";brief_work"));
    assert!(at_work > 0.5, "{at_work:.4} of the samples are in the function that does the work: {stacks:#?}");
    // On a machine that is too busy a first one may have ended before it was looked at.
    let unnamed = share(&stacks, own, |stack| stack.contains("[brief+"));
    assert!(unnamed < 0.2, "{unnamed:.4} have no name: {stacks:#?}");
}

/// A program that writes its own code is named by what its runtime tells of it: functions of JavaScript, with their file.
#[test]
fn javascript_has_its_functions_names() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("app.js");
    let source = "function hotFunction(n) { let s = 0; for (let i = 0; i < n; i++) s += i % 7; return s; }
        const end = Date.now() + 3000; while (Date.now() < end) hotFunction(1e5);";
    fs::write(&script, source).unwrap();
    let out = folder.path().join("out.folded");
    // It leaves a log of its own where it is started, unless it is told to write that elsewhere.
    let log = format!("--logfile={}", folder.path().join("v8.log").display());
    // Inlined, the function would have no name of its own.
    let v8 = ["--perf-basic-prof", "--max-inlined-bytecode-size=0", "--no-logfile-per-isolate", &log];
    // A first profile: rows and names of node itself are not there before it has ended.
    let cache = folder.path().join("cache");
    let record = ["-F", "499", "--cache", cache.to_str().unwrap(), "-o", out.to_str().unwrap(), "--", "node"];
    let words = [&record[..], &v8, &[script.to_str().unwrap()]];
    recorded(&words.concat());
    let stacks = folded(&fs::read_to_string(out).unwrap());
    let own = |stack: &str| stack.starts_with("node;");
    let leaf = |stack: &str| stack.rsplit(';').next().unwrap().starts_with('[');
    let (named, unnamed) = (share(&stacks, own, |stack| stack.contains("hotFunction")), share(&stacks, own, leaf));
    eprintln!("{named:.3} of the samples are in the function, {unnamed:.3} have an unnamed leaf");
    assert!(named > 0.4, "{named:.3} by name");
    assert!(unnamed < 0.1, "{unnamed:.3} of the samples have an unnamed leaf");
}
