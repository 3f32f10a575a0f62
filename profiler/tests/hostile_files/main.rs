//! Files that any user of the host can write, through the real child: none may harm us, hold us up, or say what it should not.
//! And good ones beside them.
//!
//! `make fuzz-names` runs the random ones for longer: `NAMES_MUTATED` and `NAMES_TRUNCATED` say how many rounds, `NAMES_SEED` where
//! the random numbers begin.

#![expect(clippy::unwrap_used, reason = "tests")]

mod agree;
mod changing;
mod crafted;
mod image;
mod mutated;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use profiler::profile::Symbolized;
use profiler::symbolizer::{Mapped, NamesWorker, WorkerCommand};

/// No file may hold us up for longer: its three chances (twice with debug information, then without) and a margin.
const LONGEST: Duration = Duration::from_secs(20);

fn command() -> WorkerCommand {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_profiler"));
    WorkerCommand { program, patience: Duration::from_secs(4), ..WorkerCommand::default() }
}

fn worker() -> NamesWorker {
    NamesWorker::new(command())
}

/// What the child says of a file, and that it says so in time.
fn ask(worker: &mut NamesWorker, file: &File, offsets: &[u64]) -> Vec<Symbolized> {
    let begin = Instant::now();
    let mapped = Mapped { file, path: "/tmp/hostile", build_id: None, identity: None, root: None, debug: None };
    let names = worker.of_file(&mapped, offsets, None).expect("there is a child to ask");
    assert!(begin.elapsed() < LONGEST, "{:?}", begin.elapsed());
    assert_eq!(names.len(), offsets.len());
    names
}

/// Whether the child cuts code out of a file, and that it says so in time, of executable bytes only, within its limits.
fn code(worker: &mut NamesWorker, file: &File, offsets: &[u64]) -> bool {
    let begin = Instant::now();
    let found = worker.code_of(file, None, offsets, begin + LONGEST);
    assert!(begin.elapsed() < LONGEST, "{:?}", begin.elapsed());
    found.is_ok_and(|code| {
        assert!(code.pieces.len() <= offsets.len());
        assert!(code.pieces.iter().map(|piece| piece.bytes.len()).sum::<usize>() <= 512 << 10);
        !code.pieces.is_empty()
    })
}

fn file_of(image: &[u8]) -> File {
    let memfd = rustix::fs::memfd_create(c"hostile", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(memfd);
    file.write_all(image).unwrap();
    file
}

/// Rounds to run: a few, or as many as the environment says.
fn rounds(variable: &str, few: u64) -> u64 {
    std::env::var(variable).map_or(few, |rounds| rounds.parse().unwrap())
}

/// Resident memory of this process, which stands for the daemon, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * rustix::param::page_size() as u64
}

/// Numbers that look random, the same at each run (splitmix64).
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(rounds("NAMES_SEED", 1))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
