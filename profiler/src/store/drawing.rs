//! Windows drawn as text, for tests: a line is a stack and its samples.
//!
//! ```text
//! web/7  main;serve;parse x5          process name / pid, user frames root first
//! web/7  main;serve;k:read x2         `k:` frames are the kernel's
//! web/7~io  main x1                   of thread `io`
//! web/7  !serve x1                    cut short: FramePointerLost
//! ```
//!
//! A function's name (at most 8 bytes) is its offset, so that any window can be named without a table.

use std::sync::Arc;
use std::time::Duration;

use super::{LocationId, Store, Unnamed};
use crate::profile::{
    Binary, BinaryId, BinaryKey, BinaryKind, BootNanos, BuildId, ContainerId, CpuTicks, Location, Losses, ProcessFacts,
    ProcessKey, ProcessWindow, SampleEvent, SourceLine, StackCount, StackEnd, StartTicks, Symbol, Symbolized,
    WallNanos, Window,
};

/// 2026-01-01T00:00:00Z, where drawn windows begin.
pub(crate) const EPOCH: i64 = 1_767_225_600;

/// Seconds of a drawn window.
pub(crate) const SECONDS: u64 = 10;

/// The `n`-th window: ten seconds each, 100 Hz.
pub(crate) fn window(n: u64, drawing: &str) -> Window {
    let binaries = vec![
        (BinaryId(0), binary(BinaryKind::Kernel, "[kernel]", BinaryKey::Kernel { boot_id: "boot".into() })),
        (
            BinaryId(1),
            binary(BinaryKind::File, "/usr/bin/app", {
                BinaryKey::BuildId(BinaryKind::File, BuildId::new(b"app").expect("not empty"))
            }),
        ),
    ];
    let start = Duration::from_secs(1000 + n * SECONDS).as_nanos() as u64;
    let wall = (EPOCH + (n * SECONDS) as i64) * 1_000_000_000;
    let mut processes: Vec<ProcessWindow> = Vec::new();
    for line in drawing.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (who, stack) = line.split_once("  ").expect("two columns");
        let (who, thread) = who.split_once('~').unwrap_or((who, "main"));
        let (comm, pid) = who.split_once('/').expect("comm/pid");
        let facts = facts(comm, pid.parse().expect("a pid"));
        let stack = stack_count(thread, stack.trim());
        match processes.iter_mut().find(|process| process.facts == facts) {
            Some(process) => process.stacks.push(stack),
            None => processes.push(ProcessWindow { facts, stacks: vec![stack] }),
        }
    }
    let mut window = Window {
        host: Arc::default(),
        boot_id: "boot".into(),
        start: BootNanos(start),
        end: BootNanos(start + SECONDS * 1_000_000_000),
        wall_start: WallNanos(wall),
        wall_end: WallNanos(wall + (SECONDS * 1_000_000_000) as i64),
        event: SampleEvent::CpuClock,
        hz: 100,
        cpus: 2,
        ticks: CpuTicks { busy: 500, idle: 1500, ..CpuTicks::default() },
        taken: 0,
        losses: Losses::default(),
        binaries,
        processes,
    };
    window.taken = window.samples();
    window
}

fn binary(kind: BinaryKind, path: &str, key: BinaryKey) -> Arc<Binary> {
    Arc::new(Binary {
        key,
        kind,
        path: path.into(),
        build_id: BuildId::new(b"app"),
        code: None,
        file: None,
        root: None,
        jit: None,
        unopened: None,
    })
}

/// A process in container `web-PID`, unit `COMM.service`.
pub(crate) fn facts(comm: &str, pid: u32) -> Arc<ProcessFacts> {
    Arc::new(ProcessFacts {
        key: ProcessKey { pid, start: StartTicks(u64::from(pid) * 100) },
        comm: comm.into(),
        exe: Some(format!("/usr/bin/{comm}")),
        cgroup: format!("/system.slice/{comm}.service/web-{pid}"),
        container: Some(ContainerId(format!("web-{pid}"))),
        unit: Some(format!("{comm}.service")),
    })
}

fn stack_count(thread: &str, drawing: &str) -> StackCount {
    let (frames, count) = drawing.rsplit_once('x').expect("xCOUNT");
    let frames = frames.trim();
    let (frames, end) = match frames.strip_prefix('!') {
        Some(frames) => (frames, StackEnd::FramePointerLost),
        None => (frames, StackEnd::Complete),
    };
    StackCount {
        tid: 1,
        thread: thread.into(),
        stack: frames.split(';').filter(|name| !name.is_empty()).map(location).collect(),
        end,
        count: count.parse().expect("a number"),
        times: Vec::new(),
    }
}

fn location(name: &str) -> Location {
    let (binary, name) = name.strip_prefix("k:").map_or((1, name), |name| (0, name));
    let mut offset = [0; 8];
    offset[..name.len()].copy_from_slice(name.as_bytes());
    Location { binary: BinaryId(binary), offset: u64::from_be_bytes(offset) }
}

/// The name that a drawn location was drawn with.
pub(crate) fn drawn_name(place: Location) -> String {
    let name = String::from_utf8(place.offset.to_be_bytes().to_vec()).expect("drawn");
    name.trim_end_matches('\0').to_owned()
}

/// Its symbol, in file `NAME.c`, line 1.
fn symbol(place: Location) -> Symbolized {
    let name = drawn_name(place);
    let source = Some(SourceLine { file: format!("{name}.c").into(), line: Some(1) });
    Symbolized::Named(vec![Symbol { name: name.into(), raw: None, source, declared: None, inlined: false }])
}

/// Names everything that waits for a name.
pub(crate) fn name_all(store: &mut Store, unnamed: &[Unnamed]) {
    let names: Vec<(LocationId, Symbolized)> = unnamed.iter().map(|u| (u.location, symbol(u.place))).collect();
    store.write_names(&names).expect("writable");
}
