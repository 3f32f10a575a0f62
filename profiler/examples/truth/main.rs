//! The walk against gdb: the same frames, at the same stop? The comparing half of `scripts/truth.sh`.
//!
//! `truth FOLDER` reads what `scripts/truth-stops.py` recorded (a `PROGRAM.jsonl` each: registers, stack, mappings, gdb's frames),
//! walks each stop with the walk that the kernel runs, by rows compiled from the same files, and compares address by address.
//! Prints a table and every kind of difference. Fails when more than one stop in a hundred differs or is lost.
//!
//! A frame of ours is its look-up address: the interrupted instruction, or one less than the return address; gdb's become the same.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on may stop")]

mod recorded;
mod tables;

use std::collections::BTreeMap;
use std::process::ExitCode;

use profiler_ebpf::tables::BY_FRAME_POINTER;
use recorded::Stop;
use tables::Programs;

/// Share of stops that must be equal.
const GOAL: f64 = 0.99;

/// How a stop compares.
enum Verdict {
    /// Frame by frame.
    Equal,
    /// gdb gave up where we went on: its frames are the leaf side of ours, which reach the entry.
    FurtherThanGdb,
    /// The same frames up to a return address that is in no code, where gdb wanders on over the stack and we stop: what the stack
    /// says is wrong. Seen while libgcc installs an exception's context: it overwrites the saved registers of its own frame.
    LostLikeGdb,
    /// Where and how they part.
    Different(String),
}

fn compare(stop: &Stop, ours: &[u64], end: &str, complete: bool) -> Verdict {
    let gdb = stop.look_up_addresses();
    if gdb == ours && complete {
        return Verdict::Equal;
    }
    if complete && ours.starts_with(&gdb) && stop.why_gdb_stopped != "outermost" {
        return Verdict::FurtherThanGdb;
    }
    let at = gdb.iter().zip(ours).take_while(|(gdb, ours)| gdb == ours).count();
    if at == ours.len() && at > 0 && at < gdb.len() && !stop.is_code(gdb[at - 1]) {
        return Verdict::LostLikeGdb;
    }
    let last = |at: usize| stop.place(at.min(stop.frames.len() - 1));
    let how = match (gdb.get(at), ours.get(at)) {
        (Some(_), None) => format!("we end after {} ({end}); gdb goes on to {}", last(at.max(1) - 1), last(at)),
        (None, Some(ours)) => {
            format!("gdb ends at {} ({}); we go on to {}", last(at), stop.why_gdb_stopped, stop.file_place(*ours))
        }
        (Some(_), Some(ours)) => {
            format!("after {} gdb goes to {}, we to {}", last(at.max(1) - 1), last(at), stop.file_place(*ours))
        }
        (None, None) => format!("the same frames, but we end at {} by {end}", last(at)),
    };
    Verdict::Different(how)
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: truth FOLDER");
        return ExitCode::from(2);
    };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    println!(
        "| program | stops | frames | deepest | complete | equal | further than gdb | lost like gdb | different |\n|---|---|---|---|---|---|---|---|---|"
    );
    let (mut all, mut bad) = (0, 0);
    let mut differences = BTreeMap::<String, u64>::new();
    for path in files {
        let program = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut programs = Programs::default();
        let (mut complete, mut equal, mut further, mut lost, mut different) = (0, 0, 0, 0, 0);
        let (mut frames, mut deepest) = (0, 0);
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let stop: Stop = serde_json::from_str(line).unwrap();
            let walked = programs.walk(&stop);
            let ours: Vec<u64> = walked.frames.iter().map(|frame| frame & !BY_FRAME_POINTER).collect();
            complete += u32::from(walked.end.is_complete());
            frames += stop.frames.len();
            deepest = deepest.max(stop.frames.len());
            match compare(&stop, &ours, walked.end.name(), walked.end.is_complete()) {
                Verdict::Equal => equal += 1,
                Verdict::FurtherThanGdb => further += 1,
                Verdict::LostLikeGdb => lost += 1,
                Verdict::Different(how) => {
                    different += 1;
                    *differences.entry(format!("{program}: {how}")).or_default() += 1;
                }
            }
        }
        let stops = equal + further + lost + different;
        println!(
            "| {program} | {stops} | {frames} | {deepest} | {complete} | {equal} | {further} | {lost} | {different} |"
        );
        all += stops;
        bad += lost + different;
    }
    let mut differences: Vec<_> = differences.into_iter().collect();
    differences.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    println!(
        "\n{all} stops, {bad} of them not as they should be{}",
        if differences.is_empty() { "" } else { "; different:\n" }
    );
    differences.iter().take(40).for_each(|(how, count)| println!("- {count} x {how}"));
    let passed = all > 0 && f64::from(all - bad) >= GOAL * f64::from(all);
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
