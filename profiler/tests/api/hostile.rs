//! What hostile pages and clients send or withhold.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::{Answer, Server, rest_of};

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
    let server = Server::with(None, |options| options.allow_hosts = vec!["prof.example".into()]);
    for (host, status) in [("prof.example", 200), ("Prof.Example:443", 200), ("x.prof.example", 421)] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(Answer::parse(&server.raw(request.as_bytes())).status, status, "{host}");
    }
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
    // Well before the others are cut off.
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
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

/// A browser tells which site asks; another's pages get nothing from the interface.
#[test]
fn pages_of_other_sites_get_nothing() {
    let server = Server::start();
    let from = |site: &str| server.get_with("/api/v1/labels", &format!("Sec-Fetch-Site: {site}\r\n"));
    assert_eq!(from("cross-site").problem(), "cross_site");
    assert_eq!(from("same-site").problem(), "cross_site", "another port of this host is another page");
    let by_origin = |origin: &str| server.get_with("/api/v1/labels", &format!("Origin: {origin}\r\n"));
    for origin in ["http://evil.example", "http://localhost:3000", "null", "https://localhost.evil"] {
        assert_eq!(by_origin(origin).problem(), "cross_site", "{origin}");
    }
    assert_eq!(server.get_with("/metrics", "Sec-Fetch-Site: cross-site\r\n").problem(), "cross_site");
    assert_eq!(from("same-origin").status, 200);
    assert_eq!(from("none").status, 200);
    assert_eq!(server.get_with("/", "Sec-Fetch-Site: cross-site\r\n").status, 200, "a link to the page works");
}
