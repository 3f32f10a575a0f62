//! pprof files as `go tool pprof` reads them: lines, instructions and labels are those of our own views, to the sample.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::run::{Daemon, PROFILER, Running, recorded};

/// The program that `go tool pprof` runs: as its child it would outlive it.
fn go_pprof() -> PathBuf {
    let path = Command::new("go").args(["tool", "-n", "pprof"]).output().unwrap();
    PathBuf::from(String::from_utf8(path.stdout).unwrap().trim())
}

/// What it prints.
fn pprof(words: &[&str], file: &Path) -> String {
    let mut program = Command::new(go_pprof());
    let output = program.arg("-sample_index=samples").args(words).arg(file).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Samples in something, and below it.
type Counts<K> = BTreeMap<K, (u64, u64)>;

/// The rows of a listing, `flat cum key: text`, that have samples. Values may have a unit behind them.
fn listed<K: Ord>(text: &str, key: impl Fn(&str) -> Option<K>) -> Counts<K> {
    let value = |word: &str| if word == "." { Some(0) } else { word.parse::<u64>().ok() };
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (flat, cum) = (value(words.next()?)?, value(words.next()?)?);
        Some((key(words.next()?.split_once(':')?.0)?, (flat, cum)))
    };
    text.lines().filter_map(row).filter(|(_, (_, cum))| *cum > 0).collect()
}

/// The same of our answer.
fn ours<K: Ord>(rows: &serde_json::Value, key: impl Fn(&serde_json::Value) -> K) -> Counts<K> {
    let row = |row: &serde_json::Value| (key(row), (row["self"].as_u64().unwrap(), row["total"].as_u64().unwrap()));
    rows.as_array().unwrap().iter().map(row).filter(|(_, (_, total))| *total > 0).collect()
}

/// Builds the fixture with these words for the compiler.
fn build(folder: &Path, name: &str, words: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lines.c");
    let program = folder.join(name);
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-g", "-Wl,--build-id", "-o"]).args([&program, &source]).args(words);
    assert!(cc.status().unwrap().success(), "cc {words:?}");
    program
}

/// Records a program into a database and a pprof file.
fn record(folder: &Path, program: &Path, seconds: &str) -> (PathBuf, PathBuf) {
    let (database, file) = (program.with_extension("db"), program.with_extension("pb.gz"));
    let running = Running::start(program, &[]);
    let pid = running.pid().to_string();
    let outputs = ["-o", database.to_str().unwrap(), "-o", file.to_str().unwrap()];
    recorded(&[&["-F", "997", "-d", seconds, "-p", &pid], &outputs[..]].concat());
    assert!(folder.join(&file).exists());
    (database, file)
}

/// A loop over three lines: each has its samples, the same in pprof's listing as in the source view, and all that pprof shows works.
#[test]
fn lines_are_those_of_the_source_view_to_the_sample() {
    let folder = tempfile::tempdir().unwrap();
    let (database, file) = record(folder.path(), &build(folder.path(), "lines", &[]), "3s");
    let server = Daemon::serve(&database);
    let source = server.json("/api/v1/source?function=hot&from=0");
    let expected = ours(&source["lines"], |row| row["line"].as_u64().unwrap());
    let listing = pprof(&["-list", "^hot$"], &file);
    let lines = listed(&listing, |number| number.parse::<u64>().ok());
    assert_eq!(lines, expected, "{listing}");
    let hot: Vec<_> = expected.iter().filter(|(_, (own, _))| *own > 20).map(|(line, _)| *line).collect();
    assert_eq!(hot.len(), 3, "{expected:?}");

    let raw = pprof(&["-raw"], &file);
    // The declaration is behind the line.
    let hot_line = raw.lines().find(|line| line.contains(" hot ")).unwrap();
    assert!(hot_line.ends_with(" s=6"), "{hot_line}");
    for said in ["lines.c:", "Duration: 3", "PeriodType: cpu nanoseconds", "profiler 0.1.0"] {
        assert!(raw.contains(said), "no {said:?} in {raw}");
    }
    let tags = pprof(&["-tags"], &file);
    for label in ["pid: Total", "comm: Total", "exe: Total", "thread: Total"] {
        assert!(tags.contains(label), "no {label:?} in {tags}");
    }
    assert!(pprof(&["-traces"], &file).contains("hot"));
    let top = pprof(&["-top"], &file);
    assert!(top.starts_with("File: lines\n"), "{top}");

    // The process as a root frame, where that is asked for.
    let framed = folder.path().join("framed.pb.gz");
    let export = ["export", database.to_str().unwrap(), "--process-frames", "-o", framed.to_str().unwrap()];
    assert!(Command::new(PROFILER).args(export).status().unwrap().success());
    let is_process = |line: &str| line.split_whitespace().last() == Some("lines");
    assert!(pprof(&["-top"], &framed).lines().any(is_process) && !top.lines().skip(1).any(is_process));

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let site = format!("127.0.0.1:{port}");
    let web = Command::new(go_pprof()).args(["-no_browser", &format!("-http={site}")]).arg(&file).spawn();
    let _web = Running(web.unwrap());
    for page in ["top", "flamegraph", "peek?f=hot", "source?f=hot", "disasm?f=hot"] {
        let url = format!("http://{site}/ui/{page}");
        let words = ["-s", "--fail-with-body", "--retry", "20", "--retry-connrefused", "--max-time", "60", &url];
        let answer = Command::new("curl").args(words).output().unwrap();
        let text = String::from_utf8_lossy(&answer.stdout);
        assert!(answer.status.success() && text.contains("hot"), "{page}: {text}");
    }
}

/// However a program was linked, pprof comes from our addresses to its instructions: those of the disassembly view, to the sample.
#[test]
fn instructions_are_those_of_the_disassembly_to_the_sample() {
    let folder = tempfile::tempdir().unwrap();
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let sysroot = String::from_utf8(sysroot.stdout).unwrap();
    let lld = format!("-B{}/lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld", sysroot.trim());
    for (name, words) in [
        ("pie", &[][..]),
        ("fixed", &["-no-pie"]),
        ("one_segment", &["-Wl,-z,noseparate-code"]),
        ("fixed_one_segment", &["-no-pie", "-Wl,-z,noseparate-code"]),
        ("lld", &[&lld, "-fuse-ld=lld"]),
        ("fixed_lld", &["-no-pie", &lld, "-fuse-ld=lld"]),
    ] {
        let (database, file) = record(folder.path(), &build(folder.path(), name, words), "1s");
        let server = Daemon::serve(&database);
        let code = server.json("/api/v1/disassembly?function=hot&from=0");
        let address = |hex: &str| u64::from_str_radix(hex.trim_start_matches("0x"), 16).ok();
        let expected = ours(&code["instructions"], |row| address(row["address"].as_str().unwrap()).unwrap());
        assert!(!expected.is_empty(), "{name}");
        let listing = pprof(&["-disasm", "hot"], &file);
        assert_eq!(listed(&listing, address), expected, "{name}: {listing}\n{code}");
    }
}
