//! Names that come later: a debug file that appears after the recording, a file given by hand, a running profiler that is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::run::{Daemon, PROFILER, Running, folded, recorded, share};

/// The `ratio` fixture without symbols, its debug file, and itself with all symbols, under other names.
fn stripped(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ratio.c");
    let make = format!(
        "cc -O0 -g -Wl,--build-id -o whole {}; objcopy --only-keep-debug whole app.debug; cp whole app; strip app
         objcopy --add-gnu-debuglink=app.debug app; mv app.debug later",
        source.display()
    );
    let made = Command::new("sh").current_dir(folder).args(["-ec", &make]).status().unwrap();
    assert!(made.success());
    folder.join("app")
}

fn symbolize(database: &Path, words: &[&str]) -> Output {
    Command::new(PROFILER).arg("symbolize").arg("--db").arg(database).args(words).output().unwrap()
}

/// Share of the samples that show the fixture's functions, and the lines of their frames.
fn named(database: &Path) -> f64 {
    let exported = Command::new(PROFILER).args(["export", "--from", "now-1h", "--db"]).arg(database).output().unwrap();
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let stacks = folded(&String::from_utf8(exported.stdout).unwrap());
    let known = |stack: &str| ["seventy", "twenty", "ten"].iter().any(|name| stack.split(';').any(|f| f == *name));
    share(&stacks, |_| true, known)
}

/// Samples taken before there were symbols have names once there are: from a debug file that came later, or from one given by hand, and
/// also when the program itself is gone. The samples stay as they are; a file of another build is refused.
#[test]
fn names_come_with_symbols_that_come_later() {
    let folder = tempfile::tempdir().unwrap();
    let app = stripped(folder.path());
    let database = folder.path().join("first.db");
    let running = Running::start(&app, &[]);
    recorded(&["-F", "199", "-d", "2", "-p", &running.pid().to_string(), "-o", database.to_str().unwrap()]);
    drop(running);
    assert_eq!(named(&database), 0.0, "without symbols");
    let told = Command::new(PROFILER).args(["names", "--db"]).arg(&database).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains(&*app.to_string_lossy()) && told.contains("the file is stripped"), "{told}");
    let copy = |name: &str| {
        let copy = folder.path().join(name);
        fs::copy(&database, &copy).unwrap();
        copy
    };
    let again = |database: &Path, words: &[&str]| {
        let output = symbolize(database, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {said}");
        (named(database), said)
    };
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();

    let (share, said) = again(&copy("nothing-new.db"), &[]);
    assert!(share == 0.0 && said.contains("places without a name"), "{share} {said}");
    let (share, said) = again(&copy("by-hand.db"), &["--file", &path("later")]);
    assert_eq!(share, 1.0, "a debug file given by hand: {said}");
    let other = symbolize(&copy("other.db"), &["--file", "/bin/true"]);
    assert_eq!(other.status.code(), Some(2), "{}", String::from_utf8_lossy(&other.stderr));

    let debug = folder.path().join(".debug");
    fs::create_dir(&debug).unwrap();
    fs::copy(path("later"), debug.join("app.debug")).unwrap();
    let found = copy("found.db");
    let (share, said) = again(&found, &[]);
    assert_eq!(share, 1.0, "a debug file found: {said}");
    assert!(said.contains(&*app.to_string_lossy()), "{said}");
    let check = Command::new(PROFILER).args(["db", "check", "--db"]).arg(&found).status().unwrap();
    assert!(check.success());

    fs::remove_file(&app).unwrap();
    fs::remove_dir_all(&debug).unwrap();
    let (share, said) = again(&copy("gone.db"), &["--file", &path("whole")]);
    assert_eq!(share, 1.0, "the program is gone, its other copy is given: {said}");
}

/// A running profiler is asked over HTTP, and its page shows the names soon after. Meanwhile its database is its own.
#[test]
fn a_running_profiler_names_again_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let app = stripped(folder.path());
    let database = folder.path().join("run.db");
    let running = Running::start(&app, &[]);
    let daemon = Daemon::start(&database, &["-F", "199", "--window", "1s", "-p", &running.pid().to_string()]);
    let functions = || -> Vec<String> {
        let top = daemon.json("/api/v1/top");
        top["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    let wait = |what: &str, ready: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !ready() {
            assert!(start.elapsed() < Duration::from_secs(120), "{what}: {:?}", functions());
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    // It has been looked at, and nothing was found: there is a reason and no debug file.
    wait("no reason", &|| {
        let binaries = daemon.json("/api/v1/binaries");
        let app =
            binaries["binaries"].as_array().unwrap().iter().find(|row| row["path"] == *app.to_str().unwrap()).cloned();
        app.is_some_and(|app| app["reason"] == "no_symbols")
    });
    // The program ends: no new sample can bring its names along.
    drop(running);
    let busy = symbolize(&database, &[]);
    assert!(!busy.status.success());
    assert!(String::from_utf8_lossy(&busy.stderr).contains("curl -X POST"), "{busy:?}");
    let debug = folder.path().join(".debug");
    fs::create_dir(&debug).unwrap();
    fs::rename(folder.path().join("later"), debug.join("app.debug")).unwrap();
    let answer = daemon.post("/api/v1/symbolize");
    assert_eq!(answer["started"], true, "{answer}");
    wait("no names", &|| functions().iter().any(|name| name == "seventy"));
    daemon.stop();
}
