//! Whole stacks without frame pointers: does the walk reach where each thread began, through what programs are made of?
//!
//! Programs are built as distributions build them, `-O2 -fomit-frame-pointer`. `make bench-unwind` does the same with real
//! programs, beside other profilers; here stand those that need nothing but compilers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::run::{Daemon, Running, folded, recorded, share};

/// The goal: this share of a program's samples has a whole stack.
const GOAL: f64 = 0.99;

/// How a folded stack begins when its user part was not followed to the end: see `query/note.rs`.
const NOTES: [&str; 3] = ["[stack cut short", "[no user stack", "[truncated"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/unwind").join(name)
}

/// Runs a compiler in `folder`, where what it makes lies afterwards.
fn compile(folder: &Path, line: &str, source: &str) {
    let mut words = line.split(' ');
    let built = Command::new(words.next().unwrap()).args(words).arg(fixture(source)).current_dir(folder).status();
    assert!(built.unwrap().success(), "{line} {source}");
}

/// Samples of a program's first three seconds, by frames from the root: the process's name and the kernel's part are left out.
/// Samples in exec and exit are too: such a process has no user stack.
fn stacks(program: &Path, arguments: &[&str]) -> BTreeMap<Vec<String>, u64> {
    stacks_with(&[], program, arguments)
}

/// The same, with more options of `record`.
fn stacks_with(options: &[&str], program: &Path, arguments: &[&str]) -> BTreeMap<Vec<String>, u64> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.folded");
    let words = ["-F", "499", "-d", "3", "-o", out.to_str().unwrap()];
    recorded(&[&words, options, &["--", program.to_str().unwrap()], arguments].concat());
    let mut stacks = BTreeMap::new();
    for (stack, count) in folded(&std::fs::read_to_string(out).unwrap()) {
        let frames = || stack.split(';').skip(1);
        if frames().any(|frame| ["do_exit", "bprm_execve", "begin_new_exec"].contains(&frame)) {
            continue;
        }
        // An interrupt, a system call or a fault: the first frame of the kernel's part.
        let in_kernel = |frame: &str| {
            frame.starts_with("asm_") || frame.starts_with("entry_SYSCALL") || frame == "ret_from_fork_asm"
        };
        let user: Vec<String> = frames().take_while(|frame| !in_kernel(frame)).map(str::to_owned).collect();
        *stacks.entry(user).or_default() += count;
    }
    let samples: u64 = stacks.values().sum();
    // A busy machine gives a program a part of a CPU.
    assert!(samples > 100, "{samples} samples of three seconds at 499 Hz");
    stacks
}

/// Share of samples that pass; the most frequent of those that do not are shown when they are too many.
fn assert_share(stacks: &BTreeMap<Vec<String>, u64>, what: &str, passes: impl Fn(&[String]) -> bool) {
    let joined: BTreeMap<String, u64> = stacks.iter().map(|(stack, count)| (stack.join(";"), *count)).collect();
    let split = |stack: &str| stack.split(';').map(str::to_owned).collect::<Vec<_>>();
    let share = share(&joined, |_| true, |stack| passes(&split(stack)));
    let mut others: Vec<_> = joined.iter().filter(|(stack, _)| !passes(&split(stack))).collect();
    others.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    others.truncate(8);
    assert!(share >= GOAL, "{share:.4} {what}; not these: {others:#?}");
}

/// The stacks that pass.
fn only(stacks: &BTreeMap<Vec<String>, u64>, passes: impl Fn(&[String]) -> bool) -> BTreeMap<Vec<String>, u64> {
    stacks.iter().filter(|(stack, _)| passes(stack)).map(|(stack, count)| (stack.clone(), *count)).collect()
}

/// Followed to the end, by the walk's own word.
fn is_complete(stack: &[String]) -> bool {
    stack.first().is_some_and(|first| !NOTES.iter().any(|note| first.starts_with(note)))
}

/// `_start`, or the loader's, or the place in `file` where a stripped one has it, or where libc begins a thread.
fn begins_at_entry(stack: &[String], file: &str) -> bool {
    let nameless = |binary: &str| stack.first().is_some_and(|first| first.starts_with(&format!("[{binary}+0x")));
    let named = ["_start", "__clone3", "clone3", "__clone", "clone", "_dl_start_user", "start_thread"];
    is_complete(stack)
        && (stack.first().is_some_and(|first| named.contains(&first.as_str()))
            || [file, "libc.so.6", "ld-linux-x86-64.so.2"].iter().any(|binary| nameless(binary)))
}

/// Whether `chain` stands in the stack as it is, without anything between.
fn has_chain(stack: &[String], chain: &[&str]) -> bool {
    stack.windows(chain.len()).any(|frames| frames == chain)
}

/// `deep.c` with an argument: what is sampled at the bottom has each call; little is sampled on the way down and up, but on a slow
/// machine more than a hundredth.
fn assert_deep(stacks: &BTreeMap<Vec<String>, u64>, depth: usize) {
    let chain = [&["main"][..], &vec!["descend"; depth + 1], &["bottom"]].concat();
    let at_bottom = only(stacks, |stack| stack.iter().any(|frame| frame == "bottom"));
    assert_share(&at_bottom, "have every call down to the bottom", |stack| has_chain(stack, &chain));
    let (all, below) = (stacks.values().sum::<u64>(), at_bottom.values().sum::<u64>());
    assert!(below * 10 > all * 9, "{below} of {all} samples lie at the bottom");
}

/// C++ as released: templates forty deep, exceptions under way, no symbols in the file.
#[test]
fn a_stripped_cpp_program_with_exceptions_has_whole_stacks() {
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), "g++ -O2 -fomit-frame-pointer -s -o templates", "templates.cc");
    let stacks = stacks(&folder.path().join("templates"), &[]);
    assert_share(&stacks, "begin at the entry", |stack| begins_at_entry(stack, "templates"));
    let deep = |stack: &[String]| stack.len() > 20;
    let deep = stacks.iter().filter(|(stack, _)| deep(stack)).map(|(_, count)| count).sum::<u64>();
    assert!(deep * 2 > stacks.values().sum(), "{deep} samples lie below the templates");
}

/// CPython of the distribution: an interpreter loop of 40 KiB, called for every function of the script.
#[test]
fn python_has_whole_stacks() {
    let script = "
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
while True: fib(20); sorted(str(n) for n in range(1000))";
    let stacks = stacks(Path::new("/usr/bin/python3"), &["-c", script]);
    // The link's target is the name in the stacks.
    let program = std::fs::canonicalize("/usr/bin/python3").unwrap();
    let program = program.file_name().unwrap().to_str().unwrap();
    assert_share(&stacks, "begin at the entry", |stack| begins_at_entry(stack, program));
    let below_main = |stack: &[String]| stack.iter().any(|frame| frame == "Py_BytesMain");
    let inside = stacks.iter().filter(|(stack, _)| below_main(stack)).map(|(_, count)| count).sum::<u64>();
    assert!(inside * 10 > stacks.values().sum::<u64>() * 9, "{inside} samples lie below Py_BytesMain");
}

/// A Rust release program, whose work is all in threads.
#[test]
fn threads_of_a_rust_release_program_have_whole_stacks() {
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), "rustc -O --edition 2024 -o threads", "threads.rs");
    let stacks = stacks(&folder.path().join("threads"), &[]);
    assert_share(&stacks, "begin at the entry", |stack| begins_at_entry(stack, "threads"));
}

/// No loader, no libc in a file of its own; and exactly as many frames as were called.
#[test]
fn a_static_position_independent_program_has_every_frame() {
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), "gcc -O2 -fomit-frame-pointer -static-pie -o static-pie", "deep.c");
    let stacks = stacks(&folder.path().join("static-pie"), &["40"]);
    assert_share(&stacks, "begin at the entry", |stack| begins_at_entry(stack, "static-pie"));
    assert_deep(&stacks, 40);
}

/// Kernels before 5.17 have no `bpf_loop`: the walk that they use, by programs that tail-call each other, through all of `record` and `run`.
#[test]
fn the_walk_by_tail_calls_has_whole_stacks() {
    const FORCED: &str = "--walk-by-tail-calls";
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), "gcc -O2 -fomit-frame-pointer -static-pie -o static-pie", "deep.c");
    let program = folder.path().join("static-pie");
    for depth in [40, 400] {
        let stacks = stacks_with(&[FORCED], &program, &[&depth.to_string()]);
        assert_share(&stacks, "begin at the entry", |stack| begins_at_entry(stack, "static-pie"));
        assert_deep(&stacks, depth);
    }
    // `run` takes it too; and it is this program that samples, by the kernel's word.
    let daemon = Daemon::start(&folder.path().join("forced.db"), &["--window", "1s", FORCED]);
    let _busy = Running::start(&program, &["40"]);
    let sampling = |descriptor: std::io::Result<std::fs::DirEntry>| {
        let tag = std::fs::read_to_string(descriptor.unwrap().path()).unwrap_or_default();
        let tag = tag.lines().find_map(|line| line.strip_prefix("prog_tag:")).map(|tag| tag.trim().to_owned())?;
        let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let name = symbols.lines().find_map(|line| line.split_once(&format!(" bpf_prog_{tag}_")))?.1;
        name.split_whitespace().next().map(str::to_owned)
    };
    let descriptors = std::fs::read_dir(format!("/proc/{}/fdinfo", daemon.child.id())).unwrap();
    let programs: Vec<String> = descriptors.filter_map(sampling).collect();
    assert!(programs.iter().any(|name| name.starts_with("sample_by_tail")), "{programs:?}");
    assert!(!programs.iter().any(|name| name == "sample"), "{programs:?}");
    daemon.wait_for_status(Duration::from_secs(60), |status| status["totals"]["stored"].as_u64() > Some(100));
    daemon.stop();
}

/// Beyond the limit the stack is cut, says so, and keeps the side of the leaf.
#[test]
fn a_recursion_beyond_the_limit_is_cut_visibly() {
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), "gcc -O2 -fomit-frame-pointer -o deep", "deep.c");
    let stacks = stacks(&folder.path().join("deep"), &["10000"]);
    // On its way down it is less deep, for a tenth of the time.
    let at_the_bottom = |stack: &[String]| stack.last().is_some_and(|leaf| leaf == "bottom");
    let bottom = only(&stacks, at_the_bottom);
    assert_share(&bottom, "say that they are cut", |stack| {
        !is_complete(stack) && has_chain(stack, &["descend", "descend", "bottom"])
    });
    // Before its rows were loaded a stack was cut where the bytes ended that the sample carried.
    let truncated = only(&bottom, |stack| stack[0].starts_with("[truncated at ")).values().sum::<u64>();
    assert!(truncated * 10 > bottom.values().sum::<u64>() * 8, "{truncated} samples were cut at the limit");
}

/// Out of a signal handler on a stack of its own, through the signal's frame, back to what was interrupted.
#[test]
fn a_handler_on_an_alternate_stack_leads_to_what_it_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), "gcc -O2 -fomit-frame-pointer -o altstack", "altstack.c");
    let stacks = stacks(&folder.path().join("altstack"), &[]);
    // Before the tables are loaded a sample carries only the stack that it is on, and says so.
    let early = |stack: &[String]| stack[0].starts_with("[stack cut short: unwind rows were not loaded yet");
    let all = stacks.values().sum::<u64>();
    let stacks = only(&stacks, |stack| !early(stack));
    let late = stacks.values().sum::<u64>();
    assert!(late * 10 > all * 8, "{late} of {all} samples had tables");
    assert_share(&stacks, "begin at the entry", |stack| begins_at_entry(stack, "altstack"));
    let in_handler = |stack: &[String]| stack.last().is_some_and(|leaf| leaf == "handler_inner");
    let handled = only(&stacks, in_handler);
    let samples = handled.values().sum::<u64>();
    assert!(samples > 20, "{samples} samples in the handler");
    assert_share(&only(&handled, is_complete), "of the handler's lead from main to the handler", |stack| {
        // What is interrupted is `interrupted`, or its caller between two calls.
        let main = stack.iter().position(|frame| frame == "main");
        has_chain(stack, &["handler", "handler_inner"]) && main < stack.iter().position(|frame| frame == "handler")
    });
}

/// A stack that was made (by makecontext, by a switch as Boost.Context's) ends whole at its first function: nobody is invented below it, and
/// work outside still begins at the entry.
#[test]
fn made_stacks_end_at_their_first_function() {
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), "gcc -O2 -fomit-frame-pointer -fno-optimize-sibling-calls -o fibers", "fibers.c");
    for (arguments, entry) in [(&[][..], "fiber_entry"), (&["own"], "once_entry"), (&["paged-out"], "fiber_entry")] {
        let stacks = stacks(&folder.path().join("fibers"), arguments);
        let below = |stack: &[String], function: &str| stack.iter().any(|frame| frame == function);
        let inside = only(&stacks, |stack| below(stack, "in_fiber"));
        let outside = only(&stacks, |stack| below(stack, "outside"));
        let samples = [&inside, &outside].map(|stacks| stacks.values().sum::<u64>());
        assert!(samples.iter().all(|samples| *samples > 100), "{samples:?} samples inside and outside");
        let joined: BTreeMap<String, u64> = inside.iter().map(|(stack, count)| (stack.join(";"), *count)).collect();
        let whole = share(&joined, |_| true, |stack| stack == format!("{entry};in_fiber"));
        assert!(whole >= GOAL, "{whole} of {entry}: {joined:#?}");
        assert_share(&outside, "outside begin at the entry", |stack| begins_at_entry(stack, "fibers"));
    }
}

/// A kernel thread that works for a program and has its memory never ran a program: it has no user stack, and nothing is cut short.
#[test]
fn the_polling_thread_of_a_ring_has_no_user_stack() {
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), "gcc -O2 -o sqpoll", "sqpoll.c");
    let out = folder.path().join("out.folded");
    let program = folder.path().join("sqpoll");
    recorded(&["-F", "499", "-d", "3", "-o", out.to_str().unwrap(), "--", program.to_str().unwrap()]);
    let stacks = folded(&std::fs::read_to_string(out).unwrap());
    let polling = |stack: &str| stack.contains("io_sq_thread");
    let samples: u64 = stacks.iter().filter(|(stack, _)| polling(stack)).map(|(_, count)| count).sum();
    assert!(samples > 100, "{samples} samples of the polling thread: {stacks:#?}");
    let kernel_only = |stack: &str| stack.starts_with("sqpoll;ret_from_fork");
    assert_eq!(share(&stacks, polling, kernel_only), 1.0, "{stacks:#?}");
}

/// CPython's trampolines (`-X perf`) have neither rows nor frame pointers: what follows their call says where their caller is.
#[test]
fn trampolines_made_at_run_time_lead_to_their_caller() {
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), "gcc -O2 -fomit-frame-pointer -o trampoline", "trampoline.c");
    let stacks = stacks(&folder.path().join("trampoline"), &[]);
    // What came before the tables brings its stack along, but not the code that it ran.
    let complete = only(&stacks, is_complete);
    let (whole, all) = (complete.values().sum::<u64>(), stacks.values().sum::<u64>());
    assert!(whole * 10 > all * 9, "{whole} of {all} stacks are complete: {stacks:#?}");
    let stacks = complete;
    assert_share(&stacks, "begin at the entry", |stack| begins_at_entry(stack, "trampoline"));
    let inner = only(&stacks, |stack| stack.last().is_some_and(|leaf| leaf == "inner"));
    let samples = inner.values().sum::<u64>();
    assert!(samples > 100, "{samples} samples below the trampoline");
    assert_share(&inner, "lead through the trampoline to its caller", |stack| {
        let outer = stack.iter().position(|frame| frame == "outer");
        outer.is_some_and(|outer| outer > 0 && stack[outer - 1] == "main" && stack.len() == outer + 3)
    });
}

/// Code that is mapped while the program is being sampled.
#[test]
fn a_library_loaded_later_has_whole_stacks() {
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), "gcc -O2 -fomit-frame-pointer -shared -fPIC -o plugin.so", "plugin.c");
    compile(folder.path(), "gcc -O2 -fomit-frame-pointer -o late", "late.c");
    let stacks = stacks(&folder.path().join("late"), &[folder.path().join("plugin.so").to_str().unwrap()]);
    assert_share(&stacks, "begin at the entry", |stack| begins_at_entry(stack, "late"));
    let through = stacks.keys().filter(|stack| has_chain(stack, &["main", "plugin_run", "back"])).count();
    assert!(through > 0, "no stack leads through the library back into the program");
}

/// Children of vfork work on their parent's memory before anything is mapped for them.
#[test]
fn children_of_vfork_have_whole_stacks() {
    let folder = tempfile::tempdir().unwrap();
    compile(folder.path(), "gcc -O2 -fomit-frame-pointer -o vfork", "vfork.c");
    let stacks = stacks(&folder.path().join("vfork"), &[]);
    assert_share(&stacks, "begin at the entry", |stack| begins_at_entry(stack, "vfork"));
    let working = stacks.keys().filter(|stack| has_chain(stack, &["main", "spawn", "child_work"])).count();
    assert!(working > 0, "no stack leads to the child's work");
}

/// What the stack is, is known here by construction: lazy stubs of the procedure linkage table, a tail call, libc's callback.
#[test]
fn stubs_tail_calls_and_callbacks_have_the_stack_that_was_built() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().to_str().unwrap();
    compile(folder.path(), "gcc -O2 -fomit-frame-pointer -shared -fPIC -o libplugin.so", "plugin.c");
    let line = format!(
        "gcc -O2 -fomit-frame-pointer -o corners -Wl,-z,lazy -Wl,-rpath,{here} -L{here} -Wl,--no-as-needed -lplugin"
    );
    compile(folder.path(), &line, "corners.c");
    let stacks = stacks(&folder.path().join("corners"), &[]);
    assert_share(&stacks, "begin at the entry", |stack| begins_at_entry(stack, "corners"));
    // The loader's work before main is not of interest here.
    let ours: BTreeMap<_, _> =
        stacks.into_iter().filter(|(stack, _)| stack.iter().any(|frame| frame == "main")).collect();
    assert_share(&ours, "are one of the chains", |stack| {
        let main = stack.iter().position(|frame| frame == "main").unwrap();
        match stack[main + 1..].iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] | ["through_plt"] | ["through_plt", "nothing"] | ["jumps"] | ["jumps", "landed" | "before_jump"] => true,
            // A stub has no name, or a made-up one.
            ["through_plt", stub] => !["jumps", "landed", "sorts", "compare"].contains(&stub),
            // Any frames of libc's between.
            ["sorts", ..] => !stack[main + 2..]
                .iter()
                .any(|frame| ["sorts", "jumps", "through_plt", "main"].contains(&frame.as_str())),
            _ => false,
        }
    });
    let called_back = ours
        .keys()
        .filter(|stack| has_chain(stack, &["main", "sorts"]) && stack.last().is_some_and(|leaf| leaf == "compare"));
    assert!(called_back.count() > 0, "no stack leads through libc's sort to the comparison");
}
