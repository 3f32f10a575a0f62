//! Writes a random history and the samples it is made of: `random_profile SEED DATABASE > samples.json`.
//!
//! The samples are what the page's figures must add up to (`web/e2e/figures.ts`). The same seed gives the same history: windows of ten
//! seconds, a stalled one of 35 s and a gap; processes of equal names, threads, two files with functions of equal names, the kernel,
//! inlined functions, functions without a name, stacks cut short. A sample's time is a whole number of 10 ms: as exact as it is kept.

use std::path::Path;
use std::sync::Arc;

use profiler::profile::{
    Binary, BinaryId, BinaryKey, BinaryKind, BootNanos, CpuTicks, Location, Losses, ProcessFacts, ProcessKey,
    ProcessWindow, SampleEvent, SourceLine, StackCount, StackEnd, StartTicks, Symbol, Symbolized, UnknownReason,
    WallNanos, Window,
};
use profiler::store::Store;
use serde_json::{Value, json};

/// 2026-01-01T00:00:03Z: no window begins with a bucket of the timeline.
const BEGIN_MS: i64 = 1_767_225_603_000;

const PATHS: [&str; 3] = ["[kernel]", "/usr/bin/app", "/usr/lib/libx.so.1"];

/// Start (seconds after the beginning) and length of each window.
const WINDOWS: [(i64, i64); 9] =
    [(0, 10), (10, 10), (20, 10), (30, 35), (65, 10), (75, 10), (110, 10), (120, 10), (130, 10)];

/// Numbers by xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(seed), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: random_profile SEED DATABASE".into());
    };
    let mut random = Random(seed.parse::<u64>()?.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut store, _) = Store::open(Path::new(&path))?;
    let mut samples = Vec::new();
    for (start, seconds) in WINDOWS {
        let window = window(&mut random, start, seconds, &mut samples);
        let unnamed = store.write_window(&window)?;
        let names: Vec<_> = unnamed.iter().map(|at| (at.location, answer(at.place))).collect();
        store.write_names(&names)?;
    }
    let windows: Vec<Value> = WINDOWS
        .iter()
        .map(|(start, seconds)| json!({"from": BEGIN_MS + start * 1000, "to": BEGIN_MS + (start + seconds) * 1000}))
        .collect();
    println!("{}", json!({"windows": windows, "hz": 100, "samples": samples}));
    Ok(())
}

/// A window of random samples, which are added to the list.
fn window(random: &mut Random, start: i64, seconds: i64, samples: &mut Vec<Value>) -> Window {
    let boot = 1_000_000_000_000 + start.unsigned_abs() * 1_000_000_000;
    let wall = (BEGIN_MS + start * 1000) * 1_000_000;
    let key = |nth: usize| match nth {
        0 => BinaryKey::Kernel { boot_id: "boot".into() },
        nth => BinaryKey::Inode { path: PATHS[nth].into(), dev: 1, inode: nth as u64, mtime: 3, identity: None },
    };
    let binary = |(nth, path): (usize, &&str)| {
        let kind = if nth == 0 { BinaryKind::Kernel } else { BinaryKind::File };
        (BinaryId(nth as u32), Arc::new(Binary::new(kind, key(nth), *path)))
    };
    let mut processes: Vec<ProcessWindow> = Vec::new();
    for pid in 1..=2 + random.below(4) {
        let comm = ["web", "db", "web"][pid as usize % 3];
        let unit = (pid % 2 == 0).then(|| format!("{comm}.service"));
        let mut stacks: Vec<StackCount> = Vec::new();
        for _ in 0..1 + random.below(12) {
            let end = match random.below(6) {
                0 => StackEnd::FramePointerLost,
                1 => StackEnd::NoUnwindRows,
                _ => StackEnd::Complete,
            };
            let user = (0..random.below(6)).map(|_| Location {
                binary: BinaryId(1 + random.below(2) as u32),
                offset: 0x100 * (1 + random.below(7)),
            });
            let mut stack: Vec<Location> = user.collect();
            for _ in 0..random.below(3) {
                stack.push(Location { binary: BinaryId(0), offset: 0x100 * (1 + random.below(3)) });
            }
            let thread = ["main", "io"][random.below(2) as usize];
            let ticks: Vec<u64> =
                (0..1 + random.below(40)).map(|_| random.below(seconds.unsigned_abs() * 100)).collect();
            samples.push(json!({
                "comm": comm, "pid": pid.to_string(), "thread": thread, "unit": unit, "end": end.name(),
                "window": BEGIN_MS + start * 1000,
                "frames": stack.iter().flat_map(|at| frames(*at)).collect::<Vec<_>>(),
                "times": ticks.iter().map(|tick| BEGIN_MS + start * 1000 + *tick as i64 * 10).collect::<Vec<_>>(),
            }));
            let stack: Arc<[Location]> = stack.into();
            let known = stacks.iter_mut().find(|one| one.stack == stack && one.end == end && &*one.thread == thread);
            let times = ticks.iter().map(|tick| BootNanos(boot + tick * 10_000_000));
            match known {
                Some(one) => {
                    one.times.extend(times);
                    one.count += ticks.len() as u64;
                }
                None => stacks.push(StackCount {
                    tid: 1,
                    thread: thread.into(),
                    stack,
                    end,
                    count: ticks.len() as u64,
                    times: times.collect(),
                }),
            }
        }
        let facts = ProcessFacts {
            key: ProcessKey { pid: pid as u32, start: StartTicks(pid) },
            comm: comm.into(),
            exe: Some("/usr/bin/app".into()),
            // A control group's path says the unit.
            cgroup: unit.as_ref().map_or_else(|| "/".to_owned(), |unit| format!("/system.slice/{unit}")),
            container: None,
            unit,
        };
        processes.push(ProcessWindow { facts: Arc::new(facts), stacks });
    }
    let mut window = Window {
        host: Arc::default(),
        boot_id: "boot".into(),
        start: BootNanos(boot),
        end: BootNanos(boot + seconds.unsigned_abs() * 1_000_000_000),
        wall_start: WallNanos(wall),
        wall_end: WallNanos(wall + seconds * 1_000_000_000),
        event: SampleEvent::CpuClock,
        hz: 100,
        cpus: 4,
        ticks: CpuTicks::default(),
        taken: 0,
        losses: Losses::default(),
        binaries: PATHS.iter().enumerate().map(binary).collect(),
        processes,
    };
    window.taken = window.samples();
    window.ticks = CpuTicks { busy: window.taken, idle: 400 * seconds.unsigned_abs(), ..CpuTicks::default() };
    window
}

/// What a place is called: the third place of each file has inlined functions, the sixth no name.
fn answer(at: Location) -> Symbolized {
    let (file, nth) = (at.binary.0, at.offset / 0x100);
    if file != 0 && nth == 6 {
        return Symbolized::Unknown(if file == 1 { UnknownReason::NoSymbols } else { UnknownReason::FileGone });
    }
    let symbol = |name: String, inlined| Symbol {
        name: name.into(),
        raw: None,
        source: Some(SourceLine { file: "src/a.c".into(), line: Some(nth as u32) }),
        declared: None,
        inlined,
    };
    if file != 0 && nth == 3 {
        return Symbolized::Named(vec![symbol("inner".into(), true), symbol("f3".into(), false)]);
    }
    Symbolized::Named(vec![symbol(if file == 0 { format!("k{nth}") } else { format!("f{nth}") }, false)])
}

/// Its frames, the outermost first, as the page has them: kind, name, path of the binary, reason for a missing name.
fn frames(at: Location) -> Vec<Value> {
    let path = PATHS[at.binary.0 as usize];
    match answer(at) {
        Symbolized::Named(symbols) => {
            let named = |symbol: &Symbol| {
                let kind = if at.binary.0 == 0 { 3 } else { 2 + 2 * u8::from(symbol.inlined) };
                json!({"kind": kind, "name": &*symbol.name, "binary": path, "reason": null})
            };
            symbols.iter().rev().map(named).collect()
        }
        Symbolized::Unknown(reason) | Symbolized::Nameless(reason, _) => {
            let base = path.rsplit('/').next().unwrap_or(path);
            let name = format!("[{base}+{:#x}]", at.offset);
            vec![json!({"kind": 5, "name": name, "binary": path, "reason": reason.name()})]
        }
    }
}
