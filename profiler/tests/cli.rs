//! The command line with bad input: each mistake has its message and its exit code. No privileges needed.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn profiler(words: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_profiler")).args(words).stdin(Stdio::null()).output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Fails with `code`, says each of `words` on standard error, nothing on standard output, and does not panic.
#[track_caller]
fn refused(words: &[&str], code: i32, said: &[&str]) {
    let Said { code: got, out, err } = profiler(words);
    assert_eq!(got, code, "{words:?}: {err}");
    assert_eq!(out, "", "standard output is for results");
    for word in said {
        assert!(err.contains(word), "{words:?} does not say {word:?}: {err}");
    }
    assert!(!err.contains("panicked"), "{err}");
}

/// The front page names every command, the exit codes and examples.
#[test]
fn help_teaches() {
    let help = profiler(&["--help"]);
    assert_eq!(help.code, 0);
    for word in
        ["run", "record", "serve", "export", "db", "doctor", "completions", "man", "Exit codes:", "127", "Examples:"]
    {
        assert!(help.out.contains(word), "{word} in {}", help.out);
    }
    assert!(!help.out.contains("symbolizer-worker"), "the worker is nobody's command");
    for command in
        ["run", "record", "serve", "url", "export", "sql", "names", "symbolize", "db", "doctor", "completions", "man"]
    {
        let help = profiler(&[command, "--help"]);
        assert!(help.code == 0 && help.out.contains("Usage: profiler"), "{command}: {}", help.err);
        let example = help.out.contains("Example: ") || help.out.contains("Authorization: Bearer");
        assert!(example, "{command} has no example: {}", help.out);
    }
    let record = profiler(&["record", "--help"]).out;
    for heading in ["Whom to sample:", "How to sample:", "Names:", "Memory and disk:", "Output:"] {
        assert!(record.contains(heading), "{heading} in {record}");
    }
}

/// Commands that other profilers have say what does their work here.
#[test]
fn other_commands_show_the_way() {
    for (words, way) in [
        (&["report"][..], "profiler sql DB"),
        (&["top", "-p", "7"], "profiler export DB"),
        (&["script", "-i", "x"], "profiler export DB"),
        (&["flamegraph", "--", "ls"], "profiler record -o out.svg"),
        (&["diff", "a", "b"], "profiler serve DB"),
        (&["import", "x"], "profiler serve DB"),
        (&["version"], "profiler --version"),
    ] {
        refused(words, 2, &[way, "there is no `profiler"]);
        assert!(!profiler(&["--help"]).out.contains(&format!("  {} ", words[0])), "{} is hidden", words[0]);
    }
}

/// `export` writes what the name says or nothing, and replaces nothing unasked; binary stays off a terminal.
#[test]
fn an_export_is_what_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let database = path("x.db");
    profiler::store::Store::open(database.as_ref()).unwrap().0.close().unwrap();
    for name in ["a.json", "a.pprof", "a.pb", "a.gz", "a.pprof.gz", "a.speedscope.json", "a.perf"] {
        refused(&["export", &database, "-o", &path(name)], 2, &[name, ".folded, .svg, .html, .pb.gz or .db"]);
        assert!(!folder.path().join(name).exists());
    }
    for name in ["a.folded", "a.svg", "a.html", "a.pb.gz", "a.db"] {
        fs::write(path(name), "mine").unwrap();
        refused(&["export", &database, "-o", &path(name)], 2, &[name, "exists", "--force"]);
        assert_eq!(fs::read_to_string(path(name)).unwrap(), "mine");
    }
    refused(&["export", &database, "--format", "db"], 2, &["standard output"]);
    let words = format!("{} export {database} --format pprof", env!("CARGO_BIN_EXE_profiler"));
    let shown = Command::new("script").args(["-qec", &words, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains("a terminal cannot show"), "{shown}");
}

/// A database may stand where it is typed; two that differ are one too many.
#[test]
fn a_database_is_named_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("x.db").to_str().unwrap().to_owned();
    profiler::store::Store::open(database.as_ref()).unwrap().0.close().unwrap();
    let json = |words: &[&str]| -> serde_json::Value {
        let said = profiler(words);
        assert_eq!(said.code, 0, "{words:?}: {}", said.err);
        serde_json::from_str(&said.out).unwrap()
    };
    for words in [["sql", &database, "SELECT 1 AS one", "--json"], ["sql", "SELECT 1 AS one", &database, "--json"]] {
        assert_eq!(json(&words)[0]["one"], 1);
    }
    assert_eq!(json(&["db", "check", &database, "--json"])["sound"], true);
    assert_eq!(json(&["db", "stats", &database, "--json"])["windows"], 0);
    assert_eq!(json(&["db", "compact", &database, "--json"])["rewritten"], true);
    let copy = folder.path().join("copy.db").to_str().unwrap().to_owned();
    assert!(json(&["db", "backup", &database, "-o", &copy, "--json"])["bytes"].as_u64().unwrap() > 0);
    assert_eq!(json(&["symbolize", &database, "--json"])["named"], 0);
    for command in ["export", "names"] {
        refused(&[command, &database], 3, &["no samples match"]);
        refused(&[command, "/nonexistent/x.db"], 7, &["/nonexistent/x.db"]);
        refused(&[command, &database, "--db", &copy], 2, &["two databases"]);
    }
    refused(&["sql", &database], 2, &["no question"]);
    refused(&["sql", &database, "show tables"], 2, &["v_functions", "samples"]);
}

/// The page's address may be a port alone or a name, and a browser is opened where that is asked for.
#[test]
fn a_page_is_served_where_people_say_and_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    profiler::store::Store::open(&path("x.db")).unwrap().0.close().unwrap();
    fs::write(path("xdg-open"), format!("#!/bin/sh\necho \"$1\" > {}\n", path("opened").display())).unwrap();
    fs::set_permissions(path("xdg-open"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let search = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_profiler"))
        .args(["serve", path("x.db").to_str().unwrap(), "--listen", "localhost:0", "--open"])
        .env("PATH", search)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let said: Vec<String> = lines.map_while(Result::ok).take(2).collect();
    let link = said[1].strip_prefix("open ").and_then(|line| line.split(' ').next()).unwrap().to_owned();
    assert!(link.starts_with("http://127.0.0.1:"), "{said:?}");
    let begin = std::time::Instant::now();
    while !fs::read_to_string(path("opened")).is_ok_and(|text| text.ends_with('\n')) {
        assert!(begin.elapsed().as_secs() < 20, "nothing was opened");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let opened = fs::read_to_string(path("opened")).unwrap();
    let page = link.split('?').next().unwrap();
    assert!(opened.starts_with(page), "{opened} is not {page}");
}

/// A user, a thread or a CPU that does not exist.
#[test]
fn unknown_targets_are_named() {
    refused(&["record", "-a", "-u", "nobody-of-this-name"], 2, &["no user is called nobody-of-this-name"]);
    refused(&["record", "-t", "4194304"], 2, &["no thread with id 4194304"]);
    refused(&["record", "-a", "-C", "one"], 2, &["no list of CPUs"]);
    refused(&["record", "-p", "-d", "1"], 2, &["no process is called so"]);
}

/// A pid that is nobody's.
#[test]
fn an_unknown_pid_is_named() {
    refused(&["record", "-p", "4194304", "-d", "1"], 2, &["no process with pid 4194304", "ps -e"]);
}

/// A thread's id is not a process's, although /proc has a folder of that name.
#[test]
fn a_thread_id_names_its_process() {
    let (tell, told) = std::sync::mpsc::channel();
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        tell.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
        let _ = wait.recv();
    });
    let path = told.recv().unwrap();
    let tid = path.file_name().unwrap().to_str().unwrap().to_owned();
    let said = format!("{tid} is a thread of process {}", std::process::id());
    refused(&["record", "-p", &tid, "-d", "1"], 2, &[&said, &format!("-t {tid}")]);
    drop(end);
    thread.join().unwrap();
}

/// 0, above our limit, not a number.
#[test]
fn a_bad_frequency_is_refused() {
    refused(&["record", "-a", "-F", "0", "-d", "1"], 2, &["0 Hz", "1 to 10000"]);
    refused(&["record", "-a", "-F", "10001", "-d", "1"], 2, &["10001 Hz", "1 to 10000"]);
    refused(&["record", "-a", "-F", "fast", "-d", "1"], 2, &["fast"]);
}

/// The extension chooses the format, so it must be one we know, in a folder that exists.
#[test]
fn a_bad_output_is_refused_before_anything_is_recorded() {
    refused(&["record", "-a", "-d", "1", "-o", "x.pdf"], 2, &["x.pdf", ".folded, .svg, .html, .pb.gz or .db"]);
    refused(&["record", "-a", "-d", "1", "-o", "/nonexistent/x.svg"], 2, &["/nonexistent"]);
    refused(&["record", "-a", "-d", "1", "-o", "a.db", "-o", "b.db"], 2, &["only one"]);
    let folder = tempfile::tempdir().unwrap();
    for name in ["taken.db", "taken.svg", "taken.folded"] {
        let taken = folder.path().join(name);
        fs::write(&taken, "mine").unwrap();
        refused(&["record", "-a", "-d", "1", "-o", taken.to_str().unwrap()], 2, &[name, "exists", "--force"]);
        assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");
    }
    // What no other name mends is said first.
    let taken = folder.path().join("taken.db");
    refused(&["record", "-p", "4194304", "-o", taken.to_str().unwrap()], 2, &["no process with pid 4194304"]);
}

/// Missing, or not ours: said with its name, and left as it is.
#[test]
fn an_unusable_database_is_named() {
    refused(&["serve", "/nonexistent/x.db"], 7, &["/nonexistent/x.db"]);
    refused(&["export", "--db", "/nonexistent/x.db"], 7, &["/nonexistent/x.db"]);
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    fs::write(&text, "this is a diary, not a database\n".repeat(100)).unwrap();
    refused(&["serve", text.to_str().unwrap()], 7, &["text.db"]);
    assert!(fs::read_to_string(&text).unwrap().starts_with("this is a diary"));
    refused(&["serve", folder.path().to_str().unwrap()], 7, &[folder.path().to_str().unwrap()]);
}

/// An address or a token file that cannot be used is refused.
#[test]
fn a_bad_address_is_refused() {
    refused(&["serve", "x.db", "--listen", "here"], 2, &["here"]);
    refused(&["serve", "x.db", "--listen", "192.0.2.1:7117"], 6, &["192.0.2.1:7117"]);
    let token = ["serve", "x.db", "--listen", "127.0.0.1:0", "--metrics-token-file", "/nonexistent/token"];
    refused(&token, 2, &["--metrics-token-file", "/nonexistent/token"]);
    refused(&["serve", "x.db", "--no-login", "--always-login"], 2, &["--always-login"]);
    refused(&["url", "--base", "localhost:8000"], 2, &["http://localhost:8000"]);
}

/// A link is made for who may read the token; for others there is none, and the reason has the file's name.
#[test]
fn a_link_needs_the_token_file() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("x.db");
    let words = ["url", "--db", database.to_str().unwrap(), "--base", "https://prof.example/path"];
    refused(&words, 1, &["x.db.token", "there is no token file"]);
    fs::write(&database, "").unwrap();
    let url = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_profiler")).args(words).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (first, said) = url(&["--rotate"]);
    assert!(said.contains("have ended") && said.contains("x.db.token"), "{said}");
    let token = fs::read_to_string(folder.path().join("x.db.token")).unwrap();
    let (second, silent) = url(&[]);
    assert_eq!((fs::read_to_string(folder.path().join("x.db.token")).unwrap(), silent), (token.clone(), String::new()));
    for link in [&first, &second] {
        assert!(link.starts_with("https://prof.example/path/?login=") && !link.contains(token.trim()), "{link}");
    }
    assert_ne!(first, second);
}

/// Selectors and times are checked before the database is looked at.
#[test]
fn a_bad_selector_or_time_is_refused_with_what_is_wrong() {
    refused(&["export", "--filter", "{comm=postgres}"], 2, &["selector"]);
    refused(&["export", "--filter", "{colour=\"red\"}"], 2, &["colour"]);
    refused(&["export", "--filter", "{comm=~\"(\"}"], 2, &["selector"]);
    refused(&["export", "--from", "yesterday-ish"], 2, &["yesterday-ish"]);
    refused(&["export", "--from", "now", "--to", "now-1h"], 2, &["time"]);
}

/// Who reads only the first lines of what is printed has seen enough: no panic, no complaint.
#[test]
fn a_closed_pipe_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child =
        Command::new(env!("CARGO_BIN_EXE_profiler")).args(["doctor", "--json"]).stdout(writer).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&child.stderr), "");
}

/// Scripts and pages come from the definition itself.
#[test]
fn completions_and_manual_pages_are_made() {
    let script = profiler(&["completions", "bash"]);
    assert!(script.code == 0 && script.out.contains("_profiler()"), "{}", script.err);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(profiler(&["man", folder.path().to_str().unwrap()]).code, 0);
    let page = fs::read_to_string(folder.path().join("profiler-record.1")).unwrap();
    assert!(page.contains("folded"), "{page}");
}

/// Somebody else has the port: which, and what to do. (The database here is a real one, made without sampling.)
#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("empty.db");
    profiler::store::Store::open(&database).unwrap().0.close().unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&["serve", database.to_str().unwrap(), "--listen", &address], 6, &["in use", "--listen"]);
}

/// Looking after a database: what there is, what is wrong, a copy, and words for each refusal.
#[test]
fn databases_are_looked_after() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (database, copy) = (path("x.db"), path("copy.db"));
    refused(&["db", "stats", "--db", &database], 7, &["x.db does not exist"]);
    let (store, _) = profiler::store::Store::open(database.as_ref()).unwrap();
    store.close().unwrap();
    let stats = profiler(&["db", "stats", "--json", "--db", &database]);
    let figures: serde_json::Value = serde_json::from_str(&stats.out).unwrap();
    assert!(figures["windows"] == 0 && figures["bytes"].as_u64().unwrap() > 0, "{figures}");
    assert!(profiler(&["db", "--db", &database, "check"]).err.contains("is sound"));
    assert_eq!(profiler(&["db", "backup", "--db", &database, "-o", &copy]).code, 0);
    refused(&["db", "backup", "--db", &database, "-o", &copy], 7, &["copy.db"]);
    assert_eq!(profiler(&["db", "compact", "--db", &copy]).code, 0);
    let mut bytes = fs::read(&copy).unwrap();
    bytes[4096..8192].fill(0xa5);
    fs::write(&copy, bytes).unwrap();
    refused(&["db", "check", "--db", &copy], 7, &["is damaged", "sets it aside"]);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().ends_with("-shm")), "{names:?}");
}

/// SQL answers in three shapes, refuses what is no question, and a slice without samples leaves no file.
#[test]
fn the_database_is_asked_in_sql() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (database, part) = (path("x.db"), path("part.db"));
    refused(&["sql", "SELECT 1", "--db", &database], 7, &["x.db does not exist"]);
    profiler::store::Store::open(database.as_ref()).unwrap().0.close().unwrap();
    assert_eq!(profiler(&["sql", "SELECT 1 AS one, 'a' AS two", "--db", &database]).out, "one  two\n  1  a\n");
    let json = profiler(&["sql", "SELECT count(*) AS n FROM samples", "--db", &database, "--format", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(rows[0]["n"], 0);
    refused(&["sql", "SELECT nonsense", "--db", &database], 2, &["no such column", "nonsense"]);
    refused(&["sql", "DELETE FROM window", "--db", &database], 2, &["only"]);
    refused(&["export", "--db", &database, "-o", &part], 3, &["no samples match"]);
    refused(&["export", "--db", &database, "-o", &database], 2, &["x.db exists"]);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

/// In a folder that others write into, manual pages replace links, whose targets stay as they were.
#[test]
fn manual_pages_do_not_follow_planted_links() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    let page = folder.path().join("profiler.1");
    std::os::unix::fs::symlink("victim", &page).unwrap();
    let written = profiler(&["man", folder.path().to_str().unwrap()]);
    assert_eq!(written.code, 0, "{}", written.err);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    assert!(fs::symlink_metadata(&page).unwrap().is_file());
    assert!(fs::read_to_string(folder.path().join("profiler-db-backup.1")).unwrap().contains("backup"));
}
