//! Where the kernel lies stays here: no answer and no export tells an address of it.

use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use profiler::profile::{
    Binary, BinaryId, BinaryKey, BinaryKind, Location, StackCount, StackEnd, Symbol, Symbolized, UnknownReason,
};
use profiler::store::Store;

use crate::client::Server;
use crate::profiles::window;

/// In the text, one of them named; in a module; in the memory of generated code.
const ADDRESSES: [u64; 5] =
    [0xffff_ffff_8225_a9d6, 0xffff_ffff_8124_a695, 0xffff_ffff_8124_b701, 0xffff_ffff_c012_3456, 0xffff_8881_0234_5678];

/// A database with samples at these addresses, of this boot's kernel (where its text is known to whoever may know it) and of another's.
fn record(database: &Path) {
    let this = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let mut window = window();
    for (nth, boot) in (1_u32..).zip([this.trim(), "another"]) {
        let key = BinaryKey::Kernel { boot_id: boot.to_owned() };
        let kernel = Binary::new(BinaryKind::Kernel, key, "[kernel]");
        window.binaries.push((BinaryId(nth), Arc::new(kernel)));
        for address in ADDRESSES {
            let stack: Vec<_> =
                [0xffff_ffff_8225_a9d6, address].map(|offset| Location { binary: BinaryId(nth), offset }).into();
            let thread = "worker".into();
            let stack =
                StackCount { tid: 1, thread, stack: stack.into(), end: StackEnd::Complete, count: 1, times: vec![] };
            window.processes[0].stacks.push(stack);
            window.taken += 1;
            window.ticks.busy += 1;
        }
    }
    let (mut store, _) = Store::open(database).unwrap();
    let unnamed = store.write_window(&window).unwrap();
    let symbol = |name: &str| Symbolized::Named(vec![Symbol { name: name.into(), ..Symbol::default() }]);
    let answer = |offset: u64| match offset {
        0xffff_ffff_8225_a9d6 => Some(symbol("do_syscall_64")),
        0xffff_ffff_8124_a695 => Some(Symbolized::Unknown(UnknownReason::KernelHidden)),
        // One that waits for its name.
        0xffff_ffff_8124_b701 => None,
        offset if offset > 1 << 63 => Some(Symbolized::Unknown(UnknownReason::NotFound)),
        _ => Some(symbol("main")),
    };
    let names = unnamed.iter().filter_map(|unnamed| Some((unnamed.location, answer(unnamed.place.offset)?)));
    store.write_names(&names.collect::<Vec<_>>()).unwrap();
    store.close().unwrap();
}

/// Fails when a text has an address of the kernel in it, in hex or as a number.
fn check(text: &str, of: &str) {
    for address in ADDRESSES {
        for written in [format!("{address:x}"), address.to_string(), address.cast_signed().to_string()] {
            assert!(!text.to_lowercase().contains(&written), "{of}: {written} in {text}");
        }
    }
}

/// What a GET of this path needs, and something for what it can do without.
fn question(path: &str, operation: &serde_json::Value) -> String {
    let mut path = path.replace("{name}", "comm");
    let mut sign = '?';
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        let value = match name {
            "function" => "do_syscall_64",
            "limit" => "1000",
            "from" => "now-1h",
            _ => continue,
        };
        path += &format!("{sign}{name}={value}");
        sign = '&';
    }
    path
}

/// Every endpoint of the document, whatever is added to it, and every format of an export.
#[test]
fn nothing_tells_where_the_kernel_is() {
    let mut database = std::path::PathBuf::new();
    let server = Server::with(None, |options| {
        database.clone_from(&options.database);
        record(&database);
    });
    let document = server.get("/api/openapi.json").json();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        if item["get"].is_null() {
            continue;
        }
        let path = question(path, &item["get"]);
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        check(&answer.body, &path);
        asked += 1;
    }
    assert!(asked > 15, "{asked}");
    let tree = server.get("/api/v1/export/folded?from=now-1h").body;
    assert!(tree.contains("[kernel+0x..695]") && tree.contains("[kernel+0x..456]"), "{tree}");
    let code = server.get("/api/v1/disassembly?from=now-1h&function=do_syscall_64").json();
    assert_eq!(code["instructions"][0]["address"], "0", "{code}");

    let folder = database.parent().unwrap();
    let range = ["--from", "2026-11-01T11:00:00Z", "--to", "2026-11-01T12:00:00Z"];
    let run = |words: &[&str]| {
        let command =
            Command::new(env!("CARGO_BIN_EXE_profiler")).args(words).args(range).arg("--db").arg(&database).output();
        let output = command.unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        check(&String::from_utf8_lossy(&output.stdout), words[0]);
        check(&String::from_utf8_lossy(&output.stderr), words[0]);
    };
    for name in ["x.folded", "x.svg", "x.html", "x.pb.gz", "part.db"] {
        let file = folder.join(name);
        run(&["export", "-o", file.to_str().unwrap()]);
        let mut bytes = std::fs::read(&file).unwrap();
        if name.ends_with(".gz") {
            bytes.clear();
            flate2::read::GzDecoder::new(std::fs::File::open(&file).unwrap()).read_to_end(&mut bytes).unwrap();
        }
        check(&String::from_utf8_lossy(&bytes), name);
    }
    run(&["sql", "SELECT DISTINCT function FROM frames"]);
    run(&["names"]);

    // A part of a history is for somebody else: its places are as far from one another as they were, and no address.
    let part = rusqlite::Connection::open(folder.join("part.db")).unwrap();
    let mut places =
        part.prepare("SELECT offset FROM location JOIN binary ON binary.id = binary WHERE kind = 0").unwrap();
    let places: Vec<i64> = places.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(places.len(), 2 * ADDRESSES.len(), "different places stay different");
    assert!(places.iter().all(|place| *place >= 0 && !ADDRESSES.contains(&place.cast_unsigned())), "{places:x?}");
    let kept = "SELECT count(*) FROM meta WHERE key LIKE 'kernel-text%'";
    assert_eq!(part.query_row(kept, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}
