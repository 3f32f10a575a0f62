//! What an ordinary user gets, and what `doctor` says to whom; and the exits of `record`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::run::{PROFILER, Running, record};

/// Runs the profiler as nobody, from a copy that nobody can reach.
fn as_nobody(words: &[&str]) -> Output {
    let folder =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    let copy = folder.path().join("profiler");
    std::fs::copy(PROFILER, &copy).unwrap();
    Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(words)
        .output()
        .unwrap()
}

/// Sampling without privileges stops at once with what is missing and how to grant it.
#[test]
fn sampling_without_privileges_says_how_to_get_them() {
    let folder =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    let database = folder.path().join("x.db");
    for words in [&["record", "-a", "-d", "1", "-o"][..], &["run", "--listen", "127.0.0.1:0", "--db"]] {
        let output = as_nobody(&[words, &[database.to_str().unwrap()]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{said}");
        for word in ["not allowed", "root", "cap_bpf", "cap_perfmon"] {
            assert!(said.contains(word), "{word:?} in {said}");
        }
    }
}

/// Who watches over the profiler has an answer before anything has been sampled, and the database made; `ok` comes when it has been.
#[test]
fn the_first_answer_comes_before_sampling_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("x.db");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(PROFILER);
    command.args(["run", "--listen", &address.to_string(), "--db"]).arg(&database).stderr(Stdio::null());
    let mut profiler = Running(command.spawn().unwrap());
    let ask = || -> Option<String> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let begun = Instant::now();
    let mut answer_that = |has: &str| loop {
        assert!(begun.elapsed() < Duration::from_secs(60) && profiler.0.try_wait().unwrap().is_none(), "no {has}");
        match ask() {
            Some(answer) if answer.contains(has) => return answer,
            Some(answer) if !answer.starts_with("HTTP/1.1 200") => panic!("{answer}"),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let first = answer_that("status");
    assert!(first.contains("\"starting\""), "{first}");
    answer_that("\"ok\"");
    assert!(database.exists());
}

/// Root has everything here; nobody is told what is missing, with the fix.
#[test]
fn doctor_finds_what_is_missing_and_names_the_fix() {
    let output = Command::new(PROFILER).arg("doctor").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("eBPF programs") && said.contains("verified") && !said.contains("FAIL"), "{said}");

    let output = as_nobody(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(4));
    let checks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let capabilities = checks.as_array().unwrap().iter().find(|check| check["name"] == "capabilities").unwrap();
    assert_eq!(capabilities["verdict"], "fail");
    assert!(capabilities["finding"].as_str().unwrap().contains("CAP_BPF"));
    assert!(capabilities["fix"].as_str().unwrap().contains("setcap"));
}

/// `record -- COMMAND` ends with the command's code, or says why there was no command.
#[test]
fn record_ends_with_the_commands_code() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let spin = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; ";
    let code = |words: &[&str]| {
        let output = record(words);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (seven, said) = code(&["-F", "997", "-o", &out("a.folded"), "--", "sh", "-c", &format!("{spin} exit 7")]);
    assert_eq!(seven, Some(7), "{said}");
    let (killed, said) = code(&["-F", "997", "-o", &out("b.folded"), "--", "sh", "-c", &format!("{spin} kill -9 $$")]);
    assert_eq!(killed, Some(128 + 9), "{said}");
    let (missing, said) = code(&["-o", &out("c.folded"), "--", "/nonexistent/program"]);
    assert!(missing == Some(127) && said.contains("/nonexistent/program"), "{said}");
    let (forbidden, said) = code(&["-o", &out("d.folded"), "--", "/etc/passwd"]);
    assert!(forbidden == Some(126) && said.contains("/etc/passwd"), "{said}");
    let (idle, said) = code(&["-F", "1", "-d", "1", "-o", &out("e.folded"), "--", "sleep", "10"]);
    // Ended by us, it has no code of its own; that it was never on a CPU is no failure.
    assert!(idle == Some(0) && said.contains("no samples"), "{said}");
}
