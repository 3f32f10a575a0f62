//! What naming costs: 10,000 addresses of one file, asked as the profiler asks, beside blazesym in this process.
//!
//! `cargo run --release --example names_cost -- PROFILER FILE`: PROFILER is the program whose child is asked, FILE a binary with debug
//! information. Both are asked in pieces of 1,024 addresses, each piece parsing the file anew, and once all at a time.

#![expect(clippy::unwrap_used, reason = "a measurement: anything odd ends it")]

use std::fs::File;
use std::path::{Path, PathBuf};
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
    let mut args = std::env::args().skip(1);
    let (program, path) = (args.next().expect("PROFILER"), args.next().expect("FILE"));
    let path = Path::new(&path).canonicalize().unwrap();
    let offsets = offsets(&path);
    let file = File::open(&path).unwrap();
    let mapped =
        Mapped { file: &file, path: path.to_str().unwrap(), build_id: build_id_of(&file), root: None, debug: None };
    // It is started in another folder.
    let command = WorkerCommand {
        program: PathBuf::from(program).canonicalize().unwrap(),
        patience: Duration::from_secs(60),
        ..WorkerCommand::default()
    };

    let begin = Instant::now();
    let mut worker = NamesWorker::new(command);
    let pieces = offsets.chunks(PIECE);
    let answers: Vec<Symbolized> = pieces.flat_map(|piece| worker.of_file(&mapped, piece, None).unwrap()).collect();
    let took = begin.elapsed();
    let named = answers.iter().filter(|answer| matches!(answer, Symbolized::Named(_))).count();
    let functions: usize =
        answers.iter().map(|answer| if let Symbolized::Named(symbols) = answer { symbols.len() } else { 0 }).sum();
    println!("the profiler's child: {took:?}, {named} of {ADDRESSES} named, {functions} functions with inlined ones");

    for (words, piece) in [("in pieces", PIECE), ("at once", ADDRESSES)] {
        let begin = Instant::now();
        for piece in offsets.chunks(piece) {
            let symbolizer = Symbolizer::builder().enable_code_info(true).enable_inlined_fns(true).build();
            symbolizer.symbolize(&Source::Elf(Elf::new(&path)), Input::FileOffset(piece)).unwrap();
        }
        println!("blazesym alone, {words}: {:?}", begin.elapsed());
    }
}

/// File offsets spread evenly over `.text`.
fn offsets(path: &Path) -> Vec<u64> {
    let image = std::fs::read(path).unwrap();
    let file = object::File::parse(&*image).unwrap();
    let (start, len) = file.section_by_name(".text").unwrap().file_range().unwrap();
    (0..ADDRESSES as u64).map(|n| start + n * (len / ADDRESSES as u64)).collect()
}
