//! What the endpoints answer about a database with one drawn window in it.

use std::sync::Arc;

use profiler::profile::{
    Binary, BinaryId, BinaryKey, BinaryKind, BootNanos, CpuTicks, Location, LossCause, Losses, ProcessFacts,
    ProcessKey, ProcessWindow, SampleEvent, SourceLine, StackCount, StackEnd, StartTicks, Symbol, Symbolized,
    WallNanos, Window,
};
use profiler::store::Store;

use crate::client::{Server, noon};

/// A window of ten seconds that ended a minute before noon:
///
/// ```text
/// postgres (pid 100)   main 10 > exec 70 (2 of them cut short), 3 more lost
/// sh (pid 200)         main 20
/// ```
pub fn window() -> Window {
    let end = WallNanos(noon().0 - 60_000_000_000);
    let key = BinaryKey::Inode { path: "/bin/db".into(), dev: 1, inode: 2, mtime: 3, identity: None };
    let binary = Binary::new(BinaryKind::File, key, "/bin/db");
    let stack = |offsets: &[u64], end: StackEnd, count: u64| StackCount {
        tid: 1,
        thread: "worker".into(),
        stack: offsets.iter().map(|offset| Location { binary: BinaryId(0), offset: *offset }).collect(),
        end,
        count,
        times: Vec::new(),
    };
    let process = |pid: u32, comm: &str, stacks: Vec<StackCount>| ProcessWindow {
        facts: Arc::new(ProcessFacts {
            key: ProcessKey { pid, start: StartTicks(1) },
            comm: comm.into(),
            exe: Some("/bin/db".into()),
            cgroup: "/".into(),
            container: None,
            unit: None,
        }),
        stacks,
    };
    let mut losses = Losses::default();
    losses.add(LossCause::RingFull, 3);
    Window {
        host: Arc::default(),
        boot_id: "3f0e4d6a-0000-4000-8000-000000000000".into(),
        start: BootNanos(1_000_000_000_000),
        end: BootNanos(1_010_000_000_000),
        wall_start: WallNanos(end.0 - 10_000_000_000),
        wall_end: end,
        event: SampleEvent::CpuClock,
        hz: 97,
        cpus: 2,
        ticks: CpuTicks { busy: 103, idle: 97, ..CpuTicks::default() },
        taken: 103,
        losses,
        binaries: vec![(BinaryId(0), Arc::new(binary))],
        processes: vec![
            process(
                100,
                "postgres",
                vec![
                    stack(&[0x10], StackEnd::Complete, 10),
                    stack(&[0x10, 0x20], StackEnd::Complete, 68),
                    stack(&[0x10, 0x20], StackEnd::FramePointerLost, 2),
                ],
            ),
            process(200, "sh", vec![stack(&[0x10], StackEnd::Complete, 20)]),
        ],
    }
}

fn server() -> Server {
    Server::with(None, |options| {
        let (mut store, _) = Store::open(&options.database).unwrap();
        let unnamed = store.write_window(&window()).unwrap();
        let names = unnamed.iter().map(|unnamed| {
            let name = if unnamed.place.offset == 0x10 { "main" } else { "exec;\n<b>" };
            let source = Some(SourceLine { file: "db.c".into(), line: Some(7) });
            (
                unnamed.location,
                Symbolized::Named(vec![Symbol {
                    name: name.into(),
                    raw: None,
                    source,
                    declared: None,
                    inlined: false,
                }]),
            )
        });
        store.write_names(&names.collect::<Vec<_>>()).unwrap();
    })
}

/// Sum of the counts of folded lines.
fn folded_sum(text: &str) -> u64 {
    text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// Each total is its self and what lies below, exactly, and the root's is the number of samples.
#[test]
fn the_flame_graph_adds_up() {
    let answer = server().get("/api/v1/flamegraph");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    let graph = answer.json();
    assert_eq!(graph["samples"], 100);
    assert_eq!(graph["incomplete"], 2);
    assert_eq!(graph["to_ms"].as_i64().unwrap() - graph["from_ms"].as_i64().unwrap(), 3_600_000);
    let column = |name: &str| -> Vec<u64> {
        graph["nodes"][name].as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).collect()
    };
    let (depth, total, self_) = (column("depth"), column("total"), column("self"));
    assert_eq!((depth[0], total[0]), (0, 100));
    for node in 0..depth.len() {
        let below = (node + 1..depth.len()).take_while(|child| depth[*child] > depth[node]);
        let sum: u64 = below.filter(|child| depth[*child] == depth[node] + 1).map(|child| total[child]).sum();
        assert_eq!(total[node], self_[node] + sum, "node {node} of {graph}");
    }
    let strings: Vec<&str> = graph["strings"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for name in ["postgres", "sh", "main", "exec;\n<b>", "/bin/db", "db.c"] {
        assert!(strings.contains(&name), "{name:?} in {strings:?}");
    }
}

/// The filter and the range choose; an empty range is an empty answer.
#[test]
fn filter_and_range_choose_what_is_counted() {
    let server = server();
    let samples = |query: &str| server.get(&format!("/api/v1/flamegraph?{query}")).json()["samples"].clone();
    assert_eq!(samples("filter=%7Bcomm%3D%22sh%22%7D"), 20);
    assert_eq!(samples("filter=comm=~%22post.*%22"), 80);
    assert_eq!(samples("from=now-2m&to=now"), 100);
    assert_eq!(samples("from=now-30s"), 0);
    assert_eq!(samples("from=2026-11-01T11:58:00Z&to=2026-11-01T12:00:00Z"), 100);
}

/// Selectors that do not parse are said to, with the place.
#[test]
fn bad_selectors_are_named() {
    let server = server();
    for (filter, code) in
        [("%7Bcomm", "bad_selector"), ("comm=~%22(%22", "bad_selector"), ("colour=%22red%22", "unknown_label")]
    {
        let answer = server.get(&format!("/api/v1/top?filter={filter}"));
        assert_eq!((answer.status, answer.problem().as_str()), (400, code), "{filter}: {answer:?}");
    }
}

/// The export holds the same samples as the graph, one line a stack, whatever the names.
#[test]
fn folded_lines_hold_every_sample() {
    let server = server();
    let answer = server.get("/api/v1/export/folded");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{answer:?}");
    let name = "attachment; filename=\"profile-20261101T110000Z-20261101T120000Z.folded\"";
    assert_eq!(answer.header("content-disposition"), Some(name));
    assert_eq!(folded_sum(&answer.body), 100, "{}", answer.body);
    assert!(answer.body.contains("exec: <b> 68\n"), "{}", answer.body);
    assert!(answer.body.contains("sh;main 20\n"), "{}", answer.body);
    let one = server.get("/api/v1/export/folded?filter=comm=%22sh%22");
    assert_eq!(one.body, "sh;main 20\n");
}

/// The picture is a file to save, with names as text.
#[test]
fn the_svg_is_a_file_with_names_as_text() {
    let answer = server().get("/api/v1/export/svg");
    assert_eq!(answer.header("content-type"), Some("image/svg+xml"), "{answer:?}");
    assert!(answer.header("content-disposition").unwrap().ends_with(".svg\""));
    assert!(answer.body.contains("exec: &lt;b&gt;") && !answer.body.contains("<b>"));
}

/// A page and a profile are files to save, under the range's name; names cannot end the page's script.
#[test]
fn a_page_and_a_pprof_are_files() {
    let server = server();
    let page = server.get("/api/v1/export/html");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{page:?}");
    assert!(page.header("content-disposition").unwrap().ends_with(".html\""));
    assert!(page.body.contains("\\u003cb>") && !page.body.contains("<b>"), "{}", page.body);
    let pprof = server.ask("HEAD", "/api/v1/export/pprof", "");
    assert_eq!(pprof.status, 200, "{pprof:?}");
    assert_eq!(pprof.header("content-type"), Some("application/vnd.google.protobuf+gzip"));
    assert!(pprof.header("content-disposition").unwrap().ends_with(".pb.gz\""));
}

/// Grouped by a label the graph has the same samples, a level deeper; what is spent below a node keeps every total.
#[test]
fn a_graph_can_be_grouped_and_spent_below_a_node() {
    let server = server();
    let plain = server.get("/api/v1/flamegraph").json();
    let grouped = server.get("/api/v1/flamegraph?group=unit").json();
    assert_eq!(column(&grouped, "total")[..2], [column(&plain, "total")[0]; 2], "all of it has no unit: {grouped}");
    assert!(grouped["strings"].as_array().unwrap().contains(&"[no unit]".into()));
    let deepest = |graph: &serde_json::Value| column(graph, "depth").into_iter().max();
    assert_eq!(deepest(&grouped), deepest(&plain).map(|depth| depth + 1));
    // Of no node: spent on everything.
    assert_eq!(server.get("/api/v1/flamegraph?below=3-00000000000000").json()["nodes"], plain["nodes"]);
}

/// Spent on a function a graph has every total that it has anyway, and the function's samples however few nodes there may be. A text that
/// names none is refused, and so are two ways to spend one limit.
#[test]
fn a_graph_can_be_spent_on_a_function() {
    let server = server();
    let top = server.get("/api/v1/top?limit=1&sort=total").json();
    let row = &top["rows"][0];
    let [binary, file] = ["binary", "file"].map(|path| row[path].as_str().unwrap_or_default().to_owned());
    let text = format!("{}%7C{binary}%7C{file}%7C{}", row["kind"], row["name"].as_str().unwrap());
    let plain = server.get("/api/v1/flamegraph").json();
    for limit in [2, 3, 1000] {
        let around = server.get(&format!("/api/v1/flamegraph?limit={limit}&around={text}")).json();
        assert_eq!([&around["around"]["total"], &around["around"]["self"]], [&row["total"], &row["self"]], "{around}");
        assert_eq!(around["samples"], plain["samples"]);
    }
    assert_eq!(server.get(&format!("/api/v1/flamegraph?around={text}")).json()["nodes"], plain["nodes"]);
    assert_eq!(plain["around"], serde_json::Value::Null);
    for query in ["around=main", "around=2%7C%7C%7Cx&below=3-00000000000000", "around=2%7C%7C%7Cx&mode=bottomup"] {
        let answer = server.get(&format!("/api/v1/flamegraph?{query}"));
        assert_eq!((answer.status, answer.problem().as_str()), (400, "bad_parameter"), "{query}: {answer:?}");
    }
}

/// The numbers of a column.
fn column(graph: &serde_json::Value, name: &str) -> Vec<u64> {
    graph["nodes"][name].as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).collect()
}

/// From its leaves the graph has the same samples; of a function, those with it on their stacks; words that are no mode are named.
#[test]
fn a_graph_can_be_seen_from_elsewhere() {
    let server = server();
    let ask = |query: &str| server.get(&format!("/api/v1/flamegraph?{query}")).json();
    let name = |graph: &serde_json::Value, node: usize| {
        let frame = column(graph, "frame")[node] as usize;
        graph["strings"][graph["frames"]["name"][frame].as_u64().unwrap() as usize].clone()
    };
    let leaves = ask("mode=bottomup");
    assert_eq!((leaves["samples"].as_u64(), column(&leaves, "total")[..2].to_vec()), (Some(100), vec![100, 70]));
    assert_eq!(name(&leaves, 1), "exec;\n<b>");
    let callers = ask("mode=callers&focus=main");
    assert_eq!((callers["samples"].as_u64(), name(&callers, 1)), (Some(100), "main".into()));
    let callees = ask("mode=callees&focus=exec%3B%0A%3Cb%3E");
    assert_eq!((callees["samples"].as_u64(), column(&callees, "depth")), (Some(70), vec![0, 1]));
    assert_eq!(ask("mode=callees&focus=nobody")["samples"], 0);
    for query in ["mode=sideways", "mode=callers", "focus=main", "mode=bottomup&focus=main"] {
        let answer = server.get(&format!("/api/v1/flamegraph?{query}"));
        assert_eq!((answer.status, answer.problem().as_str()), (400, "bad_parameter"), "{query}: {answer:?}");
    }
}

/// A diff has both sides' samples in every node, and says how sure a difference is.
#[test]
fn a_diff_compares_two_questions() {
    let server = server();
    let diff = server.get("/api/v1/diff?base_filter=comm=%22postgres%22").json();
    assert_eq!(
        (&diff["before"]["samples"], &diff["after"]["samples"], &diff["by"]),
        (&80.into(), &100.into(), &"share".into())
    );
    assert_eq!((column(&diff, "total_before")[0], column(&diff, "total_after")[0]), (80, 100));
    assert!(diff["nodes"]["z"].as_array().unwrap().iter().any(|z| z.as_f64().unwrap() > 2.0), "{diff}");
    let same = server.get("/api/v1/diff?by=time").json();
    assert!(same["nodes"]["z"].as_array().unwrap().iter().all(|z| z.as_f64() == Some(0.0)), "{same}");
    assert_eq!(server.get("/api/v1/diff?by=luck").problem(), "bad_parameter");
}

/// Without times a heat map is empty and says so; a grid that no screen has is refused.
#[test]
fn a_heat_map_counts_what_it_cannot_place() {
    let server = server();
    let map = server.get("/api/v1/heatmap?columns=6&rows=2").json();
    assert_eq!((map["samples"].as_array().unwrap().len(), &map["untimed"]), (12, &100.into()), "{map}");
    assert_eq!(map["column_nanos"], 600_000_000_000_u64);
    assert_eq!(server.get("/api/v1/heatmap?columns=100000&rows=100").problem(), "bad_parameter");
    assert_eq!(server.get("/api/v1/heatmap?rows=0").problem(), "bad_parameter");
    let graph = server.get("/api/v1/heatmap/flamegraph?columns=6&rows=2&column_from=1&column_to=3").json();
    assert_eq!(graph["samples"], 0);
}

/// A timeline by a label has a series for each of its values.
#[test]
fn a_timeline_can_be_grouped() {
    let timeline = server().get("/api/v1/timeline?from=now-5m&by=comm&series=1").json();
    let groups = &timeline["groups"];
    assert_eq!(
        (&groups["values"], &groups["hidden_values"]),
        (&serde_json::json!(["postgres"]), &1.into()),
        "{timeline}"
    );
    let sum = |column: &serde_json::Value| column.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum(&groups["samples"][0]), sum(&groups["others"])), (80, 20));
    assert_eq!(server().get("/api/v1/timeline?by=colour").problem(), "unknown_label");
}

/// Functions by self; the window in its bucket, with what was lost.
#[test]
fn top_and_timeline_count_the_same_samples() {
    let server = server();
    let top = server.get("/api/v1/top").json();
    assert_eq!((&top["samples"], &top["rows"][0]["self"]), (&100.into(), &70.into()), "{top}");
    // Of more functions than there is room for, those with the most of what is wanted.
    let most = |column: &str| top["rows"].as_array().unwrap().iter().map(|row| row[column].as_u64()).max().unwrap();
    for column in ["self", "total"] {
        let first = server.get(&format!("/api/v1/top?limit=1&sort={column}")).json();
        assert_eq!(first["rows"][0][column].as_u64(), most(column), "{column}: {first}");
    }
    assert!(most("total") > most("self"), "{top}");
    // Searched and put in order before the limit: what a short list leaves out is found, and counted.
    let least = server.get("/api/v1/top?limit=1&order=asc").json();
    assert_eq!((&least["rows"][0]["self"], &least["hidden_rows"]), (&30.into(), &1.into()), "{least}");
    let found = server.get("/api/v1/top?limit=1&search=main").json();
    assert_eq!((&found["unmatched_rows"], &found["hidden_rows"]), (&1.into(), &0.into()), "{found}");
    assert_eq!(server.get("/api/v1/top?search=/(/").problem(), "bad_parameter");
    assert_eq!(server.get("/api/v1/top?order=up").problem(), "bad_parameter");
    let timeline = server.get("/api/v1/timeline?from=now-5m").json();
    let sum = |name: &str| -> u64 {
        timeline["buckets"][name].as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).sum()
    };
    assert_eq!((sum("samples"), sum("lost"), sum("incomplete")), (100, 3, 2), "{timeline}");
}

/// Whole stacks and the others, by cause and file, add up; each cause that has one comes with its remedy.
#[test]
fn quality_accounts_for_every_sample() {
    let server = server();
    let quality = server.get("/api/v1/quality").json();
    let rows = quality["incomplete"].as_array().unwrap();
    let incomplete: u64 = rows.iter().map(|row| row["samples"].as_u64().unwrap()).sum();
    assert_eq!((&quality["samples"], quality["complete"].as_u64()), (&100.into(), Some(100 - incomplete)), "{quality}");
    assert_eq!(incomplete, 2, "{quality}");
    assert!(rows.iter().all(|row| row["cause"].is_string() && row["comm"].is_string()), "{quality}");
    let sum = |rows: &serde_json::Value| -> u64 {
        rows.as_array().unwrap().iter().map(|row| row["samples"].as_u64().or(row.as_u64()).unwrap()).sum()
    };
    assert_eq!(
        (sum(&quality["kinds"]), sum(&quality["unnamed"])),
        (100, quality["kinds"][5].as_u64().unwrap()),
        "{quality}"
    );
    let graph = server.get("/api/v1/flamegraph?limit=2").json();
    assert_eq!(graph["kinds"], quality["kinds"], "a cut tree counts as the whole");
}

/// Values with their samples, busiest first; a label without values in any process has the empty one.
#[test]
fn label_values_are_counted() {
    let server = server();
    let comm = server.get("/api/v1/labels/comm/values").json();
    let expected = serde_json::json!([
        {"value": "postgres", "name": null, "samples": 80},
        {"value": "sh", "name": null, "samples": 20}
    ]);
    assert_eq!(comm["values"], expected);
    let container = server.get("/api/v1/labels/container/values").json();
    assert_eq!(container["values"], serde_json::json!([{"value": "", "name": null, "samples": 100}]));
    let one = server.get("/api/v1/labels/comm/values?limit=1").json();
    let counts = (one["values"].as_array().unwrap().len(), &one["hidden_values"], &one["samples"]);
    assert_eq!(counts, (1, &1.into(), &100.into()), "{one}");
    // A box of a heat map: none of these samples has a time.
    let boxed = server.get("/api/v1/labels/comm/values?columns=10&column_to=3").json();
    assert_eq!((&boxed["values"], &boxed["samples"]), (&serde_json::json!([]), &0.into()), "{boxed}");
}

/// taken = stored + lost, and the database is described.
#[test]
fn the_status_balances() {
    let status = server().get("/api/v1/status").json();
    let totals = &status["totals"];
    let lost: u64 = totals["lost"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!((totals["taken"].as_u64(), totals["stored"].as_u64(), lost), (Some(103), Some(100), 3), "{status}");
    assert_eq!(totals["stacks"], serde_json::json!({"complete": 98, "frame_pointer_lost": 2}));
    assert_eq!(status["recording"], serde_json::Value::Null);
    assert_eq!(status["database"]["windows"], 1);
    assert!(status["database"]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(status["database"]["newest_ms"], noon().as_millis() - 60_000);
}

/// Names are shown as asked: whole, without what is in brackets, or the linker's; a function is found by what is shown.
#[test]
fn names_are_shown_as_asked() {
    let server = Server::with(None, |options| {
        let (mut store, _) = Store::open(&options.database).unwrap();
        let unnamed = store.write_window(&window()).unwrap();
        let function = |name: &str, raw: &str| {
            Symbolized::Named(vec![Symbol { name: name.into(), raw: Some(raw.into()), ..Symbol::default() }])
        };
        let names = unnamed.iter().map(|unnamed| match unnamed.place.offset {
            0x10 => (unnamed.location, function("void run<int>(int)", "_Z3runIiEvT_")),
            _ => (unnamed.location, function("a::b(char)", "_ZN1a1bEc")),
        });
        store.write_names(&names.collect::<Vec<_>>()).unwrap();
    });
    let names = |demangle: &str| {
        let top = server.get(&format!("/api/v1/top{demangle}")).json();
        let rows = top["rows"].as_array().unwrap();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["a::b(char)", "void run<int>(int)"]);
    assert_eq!(names("?demangle=none"), ["_ZN1a1bEc", "_Z3runIiEvT_"]);
    assert_eq!(names("?demangle=simple"), ["a::b", "run"]);
    assert_eq!(names("?demangle=full"), names(""));
    let callers = |focus: &str| {
        let path = format!("/api/v1/flamegraph?mode=callers&focus={focus}&demangle=simple");
        server.get(&path).json()["samples"].as_u64().unwrap()
    };
    assert_eq!((callers("a::b"), callers("_ZN1a1bEc")), (70, 0));
    assert_eq!(server.get("/api/v1/top?demangle=some").status, 400);
}
