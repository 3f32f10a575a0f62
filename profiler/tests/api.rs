//! The HTTP interface over real sockets: routes, statuses, headers, and everything a hostile client can send or withhold.
//!
//! Requests are written byte by byte here, because most of them are ones that no client library lets through.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use profiler::profile::WallNanos;
use profiler::server::{LiveStatus, ServerError, ServerOptions, SharedLive, bind};
use profiler::store::Store;
use tokio::sync::oneshot;

/// The tests' wall clock stands still: 2026-11-01T12:00:00Z.
fn noon() -> WallNanos {
    WallNanos::from_millis(1_793_534_400_000)
}

/// A server on a port of its own; stopped when dropped.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Self::with(None)
    }

    fn with(live: Option<SharedLive>) -> Self {
        let (folder, options) = options();
        let bound = bind(options).unwrap();
        let address = bound.address();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            bound.run(live, async {
                let _ = stopped.await;
            })
        });
        Self { address, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    /// Sends `bytes`, returns what comes until the server closes.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        rest_of(&mut stream)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// `GET path` from a well-behaved client, with `more` headers, each ending in CRLF.
    fn get_with(&self, path: &str, more: &str) -> Answer {
        self.ask("GET", path, more)
    }

    fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    fn ask(&self, method: &str, path: &str, more: &str) -> Answer {
        let port = self.address.port();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n{more}\r\n");
        Answer::parse(&self.raw(request.as_bytes()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn options() -> (tempfile::TempDir, ServerOptions) {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("test.db");
    drop(Store::open(&database).unwrap());
    let mut options = ServerOptions::new(database, noon);
    options.listen.set_port(0);
    (folder, options)
}

fn rest_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is an end too.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A parsed answer; header names in lower case.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let mut answer = Self { status, headers: lines.map(header).collect(), body: body.to_owned() };
        let plain = answer.header("content-encoding").is_none();
        if plain && answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunk(body);
        }
        answer
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem's code, after checking that it is one.
    fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(!problem["title"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty());
        problem["code"].as_str().unwrap().to_owned()
    }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            break;
        }
        whole.push_str(&rest[..length]);
        body = &rest[length + 2..];
    }
    whole
}

/// Each path of the OpenAPI document leads to an endpoint that answers as the document says it may.
#[test]
fn every_documented_route_answers() {
    let server = Server::start();
    let document = server.get("/api/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 11, "{paths:?}");
    for (path, item) in paths {
        assert_eq!(item.as_object().unwrap().keys().collect::<Vec<_>>(), ["get"], "{path}");
        let answer = server.get(&path.replace("{name}", "comm"));
        let answers = item["get"]["responses"].as_object().unwrap();
        assert!(answers.contains_key(&answer.status.to_string()), "{path}: {answer:?}");
        assert!(answer.status < 500, "{path}: {answer:?}");
    }
}

/// Whatever the answer, a browser may do nothing with it but show it here.
#[test]
fn every_answer_has_the_protecting_headers() {
    let server = Server::start();
    let answers = [
        (200, server.get("/")),
        (200, server.get("/healthz")),
        (200, server.get("/api/v1/labels")),
        (400, server.get("/api/v1/top?limit=0")),
        (404, server.get("/nothing")),
        (404, server.get("/api/nothing")),
        (405, server.ask("POST", "/", "")),
        (421, Answer::parse(&server.raw(b"GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n"))),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status, "{answer:?}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cross-origin-opener-policy"), Some("same-origin"));
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
        assert!(answer.header("cache-control").is_some());
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(server.get("/api/v1/labels").header("cache-control"), Some("no-store"));
}

/// A page whose name was pointed at this host (DNS rebinding) gets nothing: names are compared exactly.
#[test]
fn only_requests_addressed_to_this_server_are_answered() {
    let server = Server::start();
    let port = server.address.port();
    let hosts = [
        (format!("Host: localhost:{port}\r\n"), 200),
        (format!("Host: LocalHost:{port}\r\n"), 200),
        (format!("Host: 127.0.0.1:{port}\r\n"), 200),
        (format!("Host: [::1]:{port}\r\n"), 200),
        ("Host: localhost\r\n".into(), 200),
        ("Host: evil.example\r\n".into(), 421),
        (format!("Host: localhost.evil:{port}\r\n"), 421),
        (format!("Host: 127.0.0.1.nip.io:{port}\r\n"), 421),
        (format!("Host: localhost.:{port}\r\n"), 421),
        ("Host: \r\n".into(), 421),
        ("Host: local\u{e4}host\r\n".into(), 421),
        (String::new(), 400),
        (format!("Host: localhost:{port}\r\nHost: evil.example\r\n"), 400),
        (format!("Host: localhost:{port}\r\nHost: localhost:{port}\r\n"), 400),
    ];
    for version in ["1.0", "1.1"] {
        for (host, status) in &hosts {
            let request = format!("GET /healthz HTTP/{version}\r\n{host}Connection: close\r\n\r\n");
            let answer = Answer::parse(&server.raw(request.as_bytes()));
            assert_eq!(answer.status, *status, "{request:?} {answer:?}");
        }
    }
}

/// A request line with a foreign authority is foreign, whatever its Host says.
#[test]
fn an_authority_in_the_request_line_counts_too() {
    let server = Server::start();
    for (target, status) in [("http://localhost/healthz", 200), ("http://evil.example/healthz", 421)] {
        assert_eq!(server.get(target).status, status, "{target}");
    }
}

/// `--allow-host` opens exactly one more name.
#[test]
fn an_allowed_host_is_answered() {
    let (_folder, mut options) = options();
    options.allow_hosts = vec!["prof.example".into()];
    let bound = bind(options).unwrap();
    let address = bound.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        bound.run(None, async {
            let _ = stopped.await;
        })
    });
    for (host, status) in [("prof.example", 200), ("Prof.Example:443", 200), ("x.prof.example", 421)] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(Answer::parse(&rest_of(&mut stream)).status, status, "{host}");
    }
    drop(stop);
    thread.join().unwrap().unwrap();
}

/// Nothing can be changed here, and the answer says what can be done.
#[test]
fn only_get_and_head_are_methods() {
    let server = Server::start();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
        for path in ["/", "/api/v1/top", "/nothing"] {
            let answer = server.ask(method, path, "");
            assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method} {path} {answer:?}");
        }
    }
}

/// HEAD is GET without the body.
#[test]
fn head_answers_as_get_without_the_body() {
    let server = Server::start();
    for path in ["/healthz", "/api/openapi.json", "/", "/api/nothing"] {
        let (get, head) = (server.get(path), server.ask("HEAD", path, ""));
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
    }
}

/// A body is refused from its announcement; the connection closes soon, whether or how slowly the body comes.
#[test]
fn an_announced_body_is_refused_and_never_waited_for() {
    let server = Server::start();
    let bodies = [
        ("Content-Length: 5\r\n", "hello", "whole"),
        ("Content-Length: 1000000\r\n", "", "declared, never sent"),
        ("Content-Length: 1000000\r\n", "x", "declared, trickled"),
        ("Transfer-Encoding: chunked\r\n", "", "chunked, never sent"),
        ("Transfer-Encoding: chunked\r\n", "1\r\nx\r\n", "chunked, trickled"),
        ("Expect: 100-continue\r\nContent-Length: 9\r\n", "", "expecting"),
    ];
    for (headers, piece, name) in bodies {
        let started = Instant::now();
        let mut stream = server.connect();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        let mut answer = Vec::new();
        loop {
            assert!(started.elapsed() < Duration::from_secs(10), "{name}: still open");
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => answer.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_reset) => break,
            }
            if stream.write_all(piece.as_bytes()).is_err() {
                break;
            }
        }
        let answer = String::from_utf8(answer).unwrap();
        let answer = Answer::parse(answer.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n"));
        assert_eq!((answer.status, answer.problem().as_str()), (413, "body_not_accepted"), "{name}");
    }
}

/// Requests that two programs could read differently are refused.
#[test]
fn ambiguous_framing_is_refused() {
    let server = Server::start();
    for headers in ["Content-Length: 1\r\nContent-Length: 2\r\n", "Content-Length: +1\r\n", "Content-Length: 1x\r\n"] {
        assert_eq!(server.get_with("/healthz", headers).status, 400, "{headers:?}");
    }
    let both = server.get_with("/healthz", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n");
    assert!([400, 413].contains(&both.status), "{both:?}");
}

/// A head that never ends is cut off, and so is a connection that says nothing; meanwhile others are served.
#[test]
fn slow_heads_are_cut_off_while_others_are_served() {
    let server = Server::start();
    let started = Instant::now();
    let mut slow: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    for stream in &mut slow[..50] {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    }
    let asked = Instant::now();
    assert_eq!(server.get("/healthz").status, 200);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    for stream in &mut slow {
        let _ = rest_of(stream);
    }
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

/// A client that asks and asks and never reads is cut off, though its connection is alive.
#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let request = b"GET /api/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    let started = Instant::now();
    let error = loop {
        match stream.write(&request) {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break error,
            _ => assert!(started.elapsed() < Duration::from_secs(40), "still open"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(started.elapsed() > Duration::from_secs(5), "it was given time: {error}");
}

/// Paths that would leave the folder, or end a C string, are only names that do not exist.
#[test]
fn paths_do_not_leave_the_folder() {
    let server = Server::start();
    for path in [
        "/../Cargo.toml",
        "/..%2fCargo.toml",
        "/%2e%2e/Cargo.toml",
        "/assets/../../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
        "//etc/passwd",
        "/%00",
        "/index.html%00.js",
        "/.git/config",
        "/package.json",
        "/assets",
        "/assets/",
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(!answer.body.contains("[package]"), "{path}");
    }
}

/// What is wrong with a question is said with a stable code.
#[test]
fn bad_questions_say_what_is_wrong() {
    let server = Server::start();
    let table = [
        ("/api/v1/flamegraph?limit=0", 400, "limit_out_of_range"),
        ("/api/v1/flamegraph?limit=200001", 400, "limit_out_of_range"),
        ("/api/v1/timeline?limit=5001", 400, "limit_out_of_range"),
        ("/api/v1/top?limit=4294967295", 400, "limit_out_of_range"),
        ("/api/v1/top?limit=4294967296", 400, "bad_parameter"),
        ("/api/v1/top?limit=-1", 400, "bad_parameter"),
        ("/api/v1/top?limit=many", 400, "bad_parameter"),
        ("/api/v1/top?unknown=1", 400, "bad_parameter"),
        ("/api/v1/top?from=now-1h&from=now-2h", 400, "bad_parameter"),
        ("/api/v1/labels?from=now", 400, "bad_parameter"),
        ("/api/v1/status?x", 400, "bad_parameter"),
        ("/api/v1/top?from=yesterday", 400, "bad_time_range"),
        ("/api/v1/export/folded?from=", 400, "bad_time_range"),
        ("/api/v1/export/svg?from=now&to=now-1h", 400, "bad_time_range"),
        ("/api/v1/labels/nothing/values", 404, "unknown_label"),
        ("/api/v1/labels/%2e%2e%2fstatus/values", 404, "unknown_label"),
        ("/api/v1/nothing", 404, "not_found"),
        ("/api/v1/timeline/", 404, "not_found"),
        ("/api", 404, "not_found"),
        ("/api/", 404, "not_found"),
    ];
    for (path, status, code) in table {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{path}: {answer:?}");
    }
}

/// A browser tells which site asks; another's pages get nothing from the interface.
#[test]
fn pages_of_other_sites_get_nothing() {
    let server = Server::start();
    let from = |site: &str| server.get_with("/api/v1/labels", &format!("Sec-Fetch-Site: {site}\r\n"));
    assert_eq!(from("cross-site").problem(), "cross_site");
    assert_eq!(from("same-origin").status, 200);
    assert_eq!(from("none").status, 200);
    assert_eq!(server.get_with("/", "Sec-Fetch-Site: cross-site\r\n").status, 200, "a link to the page works");
}

/// The page, or where it is to come from.
#[test]
fn the_root_is_a_page() {
    let server = Server::start();
    let answer = server.get("/");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{answer:?}");
    assert_eq!(server.get("/?from=now-1h").status, 200, "the page's state is in the query string");
    match answer.header("etag") {
        Some(tag) => {
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            let again = server.get_with("/", &format!("If-None-Match: {tag}\r\n"));
            assert_eq!((again.status, again.body.as_str()), (304, ""));
        }
        None => assert!(answer.body.contains("make web"), "{answer:?}"),
    }
}

/// Answers are compressed for those who can read it.
#[test]
fn answers_are_compressed_on_request() {
    let server = Server::start();
    let encoding = |accepted: &str| {
        let answer = server.get_with("/api/openapi.json", &format!("Accept-Encoding: {accepted}\r\n"));
        answer.header("content-encoding").map(str::to_owned)
    };
    assert_eq!(encoding("gzip").as_deref(), Some("gzip"));
    assert_eq!(encoding("br").as_deref(), Some("br"));
    assert_eq!(encoding("identity"), None);
}

/// Scrapers get OpenMetrics, whole.
#[test]
fn metrics_are_open_metrics() {
    let server = Server::start();
    let answer = server.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(answer.body.ends_with("# EOF\n"), "{answer:?}");
    assert!(answer.body.contains("\nprocess_resident_memory_bytes "), "{answer:?}");
}

/// A pipeline that stores nothing for more than three windows is unhealthy, and says why.
#[test]
fn health_follows_the_pipeline() {
    let live = SharedLive::new(LiveStatus { since: noon(), window: Duration::from_secs(10), ..LiveStatus::default() });
    let server = Server::with(Some(live.clone()));
    assert_eq!(server.get("/healthz").json()["status"], "ok");
    live.update(|live| live.since = WallNanos(noon().0 - 31_000_000_000));
    let failing = server.get("/healthz");
    assert_eq!((failing.status, failing.json()["status"].as_str()), (503, Some("failing")));
    assert!(failing.json()["reason"].as_str().unwrap().contains("31 s"), "{failing:?}");
    live.update(|live| live.stored_until = Some(noon()));
    assert_eq!(server.get("/healthz").status, 200);
}

/// What cannot be served is refused before it starts, with the address and the fix.
#[test]
fn addresses_that_cannot_be_served_are_refused_with_a_fix() {
    let (_folder, taken) = options();
    let first = bind(taken.clone()).unwrap();
    let again = ServerOptions { listen: first.address(), ..taken.clone() };
    let message = bind(again).unwrap_err().to_string();
    assert!(message.contains(&format!("port {} is in use on 127.0.0.1", first.address().port())), "{message}");
    assert!(message.contains("--listen 127.0.0.1:PORT"), "{message}");

    let remote = ServerOptions { listen: "0.0.0.0:0".parse().unwrap(), ..taken.clone() };
    let message = bind(remote.clone()).unwrap_err().to_string();
    assert!(message.contains("--insecure-no-auth") && message.contains("0.0.0.0:0"), "{message}");
    let bound = bind(ServerOptions { allow_remote: true, ..remote }).unwrap();
    assert_eq!(bound.url(), format!("http://127.0.0.1:{}", bound.address().port()));

    let pattern = ServerOptions { allow_hosts: vec!["*.example".into()], ..taken.clone() };
    assert!(bind(pattern).unwrap_err().to_string().contains("*.example"));

    let foreign = ServerOptions { listen: "192.0.2.1:0".parse().unwrap(), allow_remote: true, ..taken };
    assert!(matches!(bind(foreign), Err(ServerError::Listen { .. })));
}

/// The URL is one that the server answers under.
#[test]
fn the_url_is_one_to_open() {
    let (_folder, options) = options();
    let bound = bind(ServerOptions { listen: "[::1]:0".parse().unwrap(), ..options }).unwrap();
    assert_eq!(bound.url(), format!("http://[::1]:{}", bound.address().port()));
}

/// A database that is not there is an error at the start, naming it.
#[test]
fn a_database_that_cannot_be_read_is_refused_at_the_start() {
    let (_folder, options) = options();
    let missing = ServerOptions { database: PathBuf::from("/nonexistent/profiler.db"), ..options };
    let error = bind(missing).unwrap_err();
    assert!(matches!(error, ServerError::Database { .. }) && error.to_string().contains("/nonexistent/profiler.db"));
}
