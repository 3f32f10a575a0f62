//! The processes of the host, kept up to date by side-band records.
//!
//! Here is their life: forked, renamed, mapped into, gone. What `/proc` says of them is read in `table/scan.rs`; turning samples into locations is in
//! `resolve.rs`. Invariant: a record or a reading changes only the process it is about, and a process forked from another
//! shares its mappings until one of them changes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::backing::{BackingRef, Origin};
use super::binaries::{Binaries, shrink};
use super::budget::{Budget, BudgetCounts};
use super::cgroup::Cgroup;
use super::jit_files::is_jitdump;
use super::mappings::{MAX_RANGES, Mapping};
use super::proc_dir::ProcRoot;
use super::reading_time::{BeingRead, ReadingTime};
use super::stack_cache::StackCache;
use super::tracked::{NO_USER, RANGE_BYTES, Start, Tracked, blank_facts};
use crate::profile::{Binary, BinaryId, BootNanos, ProcessFacts, ProcessKey, printable};
use crate::profile::{MappedFile, SideBand};

/// Most processes tracked, twice what a host runs by default (`kernel.pid_max`); samples of others have no locations.
const MAX_PROCESSES: usize = 65_536;
/// Most generations of one pid that are kept for late samples.
const MAX_REUSES: usize = 8;
/// A process is kept this long after it left: its last samples and facts are asked for until its window is closed.
const GRACE: u64 = 30_000_000_000;
/// The same for one that no sample has hit: those that are still to come are in the rings already.
const GRACE_UNSAMPLED: u64 = 5_000_000_000;
/// Most files opened in a second for mappings of one user that no sample has hit yet: one opening costs about 20 us of a thread of the
/// pool. Beyond it, files are opened when a sample hits them.
const EAGER_OPENINGS: u32 = 500;
/// Most memory of executable ranges and what backs them, paths included. What finds no room is counted, and code there has no name:
/// `too many mappings of this user`.
const MAX_MAPPINGS: usize = 32 << 20;
/// Most memory of processes beside their mappings. Samples of those that find no room have no locations.
const MAX_PROCESS_MEMORY: usize = 32 << 20;
/// A process that has more mappings than are known is read again after this long, if a sample hits one of those.
pub(super) const REREAD_INCOMPLETE: u64 = 30_000_000_000;
/// A process whose first thread has ended is looked at this long after the last look, when another thread of it ends: it may be gone.
const LOOK_AGAIN: u64 = 100_000_000;
/// Longest name of a thread (`TASK_COMM_LEN` less the final zero).
pub(super) const MAX_COMM: usize = 15;
/// Longest path shown (`PATH_MAX`).
const MAX_PATH: usize = 4096;

/// All processes, and what their addresses mean.
#[derive(Debug)]
pub struct ProcessTable {
    pub(super) proc: ProcRoot,
    /// By pid, oldest first: a pid comes back, and late samples may still be of the one before.
    pub(super) processes: HashMap<u32, Vec<Tracked>>,
    pub(super) binaries: Binaries,
    pub(super) stacks: StackCache,
    /// Control groups by the kernel's id, where that is the id of the path we show.
    pub(super) cgroups: HashMap<u64, Arc<Cgroup>>,
    pub(super) counts: TableCounts,
    generation: u64,
    lost: bool,
    /// Processes whose mappings may be others since [`Self::take_changed`].
    changed: Vec<u32>,
    /// The second in which eager openings are counted, and how many there were by user.
    eager: (u64, HashMap<u32, u32>),
    /// Ranges and backings.
    mappings_budget: Budget,
    /// Processes beside their mappings.
    pub(super) process_budget: Budget,
    /// Processes of the first look at `/proc` that have not been read yet.
    unread: VecDeque<u32>,
    pub(super) reading: ReadingTime,
    pub(super) being_read: BeingRead,
    /// When this pass began.
    pub(super) pass: BootNanos,
}

/// What the table holds and has done, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Processes tracked now.
    pub processes: usize,
    /// Files held open now.
    pub pinned_files: usize,
    /// Stacks answered from the cache.
    pub stacks_cached: u64,
    /// Stacks resolved.
    pub stacks_resolved: u64,
    /// Readings of `/proc/PID` after the start-up scan: beginnings missed, or records lost.
    pub processes_read: u64,
    /// Mappings refused because a process had too many.
    pub mappings_refused: u64,
    /// Processes refused because there were too many.
    pub processes_refused: u64,
    /// Changes of name, executable or control group that samples from before have too, as there was no room to keep what was before.
    pub facts_merged: u64,
    /// Processes that were there at the start and have not been read yet.
    pub processes_unread: usize,
    /// Files that are being opened.
    pub files_opening: usize,
    /// Root directories kept open.
    pub roots: usize,
    /// Root directories that were not kept because there were too many.
    pub roots_refused: u64,
    /// Programs whose files of names for code that they wrote are kept open.
    pub jit_programs: usize,
    /// Programs whose files were not kept open because there were too many.
    pub jit_programs_refused: u64,
    /// Memory of mappings, with the paths of their files.
    pub mappings: BudgetCounts,
    /// Memory of processes beside their mappings.
    pub process_memory: BudgetCounts,
    /// Memory of binaries.
    pub binaries: BudgetCounts,
}

impl ProcessTable {
    /// Which process's mappings are being read.
    #[must_use]
    pub fn being_read(&self) -> BeingRead {
        self.being_read.clone()
    }

    /// An empty table.
    #[must_use]
    pub fn new(proc: ProcRoot) -> Self {
        let mappings_budget = Budget::new(MAX_MAPPINGS);
        Self {
            binaries: Binaries::new(proc.clone(), mappings_budget.clone()),
            proc,
            processes: HashMap::new(),
            stacks: StackCache::default(),
            cgroups: HashMap::new(),
            counts: TableCounts::default(),
            generation: 0,
            lost: false,
            changed: Vec::new(),
            eager: (0, HashMap::new()),
            mappings_budget,
            process_budget: Budget::new(MAX_PROCESS_MEMORY),
            unread: VecDeque::new(),
            reading: ReadingTime::default(),
            being_read: BeingRead::default(),
            pass: BootNanos(0),
        }
    }

    /// A pass of the sampling thread begins: takes in the files that have been opened since the last one. Says whether there were any.
    pub fn begin_pass(&mut self, now: BootNanos) -> bool {
        self.reading.begin();
        self.pass = self.pass.max(now);
        self.binaries.take_answers(now)
    }

    /// Processes of user space of which a thread runs now, or waits for a CPU, as far as the list can be had until `deadline`: on a host
    /// with very many threads it takes long.
    #[must_use]
    pub fn running(&self, deadline: Instant) -> Vec<u32> {
        let runs = |pid: &u32| self.proc.process(*pid).is_ok_and(|dir| dir.runs());
        let of_user = |(pid, all): (&u32, &Vec<Tracked>)| {
            all.last().is_some_and(|process| process.space.generation != 0).then_some(*pid)
        };
        self.processes.iter().filter_map(of_user).take_while(|_| Instant::now() < deadline).filter(runs).collect()
    }

    /// Processes that have mapped, unmapped, forked, called exec or left since the last call, in order, some more than once.
    pub fn take_changed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.changed)
    }

    /// Takes in one side-band record. Records come in the order of their times.
    pub fn apply(&mut self, event: SideBand) {
        match &event {
            SideBand::Exec { pid, .. }
            | SideBand::Fork { pid, .. }
            | SideBand::Mmap { pid, .. }
            | SideBand::Unmap { pid, .. } => self.changed.push(*pid),
            SideBand::Exit { .. } | SideBand::Comm { .. } | SideBand::Lost { .. } => {}
        }
        match event {
            SideBand::Exec { time, pid, comm } => {
                self.look_for_jit_files(pid, false);
                let comm = printable(comm.as_bytes(), MAX_COMM);
                self.change_facts(pid, time, |process, budget| {
                    process.space = Arc::default();
                    process.executed = Some(time);
                    // It may be a program that runs as another user.
                    process.user_stale = true;
                    process.exe_follows = true;
                    process.stale = false;
                    process.left = None;
                    (process.has_threads, process.goes_on) = (false, None);
                    process.text_was_cut = false;
                    // A container's runtime moves a process into its group before it executes the container's program.
                    process.cgroup_asked_at = BootNanos(0);
                    process.change_facts(time, budget, |facts| (facts.comm, facts.exe) = (comm, None))
                });
            }
            SideBand::Comm { time, pid, tid, comm } => {
                if pid == tid {
                    let comm = printable(comm.as_bytes(), MAX_COMM);
                    self.change_facts(pid, time, |process, budget| process.rename(&comm, time, budget));
                }
            }
            SideBand::Fork { time, pid, ppid, .. } => {
                if pid != ppid {
                    self.fork(pid, ppid, time);
                } else if let Some(process) = self.newest(pid) {
                    process.has_threads = true;
                }
            }
            SideBand::Exit { time, pid, tid } => self.exit(pid, tid, time),
            SideBand::Unmap { time, pid, start, end } => self.unmap(time, pid, (start, end), false),
            SideBand::Mmap { time, pid, start, len, page_offset, path, identity, executable, shared } => {
                let end = start.saturating_add(len);
                if executable {
                    self.map(time, pid, (start, end), page_offset, &path, identity, shared);
                } else {
                    self.unmap(time, pid, (start, end), true);
                }
            }
            SideBand::Lost { .. } => {
                self.lost = true;
                self.processes.values_mut().flatten().for_each(|process| process.stale = true);
            }
        }
    }

    /// Nothing of what was known lies between two addresses any more; `is_covered` when something that is no code does.
    fn unmap(&mut self, time: BootNanos, pid: u32, (start, end): (u64, u64), is_covered: bool) {
        if let Some(process) = self.newest(pid) {
            process.mapped_at = process.mapped_at.max(time);
        }
        if self.newest(pid).is_some_and(|process| process.space.ranges.overlaps(start, end)) {
            self.generation += 1;
            let generation = self.generation;
            self.change(pid, time, |process| {
                process.text_was_cut |= is_covered && process.space.ranges.has_file(start, end);
                let space = Arc::make_mut(&mut process.space);
                space.ranges.cut(start, end);
                space.generation = generation;
            });
        }
    }

    /// What was known of a process at the time of samples with this number of its facts; little more than its identity once it is
    /// long gone.
    #[must_use]
    pub fn facts(&self, key: ProcessKey, revision: u32) -> Arc<ProcessFacts> {
        let process = self.of_key(key);
        process.map_or_else(|| Arc::new(blank_facts(key)), |process| process.facts_of(revision).clone())
    }

    /// The lowest number of facts of a process that equal those of `revision`.
    #[must_use]
    pub fn first_like(&self, key: ProcessKey, revision: u32) -> u32 {
        self.of_key(key).map_or(0, |process| process.first_like(revision))
    }

    fn of_key(&self, key: ProcessKey) -> Option<&Tracked> {
        self.processes.get(&key.pid)?.iter().find(|process| process.facts.key == key)
    }

    /// The effective user of a process, as far as it is known.
    pub fn user(&mut self, key: ProcessKey) -> Option<u32> {
        self.user_of(key.pid);
        let process = self.processes.get(&key.pid)?.iter().find(|process| process.facts.key == key)?;
        Some(process.user).filter(|user| *user != NO_USER)
    }

    /// The binary of a location.
    #[must_use]
    pub fn binary(&self, id: BinaryId) -> Arc<Binary> {
        self.binaries.get(id)
    }

    /// Files that were open too late for what was asked of them, or for which there was another binary until now: what stood for each, and
    /// what it is. Since the last call.
    pub fn take_opened(&mut self) -> Vec<(BinaryId, BinaryId)> {
        self.binaries.take_opened()
    }

    /// The binary whose unwind rows are those of this one.
    #[must_use]
    pub fn with_rows(&self, id: BinaryId) -> BinaryId {
        self.binaries.with_rows(id)
    }

    /// Build ids found since the last call that two different files claim, in words, and the totals: of those, and of files that could
    /// not be opened while they were known to be the mapped ones.
    pub fn take_claims(&mut self) -> (Vec<String>, [u64; 2]) {
        let claims = self.binaries.claims();
        let news = claims.take_news().collect();
        (news, [claims.conflicts, claims.not_verified])
    }

    /// What it holds and has done.
    #[must_use]
    pub fn counts(&self) -> TableCounts {
        let (roots, roots_refused) = self.binaries.roots();
        let (jit_programs, jit_programs_refused) = self.binaries.jit_programs();
        TableCounts {
            pinned_files: self.binaries.pinned(),
            processes_unread: self.unread.len(),
            files_opening: self.binaries.pending(),
            roots,
            roots_refused,
            jit_programs,
            jit_programs_refused,
            mappings: self.mappings_budget.counts(),
            process_memory: self.process_budget.counts(),
            binaries: self.binaries.budget(),
            ..self.counts
        }
    }

    /// A thread has ended. A process is over with its first thread, unless others go on.
    fn exit(&mut self, pid: u32, tid: u32, time: BootNanos) {
        let Some(process) = self.newest(pid).filter(|process| time >= process.read_at) else { return };
        let is_due = match process.goes_on {
            Some(at) => time.0 >= at.0.saturating_add(LOOK_AGAIN),
            None => pid == tid && process.has_threads,
        };
        if is_due {
            self.look_whether_it_goes_on(pid, time);
        } else if pid == tid {
            process.left = Some(time);
            self.changed.push(pid);
            self.look_for_jit_files(pid, true);
        }
    }

    /// What the process that has a pid tells of its code may be gone soon, or has just come.
    fn look_for_jit_files(&mut self, pid: u32, left: bool) {
        if let Some(process) = self.newest(pid) {
            let key = process.facts.key;
            self.binaries.look_for_jit_files(key, left);
        }
    }

    fn look_whether_it_goes_on(&mut self, pid: u32, time: BootNanos) {
        let goes_on = self.proc.process(pid).is_ok_and(|dir| dir.goes_on());
        let Some(process) = self.newest(pid) else { return };
        process.goes_on = goes_on.then_some(time);
        if !goes_on {
            process.left = Some(time);
            self.changed.push(pid);
            self.look_for_jit_files(pid, true);
        }
    }

    /// Forgets processes that have left, and what only they needed.
    pub fn end_window(&mut self, now: BootNanos) {
        if std::mem::take(&mut self.lost) {
            self.notice_missed_exits(now);
        }
        let without_first = |(pid, all): (&u32, &Vec<Tracked>)| all.last()?.goes_on.map(|_| *pid);
        for pid in self.processes.iter().filter_map(without_first).collect::<Vec<_>>() {
            if self.reading.is_left() {
                self.look_whether_it_goes_on(pid, now);
            }
        }
        let is_over = |process: &Tracked| {
            let grace = if process.sampled { GRACE } else { GRACE_UNSAMPLED };
            process.left.is_some_and(|left| left.max(process.seen).0.saturating_add(grace) < now.0)
        };
        let before = BootNanos(now.0.saturating_sub(GRACE_UNSAMPLED));
        self.processes.retain(|_, all| {
            all.retain(|process| !is_over(process));
            all.iter_mut().for_each(|process| process.drop_past(before));
            !all.is_empty()
        });
        self.counts.processes = self.processes.values().map(Vec::len).sum();
        shrink(&mut self.processes);
        self.binaries.end_window(now);
        self.stacks.age();
    }

    /// After records were lost: who is not in `/proc` any more has left.
    fn notice_missed_exits(&mut self, now: BootNanos) {
        let Ok(alive) = self.proc.pids() else { return };
        let alive: std::collections::HashSet<u32> = alive.into_iter().collect();
        for (_, all) in self.processes.iter_mut().filter(|(pid, _)| !alive.contains(pid)) {
            for process in all.iter_mut().filter(|process| process.left.is_none()) {
                process.left = Some(now);
                self.binaries.look_for_jit_files(process.facts.key, true);
            }
        }
    }

    /// The process that has a pid now.
    fn newest(&mut self, pid: u32) -> Option<&mut Tracked> {
        self.processes.get_mut(&pid)?.last_mut()
    }

    /// Whether another process of the same user can be kept; counts it if not.
    pub(super) fn has_room_for(&mut self, process: &Tracked) -> bool {
        let room = self.counts.processes < MAX_PROCESSES && self.process_budget.has_room(process.user, process.bytes());
        self.counts.processes_refused += u64::from(!room);
        room
    }

    /// Adds a process; returns its place among those with its pid.
    pub(super) fn insert(&mut self, mut process: Tracked) -> usize {
        process.settle(&self.process_budget);
        let all = self.processes.entry(process.facts.key.pid).or_default();
        // A late sample of an older process must not make it the newest.
        let at = match (process.start, all.last().map(|last| last.start)) {
            (Start::Known(start), Some(Start::Known(last))) if start < last => 0,
            _ => all.len(),
        };
        all.insert(at, process);
        self.counts.processes += 1;
        if all.len() > MAX_REUSES {
            all.remove(usize::from(at == 0));
            self.counts.processes -= 1;
        }
        at.min(all.len() - 1)
    }

    /// Changes the process that has a pid, unless `/proc` was read after the record. An unknown one is made: its beginning was
    /// missed, and the next sample asks `/proc` for the rest.
    fn change(&mut self, pid: u32, time: BootNanos, change: impl FnOnce(&mut Tracked)) {
        if self.newest(pid).is_none() {
            let process = Tracked::unknown(pid, Start::Unknown, time);
            if !self.has_room_for(&process) {
                return;
            }
            self.insert(process);
        }
        if let Some(process) = self.newest(pid)
            && time >= process.read_at
        {
            process.seen = process.seen.max(time);
            change(process);
        }
    }

    /// The same for what may change its facts; `change` says whether there was room for what they were.
    fn change_facts(&mut self, pid: u32, time: BootNanos, change: impl FnOnce(&mut Tracked, &Budget) -> bool) {
        let (budget, mut merged) = (self.process_budget.clone(), false);
        self.change(pid, time, |process| merged = !change(process, &budget));
        self.counts.facts_merged += u64::from(merged);
    }

    fn fork(&mut self, pid: u32, ppid: u32, time: BootNanos) {
        if let Some(process) = self.newest(pid) {
            // `/proc` was read after this record was made: what is known is this process, or one after it.
            if time < process.read_at {
                return;
            }
            if process.left.is_none() {
                process.left = Some(time);
                self.look_for_jit_files(pid, true);
            }
        }
        let child = match self.newest(ppid) {
            Some(parent) => parent.fork(pid, ppid, time),
            None => {
                let mut child = Tracked::unknown(pid, Start::Forked(time), time);
                child.ppid = ppid;
                child
            }
        };
        if self.has_room_for(&child) {
            self.insert(child);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one record")]
    fn map(
        &mut self,
        time: BootNanos,
        pid: u32,
        (start, end): (u64, u64),
        page_offset: u64,
        path: &[u8],
        identity: MappedFile,
        shared: bool,
    ) {
        let user = self.user_of(pid);
        if let Some(process) = self.newest(pid) {
            process.mapped_at = process.mapped_at.max(time);
        }
        if is_jitdump(path) {
            self.look_for_jit_files(pid, false);
        }
        let backing = self.binaries.backing(path, identity, shared, start, user);
        self.generation += 1;
        let (generation, budget) = (self.generation, self.mappings_budget.clone());
        let process_budget = self.process_budget.clone();
        let mut refused = false;
        let mut origin = None;
        self.change(pid, time, |process| {
            origin = Some(Origin { pid, ppid: process.ppid, user, start, end });
            if process.exe_follows
                && let Some(path) = backing.as_ref().and_then(BackingRef::file_path)
            {
                process.set_exe(Some(printable(&path, MAX_PATH)));
                process.settle(&process_budget);
                process.exe_follows = false;
            }
            // A fork that maps something has a copy of its parent's ranges from then on.
            let copied = if Arc::strong_count(&process.space) > 1 { process.space.bytes() } else { 0 };
            let mapping = backing.clone().map(|backing| {
                let offset = match &backing {
                    backing if backing.is_anonymous() => start,
                    backing if backing.is_vdso() => 0,
                    _ => page_offset,
                };
                Mapping { start, end, offset, backing }
            });
            if mapping.as_ref().is_some_and(|mapping| process.space.ranges.has(mapping)) {
                return;
            }
            // Code of a file that was moved to memory at its own address, or another's: `/proc` shows what lies around it.
            if backing.as_ref().is_some_and(BackingRef::is_anonymous) {
                let covered = process.space.ranges.has_file(start, end);
                process.stale |= std::mem::take(&mut process.text_was_cut) || covered;
            }
            let few = process.space.ranges.len() < MAX_RANGES;
            let mapping = mapping.filter(|_| few && budget.has_room(user, copied + RANGE_BYTES));
            refused = mapping.is_none();
            let Some(mapping) = mapping else {
                if !process.space.incomplete || process.space.ranges.overlaps(start, end) {
                    process.forget(start, end, generation, copied > 0);
                }
                return;
            };
            let space = Arc::make_mut(&mut process.space);
            refused = !space.ranges.insert(mapping);
            space.incomplete |= refused;
            space.generation = generation;
            space.settle(&budget, user);
        });
        self.counts.mappings_refused += u64::from(refused);
        let Some(backing) = backing.filter(|_| !refused) else { return };
        // The process may be gone before a sample of it is read: pin the file now.
        if let Some(origin) = origin
            && self.binaries.placed(&backing, time).is_none()
            && self.may_open_eagerly(user, time)
        {
            self.binaries.place(&backing, origin, time);
        }
    }

    /// The user of the process that has a pid, asked for if it may have changed.
    pub fn user_of(&mut self, pid: u32) -> u32 {
        if self.newest(pid).is_none_or(|process| process.user_stale) {
            let user = self.proc.process(pid).ok().and_then(|dir| dir.user());
            let Some(process) = self.newest(pid) else { return user.unwrap_or(NO_USER) };
            // One that is gone keeps that of its parent.
            (process.user, process.user_stale) = (user.unwrap_or(process.user), false);
        }
        self.newest(pid).map_or(NO_USER, |process| process.user)
    }

    /// Whether files are being opened, or processes are still to be read.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.binaries.is_opening() || !self.unread.is_empty()
    }

    fn may_open_eagerly(&mut self, user: u32, time: BootNanos) -> bool {
        let second = time.0 / 1_000_000_000;
        if self.eager.0 != second {
            self.eager.0 = second;
            self.eager.1.clear();
        }
        let opened = self.eager.1.entry(user).or_default();
        *opened += 1;
        *opened <= EAGER_OPENINGS
    }
}

mod scan;
#[cfg(test)]
mod tests;
