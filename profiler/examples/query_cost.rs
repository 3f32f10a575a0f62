//! What a question about a busy day costs: time, and the memory of the process that answers it.
//!
//! Builds a day of a simulated two-CPU host (8,640 windows of 10 s, 30 processes, 66 samples each a window, drawn by a Zipf
//! law from 25,000 stacks of mean depth 30) through [`Store::write_window`], named; then asks in a process of its own, so
//! that what the writer holds is not counted: first a reader alone, then four clients of the server at once.
//!
//! `cargo run --release --example query_cost [-- DATABASE]` prints the figures; a DATABASE that exists is asked as it is. Not
//! a test: nothing is asserted, and timings are those of the machine. Stacks, names and load are simulated.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on may stop")]

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use profiler::profile::{
    Binary, BinaryId, BinaryKey, BinaryKind, BootNanos, BuildId, CpuTicks, Location, Losses, ProcessFacts, ProcessKey,
    ProcessWindow, SampleEvent, SourceLine, StackCount, StackEnd, StartTicks, Symbol, Symbolized, ThreadName,
    TimeRange, WallNanos, Window,
};
use profiler::query::{self, Selector};
use profiler::server::{self, ServerOptions};
use profiler::store::{Reader, Store, Unnamed};

const WINDOWS: u64 = 8_640;
const SECONDS: u64 = 10;
const PROCESSES: u32 = 30;
const STACKS: usize = 25_000 / PROCESSES as usize;
const SAMPLES: usize = 66;
/// Functions of a process's own program, of the libraries that all share, and of the kernel.
const FUNCTIONS: [u64; 3] = [1_500, 8_000, 4_000];
/// 2026-11-01T00:00:00Z.
const EPOCH: i64 = 1_793_491_200_000_000_000;
/// The question of the page: `limit` of the flame graph.
const NODES: usize = 100_000;

fn main() {
    // As the product does.
    profiler::sys::memory::keep_little();
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(word), Some(database)) if word == "--ask" => ask(Path::new(&database)),
        (database, _) => {
            let folder = tempfile::tempdir().unwrap();
            let database = database.map_or_else(|| folder.path().join("day.db"), PathBuf::from);
            if !database.exists() {
                build(&database);
            }
            Command::new(std::env::current_exe().unwrap()).arg("--ask").arg(database).status().unwrap();
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same day every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }
}

/// Ranks by a Zipf law with exponent 1.05.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(ranks: usize) -> Self {
        let mut sum = 0.0;
        let weigh = |rank| {
            sum += f64::from(rank).powf(-1.05);
            sum
        };
        Self((1..=u32::try_from(ranks).unwrap()).map(weigh).collect())
    }

    fn draw(&self, dice: &mut Dice) -> usize {
        let at = dice.below(1 << 53) as f64 / (1_u64 << 53) as f64 * self.0.last().unwrap();
        self.0.partition_point(|sum| *sum < at)
    }
}

/// A process and the stacks it can have, the most likely first.
struct Actor {
    facts: Arc<ProcessFacts>,
    stacks: Vec<Arc<[Location]>>,
    threads: [ThreadName; 3],
}

impl Actor {
    fn new(n: u32, dice: &mut Dice) -> Self {
        let (comm, pid) = (format!("service-{}", n % 24), 1000 + n);
        let facts = ProcessFacts {
            key: ProcessKey { pid, start: StartTicks(u64::from(pid) * 100) },
            exe: Some(format!("/usr/bin/{comm}")),
            cgroup: format!("/system.slice/{comm}.service"),
            container: None,
            unit: Some(format!("{comm}.service")),
            comm,
        };
        // The kernel is binary 0, the libraries 1, programs follow. A function is seen at about four places.
        let place = |dice: &mut Dice, deep: bool| {
            let kind = if deep { dice.below(3) } else { dice.below(8) / 7 };
            let binary = [n % 24 + 2, 1, 0][kind as usize];
            let function = dice.below(FUNCTIONS[kind as usize]);
            Location { binary: BinaryId(binary), offset: function * 256 + dice.below(4) * 16 }
        };
        let mut stacks: Vec<Arc<[Location]>> = Vec::new();
        while stacks.len() < STACKS {
            // Most of a stack is another one's beginning.
            let depth = 10 + dice.below(41) as usize;
            let other = stacks.get(dice.below(stacks.len() as u64 + 1) as usize);
            let mut stack = other.map_or_else(Vec::new, |other| other[..other.len().min(depth) * 2 / 3].to_vec());
            while stack.len() < depth {
                stack.push(place(dice, stack.len() > 20));
            }
            stacks.push(stack.into());
        }
        Self { facts: Arc::new(facts), stacks, threads: ["main", "worker", "io"].map(Into::into) }
    }

    fn window(&self, zipf: &Zipf, drift: usize, dice: &mut Dice) -> ProcessWindow {
        let mut counts = std::collections::BTreeMap::<usize, u64>::new();
        for _ in 0..SAMPLES {
            *counts.entry((zipf.draw(dice) + drift) % STACKS).or_default() += 1;
        }
        let row = |(at, count): (usize, u64)| StackCount {
            tid: self.facts.key.pid + (at % 3) as u32,
            thread: Arc::clone(&self.threads[at % 3]),
            stack: Arc::clone(&self.stacks[at]),
            end: if at % 10 == 0 { StackEnd::FramePointerLost } else { StackEnd::Complete },
            count,
            times: Vec::new(),
        };
        ProcessWindow { facts: Arc::clone(&self.facts), stacks: counts.into_iter().map(row).collect() }
    }
}

fn build(database: &Path) {
    let begun = Instant::now();
    let mut dice = Dice(1);
    let actors: Vec<_> = (0..PROCESSES).map(|n| Actor::new(n, &mut dice)).collect();
    let binaries: Vec<_> = (0..26).map(|n| (BinaryId(n), binary(n))).collect();
    let zipf = Zipf::new(STACKS);
    let (mut store, _) = Store::open(database).unwrap();
    for n in 0..WINDOWS {
        let start = BootNanos((1_000 + n * SECONDS) * 1_000_000_000);
        let wall = |n: u64| WallNanos(EPOCH + (n * SECONDS * 1_000_000_000) as i64);
        let mut window = Window {
            boot_id: "simulated".into(),
            start,
            end: BootNanos(start.0 + SECONDS * 1_000_000_000),
            wall_start: wall(n),
            wall_end: wall(n + 1),
            event: SampleEvent::CpuClock,
            hz: 99,
            cpus: 2,
            ticks: CpuTicks { busy: 1_980, idle: 0, filtered: 0 },
            taken: 0,
            losses: Losses::default(),
            binaries: binaries.clone(),
            // What is popular changes slowly: 1 % a minute.
            processes: actors
                .iter()
                .map(|actor| actor.window(&zipf, n as usize / 6 * STACKS / 100, &mut dice))
                .collect(),
        };
        window.taken = window.samples();
        let unnamed = store.write_window(&window).unwrap();
        let names: Vec<_> = unnamed.iter().map(|unnamed| (unnamed.location, name(unnamed))).collect();
        store.write_names(&names).unwrap();
        while store.tend().unwrap() {}
    }
    store.close().unwrap();
    println!(
        "simulated {WINDOWS} windows, {} samples, {} MiB, in {:.0} s; the writer's process: {}",
        WINDOWS * SAMPLES as u64 * u64::from(PROCESSES),
        database.metadata().unwrap().len() >> 20,
        begun.elapsed().as_secs_f64(),
        memory()
    );
}

fn binary(n: u32) -> Arc<Binary> {
    let id = BuildId::new(&n.to_be_bytes());
    let (kind, path) = match n {
        0 => (BinaryKind::Kernel, "[kernel]".to_owned()),
        1 => (BinaryKind::File, "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30".to_owned()),
        n => (BinaryKind::File, format!("/usr/bin/service-{}", n - 2)),
    };
    let key = match kind {
        BinaryKind::Kernel => BinaryKey::Kernel { boot_id: "simulated".into() },
        _ => BinaryKey::BuildId(kind, id.unwrap()),
    };
    Arc::new(Binary { key, kind, path, build_id: id, file: None, root: None, refused: false })
}

/// A function of about 60 letters, inlined into another one at every third place.
fn name(unnamed: &Unnamed) -> Symbolized {
    let Location { binary: BinaryId(binary), offset } = unnamed.place;
    let symbol = |function: u64, inlined| Symbol {
        name: format!("service::module_{}::Type{binary}<T, U>::function_{function:06}_does_its_work", function % 40),
        raw: None,
        source: Some(SourceLine {
            file: format!("/usr/src/service-{binary}/module_{}.rs", function % 40),
            line: Some((offset % 997) as u32 + 1),
        }),
        inlined,
    };
    let function = offset / 256;
    let inner = (function % 3 == 0).then(|| symbol(function / 3 + 10_000, true));
    Symbolized::Named(inner.into_iter().chain([symbol(function, false)]).collect())
}

fn day() -> TimeRange {
    TimeRange { from: WallNanos(EPOCH), to: WallNanos(EPOCH + 86_400_000_000_000) }
}

fn ask(database: &Path) {
    println!("at the start: {}", memory());
    println!("{:<34} {:>9} {:>9}  {:>9}  memory", "question", "first", "again", "rows");
    let mut reader = Reader::open(database).unwrap();
    let all = Selector::default();
    let some = query::parse_selector(r#"thread="worker", comm=~"service-1.*""#).unwrap();
    for (name, minutes) in [("15 min", 15), ("1 h", 60), ("24 h", 1_440)] {
        // Not the same place for each: the first time is the first time.
        let range = TimeRange { from: WallNanos(day().to.0 - minutes * 60_000_000_000), to: day().to };
        for (filter, selector) in [("", &all), (" filtered", &some)] {
            let mut one = |what: &str, question: &mut dyn FnMut(&mut Reader) -> usize| {
                let what = format!("{what} {name}{filter}");
                report(&what, || question(&mut reader));
            };
            one("timeline", &mut |reader| query::timeline(reader, range, selector, 600).unwrap().buckets.len());
            one("label values", &mut |reader| query::label_values(reader, range, selector, "comm").unwrap().len());
            one("top", &mut |reader| query::top(reader, range, selector, 200).unwrap().rows.len());
            one("flame graph", &mut |reader| {
                query::flame_graph(reader, range, selector, NODES).unwrap().tree.nodes.len()
            });
        }
    }
    drop(reader);
    println!("without the reader: {}", memory());
    serve(database);
}

fn report(what: &str, mut question: impl FnMut() -> usize) {
    forget_peak();
    let begun = Instant::now();
    let rows = question();
    let first = begun.elapsed();
    let begun = Instant::now();
    question();
    println!("{what:<34} {first:>9.1?} {:>9.1?}  {rows:>9}  {}", begun.elapsed(), memory());
}

/// The same through HTTP, compressed as for a browser, and four at once.
fn serve(database: &Path) {
    let mut options = ServerOptions::new(database.into(), || day().to);
    options.listen.set_port(0);
    let bound = server::bind(options).unwrap();
    let address = bound.address();
    std::thread::spawn(move || bound.run(None, std::future::pending()));
    let whole_day = |path: &str| format!("/api/v1/{path}?from=now-24h");
    // Hardly any work: what a question costs at least.
    report("GET timeline 15 min", || get(address, "/api/v1/timeline?from=now-15m", "br"));
    for encoding in ["identity", "gzip", "br"] {
        let path = whole_day("flamegraph");
        report(&format!("GET flame graph 24 h, {encoding}"), || get(address, &path, encoding));
    }
    let mut paths =
        vec![whole_day("flamegraph"), whole_day("top"), whole_day("timeline"), whole_day("labels/comm/values")];
    report("GET each 24 h, at once", || at_once(address, &paths));
    paths = vec![whole_day("flamegraph"); 4];
    report("GET 4 flame graphs 24 h, at once", || at_once(address, &paths));
    paths = vec![
        whole_day("export/folded"),
        whole_day("flamegraph") + "&limit=200000",
        whole_day("export/svg"),
        whole_day("top"),
    ];
    report("GET folded, SVG, largest, at once", || at_once(address, &paths));
    report("GET timeline 15 min", || get(address, "/api/v1/timeline?from=now-15m", "br"));
    std::thread::sleep(std::time::Duration::from_secs(2));
    forget_peak();
    println!("two seconds later: {}", memory());
}

fn at_once(address: SocketAddr, paths: &[String]) -> usize {
    std::thread::scope(|scope| {
        let clients: Vec<_> = paths.iter().map(|path| scope.spawn(move || get(address, path, "br"))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

/// Bytes of the answer.
fn get(address: SocketAddr, path: &str, encoding: &str) -> usize {
    let mut head = String::new();
    write!(head, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept-Encoding: {encoding}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // Read and dropped: this process's memory is what is measured.
    let (mut buffer, mut bytes) = ([0; 16 << 10], 0);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return bytes,
            n => {
                assert!(
                    bytes > 0 || buffer.starts_with(b"HTTP/1.1 200"),
                    "{path}: {}",
                    String::from_utf8_lossy(&buffer[..n])
                );
                bytes += n;
            }
        }
    }
}

/// Now, and the most since the last [`forget_peak`].
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mib = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    };
    format!("RSS {:>4} MiB, peak {:>4}", mib("VmRSS:"), mib("VmHWM:"))
}

/// See `man 5 proc_pid_clear_refs`.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}
