//! How many stacks are whole, program by program and profiler by profiler: the counting half of `scripts/bench-unwind.sh`.
//!
//! `unwind_table FOLDER [PROGRAM...]` reads what the script recorded below FOLDER (a folder a program: `ours.db`, `fp.txt` and
//! `dwarf.txt` from `perf script`, `bpftrace.txt`), prints a markdown table and, for our own stacks that are not whole, where they
//! end. Fails when one of the PROGRAMs named has less than 99 % of its stacks whole.
//!
//! One measure for all: a stack is whole when its outermost frame is where a thread begins, whatever the profiler says of it.
//! What our profiler says itself stands beside it.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on may stop")]

mod elf;
mod peers;
mod stacks;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use stacks::{Frame, Stack, is_whole};

/// Share of whole stacks that the programs named must have.
const GOAL: f64 = 0.99;

/// What one profiler made of one program.
#[derive(Default)]
struct Tally {
    samples: u64,
    whole: u64,
    says_complete: u64,
    /// Samples by depth.
    depths: BTreeMap<usize, u64>,
    /// Samples not whole by what is known about where they end.
    broken: BTreeMap<String, u64>,
    /// Samples of processes that have no user stack: exit or exec under way.
    without: u64,
}

impl Tally {
    fn of(stacks: Vec<Stack>) -> Self {
        let mut tally = Self::default();
        for stack in stacks {
            if stack.gone {
                tally.without += stack.count;
                continue;
            }
            let whole = is_whole(&stack.frames);
            tally.samples += stack.count;
            tally.whole += if whole { stack.count } else { 0 };
            tally.says_complete += if stack.cut.is_none() { stack.count } else { 0 };
            *tally.depths.entry(stack.frames.len()).or_default() += stack.count;
            if !whole || stack.cut.is_some() {
                let end = stack.frames.last().map_or_else(|| "no frames".to_owned(), Frame::place);
                let says = stack.cut.as_deref().unwrap_or("says complete");
                *tally.broken.entry(format!("{says}: {end}")).or_default() += stack.count;
            }
        }
        tally
    }

    fn share(&self, of: u64) -> f64 {
        of as f64 / self.samples as f64
    }

    fn percent(&self, of: u64) -> String {
        // Cut, not rounded: 99.96 % is not all.
        if self.samples == 0 { "-".into() } else { format!("{:.1}", (self.share(of) * 1000.0).floor() / 10.0) }
    }

    fn median_depth(&self) -> String {
        let mut seen = 0;
        let median = self.depths.iter().find(|(_, count)| {
            seen += *count;
            seen * 2 >= self.samples
        });
        median.map_or_else(|| "-".into(), |(depth, _)| depth.to_string())
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: unwind_table FOLDER [PROGRAM...]");
        return ExitCode::from(2);
    };
    let held: Vec<String> = arguments.collect();
    println!(
        "| program | samples | ours: whole % | says complete % | depth | perf fp % | depth | perf dwarf % | depth | bpftrace % | depth |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut programs: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    programs.sort();
    let (mut details, mut below) = (String::new(), Vec::new());
    for folder in programs {
        let program = folder.file_name().unwrap().to_string_lossy().into_owned();
        let ours = Tally::of(stacks::of_database(&folder.join("ours.db")));
        let peer = |file: &str, read: fn(&str) -> Vec<Stack>| {
            Tally::of(read(&std::fs::read_to_string(folder.join(file)).unwrap_or_default()))
        };
        let [fp, dwarf] = ["fp.txt", "dwarf.txt"].map(|file| peer(file, peers::perf));
        let bpftrace = peer("bpftrace.txt", peers::bpftrace);
        print!("| {program} | {} | {} | {}", ours.samples, ours.percent(ours.whole), ours.percent(ours.says_complete));
        print!(" | {}", ours.median_depth());
        for peer in [fp, dwarf, bpftrace] {
            print!(" | {} | {}", peer.percent(peer.whole), peer.median_depth());
        }
        println!(" |");
        details += &describe(&program, &ours);
        if held.contains(&program) && (ours.samples == 0 || ours.share(ours.whole) < GOAL) {
            below.push(program);
        }
    }
    println!("\nNot whole, or said not to be, by what the profiler says and the outermost frame:\n\n{details}");
    if below.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("BELOW {} % whole: {}", GOAL * 100.0, below.join(", "));
    ExitCode::FAILURE
}

/// The most frequent ends of a program's stacks that are not whole.
fn describe(program: &str, ours: &Tally) -> String {
    let mut broken: Vec<_> = ours.broken.iter().collect();
    broken.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let line = |(end, count): &(&String, &u64)| format!("- {program}: {count} ({} %) {end}\n", ours.percent(**count));
    let mut text: String = broken.iter().take(6).map(line).collect();
    if ours.without > 0 {
        text += &format!("- {program}: {} samples left out: exit or exec under way, no user stack\n", ours.without);
    }
    text
}

/// Reads a whole file, or nothing.
fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}
