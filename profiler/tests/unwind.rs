//! The walk by rows on this kernel, for real: needs root, and fails without.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use object::{Object as _, ObjectSymbol as _};
use profiler::profile::{RawSample, SampleEvent, StackEnd};
use profiler::sampler::{Frequency, Sampler, SamplerOptions, Target, UnwindMaps, WalkLoop};
use profiler::sys::clock::boot_now;
use profiler::unwind::host::{Pool, finish, image_of};
use profiler::unwind::{Kernel as _, PageMemory as _};
use profiler_ebpf::tables::{Cfa, Mapping, Rule, Saved, Space, UnwindMode};

/// A program that is gone when dropped, with what it has forked.
struct Running(Child);

impl Running {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        Self::of(Command::new(program).args(arguments).stdin(Stdio::null()))
    }

    fn of(command: &mut Command) -> Self {
        Self(command.process_group(0).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        self.0.wait().unwrap();
    }
}

/// The fixture, its labels, and the one place where it is mapped.
struct Fixture {
    program: PathBuf,
    labels: BTreeMap<String, u64>,
    _folder: tempfile::TempDir,
}

/// `sp + offset`, the return address below, the frame pointer where it is.
fn by_stack_pointer(offset: i32) -> Rule {
    Rule {
        cfa: Cfa::Register as u8,
        cfa_register: 7,
        ra: Saved::AtCfa as u8,
        ra_offset: -8,
        cfa_offset: offset,
        ..Rule::default()
    }
}

/// Where the fixture's labels change the rule.
fn rules() -> Vec<(&'static str, Rule)> {
    let pushed = |rule: Rule| Rule { fp: Saved::AtCfa as u8, fp_offset: -16, ..rule };
    let end = Rule { cfa: Cfa::End as u8, ..Rule::default() };
    vec![
        ("_start", end),
        ("first", by_stack_pointer(8)),
        ("first_body", by_stack_pointer(48)),
        ("first_tail", by_stack_pointer(8)),
        ("first_rest", by_stack_pointer(48)),
        ("second", by_stack_pointer(8)),
        ("second_pushed", pushed(by_stack_pointer(16))),
        ("second_body", pushed(Rule { cfa_register: 6, ..by_stack_pointer(16) })),
        ("second_tail", by_stack_pointer(8)),
        ("spin", by_stack_pointer(48)),
        ("end", Rule::default()),
    ]
}

impl Fixture {
    /// Builds it; `PROFILER_FIXTURES` is a folder that has it, for a machine without a compiler.
    fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let built = std::env::var_os("PROFILER_FIXTURES").map(|folder| Path::new(&folder).join("rows"));
        let program = built.unwrap_or_else(|| {
            let program = folder.path().join("rows");
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rows.S");
            let cc =
                Command::new("cc").args(["-static", "-nostdlib", "-o"]).args([&program, &source]).status().unwrap();
            assert!(cc.success(), "cc {}", source.display());
            program
        });
        let bytes = std::fs::read(&program).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let labels = file.symbols().map(|symbol| (symbol.name().unwrap().to_owned(), symbol.address())).collect();
        Self { program, labels, _folder: folder }
    }

    fn run(&self, depth: u32) -> Running {
        let running = Running::start(&self.program, &[&depth.to_string()]);
        // Down there before anybody looks: it takes microseconds, and a tick of processor time is ten milliseconds.
        let worked = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid())).unwrap();
            // The name may have spaces; user time is the 12th field after it (`man 5 proc_pid_stat`).
            stat.rsplit_once(')').unwrap().1.split_whitespace().nth(11) != Some("0")
        };
        for _ in 0..3000 {
            if worked() {
                return running;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the program did not get a CPU within 30 s");
    }

    /// First and last address of the code: from the label `_start`, rounded to memory pages.
    fn range(&self) -> (u64, u64) {
        (self.labels["_start"] & !4095, self.labels["end"].next_multiple_of(4096))
    }

    /// The tables of a process that is nothing but this program.
    fn tables(&self) -> (Pool, Space) {
        let mut pool = Pool::default();
        let (start, end) = self.range();
        let rows: Vec<(u64, u16)> =
            rules().iter().map(|(label, rule)| (self.labels[*label] - start, pool.add_rule(*rule))).collect();
        let image = pool.add_pages(&image_of(&rows));
        let granules = (rows.last().unwrap().0 >> 9) as u32 + 1;
        let space = pool.space(&[Mapping { start, end, bias: start.wrapping_neg(), image, granules }]);
        (pool, space)
    }

    /// How many frames there are `depth` calls of `first` below `_start`.
    fn frames(depth: u64) -> usize {
        (1 + depth + (depth - 1) / 8) as usize
    }

    /// The label at or before an address.
    fn label(&self, address: u64) -> &str {
        self.labels.iter().filter(|(_, at)| **at <= address).max_by_key(|(_, at)| **at).unwrap().0
    }

    /// Whether the stack is this program's, whole, `depth` calls deep.
    fn check(&self, sample: &RawSample, depth: u64) {
        assert_eq!(sample.end, StackEnd::Complete);
        assert_eq!(sample.user.len(), Self::frames(depth));
        let labels: Vec<&str> = sample.user.iter().map(|frame| self.label(*frame)).collect();
        assert_eq!(labels[0], "spin");
        assert_eq!(*labels.last().unwrap(), "_start");
        let seconds = labels.iter().filter(|label| **label == "second_body").count();
        assert_eq!(seconds as u64, (depth - 1) / 8, "{labels:?}");
    }
}

/// Copies the tables into the kernel's, pages first, and gives them to the process.
fn load(maps: &mut UnwindMaps, pool: &Pool, space: Space, pid: u32) {
    maps.add_chunks(0..1).unwrap();
    for (number, page) in (0..).zip(pool.pages()) {
        maps.write(number, page);
    }
    for (number, rule) in (0..).zip(pool.rules()) {
        maps.set_rule(number, *rule);
    }
    maps.add_space(pid, space, boot_now()).unwrap();
    assert_eq!(maps.space_of(pid), Some(space));
}

fn options(pid: u32, walk_loop: WalkLoop) -> SamplerOptions {
    let target = Target::Pids(vec![pid]);
    let options = SamplerOptions::new(Frequency::new(499).unwrap(), SampleEvent::CpuClock, target);
    SamplerOptions { unwind: UnwindMode::Auto, walk_loop: Some(walk_loop), ..options }
}

/// The next samples; on a machine that is busy elsewhere it takes a while until there are enough.
fn samples(sampler: &mut Sampler) -> Vec<RawSample> {
    const ENOUGH: usize = 50;
    // What was taken until now may not know what has just been loaded.
    sampler.poll();
    let mut samples = Vec::new();
    for _ in 0..600 {
        std::thread::sleep(Duration::from_millis(50));
        let drained = sampler.poll().drained;
        assert_eq!(drained.lost(), 0);
        samples.extend(drained.samples.into_iter().map(|(_, sample)| sample));
        if samples.len() >= ENOUGH {
            return samples;
        }
    }
    panic!("{} samples of a spinning process in 30 s", samples.len());
}

/// A program that keeps no frame pointer shows its whole stack, by rows written by hand, whatever drives the walk.
#[test]
fn rows_lead_from_the_leaf_to_the_first_function() {
    let fixture = Fixture::build();
    for (walk_loop, depth) in
        [(WalkLoop::BpfLoop, 37), (WalkLoop::TailCalls, 37), (WalkLoop::BpfLoop, 450), (WalkLoop::TailCalls, 450)]
    {
        let running = fixture.run(depth);
        let mut sampler = Sampler::start(options(running.pid(), walk_loop), boot_now()).unwrap();
        let (pool, space) = fixture.tables();
        load(&mut sampler.take_unwind_maps().unwrap(), &pool, space, running.pid());
        samples(&mut sampler).iter().for_each(|sample| fixture.check(sample, u64::from(depth)));
    }
}

/// Nothing known of the process, then its file not loaded: the samples bring what it takes to finish them later, on the host, by the
/// same walk.
#[test]
fn a_sample_that_came_too_early_is_finished_later() {
    let fixture = Fixture::build();
    // A stack of 14 KiB, and one of 50: behind the first pages more are carried.
    for depth in [100, 400] {
        finishes_later(&fixture, depth);
    }
}

fn finishes_later(fixture: &Fixture, depth: u32) {
    let running = fixture.run(depth);
    let (mut pool, space) = fixture.tables();
    let (start, end) = fixture.range();
    let not_loaded = pool.space(&[Mapping { start, end, image: Mapping::NOT_LOADED, ..Mapping::default() }]);
    let mut sampler = Sampler::start(options(running.pid(), WalkLoop::BpfLoop), boot_now()).unwrap();
    for expected in [StackEnd::NoMappings, StackEnd::RowsNotLoaded] {
        if expected == StackEnd::RowsNotLoaded {
            load(&mut sampler.take_unwind_maps().unwrap(), &pool, not_loaded, running.pid());
        }
        let all = samples(&mut sampler);
        assert!(all.iter().all(|sample| (sample.end, sample.user.len()) == (expected, 1)));
        // Where the ring buffer is half full, on a machine that is busy elsewhere, a tail is left out.
        let with_tail: Vec<RawSample> = all.into_iter().filter(|sample| sample.unfinished.is_some()).collect();
        assert!(!with_tail.is_empty());
        for mut sample in with_tail {
            finish(&mut sample, &pool, space, UnwindMode::Auto, &|_| None);
            fixture.check(&sample, u64::from(depth));
        }
    }
}

/// Tails take no more than half of the ring buffer; samples without them go on.
#[test]
fn no_sample_is_lost_for_its_tail() {
    let fixture = Fixture::build();
    let running = fixture.run(450);
    let options =
        SamplerOptions { frequency: Frequency::new(997).unwrap(), ..options(running.pid(), WalkLoop::BpfLoop) };
    let mut sampler = Sampler::start(options, boot_now()).unwrap();
    // More tails than half of the ring buffer holds: 256 of 16 KiB.
    for _ in 0..600 {
        std::thread::sleep(Duration::from_millis(50));
        if sampler.counters(0).unwrap().taken > 400 {
            break;
        }
    }
    sampler.stop().unwrap();
    let mut samples = Vec::new();
    for _ in 0..3 {
        samples.extend(sampler.poll().drained.samples.into_iter().map(|(_, sample)| sample));
    }
    let counters = sampler.counters(0).unwrap();
    assert_eq!((counters.ring_full, counters.taken), (0, samples.len() as u64));
    let with_tail = samples.iter().filter(|sample| sample.unfinished.is_some()).count();
    assert!(with_tail > 5 && with_tail < samples.len(), "{with_tail} of {}", samples.len());
    assert!(samples.iter().all(|sample| sample.end == StackEnd::NoMappings && sample.user.len() == 1));
}

/// Waits until the processes that have this space are these.
fn wait_for_spaces(maps: &UnwindMaps, id: u32, mut expected: Vec<u32>) {
    expected.sort_unstable();
    let mut seen = Vec::new();
    for _ in 0..200 {
        seen = maps.spaces().filter(|(_, space)| space.id == id).map(|(pid, _)| pid).collect();
        seen.sort_unstable();
        if seen == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{seen:?} have the space, not {expected:?}");
}

/// A child has its parent's mappings from its first instruction; who executes another program, or ends, has none.
#[test]
fn mappings_follow_forks_and_go_with_exec_and_exit() {
    let script = "read go; (while :; do :; done) & echo $!; read go; kill $!; wait; read go; exec cat";
    let mut shell = Running::of(Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()));
    let (mut input, output) = (shell.0.stdin.take().unwrap(), shell.0.stdout.take().unwrap());
    let mut lines = BufReader::new(output).lines();
    let mut sampler = Sampler::start(options(shell.pid(), WalkLoop::BpfLoop), boot_now()).unwrap();
    let space = Space { id: 4242, ..Space::default() };
    let mut maps = sampler.take_unwind_maps().unwrap();
    maps.replace_space(shell.pid(), space, boot_now()).unwrap();
    assert_eq!(maps.space_of(shell.pid()), None, "there is nothing to replace");
    maps.add_space(shell.pid(), space, boot_now()).unwrap();
    writeln!(input, "fork").unwrap();
    let child = lines.next().unwrap().unwrap().parse().unwrap();
    wait_for_spaces(&maps, 4242, vec![shell.pid(), child]);
    writeln!(input, "kill").unwrap();
    wait_for_spaces(&maps, 4242, vec![shell.pid()]);
    maps.replace_space(shell.pid(), Space { id: 4243, ..space }, boot_now()).unwrap();
    assert_eq!(maps.space_of(shell.pid()).map(|space| space.id), Some(4243));
    writeln!(input, "exec").unwrap();
    wait_for_spaces(&maps, 4243, vec![]);
    maps.replace_space(shell.pid(), space, boot_now()).unwrap();
    assert_eq!(maps.space_of(shell.pid()), None, "another program must not get these mappings");
}

/// Once the kernel finds a place free where code is known, the process's space is not believed any more; a space that is older than that is
/// refused, and a newer one taken. What is mapped elsewhere changes nothing.
#[test]
fn a_space_is_not_believed_once_known_code_is_gone() {
    // So large that it is a mapping of its own (`man 3 mallopt`, M_MMAP_THRESHOLD).
    const LEN: usize = 64 << 20;
    let area = || std::hint::black_box(vec![0_u8; LEN]);
    let pid = std::process::id();
    let mut sampler = Sampler::start(options(pid, WalkLoop::BpfLoop), boot_now()).unwrap();
    let mut maps = sampler.take_unwind_maps().unwrap();
    let known = area();
    let start = known.as_ptr() as u64;
    let end = start + LEN as u64;
    let mut pool = Pool::default();
    let space = pool.space(&[Mapping { start, end, image: Mapping::JIT, ..Mapping::default() }]);
    load(&mut maps, &pool, space, pid);
    let before = boot_now();
    let elsewhere = area();
    assert_eq!(maps.space_of(pid), Some(space));
    drop(known);
    let again = area();
    assert_eq!(maps.space_of(pid), None, "{start:#x} is {:?}", again.as_ptr());
    let gone = maps.add_space(pid, space, before).unwrap().unwrap();
    assert!(gone.time > before && gone.start < end && start < gone.end, "{gone:?}");
    assert_eq!(maps.space_of(pid), None);
    assert_eq!(maps.add_space(pid, space, boot_now()).unwrap(), None);
    assert_eq!(maps.space_of(pid), Some(space));
    drop((elsewhere, again));
}
