//! What `/proc` says of processes: of all at the start, of one when records have left something open. Reading ends with the pass's time
//! (`reading_time.rs`), and what is left is read in the next.

use std::sync::Arc;
use std::time::Instant;

use super::super::mappings::{MAX_RANGES, Mapping, Mappings};
use super::super::proc_dir::ProcessDir;
use super::super::proc_text::Stat;
use super::super::reading_time::{Begin, ONE_PROCESS, Patience};
use super::super::tracked::{AddressSpace, NO_USER, RANGE_BYTES, Start, Tracked};
use super::{MAX_COMM, MAX_PATH, ProcessTable};
use crate::profile::{BootNanos, printable};

impl ProcessTable {
    /// Notes which processes `/proc` has, to be read by [`Self::scan`] (0.1 ms each), or before if a sample comes of one. Opens no binary.
    /// Call it when side-band records are already being kept.
    pub fn begin_scan(&mut self) {
        self.unread = self.proc.pids().unwrap_or_default().into();
    }

    /// Reads processes that [`Self::begin_scan`] found, for as long as this pass may read `/proc`. Says whether there are more.
    pub fn scan(&mut self, now: BootNanos) -> bool {
        for _ in 0..self.unread.len() {
            if !self.reading.is_left() {
                break;
            }
            let Some(pid) = self.unread.pop_front() else { break };
            if !self.scan_one(pid, now) {
                self.unread.push_back(pid);
            }
        }
        !self.unread.is_empty()
    }

    /// Reads all that [`Self::begin_scan`] found, as far as it can be done until `deadline`.
    pub fn scan_until(&mut self, deadline: Instant, now: BootNanos) {
        while Instant::now() < deadline && !self.unread.is_empty() {
            self.reading.begin();
            self.scan(now);
        }
    }

    /// Reads all processes.
    #[cfg(test)]
    pub fn scan_all(&mut self, now: BootNanos) {
        self.begin_scan();
        self.scan_until(Instant::now() + std::time::Duration::from_secs(60), now);
    }

    /// Says no when its user has no time left in this pass.
    fn scan_one(&mut self, pid: u32, now: BootNanos) -> bool {
        if self.newest(pid).is_some_and(|process| !process.stale) {
            return true;
        }
        let Ok(dir) = self.proc.process(pid) else { return true };
        let user = dir.user().unwrap_or(NO_USER);
        if !self.reading.is_left_for(user) {
            return false;
        }
        let begin = Begin::now();
        if let Some(stat) = dir.stat() {
            // Records may have told of it already, and that it is not known.
            let mut all = self.processes.remove(&pid).unwrap_or_default();
            match all.last_mut().filter(|process| process.start.admits(stat.start)) {
                Some(process) => self.read(process, &dir, &stat, now),
                None => {
                    let mut process = Tracked::unknown(pid, Start::Known(stat.start), now);
                    (process.user, process.user_stale) = (user, false);
                    if self.has_room_for(&process) {
                        self.read(&mut process, &dir, &stat, now);
                        self.counts.processes += 1;
                        all.push(process);
                    }
                }
            }
            if !all.is_empty() {
                self.processes.insert(pid, all);
            }
        }
        self.reading.spend(user, begin);
        true
    }

    /// Takes what `/proc` says of a process.
    pub(in crate::process) fn read(&mut self, process: &mut Tracked, dir: &ProcessDir, stat: &Stat, now: BootNanos) {
        process.start = Start::Known(stat.start);
        process.ppid = stat.ppid;
        process.has_threads = stat.has_threads;
        process.goes_on = (stat.ended && dir.goes_on()).then_some(now);
        (process.user, process.user_stale) = (dir.user().unwrap_or(process.user), false);
        process.stale = false;
        process.read_at = now;
        // What was mapped before this pass began is read now.
        process.mapped_at = process.mapped_at.max(now).max(self.pass);
        process.text_was_cut = false;
        process.asked_at = now;
        if process.facts.key.start != stat.start {
            Arc::make_mut(&mut process.facts).key.start = stat.start;
        }
        let mut kept = true;
        if let Some(cgroup) = dir.cgroup() {
            process.cgroup_asked_at = now;
            kept = process.set_cgroup(Arc::new(cgroup), now, &self.process_budget);
        }
        let comm = printable(&stat.comm, MAX_COMM);
        if stat.kernel_thread {
            kept &= process.rename(&comm, now, &self.process_budget);
            self.counts.facts_merged += u64::from(!kept);
            return;
        }
        let exe = dir.exe();
        let exe = exe.map(|exe| printable(exe.strip_suffix(b" (deleted)").unwrap_or(&exe), MAX_PATH));
        // Only records that were lost can have told of another program.
        if process.facts.exe.is_some() && process.facts.exe != exe {
            let budget = &self.process_budget;
            kept &= process.change_facts(now, budget, |facts| (facts.comm, facts.exe) = (comm, exe));
        } else {
            kept &= process.rename(&comm, now, &self.process_budget);
            process.set_exe(exe);
        }
        self.counts.facts_merged += u64::from(!kept);
        process.settle(&self.process_budget);
        self.being_read.begin(process.facts.key.pid, &process.facts.comm, Instant::now());
        let maps = dir.executable_maps(MAX_RANGES, Patience::of(ONE_PROCESS));
        self.being_read.end();
        let Some((lines, all)) = maps else { return };
        let mut ranges = Mappings::default();
        let mut refused = u64::from(!all);
        for line in lines {
            let user = process.user;
            let backing = self.binaries.backing(&line.path, line.identity, line.shared, line.start, user);
            let room = self.mappings_budget.has_room(user, (ranges.len() + 1) * RANGE_BYTES);
            let Some(backing) = backing.filter(|_| room) else {
                refused += 1;
                break;
            };
            let offset = if backing.is_anonymous() { line.start } else { line.offset };
            let mapping = Mapping { start: line.start, end: line.end, offset, backing };
            // Side-band records may have told of the same file by its build id, and more surely.
            let known = process.space.ranges.find(line.start).filter(|known| known.backing.same_path(&mapping.backing));
            let backing = known.map_or(mapping.backing, |known| known.backing.clone());
            refused += u64::from(!ranges.insert(Mapping { backing, ..mapping }));
        }
        self.counts.mappings_refused += refused;
        self.generation += 1;
        let mut space = AddressSpace { generation: self.generation, ranges, ..AddressSpace::default() };
        space.incomplete = refused > 0;
        space.settle(&self.mappings_budget, process.user);
        process.space = Arc::new(space);
    }
}
