//! Debian's own server on loopback, and servers that lie, flood and dawdle.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::super::names::{Mapped, NamesWorker};
use super::super::worker::tests::real_child;
use super::*;
use crate::profile::{NameSource, Symbolized};

const SMALL: Limits = Limits { file: 1 << 20, folder: 8 << 20, time: Duration::from_secs(2) };
/// For servers that mean well, on a machine that is busy.
const PATIENT: Limits = Limits { time: Duration::from_secs(60), ..SMALL };

/// A stripped program, and its debug file in a folder of its own.
fn program() -> (TempDir, BuildId) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("app.c"),
        "__attribute__((noinline)) int outer(int n) { return n * 7; }\nint main(int n, char **v) { return outer(n); }",
    )
    .unwrap();
    let script = "mkdir debug && cc -g -O1 -Wl,--build-id -o app app.c && nm app > symbols
                  objcopy --only-keep-debug app debug/app.debug && strip app";
    assert!(Command::new("sh").current_dir(&dir).args(["-ec", script]).status().unwrap().success());
    let id = build_id_of(&File::open(dir.path().join("app")).unwrap()).unwrap();
    (dir, id)
}

/// Waits for a download to end; says whether the file is there.
fn fetched(debuginfod: &Debuginfod, id: &BuildId) -> bool {
    let begun = Instant::now();
    assert!(debuginfod.ask(id), "worth waiting for");
    while debuginfod.ask(id) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no end");
        std::thread::sleep(Duration::from_millis(5));
    }
    debuginfod.file(id).is_some()
}

fn start(server: SocketAddr, folder: &TempDir, limits: Limits) -> Arc<Debuginfod> {
    Debuginfod::start_with(&format!("http://{server}/"), &folder.path().join("cache"), limits).unwrap()
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Debian's server over a folder, once it gives out this build id.
fn debian_server(dir: &TempDir, id: &BuildId) -> (Server, SocketAddr) {
    for _ in 0..5 {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut server = Server(
            Command::new("debuginfod")
                .args(["-F", "-d", ":memory:", "-p", &address.port().to_string()])
                .arg(dir.path().join("debug"))
                .env("HOME", dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let begun = Instant::now();
        // It may have lost its port to somebody else, who does not know the file either.
        while begun.elapsed() < Duration::from_secs(30) && matches!(server.0.try_wait(), Ok(None)) {
            let mut answer = [0; 12];
            if let Ok(mut stream) = TcpStream::connect(address) {
                let ask =
                    format!("GET /buildid/{id}/debuginfo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(ask.as_bytes());
                let _ = stream.read_exact(&mut answer);
            }
            if answer == *b"HTTP/1.1 200" {
                return (server, address);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    panic!("debuginfod gave nothing out");
}

/// A stripped program is named, with lines, from what Debian's server gives; the file is kept for the next start.
#[test]
fn a_stripped_program_is_named_from_debians_server() {
    let (dir, id) = program();
    let (server, address) = debian_server(&dir, &id);
    let debuginfod = start(address, &dir, PATIENT);
    let file = File::open(dir.path().join("app")).unwrap();
    let path = dir.path().join("app").display().to_string();
    let mapped = Mapped { file: &file, path: &path, build_id: Some(id), identity: None, root: None, debug: None };
    let symbols = fs::read_to_string(dir.path().join("symbols")).unwrap();
    let outer = symbols.lines().find_map(|line| line.strip_suffix(" T outer")).unwrap();
    // The text of a small position-independent program lies in its file as it does in memory.
    let offset = u64::from_str_radix(outer, 16).unwrap();
    let mut worker = NamesWorker::new(real_child()).with_debuginfod(Some(Arc::clone(&debuginfod)));
    assert!(worker.of_file(&mapped, &[offset], None).unwrap()[0].reason().is_some());
    assert!(worker.is_coming(&mapped));
    let begun = Instant::now();
    while worker.is_coming(&mapped) {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    let named = |worker: &mut NamesWorker| {
        let Symbolized::Named(symbols) = worker.of_file(&mapped, &[offset], None).unwrap().remove(0) else {
            panic!("no name")
        };
        let source = symbols[0].source.clone().unwrap();
        let found = worker.take_found().into_iter().find(|found| found.source == NameSource::Debuginfod);
        (symbols[0].name.clone(), source.file.ends_with("app.c"), source.line, found.unwrap().found.is_some())
    };
    assert_eq!(named(&mut worker), ("outer".into(), true, Some(1), true));
    drop((server, debuginfod, worker));
    let again = start(address, &dir, PATIENT);
    let mut worker = NamesWorker::new(real_child()).with_debuginfod(Some(again));
    assert!(!worker.is_coming(&mapped), "it is here");
    assert_eq!(named(&mut worker), ("outer".into(), true, Some(1), true));
}

/// A server of one answer for each connection, given what was asked for.
fn server_of(answer: impl Fn(&mut TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            answer(&mut stream);
        }
    });
    address
}

/// Another build, no file, no end, no hurry, no sense: nothing of it is kept, nothing takes longer or more than allowed.
#[test]
fn servers_that_lie_flood_or_dawdle_give_nothing() {
    let (dir, id) = program();
    let other = fs::read("/bin/true").unwrap();
    let whole = move |stream: &mut TcpStream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", other.len());
        let _ = stream.write_all(&other);
    };
    let endless = |stream: &mut TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n\x7fELF");
        while stream.write_all(&[0; 65536]).is_ok() {}
    };
    let slow = |stream: &mut TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let short = |stream: &mut TcpStream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc"));
    let missing =
        |stream: &mut TcpStream| drop(stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
    let noise = |stream: &mut TcpStream| drop(stream.write_all(&[0xff; 10_000]));
    let around = |stream: &mut TcpStream| {
        drop(
            stream
                .write_all(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        );
    };
    let silent = |stream: &mut TcpStream| drop(stream.read(&mut [0; 1]));
    let servers = [
        ("another build", server_of(whole)),
        ("endless", server_of(endless)),
        ("slow", server_of(slow)),
        ("short", server_of(short)),
        ("missing", server_of(missing)),
        ("noise", server_of(noise)),
        ("around", server_of(around)),
        ("silent", server_of(silent)),
        ("nobody", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()),
    ];
    for (name, server) in servers {
        let folder = tempfile::tempdir().unwrap();
        assert!(!fetched(&start(server, &folder, SMALL), &id), "{name}");
        let left = fs::read_dir(folder.path().join("cache")).unwrap().count();
        assert_eq!(left, 0, "{name}: nothing is left behind");
    }
    drop(dir);
}

/// The servers are asked in order; one that fails costs nothing but its time. The folder stays within its bytes.
#[test]
fn the_next_server_is_asked_and_the_folder_is_bounded() {
    let (dir, id) = program();
    let debug = fs::read(dir.path().join("debug/app.debug")).unwrap();
    let missing = server_of(|stream| drop(stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")));
    let good = server_of(move |stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", debug.len());
        let _ = stream.write_all(&debug);
    });
    let folder = dir.path().join("cache");
    fs::create_dir(&folder).unwrap();
    for old in ["a.debug", "b.debug"] {
        File::create(folder.join(old)).unwrap().set_len(5 << 20).unwrap();
    }
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(folder.join("b.debug")).unwrap().set_modified(long_ago).unwrap();
    let servers = format!("ima:enforcing http://{missing} http://{good}");
    let debuginfod = Debuginfod::start_with(&servers, &folder, PATIENT).unwrap();
    assert!(fetched(&debuginfod, &id));
    assert!(folder.join("a.debug").exists() && !folder.join("b.debug").exists(), "the oldest goes");
}

/// What is no address, or a folder that others can write to, is refused with the fix.
#[test]
fn bad_servers_and_folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = |servers: &str| Debuginfod::start(servers, &folder.path().join("x")).unwrap_err().to_string();
    assert!(message(" ").contains("DEBUGINFOD_URLS"));
    assert!(message("http://a ftp://b").contains("ftp://b"));
    let shared = folder.path().join("shared");
    DirBuilder::new().create(&shared).unwrap();
    rustix::fs::chmod(&shared, rustix::fs::Mode::from_raw_mode(0o777)).unwrap();
    assert!(matches!(Debuginfod::start("http://a", &shared), Err(DebuginfodError::Folder { .. })));
}
