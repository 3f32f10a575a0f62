//! The unwind tables in the pipeline: which process gets which, and the samples whose walk waits for them.
//!
//! A sample of a process, or of a file, that the kernel side has no tables for carries its stack along. Here its process gets
//! tables, and as soon as they are loaded the walk is finished, by the same code, over the stack as it was: what is new is no
//! reason for a stack cut short.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use profiler_ebpf::tables::UnwindMode;

use super::waiting::Room;
use crate::process::{Charge, Identified, ProcessTable};
use crate::profile::{BinaryId, BootNanos, MappedRange, RawSample, Sample, SideBand, StackEnd};
use crate::sampler::UnwindMaps;
use crate::symbolizer::{RowsError, RowsWorker, WorkerCommand};
use crate::sys::clock::boot_now;
use crate::unwind::{
    Cache, CacheKey, Compile, Entered, Missing, NotCompiled, Request, Unmapped, UnwindCounts, Unwinder, host, stand_in,
};

/// Most memory of waiting samples: 2,000 of them with 16 KiB of stack, 500 with 64. Beyond it a walk ends with what is loaded.
const MAX_HELD: usize = 32 << 20;

/// How often to look whether rows have come, while nothing else can be done.
const LOOK: Duration = Duration::from_millis(2);

/// Most disk space of rows that are kept for the next start: a host's programs take some tens of MiB.
const MAX_CACHE: u64 = 256 << 20;

/// A sample that waits for rows, with what was mapped in its time.
struct Held {
    generation: u32,
    who: Identified,
    raw: RawSample,
    /// Its address space is not in the tables yet: files of it are being opened.
    opening: bool,
    charge: Charge,
}

/// A sample ready to be counted, with the generation that it belongs to.
pub(super) type Ready = (u32, Identified, RawSample);

/// Tables, and the samples that wait for them.
pub(super) struct Unwinding {
    tables: Unwinder<UnwindMaps>,
    mode: UnwindMode,
    held: VecDeque<Held>,
    room: Room,
    /// Processes whose address space is to be given to them when its files are open.
    opening: BTreeSet<u32>,
    /// Address spaces that had files to be opened when they were last tried: not tried again before `retry_at`.
    tried: HashSet<u64>,
    retry_at: Instant,
    /// Found while spaces were given to processes; one for each that was refused.
    unmapped: Vec<SideBand>,
    finished: u64,
}

/// What became of entering an address space.
enum Entering {
    Entered(Entered),
    /// Files of it are being opened.
    Opening,
    /// There is no room for it.
    NoRoom,
}

impl Unwinding {
    pub fn new(tables: Unwinder<UnwindMaps>, mode: UnwindMode) -> Self {
        Self {
            tables,
            mode,
            held: VecDeque::new(),
            room: Room::new(MAX_HELD),
            opening: BTreeSet::new(),
            tried: HashSet::new(),
            retry_at: Instant::now(),
            unmapped: Vec::new(),
            finished: 0,
        }
    }

    /// Loads the tables of these processes, as far as they come in this time: before the first sample is taken, so that it is whole.
    ///
    /// # Errors
    /// The kernel refuses memory for the tables.
    pub fn preload(&mut self, table: &mut ProcessTable, pids: &[u32], patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        for pid in pids {
            self.enter_now(table, *pid, boot_now())?;
        }
        loop {
            table.begin_pass(boot_now());
            self.poll(table, boot_now())?;
            if !self.is_loading() && self.opening.is_empty() || Instant::now() >= deadline {
                return Ok(());
            }
            thread::sleep(LOOK);
        }
    }

    /// Enters an address space, if its files are open.
    fn enter(
        &mut self,
        mappings: u64,
        ranges: impl FnOnce() -> Option<Vec<MappedRange>>,
        now: BootNanos,
    ) -> io::Result<Entering> {
        if let Some(known) = self.tables.find(mappings, now) {
            return Ok(Entering::Entered(known));
        }
        if self.tried.contains(&mappings) {
            return Ok(Entering::Opening);
        }
        let Some(ranges) = ranges() else {
            self.tried.insert(mappings);
            return Ok(Entering::Opening);
        };
        Ok(self.tables.enter(mappings, || ranges, now)?.map_or(Entering::NoRoom, Entering::Entered))
    }

    /// Gives a process the address space that it has now; when its files are open, if they are not.
    fn enter_now(&mut self, table: &mut ProcessTable, pid: u32, now: BootNanos) -> io::Result<()> {
        let Some(mappings) = table.mappings_of(pid) else { return Ok(()) };
        match self.enter(mappings, || table.ranges_of(pid, now), now)? {
            Entering::Entered(_) => self.assign(table, pid, mappings),
            Entering::Opening => {
                // What it had is not what it has now: the kernel side sends the stack along meanwhile.
                self.tables.remove(pid);
                self.opening.insert(pid);
                Ok(())
            }
            Entering::NoRoom => {
                self.tables.remove(pid);
                Ok(())
            }
        }
    }

    /// Gives a process the address space with this number, unless the kernel side saw that some of it is gone.
    fn assign(&mut self, table: &ProcessTable, pid: u32, mappings: u64) -> io::Result<()> {
        let unmapped = self.tables.assign(pid, mappings, table.mapped_at(pid))?;
        let event = |Unmapped { time, start, end }| SideBand::Unmap { time, pid, start, end };
        self.unmapped.extend(unmapped.map(event));
        Ok(())
    }

    /// What the kernel side saw unmapped since the last call: for the table, in the order of time.
    pub fn take_unmapped(&mut self) -> Vec<SideBand> {
        std::mem::take(&mut self.unmapped)
    }

    /// Takes a sample; gives it back unless it has to wait.
    ///
    /// # Errors
    /// The kernel refuses memory for the tables. The sample comes back with the stack it had.
    pub fn take(
        &mut self,
        table: &mut ProcessTable,
        (generation, mut who, mut raw): Ready,
        now: BootNanos,
    ) -> (Option<Ready>, io::Result<()>) {
        let mappings = who.mappings();
        if raw.unfinished.is_none() || mappings == 0 {
            return (Some((generation, who, raw)), Ok(()));
        }
        let entered = match self.enter(mappings, || table.ranges(&who, now), now) {
            Ok(Entering::Entered(entered)) => entered,
            Ok(Entering::Opening) => {
                self.opening.insert(who.pid());
                return (self.hold((generation, who, raw), true), Ok(()));
            }
            Ok(Entering::NoRoom) => return (Some((generation, who, raw)), Ok(())),
            Err(error) => return (Some((generation, who, raw)), Err(error)),
        };
        // What it was mapped to when the sample was taken may be history by now.
        let assigned = match table.mappings_of(who.pid()) {
            Some(current) if current == mappings => self.assign(table, who.pid(), mappings),
            _ => Ok(()),
        };
        if !entered.ready {
            self.tables.revive(mappings);
            let Some(refused) = self.hold((generation, who, raw), false) else { return (None, assigned) };
            (_, who, raw) = refused;
        }
        self.walk_on(table, &who, &mut raw, entered);
        (Some((generation, who, raw)), assigned)
    }

    /// Lets a sample wait, or gives it back when there is no room.
    fn hold(&mut self, (generation, who, raw): Ready, opening: bool) -> Option<Ready> {
        let Some(charge) = self.room.enter(&who, size(&raw)) else { return Some((generation, who, raw)) };
        self.held.push_back(Held { generation, who, raw, opening, charge });
        None
    }

    /// Enters the address spaces of held samples whose files are open by now. Says whether there were any.
    fn enter_opened(&mut self, table: &mut ProcessTable, now: BootNanos) -> io::Result<bool> {
        let mut held = std::mem::take(&mut self.held);
        // One try for all samples of a space.
        let mut entered: HashMap<u64, bool> = HashMap::new();
        let mut trouble = Ok(());
        for held in held.iter_mut().filter(|held| held.opening) {
            let mappings = held.who.mappings();
            let done = *entered.entry(mappings).or_insert_with(|| {
                match self.enter(mappings, || table.ranges(&held.who, now), now) {
                    Ok(Entering::Opening) => false,
                    Ok(Entering::Entered(_) | Entering::NoRoom) => true,
                    Err(error) => {
                        trouble = Err(error);
                        true
                    }
                }
            });
            held.opening = !done;
        }
        self.held = held;
        trouble.map(|()| entered.values().any(|done| *done))
    }

    /// Tries the address spaces again whose files were being opened. To look at those of sixty processes with 4,000 mappings each takes tens
    /// of milliseconds: what it took decides when it is done again, so that it takes a tenth of the time at most. Says whether any is entered.
    fn retry(&mut self, table: &mut ProcessTable, now: BootNanos) -> io::Result<bool> {
        let begin = Instant::now();
        if begin < self.retry_at {
            return Ok(false);
        }
        self.tried.clear();
        for pid in std::mem::take(&mut self.opening) {
            self.enter_now(table, pid, now)?;
        }
        let entered = self.enter_opened(table, now);
        self.retry_at = Instant::now() + begin.elapsed() * 9;
        entered
    }

    /// Tells the kernel side what has changed since the last call, asks for the files that are wanted, loads those that have
    /// come. Gives back the samples that waited for them.
    ///
    /// # Errors
    /// The kernel refuses memory for the tables.
    pub fn poll(&mut self, table: &mut ProcessTable, now: BootNanos) -> io::Result<Vec<Ready>> {
        for pid in table.take_changed().into_iter().collect::<BTreeSet<u32>>() {
            self.follow(table, pid, now)?;
        }
        let entered = self.retry(table, now)?;
        for (before, binary) in table.take_opened() {
            self.tables.opened(before, binary, now)?;
        }
        self.tables.ask(
            |id| {
                let binary = table.binary(id);
                let file = binary.file.clone()?;
                let found = file.metadata().ok()?;
                let same = binary.key.identity().filter(|file| !file.owner.is_passing());
                let kept_as = same.zip(binary.build_id.or_else(|| stand_in(&found)));
                let kept_as = kept_as.map(|(file, id)| CacheKey { id, file });
                let user = binary.key.identity().map(|file| file.owner.user());
                Some(Request { binary: id, file, user, len: found.len(), kept_as })
            },
            now,
        )?;
        if !self.tables.poll(now)? && !entered {
            return Ok(Vec::new());
        }
        let mut ready = Vec::new();
        for held in std::mem::take(&mut self.held) {
            if !held.opening && self.tables.is_ready(held.who.mappings()) {
                ready.push(self.finish(table, held, now));
            } else {
                self.held.push_back(held);
            }
        }
        Ok(ready)
    }

    /// A process has changed its mappings, or came from a fork, or has left.
    fn follow(&mut self, table: &mut ProcessTable, pid: u32, now: BootNanos) -> io::Result<()> {
        let Some(mappings) = table.mappings_of(pid) else {
            self.tables.remove(pid);
            return Ok(());
        };
        match self.tables.mappings_of(pid) {
            Some(before) if before != mappings => self.enter_now(table, pid, now),
            // The kernel side believes it no more if it found known code gone, and the same may be mapped there again.
            Some(_) => self.assign(table, pid, mappings),
            // A fork has its parent's from the kernel side; ours has to know of it.
            None if self.tables.knows(mappings) => self.assign(table, pid, mappings),
            None => Ok(()),
        }
    }

    fn walk_on(&mut self, table: &ProcessTable, who: &Identified, raw: &mut RawSample, entered: Entered) {
        let code = |address| table.code_at(who, address);
        host::finish(raw, self.tables.kernel(), entered.space, self.mode, &code);
        self.finished += 1;
    }

    fn finish(&mut self, table: &ProcessTable, held: Held, now: BootNanos) -> Ready {
        let Held { generation, who, mut raw, charge, .. } = held;
        self.room.leave(who.pid(), size(&raw));
        drop(charge);
        if let Some(entered) = self.tables.find(who.mappings(), now) {
            self.walk_on(table, &who, &mut raw, entered);
        }
        (generation, who, raw)
    }

    /// A stack that ends in code whose rows could not be had yet does not end for want of rows in the file.
    pub fn correct_end(&self, table: &ProcessTable, sample: &mut Sample) {
        if sample.end == StackEnd::NoUnwindRows
            && let Some(first) = sample.stack.first()
            && self.tables.why_missing(table.with_rows(first.binary)).is_some_and(Missing::may_come)
        {
            sample.end = StackEnd::RowsNotLoaded;
        }
    }

    /// What waiting samples take, and how many found no room.
    pub fn waiting(&self) -> (usize, u64) {
        self.room.counts()
    }

    /// Whether samples of a generation wait.
    pub fn holds(&self, generation: u32) -> bool {
        self.held.iter().any(|held| held.generation == generation)
    }

    /// Whether rows of files are on their way.
    pub fn is_loading(&self) -> bool {
        self.tables.counts().loading > 0
    }

    /// Whether any sample waits.
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// Stops waiting: gives back the samples of a generation, with the stacks that the tables of now give.
    pub fn release(&mut self, table: &ProcessTable, generation: u32, now: BootNanos) -> Vec<Ready> {
        let (due, rest) = std::mem::take(&mut self.held).into_iter().partition(|held| held.generation == generation);
        self.held = rest;
        let due: VecDeque<Held> = due;
        due.into_iter().map(|held| self.finish(table, held, now)).collect()
    }

    /// A window has ended that hit these files: forgets what nobody needs any more.
    pub fn end_window(&mut self, table: &ProcessTable, files: impl Iterator<Item = BinaryId>, now: BootNanos) {
        self.tables.touch(files, now);
        self.tables.tidy(|pid| table.mappings_of(pid), now);
    }

    /// The figures.
    pub fn counts(&self) -> UnwindCounts {
        UnwindCounts { finished: self.finished, ..self.tables.counts() }
    }
}

/// What a waiting sample takes.
pub(super) fn size(raw: &RawSample) -> usize {
    let tail = raw.unfinished.as_ref().map_or(0, |unfinished| unfinished.stack.len() + size_of_val(&**unfinished));
    size_of::<Held>() + tail + 8 * (raw.user.len() + raw.kernel.len())
}

/// The cache of rows on disk; a profiler works without one, only its next start is slower.
pub(super) fn open_cache(folder: &Path) -> Option<Cache> {
    let opened = Cache::open(folder, MAX_CACHE);
    let opened =
        opened.inspect_err(|error| tracing::info!(folder = %folder.display(), %error, "unwind rows are not kept"));
    opened.ok()
}

/// The child process that parses files, as the loader sees it. Samples wait for its answers, so that it is as urgent as we are.
pub(super) struct Worker(RowsWorker);

impl Default for Worker {
    fn default() -> Self {
        Self(RowsWorker::new(WorkerCommand { is_urgent: true, ..WorkerCommand::default() }))
    }
}

impl Compile for Worker {
    fn compile(&mut self, file: &File, user: Option<u32>) -> Result<Vec<u8>, NotCompiled> {
        self.0.unwind_rows(file, user).map_err(|error| match error {
            RowsError::Refused(code) => NotCompiled::Missing(Missing::from_code(code)),
            RowsError::SetAside => NotCompiled::Missing(Missing::Failed),
            RowsError::Interrupted => NotCompiled::Interrupted,
            RowsError::Io(_) => NotCompiled::Missing(Missing::Unreadable),
        })
    }

    fn idle(&mut self) {
        self.0.let_go();
    }
}
