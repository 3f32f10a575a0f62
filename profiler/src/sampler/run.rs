//! The running sampler: events on every CPU, two generations of stack maps, and the passes that empty them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{MapData, StackTraceMap};
use aya::programs::PerfEvent;
use perf_event_open_sys::bindings::{PERF_RECORD_THROTTLE, PERF_RECORD_UNTHROTTLE};
use profiler_ebpf::Counters;

use super::drain::{Drained, KernelStackMap, StackBook};
use super::load::{self, FIRST_GENERATION, Loaded, program};
use super::options::{SamplerOptions, WalkLoop, frequency_limit};
use super::sideband::Decoder;
use super::ticks::{Reading, Throttling, TickBook, UnseenTicks};
use super::unwind_maps::UnwindMaps;
use super::wake::Wake;
use super::{SamplerError, cpus};
use crate::profile::{BootNanos, SampleEvent, SideBand};
use crate::sys::clock::monotonic_nanos;
use crate::sys::perf::{RawRecord, SideBandRing};
use crate::sys::sampling_event::{Counted, Every, SamplingEvent};

/// A software clock that has not ticked for this long on a CPU that has worked meanwhile is dead. (One on an idle CPU may just sleep.)
const SILENT_NANOS: u64 = 3_000_000_000;
/// Ticks that the work of a silent CPU should have made by then.
const SILENT_TICKS: u64 = 10;

/// One CPU's events.
struct CpuEvents {
    /// Samples until it is dropped.
    timer: SamplingEvent,
    /// As do these, beside it.
    others: Vec<SamplingEvent>,
    side_band: SideBandRing,
    decoder: Decoder,
    book: TickBook,
    throttling: Throttling,
    ticks: u64,
    /// When `ticks` last moved.
    heard: BootNanos,
    /// How much the CPU had worked when it was first found silent, in clock ticks of 10 ms.
    worked: Option<u64>,
}

/// What one pass gave.
#[derive(Debug, Default)]
pub struct Polled {
    /// Samples and losses.
    pub drained: Drained,
    /// What happened to processes, by time. Holds everything that happened before the newest sample.
    pub side_band: Vec<SideBand>,
}

/// Sampling, until dropped.
pub struct Sampler {
    loaded: Loaded,
    options: SamplerOptions,
    /// Samples per second and CPU now: what is wanted, or the kernel's limit.
    hz: u32,
    book: StackBook,
    generation: u32,
    cpus: BTreeMap<u32, CpuEvents>,
    /// Side-band rings of CPUs whose timers have not begun.
    ready: Vec<(u32, SideBandRing)>,
    /// Found outside of a pass; the next one hands it on.
    side_band: Vec<SideBand>,
    wake: Wake,
}

impl KernelStackMap for [StackTraceMap<MapData>; 2] {
    fn frames(&self, generation: u32, id: u32) -> Option<Arc<[u64]>> {
        let stack = self[(generation & 1) as usize].get(&id, 0).ok()?;
        Some(stack.frames().iter().map(|frame| frame.ip).collect())
    }
}

impl Sampler {
    /// Loads the programs and starts sampling on every CPU that is online.
    ///
    /// # Errors
    /// See [`SamplerError`].
    pub fn start(options: SamplerOptions, now: BootNanos) -> Result<Self, SamplerError> {
        let mut sampler = Self::load(options)?;
        sampler.begin(now)?;
        Ok(sampler)
    }

    /// Loads the programs and lets the side-band events of every CPU that is online flow into their rings. Nothing is sampled yet.
    ///
    /// # Errors
    /// See [`SamplerError`].
    pub fn load(options: SamplerOptions) -> Result<Self, SamplerError> {
        super::check_pid_namespace()?;
        let loaded = load::load(&options)?;
        let wake = Wake::of(&loaded.samples).map_err(SamplerError::load)?;
        let mut sampler = Self {
            loaded,
            hz: options.frequency.hz(),
            options,
            book: StackBook::default(),
            generation: FIRST_GENERATION,
            cpus: BTreeMap::new(),
            ready: Vec::new(),
            side_band: Vec::new(),
            wake,
        };
        sampler.ready = open_side_bands(&cpus::online().map_err(SamplerError::load)?)?;
        Ok(sampler)
    }

    /// Starts the timers.
    ///
    /// # Errors
    /// See [`SamplerError`].
    pub fn begin(&mut self, now: BootNanos) -> Result<(), SamplerError> {
        self.hz = self.options.frequency.at_start(frequency_limit())?;
        let ready = std::mem::take(&mut self.ready);
        match self.attach_all(ready, now) {
            // The limit fell between the look and the opening.
            Err(SamplerError::FrequencyLimit { limit, .. }) => {
                self.hz = self.options.frequency.at_start(limit)?;
                self.cpus.clear();
                self.open(&cpus::online().map_err(SamplerError::load)?, now)?;
                self.side_band.push(SideBand::Lost { time: now, count: 0 });
            }
            opened => drop(opened?),
        }
        Ok(())
    }

    /// Samples per second and CPU now.
    #[must_use]
    pub fn hz(&self) -> u32 {
        self.hz
    }

    /// What was asked for.
    #[must_use]
    pub fn hz_wanted(&self) -> u32 {
        self.options.frequency.hz()
    }

    /// What that should be by the kernel's limit as it is now.
    #[must_use]
    pub fn hz_allowed(&self) -> u32 {
        self.options.frequency.under(frequency_limit())
    }

    /// Samples at another frequency from now on. The caller begins a generation before: one has one frequency.
    ///
    /// # Errors
    /// An event cannot be opened on an online CPU; [`Self::follow_cpus`] tries again.
    pub fn set_hz(&mut self, hz: u32, now: BootNanos) -> Result<(), SamplerError> {
        self.hz = hz;
        // The rings go on, only the timers are new.
        let mut rings = Vec::with_capacity(self.cpus.len());
        for (cpu, mut events) in std::mem::take(&mut self.cpus) {
            events.drain_into(&mut self.side_band);
            self.side_band.extend(events.decoder.finish());
            rings.push((cpu, events.side_band));
        }
        self.attach_all(rings, now)?;
        Ok(())
    }

    /// The ticks that were due since the last call and that our program has not seen, of the CPUs that are sampled now.
    ///
    /// # Errors
    /// The kernel refuses to say.
    pub fn unseen(&mut self) -> Result<UnseenTicks, SamplerError> {
        // The events of a CPU that has just gone stand still, and nothing was due there.
        let online = cpus::online().map_err(SamplerError::load)?;
        let mut readings = Vec::with_capacity(self.cpus.len());
        for (cpu, events) in self.cpus.iter().filter(|(cpu, _)| online.contains(cpu)) {
            let times = events.timer.times().map_err(SamplerError::load)?;
            let throttled = events.throttling.nanos;
            readings.push((*cpu, Reading { at: monotonic_nanos(), times, throttled, ..Reading::default() }));
        }
        // Read last: a tick that comes meanwhile is seen, and not missed.
        let ticks = self.ticks()?;
        let times = cpus::times();
        let mut unseen = UnseenTicks::default();
        for (cpu, reading) in readings {
            if let Some(events) = self.cpus.get_mut(&cpu) {
                let (seen, seen_idle) = ticks.get(cpu as usize).copied().unwrap_or_default();
                let idle = times.get(&cpu).map(|times| times.idle);
                unseen.merge(&events.book.unseen_until(Reading { seen, seen_idle, idle, ..reading }));
            }
        }
        Ok(unseen)
    }

    /// CPUs being sampled.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.cpus.len() as u32
    }

    /// Waits until the kernel side has met a process that has no unwind tables yet, but not less than `least` nor longer than `most`.
    /// Says whether it has.
    #[must_use]
    pub fn wait(&self, least: Duration, most: Duration) -> bool {
        std::thread::sleep(least);
        self.wake.wait(most.saturating_sub(least))
    }

    /// Empties the ring buffer, then the side-band rings: in this order, so that whatever happened before a sample is there
    /// with it.
    pub fn poll(&mut self) -> Polled {
        let mut polled = Polled { side_band: std::mem::take(&mut self.side_band), ..Polled::default() };
        // One ring's worth at most: all that is there now gets read, and a flood does not keep us here.
        let mut room = self.loaded.ring_bytes as usize;
        while room > 0
            && let Some(record) = self.loaded.samples.next()
        {
            room = room.saturating_sub(record.len());
            self.book.read(&record, &self.loaded.kernel_stacks, &mut polled.drained);
        }
        for events in self.cpus.values_mut() {
            events.drain_into(&mut polled.side_band);
        }
        polled.side_band.sort_by_key(SideBand::time);
        polled
    }

    /// Begins the next generation, as each window does: clears the stack map that was last used a whole window ago (all its
    /// samples must have been polled since) and lets the kernel side use it.
    ///
    /// # Errors
    /// The kernel refuses a map operation.
    pub fn next_generation(&mut self) -> Result<(), SamplerError> {
        let next = self.generation.wrapping_add(1);
        let map = &mut self.loaded.kernel_stacks[(next & 1) as usize];
        // Collected first: deleting under the kernel's iterator makes it start over.
        let ids: Vec<u32> = map.stack_ids().filter_map(Result::ok).collect();
        for id in ids {
            map.remove(&id).map_err(SamplerError::load)?;
        }
        self.loaded.generation.set(0, &next, 0).map_err(SamplerError::load)?;
        self.generation = next;
        Ok(())
    }

    /// What drives the walk of user stacks.
    #[must_use]
    pub fn walk_loop(&self) -> WalkLoop {
        self.loaded.walk_loop
    }

    /// Hands over the unwind tables, to be filled; `None` when only frame pointers are followed.
    pub fn take_unwind_maps(&mut self) -> Option<UnwindMaps> {
        self.loaded.unwind_maps.take()
    }

    /// The generation that samples belong to now.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Totals of an event since the start, over all CPUs.
    ///
    /// # Errors
    /// The kernel refuses the look-up.
    pub fn counters(&self, event: u32) -> Result<Counters, SamplerError> {
        Ok(self.counters_like(event, 0)?.zip(self.counters_like(event, 1)?, |a, b| a + b))
    }

    /// Totals of an event since the start over all CPUs, of the generations that are even or odd as `generation` is.
    ///
    /// # Errors
    /// The kernel refuses the look-up.
    pub fn counters_like(&self, event: u32, generation: u32) -> Result<Counters, SamplerError> {
        let place = Counters::place(event, generation);
        let values = self.loaded.counters.get(&place, 0).map_err(SamplerError::load)?;
        Ok(values.iter().fold(Counters::default(), |sum, cpu| sum.zip(*cpu, |a, b| a + b)))
    }

    /// Timer ticks of each CPU since the start, and how many of them hit the idle task.
    fn ticks(&self) -> Result<Vec<(u64, u64)>, SamplerError> {
        let of = |generation| self.loaded.counters.get(&Counters::place(0, generation), 0).map_err(SamplerError::load);
        Ok(of(0)?.iter().zip(of(1)?.iter()).map(|(even, odd)| (even.ticks + odd.ticks, even.idle + odd.idle)).collect())
    }

    /// Follows CPUs that come and go, and reopens events that have gone silent: the kernel switches an event off with its CPU
    /// and does not switch it on again, even when the CPU is back before anybody looked. What processes did there meanwhile
    /// is unknown, so the next pass tells of lost side-band events. Returns the CPUs (re)opened.
    ///
    /// # Errors
    /// An event cannot be opened on an online CPU.
    pub fn follow_cpus(&mut self, now: BootNanos) -> Result<Vec<u32>, SamplerError> {
        let online = cpus::online().map_err(SamplerError::load)?;
        let all_ticks = self.ticks()?;
        let mut dead: BTreeSet<u32> = self.cpus.keys().filter(|cpu| !online.contains(cpu)).copied().collect();
        // Read only when a CPU is silent, which in the life of a busy host is never.
        let mut times = None;
        for (cpu, events) in &mut self.cpus {
            let (ticks, _) = all_ticks.get(*cpu as usize).copied().unwrap_or_default();
            if ticks != events.ticks || self.options.event != SampleEvent::CpuClock {
                (events.ticks, events.heard, events.worked) = (ticks, now, None);
                continue;
            }
            let times = times.get_or_insert_with(cpus::times);
            let worked = times.get(cpu).map_or(0, |times| times.work);
            let since = *events.worked.get_or_insert(worked);
            let due = worked.saturating_sub(since) * u64::from(self.hz) / 100;
            if now.0.saturating_sub(events.heard.0) > SILENT_NANOS && due >= SILENT_TICKS {
                dead.insert(*cpu);
            }
        }
        for cpu in &dead {
            if let Some(mut events) = self.cpus.remove(cpu) {
                events.drain_into(&mut self.side_band);
                self.side_band.extend(events.decoder.finish());
            }
        }
        let fresh: BTreeSet<u32> = online.into_iter().filter(|cpu| !self.cpus.contains_key(cpu)).collect();
        let opened = self.open(&fresh, now)?;
        if !opened.is_empty() {
            self.side_band.push(SideBand::Lost { time: now, count: 0 });
        }
        Ok(opened)
    }

    /// Starts sampling these CPUs, side-band events first on every one: no process may start unseen once samples flow. Returns
    /// those opened: a CPU that went offline meanwhile is left out.
    fn open(&mut self, cpus: &BTreeSet<u32>, now: BootNanos) -> Result<Vec<u32>, SamplerError> {
        let rings = open_side_bands(cpus)?;
        self.attach_all(rings, now)
    }

    fn attach_all(&mut self, rings: Vec<(u32, SideBandRing)>, now: BootNanos) -> Result<Vec<u32>, SamplerError> {
        let mut opened = Vec::new();
        for (cpu, ring) in rings {
            if unless_offline(cpu, self.attach(cpu, ring, now))?.is_some() {
                opened.push(cpu);
            }
        }
        Ok(opened)
    }

    /// Stops every timer. What is in the rings can still be polled, and the counters stand still.
    ///
    /// # Errors
    /// The kernel refuses to detach.
    pub fn stop(&mut self) -> Result<(), SamplerError> {
        for event in self.cpus.values().flat_map(|events| [&events.timer].into_iter().chain(&events.others)) {
            event.stop().map_err(SamplerError::load)?;
        }
        Ok(())
    }

    fn attach(&mut self, cpu: u32, side_band: SideBandRing, now: BootNanos) -> Result<(), SamplerError> {
        let counted = match self.options.event {
            SampleEvent::CpuClock => Counted::CpuClock,
            SampleEvent::Cycles => Counted::Cycles,
        };
        let opened = SamplingEvent::open(counted, Every::Hertz(self.hz), cpu, side_band.as_fd());
        let mut timer = opened.map_err(|error| self.refused(cpu, error))?;
        let (ticks, seen_idle) = self.ticks()?.get(cpu as usize).copied().unwrap_or_default();
        let times = timer.times().map_err(SamplerError::load)?;
        let sample: &mut PerfEvent = program(&mut self.loaded.ebpf, self.loaded.walk_loop.program())?;
        let sample = sample.fd().map_err(SamplerError::load)?;
        timer.start(sample.as_fd(), 0).map_err(|error| open_error(cpu, error))?;
        let idle = cpus::times().get(&cpu).map(|times| times.idle);
        let first = Reading { at: monotonic_nanos(), seen: ticks, seen_idle, idle, times, throttled: 0 };
        let book = TickBook::new(self.options.event, self.hz, first);
        let mut others = Vec::with_capacity(self.options.others.len());
        for (number, other) in (1..).zip(&self.options.others) {
            let opened = SamplingEvent::open(other.counted, Every::Count(other.period), cpu, side_band.as_fd());
            let mut event = opened.map_err(|error| open_error(cpu, error))?;
            event.start(sample.as_fd(), number).map_err(|error| open_error(cpu, error))?;
            others.push(event);
        }
        let (decoder, throttling) = (Decoder::default(), Throttling::default());
        let events = CpuEvents { timer, others, side_band, decoder, book, throttling, ticks, heard: now, worked: None };
        self.cpus.insert(cpu, events);
        Ok(())
    }

    /// Why an event could not be opened. The kernel says `EINVAL` when its limit fell below our frequency just now.
    fn refused(&self, cpu: u32, error: io::Error) -> SamplerError {
        let (hz, limit) = (self.hz, frequency_limit());
        if error.raw_os_error() == Some(libc::EINVAL) && hz > limit {
            return SamplerError::FrequencyLimit { hz, limit };
        }
        open_error(cpu, error)
    }
}

impl CpuEvents {
    /// Empties the ring: what happened to processes, and what happened to our own event.
    fn drain_into(&mut self, side_band: &mut Vec<SideBand>) {
        let Self { side_band: ring, decoder, throttling, .. } = self;
        ring.drain(|record| match (record.kind, time_of(record)) {
            (PERF_RECORD_THROTTLE, Some(time)) => throttling.begin(time),
            (PERF_RECORD_UNTHROTTLE, Some(time)) => throttling.end(time),
            _ => decoder.take(record, |event| side_band.push(event)),
        });
    }
}

/// The first word of a record: when, of the two kinds that begin with it.
fn time_of(record: RawRecord<'_>) -> Option<u64> {
    record.body.first_chunk().map(|time| u64::from_ne_bytes(*time))
}

/// What became of opening something on a CPU; `None` when it failed because the CPU is offline by now.
fn unless_offline<T>(cpu: u32, opened: Result<T, SamplerError>) -> Result<Option<T>, SamplerError> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if cpus::online().is_ok_and(|online| online.contains(&cpu)) => Err(error),
        Err(_) => Ok(None),
    }
}

fn open_side_bands(cpus: &BTreeSet<u32>) -> Result<Vec<(u32, SideBandRing)>, SamplerError> {
    let mut rings = Vec::new();
    for cpu in cpus {
        if let Some(ring) = unless_offline(*cpu, open_side_band(*cpu))? {
            rings.push((*cpu, ring));
        }
    }
    Ok(rings)
}

fn open_side_band(cpu: u32) -> Result<SideBandRing, SamplerError> {
    SideBandRing::open(cpu).map_err(|error| open_error(cpu, error))
}

fn open_error(cpu: u32, error: io::Error) -> SamplerError {
    if load::is_denied(&error) {
        SamplerError::NotAllowed { action: "open perf events", source: error }
    } else {
        SamplerError::PerfEvent { cpu, source: error }
    }
}
