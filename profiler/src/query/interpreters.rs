//! Processes whose samples are a runtime's: an interpreter's evaluation loop, or code that it compiled, without a function of the script.
//!
//! A process is one of a runtime if frames of its stacks are ([`Runtime`]). Of its samples those count that a function of the script
//! could stand in: with a frame of the evaluation loop, with a nameless frame in the interpreter's own file, or with code in memory
//! without a file. The runtime's other work (collecting garbage, compiling) has no function of the script to name.

use std::collections::HashMap;
use std::sync::Arc;

use super::grow::frame_of;
use super::heat_map::Within;
use super::labels::each_group;
use super::name_remedy::{Remedy, script_remedies};
use super::runtime::Runtime;
use super::tree::{Labels, Shown, Tree};
use super::{QueryError, Selector};
use crate::profile::{Frame, FrameKind};
use crate::store::{RowMap, Snapshot};

/// Most processes that a remedy names.
const MOST_PIDS: usize = 3;

/// Processes of one name and one runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreted {
    /// Name of the processes.
    pub comm: Arc<str>,
    /// What runs their scripts.
    pub runtime: Runtime,
    /// Path of a file of the runtime's, whose name has the version most of the time; `None` where only memory was sampled.
    pub file: Option<Arc<str>>,
    /// Samples that a function of the script could stand in.
    pub total: u64,
    /// Those in which one does.
    pub named: u64,
    /// What gives the others one, the best first.
    pub remedies: Vec<Remedy>,
}

/// What is known of the processes of one name.
#[derive(Default)]
struct Sum {
    /// Samples below frames of each runtime, and one of its files.
    runtimes: HashMap<Runtime, (u64, Option<Arc<str>>)>,
}

/// What of a runtime is on a node's stack, from the process down.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Whether a frame of an evaluation loop, or a nameless one of the runtime's file or of memory, is on it.
    interpreted: bool,
    /// Whether a function of the script is.
    named: bool,
}

/// By falling samples without a function of the script.
pub(super) fn interpreters(
    snapshot: &mut Snapshot<'_>,
    labels: &Labels,
    tree: &Tree<1>,
    totals: &[[u64; 1]],
    within: Within,
    selector: &Selector,
) -> Result<Vec<Interpreted>, QueryError> {
    let kinds = kinds(snapshot, labels, tree);
    // First whose runtime it is: memory without a file does not say it.
    let mut processes: HashMap<Shown, Sum> = HashMap::new();
    let mut process_of = vec![0_u32; tree.len()];
    for at in 1..tree.len() {
        let parent = tree.parents[at] as usize;
        process_of[at] = if parent == 0 { at as u32 } else { process_of[parent] };
        let Some(Known::Runtime(runtime, _)) = kinds.get(&tree.shown[at]) else { continue };
        let sum = processes.entry(tree.shown[process_of[at] as usize]).or_default();
        let (samples, file) = sum.runtimes.entry(*runtime).or_default();
        *samples = samples.saturating_add(totals[at][0]);
        if file.is_none() {
            file.clone_from(&frame_of(snapshot, labels, tree.shown[at]).binary);
        }
    }
    let runtime_of: HashMap<Shown, (Runtime, Option<Arc<str>>)> = processes
        .into_iter()
        .filter_map(|(process, sum)| {
            let (runtime, (_, file)) = sum
                .runtimes
                .into_iter()
                .max_by_key(|(runtime, (samples, _))| (*samples, std::cmp::Reverse(*runtime)))?;
            Some((process, (runtime, file)))
        })
        .collect();
    if runtime_of.is_empty() {
        return Ok(Vec::new());
    }
    let mut seen = vec![Seen::default(); tree.len()];
    let mut sums: HashMap<Shown, [u64; 2]> = HashMap::new();
    for at in 1..tree.len() {
        let above = seen[tree.parents[at] as usize];
        let process = tree.shown[process_of[at] as usize];
        let Some((runtime, _)) = runtime_of.get(&process) else { continue };
        let mut here = above;
        match kinds.get(&tree.shown[at]) {
            Some(Known::Runtime(_, true) | Known::Memory(None)) => here.interpreted = true,
            Some(Known::Memory(Some(name))) => {
                here.interpreted = true;
                here.named |= runtime.is_script(name);
            }
            _ => {}
        }
        seen[at] = here;
        let samples = tree.selves[at][0];
        if here.interpreted && samples > 0 {
            let [total, named] = sums.entry(process).or_default();
            *total = total.saturating_add(samples);
            *named = named.saturating_add(if here.named { samples } else { 0 });
        }
    }
    let pids = pids(snapshot, within, selector)?;
    let mut found: Vec<Interpreted> = sums
        .into_iter()
        .filter_map(|(process, [total, named])| {
            let (runtime, file) = runtime_of.get(&process)?.clone();
            let comm = Arc::clone(&frame_of(snapshot, labels, process).name);
            let pids = pids.get(&comm).map_or(&[][..], Vec::as_slice);
            let remedies = if named < total { script_remedies(runtime, file.as_deref(), pids) } else { Vec::new() };
            Some(Interpreted { comm, runtime, file, total, named, remedies })
        })
        .collect();
    found.sort_by(|a, b| (b.total - b.named, &a.comm).cmp(&(a.total - a.named, &b.comm)));
    Ok(found)
}

/// What a frame says of runtimes.
enum Known {
    /// It is of one; whether a function of the script could stand there.
    Runtime(Runtime, bool),
    /// It is code in memory without a file, with its name.
    Memory(Option<Arc<str>>),
}

/// What the frames of a tree say; nothing of most.
fn kinds(snapshot: &Snapshot<'_>, labels: &Labels, tree: &Tree<1>) -> HashMap<Shown, Known> {
    let mut known = HashMap::new();
    let mut asked: std::collections::HashSet<Shown> = std::collections::HashSet::new();
    for shown in &tree.shown {
        if shown.get().is_err() || !asked.insert(*shown) {
            continue;
        }
        if let Some(kind) = kind(frame_of(snapshot, labels, *shown)) {
            known.insert(*shown, kind);
        }
    }
    known
}

fn kind(frame: &Frame) -> Option<Known> {
    let path = frame.binary.as_deref();
    match frame.kind {
        FrameKind::Jit => Some(Known::Memory(Some(Arc::clone(&frame.name)))),
        FrameKind::Unknown if path.is_some_and(|path| path.starts_with("[anon]")) => Some(Known::Memory(None)),
        FrameKind::User | FrameKind::Inlined | FrameKind::Unknown => {
            let of_loop = Runtime::of_loop(&frame.name, path).map(|runtime| Known::Runtime(runtime, true));
            // Without symbols its file is all there is to go by; what these three run is in memory.
            let in_file = |runtime| !matches!(runtime, Runtime::HotSpot | Runtime::Beam | Runtime::DotNet);
            let nameless = frame.kind == FrameKind::Unknown;
            let of_file = || path.and_then(Runtime::of_file);
            of_loop.or_else(|| of_file().map(|runtime| Known::Runtime(runtime, nameless && in_file(runtime))))
        }
        _ => None,
    }
}

/// The processes of each name with the most samples.
fn pids(
    snapshot: &mut Snapshot<'_>,
    within: Within,
    selector: &Selector,
) -> Result<HashMap<Arc<str>, Vec<u32>>, QueryError> {
    let mut sums = RowMap::<(u32, u32), u64>::default();
    each_group(snapshot, within, selector, |snapshot, group, samples| {
        let process = snapshot.process(group.key.process)?;
        let sum = sums.entry((process.comm, process.pid)).or_default();
        *sum = sum.saturating_add(samples);
        Ok(())
    })?;
    let mut order: Vec<_> = sums.into_iter().collect();
    order.sort_unstable_by(|((_, a), n), ((_, b), m)| m.cmp(n).then_with(|| a.cmp(b)));
    let mut pids: HashMap<Arc<str>, Vec<u32>> = HashMap::new();
    for ((comm, pid), _) in order {
        let of_comm = pids.entry(snapshot.text(comm)?).or_default();
        if of_comm.len() < MOST_PIDS {
            of_comm.push(pid);
        }
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::{
        Binary, BinaryId, BinaryKey, BinaryKind, Location, StackEnd, StartTicks, Symbol, Symbolized, TimeRange,
        UnknownReason, WallNanos, Window,
    };
    use crate::query::{Quality, quality};
    use crate::store::drawing::{drawn_name, window};
    use crate::store::{Reader, Store};

    const JIT: BinaryId = BinaryId(2);

    /// A window in which functions that begin with `j` are in memory that process 7 wrote; the others are of `file`.
    fn drawn(file: &str, drawing: &str) -> Window {
        let mut window = window(0, drawing);
        let app = Arc::clone(&window.binaries[1].1);
        window.binaries[1].1 = Arc::new(Binary { path: file.into(), ..app.without_files() });
        let start = window.processes[0].facts.key.start;
        let key = BinaryKey::Jit { boot_id: "boot".into(), pid: 7, start, inside: 7, user: 0 };
        window.binaries.push((JIT, Arc::new(Binary::new(BinaryKind::Anonymous, key, "[anon]"))));
        for stack in window.processes.iter_mut().flat_map(|of| &mut of.stacks) {
            let in_memory = |location: &Location| location.offset.to_be_bytes()[0] == b'j';
            let place = |location: &Location| {
                if in_memory(location) { Location { binary: JIT, ..*location } } else { *location }
            };
            stack.stack = stack.stack.iter().map(place).collect();
        }
        window
    }

    /// The quality of a window whose functions have these names; those with none have no name.
    fn asked(window: &Window, names: &[(&str, &str)]) -> Quality {
        asked_for(window, names, 10)
    }

    fn asked_for(window: &Window, names: &[(&str, &str)], max_rows: usize) -> Quality {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        let unnamed = store.write_window(window).unwrap();
        let name = |drawn: &str| match names.iter().find(|(short, _)| *short == drawn) {
            Some((_, "")) => Symbolized::Unknown(UnknownReason::NoSymbols),
            found => {
                let name = found.map_or(drawn, |(_, name)| *name).into();
                Symbolized::Named(vec![Symbol { name, raw: None, source: None, declared: None, inlined: false }])
            }
        };
        let names: Vec<_> = unnamed.iter().map(|at| (at.location, name(&drawn_name(at.place)))).collect();
        store.write_names(&names).unwrap();
        let range = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
        quality(&mut Reader::open(&path).unwrap(), range.into(), &Selector::default(), max_rows).unwrap()
    }

    /// An interpreter is known by its evaluation loop: what it calls is a function of the script's, unnamed, unless a trampoline names
    /// it; what the runtime does besides is not. Other programs have no note.
    #[test]
    fn an_interpreter_is_known_by_its_loop() {
        let window = drawn(
            "/opt/app/embedded.so",
            "py/7  main;eval;list x30\npy/7  main;eval;jserve;eval x10\npy/7  main;gc x5\napp/8  main;work x50",
        );
        let names = [("eval", "_PyEval_EvalFrameDefault"), ("jserve", "py::serve:/app/x.py")];
        let found = asked(&window, &names).interpreters;
        let rows: Vec<_> = found.iter().map(|row| (&*row.comm, row.runtime, row.total, row.named)).collect();
        assert_eq!(rows, [("py", Runtime::CPython, 40, 10)]);
        assert!(found[0].remedies[0].command.as_deref().is_some_and(|command| command.contains("python3")));
    }

    /// Without symbols its file says it, and its pid stands in the command.
    #[test]
    fn a_stripped_interpreter_is_known_by_its_file() {
        let window = drawn("/usr/bin/php8.2", "php/7  main;loop x30\nphp/9  main;loop x3");
        let found = asked(&window, &[("main", ""), ("loop", "")]).interpreters;
        let rows: Vec<_> = found.iter().map(|row| (row.runtime, row.total, row.named)).collect();
        assert_eq!(rows, [(Runtime::Php, 33, 0)]);
        assert_eq!(found[0].remedies[0].command.as_deref(), Some("phpspy -p 7"));
        let none = asked_for(&window, &[("main", ""), ("loop", "")], 0);
        assert_eq!((none.interpreters.len(), none.hidden_interpreters, none.scripts), (0, 1, [33, 0]), "of all rows");
    }

    /// A compiler's code is in memory: nameless code counts, its stubs are no functions of the user's, its garbage collector is neither.
    #[test]
    fn compiled_code_counts_by_its_names() {
        let window = drawn(
            "/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so",
            "java/7  call;j1;jUser x4\njava/7  call;jInt x3\njava/7  call;j1 x2\njava/7  gc x9",
        );
        let names =
            [("call", "JavaCalls::call_helper"), ("j1", ""), ("jUser", "app.Server::run"), ("jInt", "Interpreter")];
        let found = asked(&window, &names).interpreters;
        let rows: Vec<_> = found.iter().map(|row| (row.runtime, row.total, row.named)).collect();
        assert_eq!(rows, [(Runtime::HotSpot, 9, 4)]);
        assert!(found[0].remedies[0].command.as_deref().is_some_and(|command| command.starts_with("jcmd 7 ")));
    }

    /// A stack that ends in code of a runtime says what that runtime needs, not what another does.
    #[test]
    fn a_cut_stack_names_the_help_of_its_runtime() {
        let of = |exe: &str| {
            let mut window = drawn("/opt/lib.so", "prog/7  !jrun x5");
            for process in &mut window.processes {
                let mut facts = (*process.facts).clone();
                facts.exe = Some(exe.into());
                assert_ne!(facts.key.start, StartTicks(0));
                process.facts = Arc::new(facts);
                process.stacks.iter_mut().for_each(|stack| stack.end = StackEnd::JitFramePointerLost);
            }
            asked(&window, &[("jrun", "")]).incomplete[0].remedy.unwrap()
        };
        assert!(of("/usr/lib/jvm/java-17-openjdk-amd64/bin/java").contains("PreserveFramePointer"));
        assert!(
            of("/usr/bin/php8.2").contains("opcache.jit=off") && of("/usr/lib/erlang/bin/beam.smp").contains("JPperf")
        );
        assert!(!of("/opt/own").contains("java"));
        // Another stack of the same processes tells where their executable does not.
        let mut window = drawn("/usr/lib/jvm/java-17/lib/server/libjvm.so", "prog/7  !jrun x5\nprog/7  call;jrun x2");
        window.processes[0].stacks[0].end = StackEnd::JitFramePointerLost;
        let found = asked(&window, &[("jrun", ""), ("call", "JavaCalls::call_helper")]);
        assert!(found.incomplete[0].remedy.unwrap().contains("PreserveFramePointer"), "{found:?}");
    }
}
