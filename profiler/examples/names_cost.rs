//! What naming costs: 10,000 addresses of one file, asked as the profiler asks, beside blazesym alone and the command-line tools that are here.
//!
//! `names_cost PROFILER FILE`: PROFILER is the program whose child is asked, FILE a binary with debug information and a build id. Each way runs in a
//! process of its own, so that its peak memory (VmHWM, with that of its child) is its own. The second sight is a process that finds names on disk.
//! `llvm-symbolizer` and `addr2line` are given ten minutes.

#![expect(clippy::unwrap_used, reason = "a measurement: anything odd ends it")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolizer};
use object::{Object, ObjectSection};
use profiler::process::build_id_of;
use profiler::profile::Symbolized;
use profiler::symbolizer::{Mapped, NamesWorker, WorkerCommand};

const ADDRESSES: usize = 10_000;
const PIECE: usize = 1024;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [program, file] => all(program, Path::new(file)),
        ["profiler", program, file, cache] => profiler(program, Path::new(file), Path::new(cache)),
        ["blazesym", file, piece] => blazesym_alone(Path::new(file), piece.parse().unwrap()),
        _ => panic!("names_cost PROFILER FILE"),
    }
}

/// One way after the other.
fn all(program: &str, file: &Path) {
    // The child is started in another folder.
    let (program, file) = (PathBuf::from(program).canonicalize().unwrap(), file.canonicalize().unwrap());
    let (program, path) = (program.to_str().unwrap(), file.to_str().unwrap());
    let cache = std::env::temp_dir().join(format!("names-cost-{}", std::process::id()));
    let cache_path = cache.to_str().unwrap();
    let bytes: u64 = debug_bytes(&file);
    println!("{ADDRESSES} addresses of {path}, {} MB of debug information", bytes >> 20);
    run("the profiler, first sight", &["profiler", program, path, cache_path]);
    run("the profiler, second sight", &["profiler", program, path, cache_path]);
    let kept: u64 = std::fs::read_dir(&cache).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    println!("  ({} KB on disk)", kept >> 10);
    run("blazesym alone, in pieces", &["blazesym", path, &PIECE.to_string()]);
    run("blazesym alone, at once", &["blazesym", path, &ADDRESSES.to_string()]);
    std::fs::remove_dir_all(&cache).unwrap();
    let addresses: String = addresses(&file).iter().map(|address| format!("{address:#x}\n")).collect();
    tool("llvm-symbolizer", &["--inlines", "-e", path], &addresses);
    tool("addr2line", &["-f", "-i", "-C", "-e", path], &addresses);
}

/// Runs one way in a process of its own; it prints its own line.
fn run(what: &str, args: &[&str]) {
    print!("{what}: ");
    std::io::stdout().flush().unwrap();
    assert!(Command::new(std::env::current_exe().unwrap()).args(args).status().unwrap().success());
}

fn tool(program: &str, args: &[&str], addresses: &str) {
    let begin = Instant::now();
    let command =
        Command::new("timeout").args(["600", program]).args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = command.unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = addresses.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let status = child.wait().unwrap();
    // A tool that is not here, or was ended, takes nothing.
    let _ = writer.join();
    match status.code() {
        Some(0) => println!("{program}: {:.0?}", begin.elapsed()),
        Some(124) => println!("{program}: more than ten minutes"),
        Some(127) => println!("{program}: not installed"),
        other => println!("{program}: failed ({other:?})"),
    }
}

fn profiler(program: &str, path: &Path, cache: &Path) {
    let offsets = offsets(path);
    let file = File::open(path).unwrap();
    let build_id = build_id_of(&file);
    assert!(build_id.is_some(), "names are kept by build id: link the file with one");
    let mapped = Mapped { file: &file, path: path.to_str().unwrap(), build_id, root: None, debug: None };
    let patience = Duration::from_secs(60);
    let command = WorkerCommand { program: program.into(), patience, ..WorkerCommand::default() };
    let before = peak("VmHWM");
    let begin = Instant::now();
    let mut worker = NamesWorker::new(command).keeping_in(Some(cache));
    let pieces = offsets.chunks(PIECE);
    let answers: Vec<Symbolized> = pieces.flat_map(|piece| worker.of_file(&mapped, piece, None).unwrap()).collect();
    let took = begin.elapsed();
    let memory = peak("VmHWM");
    drop(worker);
    let named = answers.iter().filter(|answer| matches!(answer, Symbolized::Named(_))).count();
    let functions: usize =
        answers.iter().map(|answer| if let Symbolized::Named(symbols) = answer { symbols.len() } else { 0 }).sum();
    println!("{took:.1?}, {memory} MB ({before} MB before), {named} named, {functions} functions with inlined ones");
}

fn blazesym_alone(path: &Path, piece: usize) {
    let offsets = offsets(path);
    let before = peak("VmHWM");
    let begin = Instant::now();
    for piece in offsets.chunks(piece) {
        let symbolizer = Symbolizer::builder().enable_code_info(true).enable_inlined_fns(true).build();
        symbolizer.symbolize(&Source::Elf(Elf::new(path)), Input::FileOffset(piece)).unwrap();
    }
    println!("{:.1?}, {} MB ({before} MB before)", begin.elapsed(), peak("VmHWM"));
}

/// A figure of `/proc/self/status`, in MB.
fn peak(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
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
