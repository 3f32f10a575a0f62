//! The processes of the host, kept up to date by side-band records.
//!
//! Here is their life: found in `/proc`, forked, renamed, mapped into, gone. Turning samples into locations is in
//! `resolve.rs`. Invariant: a record or a reading changes only the process it is about, and a process forked from another
//! shares its mappings until one of them changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::backing::Origin;
use super::binaries::Binaries;
use super::cgroup::Cgroup;
use super::mappings::{Mapping, Mappings};
use super::proc_dir::{ProcRoot, ProcessDir};
use super::proc_text::Stat;
use super::stack_cache::StackCache;
use super::tracked::{AddressSpace, NO_USER, Start, Tracked, blank_facts};
use crate::profile::{Binary, BinaryId, BootNanos, ProcessFacts, ProcessKey, printable};
use crate::profile::{MappedFile, SideBand};

/// Most processes tracked, twice what a host runs by default (`kernel.pid_max`); samples of others have no locations.
const MAX_PROCESSES: usize = 65_536;
/// Most generations of one pid that are kept for late samples.
const MAX_REUSES: usize = 8;
/// A process is kept this long after it left: its last samples and facts are asked for until its window is closed.
const GRACE: u64 = 30_000_000_000;
/// Most files opened in a second for mappings that no sample has hit yet. One opening costs about 20 us, and whoever maps files
/// in a loop must not keep the sampler busy; beyond it, files are opened when a sample hits them.
const EAGER_OPENINGS: u32 = 500;
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
    /// The second in which eager openings are counted, and how many there were.
    eager: (u64, u32),
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
}

impl ProcessTable {
    /// An empty table.
    #[must_use]
    pub fn new(proc: ProcRoot) -> Self {
        Self {
            binaries: Binaries::new(proc.clone()),
            proc,
            processes: HashMap::new(),
            stacks: StackCache::default(),
            cgroups: HashMap::new(),
            counts: TableCounts::default(),
            generation: 0,
            lost: false,
            changed: Vec::new(),
            eager: (0, 0),
        }
    }

    /// Reads every process of `/proc` (0.1 ms each); opens no binary. Call it when side-band records are already being
    /// kept, with the time before the call: records older than that are known to be in what is read.
    pub fn scan(&mut self, now: BootNanos) {
        for pid in self.proc.pids().unwrap_or_default() {
            if let Ok(dir) = self.proc.process(pid)
                && let Some(stat) = dir.stat()
                && self.has_room()
            {
                let mut process = Tracked::unknown(pid, Start::Known(stat.start), now);
                self.read(&mut process, &dir, &stat, now);
                self.insert(process);
            }
        }
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
            SideBand::Exec { pid, .. } | SideBand::Fork { pid, .. } | SideBand::Mmap { pid, .. } => {
                self.changed.push(*pid)
            }
            SideBand::Exit { pid, tid, .. } if pid == tid => self.changed.push(*pid),
            SideBand::Exit { .. } | SideBand::Comm { .. } | SideBand::Lost { .. } => {}
        }
        match event {
            SideBand::Exec { time, pid, comm } => self.change(pid, time, |process| {
                process.space = Arc::default();
                process.executed = Some(time);
                // It may be a program that runs as another user.
                process.user_stale = true;
                process.exe_follows = true;
                process.set_exe(None);
                process.rename(&printable(comm.as_bytes(), MAX_COMM));
                process.stale = false;
                process.left = None;
            }),
            SideBand::Comm { time, pid, tid, comm } => {
                if pid == tid {
                    self.change(pid, time, |process| process.rename(&printable(comm.as_bytes(), MAX_COMM)));
                }
            }
            SideBand::Fork { time, pid, ppid, .. } => {
                if pid != ppid {
                    self.fork(pid, ppid, time);
                }
            }
            SideBand::Exit { time, pid, tid } => {
                if pid == tid
                    && let Some(process) = self.newest(pid)
                    && time >= process.read_at
                {
                    process.left = Some(time);
                }
            }
            SideBand::Mmap { time, pid, start, len, page_offset, path, identity, executable } => {
                let end = start.saturating_add(len);
                if executable {
                    self.map(time, pid, (start, end), page_offset, &path, identity);
                } else if self.newest(pid).is_some_and(|process| process.space.ranges.overlaps(start, end)) {
                    self.generation += 1;
                    let generation = self.generation;
                    self.change(pid, time, |process| {
                        let space = Arc::make_mut(&mut process.space);
                        space.ranges.cut(start, end);
                        space.generation = generation;
                    });
                }
            }
            SideBand::Lost { .. } => {
                self.lost = true;
                self.processes.values_mut().flatten().for_each(|process| process.stale = true);
            }
        }
    }

    /// What is known of a process; little more than its identity once it is long gone.
    #[must_use]
    pub fn facts(&self, key: ProcessKey) -> Arc<ProcessFacts> {
        let process = self.processes.get(&key.pid).and_then(|all| all.iter().find(|process| process.facts.key == key));
        process.map_or_else(|| Arc::new(blank_facts(key)), |process| process.facts.clone())
    }

    /// The binary of a location.
    #[must_use]
    pub fn binary(&self, id: BinaryId) -> Arc<Binary> {
        self.binaries.get(id)
    }

    /// What it holds and has done.
    #[must_use]
    pub fn counts(&self) -> TableCounts {
        TableCounts { pinned_files: self.binaries.pinned(), ..self.counts }
    }

    /// Forgets processes that have left, and what only they needed.
    pub fn end_window(&mut self, now: BootNanos) {
        if std::mem::take(&mut self.lost) {
            self.notice_missed_exits(now);
        }
        let is_over =
            |process: &Tracked| process.left.is_some_and(|left| left.max(process.seen).0.saturating_add(GRACE) < now.0);
        self.processes.retain(|_, all| {
            all.retain(|process| !is_over(process));
            !all.is_empty()
        });
        self.counts.processes = self.processes.values().map(Vec::len).sum();
        self.binaries.end_window(now);
        self.stacks.age();
    }

    /// After records were lost: who is not in `/proc` any more has left.
    fn notice_missed_exits(&mut self, now: BootNanos) {
        let Ok(alive) = self.proc.pids() else { return };
        let alive: std::collections::HashSet<u32> = alive.into_iter().collect();
        for (_, all) in self.processes.iter_mut().filter(|(pid, _)| !alive.contains(pid)) {
            for process in all {
                process.left.get_or_insert(now);
            }
        }
    }

    /// The process that has a pid now.
    fn newest(&mut self, pid: u32) -> Option<&mut Tracked> {
        self.processes.get_mut(&pid)?.last_mut()
    }

    pub(super) fn has_room(&mut self) -> bool {
        let room = self.counts.processes < MAX_PROCESSES;
        self.counts.processes_refused += u64::from(!room);
        room
    }

    /// Adds a process; returns its place among those with its pid.
    pub(super) fn insert(&mut self, process: Tracked) -> usize {
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
            if !self.has_room() {
                return;
            }
            self.insert(Tracked::unknown(pid, Start::Unknown, time));
        }
        if let Some(process) = self.newest(pid)
            && time >= process.read_at
        {
            process.seen = process.seen.max(time);
            change(process);
        }
    }

    fn fork(&mut self, pid: u32, ppid: u32, time: BootNanos) {
        if let Some(process) = self.newest(pid) {
            // `/proc` was read after this record was made: what is known is this process, or one after it.
            if time < process.read_at {
                return;
            }
            process.left.get_or_insert(time);
        }
        if !self.has_room() {
            return;
        }
        let child = match self.newest(ppid) {
            Some(parent) => parent.fork(pid, ppid, time),
            None => Tracked { ppid, ..Tracked::unknown(pid, Start::Forked(time), time) },
        };
        self.insert(child);
    }

    fn map(
        &mut self,
        time: BootNanos,
        pid: u32,
        (start, end): (u64, u64),
        page_offset: u64,
        path: &[u8],
        identity: MappedFile,
    ) {
        let backing = self.binaries.backing(path, identity, start);
        let offset = if backing.is_anonymous() {
            start
        } else if backing.is_vdso() {
            0
        } else {
            page_offset
        };
        self.generation += 1;
        let generation = self.generation;
        let mut refused = false;
        let mut origin = None;
        let user = self.user_of(pid);
        self.change(pid, time, |process| {
            origin = Some(Origin { pid, ppid: process.ppid, user, start, end });
            if process.exe_follows
                && let Some(path) = backing.file_path()
            {
                process.set_exe(Some(printable(&path, MAX_PATH)));
                process.exe_follows = false;
            }
            let mapping = Mapping { start, end, offset, backing: backing.clone() };
            if !process.space.ranges.has(&mapping) {
                let space = Arc::make_mut(&mut process.space);
                refused = !space.ranges.insert(mapping);
                space.generation = generation;
            }
        });
        self.counts.mappings_refused += u64::from(refused);
        // The process may be gone before a sample of it is read: pin the file now.
        if let Some(origin) = origin
            && self.binaries.placed(&backing, time).is_none()
            && self.may_open_eagerly(time)
        {
            self.binaries.place(&backing, origin, time);
        }
    }

    /// The user of the process that has a pid, asked for if it may have changed.
    fn user_of(&mut self, pid: u32) -> u32 {
        if self.newest(pid).is_none_or(|process| process.user_stale) {
            let user = self.proc.process(pid).ok().and_then(|dir| dir.user());
            let Some(process) = self.newest(pid) else { return user.unwrap_or(NO_USER) };
            // One that is gone keeps that of its parent.
            (process.user, process.user_stale) = (user.unwrap_or(process.user), false);
        }
        self.newest(pid).map_or(NO_USER, |process| process.user)
    }

    /// Takes in the files that have been opened since the last call. Says whether there were any. Call it before samples are placed.
    pub fn take_opened(&mut self, now: BootNanos) -> bool {
        self.binaries.take_answers(now)
    }

    /// Whether files are being opened.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.binaries.is_opening()
    }

    fn may_open_eagerly(&mut self, time: BootNanos) -> bool {
        let second = time.0 / 1_000_000_000;
        if self.eager.0 != second {
            self.eager = (second, 0);
        }
        self.eager.1 += 1;
        self.eager.1 <= EAGER_OPENINGS
    }

    /// Takes what `/proc` says of a process.
    pub(super) fn read(&mut self, process: &mut Tracked, dir: &ProcessDir, stat: &Stat, now: BootNanos) {
        process.start = Start::Known(stat.start);
        process.ppid = stat.ppid;
        (process.user, process.user_stale) = (dir.user().unwrap_or(process.user), false);
        process.stale = false;
        process.read_at = now;
        process.asked_at = now;
        let facts = Arc::make_mut(&mut process.facts);
        facts.key.start = stat.start;
        facts.comm = printable(&stat.comm, MAX_COMM);
        if let Some(cgroup) = dir.cgroup() {
            process.set_cgroup(Arc::new(cgroup));
        }
        if stat.kernel_thread {
            return;
        }
        let exe = dir.exe();
        process.set_exe(exe.map(|exe| printable(exe.strip_suffix(b" (deleted)").unwrap_or(&exe), MAX_PATH)));
        let Some(lines) = dir.executable_maps() else { return };
        let mut ranges = Mappings::default();
        for line in lines {
            let backing = self.binaries.backing(&line.path, line.identity, line.start);
            let offset = if backing.is_anonymous() { line.start } else { line.offset };
            let mapping = Mapping { start: line.start, end: line.end, offset, backing };
            // Side-band records may have told of the same file by its build id, and more surely.
            let known = process.space.ranges.find(line.start).filter(|known| known.backing.same_path(&mapping.backing));
            let backing = known.map_or(mapping.backing, |known| known.backing.clone());
            self.counts.mappings_refused += u64::from(!ranges.insert(Mapping { backing, ..mapping }));
        }
        self.generation += 1;
        process.space = Arc::new(AddressSpace { generation: self.generation, ranges });
    }
}

#[cfg(test)]
mod tests;
