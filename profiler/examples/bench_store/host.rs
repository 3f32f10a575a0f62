//! A simulated host: what a window of it holds.
//!
//! Every CPU is busy. Samples fall on processes by a Zipf law, on their threads evenly (a pool's threads do the same work),
//! on their stacks by a Zipf law with exponent 1.05. What is popular drifts by 1 % of a program's stacks a minute, services
//! restart every six hours (the same binary under a new pid), and a tenth of the samples are those of processes that live for
//! one window only.
//!
//! What a host did before is another life of it: the same programs with other draws, in windows of five minutes.

use std::sync::Arc;

use profiler::profile::{
    Binary, BinaryId, BootNanos, CpuTicks, Location, Losses, ProcessFacts, ProcessKey, ProcessWindow, SampleEvent,
    StackCount, StackEnd, StartTicks, ThreadName, WallNanos, Window,
};

use crate::dice::{Dice, Urn};
use crate::shapes;

/// Boot id of simulated windows.
pub const BOOT: &str = "simulated";
/// How many windows before window 0 the host was started.
const BOOTED: i64 = 100 * DAY;
/// 2026-11-01T00:00:00Z.
pub const EPOCH: i64 = 1_793_491_200_000_000_000;
/// A window's length.
pub const SECONDS: u64 = 10;

/// Windows of a day.
pub const DAY: i64 = 86_400 / SECONDS as i64;
/// Windows that one window of an earlier life stands for.
pub const COARSE: i64 = 300 / SECONDS as i64;

const DRIFT_PER_MINUTE: f64 = 0.01;
const RESTART_WINDOWS: i64 = 6 * 360;
/// One sample in so many is a brief process's.
const BRIEF: u64 = 10;

/// What a host is like.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub cpus: u32,
    pub hz: u32,
    pub services: u32,
    pub programs: u32,
    /// Threads of a service's pool.
    pub threads: u32,
    pub brief_per_window: u32,
    /// Distinct stacks of all programs together.
    pub stacks: usize,
}

impl Kind {
    /// Samples in a window.
    pub fn samples(&self) -> u64 {
        u64::from(self.cpus) * u64::from(self.hz) * SECONDS
    }
}

/// A program: its stacks by falling weight, and how they are drawn.
struct Program {
    comm: String,
    stacks: Vec<Arc<[Location]>>,
    urn: Urn,
}

/// A process that is there now.
struct Process {
    facts: Arc<ProcessFacts>,
    program: usize,
    threads: u32,
    born: i64,
}

/// The host.
pub struct Host {
    pub kind: Kind,
    dice: Dice,
    programs: Vec<Program>,
    services: Vec<Process>,
    popularity: Urn,
    binaries: Vec<(BinaryId, Arc<Binary>)>,
    names: [ThreadName; 3],
    next_pid: u32,
    window: i64,
}

impl Host {
    /// Before window 0.
    pub fn new(kind: Kind) -> Self {
        Self::since(kind, 0)
    }

    /// Before window `first`.
    pub fn since(kind: Kind, first: i64) -> Self {
        let mut dice = Dice(u64::from(kind.cpus) << 32 | u64::from(kind.hz));
        // A large program has many stacks, a small one few.
        let weights: Vec<f64> = (1..=kind.programs).map(|n| f64::from(n).powf(-0.7)).collect();
        let whole: f64 = weights.iter().sum();
        let programs = (0..kind.programs)
            .map(|n| {
                let count = (kind.stacks as f64 * weights[n as usize] / whole).ceil() as usize;
                Program {
                    comm: format!("service-{n}"),
                    stacks: shapes::stacks(n, count, &mut dice),
                    urn: Urn::zipf(count, 1.05),
                }
            })
            .collect();
        let mut host = Self {
            kind,
            dice,
            programs,
            services: Vec::new(),
            popularity: Urn::zipf(kind.services as usize, 0.9),
            binaries: shapes::binaries(kind.programs),
            names: ["main", "worker", "io"].map(Into::into),
            next_pid: 1000,
            window: first,
        };
        host.dice = Dice(host.dice.0 ^ first.cast_unsigned());
        for n in 0..kind.services {
            // At different ages, so that not all restart at once.
            let service = host.spawn((n % kind.programs) as usize, kind.threads >> (n % 4));
            let born = first + host.dice.below(RESTART_WINDOWS.cast_unsigned()).cast_signed();
            host.services.push(Process { born, ..service });
        }
        host
    }

    /// The window that comes next.
    pub fn at(&self) -> i64 {
        self.window
    }

    /// By the boot clock, in seconds.
    fn uptime(&self) -> u64 {
        (self.window + BOOTED).cast_unsigned() * SECONDS
    }

    fn spawn(&mut self, program: usize, threads: u32) -> Process {
        self.next_pid += 1;
        let pid = 1 + self.next_pid % 4_194_303;
        let comm = self.programs[program].comm.clone();
        let facts = ProcessFacts {
            key: ProcessKey { pid, start: StartTicks(self.uptime() * 100) },
            exe: Some(shapes::exe(program as u32)),
            cgroup: format!("/system.slice/{comm}.service"),
            container: None,
            unit: Some(format!("{comm}.service")),
            comm,
        };
        Process { facts: Arc::new(facts), program, threads: threads.max(1), born: self.window }
    }

    /// The next ten seconds.
    pub fn next_window(&mut self) -> Window {
        self.next(1)
    }

    /// The time of so many windows as one.
    pub fn next(&mut self, span: i64) -> Window {
        (self.window..self.window + span).filter(|window| window % 6 == 0).for_each(|_| self.drift());
        for n in 0..self.services.len() {
            if self.window >= self.services[n].born + RESTART_WINDOWS {
                let Process { program, threads, .. } = self.services[n];
                self.services[n] = self.spawn(program, threads);
            }
        }
        let brief: Vec<_> = (0..i64::from(self.kind.brief_per_window) * span)
            .map(|_| {
                let program = self.dice.below(self.programs.len() as u64) as usize;
                self.spawn(program, 1)
            })
            .collect();
        let draws = self.draw(brief.len(), span);
        let mut window = self.empty_window(span);
        for of_process in draws.chunk_by(|a, b| a >> 40 == b >> 40) {
            let at = (of_process[0] >> 40) as usize;
            let process = self.services.get(at).unwrap_or_else(|| &brief[at - self.services.len()]);
            let stacks = of_process.chunk_by(|a, b| a == b).map(|equal| self.row(process, equal[0], equal.len()));
            window.processes.push(ProcessWindow { facts: Arc::clone(&process.facts), stacks: stacks.collect() });
        }
        window.taken = window.samples();
        self.window += span;
        window
    }

    /// One number a sample, (process, thread, rank of the stack), sorted.
    fn draw(&mut self, brief: usize, span: i64) -> Vec<u64> {
        let samples = self.kind.samples() * span.cast_unsigned();
        let mut draws: Vec<u64> = Vec::with_capacity(samples as usize);
        for n in 0..samples {
            let (process, program, threads) = if brief > 0 && n % BRIEF == 0 {
                let at = self.dice.below(brief as u64) as usize;
                // Which program it runs does not matter to the draw of its rank beyond the number of its stacks.
                (self.services.len() + at, None, 1)
            } else {
                let at = self.popularity.draw(&mut self.dice);
                (at, Some(self.services[at].program), self.services[at].threads)
            };
            let rank = match program {
                Some(program) => self.programs[program].urn.draw(&mut self.dice),
                None => self.dice.below(20) as usize,
            };
            let thread = match self.dice.below(threads.into()) {
                // No more is kept of a thread than its name: one of each is enough where nobody measures the writer.
                thread if span > 1 => thread.min(1).max(if thread % 8 == 7 { 7 } else { 0 }),
                thread => thread,
            };
            draws.push((process as u64) << 40 | thread << 32 | rank as u64);
        }
        draws.sort_unstable();
        draws
    }

    fn row(&self, process: &Process, draw: u64, count: usize) -> StackCount {
        let (thread, rank) = ((draw >> 32 & 0xff) as u32, draw as u32 as usize);
        let stacks = &self.programs[process.program].stacks;
        let name = match thread {
            0 => 0,
            n if n % 8 == 7 => 2,
            _ => 1,
        };
        StackCount {
            tid: process.facts.key.pid + thread,
            thread: Arc::clone(&self.names[name]),
            stack: Arc::clone(&stacks[rank % stacks.len()]),
            end: if rank % 10 == 9 { StackEnd::FramePointerLost } else { StackEnd::Complete },
            count: count as u64,
            times: Vec::new(),
        }
    }

    /// Exchanges the ranks of a few stacks once a minute.
    fn drift(&mut self) {
        for program in &mut self.programs {
            let count = program.stacks.len() as u64;
            for _ in 0..(count as f64 * DRIFT_PER_MINUTE / 2.0).ceil() as u64 {
                let (a, b) = (self.dice.below(count) as usize, self.dice.below(count) as usize);
                program.stacks.swap(a, b);
            }
        }
    }

    fn empty_window(&self, span: i64) -> Window {
        let n = self.window;
        let start = self.uptime() * 1_000_000_000;
        Window {
            host: Arc::default(),
            boot_id: BOOT.into(),
            start: BootNanos(start),
            end: BootNanos(start + span.cast_unsigned() * SECONDS * 1_000_000_000),
            wall_start: wall(n),
            wall_end: wall(n + span),
            event: SampleEvent::CpuClock,
            hz: self.kind.hz,
            cpus: self.kind.cpus,
            ticks: CpuTicks { busy: self.kind.samples() * span.cast_unsigned(), ..CpuTicks::default() },
            taken: 0,
            losses: Losses::default(),
            binaries: self.binaries.clone(),
            processes: Vec::new(),
        }
    }
}

/// When window `n` begins.
pub fn wall(n: i64) -> WallNanos {
    WallNanos(EPOCH + n * SECONDS.cast_signed() * 1_000_000_000)
}
