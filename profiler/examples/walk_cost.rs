//! What a user stack costs in the kernel: our walk beside a bare `bpf_get_stack`, by depth, in one run.
//!
//! For each depth the fixture `deep` runs once per CPU, built with and without frame pointers. First the bare program
//! (`profiler-ebpf/src/bare.rs`: the kernel follows frame pointers into a buffer, nothing else) is bound to one of them; then the
//! profiler itself, `record -p`, samples them all. Both at 999 Hz, timed by the kernel (`BPF_ENABLE_STATS`), read every 25 ms.
//! Prints the median and the 99th percentile of those intervals' means, the ratio of the medians, and what a frame costs. Times are of the
//! whole eBPF program: ours also reads the clock, looks into maps, hashes the stack and sends a record.
//!
//! The profiler's program also runs for other processes and returns at once: their share is taken out by the profiler's own count
//! of samples and the time such a run takes. Fails when a goal is missed. `walk_cost [SECONDS]`, after a build of the profiler. Root.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on may stop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::programs::PerfEvent;
use aya::programs::perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent};

const HZ: u64 = 999;
const INTERVAL: Duration = Duration::from_millis(25);
/// Frames of a stack of `deep`: those of `descend`, and `bottom`, `main`, two of libc's, `_start`, and the first `descend`.
const DEPTHS: [u64; 5] = [10, 30, 50, 100, 200];
const FRAMES_AROUND: u64 = 6;
/// At most this many times a bare `bpf_get_stack`, at 30 frames, with frame pointers on both sides.
const GOAL_RATIO: f64 = 1.3;
/// At most this many nanoseconds for a frame more, without frame pointers.
const GOAL_FRAME: f64 = 60.0;

/// Mean nanoseconds of a run: of the median interval, of the one at the 99th percentile.
#[derive(Clone, Copy, Default)]
struct Cost {
    median: f64,
    tail: f64,
}

/// The kernel's sums for a program: nanoseconds, runs.
type Sums = (u64, u64);

/// Kills its processes in the end.
struct Targets(Vec<Child>);

impl Drop for Targets {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).map_or(6, |seconds| seconds.parse().unwrap());
    let time = Duration::from_secs(seconds);
    // On for as long as this lives.
    let _stats = aya::sys::enable_stats(aya::sys::Stats::RunTime).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let nothing = filtered(folder.path());
    println!("{seconds} s each at {HZ} Hz; a run that takes no sample: {nothing:.0} ns\n");
    println!(
        "| frames | bare bpf_get_stack ns, median (p99) | ours, frame pointers in the code | ratio | ours, none |"
    );
    println!("|---|---|---|---|---|");
    let mut ratio_at_30 = 0.0;
    let mut without = Vec::new();
    for depth in DEPTHS {
        let [bare, with, none] = [Build::With, Build::With, Build::Without]
            .iter()
            .enumerate()
            .map(|(at, build)| {
                let targets = start(folder.path(), *build, depth);
                if at == 0 { of_bare(&targets, time) } else { of_ours(&targets, folder.path(), time, nothing) }
            })
            .collect::<Vec<_>>()[..]
        else {
            unreachable!("three builds");
        };
        let ratio = with.median / bare.median;
        if depth == 30 {
            ratio_at_30 = ratio;
        }
        without.push((depth, none.median));
        let show = |cost: Cost| format!("{:.0} ({:.0})", cost.median, cost.tail);
        println!("| {depth} | {} | {} | {ratio:.2} | {} |", show(bare), show(with), show(none));
    }
    let at = |depth| without.iter().find(|(found, _)| *found == depth).unwrap().1;
    let frame = (at(200) - at(10)) / 190.0;
    println!(
        "\nThe kernel's own walkers stop at 127 frames. A frame more without frame pointers: {frame:.1} ns (goal {GOAL_FRAME})"
    );
    println!("ratio to bare bpf_get_stack at 30 frames: {ratio_at_30:.2} (goal {GOAL_RATIO})");
    let passed = frame <= GOAL_FRAME && ratio_at_30 <= GOAL_RATIO;
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Clone, Copy)]
enum Build {
    With,
    Without,
}

/// The fixture at a depth, once per CPU, at its bottom.
fn start(folder: &Path, build: Build, depth: u64) -> Targets {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/unwind/deep.c");
    let (name, flags): (_, &[&str]) = match build {
        Build::With => ("with", &["-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer"]),
        Build::Without => ("without", &["-fomit-frame-pointer"]),
    };
    let program = folder.join(name);
    if !program.exists() {
        assert!(
            Command::new("cc").arg("-O2").args(flags).arg("-o").arg(&program).arg(source).status().unwrap().success()
        );
    }
    let cpus = std::thread::available_parallelism().unwrap().get();
    let depth = (depth - FRAMES_AROUND).to_string();
    // Before others, so that nearly every tick is theirs: `nice` becomes the program.
    let spawn = |_| Command::new("nice").args(["-n", "-15"]).arg(&program).arg(&depth).spawn().unwrap();
    let started = Targets((0..cpus).map(spawn).collect());
    std::thread::sleep(Duration::from_millis(300));
    started
}

/// Reads a program's sums until the time is up; `taken` of its runs take a sample, the others take `nothing`.
fn watch(time: Duration, nothing: f64, sums: impl Fn() -> Option<Sums>, taken: impl FnOnce() -> Option<u64>) -> Cost {
    let begun = Instant::now();
    let (mut read, mut last) = (Vec::new(), (0, 0));
    while begun.elapsed() < time {
        std::thread::sleep(INTERVAL);
        if let Some(now) = sums() {
            read.push((now.0 - last.0, now.1 - last.1));
            last = now;
        }
    }
    let share = taken().map_or(1.0, |taken| taken as f64 / last.1 as f64).min(1.0);
    let cost = |(nanos, runs): Sums| (nanos as f64 - runs as f64 * (1.0 - share) * nothing) / (runs as f64 * share);
    // The first reading has everything since the load in it.
    let mut means: Vec<f64> = read[1..].iter().filter(|(_, runs)| *runs > 0).map(|sums| cost(*sums)).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((means.len() - 1) as f64 * share) as usize];
    Cost { median: at(0.5), tail: at(0.99) }
}

/// The bare program, bound to one target.
fn of_bare(targets: &Targets, time: Duration) -> Cost {
    let mut ebpf = Ebpf::load(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bare"))).unwrap();
    let program: &mut PerfEvent = ebpf.program_mut("bare").unwrap().try_into().unwrap();
    program.load().unwrap();
    let scope = PerfEventScope::OneProcess { pid: targets.0[0].id(), cpu: None };
    let clock = PerfEventConfig::Software(SoftwareEvent::CpuClock);
    program.attach(clock, scope, SamplePolicy::Frequency(HZ), false).unwrap();
    watch(time, 0.0, || most_run("/proc/self/fdinfo"), || None)
}

/// The profiler, sampling the targets.
fn of_ours(targets: &Targets, folder: &Path, time: Duration, nothing: f64) -> Cost {
    let pids: Vec<String> = targets.0.iter().map(|child| child.id().to_string()).collect();
    let out = folder.join("out.folded");
    let mut profiler = record(&pids.join(","), time + Duration::from_secs(2), &out);
    let fdinfo = format!("/proc/{}/fdinfo", profiler.id());
    // The tables are loaded by then.
    std::thread::sleep(Duration::from_secs(1));
    let before = most_run(&fdinfo).unwrap_or_default();
    let sums = || most_run(&fdinfo).map(|now| (now.0 - before.0, now.1 - before.1));
    let taken = || {
        let all = most_run(&fdinfo)?;
        assert!(profiler.wait().unwrap().success());
        let text = fs::read_to_string(&out).unwrap();
        let samples: u64 = text.lines().filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum();
        // The last read is a little before the end, and the first one a second after the start.
        Some(samples * (all.1 - before.1) / all.1)
    };
    watch(time, nothing, sums, taken)
}

fn record(pids: &str, time: Duration, out: &Path) -> Child {
    let profiler: PathBuf = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("profiler");
    let (hz, time) = (HZ.to_string(), time.as_secs().to_string());
    let words = ["record", "--force", "-F", &hz, "-d", &time, "-p", pids, "-o", out.to_str().unwrap()];
    Command::new(profiler).args(words).stderr(Stdio::null()).spawn().unwrap()
}

/// What a run of the profiler's program takes that samples nobody: asked for a process that sleeps, on a busy machine.
fn filtered(folder: &Path) -> f64 {
    let _busy = start(folder, Build::With, 10);
    let sleeper = Targets(vec![Command::new("sleep").arg("60").spawn().unwrap()]);
    let pid = sleeper.0[0].id().to_string();
    let mut profiler = record(&pid, Duration::from_secs(3), &folder.join("none.folded"));
    let fdinfo = format!("/proc/{}/fdinfo", profiler.id());
    let cost = watch(Duration::from_secs(2), 0.0, || most_run(&fdinfo), || None);
    // It complains that there were no samples.
    let _ = profiler.wait();
    cost.median
}

/// Sums of the eBPF program that ran most, of those that a process holds. See `man 5 proc_pid_fdinfo`.
fn most_run(folder: &str) -> Option<Sums> {
    let sums = |text: String| {
        let number = |name| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        Some((number("run_time_ns:")?, number("run_cnt:")?))
    };
    let files = fs::read_dir(folder).ok()?.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    files.filter_map(sums).max_by_key(|(_, runs)| *runs)
}
