//! A server on a port of its own, and a client that writes requests byte by byte: many are ones no client library lets
//! through.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use profiler::profile::WallNanos;
use profiler::server::{Bound, Recording, ServerError, ServerOptions, SharedLive, bind, read_token};
use profiler::store::Store;
use rustix::net::{AddressFamily, SocketType, bind as bind_to, connect as connect_to, socket};
use tokio::sync::oneshot;

/// The tests' wall clock stands still: 2026-11-01T12:00:00Z.
pub fn noon() -> WallNanos {
    WallNanos::from_millis(1_793_534_400_000)
}

/// A server on a port of its own; stopped when dropped.
pub struct Server {
    pub address: SocketAddr,
    /// What it prints for a browser to open.
    pub link: String,
    pub database: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
    _folder: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::with(None, |_| ())
    }

    pub fn with(live: Option<SharedLive>, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let (folder, mut options) = options();
        change(&mut options);
        let database = options.database.clone();
        Self::serving(bind(options).unwrap(), live.map_or(Recording::None, Recording::from), folder, database)
    }

    pub fn serving(bound: Bound, recording: Recording, folder: tempfile::TempDir, database: PathBuf) -> Self {
        let address = bound.address();
        let link = bound.login().link(&bound.url());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            bound.run(recording, async {
                let _ = stopped.await;
            })
        });
        Self { address, link, database, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    /// One that its own user needs a login to, like everybody else.
    pub fn of_others() -> Self {
        Self::with(None, |options| options.login.starters = vec![uid() + 1])
    }

    /// The header of a program that has read the token file.
    pub fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", read_token(&self.database).unwrap().text())
    }

    /// Sends `bytes`, returns what comes until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        rest_of(&mut stream)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// A connection that comes from this address of the loopback network.
    pub fn connect_from(&self, ip: Ipv4Addr) -> std::io::Result<TcpStream> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind_to(&socket, &SocketAddr::from((ip, 0)))?;
        connect_to(&socket, &self.address)?;
        Ok(socket.into())
    }

    /// `GET path` from a well-behaved client, with `more` headers, each ending in CRLF.
    pub fn get_with(&self, path: &str, more: &str) -> Answer {
        self.ask("GET", path, more)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    pub fn ask(&self, method: &str, path: &str, more: &str) -> Answer {
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

/// The user of this process.
pub fn uid() -> u32 {
    std::fs::metadata("/proc/self").unwrap().uid()
}

pub fn options() -> (tempfile::TempDir, ServerOptions) {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("test.db");
    drop(Store::open(&database).unwrap());
    let mut options = ServerOptions::new(database, noon);
    options.listen.set_port(0);
    (folder, options)
}

pub fn rest_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is an end too.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A parsed answer; header names in lower case.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn parse(text: &str) -> Self {
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

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem's code, after checking that it is one.
    pub fn problem(&self) -> String {
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
