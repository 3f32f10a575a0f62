//! What naming costs: 10,000 addresses of one file, asked as the profiler asks, beside blazesym alone and the command-line tools that are here.
//!
//! `names_cost PROFILER FILE`: PROFILER is the program whose child is asked, FILE a binary with debug information and a build id. Each way runs in a
//! process of its own, and its peak memory (VmHWM) stands beside it: that of the profiler's process and that of its child, the tools' own.
//! The second sight is a process that finds names on disk. Each tool is given ten minutes.
//!
//! For `perf script`, FILE is run again and again below `perf record`; perf names all frames of the samples, with inlined functions, and the
//! profiler, from nothing, the places of these frames that lie in FILE. FILE must therefore be a program that ends by itself when it is
//! called with `completions bash`, as ours does.
//!
//! CPU time stands beside the time that passed: on a host with other work it is what can be compared.

#![expect(clippy::unwrap_used, reason = "a measurement: anything odd ends it")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolizer};
use object::{Object, ObjectSection};
use profiler::process::build_id_of;
use profiler::profile::Symbolized;
use profiler::symbolizer::{Mapped, NamesWorker, WorkerCommand};

const ADDRESSES: usize = 10_000;
/// What the profiler once asked at a time.
const PIECE: usize = 1024;
/// Patience for a tool.
const TOOL: Duration = Duration::from_secs(600);
/// And for `perf script`, which may ask `addr2line` for each frame.
const PERF: Duration = Duration::from_secs(120);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [program, file] => all(program, Path::new(file)),
        ["profiler", program, file, cache] => {
            profiler(program, Path::new(file), Path::new(cache), &offsets(Path::new(file)));
        }
        ["profiler", program, file, cache, list] => {
            let list = std::fs::read_to_string(list).unwrap();
            let places: Vec<u64> = list.lines().map(|place| place.parse().unwrap()).collect();
            profiler(program, Path::new(file), Path::new(cache), &places);
        }
        ["blazesym", file, piece] => blazesym_alone(Path::new(file), piece.parse().unwrap()),
        _ => panic!("names_cost PROFILER FILE"),
    }
}

/// One way after the other.
fn all(program: &str, file: &Path) {
    // The child is started in another folder.
    let (program, file) = (PathBuf::from(program).canonicalize().unwrap(), file.canonicalize().unwrap());
    let (program, path) = (program.to_str().unwrap(), file.to_str().unwrap());
    let folder = std::env::temp_dir().join(format!("names-cost-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let cache = folder.join("cache");
    let cache_path = cache.to_str().unwrap();
    let bytes: u64 = debug_bytes(&file);
    println!("{ADDRESSES} addresses of {path}, {} MB of debug information", bytes >> 20);
    // Read once, so that the disk is nobody's cost.
    std::io::copy(&mut File::open(&file).unwrap(), &mut std::io::sink()).unwrap();
    run("the profiler, first sight", &["profiler", program, path, cache_path]);
    run("the profiler, second sight", &["profiler", program, path, cache_path]);
    let kept: u64 = std::fs::read_dir(&cache).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    println!("  ({} KB on disk)", kept >> 10);
    run("blazesym alone, at once", &["blazesym", path, &ADDRESSES.to_string()]);
    run("blazesym alone, in pieces of 1,024", &["blazesym", path, &PIECE.to_string()]);
    let addresses: String = addresses(&file).iter().map(|address| format!("{address:#x}\n")).collect();
    tool("llvm-symbolizer", Command::new("llvm-symbolizer").args(["--inlines", "-e", path]), &addresses, TOOL);
    perf(&folder, program, &file);
    tool("addr2line", Command::new("addr2line").args(["-f", "-i", "-C", "-e", path]), &addresses, TOOL);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// `perf script` on samples of the program itself. It names frame after frame; we name each place once.
fn perf(folder: &Path, program: &str, file: &Path) {
    let samples = folder.join("perf.data");
    let again = format!("while :; do {} completions bash; done", file.display());
    let record =
        ["perf", "record", "-q", "-B", "-N", "-e", "cpu-clock", "-F", "499", "--call-graph", "dwarf,8192", "-o"];
    let mut command = Command::new("timeout");
    command.args(["-s", "INT", "3"]).args(record).arg(&samples).args(["--", "sh", "-c", &again]);
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let bare = Command::new("perf").args(["script", "-F", "ip,dso", "--no-inline", "-i"]).arg(&samples).output();
    let Ok(bare) = bare else { return println!("perf script: not measured, perf is not installed") };
    if !bare.status.success() {
        // Debian's perf 6.1 has ended in assertions of its own on hosts where it could read the same recording an hour before.
        let said = String::from_utf8_lossy(&bare.stderr);
        let first = said.lines().next().unwrap_or_default();
        return println!("perf script: not measured, it fails on its own recording ({}): {first}", bare.status);
    }
    let frames = String::from_utf8_lossy(&bare.stdout);
    let (start, len, _) = text(file);
    let ours = format!("({})", file.display());
    // Of a frame in a file perf shows where in the file it is.
    let place = |frame: &str| {
        let at = u64::from_str_radix(frame.trim().strip_suffix(&ours)?.trim(), 16).ok()?;
        (start..start + len).contains(&at).then_some(at)
    };
    let mut places: Vec<u64> = frames.lines().filter_map(place).collect();
    let all = places.len();
    places.sort_unstable();
    places.dedup();
    if places.is_empty() {
        println!("perf script: not measured, `perf record` may not sample, or took no samples of the program");
        return;
    }
    let list = folder.join("places");
    std::fs::write(&list, places.iter().map(|place| format!("{place}\n")).collect::<String>()).unwrap();
    println!("samples of the program: {all} frames in it, {} places", places.len());
    let mut script = Command::new("perf");
    script.args(["script", "-F", "ip,sym,srcline", "--inline", "-i"]).arg(&samples);
    tool("  perf script, all frames with inlined functions", &mut script, "", PERF);
    let empty = folder.join("empty");
    let (list, empty) = (list.to_str().unwrap(), empty.to_str().unwrap());
    run("  the profiler, first sight of these places", &["profiler", program, file.to_str().unwrap(), empty, list]);
}

/// Runs one way in a process of its own; it prints its own line.
fn run(what: &str, args: &[&str]) {
    print!("{what}: ");
    std::io::stdout().flush().unwrap();
    assert!(Command::new(std::env::current_exe().unwrap()).args(args).status().unwrap().success());
}

fn tool(what: &str, command: &mut Command, input: &str, patience: Duration) {
    let begin = Instant::now();
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        println!("{what}: not installed");
        return;
    };
    let peak = Peak::watch();
    let mut stdin = child.stdin.take().unwrap();
    let text = input.to_owned();
    // A tool that ends early hears no more.
    let writer = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if begin.elapsed() > patience => {
                let _ = child.kill();
                break child.wait().map(|_| None).unwrap();
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let took = begin.elapsed();
    writer.join().unwrap();
    let memory = peak.end();
    match status {
        Some(status) if status.success() => println!("{what}: {took:.1?}, {memory} MB"),
        Some(status) => println!("{what}: failed ({status})"),
        None => println!("{what}: more than {patience:.0?}, {memory} MB by then"),
    }
}

/// The largest memory of a process that we have started, or it in turn, looked at again and again.
struct Peak {
    end: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Peak {
    fn watch() -> Self {
        let (end, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, found) = (Arc::clone(&end), Arc::clone(&most));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let most = children(std::process::id()).into_iter().map(largest).max();
                found.fetch_max(most.unwrap_or(0), Ordering::Relaxed);
                // Seldom, for it takes its time from the child.
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { end, most, thread }
    }

    /// In MB.
    fn end(self) -> u64 {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.most.load(Ordering::Relaxed)
    }
}

/// VmHWM of a process or, if that is more, of the largest that it has started.
fn largest(pid: u32) -> u64 {
    children(pid).into_iter().map(largest).fold(peak(pid, "VmHWM"), u64::max)
}

fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

fn profiler(program: &str, path: &Path, cache: &Path, offsets: &[u64]) {
    let file = File::open(path).unwrap();
    let build_id = build_id_of(&file);
    assert!(build_id.is_some(), "names are kept by build id: link the file with one");
    let mapped =
        Mapped { file: &file, path: path.to_str().unwrap(), build_id, identity: None, root: None, debug: None };
    let patience = Duration::from_secs(60);
    let command = WorkerCommand { program: program.into(), patience, ..WorkerCommand::default() };
    let before = peak(std::process::id(), "VmHWM");
    let child = Peak::watch();
    let (begin, cpu) = (Instant::now(), own_cpu());
    let mut worker = NamesWorker::new(command).keeping_in(Some(cache));
    let answers: Vec<Symbolized> = worker.of_file(&mapped, offsets, None).unwrap();
    let (took, cpu) = (begin.elapsed(), own_cpu() - cpu);
    let memory = peak(std::process::id(), "VmHWM");
    drop(worker);
    let (child, child_cpu) = (child.end(), children_cpu());
    let named = answers.iter().filter(|answer| matches!(answer, Symbolized::Named(_))).count();
    let functions: usize =
        answers.iter().map(|answer| if let Symbolized::Named(symbols) = answer { symbols.len() } else { 0 }).sum();
    println!(
        "{took:.1?} ({cpu:.1?} of CPU and its child {child_cpu:.1?}), {memory} MB ({before} MB before) and its child {child} MB, {named} named, {functions} functions with inlined ones"
    );
}

fn blazesym_alone(path: &Path, piece: usize) {
    let offsets = offsets(path);
    let before = peak(std::process::id(), "VmHWM");
    let (begin, cpu) = (Instant::now(), own_cpu());
    for piece in offsets.chunks(piece) {
        let symbolizer = Symbolizer::builder().enable_code_info(true).enable_inlined_fns(true).build();
        symbolizer.symbolize(&Source::Elf(Elf::new(path)), Input::FileOffset(piece)).unwrap();
    }
    let (took, cpu) = (begin.elapsed(), own_cpu() - cpu);
    println!("{took:.1?} ({cpu:.1?} of CPU), {} MB ({before} MB before)", peak(std::process::id(), "VmHWM"));
}

/// Time that this thread has had on a processor.
fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Time that children had which have ended: two numbers of `/proc/self/stat`, in hundredths of a second.
fn children_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let numbers = stat.rsplit(')').next().unwrap().split_whitespace().skip(13).take(2);
    Duration::from_millis(numbers.map(|number| number.parse::<u64>().unwrap() * 10).sum())
}

/// A figure of `/proc/PID/status`, in MB; 0 when the process has ended.
fn peak(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_whitespace().nth(1));
    line.and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) >> 10
}

/// `.text`: where it lies in the file, how long it is, and its address.
fn text(path: &Path) -> (u64, u64, u64) {
    let file = File::open(path).unwrap();
    let cache = object::ReadCache::new(file);
    let file = object::File::parse(&cache).unwrap();
    let section = file.section_by_name(".text").unwrap();
    let (start, len) = section.file_range().unwrap();
    (start, len, section.address())
}

fn debug_bytes(path: &Path) -> u64 {
    let file = File::open(path).unwrap();
    let cache = object::ReadCache::new(file);
    let file = object::File::parse(&cache).unwrap();
    let debug = file.sections().filter(|section| section.name().is_ok_and(|name| name.starts_with(".debug_")));
    debug.map(|section| section.file_range().map_or(0, |(_, len)| len)).sum()
}

/// File offsets spread evenly over `.text`.
fn offsets(path: &Path) -> Vec<u64> {
    let (start, len, _) = text(path);
    (0..ADDRESSES as u64).map(|n| start + n * (len / ADDRESSES as u64)).collect()
}

/// The same as addresses.
fn addresses(path: &Path) -> Vec<u64> {
    let (start, _, address) = text(path);
    offsets(path).into_iter().map(|offset| offset - start + address).collect()
}
