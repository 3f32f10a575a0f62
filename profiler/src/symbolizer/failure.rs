//! Why a child did not answer: by its own fault, which is its file's, or because of something else.
//!
//! - A fault is a signal that a process brings upon itself, an exit, an answer that is none, or processor time used up.
//! - Whatever else ends, stops or delays a child is no fault. A file that does not answer (on a dead network file system, or one in user
//!   space whose server hangs) is none either; it is told from a busy host by the processor time that the child used, and waited for
//!   (`man 5 proc_pid_stat`, `Documentation/scheduler/sched-stats.rst` of the kernel), never by wall time alone.
//! - Time in which the parent did not look (it was stopped or frozen itself, or starved) does not count.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::child_counts::Restart;

/// A child that waits for a CPU is replaced after so many times the processor time that it may use.
const LONGEST_FACTOR: u32 = 12;
/// One whose file answers slowly, after so many times that in which it neither worked nor waited for a CPU.
const SLOW_FACTOR: u32 = 6;
/// Most time that counts between two looks: a few times what is usual.
const MAX_STEP: Duration = Duration::from_millis(500);

/// Signals that a process brings upon itself (`man 7 signal`): invalid memory or instructions, `abort`, a forbidden system call, its
/// limits. One that root sends looks the same; two strikes and another try later make up for that.
const OWN_SIGNALS: [libc::c_int; 9] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// Why a child did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// By its own doing, which is its file's.
    #[error("it failed by itself: {0}")]
    Fault(String),
    /// It waited without using processor time, in all or for too long at once: for its file.
    #[error("it waited for {0:?} and did not work: its file does not answer")]
    NoAnswer(Duration),
    /// Something else ended it.
    #[error("something ended it: {0}")]
    Killed(String),
    /// It was stopped (`SIGSTOP`, or a debugger).
    #[error("something stopped it")]
    Stopped,
    /// It had too little processor time.
    #[error("it got too little processor time in {0:?}: the host is busy")]
    Starved(Duration),
    /// Who asked has no more time.
    #[error("there was no time left")]
    Late,
}

impl Failure {
    /// For the figures; `None` when it says nothing of the child.
    pub fn restart(&self) -> Option<Restart> {
        match self {
            Self::Fault(_) => Some(Restart::Fault),
            Self::NoAnswer(_) => Some(Restart::NoAnswer),
            Self::Killed(_) => Some(Restart::Killed),
            Self::Stopped => Some(Restart::Stopped),
            Self::Starved(_) => Some(Restart::Starved),
            Self::Late => None,
        }
    }

    /// It answered, and not in our language.
    pub fn nonsense() -> Self {
        Self::Fault("its answer is none".into())
    }

    /// Of a child that has ended. The kernel's `SIGKILL` at the hard limit on processor time is its own doing, too.
    pub fn of_end(status: ExitStatus, used_up: bool) -> Self {
        match status.signal() {
            Some(signal) if OWN_SIGNALS.contains(&signal) || signal == libc::SIGKILL && used_up => {
                Self::Fault(status.to_string())
            }
            Some(_) => Self::Killed(status.to_string()),
            // It panicked, or refused the question.
            None => Self::Fault(status.to_string()),
        }
    }
}

/// Times of a process since it began.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// Processor time.
    used: Duration,
    /// Time that it wanted a CPU and had none; zero where the kernel does not tell.
    queued: Duration,
}

/// How a child that is asked gets on.
#[derive(Debug)]
pub(super) struct Watch {
    pid: Option<u32>,
    /// Processor time of the question; as long may it wait without using any.
    patience: Duration,
    deadline: Option<Instant>,
    before: Times,
    looked: Instant,
    /// Time of the question that was looked at.
    seen: Duration,
    /// What of that had passed, and what the child had used, when it was last seen to work.
    worked: (Duration, Duration),
}

impl Watch {
    /// Begins when the question is asked.
    pub fn new(pid: Option<u32>, patience: Duration, deadline: Option<Instant>) -> Self {
        let (before, worked) = (Times::default(), (Duration::ZERO, Duration::ZERO));
        let mut watch = Self { pid, patience, deadline, before, looked: Instant::now(), seen: Duration::ZERO, worked };
        watch.before = watch.stat().map_or(before, |(_, times)| times);
        watch
    }

    /// Its state and times; `None` once it is gone.
    fn stat(&self) -> Option<(u8, Times)> {
        let pid = self.pid?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything; field 3 follows the last one.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?.bytes().next()?;
        let mut ticks = fields.skip(14 - 4).map(|field| field.parse::<u64>().unwrap_or(0));
        // USER_HZ is 100: a tick is 10 ms.
        let used = Duration::from_millis((ticks.next()? + ticks.next()?) * 10);
        // Finer, where the kernel has it: a page that a slow disk has given is work of some microseconds.
        let fine = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        let mut fine = fine.split_whitespace().map_while(|field| field.parse().ok()).map(Duration::from_nanos);
        let (on_cpu, queued) = (fine.next().unwrap_or_default(), fine.next().unwrap_or_default());
        Some((state, Times { used: used.max(on_cpu), queued }))
    }

    /// Whether the processor time of the question is used up. Known until the child is reaped.
    pub fn is_used_up(&self) -> bool {
        self.stat().is_some_and(|(_, times)| times.used.saturating_sub(self.before.used) >= self.patience)
    }

    /// Whether there is a reason to wait on.
    ///
    /// # Errors
    /// There is none, and why.
    pub fn look(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Failure::Late);
        }
        self.seen += now.saturating_duration_since(self.looked).min(MAX_STEP);
        self.looked = now;
        self.stat().map_or(Ok(()), |(state, times)| self.judge(state, times))
    }

    fn judge(&mut self, state: u8, times: Times) -> Result<(), Failure> {
        let used = times.used.saturating_sub(self.before.used);
        let queued = times.queued.saturating_sub(self.before.queued);
        match state {
            b'T' | b't' => return Err(Failure::Stopped),
            // It wants to run, whether it is let or not.
            b'R' => self.worked = (self.seen, used),
            _ if used > self.worked.1 => self.worked = (self.seen, used),
            _ => {}
        }
        if used >= self.patience {
            return Err(Failure::Fault(format!("it has used {used:?} of processor time")));
        }
        let idle = self.seen.saturating_sub(self.worked.0);
        let waited = self.seen.saturating_sub(used + queued);
        if idle >= self.patience || waited >= self.patience * SLOW_FACTOR {
            return Err(Failure::NoAnswer(idle.max(waited)));
        }
        if self.seen >= self.patience * LONGEST_FACTOR { Err(Failure::Starved(self.seen)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::process::{Child, Command};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// A child that crashed, aborted, panicked or used up its time did so by itself; one that was killed or asked to end did not.
    #[test]
    fn own_faults_are_told_from_kills() {
        let of_end = |status| Failure::of_end(ExitStatus::from_raw(status), false);
        assert!(OWN_SIGNALS.iter().all(|signal| matches!(of_end(*signal), Failure::Fault(_))));
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            assert!(matches!(of_end(signal), Failure::Killed(_)), "{signal}");
        }
        let hard_limit = Failure::of_end(ExitStatus::from_raw(libc::SIGKILL), true);
        assert!(matches!(hard_limit, Failure::Fault(_)), "{hard_limit}");
        assert!(matches!(of_end(101 << 8), Failure::Fault(_)), "a panic");
    }

    /// A process that is stopped, waits, or works is each told from the others, by state and processor time and not by the clock.
    #[test]
    fn a_stopped_child_is_told_from_one_that_waits_or_works() {
        let signal = |child: &Child, signal| kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        let until_failure = |child: &Child, patience| {
            let mut watch = Watch::new(Some(child.id()), patience, None);
            loop {
                if let Err(failure) = watch.look() {
                    return failure;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let short = Duration::from_millis(300);
        let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(matches!(until_failure(&sleeper, short), Failure::NoAnswer(_)));
        signal(&sleeper, Signal::STOP);
        assert!(matches!(until_failure(&sleeper, Duration::from_secs(60)), Failure::Stopped));
        signal(&sleeper, Signal::KILL);
        sleeper.wait().unwrap();
        let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        assert!(matches!(until_failure(&busy, short), Failure::Fault(_)));
        signal(&busy, Signal::KILL);
        busy.wait().unwrap();
    }

    /// What a child waits for decides, not how long it takes: a CPU on a busy host (no fault), a disk that is slow (it may take six times
    /// as long), or a file that gives a byte now and then, to hold the child for ever. Time that nobody looked at does not count.
    #[test]
    fn a_busy_host_is_told_from_a_file_that_does_not_answer() {
        let patience = Duration::from_secs(10);
        let second = Duration::from_secs(1);
        // Each second the child is in this state, has used so much more and queued so much more.
        let run = |state: u8, used: Duration, queued: Duration| {
            let mut watch = Watch::new(None, patience, None);
            for n in 1.. {
                watch.seen += second;
                let times = Times { used: used * n, queued: queued * n };
                if let Err(failure) = watch.judge(state, times) {
                    return (n, failure);
                }
            }
            unreachable!()
        };
        let (ms, none) = (Duration::from_millis(1), Duration::ZERO);
        assert!(matches!(run(b'R', second, none), (10, Failure::Fault(_))));
        assert!(matches!(run(b'R', ms * 10, ms * 990), (120, Failure::Starved(_))), "a busy host");
        assert!(
            matches!(run(b'S', ms * 20, ms * 980), (120, Failure::Starved(_))),
            "seen asleep, and mostly waiting for a CPU"
        );
        assert!(matches!(run(b'D', none, none), (10, Failure::NoAnswer(_))), "nothing comes");
        assert!(matches!(run(b'D', ms, none), (61, Failure::NoAnswer(_))), "little comes");
        let mut watch = Watch::new(Some(std::process::id()), patience, None);
        watch.looked = Instant::now().checked_sub(patience * 100).unwrap();
        assert!(watch.look().is_ok() && watch.seen <= MAX_STEP, "{watch:?}");
    }
}
