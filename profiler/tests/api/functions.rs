//! Functions beside their samples: a program that cc makes, named by the real child, its code and source as the endpoints give them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use profiler::process::key_of;
use profiler::profile::{
    Binary, BinaryId, BinaryKey, BinaryKind, BootNanos, BuildId, CpuTicks, FileIdentity, Location, Losses, Owner,
    ProcessFacts, ProcessKey, ProcessWindow, SampleEvent, StackCount, StackEnd, StartTicks, WallNanos, Window,
};
use profiler::server::LoginMode;
use profiler::store::Store;
use profiler::symbolizer::{Mapped, NamesWorker, WorkerCommand};
use serde_json::Value;

use crate::client::{Server, noon};

/// `work` calls `step`, into which `small` is inlined.
const SOURCE: &str = "\
static volatile int sink;
static inline __attribute__((always_inline)) int small(int n) {
    return n * 7 / (sink + 3);
}
__attribute__((noinline)) int step(int n) {
    for (int i = 0; i < n; i++)
        sink += small(i);
    return sink;
}
__attribute__((noinline)) int work(int n) {
    sink = n;
    step(n + 1);
    return sink + 1;
}
int main(void) {
    return work(10) & 1;
}
";

fn worker() -> WorkerCommand {
    WorkerCommand { program: env!("CARGO_BIN_EXE_profiler").into(), ..WorkerCommand::default() }
}

fn run(folder: &Path, command: &str) -> String {
    let output = Command::new("sh").current_dir(folder).args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A program, and the instructions of its functions as objdump reads them: address and bytes.
struct Program {
    folder: tempfile::TempDir,
    path: PathBuf,
    /// What it is, as history has it; unknown for a file that was never opened.
    key: Option<BinaryKey>,
}

impl Program {
    fn build() -> Self {
        Self::compiled("-fdebug-prefix-map=$(pwd)=/build")
    }

    fn compiled(flags: &str) -> Self {
        // Not in `/tmp`, which may be mounted without set-user-id: then nobody's files there are believed to be their owner's.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/program.c"), SOURCE).unwrap();
        run(folder.path(), &format!("cc -g -O1 {flags} -Wl,--build-id -o program $(pwd)/src/program.c"));
        let path = folder.path().join("program");
        Self { folder, path, key: None }
    }

    fn objdump(&self, function: &str) -> Vec<(u64, String)> {
        let text = run(self.folder.path(), &format!("objdump -d --insn-width=16 --disassemble={function} program"));
        let lines = text.lines().filter_map(|line| {
            let mut fields = line.split('\t');
            let address = u64::from_str_radix(fields.next()?.trim().strip_suffix(':')?, 16).ok()?;
            Some((address, fields.next()?.split_whitespace().collect()))
        });
        lines.collect()
    }

    fn build_id(&self) -> BuildId {
        let text = run(self.folder.path(), "readelf -n program");
        let hex = text.split("Build ID: ").nth(1).unwrap().split_whitespace().next().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        BuildId::new(&bytes).unwrap()
    }

    /// A window in which the program was sampled, with addresses for offsets: a small program's text lies so.
    fn window(&self, stacks: &[(&[u64], u64)]) -> Window {
        let id = self.build_id();
        let key = self.key.clone().unwrap_or(BinaryKey::BuildId(BinaryKind::File, id));
        let path = self.path.display().to_string();
        let binary = Binary { build_id: Some(id), ..Binary::new(BinaryKind::File, key, path) };
        let stack = |(offsets, count): &(&[u64], u64)| StackCount {
            tid: 1,
            thread: "program".into(),
            stack: offsets.iter().map(|offset| Location { binary: BinaryId(0), offset: *offset }).collect(),
            end: StackEnd::Complete,
            count: *count,
            times: Vec::new(),
        };
        let facts = ProcessFacts {
            key: ProcessKey { pid: 7, start: StartTicks(1) },
            comm: "program".into(),
            exe: None,
            cgroup: "/".into(),
            container: None,
            unit: None,
        };
        let samples: u64 = stacks.iter().map(|(_, count)| count).sum();
        let end = noon().0 - 60_000_000_000;
        Window {
            host: Arc::default(),
            boot_id: "3f0e4d6a-0000-4000-8000-000000000000".into(),
            start: BootNanos(1_000_000_000_000),
            end: BootNanos(1_010_000_000_000),
            wall_start: WallNanos(end - 10_000_000_000),
            wall_end: WallNanos(end),
            event: SampleEvent::CpuClock,
            hz: 97,
            cpus: 1,
            ticks: CpuTicks { busy: samples, idle: 970 - samples, ..CpuTicks::default() },
            taken: samples,
            losses: Losses::default(),
            binaries: vec![(BinaryId(0), Arc::new(binary))],
            processes: vec![ProcessWindow { facts: Arc::new(facts), stacks: stacks.iter().map(stack).collect() }],
        }
    }

    /// A server over a history of these stacks, named by the real child.
    fn server(&self, stacks: &[(&[u64], u64)], maps: &[String]) -> Server {
        self.server_with(stacks, maps, LoginMode::default())
    }

    fn server_with(&self, stacks: &[(&[u64], u64)], maps: &[String], login: LoginMode) -> Server {
        Server::with(None, |options| {
            options.login.mode = login;
            let (mut store, _) = Store::open(&options.database).unwrap();
            let unnamed = store.write_window(&self.window(stacks)).unwrap();
            let file = File::open(&self.path).unwrap();
            let path = self.path.display().to_string();
            let mapped = Mapped { file: &file, path: &path, build_id: None, identity: None, root: None, debug: None };
            let offsets: Vec<u64> = unnamed.iter().map(|unnamed| unnamed.place.offset).collect();
            let deadline = Instant::now() + Duration::from_secs(60);
            let names = NamesWorker::new(worker()).of_file(&mapped, &offsets, Some(deadline)).unwrap();
            let names: Vec<_> = unnamed.iter().map(|unnamed| unnamed.location).zip(names).collect();
            store.write_names(&names).unwrap();
            options.worker = worker();
            options.source_roots = maps.iter().map(|map| map.parse().unwrap()).collect();
            options.query_deadline = Duration::from_secs(60);
        })
    }
}

fn call(instructions: &[(u64, String)]) -> u64 {
    instructions.iter().find(|(_, bytes)| bytes.starts_with("e8")).unwrap().0
}

/// By key: self and total.
fn weights(rows: &Value, key: &str) -> BTreeMap<u64, (u64, u64)> {
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap_or_else(|| hex(&row[key]));
    let rows = rows.as_array().unwrap().iter().filter(|row| number(row, "total") > 0);
    rows.map(|row| (number(row, key), (number(row, "self"), number(row, "total")))).collect()
}

fn hex(address: &Value) -> u64 {
    u64::from_str_radix(address.as_str().unwrap(), 16).unwrap()
}

/// Instructions, bytes and lines are those of binutils, samples are where they were taken, and calls say whom they call.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_function_is_disassembled_from_history() {
    let program = Program::build();
    let (main, work, step) = (program.objdump("main"), program.objdump("work"), program.objdump("step"));
    // Callers are sampled at the last byte of their call.
    let (from_main, from_work) = (call(&main) + 4, call(&work) + 4);
    let hot = step[step.len() / 2].0;
    let stacks: [(&[u64], u64); 3] =
        [(&[from_main, from_work, hot], 40), (&[from_main, work[0].0], 2), (&[from_main, from_work, step[0].0], 1)];
    let server = program.server(&stacks, &[]);
    for (function, expected, samples) in [
        ("work", &work, BTreeMap::from([(work[0].0, (2, 2)), (from_work - 4, (0, 41))])),
        ("step", &step, BTreeMap::from([(step[0].0, (1, 1)), (hot, (40, 40))])),
    ] {
        let answer = server.get(&format!("/api/v1/disassembly?function={function}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        assert_eq!((answer["available"].as_bool(), &answer["reason"]), (Some(true), &Value::Null), "{answer}");
        assert_eq!(answer["build_id"].as_str(), Some(program.build_id().to_string().as_str()));
        let rows = answer["instructions"].as_array().unwrap();
        let found: Vec<(u64, String)> =
            rows.iter().map(|row| (hex(&row["address"]), row["bytes"].as_str().unwrap().to_owned())).collect();
        assert_eq!(&found, expected, "{function}");
        assert_eq!(weights(&answer["instructions"], "address"), samples, "{function}");
        assert_eq!(answer["total"].as_u64(), Some(samples.values().map(|(_, total)| total).sum()), "{function}");
        for row in rows {
            let at = format!("addr2line -e program {:#x}", hex(&row["address"]));
            let line = format!("{}:{}", row["file"].as_str().unwrap(), row["line"]);
            assert_eq!(run(program.folder.path(), &at).split_whitespace().next().unwrap(), line);
        }
    }
    let work = server.get("/api/v1/disassembly?function=work").json();
    let texts: Vec<&str> =
        work["instructions"].as_array().unwrap().iter().map(|row| row["text"].as_str().unwrap()).collect();
    assert!(texts.iter().any(|text| text.starts_with("call 0x") && text.ends_with(" <step>")), "{texts:?}");
    assert_eq!(texts.last(), Some(&"ret"));
}

/// A function that was inlined is shown where it stands, with the samples that are its own.
#[test]
#[cfg(target_arch = "x86_64")]
fn an_inlined_function_is_shown_where_it_stands() {
    let program = Program::build();
    let step = program.objdump("step");
    let leaves: Vec<[u64; 1]> = step.iter().map(|(address, _)| [*address]).collect();
    let stacks: Vec<(&[u64], u64)> = leaves.iter().map(|leaf| (&leaf[..], 1)).collect();
    let server = program.server(&stacks, &[]);
    let [small, whole] =
        ["small", "step"].map(|name| server.get(&format!("/api/v1/disassembly?function={name}")).json());
    assert_eq!(whole["total"].as_u64(), Some(step.len() as u64));
    assert_eq!(small["instructions"].as_array().unwrap().len(), step.len());
    let own = weights(&small["instructions"], "address");
    assert_eq!(small["total"].as_u64(), Some(own.len() as u64));
    assert!(own.len() > 1 && own.len() < step.len(), "{own:?}");
}

/// A binary that has changed or gone is not disassembled; its samples are listed by their place in the file. What was never sampled is
/// answered too, with the reason.
#[test]
fn another_build_is_not_shown_as_the_one_that_was_sampled() {
    let program = Program::build();
    let server = program.server(&[(&[0x1130], 3)], &[]);
    for path in ["disassembly?function=nobody&binary=/bin/x", "source?function=nobody", "disassembly?function=nobody"] {
        let answer = server.get(&format!("/api/v1/{path}")).json();
        assert_eq!((answer["total"].as_u64(), answer["function"].as_str()), (Some(0), Some("nobody")));
        assert!(answer["reason"].as_str().unwrap().starts_with("no sample of this range"), "{answer}");
        assert_eq!(answer["binary"].as_str(), path.split_once("binary=").map(|(_, path)| path));
    }
    assert_eq!(server.get("/api/v1/source").problem(), "bad_parameter");
    let name = server.get("/api/v1/export/folded").body;
    let name = name.trim().rsplit_once(' ').unwrap().0.rsplit(';').next().unwrap().to_owned();
    let path = format!("/api/v1/disassembly?function={}", percent(&name));
    for change in ["cp /bin/true program", "rm program"] {
        run(program.folder.path(), change);
        let answer = server.get(&path).json();
        assert_eq!(answer["available"].as_bool(), Some(false), "{change}: {answer}");
        assert!(answer["reason"].as_str().unwrap().contains(if change.starts_with("cp") {
            "another build"
        } else {
            "not at its path"
        }));
        assert_eq!(weights(&answer["instructions"], "address"), BTreeMap::from([(0x1130, (3, 3))]));
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Samples lie on the lines of the source, with its text where a folder for it was given and without where not.
#[test]
#[cfg(target_arch = "x86_64")]
fn samples_lie_on_source_lines() {
    let program = Program::build();
    let (main, work) = (program.objdump("main"), program.objdump("work"));
    let (from_main, from_work) = (call(&main) + 4, call(&work) + 4);
    let step = program.objdump("step")[0].0;
    let stacks: [(&[u64], u64); 2] = [(&[from_main, from_work, step], 40), (&[from_main, work[0].0], 2)];
    let folder = program.folder.path().display().to_string();
    let server = program.server(&stacks, &[format!("/build={folder}")]);
    let answer = server.get("/api/v1/source?function=work").json();
    assert_eq!(answer["file"].as_str(), Some("/build/src/program.c"), "{answer}");
    assert_eq!(answer["found"].as_str(), Some(format!("{folder}/src/program.c").as_str()));
    assert_eq!(answer["total"].as_u64(), Some(42));
    let found = weights(&answer["lines"], "line");
    assert_eq!(found.get(&12), Some(&(0, 40)), "the line of the call: {answer}");
    assert_eq!(found.values().map(|(own, _)| own).sum::<u64>(), 2);
    let first = answer["first_line"].as_u64().unwrap();
    for (nth, row) in answer["lines"].as_array().unwrap().iter().enumerate() {
        let line = first as usize + nth;
        assert_eq!(row["line"].as_u64(), Some(line as u64));
        assert_eq!(row["text"].as_str(), SOURCE.lines().nth(line - 1));
    }
    let without = program.server(&stacks, &[]).get("/api/v1/source?function=work").json();
    assert!(without["reason"].as_str().unwrap().contains("--source-map /build/src=FOLDER"), "{without}");
    assert_eq!((weights(&without["lines"], "line"), &without["lines"][0]["text"]), (found, &Value::Null));
}

/// Root's binary shows its source where that lies at its path, without a word at the start, to who is logged in. Another user's binary
/// needs a folder, which the page can add; without logins neither is read.
#[test]
#[cfg(target_arch = "x86_64")]
fn source_at_its_path_needs_no_word_at_the_start() {
    let mut program = Program::compiled("");
    let work = program.objdump("work")[0].0;
    let stacks: [(&[u64], u64); 1] = [(&[work], 3)];
    let file = program.folder.path().join("src/program.c").display().to_string();
    // Root's where root runs this, else the viewer's own.
    let key = key_of(&File::open(&program.path).unwrap()).unwrap();
    program.key = Some(key.clone());
    let found = program.server(&stacks, &[]).get("/api/v1/source?function=work").json();
    assert_eq!((found["found"].as_str(), &found["reason"]), (Some(file.as_str()), &Value::Null), "{found}");
    let texts: Vec<_> = found["lines"].as_array().unwrap().iter().filter_map(|row| row["text"].as_str()).collect();
    assert!(texts.iter().any(|text| text.contains("step(n + 1);")), "{texts:?}");
    let open = program.server_with(&stacks, &[], LoginMode::Nobody);
    let folder = format!("source_map={}", percent(&program.folder.path().display().to_string()));
    for path in ["/api/v1/source?function=work".to_owned(), format!("/api/v1/source?function=work&{folder}")] {
        let answer = open.get(&path).json();
        assert!(answer["reason"].as_str().is_some_and(|why| why.contains("--source-map")), "{answer}");
    }
    let BinaryKey::File(id, identity) = key else { panic!("{key:?}") };
    program.key = Some(BinaryKey::File(id, FileIdentity { owner: Owner::User(4_000_000_000), ..identity }));
    let server = program.server(&stacks, &[]);
    let without = server.get("/api/v1/source?function=work").json();
    assert!(without["reason"].as_str().is_some_and(|why| why.contains("--source-map")), "{without}");
    let added = server.get(&format!("/api/v1/source?function=work&{folder}")).json();
    assert_eq!(added["found"].as_str(), Some(file.as_str()), "{added}");
    assert_eq!(server.get("/api/v1/source?function=work&source_map=src").problem(), "bad_parameter");
}
