//! The contract with the page: one JSON a kind of answer in `tests/golden/api/`, parsed by the web tests as well.
//!
//! A golden that is missing or differs fails; `BLESS=1` rewrites it. Made by the same code that answers requests, from
//! values that touch every field: null, -1, an empty label, every kind of frame.

use std::path::Path;
use std::time::Duration;

use actix_web::web::Bytes;
use serde::Serialize;

use super::live::{Cost, LiveStatus};
use super::{api, error, from_query};
use crate::annotate;
use crate::export::drawing;
use crate::profile::{
    Binary, BinaryKey, BinaryKind, BuildId, FoundSource, Frame, FrameId, FrameKind, LossCause, Losses, Measure,
    MissCause, MissedTicks, NameSource, Reason, SourceLine, StackEnd, TimeRange, UnknownReason, WallNanos,
};
use crate::query;
use crate::unwind::UnwindCounts;

/// 2026-11-01T12:00:00Z.
const NOON: i64 = 1_793_534_400_000;

fn at(seconds: i64) -> WallNanos {
    WallNanos::from_millis(NOON + seconds * 1000)
}

fn check(name: &str, value: &impl Serialize) {
    let mut found = serde_json::to_string_pretty(value).expect("wire values become JSON");
    found.push('\n');
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/api").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &found).expect("the golden folder can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == found, "{} is not what the server answers now; if that is meant, run make bless", path.display());
}

/// Two buckets, one of them a gap.
#[test]
fn timeline() {
    let mut missed = MissedTicks::default();
    missed.add(MissCause::ProgramBusy, 20);
    missed.add(MissCause::TimerLate, 1);
    let recorded = query::Bucket {
        samples: 970,
        incomplete: 12,
        busy_cores: Some(1.5),
        utilisation: Some(0.75),
        lost: 3,
        missed,
        missed_share: Some(0.0105),
    };
    let buckets = vec![recorded, query::Bucket::default()];
    let timeline = query::Timeline {
        start: at(0),
        step: 10_000_000_000,
        buckets,
        gaps: vec![TimeRange { from: at(10), to: at(20) }],
        resumed: vec![at(0)],
        known_until: Some(at(10)),
        cpus: 4,
    };
    check("timeline.json", &from_query::timeline(&timeline, None, None, at(30)));
    let values = vec![("web".to_owned(), vec![600, 0]), (String::new(), vec![300, 0])];
    let series = query::Series { values, others: vec![70, 0], measure: Measure::of([97]), hidden_values: 3 };
    check("timeline_groups.json", &from_query::timeline(&timeline, Some(("comm".into(), series)), Some(at(0)), at(30)));
}

/// Two sides, one of them without some nodes; what is more, less, and no more than noise.
#[test]
fn diff() {
    let side = |total, recorded_nanos| query::Side { total, incomplete: 3, measure: Measure::of([97]), recorded_nanos };
    let node = |depth, frame, total, self_, z| query::DiffNode { depth, frame: FrameId(frame), total, self_, z };
    let frames = [
        ("all", FrameKind::Root),
        ("web", FrameKind::Process),
        ("serve", FrameKind::User),
        ("read", FrameKind::Kernel),
    ];
    let diff = query::Diff {
        sides: [side(100, 60_000_000_000), side(200, 120_000_000_000)],
        nodes: vec![
            node(0, 0, [100, 200], [0, 0], 0.0),
            node(1, 1, [100, 200], [10, 0], 0.0),
            node(2, 2, [90, 100], [90, 100], -6.777_390),
            node(2, 3, [0, 100], [0, 100], 8.660_254),
        ],
        frames: frames.map(|(name, kind)| drawing::frame(name, kind)).into(),
        hidden_nodes: 0,
    };
    let ranges = [TimeRange { from: at(0), to: at(60) }, TimeRange { from: at(60), to: at(180) }];
    check("diff.json", &from_query::diff(ranges, query::By::Share, &diff));
}

/// A minute in two columns of three rows.
#[test]
fn heatmap() {
    let grid = query::Grid { range: TimeRange { from: at(0), to: at(60) }, columns: 2, rows: 3 };
    let map = query::HeatMap { measure: Measure::of([97]), cells: vec![1, 2, 3, 4, 5, 6], untimed: 7 };
    check("heatmap.json", &from_query::heat_map(grid, map));
}

/// Every kind of frame, with and without its optional fields.
#[test]
fn flamegraph() {
    let note = query::note_in(StackEnd::FramePointerLost, Some("/usr/lib/libpq.so.5")).expect("it is cut short");
    let mut tree = drawing::tree(&format!(
        "
postgres 0
  main 1
    ExecScan 40
      i:slot_getattr 10
    k:do_syscall_64 0
      k:vfs_read 25
    u:[libpq.so.5+0x1f2c] 9
    j:JS:~serve 6
sh 0
  n:{note} 0
    read_line 10
  r:[4 smaller] 5"
    ));
    for frame in &mut tree.frames {
        match frame.kind {
            FrameKind::User | FrameKind::Inlined => {
                frame.binary = Some("/usr/bin/postgres".into());
                frame.file = Some("src/exec.c".into());
                frame.line = Some(117);
            }
            FrameKind::Kernel => frame.binary = Some("[kernel]".into()),
            FrameKind::Unknown => {
                frame.binary = Some("/usr/lib/libpq.so.5".into());
                frame.reason = Some(Reason::Unnamed(Some(UnknownReason::NoSymbols)));
            }
            FrameKind::Note => frame.reason = Some(Reason::CutShort(StackEnd::FramePointerLost)),
            _ => {}
        }
    }
    tree.incomplete = 10;
    tree.hidden_nodes = 4;
    let kinds = [0, 0, 41, 25, 10, 9, 0, 0, 6];
    let around = Some(query::Around { total: 50, self_: 40 });
    let function = tree.frames.iter().find(|frame| &*frame.name == "ExecScan").cloned();
    let hottest = query::Hottest { process: "postgres".into(), total: 86, function, self_: 40 };
    let merged = query::Merged {
        tree,
        measure: Measure::of([97]),
        around,
        kinds,
        recorded_nanos: 60_000_000_000,
        own: query::Own { names: vec!["profiler".into()], total: 0 },
        hottest: Some(hottest),
    };
    let range = TimeRange { from: at(0), to: at(60) };
    check("flamegraph.json", &from_query::flame_graph(range, &merged, Some("/usr/bin/profiler")));
}

/// A row with everything, and one with nothing optional.
#[test]
fn top() {
    let full = Frame {
        name: "ExecScan".into(),
        kind: FrameKind::User,
        binary: Some("/usr/bin/postgres".into()),
        file: Some("src/exec.c".into()),
        line: Some(117),
        reason: None,
    };
    let rows = vec![
        query::TopRow { frame: full, self_: 40, total: 50 },
        query::TopRow { frame: drawing::frame("vfs_read", FrameKind::Kernel), self_: 25, total: 25 },
    ];
    let top = query::Top { total: 100, measure: Measure::of([97]), rows, hidden_rows: 7, unmatched_rows: 30 };
    check("top.json", &from_query::top(top));
}

/// A binary with everything, one without symbols, and memory without a file.
#[test]
fn binaries() {
    let found = |source, found: Option<&str>| FoundSource { source, found: found.map(Into::into) };
    let remedy = |command: &str| query::Remedy { command: Some(command.into()), note: None };
    let full = query::NamedBinary {
        path: "/usr/bin/postgres".into(),
        build_id: Some("6f1c0a".into()),
        program: None,
        samples_self: 40,
        frames: 120,
        named: 120,
        inlined_frames: 30,
        sources: vec![
            found(NameSource::Dwarf, Some("/usr/lib/debug/.build-id/6f/1c0a.debug")),
            found(NameSource::GnuDebugdata, None),
        ],
        reason: None,
        remedies: Vec::new(),
    };
    let stripped = query::NamedBinary {
        path: "/usr/lib/libpq.so.5".into(),
        build_id: None,
        named: 3,
        inlined_frames: 0,
        sources: vec![found(NameSource::Symtab, None)],
        reason: Some(Reason::Unnamed(Some(UnknownReason::NoSymbols))),
        remedies: vec![
            remedy("profiler run --debuginfod=https://debuginfod.debian.net"),
            remedy("apt install libpq5-dbgsym"),
        ],
        ..full.clone()
    };
    let jit = query::NamedBinary {
        path: "[anon]".into(),
        program: Some("/usr/bin/node".into()),
        sources: Vec::new(),
        remedies: vec![query::Remedy { note: Some("start the program so".into()), ..remedy("node --perf-basic-prof") }],
        ..stripped.clone()
    };
    let binaries = query::NamedBinaries {
        measure: Measure::of([97]),
        rows: vec![stripped, jit, full],
        hidden_rows: 2,
        frames: 400,
        named: 260,
        together: Some(remedy("apt install a-dbgsym b-dbgsym")),
    };
    check("binaries.json", &from_query::binaries(binaries));
}

/// Lines of a file that was read, of one that was not, and of a function that is in no sample.
#[test]
fn source() {
    let places = vec![query::Weight { at: 7, self_: 30, total: 40 }, query::Weight { at: 8, self_: 0, total: 2 }];
    let lines = query::Lines {
        file: Some("/build/db/exec.c".into()),
        binaries: Vec::new(),
        total: 41,
        measure: Measure::of([97]),
        places,
    };
    let line =
        |line, text: Option<&str>, self_, total| annotate::Line { line, text: text.map(str::to_owned), self_, total };
    let read = annotate::Source {
        found: Some("/src/db/exec.c".into()),
        reason: None,
        lines: vec![
            line(6, Some("    for (;;)"), 0, 0),
            line(7, Some("        slot = next(node);"), 30, 40),
            line(8, None, 0, 2),
        ],
    };
    check("source.json", &from_query::source("ExecScan".into(), &lines, read));
    let reason =
        Some("no folder is given for it: start the profiler with --source-map /build/db=FOLDER to see its text".into());
    let missing = annotate::Source { found: None, reason, lines: vec![line(7, None, 30, 40), line(8, None, 0, 2)] };
    check("source_missing.json", &from_query::source("ExecScan".into(), &lines, missing));
    let file = Some("/build/db/exec.c".into());
    let asked = query::FunctionIs { name: "ExecScan".into(), file, ..query::FunctionIs::default() };
    check("source_nowhere.json", &from_query::no_source(asked));
}

/// Instructions of a binary that was read, of one that was not, and of a function that is in no sample.
#[test]
fn disassembly() {
    let id = BuildId::new(&[0xab; 20]).expect("20 bytes");
    let key = BinaryKey::BuildId(BinaryKind::File, id);
    let binary = Binary { build_id: Some(id), ..Binary::new(BinaryKind::File, key, "/usr/bin/postgres") };
    let places =
        vec![query::Weight { at: 0x1130, self_: 30, total: 30 }, query::Weight { at: 0x1138, self_: 0, total: 10 }];
    let code = query::Code { binary: std::sync::Arc::new(binary), total: 40, measure: Measure::of([97]), places };
    let instruction = |address, bytes: &[u8], text: &str, self_, total| annotate::Instruction {
        address,
        bytes: bytes.to_vec(),
        hidden: if address == 0x2134 { 1..5 } else { 0..0 },
        text: text.into(),
        source: (address == 0x2130).then(|| SourceLine { file: "/build/db/exec.c".into(), line: Some(7) }),
        self_,
        total,
    };
    let read = annotate::Disassembly {
        reason: None,
        instructions: vec![
            instruction(0x2130, &[0x48, 0x89, 0xe5], "mov rbp, rsp", 30, 30),
            instruction(0x2134, &[0xe8, 0x07, 0, 0, 0], "call 0x2140 <slot_getattr>", 0, 10),
        ],
        hidden: 0,
    };
    check("disassembly.json", &from_query::disassembly("ExecScan".into(), &code, read));
    let missing = annotate::Disassembly {
        reason: Some("the file has changed since it was sampled: another build lies at its path".into()),
        instructions: vec![instruction(0x1130, &[], "", 30, 30), instruction(0x1138, &[], "", 0, 10)],
        hidden: 0,
    };
    check("disassembly_missing.json", &from_query::disassembly("ExecScan".into(), &code, missing));
    let asked = query::FunctionIs { name: "ExecScan".into(), ..query::FunctionIs::default() };
    check("disassembly_nowhere.json", &from_query::no_disassembly(asked));
}

/// Stacks cut short, samples without a name, ticks missed.
#[test]
fn quality() {
    let mut missed = MissedTicks::default();
    missed.add(MissCause::TimerLate, 4);
    let quality = query::Quality {
        measure: Measure::of([97]),
        total: 100,
        complete: 90,
        incomplete: vec![query::Incomplete {
            end: StackEnd::NoUnwindRows,
            binary: Some("/usr/lib/libpq.so.5".into()),
            comm: "postgres".into(),
            samples: 6,
            remedy: query::remedy(StackEnd::NoUnwindRows),
        }],
        hidden_rows: 2,
        kinds: [0, 1, 50, 25, 9, 15, 0, 0, 0],
        unnamed: vec![
            query::Unnamed {
                reason: Some(Reason::Unnamed(Some(UnknownReason::NoSymbols))),
                binary: Some("/usr/lib/libpq.so.5".into()),
                samples: 9,
            },
            query::Unnamed { reason: Some(Reason::Unnamed(None)), binary: None, samples: 2 },
        ],
        hidden_unnamed: 1,
        interpreters: vec![query::Interpreted {
            comm: "django".into(),
            runtime: query::Runtime::CPython,
            file: Some("/usr/bin/python3.11".into()),
            total: 40,
            named: 0,
            remedies: vec![query::Remedy {
                command: Some("py-spy record -o profile.svg --pid 4711".into()),
                note: Some("CPython before 3.12 tells no profiler its functions".into()),
            }],
        }],
        hidden_interpreters: 1,
        scripts: [44, 4],
        missed,
        missed_share: 0.004,
    };
    check("quality.json", &from_query::quality(quality));
}

/// Asked to name again.
#[test]
fn symbolizing() {
    check("symbolizing.json", &api::Symbolizing { started: true, unnamed: 12 });
}

/// The labels there are.
#[test]
fn labels() {
    check("labels.json", &api::Labels { labels: query::LABELS.map(str::to_owned).into() });
}

/// The empty value stands for "has none".
#[test]
fn label_values() {
    let values = vec![("web-1".to_owned(), 70), (String::new(), 30)];
    let found = query::LabelValues {
        measure: Measure::of([97]),
        values,
        hidden_values: 3,
        total: 120,
        ..query::LabelValues::default()
    };
    check("label_values.json", &from_query::label_values("container".into(), found));
}

fn status(recording: Option<api::Recording>, notices: Vec<String>) -> api::Status {
    let mut losses = Losses::default();
    losses.add(LossCause::RingFull, 5);
    let totals = query::Totals {
        taken: 10_000,
        stored: 9_995,
        losses,
        stacks: vec![(StackEnd::Complete, 9_000), (StackEnd::FramePointerLost, 995)],
        windows: 12,
        span: Some(TimeRange { from: at(-120), to: at(0) }),
    };
    api::Status {
        version: "0.1.0".into(),
        host: "db-1".into(),
        recording,
        totals: from_query::totals(&totals),
        database: api::Database {
            path: "/var/lib/profiler/profiler.db".into(),
            bytes: 1_048_576,
            windows: totals.windows,
            oldest_ms: totals.span.map(|span| span.from.as_millis()),
            newest_ms: totals.span.map(|span| span.to.as_millis()),
        },
        notices,
    }
}

/// While sampling.
#[test]
fn status_while_recording() {
    let live = LiveStatus {
        event: "cpu-clock",
        hz: 97,
        cpus: 2,
        since: at(-120),
        window: Duration::from_secs(10),
        stored_until: Some(at(0)),
        unwind: Some(UnwindCounts {
            files: 41,
            rows: 212_345,
            processes: 38,
            held_bytes: 1 << 20,
            budget_bytes: 256 << 20,
            ..UnwindCounts::default()
        }),
        ..LiveStatus::default()
    };
    let own = Cost { cpu: Duration::from_millis(1_234), rss_bytes: 48 << 20 };
    let children = Cost { cpu: Duration::from_millis(2_000), rss_bytes: 16 << 20 };
    let notice = "the database was damaged and set aside as profiler.db.damaged-1: send it to us, or delete it";
    check("status.json", &status(Some(from_query::recording(&live, own, children, at(4))), vec![notice.into()]));
}

/// While only a database is served.
#[test]
fn status_of_a_served_database() {
    check("status_serving.json", &status(None, Vec::new()));
}

/// An error.
#[test]
fn problem() {
    let failure = error::Failure::Query(query::QueryError::BadSelector("column 7: expected a quoted value".into()));
    check("problem.json", &failure.problem());
}

/// Well and not well.
#[test]
fn health() {
    check("health.json", &api::Health { status: "ok".into(), reason: None });
    let live = LiveStatus { since: at(0), window: Duration::from_secs(10), ..LiveStatus::default() };
    check("health_failing.json", &api::Health { status: "failing".into(), reason: live.failing(at(42)) });
}

/// The OpenAPI document: whatever changes in the interface shows here.
#[test]
fn openapi() {
    let document: Bytes = super::openapi();
    let document: serde_json::Value = serde_json::from_slice(&document).expect("the document is JSON");
    check("openapi.json", &document);
}
