//! Who may read of a running profiler: real users, containers' namespaces and sockets, against the user who started it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::run::{Daemon, PROFILER};

/// Runs curl as `wrap` says (another user, another namespace): status and body.
fn curl(wrap: &[&str], words: &[&str]) -> (u16, String) {
    let all: Vec<&str> =
        wrap.iter().copied().chain(["curl", "--silent", "--max-time", "20", "--write-out", "\n%{http_code}"]).collect();
    let output = Command::new(all[0]).args(&all[1..]).args(words).output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = answer.rsplit_once('\n').unwrap_or_else(|| panic!("{output:?}"));
    (status.parse().unwrap_or_else(|_| panic!("{output:?}")), body.to_owned())
}

const ROOT: &[&str] = &["env"];
const OTHER: &[&str] = &["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"];
const NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

fn url_command(database: &std::path::Path, daemon: &Daemon, more: &[&str]) -> Output {
    let base = daemon.url("");
    Command::new(PROFILER).args(["url", "--base", &base, "--db"]).arg(database).args(more).output().unwrap()
}

fn link(database: &std::path::Path, daemon: &Daemon) -> String {
    let output = url_command(database, daemon, &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Root started it and reads; another user reads nothing but health, until they have a link or the token, and never root's session.
#[test]
fn other_users_read_nothing_without_a_login() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("login.db");
    let daemon = Daemon::start(&database, &["--window", "1s"]);
    daemon.wait_for_status(Duration::from_secs(60), |status| status["totals"]["stored"].as_u64() > Some(0));
    let url = |path: &str| daemon.url(path);
    let paths = [
        "/",
        "/index.html",
        "/metrics",
        "/api/v1/top",
        "/api/v1/status",
        "/api/openapi.json",
        "/api/v1/export/folded",
        "/x",
    ];
    for path in paths {
        assert_ne!(curl(ROOT, &[&url(path)]).0, 401, "{path}");
        for user in [OTHER, NOBODY] {
            let (status, body) = curl(user, &[&url(path)]);
            assert_eq!(status, 401, "{user:?} {path}: {body}");
        }
    }
    assert_eq!(curl(OTHER, &[&url("/healthz")]).0, 200);

    // The token, by whoever can read it: root alone.
    let token = std::fs::read_to_string(folder.path().join("login.db.token")).unwrap();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    assert_eq!(curl(OTHER, &["--header", &bearer, &url("/api/v1/top")]).0, 200);
    let refused =
        Command::new("setpriv").args(&OTHER[1..]).args([PROFILER, "url", "--db"]).arg(&database).output().unwrap();
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");

    // A link, once; the session is that user's alone, wherever its cookie was picked up.
    let link = link(&database, &daemon);
    let jar = folder.path().join("jar");
    let jar = jar.to_str().unwrap();
    let head = curl(OTHER, &["--include", &link]).1;
    assert!(head.starts_with("HTTP/1.1 303") && head.contains("\nlocation: ./\r\n"), "{head}");
    let session =
        head.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next()).unwrap().to_owned();
    std::fs::write(jar, &session).unwrap();
    for (user, status) in [(OTHER, 200), (NOBODY, 401)] {
        assert_eq!(curl(user, &["--cookie", &session, &url("/api/v1/top")]).0, status, "{user:?}");
    }
    assert_eq!(curl(OTHER, &[&link]).0, 401, "used");

    // Another token ends it.
    let rotated = url_command(&database, &daemon, &["--rotate"]);
    assert!(rotated.status.success(), "{rotated:?}");
    assert_eq!(curl(OTHER, &["--cookie", &session, &url("/api/v1/top")]).0, 401);
    assert_eq!(curl(OTHER, &["--header", &bearer, &url("/api/v1/top")]).0, 401);
    assert_eq!(curl(OTHER, &[String::from_utf8(rotated.stdout).unwrap().trim()]).0, 303);
    let said = daemon.stop_and_say();
    assert!(!said.contains(token.trim()) && !said.contains(&session), "{said}");
}

/// Uid 0 is not enough: root of a container that shares the network, a set-uid program that another user runs, and a socket of root's
/// that another user was given need a login. A container is made as runtimes make it: a mount namespace of its own.
#[test]
fn a_uid_alone_is_not_the_user_who_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("uid.db"), &["--window", "1s"]);
    let status = daemon.url("/api/v1/status");
    assert_eq!(curl(ROOT, &[&status]).0, 200);
    assert_eq!(curl(&["unshare", "--mount"], &[&status]).0, 401, "a container");
    assert_eq!(curl(&["setpriv", "--ruid=4242"], &[&status]).0, 401, "a set-uid program");

    // Python keeps the socket that root connected, and is another user when it asks.
    let script = "import os, socket, sys\n\
        s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n\
        os.setresgid(4242, 4242, 4242); os.setresuid(4242, 4242, 4242)\n\
        s.sendall(b'GET /api/v1/status HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n')\n\
        print(s.makefile().readline())";
    let port = status.split(':').nth(2).unwrap().split('/').next().unwrap();
    let output = Command::new("python3").args(["-c", script, port]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("HTTP/1.1 401"), "{output:?}");

    // Another user's closed socket, which the kernel reports as uid 0, starts nothing: the request comes in before the kernel is asked.
    let closing = "import os, socket, sys\n\
        os.setresgid(4242, 4242, 4242); os.setresuid(4242, 4242, 4242)\n\
        for _ in range(200):\n\
        \x20   s = socket.socket()\n\
        \x20   s.connect(('127.0.0.1', int(sys.argv[1])))\n\
        \x20   s.sendall(b'POST /api/v1/symbolize HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n')\n\
        \x20   s.close()\n";
    let refused = |daemon: &Daemon| counted(daemon, "login_required");
    let before = refused(&daemon);
    assert!(Command::new("python3").args(["-c", closing, port]).status().unwrap().success());
    let start = Instant::now();
    while refused(&daemon) < before + 200 && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(50));
    }
    // A connection that is gone before its request was read is not counted; none was let in, or names would be looked for again.
    assert!(refused(&daemon) > before, "{} of 200", refused(&daemon) - before);
    daemon.stop();
}

/// How many were refused for `cause`.
fn counted(daemon: &Daemon, cause: &str) -> u64 {
    let metrics = daemon.get("/metrics").1;
    let name = format!("profiler_http_refused_total{{cause=\"{cause}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap()
}

/// Users of this host have a share of connections each, although all come from one address: more half heads of one user than there
/// are places for push each other out, never the idle connection of another, which is the oldest of all.
#[test]
fn connections_are_shared_among_users_of_one_address() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("shares.db"), &["--window", "1s"]);
    let port = daemon.address().split(':').nth(1).unwrap().to_owned();
    // Begins when it is told to, and holds what it opened until it is killed.
    let hog = "import os, socket, sys\n\
        os.setresgid(4242, 4242, 4242); os.setresuid(4242, 4242, 4242)\n\
        print('ready', flush=True)\n\
        sys.stdin.readline()\n\
        held = []\n\
        for _ in range(900):\n\
        \x20   s = socket.socket()\n\
        \x20   s.connect(('127.0.0.1', int(sys.argv[1])))\n\
        \x20   s.sendall(b'GET /healthz HTTP/1.1\\r\\nX: a')\n\
        \x20   held.append(s)\n\
        sys.stdin.read()\n";
    let ask = |stream: &mut TcpStream| {
        let mut answer = [0; 4096];
        let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let length = asked.and_then(|()| stream.read(&mut answer)).unwrap_or(0);
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    // An idle connection is closed after 5 s: on a machine too busy to be done by then, a round proves nothing.
    for round in 1.. {
        let evicted = counted(&daemon, "connection_evicted");
        let mut theirs = Command::new("python3")
            .args(["-c", hog, &port])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        theirs.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        let mut mine = TcpStream::connect(daemon.address()).unwrap();
        mine.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(ask(&mut mine).starts_with("HTTP/1.1 200"));
        let idle = Instant::now();
        theirs.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        while counted(&daemon, "connection_evicted") == evicted && idle.elapsed() < Duration::from_secs(4) {}
        let enough = counted(&daemon, "connection_evicted") > evicted;
        let answer = ask(&mut mine);
        let in_time = enough && idle.elapsed() < Duration::from_secs(4);
        theirs.kill().unwrap();
        theirs.wait().unwrap();
        if in_time {
            assert!(answer.starts_with("HTTP/1.1 200"), "round {round}: {answer:?}");
            break;
        }
        assert!(round < 5, "this machine is too busy");
    }
    daemon.stop();
}

/// A caller of sudo is a user who started it.
#[test]
fn who_called_sudo_needs_no_login() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(
        &folder.path().join("sudo.db"),
        &["--window", "1s"],
        &[("SUDO_UID", "4242"), ("SUDO_GID", "4242")],
    );
    let status = daemon.url("/api/v1/status");
    assert_eq!(curl(OTHER, &[&status]).0, 200);
    assert_eq!(curl(ROOT, &[&status]).0, 200);
    assert_eq!(curl(NOBODY, &[&status]).0, 401);
    daemon.stop();
}

/// Where another user may put files, theirs is not taken, and the profiler serves all the same. By a raw socket, for the test's own
/// process is the user who started it.
#[test]
fn a_token_file_of_another_user_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("planted.db");
    let planted = folder.path().join("planted.db.token");
    std::fs::write(&planted, "planted-planted-planted-planted-").unwrap();
    std::os::unix::fs::chown(&planted, Some(4242), Some(4242)).unwrap();
    std::fs::set_permissions(&planted, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let daemon = Daemon::start(&database, &["--window", "1s"]);
    let bearer = "Authorization: Bearer planted-planted-planted-planted-";
    assert_eq!(curl(OTHER, &["--header", bearer, &daemon.url("/api/v1/status")]).0, 401);
    let status = daemon.json("/api/v1/status");
    assert!(status["notices"].to_string().contains("belongs to user 4242"), "{status}");
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    stream.write_all(b"GET /api/v1/labels HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let output = url_command(&database, &daemon, &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("belongs to user 4242"), "{output:?}");
    daemon.stop();
}
