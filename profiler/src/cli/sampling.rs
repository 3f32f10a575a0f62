//! The sampling thread: events and samples merged by time, resolved and counted; windows opened and closed.
//!
//! A window closes by the clock, whatever is still waited for; what waits then is placed with what is known.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use profiler_ebpf::Counters;

use super::keep::Keep;
use super::notice;
use super::pace::{POLL, POLL_IN_HASTE, Pace};
use super::pauses::{Nap, Pause, Stops};
use super::unwinding::{self, Ready, Unwinding};
use super::waiting::{self, Waiting};
use super::window_queue::WindowQueue;
use crate::aggregate::Aggregate;
use crate::process::{CLAIM_NOTICE, Identified, ProcessTable};
use crate::profile::{
    Binary, BinaryId, BootNanos, CpuTicks, Host, LossCause, Losses, ProcessWindow, RawSample, Sample, SampleEvent,
    SideBand, WallNanos, Window,
};
use crate::sampler::{Sampler, UnseenTicks};
use crate::server::SharedLive;
use crate::sys::clock::{boot_now, wall_now};
use crate::sys::host::this_host;
use crate::sys::memory;

/// Never more often than this, however many processes are new.
const LEAST_POLL: Duration = Duration::from_millis(20);
/// Added to the nice value of the sampling thread.
const PRIORITY: i32 = -10;
/// A sample is in the ring buffer this long after its time stamp, unless the CPU itself was held up.
const SETTLE_NANOS: u64 = 20_000_000;
/// Passes between two looks at the list of CPUs.
const POLLS_PER_CPU_LOOK: u64 = 10;
/// A window that takes more memory than this, in frames of 16 bytes, ends before its time: 32 MiB. A busy host with 32 CPUs
/// fills it at 97 Hz if each of its samples has another stack of 60 frames.
const MOST_FRAMES: usize = 2 << 20;
/// A window waits this long after its end for unwind rows that its last samples need: what is not stored yet is what a kill -9 can lose.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The same where all is read at the end: the files of a short recording are all new, and a busy host is slow to read them.
pub(super) const PATIENCE_ONCE: Duration = Duration::from_secs(10);
/// Freed memory goes back to the kernel this often.
const GIVE_BACK: Duration = Duration::from_secs(10);
/// Longest first window: somebody is waiting at the page.
const FIRST_WINDOW: Duration = Duration::from_secs(2);

/// A window being filled. Window and generation are one: the kernel side stamps a sample with the generation that counts it, so
/// that each window's books balance. (A record that user space must drop while two windows are open counts for the younger.)
struct OpenWindow {
    generation: u32,
    start: BootNanos,
    wall_start: WallNanos,
    aggregate: Aggregate,
    /// Losses found in user space.
    losses: Losses,
    /// Ticks that were due and did not come, known when it ends.
    unseen: UnseenTicks,
    /// Samples per second and CPU.
    hz: u32,
    /// Samples that are not kept.
    left_out: u64,
}

impl OpenWindow {
    fn new(generation: u32, start: BootNanos, hz: u32) -> Self {
        let (aggregate, losses) = (Aggregate::default(), Losses::default());
        let unseen = UnseenTicks::default();
        Self { generation, start, wall_start: wall_at(start), aggregate, losses, unseen, hz, left_out: 0 }
    }
}

/// The sampling thread's state.
pub(super) struct Sampling {
    sampler: Sampler,
    keep: Keep,
    table: ProcessTable,
    /// `None` when stacks are walked by frame pointers only.
    unwinding: Option<Unwinding>,
    event: SampleEvent,
    length: Duration,
    /// How long a window waits after its end, and not longer than it was itself.
    patience: Duration,
    host: Arc<Host>,
    boot_id: Arc<str>,
    live: SharedLive,
    /// Not resolved yet, by time: what happened before them may still be on its way.
    samples: Vec<(u32, RawSample)>,
    side_band: Vec<SideBand>,
    /// Samples of processes that must be read first, when there is time for it.
    unidentified: Waiting<(u32, RawSample)>,
    /// Samples whose files are being opened.
    waiting: Waiting<Ready>,
    /// When freed memory was last given back.
    gave_back: Instant,
    open: OpenWindow,
    /// The window before, until its last samples are in, with its end.
    closing: Option<(OpenWindow, BootNanos)>,
    /// When the open window is due.
    due: BootNanos,
    /// Kernel counters of the last window closed of even and of odd generation.
    counted: [Counters; 2],
    /// Set by SIGCONT.
    continued: Arc<AtomicBool>,
    /// Tells a stop by SIGSTOP from other delays.
    stops: Stops,
    /// When the last stop was over, while the page says so.
    stopped_at: Option<BootNanos>,
}

impl Sampling {
    /// Begins the first window at `started`.
    #[expect(clippy::too_many_arguments, reason = "called once, each with its own meaning")]
    pub fn new(
        sampler: Sampler,
        table: ProcessTable,
        unwinding: Option<Unwinding>,
        event: SampleEvent,
        started: BootNanos,
        length: Duration,
        boot_id: Arc<str>,
        live: SharedLive,
        continued: Arc<AtomicBool>,
    ) -> Self {
        Self {
            open: OpenWindow::new(sampler.generation(), started, sampler.hz()),
            sampler,
            keep: Keep::default(),
            table,
            unwinding,
            event,
            length,
            patience: PATIENCE,
            host: Arc::new(this_host()),
            boot_id,
            live,
            samples: Vec::new(),
            side_band: Vec::new(),
            unidentified: Waiting::new(waiting::MAX_BYTES),
            waiting: Waiting::new(waiting::MAX_BYTES),
            gave_back: Instant::now(),
            closing: None,
            due: BootNanos(boot_now().0 + FIRST_WINDOW.min(length).as_nanos() as u64),
            counted: [Counters::default(); 2],
            continued,
            stops: Stops::begin(Instant::now()),
            stopped_at: None,
        }
    }

    /// Keeps only some of the samples.
    pub fn keeping(self, keep: Keep) -> Self {
        Self { keep, ..self }
    }

    /// Waits this long for what the last samples of a window need.
    pub fn waiting(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Works until `stop` is set.
    ///
    /// # Errors
    /// The kernel refuses what the sampler needs.
    pub fn run(mut self, stop: &AtomicBool, queue: &WindowQueue) -> anyhow::Result<()> {
        // What is sampled must not keep us from reading the rings; a pass is short. Without the privilege it goes as it goes.
        let _ = rustix::process::nice(PRIORITY);
        let mut nap = Nap::begin();
        let (mut woken, mut pace) = (false, Pace::new(Instant::now()));
        for poll in 0_u64.. {
            if stop.load(Ordering::Relaxed) {
                return self.finish(queue);
            }
            let now = boot_now();
            let pause = nap.end(now);
            let suspended = matches!(pause, Pause::Suspended(_));
            self.tell_of(pause, now);
            self.poll();
            let settled = BootNanos(now.0.saturating_sub(SETTLE_NANOS));
            self.resolve_until(settled);
            let closing = self.closing.as_ref().map_or(0, |(window, _)| window.aggregate.samples());
            let open = self.open.aggregate.samples() + closing;
            self.live.update(|live| live.open = open);
            let (unwinding, waiting, unidentified) = (&self.unwinding, &self.waiting, &self.unidentified);
            let waits = |generation| {
                waiting.holds(generation)
                    || unidentified.holds(generation)
                    || unwinding.as_ref().is_some_and(|unwinding| unwinding.holds(generation))
            };
            let patience = self.patience.min(self.length).as_nanos() as u64;
            let is_over = |window: &OpenWindow, end: BootNanos| {
                end <= settled && (now.0 >= end.0.saturating_add(patience) || !waits(window.generation))
            };
            if let Some((window, end)) = self.closing.take_if(|(window, end)| is_over(window, *end)) {
                queue.push(self.close(window, end)?);
            }
            let over = now >= self.due || suspended || self.open.aggregate.frames() > MOST_FRAMES;
            if over && self.closing.is_none() {
                // A window holds no time that the machine slept through: it would look like hours without work.
                self.next_window(suspended.then_some(nap.boot))?;
            }
            if poll.is_multiple_of(POLLS_PER_CPU_LOOK) {
                self.follow_limit()?;
                self.follow_cpus(now);
            }
            nap = Nap::begin();
            // A new process gets tables when its samples have settled, not a whole poll later; so do rows and files that come.
            let loading = self.unwinding.as_ref().is_some_and(Unwinding::is_loading);
            let hurry = woken || loading || self.table.is_opening();
            let begin = Instant::now();
            woken = if pace.may_hurry(begin) {
                self.sampler.wait(LEAST_POLL, if hurry { POLL_IN_HASTE } else { POLL })
            } else {
                // Who is met meanwhile is told of all the same, by the next wait.
                thread::sleep(POLL);
                false
            };
            pace.slept(begin.elapsed());
        }
        Ok(())
    }

    /// Ends the open window, at `end` or now, and begins the next one now.
    fn next_window(&mut self, end: Option<BootNanos>) -> anyhow::Result<()> {
        self.sampler.next_generation()?;
        let now = boot_now();
        self.open.unseen = self.sampler.unseen()?;
        let next = OpenWindow::new(self.sampler.generation(), now, self.sampler.hz());
        self.closing = Some((std::mem::replace(&mut self.open, next), end.unwrap_or(now)));
        self.due = next_boundary(now, self.length);
        Ok(())
    }

    /// Says of a long pause what it was: in the log, and on the page for a while when somebody stopped us.
    fn tell_of(&mut self, pause: Pause, now: BootNanos) {
        if let Some(time) = self.stops.look(Instant::now(), self.continued.swap(false, Ordering::Relaxed)) {
            self.stopped_at = Some(now);
            tracing::warn!(seconds = time.as_secs_f32(), "{STOPPED_NOTICE}");
            notice::stopped(&self.live, STOPPED_NOTICE, time);
            return;
        }
        if self.stopped_at.is_some_and(|at| now.0.saturating_sub(at.0) > TOLD_FOR) {
            self.stopped_at = None;
            notice::take_back(&self.live, STOPPED_NOTICE);
        }
        match pause {
            Pause::Short => {}
            Pause::Suspended(time) => tracing::info!(seconds = time.as_secs(), "the machine was suspended"),
            Pause::HeldUp(time) => tracing::warn!(
                seconds = time.as_secs_f32(),
                "the sampling thread was held up; samples that found no room meanwhile are counted as lost (ring full)"
            ),
        }
    }

    /// Samples as often as was asked for, or as the kernel's limit allows: the limit may fall and rise while we run. A window
    /// has one frequency, so that it ends here.
    fn follow_limit(&mut self) -> anyhow::Result<()> {
        let (hz, allowed) = (self.sampler.hz(), self.sampler.hz_allowed());
        if hz != allowed && self.closing.is_none() {
            self.next_window(None)?;
            tracing::warn!(from = hz, to = allowed, "the sampling frequency follows kernel.perf_event_max_sample_rate");
            // What cannot be opened now is tried again with the CPUs.
            if let Err(error) = self.sampler.set_hz(allowed, boot_now()) {
                tracing::warn!(error = &error as &dyn std::error::Error, "{CPU_NOTICE}");
            }
            self.open.hz = allowed;
            self.live.update(|live| live.hz = allowed);
        }
        notice::limited_frequency(&self.live, self.sampler.hz_wanted(), self.sampler.hz());
        Ok(())
    }

    /// A CPU whose events cannot be opened is no reason to stop sampling the others: it is told of, and tried again.
    fn follow_cpus(&mut self, now: BootNanos) {
        match self.sampler.follow_cpus(now) {
            Ok(opened) => {
                if !opened.is_empty() {
                    tracing::info!(cpus = ?opened, "sampling CPUs that came online");
                }
                notice::take_back(&self.live, CPU_NOTICE);
            }
            Err(error) => {
                if notice::give(&self.live, CPU_NOTICE, &error) {
                    tracing::warn!(error = &error as &dyn std::error::Error, "{CPU_NOTICE}");
                }
            }
        }
    }

    /// Stops the timers and stores everything that was taken.
    fn finish(mut self, queue: &WindowQueue) -> anyhow::Result<()> {
        self.open.unseen = self.sampler.unseen()?;
        self.sampler.stop()?;
        let end = boot_now();
        self.poll();
        self.resolve_until(BootNanos(u64::MAX));
        // A short recording's files are all new: their rows are worth waiting for.
        while boot_now().0 < end.0.saturating_add(self.patience.as_nanos() as u64)
            && (!self.waiting.is_empty()
                || !self.unidentified.is_empty()
                || self.unwinding.as_ref().is_some_and(Unwinding::is_waiting))
        {
            thread::sleep(POLL / 10);
            self.resolve_until(BootNanos(u64::MAX));
        }
        if let Some((window, end)) = self.closing.take() {
            queue.push(self.close(window, end)?);
        }
        let last = std::mem::replace(&mut self.open, OpenWindow::new(0, end, 0));
        queue.push(self.close(last, end)?);
        Ok(())
    }

    fn poll(&mut self) {
        let polled = self.sampler.poll();
        for (generation, sample) in polled.drained.samples {
            if self.keep.takes(&sample) {
                self.samples.push((generation, sample));
            } else {
                self.window_of(generation).left_out += sample.weight;
            }
        }
        polled.drained.losses.iter().for_each(|losses| self.open.losses.merge(losses));
        let (mixed, conflicts) = (polled.drained.kernel_mixed, polled.drained.hash_conflicts);
        if mixed + conflicts > 0 {
            tracing::info!(mixed, conflicts, "stacks that met in one slot of a map have been told apart");
        }
        self.side_band.extend(polled.side_band);
        // Stable sorts of nearly sorted vectors: cheap.
        self.samples.sort_by_key(|(_, sample)| sample.time);
        self.side_band.sort_by_key(SideBand::time);
    }

    /// Tells the process table what happened and resolves what was sampled before `until`, in the order of time.
    fn resolve_until(&mut self, until: BootNanos) {
        let now = boot_now();
        self.table.begin_pass(now);
        let due = self.samples.partition_point(|(_, sample)| sample.time < until);
        let told = self.side_band.partition_point(|event| event.time() < until);
        let events: Vec<SideBand> = self.side_band.drain(..told).collect();
        let mut samples = self.unidentified.take();
        samples.extend(self.samples.drain(..due));
        let mut events = events.into_iter().peekable();
        let mut trouble = Ok(());
        for (generation, raw) in samples {
            while let Some(event) = events.next_if(|event| event.time() <= raw.time) {
                self.table.apply(event);
            }
            let Some(who) = self.identify(generation, &raw) else { continue };
            let sample = (generation, who, raw);
            let ready = match &mut self.unwinding {
                Some(unwinding) => {
                    let (ready, done) = unwinding.take(&mut self.table, sample, now);
                    trouble = trouble.and(done);
                    ready
                }
                None => Some(sample),
            };
            ready.into_iter().for_each(|ready| self.count(ready));
        }
        events.for_each(|event| self.table.apply(event));
        // After the samples: what they need is read first.
        self.table.scan(now);
        for ready in self.waiting.take() {
            self.count(ready);
        }
        match &mut self.unwinding {
            Some(unwinding) => match unwinding.poll(&mut self.table, now) {
                Ok(ready) => ready.into_iter().for_each(|ready| self.count(ready)),
                Err(error) => trouble = trouble.and(Err(error)),
            },
            None => drop(self.table.take_changed()),
        }
        // Applied in the next pass, among the events of its time.
        self.side_band.extend(self.unwinding.iter_mut().flat_map(Unwinding::take_unmapped));
        self.side_band.sort_by_key(SideBand::time);
        // Stacks are cut short meanwhile, and say so; it is no reason to stop sampling.
        match trouble {
            Ok(()) => {}
            Err(error) => {
                if notice::give(&self.live, UNWIND_NOTICE, &error) {
                    tracing::warn!(%error, "{UNWIND_NOTICE}");
                }
            }
        }
    }

    /// Says whose a sample is, or puts it off until there is time to read its process.
    fn identify(&mut self, generation: u32, raw: &RawSample) -> Option<Identified> {
        let who = self.table.identify(raw);
        if who.is_some() {
            return who;
        }
        let owner = (raw.pid, self.table.user_of(raw.pid));
        let refused = self.unidentified.hold(generation, owner, unwinding::size(raw), (generation, raw.clone()))?;
        Some(self.table.identify_unread(&refused.1))
    }

    /// Counts a sample in its window, or lets it wait for the files that it needs.
    fn count(&mut self, (generation, who, raw): Ready) {
        let mut sample = match self.table.place(&who, &raw) {
            Some(sample) => sample,
            None => {
                let (owner, bytes) = ((who.pid(), who.user()), unwinding::size(&raw));
                let refused = self.waiting.hold(generation, owner, bytes, (generation, who, raw));
                let Some((_, who, raw)) = refused else { return };
                self.table.place_now(&who, &raw)
            }
        };
        self.unwinding.iter().for_each(|unwinding| unwinding.correct_end(&self.table, &mut sample));
        self.window_of(generation).aggregate.add(sample);
    }

    /// The same of one whose window closes.
    fn place_last(&mut self, who: &Identified, raw: &RawSample) -> Sample {
        let mut sample = self.table.place_now(who, raw);
        self.unwinding.iter().for_each(|unwinding| unwinding.correct_end(&self.table, &mut sample));
        sample
    }

    /// The window that a generation's samples belong to.
    fn window_of(&mut self, generation: u32) -> &mut OpenWindow {
        match &mut self.closing {
            Some((window, _)) if window.generation == generation => window,
            _ => &mut self.open,
        }
    }

    fn close(&mut self, mut window: OpenWindow, end: BootNanos) -> anyhow::Result<Window> {
        let released = self.unwinding.as_mut();
        let released = released.map(|unwinding| unwinding.release(&self.table, window.generation, boot_now()));
        for (_, who, raw) in released.unwrap_or_default() {
            window.aggregate.add(self.place_last(&who, &raw));
        }
        for (_, raw) in self.unidentified.release(window.generation) {
            let who = self.table.identify_unread(&raw);
            window.aggregate.add(self.place_last(&who, &raw));
        }
        for (_, who, raw) in self.waiting.release(window.generation) {
            window.aggregate.add(self.place_last(&who, &raw));
        }
        let total = self.sampler.counters_like(0, window.generation)?;
        let before = std::mem::replace(&mut self.counted[(window.generation & 1) as usize], total);
        let counted = total.zip(before, u64::saturating_sub);
        window.losses.add(LossCause::RingFull, counted.ring_full);
        let mut binaries: HashMap<BinaryId, Arc<Binary>> = HashMap::new();
        let mut processes = Vec::new();
        let table = &self.table;
        let closed = window.aggregate.close(|key, revision| table.first_like(key, revision));
        for ((process, revision), stacks) in closed {
            let facts = self.table.facts(process, revision);
            if !self.keep.takes_process(&facts, || self.table.user(process)) {
                window.left_out += stacks.iter().map(|stack| stack.count).sum::<u64>();
                continue;
            }
            for location in stacks.iter().flat_map(|stack| stack.stack.iter()) {
                binaries.entry(location.binary).or_insert_with(|| self.table.binary(location.binary));
            }
            processes.push(ProcessWindow { facts, stacks });
        }
        self.table.end_window(end);
        let (claims, [build_id_conflicts, files_not_verified]) = self.table.take_claims();
        claims.iter().for_each(|notice| tracing::warn!("{notice}"));
        let unwind = self.unwinding.as_mut().map(|unwinding| {
            unwinding.end_window(&self.table, binaries.keys().copied(), boot_now());
            unwinding.counts()
        });
        let table = self.table.counts();
        let held = self.unwinding.as_ref().map_or((0, 0), Unwinding::waiting);
        let files = self.waiting.counts();
        let unread = self.unidentified.counts();
        let (waiting_bytes, waiting_refused) = (files.0 + unread.0 + held.0, files.1 + unread.1 + held.1);
        if self.gave_back.elapsed() >= GIVE_BACK {
            self.gave_back = Instant::now();
            memory::give_back();
        }
        let (start, wall_start) = (window.start, window.wall_start);
        // By the boot clock, so that a window never ends before it begins, whatever people do to the wall clock.
        let length = end.0 - start.0;
        let wall_end = WallNanos(wall_start.0.saturating_add(length as i64));
        let cpus = self.sampler.cpus();
        let missed = window.unseen.missed;
        let busy = counted.ticks.saturating_sub(counted.idle);
        let idle = match self.event {
            SampleEvent::CpuClock => counted.idle + window.unseen.idle,
            // An idle CPU has no cycles: what did not come and is not known to be missed was no work.
            SampleEvent::Cycles => {
                let due = length / 1000 * u64::from(window.hz) * u64::from(cpus) / 1_000_000;
                counted.idle.max(due.saturating_sub(busy).saturating_sub(missed.total()))
            }
        };
        let ticks = CpuTicks { busy, idle, filtered: counted.filtered + window.left_out, missed };
        let taken = counted.taken.saturating_sub(window.left_out);
        notice::missed_ticks(&self.live, &ticks);
        self.live.update(|live| {
            live.cpus = cpus;
            live.closed_until = Some(wall_end);
            live.taken += taken;
            live.unwind = unwind;
            live.table = Some(table);
            live.waiting_bytes = waiting_bytes;
            live.waiting_refused = waiting_refused;
            (live.build_id_conflicts, live.files_not_verified) = (build_id_conflicts, files_not_verified);
            let told = live.notices.iter().filter(|notice| notice.starts_with(CLAIM_NOTICE)).count();
            live.notices.extend(claims.into_iter().take(MAX_CLAIM_NOTICES.saturating_sub(told)));
            live.ticks_missed.merge(&missed);
        });
        Ok(Window {
            host: Arc::clone(&self.host),
            boot_id: Arc::clone(&self.boot_id),
            start,
            end,
            wall_start,
            wall_end,
            event: self.event,
            hz: window.hz,
            cpus,
            ticks,
            taken,
            losses: window.losses,
            binaries: binaries.into_iter().collect(),
            processes,
        })
    }
}

/// Build ids claimed by different files that the page tells of; the log tells of more.
const MAX_CLAIM_NOTICES: usize = 8;
const STOPPED_NOTICE: &str = "the profiler was stopped (SIGSTOP)";
/// How long the page says so, in nanoseconds: ten minutes.
const TOLD_FOR: u64 = 600_000_000_000;
const CPU_NOTICE: &str = "a CPU is not being sampled";
const UNWIND_NOTICE: &str = "the unwind tables cannot grow, stacks are cut short";

/// The wall clock's reading at a recent instant of the boot clock.
fn wall_at(instant: BootNanos) -> WallNanos {
    WallNanos(wall_now().0.saturating_sub(boot_now().0.saturating_sub(instant.0) as i64))
}

/// The end of a window that is open at `now`: a multiple of the window length, so that hosts and restarts line up.
fn next_boundary(now: BootNanos, window: Duration) -> BootNanos {
    let window = window.as_nanos() as u64;
    BootNanos((now.0 / window + 1) * window)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window opened on a boundary is a whole one; one opened late (after a suspend, say) ends at the next.
    #[test]
    fn windows_end_at_multiples_of_their_length() {
        let seconds = |s: u64| BootNanos(s * 1_000_000_000);
        let ten = Duration::from_secs(10);
        assert_eq!(next_boundary(seconds(10), ten), seconds(20));
        assert_eq!(next_boundary(seconds(13), ten), seconds(20));
        assert_eq!(next_boundary(seconds(3600), ten), seconds(3610));
    }
}
