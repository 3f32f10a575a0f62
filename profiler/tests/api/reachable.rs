//! Clients that want the server for themselves: what they cannot do to others.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Answer, Server, rest_of};

/// Another address than [`Server::get`] comes from.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Ends what the other threads of a test do, also when it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends half a head on each of `count` connections, and comes back whenever it is cut off.
fn dribble(server: &Server, count: usize, stop: &AtomicBool, connected: &AtomicUsize) {
    let connect = || {
        let mut stream = TcpStream::connect(server.address).ok()?;
        // The server may have cut it off already.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nX: a");
        stream.set_nonblocking(true).ok()?;
        connected.fetch_add(1, Ordering::Relaxed);
        Some(stream)
    };
    let mut streams: Vec<Option<TcpStream>> = (0..count).map(|_| connect()).collect();
    while !stop.load(Ordering::Relaxed) {
        for stream in &mut streams {
            let is_open = stream.as_mut().is_some_and(|stream| {
                matches!(stream.read(&mut [0; 512]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
            });
            if !is_open {
                *stream = connect();
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The time that each of `count` questions took, sorted. None may stay without an answer.
fn ask(server: &Server, path: &str, count: usize) -> Vec<Duration> {
    ask_with(server, path, "", count)
}

fn ask_with(server: &Server, path: &str, headers: &str, count: usize) -> Vec<Duration> {
    let one = || {
        let asked = Instant::now();
        let answer = server.get_with(path, headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        thread::sleep(Duration::from_millis(10));
        asked.elapsed()
    };
    let mut times: Vec<Duration> = (0..count).map(|_| one()).collect();
    times.sort_unstable();
    times
}

/// Whoever holds hundreds of connections with half a head, and comes back when cut off, shuts nobody out of `/healthz` and `/metrics`.
/// More connections than there are places for are cut off for newer ones.
#[test]
fn clients_that_come_back_shut_nobody_out() {
    let server = Server::start();
    // Below the number of places, and above.
    for (clients, questions) in [(400, 100), (1000, 20)] {
        let (stop, connected) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let _stop = Stop(&stop);
            for _ in 0..4 {
                scope.spawn(|| dribble(&server, clients / 4, &stop, &connected));
            }
            let begun = Instant::now();
            while connected.load(Ordering::Relaxed) < clients {
                assert!(begun.elapsed() < Duration::from_secs(60), "{connected:?} connections");
                thread::sleep(Duration::from_millis(1));
            }
            let times = ask(&server, "/healthz", questions);
            ask(&server, "/metrics", 3);
            let (median, p99) = (times[questions / 2], times[questions * 99 / 100]);
            eprintln!("{clients} clients: median {median:?}, p99 {p99:?}");
            // A liveness probe waits for a second; a loaded machine that runs tests may take longer.
            assert!(median < Duration::from_secs(5), "{times:?}");
        });
    }
    let metrics = server.get("/metrics").body;
    assert!(counted(&metrics, "connection_evicted") > 0, "{metrics}");
}

/// Four hundred connections that guess tokens without end keep neither a probe nor the one who knows the token from an answer.
#[test]
fn clients_that_guess_shut_nobody_out() {
    let server = Server::of_others();
    let (stop, guessed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let guess = || {
        let wrong = "0".repeat(32);
        let request =
            format!("GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {wrong}\r\n\r\n");
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut stream) = server.connect_from(ELSEWHERE) else { continue };
            let mut answer = [0; 512];
            if stream.write_all(request.as_bytes()).is_ok() && stream.read(&mut answer).is_ok() {
                assert!(!answer.starts_with(b"HTTP/1.1 200"));
                guessed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        for _ in 0..400 {
            scope.spawn(guess);
        }
        let begun = Instant::now();
        while guessed.load(Ordering::Relaxed) < 400 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{guessed:?} guesses");
            thread::sleep(Duration::from_millis(1));
        }
        for (path, headers) in [("/healthz", String::new()), ("/api/v1/status", server.bearer())] {
            let times = ask_with(&server, path, &headers, 100);
            let (median, p99) = (times[50], times[99]);
            eprintln!("400 guess, {path}: median {median:?}, p99 {p99:?}");
            assert!(median < Duration::from_secs(5), "{times:?}");
        }
    });
    let metrics = server.get_with("/metrics", &server.bearer()).body;
    assert!(counted(&metrics, "too_many_tries") > 0, "{metrics}");
}

/// The value of a cause of refusals.
fn counted(metrics: &str, cause: &str) -> u64 {
    let name = format!("profiler_http_refused_total{{cause=\"{cause}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap()
}

/// One peer that asks with two hundred connections at once is refused most of its questions; another one's are all answered.
#[test]
fn a_peer_that_asks_all_the_time_takes_nobodys_turn() {
    let server = Server::start();
    let bearer = server.bearer();
    let (stop, refused, answered) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let hog = || {
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut stream) = server.connect_from(ELSEWHERE) else { continue };
            // By token: who asks by socket alone waits for its turn to be looked for, and is never refused.
            let head = "GET /api/v1/top?from=now-365d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
            let request = format!("{head}{bearer}\r\n");
            if stream.write_all(request.as_bytes()).is_ok() {
                let text = rest_of(&mut stream);
                let count = if text.starts_with("HTTP/1.1 200") { &answered } else { &refused };
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        for _ in 0..200 {
            scope.spawn(hog);
        }
        let begun = Instant::now();
        while refused.load(Ordering::Relaxed) < 100 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{refused:?} refused, {answered:?} answered");
            thread::sleep(Duration::from_millis(1));
        }
        ask(&server, "/api/v1/top", 50);
        ask(&server, "/api/v1/status", 10);
    });
    assert!(answered.load(Ordering::Relaxed) > 0, "its share is answered");
    let metrics = server.get("/metrics").body;
    assert!(counted(&metrics, "busy") + counted(&metrics, "answers_of_peer") > 0, "{metrics}");
}

/// The head of a second request has a deadline as that of the first one has.
#[test]
fn a_second_head_that_never_ends_is_cut_off() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap();
    assert_eq!(Answer::parse(&String::from_utf8_lossy(&answer[..length])).status, 200);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nX: a").unwrap();
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // A timeout is an error of another kind.
    let ended = stream.read(&mut answer);
    assert!(ended.is_ok() || ended.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset);
    assert!(begun.elapsed() < Duration::from_secs(60));
}
