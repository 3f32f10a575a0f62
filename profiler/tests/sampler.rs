//! The sampler on this kernel, for real: needs root, and fails without.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use profiler::profile::{MissCause, RawSample, SampleEvent};
use profiler::sampler::{Cgroup, Counted, Frequency, OtherEvent, Sampler, SamplerOptions, Target};
use profiler::symbolizer::{NamesWorker, WorkerCommand};
use profiler::sys::clock::{boot_now, monotonic_nanos};

#[path = "end_to_end/held.rs"]
mod held;

/// A shell that runs a line, gone when dropped.
struct Busy(Child);

impl Busy {
    fn shell(line: &str) -> Self {
        Self(Command::new("sh").args(["-c", line]).stdin(Stdio::null()).spawn().unwrap())
    }

    fn spinning() -> Self {
        Self::shell("while :; do :; done")
    }

    /// Waits until it has forked so often.
    fn wait_for_children(&self, count: usize) {
        let (pid, begin) = (self.0.id(), Instant::now());
        let children = || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        while children().split_whitespace().count() < count {
            assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", children());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn options(hz: u32, target: Target) -> SamplerOptions {
    SamplerOptions::new(Frequency::new(hz).unwrap(), SampleEvent::CpuClock, target)
}

struct Run {
    samples: Vec<RawSample>,
    lost: u64,
    hash_conflicts: u64,
    kernel_mixed: u64,
    counters: profiler_ebpf::Counters,
    /// Processor time of the one process asked for, while it was sampled.
    worked: Duration,
}

/// Processor time of a process.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name may have spaces; user and system time are the 12th and 13th field after it (`man 5 proc_pid_stat`).
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Samples for `time`, a new generation each `window`.
fn run(options: SamplerOptions, time: Duration, window: Duration) -> Run {
    let watched = match &options.target {
        Target::Pids(pids) => pids.first().copied(),
        _ => None,
    };
    let mut sampler = Sampler::start(options, boot_now()).unwrap();
    let worked = || watched.map_or(Duration::ZERO, processor_time);
    let before = worked();
    let mut run = Run {
        samples: vec![],
        lost: 0,
        hash_conflicts: 0,
        kernel_mixed: 0,
        counters: sampler.counters(0).unwrap(),
        worked: Duration::ZERO,
    };
    let mut take = |sampler: &mut Sampler| {
        let drained = sampler.poll().drained;
        run.lost += drained.lost();
        run.samples.extend(drained.samples.into_iter().map(|(_, sample)| sample));
        run.hash_conflicts += drained.hash_conflicts;
        run.kernel_mixed += drained.kernel_mixed;
    };
    let (start, mut generation) = (Instant::now(), Instant::now());
    while start.elapsed() < time {
        std::thread::sleep(Duration::from_millis(50));
        take(&mut sampler);
        if generation.elapsed() > window {
            generation = Instant::now();
            sampler.next_generation().unwrap();
        }
    }
    sampler.stop().unwrap();
    take(&mut sampler);
    run.worked = worked() - before;
    run.counters = sampler.counters(0).unwrap();
    run
}

/// A busy CPU ticks F times a second, and every tick is idle, filtered, sent or counted.
#[test]
fn a_busy_process_is_sampled_at_the_frequency_asked_for() {
    let busy = Busy::spinning();
    let run = run(options(199, Target::Pids(vec![busy.0.id()])), Duration::from_secs(3), Duration::from_secs(1));
    let n = run.samples.len() as u64;
    // By its own processor time, however little of it a busy machine gives: what is drawn by chance has four standard deviations of room.
    let expected = 199.0 * run.worked.as_secs_f64();
    assert!(expected > 20.0, "the process had {:?} of a processor in 3 s", run.worked);
    let room = expected * 0.1 + 4.0 * expected.sqrt();
    assert!((n as f64 - expected).abs() < room, "{n} samples at 199 Hz of {:?}", run.worked);
    assert!(run.samples.iter().all(|sample| sample.pid == busy.0.id()), "only the process asked for");
    let counters = run.counters;
    assert_eq!(counters.ticks, counters.idle + counters.filtered + counters.taken);
    assert_eq!(counters.taken, n + run.lost + counters.ring_full);
}

/// The filter follows children from their first instruction, and theirs.
#[test]
fn the_pid_filter_follows_children() {
    let busy = Busy::shell("sleep 1; sh -c 'sh -c \"while :; do :; done\" & wait'");
    let run = run(options(499, Target::Pids(vec![busy.0.id()])), Duration::from_secs(3), Duration::from_secs(1));
    let grandchildren = run.samples.iter().filter(|sample| sample.pid != busy.0.id()).count();
    assert!(grandchildren > 100, "{grandchildren} samples of the grandchild");
    let survivors = Command::new("pkill").args(["-P", &busy.0.id().to_string()]).status();
    assert!(survivors.is_ok());
    let pids: BTreeSet<u32> = run.samples.iter().map(|sample| sample.pid).collect();
    for pid in pids.into_iter().filter(|pid| *pid != busy.0.id()) {
        let _ = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
    }
}

/// Children that are there before the sampling begins are followed too, and what they fork later.
#[test]
fn the_pid_filter_takes_in_children_that_are_there_already() {
    let busy =
        Busy::shell("sh -c 'while :; do :; done' & sh -c 'sleep 1; sh -c \"while :; do :; done\" & wait' & wait");
    busy.wait_for_children(2);
    let run = run(options(499, Target::Pids(vec![busy.0.id()])), Duration::from_secs(3), Duration::from_secs(1));
    let pids: BTreeSet<u32> = run.samples.iter().map(|sample| sample.pid).filter(|pid| *pid != busy.0.id()).collect();
    pids.iter().for_each(|pid| drop(Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status()));
    // The spinning child, the spinning grandchild; the sleeping ones show up when they start and end, if at all.
    let busy_pids = pids.iter().filter(|pid| run.samples.iter().filter(|sample| sample.pid == **pid).count() > 100);
    assert_eq!(busy_pids.count(), 2, "of {pids:?}");
}

/// A cgroup v2 of our own, removed with its value.
struct TestCgroup(PathBuf);

impl TestCgroup {
    fn create(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn add(&self, busy: &Busy) {
        std::fs::write(self.0.join("cgroup.procs"), busy.0.id().to_string()).unwrap();
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// The filter takes in the cgroup itself and those below it, and nobody else.
#[test]
fn the_cgroup_filter_takes_in_the_groups_below() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap().split(' ').nth(4).unwrap();
    let name = format!("profiler-test-{}", std::process::id());
    let above = TestCgroup::create(Path::new(mount).join(&name));
    let below = TestCgroup::create(above.0.join("below"));
    let busy = [Busy::spinning(), Busy::spinning(), Busy::spinning()];
    above.add(&busy[0]);
    below.add(&busy[1]);
    let sampled = |path: &str| {
        let target = Target::Cgroup(Cgroup::find(Path::new(path)).unwrap());
        let members: BTreeSet<u32> = target.members().unwrap().into_iter().collect();
        let run = run(options(499, target), Duration::from_secs(1), Duration::from_secs(1));
        let counters = run.counters;
        assert!(counters.filtered > 0, "the third process runs too: {counters:?}");
        assert_eq!(counters.taken, run.samples.len() as u64 + run.lost + counters.ring_full);
        let sampled: BTreeSet<u32> = run.samples.iter().map(|sample| sample.pid).collect();
        assert_eq!(sampled, members, "who is listed is who is sampled");
        sampled
    };
    assert_eq!(sampled(&format!("/{name}")), BTreeSet::from([busy[0].0.id(), busy[1].0.id()]));
    assert_eq!(sampled(below.0.to_str().unwrap()), BTreeSet::from([busy[1].0.id()]));
    drop(busy);
}

/// With stack maps of eight entries and hundreds of stacks nothing is lost and nothing mixed.
#[test]
fn tiny_stack_maps_lose_nothing_and_mix_nothing() {
    let _busy = [Busy::spinning(), Busy::shell("while :; do read line < /proc/self/status; done")];
    let options = SamplerOptions { user_stack_slots: 8, kernel_stack_buckets: 8, ..options(997, Target::All) };
    let run = run(options, Duration::from_secs(4), Duration::from_millis(500));
    let counters = run.counters;
    assert_eq!(counters.taken, run.samples.len() as u64 + run.lost + counters.ring_full, "every sample accounted for");
    assert_eq!((run.lost, counters.ring_full, run.hash_conflicts, counters.kernel_failed), (0, 0, 0, 0));
    // Two CPUs that fill one of eight buckets at the same instant: found out, and as good as never.
    assert!(
        run.kernel_mixed <= 2,
        "{} kernel stacks began with another instruction than was interrupted",
        run.kernel_mixed
    );
    assert!(counters.kernel_inline > 0, "eight buckets must collide: {counters:?}");
    assert!(counters.user_inline > 100, "eight slots must be taken over again and again: {counters:?}");
    for sample in &run.samples {
        assert!(sample.kernel.iter().all(|frame| *frame >> 63 == 1), "kernel frames are kernel addresses");
        assert!(sample.user.iter().all(|frame| frame >> 56 == 0), "user frames are user addresses");
        assert!(!sample.kernel.is_empty() || !sample.user.is_empty(), "every sample has a stack");
    }
    let in_kernel = run.samples.iter().filter(|sample| !sample.kernel.is_empty()).count();
    assert!(in_kernel > 100, "{in_kernel} samples in the kernel");
}

/// Our own programs in the kernel are shown as ours, by their tags; what others have loaded is not.
#[test]
fn our_own_programs_are_named_as_ours() {
    let sampler = Sampler::start(options(97, Target::All), boot_now()).unwrap();
    let kallsyms = std::fs::read_to_string("/proc/kallsyms").unwrap();
    // `ffffffffc0200abc t bpf_prog_6deef7357e7b4530_sample\t[bpf]`
    let programs: Vec<u64> = kallsyms
        .lines()
        .filter(|line| line.contains(" bpf_prog_") && line.contains("_sample\t"))
        .map(|line| u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap())
        .collect();
    assert!(!programs.is_empty(), "the kernel's JIT shows no program: is net.core.bpf_jit_kallsyms 0?");
    let mut worker =
        NamesWorker::new(WorkerCommand { program: env!("CARGO_BIN_EXE_profiler").into(), ..WorkerCommand::default() });
    let names = format!("{:?}", worker.of_kernel(&programs, None).unwrap());
    assert!(names.contains("\"sample [profiler]\""), "{names}");
    drop(sampler);
    let kallsyms_later = format!("{:?}", worker.of_kernel(&programs, None).unwrap());
    assert!(!kallsyms_later.contains("[profiler]"), "{kallsyms_later}");
}

/// How many of the ticks that fall on `phase` and every `period` after it lie in a hold.
fn ticks_within(holds: &[[u64; 2]], phase: u64, period: u64) -> u64 {
    let until = |at: u64| (at + period - phase).div_ceil(period);
    holds.iter().map(|[begin, end]| until(*end) - until(*begin)).sum()
}

/// Ticks are not idle when the kernel skipped our program, because another one held the CPU: each is counted, with its cause, and
/// all that are due are busy, idle or missed.
#[test]
fn ticks_that_another_program_took_are_missed_and_not_idle() {
    const HZ: u32 = 997;
    let period = 1_000_000_000 / u64::from(HZ);
    let mut sampler = Sampler::start(options(HZ, Target::All), boot_now()).unwrap();
    let (begin, before) = (Instant::now(), sampler.counters(0).unwrap());
    let holder = std::thread::spawn(|| held::hold(1, Duration::from_secs(3)));
    let mut times = Vec::new();
    while !holder.is_finished() {
        std::thread::sleep(Duration::from_millis(50));
        let samples = sampler.poll().drained.samples;
        times.extend(samples.into_iter().filter(|(_, sample)| sample.cpu == 1).map(|(_, sample)| sample.time.0));
    }
    let holds = holder.join().unwrap();
    let (unseen, length, after) = (sampler.unseen().unwrap(), begin.elapsed(), sampler.counters(0).unwrap());
    let missed = unseen.missed;
    sampler.stop().unwrap();

    // Samples show where in a period the ticks lie.
    let ahead = boot_now().0.saturating_sub(monotonic_nanos());
    let half = period / 2;
    let first = (times[0] - ahead) % period;
    let mut offsets: Vec<u64> =
        times.iter().map(|time| ((time - ahead) % period + period + half - first) % period).collect();
    offsets.sort_unstable();
    let phase = (first + period + offsets[offsets.len() / 2] - half) % period;
    let truth = ticks_within(&holds, phase, period);
    let (busy, total) = (missed.of(MissCause::ProgramBusy), missed.total());
    println!("{} holds: {truth} ticks fell into them, {busy} of {total} missed: {missed:?}", holds.len());
    assert!(truth > 200, "the CPU was held: {truth}");
    // At the edges of a hold a tick may go either way, other programs on this machine take some too, and while a virtual CPU is not
    // run its timer is late instead.
    let edges = holds.len() as u64 / 10 + 2;
    let late = missed.of(MissCause::TimerLate);
    assert!(busy <= truth + edges, "{busy} missed, {truth} in holds");
    assert!(busy + late + edges >= truth && busy > truth / 2, "{busy} missed and {late} late, {truth} in holds");
    let seen = after.ticks - before.ticks + unseen.idle;
    let due = length.as_nanos() as u64 / period * u64::from(sampler.cpus());
    assert!((seen + total).abs_diff(due) <= 8, "{seen} seen and {total} missed of {due}");
}

/// Minor and major faults of a process and of the children that it has waited for: fields 8 to 11 after its name (`man 5 proc_pid_stat`).
fn faults(pid: u32) -> [u64; 2] {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(7).take(4);
    let counted: Vec<u64> = fields.map(|faults| faults.parse().unwrap()).collect();
    [counted[0] + counted[1], counted[2] + counted[3]]
}

/// Blocks until the process waits for its input.
fn wait_until_it_reads(pid: u32) {
    let begin = Instant::now();
    while !std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap().contains("pipe_read") {
        assert!(begin.elapsed() < Duration::from_secs(20), "the process does not wait for its input");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Two events beside the clock, each of which makes a sample every time: the kernel's own counts of a process and its children, exactly. Each
/// sample has the stack that the event came in.
#[test]
fn events_beside_the_clock_are_sampled_as_often_as_they_happen() {
    let line = "read go; for i in 1 2 3; do x=$(printf %0400000d 0); done; echo done; read end";
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", line]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut shell = Busy(shell.unwrap());
    let pid = shell.0.id();
    wait_until_it_reads(pid);
    let others = [Counted::MinorFaults, Counted::MajorFaults].map(|counted| OtherEvent { counted, period: 1 });
    let options = SamplerOptions { others: others.into(), ..options(997, Target::Pids(vec![pid])) };
    let before = faults(pid);
    let mut sampler = Sampler::start(options, boot_now()).unwrap();
    shell.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let mut done = [0; 5];
    shell.0.stdout.as_mut().unwrap().read_exact(&mut done).unwrap();
    wait_until_it_reads(pid);
    let mut samples = Vec::new();
    let mut lost = 0;
    let mut poll = |sampler: &mut Sampler| {
        let drained = sampler.poll().drained;
        lost += drained.lost();
        samples.extend(drained.samples.into_iter().map(|(_, sample)| sample));
    };
    sampler.stop().unwrap();
    poll(&mut sampler);
    let after = faults(pid);
    for (event, nth) in [(1, 0), (2, 1)] {
        let counters = sampler.counters(event).unwrap();
        let sampled = samples.iter().filter(|sample| sample.event == event).count() as u64;
        assert_eq!(sampled, after[nth] - before[nth], "event {event}: {counters:?}");
        assert_eq!((counters.taken, counters.ring_full), (sampled, 0));
    }
    assert!(after[0] - before[0] > 500, "three times 400 kB in two processes: {before:?}, {after:?}");
    assert_eq!(lost, 0);
    let faults = samples.iter().filter(|sample| sample.event == 1);
    assert!(faults.clone().all(|sample| !sample.user.is_empty()), "the program's stack is there");
    assert!(faults.clone().any(|sample| sample.kernel.is_empty()), "the program's own instructions fault");
}

/// How often a process left the CPU.
fn switches(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
    counts.map(|line| line.rsplit('\t').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// A switch is of who leaves the CPU: each time that a shell waits for its next line, in the kernel below its `read`.
#[test]
fn context_switches_are_of_who_leaves_the_cpu() {
    let mut shell = Command::new("sh");
    let mut shell = Busy(shell.args(["-c", "while read line; do :; done"]).stdin(Stdio::piped()).spawn().unwrap());
    let pid = shell.0.id();
    wait_until_it_reads(pid);
    let others = vec![OtherEvent { counted: Counted::ContextSwitches, period: 1 }];
    let options = SamplerOptions { others, ..options(97, Target::Pids(vec![pid])) };
    let before = switches(pid);
    let mut sampler = Sampler::start(options, boot_now()).unwrap();
    for _ in 0..30 {
        let (begin, known) = (Instant::now(), switches(pid));
        shell.0.stdin.as_mut().unwrap().write_all(b"line\n").unwrap();
        while switches(pid) == known {
            assert!(begin.elapsed() < Duration::from_secs(20), "the shell does not wait again");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    wait_until_it_reads(pid);
    sampler.stop().unwrap();
    let after = switches(pid);
    let samples = sampler.poll().drained.samples;
    let switched: Vec<&RawSample> =
        samples.iter().map(|(_, sample)| sample).filter(|sample| sample.event == 1).collect();
    assert_eq!(switched.len() as u64, after - before);
    assert!(switched.len() >= 30);
    assert!(switched.iter().all(|sample| sample.pid == pid && !sample.kernel.is_empty() && !sample.user.is_empty()));
}

/// An event that comes all the time fills its part of the ring, loses samples by count, and takes none of the clock's.
#[test]
fn a_busy_event_leaves_the_clock_its_room() {
    let _storm = Busy::shell("while :; do /bin/true; done");
    let others = vec![OtherEvent { counted: Counted::PageFaults, period: 1 }];
    let mut sampler = Sampler::start(SamplerOptions { others, ..options(97, Target::All) }, boot_now()).unwrap();
    let mut sent = [0; 2];
    let mut poll = |sampler: &mut Sampler| {
        let drained = sampler.poll().drained;
        drained.samples.iter().for_each(|(_, sample)| sent[sample.event as usize] += sample.weight);
        for (sent, losses) in sent.iter_mut().zip(&drained.losses) {
            *sent += losses.total();
        }
    };
    let begin = Instant::now();
    while sampler.counters(1).unwrap().ring_full == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "the event never fills its part of the ring");
        std::thread::sleep(Duration::from_millis(500));
        if sampler.counters(1).unwrap().ring_full == 0 {
            poll(&mut sampler);
        }
    }
    // Ticks that find the other event's part full.
    let full = sampler.counters(0).unwrap().taken;
    while sampler.counters(0).unwrap().taken < full + 50 {
        assert!(begin.elapsed() < Duration::from_secs(60), "the clock does not tick");
        std::thread::sleep(Duration::from_millis(50));
    }
    sampler.stop().unwrap();
    poll(&mut sampler);
    let [clock, faults] = [0, 1].map(|event| sampler.counters(event).unwrap());
    assert_eq!((clock.taken, clock.ring_full), (sent[0], 0), "{clock:?}");
    assert_eq!(faults.taken, sent[1] + faults.ring_full, "{faults:?}");
}

/// There are counters for so many.
#[test]
fn more_events_than_there_are_counters_for_are_refused() {
    let others = vec![OtherEvent { counted: Counted::PageFaults, period: 1000 }; profiler_ebpf::MAX_EVENTS as usize];
    let refused = Sampler::load(SamplerOptions { others, ..options(97, Target::All) }).err().unwrap();
    assert_eq!(refused.to_string(), "more than 7 events beside the clock: leave some out");
}
