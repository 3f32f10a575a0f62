//! The processes of the host, kept up to date by side-band records.
//!
//! Here is their life: found in `/proc`, forked, renamed, mapped into, gone. Turning samples into locations is in
//! `resolve.rs`. Invariant: a record or a reading changes only the process it is about, and a process forked from another
//! shares its mappings until one of them changes.

use std::collections::HashMap;
use std::sync::Arc;

use super::binaries::{Binaries, Origin};
use super::cgroup::Cgroup;
use super::mappings::{Mapping, Mappings};
use super::proc_dir::{ProcRoot, ProcessDir};
use super::proc_text::Stat;
use super::side_band::{MappedFile, SideBand};
use super::stack_cache::StackCache;
use super::tracked::{AddressSpace, Start, Tracked, blank_facts};
use crate::profile::{Binary, BinaryId, BootNanos, ProcessFacts, ProcessKey, printable};

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

    /// Takes in one side-band record. Records come in the order of their times.
    pub fn apply(&mut self, event: SideBand) {
        match event {
            SideBand::Exec { time, pid, comm } => self.change(pid, time, |process| {
                process.space = Arc::default();
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
            // The scan has read it already, after this record was made.
            if time < process.read_at && process.start.admits_fork(time) {
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
        let mut ppid = None;
        self.change(pid, time, |process| {
            ppid = Some(process.ppid);
            if process.exe_follows
                && let Some(path) = backing.file_path()
            {
                process.set_exe(Some(printable(path, MAX_PATH)));
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
        if let Some(ppid) = ppid
            && self.binaries.placed(&backing, time).is_none()
            && self.may_open_eagerly(time)
        {
            self.binaries.place(&backing, Origin { pid, ppid, start, end }, time);
        }
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
mod tests {
    use super::super::drawing::{Host, sample, sample_of};
    use super::*;
    use crate::profile::{ContainerId, RawSample, StackEnd, StartTicks};

    /// A process that lived between two readings of the buffers is known from side-band records alone.
    #[test]
    fn a_short_life_is_known_from_its_records() {
        let mut host = Host::default();
        host.draw(
            "
            10 fork 100 <- 50
            11 exec 100 short
            12 mmap 100 0x1000-0x2000 /bin/short
            13 mmap 100 0x8000-0x9000 /lib/libc.so
            20 exit 100
            ",
        );
        let resolved = host.table.resolve(&sample(19, 100, &[0x8010, 0x1021]));
        assert_eq!(host.describe(&resolved), "/bin/short+0x20 /lib/libc.so+0x10 complete");
        let facts = host.table.facts(resolved.process);
        assert_eq!((facts.comm.as_str(), facts.exe.as_deref()), ("short", Some("/bin/short")));
        assert_eq!(facts.key, resolved.process);
    }

    /// A fork has its parent's mappings, and what the one maps later the other does not see.
    #[test]
    fn a_fork_shares_until_one_changes() {
        let mut host = Host::default();
        host.draw(
            "
            10 exec 50 shell
            11 mmap 50 0x1000-0x2000 /bin/shell
            12 fork 100 <- 50
            13 mmap 100 0x3000-0x4000 /lib/child.so
            14 mmap 50 0x3000-0x4000 /lib/parent.so
            ",
        );
        let mut of = |pid| {
            let resolved = host.table.resolve(&sample(15, pid, &[0x3004, 0x1011]));
            host.describe(&resolved)
        };
        assert_eq!(of(100), "/bin/shell+0x10 /lib/child.so+0x4 complete");
        assert_eq!(of(50), "/bin/shell+0x10 /lib/parent.so+0x4 complete");
        let child = host.table.resolve(&sample(16, 100, &[])).process;
        assert_eq!(host.table.facts(child).comm, "shell", "named as its parent until it is renamed");
    }

    /// After an exec nothing of the old program is left, neither mappings nor name nor executable.
    #[test]
    fn an_exec_clears_what_was_mapped() {
        let mut host = Host::default();
        host.draw(
            "
            10 exec 50 old
            11 mmap 50 0x1000-0x2000 /bin/old
            12 exec 50 new
            13 mmap 50 0x5000-0x6000 /bin/new
            14 mmap 50 0x7000-0x8000 /lib/new.so
            ",
        );
        let resolved = host.table.resolve(&sample(15, 50, &[0x1004, 0x5011]));
        assert_eq!(host.describe(&resolved), "/bin/new+0x10 [anon]+0x1004 complete");
        let facts = host.table.facts(resolved.process);
        assert_eq!((facts.comm.as_str(), facts.exe.as_deref()), ("new", Some("/bin/new")));
    }

    /// A pid that comes back is another process; late samples of the first still find it, by their start time.
    #[test]
    fn a_pid_that_comes_back_is_another_process() {
        let mut host = Host::default();
        host.draw(
            "
            1000 fork 100 <- 1
            1001 exec 100 first
            1002 mmap 100 0x1000-0x2000 /bin/first
            ",
        );
        let first = host.table.resolve(&sample_of(1003, 100, 99, &[0x1001]));
        host.draw(
            "
            1010 exit 100
            3000 fork 100 <- 1
            3001 exec 100 second
            3002 mmap 100 0x1000-0x2000 /bin/second
            ",
        );
        let second = host.table.resolve(&sample_of(3003, 100, 299, &[0x1001]));
        let late = host.table.resolve(&sample_of(1009, 100, 99, &[0x1002]));
        assert_eq!(host.describe(&first), "/bin/first+0x1 complete");
        assert_eq!(host.describe(&second), "/bin/second+0x1 complete");
        assert_eq!(host.describe(&late), "/bin/first+0x2 complete");
        assert_eq!(late.process, first.process);
        assert_eq!(second.process.start, StartTicks(299));
        assert_eq!(host.table.facts(first.process).comm, "first");
    }

    /// A sample may come without a start time, or of a process whose records were all lost: it keeps its leaf, and says why
    /// it has no more.
    #[test]
    fn an_unknown_process_keeps_its_leaf() {
        let mut host = Host::default();
        let resolved = host.table.resolve(&sample_of(5, 4_100_000, 0, &[0x1000, 0x2000]));
        assert_eq!(host.describe(&resolved), "[anon]+0x1000 no_mappings");
        assert_eq!(host.table.facts(resolved.process).comm, "test");
        let unseen = host.table.facts(ProcessKey { pid: 9, start: StartTicks(1) });
        assert_eq!(unseen.comm, "?");
    }

    /// After its main thread left a process is kept for late samples, and longer while others of its threads run.
    #[test]
    fn the_dead_are_kept_for_a_grace_period() {
        let mut host = Host::default();
        host.draw(
            "
            10 exec 50 gone
            10 exec 60 threads
            20 exit 50
            20 exit 60
            ",
        );
        host.table.resolve(&sample(20_000, 60, &[]));
        host.end_window(25_000);
        assert_eq!(host.table.counts().processes, 2);
        host.end_window(31_000);
        assert_eq!(host.table.counts().processes, 1);
        host.end_window(51_000);
        assert_eq!(host.table.counts().processes, 0);
    }

    /// Threads: their forks, exits and names are not the process's.
    #[test]
    fn threads_do_not_touch_their_process() {
        let mut host = Host::default();
        host.draw(
            "
            10 exec 50 main
            11 mmap 50 0x1000-0x2000 /bin/main
            ",
        );
        let time = BootNanos(12_000_000);
        host.table.apply(SideBand::Fork { time, pid: 50, ppid: 50, tid: 51 });
        host.table.apply(SideBand::Comm { time, pid: 50, tid: 51, comm: "worker".to_owned() });
        host.table.apply(SideBand::Exit { time, pid: 50, tid: 51 });
        let resolved = host.table.resolve(&sample(13, 50, &[0x1001]));
        assert_eq!(host.describe(&resolved), "/bin/main+0x1 complete");
        host.end_window(100_000);
        assert_eq!(host.table.counts().processes, 1);
    }

    /// Names of processes are text that anyone may choose: they are shown without control characters and cut.
    #[test]
    fn names_are_made_safe_to_show() {
        let mut host = Host::default();
        let comm = "\u{1b}[31mevil\u{202e}and much too long".to_owned();
        host.table.apply(SideBand::Exec { time: BootNanos(1), pid: 50, comm });
        let resolved = host.table.resolve(&RawSample { thread: "\u{7}bell".into(), tid: 50, ..sample(2, 50, &[]) });
        assert_eq!(&*resolved.thread, "\u{fffd}bell");
        let facts = host.table.facts(resolved.process);
        assert_eq!(facts.comm, "\u{fffd}bell");
    }

    /// The scan finds what runs, with mappings, executable and control group; older records do not undo it.
    #[test]
    fn the_scan_reads_what_runs() {
        let mut host = Host::with_proc(&[(
            70,
            "70 (daemon) S 1 70 70 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0",
            "00400000-00401000 r-xp 00001000 08:01 99   /usr/bin/daemon\n",
            "0::/system.slice/daemon.service\n",
        )]);
        host.table.scan(BootNanos(10_000_000_000));
        host.draw(
            "
            9000 exec 70 before
            9001 mmap 70 0x400000-0x401000 /usr/bin/before
            ",
        );
        let resolved = host.table.resolve(&sample_of(10_001, 70, 500, &[0x40_0010]));
        assert_eq!(host.describe(&resolved), "/usr/bin/daemon+0x1010 complete");
        let facts = host.table.facts(resolved.process);
        assert_eq!((facts.comm.as_str(), facts.unit.as_deref()), ("daemon", Some("daemon.service")));
    }

    /// After records were lost, a process is read again at its next sample, and one that is not there any more is let go.
    #[test]
    fn lost_records_are_made_up_for() {
        let stat = "70 (daemon) S 1 70 70 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0";
        let mut host = Host::with_proc(&[(70, stat, "1000-2000 r-xp 00000000 08:01 99 /bin/a\n", "0::/a\n")]);
        host.table.scan(BootNanos(0));
        host.draw("6000 exec 80 vanished");
        host.write_maps(70, "1000-2000 r-xp 00000000 08:01 98 /bin/b\n");
        let stale = host.table.resolve(&sample_of(6001, 70, 500, &[0x1001]));
        assert_eq!(host.describe(&stale), "/bin/a+0x1 complete");
        host.table.apply(SideBand::Lost { time: BootNanos(6_002_000_000), count: 3 });
        let fresh = host.table.resolve(&sample_of(6003, 70, 500, &[0x1001]));
        assert_eq!(host.describe(&fresh), "/bin/b+0x1 complete");
        host.end_window(6004);
        host.end_window(60_000);
        assert_eq!(host.table.counts().processes, 1);
    }

    /// The control group is read again when the kernel's id changes, and known at once for the next process in it.
    #[test]
    fn control_groups_are_followed_and_shared() {
        let id = "c".repeat(64);
        let stat = "70 (a) S 1 70 70 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0";
        let mut host = Host::with_proc(&[(70, stat, "", "0::/before\n")]);
        host.table.scan(BootNanos(0));
        let at = |time, pid, cgroup_id| RawSample { cgroup_id, ..sample_of(time, pid, 500, &[]) };
        let process = host.table.resolve(&at(6000, 70, 7)).process;
        assert_eq!(host.table.facts(process).cgroup, "/before");
        host.write_cgroup(70, &format!("0::/docker/{id}\n"));
        host.table.resolve(&at(6001, 70, 8));
        assert_eq!(host.table.facts(process).container, Some(ContainerId(id.clone())));
        // Too short-lived to be read, but the kernel gave its samples the same id.
        host.draw("6002 fork 90 <- 1");
        let child = host.table.resolve(&RawSample { cgroup_id: 8, ..sample(6003, 90, &[]) }).process;
        assert_eq!(host.table.facts(child).container, Some(ContainerId(id)));
    }

    /// Whoever maps without end is cut short, and it is counted.
    #[test]
    fn mappings_without_end_are_refused_and_counted() {
        let mut host = Host::default();
        for n in 0..5000_u64 {
            host.map(10, 50, n * 0x2000 + 0x1000, n * 0x2000 + 0x2000, "/bin/many");
        }
        assert!(host.table.counts().mappings_refused > 0);
        let resolved = host.table.resolve(&sample(11, 50, &[0x1000]));
        assert_eq!(resolved.end, StackEnd::Complete);
    }
}
