//! From a raw sample to a sample: whose it is, and where each address lies.
//!
//! Never fails. A process we have not heard of is read from `/proc`; if it is gone, its sample keeps its leaf and says
//! [`StackEnd::NoMappings`].

use std::io::IoSliceMut;
use std::sync::Arc;

use profiler_ebpf::tables::BY_FRAME_POINTER;
use rustix::io::{ReadWriteFlags, preadv2};

use super::backing::Origin;
use super::binaries::Binaries;
use super::reading_time::Begin;
use super::stack_cache::{Cached, Resolved, StackKey};
use super::table::{MAX_COMM, ProcessTable, REREAD_INCOMPLETE};
use super::tracked::{AddressSpace, NAMELESS, NO_USER, Start, Tracked};
use crate::profile::{
    BootNanos, Location, MappedRange, ProcessKey, RawSample, Sample, StackEnd, StartTicks, ThreadName, UnknownReason,
    is_printable, printable,
};

/// A process whose leaf address is in no mapping is read again, but not more often than this.
const REREAD: u64 = 1_000_000_000;
/// How long after it became another program a process may still be in execve(2): it reads files.
const EXECUTING: u64 = 1_000_000_000;
/// A process in a control group of version 1 is asked again for it after this long: no number tells of a move there.
const REASK_CGROUP: u64 = 1_000_000_000;
/// Most control groups remembered by id.
const MAX_CGROUPS: usize = 4096;

/// Whose a sample is, and what was mapped when it was taken.
#[derive(Clone, Debug)]
pub struct Identified {
    process: ProcessKey,
    /// Number of the facts that were true of it.
    revision: u32,
    thread: ThreadName,
    ppid: u32,
    user: u32,
    space: Arc<AddressSpace>,
    /// It has just become another program.
    executing: bool,
}

impl Identified {
    /// The number of its set of mappings, which no different ones share; 0 when nothing is known to be mapped.
    #[must_use]
    pub fn mappings(&self) -> u64 {
        self.space.generation
    }

    /// Of a process of which nothing is known.
    fn nobody(raw: &RawSample, thread: ThreadName) -> Self {
        let process = ProcessKey { pid: raw.pid, start: raw.start };
        Self { process, revision: 0, thread, ppid: 0, user: NO_USER, space: Arc::default(), executing: false }
    }

    /// Host process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Its effective user, as far as that is known.
    #[must_use]
    pub fn user(&self) -> u32 {
        self.user
    }
}

impl ProcessTable {
    /// Turns addresses into locations, waiting for files.
    #[cfg(test)]
    pub fn resolve(&mut self, raw: &RawSample) -> Sample {
        let who = self.identify_now(raw);
        self.binaries.wait_for_answers();
        self.place(&who, raw).unwrap_or_else(|| {
            self.binaries.wait_for_answers();
            self.place(&who, raw).expect("all files are there")
        })
    }

    /// Says whose a sample is. To be asked in the order of time, between the side-band records. `None` when `/proc` must be asked and this
    /// pass has no time for it: ask again in the next one.
    pub fn identify(&mut self, raw: &RawSample) -> Option<Identified> {
        if self.must_read(raw) && !self.has_time_for(raw.pid) {
            return None;
        }
        Some(self.identify_now(raw))
    }

    /// The same, whatever time reading takes.
    pub fn identify_now(&mut self, raw: &RawSample) -> Identified {
        let thread = clean_name(&raw.thread);
        match self.locate(raw) {
            Some(at) => self.identify_tracked(raw, at, thread),
            None => Identified::nobody(raw, thread),
        }
    }

    /// The same without reading: by what is known now, be it nothing but the process's identity.
    pub fn identify_unread(&mut self, raw: &RawSample) -> Identified {
        let thread = clean_name(&raw.thread);
        let known = self.known(raw).and_then(|at| self.processes.get_mut(&raw.pid)?.get_mut(at));
        match known {
            Some(process) => {
                let (process_key, revision) = (process.key(raw.start), process.revision_at(raw.time));
                let (ppid, user, space) = (process.ppid, process.user, process.space_at(raw.time));
                Identified { process: process_key, revision, thread, ppid, user, space, executing: false }
            }
            None => Identified::nobody(raw, thread),
        }
    }

    /// Whether nothing can be said of a sample's process before `/proc` is asked.
    fn must_read(&self, raw: &RawSample) -> bool {
        self.known(raw).is_none_or(|at| self.processes[&raw.pid][at].stale)
    }

    /// Whether this pass may still read what `/proc` says of a process.
    fn has_time_for(&self, pid: u32) -> bool {
        let user = || self.proc.process(pid).ok().and_then(|dir| dir.user());
        // One that is gone takes no time.
        self.reading.is_left() && user().is_none_or(|user| self.reading.is_left_for(user))
    }

    /// The place of a sample's process among those with its pid.
    fn known(&self, raw: &RawSample) -> Option<usize> {
        self.processes.get(&raw.pid).and_then(|all| match raw.start {
            // The kernel could not tell: the last one that had begun by then.
            StartTicks(0) => all.iter().rposition(|process| process.began_by(raw.time)).or(Some(0)),
            start => all.iter().rposition(|process| process.start.admits(start)),
        })
    }

    /// Turns addresses into locations, as things were when the sample was identified. `None` while a file that it needs is being
    /// opened: try again when [`Self::begin_pass`] says that files have come.
    pub fn place(&mut self, who: &Identified, raw: &RawSample) -> Option<Sample> {
        self.place_with(who, raw, Files::Wait)
    }

    /// The same with the files that are open now: the others are what the kernel said of them.
    pub fn place_now(&mut self, who: &Identified, raw: &RawSample) -> Sample {
        let placed = self.place_with(who, raw, Files::DoWithout);
        placed.expect("nothing is waited for")
    }

    fn place_with(&mut self, who: &Identified, raw: &RawSample, files: Files) -> Option<Sample> {
        // Inside execve(2), after the old program's memory has gone: the saved registers are still those of the old program, the system
        // call's own instruction is no longer there, and there is no user stack.
        let is_gone = |leaf: &u64| who.space.ranges.find(leaf & !BY_FRAME_POINTER).is_none();
        let mut resolved = if who.executing && !raw.kernel.is_empty() && raw.user.first().is_some_and(is_gone) {
            let end = StackEnd::NoUserStack;
            self.resolve_cached(&RawSample { user: [].into(), end, unfinished: None, ..raw.clone() }, who, files)?
        } else {
            self.resolve_cached(raw, who, files)?
        };
        // Equal mappings are shared by processes; what was written into the memory among them is not.
        let anonymous = self.binaries.anonymous();
        if resolved.stack.iter().any(|at| at.binary == anonymous) {
            let jit = self.binaries.jit(who.process, who.user, raw.time);
            let own = |at: &Location| Location { binary: if at.binary == anonymous { jit } else { at.binary }, ..*at };
            resolved.stack = resolved.stack.iter().map(own).collect();
        }
        Some(Sample {
            time: raw.time,
            process: who.process,
            revision: who.revision,
            tid: raw.tid,
            thread: who.thread.clone(),
            stack: resolved.stack,
            end: resolved.end,
            weight: raw.weight,
        })
    }

    /// Finds the process of a sample among those with its pid, asking `/proc` if it is new to us. `None` when there is no room.
    fn locate(&mut self, raw: &RawSample) -> Option<usize> {
        let known = self.known(raw);
        if known.is_some() {
            return known;
        }
        let start = if raw.start == StartTicks(0) { Start::Unknown } else { Start::Known(raw.start) };
        let mut process = Tracked::unknown(raw.pid, start, raw.time);
        if !self.has_room_for(&process) {
            return None;
        }
        if !self.reread(&mut process, raw.time) {
            process.left = Some(raw.time);
        }
        Some(self.insert(process))
    }

    fn identify_tracked(&mut self, raw: &RawSample, at: usize, thread: ThreadName) -> Identified {
        // Taken out and put back: what follows needs other parts of the table.
        let mut all = self.processes.get_mut(&raw.pid).map(std::mem::take).expect("the process was just located");
        let process = &mut all[at];
        process.seen = process.seen.max(raw.time);
        let leaf = raw.user.first().map(|leaf| leaf & !BY_FRAME_POINTER);
        let leaf_unmapped = leaf.is_some_and(|leaf| process.space.ranges.find(leaf).is_none());
        process.sampled = true;
        let wait = if process.space.incomplete { REREAD_INCOMPLETE } else { REREAD };
        let may_reread = raw.time.0 >= process.asked_at.0.saturating_add(wait) || process.asked_at == BootNanos(0);
        // What is stale was given time before; a leaf that is unmapped can wait.
        let has_time = || self.reading.is_left_for(process.user);
        if process.stale || (leaf_unmapped && may_reread && has_time()) {
            self.reread(process, raw.time);
        }
        let key = process.key(raw.start);
        if process.is_now(raw.time) {
            let mut kept = self.follow_cgroup(process, raw);
            // Any thread's name is better than none.
            if raw.tid == raw.pid || process.facts.comm == NAMELESS {
                kept &= process.rename(&thread, raw.time, &self.process_budget);
            }
            self.counts.facts_merged += u64::from(!kept);
        }
        let executing = process.executed.is_some_and(|at| raw.time.0.wrapping_sub(at.0) < EXECUTING);
        let (ppid, user, space) = (process.ppid, process.user, process.space_at(raw.time));
        let revision = process.revision_at(raw.time);
        if space.has_made_code {
            // While it lives: a stack that waits for files or unwind rows may be placed when nothing can be asked of it any more.
            self.binaries.jit(key, user, raw.time);
        }
        let who = Identified { process: key, revision, thread, ppid, user, space, executing };
        self.processes.insert(raw.pid, all);
        who
    }

    /// Asks `/proc` again. Says no, leaving all as it was, when the process is gone.
    fn reread(&mut self, process: &mut Tracked, now: BootNanos) -> bool {
        process.stale = false;
        process.asked_at = now;
        let Ok(dir) = self.proc.process(process.facts.key.pid) else { return false };
        let begin = Begin::now();
        let Some(stat) = dir.stat().filter(|stat| process.start.admits(stat.start)) else { return false };
        self.counts.processes_read += 1;
        self.read(process, &dir, &stat, now);
        self.reading.spend(process.user, begin);
        true
    }

    /// Learns the control group, if the sample shows another one than we know. The kernel's id tells of moves in the unified hierarchy;
    /// on hosts that use v1, a process is asked at its first sample after a fork or an exec, and again while it is sampled. Says no as
    /// [`Tracked::change_facts`] does.
    fn follow_cgroup(&mut self, process: &mut Tracked, raw: &RawSample) -> bool {
        let moved = raw.cgroup_id != 0 && raw.cgroup_id != process.cgroup_id;
        if !moved {
            if process.cgroup.unified {
                process.cgroup_assumed = false;
                self.confirm_cgroup(process);
                return true;
            }
            let asked_at = process.cgroup_asked_at;
            let due = asked_at == BootNanos(0) || raw.time.0 >= asked_at.0.saturating_add(REASK_CGROUP);
            if !due || !self.reading.is_left_for(process.user) {
                return true;
            }
        }
        process.cgroup_unconfirmed = false;
        if raw.cgroup_id != 0 {
            process.cgroup_id = raw.cgroup_id;
        }
        if let Some(known) = self.cgroups.get(&raw.cgroup_id).filter(|_| moved) {
            return process.set_cgroup(known.clone(), raw.time, &self.process_budget);
        }
        process.cgroup_asked_at = raw.time;
        let begin = Begin::now();
        let read = self.proc.process(raw.pid).ok().and_then(|dir| {
            let cgroup = dir.cgroup()?;
            // Read first, then make sure that it was this process.
            process.start.admits(dir.stat()?.start).then_some(cgroup)
        });
        self.reading.spend(process.user, begin);
        let Some(cgroup) = read else { return true };
        process.cgroup_unconfirmed = cgroup.unified && raw.cgroup_id != 0;
        process.set_cgroup(Arc::new(cgroup), raw.time, &self.process_budget)
    }

    /// Remembers what an id stands for, once a process has been seen with it before and after its path was read: it may have been moved
    /// between the one and the other.
    fn confirm_cgroup(&mut self, process: &mut Tracked) {
        if std::mem::take(&mut process.cgroup_unconfirmed) {
            if self.cgroups.len() >= MAX_CGROUPS {
                self.cgroups.clear();
            }
            self.cgroups.insert(process.cgroup_id, process.cgroup.clone());
        }
    }

    fn resolve_cached(&mut self, raw: &RawSample, who: &Identified, files: Files) -> Option<Resolved> {
        let key = StackKey {
            mappings: who.space.generation,
            user: raw.user.clone(),
            kernel: raw.kernel.clone(),
            end: raw.end,
        };
        match self.stacks.get(&key) {
            Cached::Fresh(known) => {
                self.counts.stacks_cached += 1;
                return Some(known);
            }
            // Keeps the files of what is in use open, and tries again those that could not be opened.
            Cached::Old(known) if known.stack.iter().all(|at| self.binaries.touch(at.binary, raw.time)) => {
                self.counts.stacks_cached += 1;
                self.stacks.put(key, known.clone());
                return Some(known);
            }
            Cached::Old(_) | Cached::Miss => {}
        }
        let origin = Origin { pid: raw.pid, ppid: who.ppid, user: who.user, start: 0, end: 0 };
        let resolved = resolve_stack(&mut self.binaries, &who.space, raw, origin, files)?;
        self.counts.stacks_resolved += 1;
        // A file that was late may be open for the next sample.
        let is_late = |at: &Location| self.binaries.get(at.binary).unopened == Some(UnknownReason::NotOpenedInTime);
        if !resolved.stack.iter().any(is_late) {
            self.stacks.put(key, resolved.clone());
        }
        Some(resolved)
    }

    /// The executable ranges that were mapped when a sample was identified, in order. `None` while files of them are being opened.
    pub fn ranges(&mut self, who: &Identified, now: BootNanos) -> Option<Vec<MappedRange>> {
        let origin = Origin { pid: who.process.pid, ppid: who.ppid, user: who.user, start: 0, end: 0 };
        self.place_ranges(&who.space, origin, now)
    }

    /// Eight bytes of code at an address, as mapped when a sample was identified. Asks for nothing and waits for nothing: only what of an open
    /// file is in memory (`RWF_NOWAIT`), as code is that was just run.
    #[must_use]
    pub fn code_at(&self, who: &Identified, address: u64) -> Option<u64> {
        let range = who.space.ranges.find(address).filter(|range| range.end - address >= 8)?;
        let file = self.binaries.get(range.backing.0.binary()).file.clone()?;
        let mut code = [0; 8];
        let mut into = [IoSliceMut::new(&mut code)];
        let read = preadv2(&file, &mut into, range.offset_of(address), ReadWriteFlags::NOWAIT).ok()?;
        (read == code.len()).then(|| u64::from_le_bytes(code))
    }

    /// The number of the mappings that a process has now, and its ranges by need; `None` when it has left or is not known.
    pub fn mappings_of(&self, pid: u32) -> Option<u64> {
        let process = self.processes.get(&pid)?.last().filter(|process| process.left.is_none())?;
        Some(process.space.generation).filter(|generation| *generation != 0)
    }

    /// Until when all that a process has mapped is known: 0 when nothing is known of it.
    #[must_use]
    pub fn mapped_at(&self, pid: u32) -> BootNanos {
        self.processes.get(&pid).and_then(|all| all.last()).map_or(BootNanos(0), |process| process.mapped_at)
    }

    /// The executable ranges that a process has now. `None` while files of them are being opened.
    pub fn ranges_of(&mut self, pid: u32, now: BootNanos) -> Option<Vec<MappedRange>> {
        let Some(process) = self.processes.get(&pid).and_then(|all| all.last()) else { return Some(Vec::new()) };
        let (space, ppid, user) = (process.space.clone(), process.ppid, process.user);
        self.place_ranges(&space, Origin { pid, ppid, user, start: 0, end: 0 }, now)
    }

    fn place_ranges(&mut self, space: &AddressSpace, origin: Origin, now: BootNanos) -> Option<Vec<MappedRange>> {
        let anonymous = self.binaries.anonymous();
        let mut pending = false;
        let mut ranges = Vec::with_capacity(space.ranges.len());
        for range in space.ranges.iter() {
            let origin = Origin { start: range.start, end: range.end, ..origin };
            // All are asked for, though one that is pending is enough to wait.
            let Some(binary) = self.binaries.place(&range.backing, origin, now) else {
                pending = true;
                continue;
            };
            let binary = self.binaries.with_rows(binary);
            let file = Some(binary).filter(|binary| *binary != anonymous);
            ranges.push(MappedRange { start: range.start, end: range.end, offset: range.offset, file });
        }
        (!pending).then_some(ranges)
    }
}

/// What to do about files that are being opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    Wait,
    DoWithout,
}

/// Places each address. Leaf first in, root first out; a kernel caller's address is inside its call instruction. `None` while a file is
/// waited for.
fn resolve_stack(
    binaries: &mut Binaries,
    space: &AddressSpace,
    raw: &RawSample,
    origin: Origin,
    files: Files,
) -> Option<Resolved> {
    let mut pending = false;
    let mut stack = Vec::with_capacity(raw.user.len() + raw.kernel.len());
    let mut end = raw.end;
    let kernel = binaries.kernel();
    stack.extend(
        raw.kernel
            .iter()
            .enumerate()
            .map(|(depth, &address)| Location { binary: kernel, offset: calling_address(depth, address) }),
    );
    for (depth, &frame) in raw.user.iter().enumerate() {
        // A user frame is its look-up address already.
        let address = frame & !BY_FRAME_POINTER;
        match space.ranges.find(address) {
            Some(range) => {
                let origin = Origin { start: range.start, end: range.end, ..origin };
                let binary = match binaries.place(&range.backing, origin, raw.time) {
                    Some(binary) => binary,
                    None if files == Files::DoWithout => binaries.place_unopened(&range.backing, raw.time),
                    // The other files are asked for at the same time.
                    None => {
                        pending = true;
                        continue;
                    }
                };
                let offset = match binary {
                    binary if binary == binaries.anonymous() => address,
                    binary if binary == binaries.unrecorded() => 0,
                    _ => range.offset_of(address),
                };
                stack.push(Location { binary, offset });
            }
            // There may be code that found no room.
            None if space.incomplete => stack.push(Location { binary: binaries.unrecorded(), offset: 0 }),
            None if depth == 0 => stack.push(Location { binary: binaries.anonymous(), offset: address }),
            None => {
                end = StackEnd::ReturnAddressLost;
                break;
            }
        }
        if space.ranges.is_empty() && !space.incomplete {
            end = StackEnd::NoMappings;
            break;
        }
    }
    if pending {
        return None;
    }
    stack.reverse();
    Some(Resolved { stack: stack.into(), end })
}

/// The address that names a kernel frame: of the leaf the interrupted instruction, of a caller the last byte of its call, as the
/// return address may belong to the next line or even the next function.
fn calling_address(depth: usize, address: u64) -> u64 {
    if depth == 0 { address } else { address.wrapping_sub(1) }
}

/// The name itself, unless it needs cleaning.
fn clean_name(name: &ThreadName) -> ThreadName {
    if name.len() <= MAX_COMM && name.chars().all(is_printable) {
        return name.clone();
    }
    printable(name.as_bytes(), MAX_COMM).into()
}

#[cfg(test)]
mod tests {
    use super::super::drawing::{Host, sample};
    use super::*;

    const PROGRAM: &str = "
        10 exec 50 program
        11 mmap 50 0x1000-0x2000 /bin/program
        12 mmap 50 0x5000-0x6000 /lib/lib.so
    ";

    fn resolved(raw: &RawSample) -> String {
        let mut host = Host::default();
        host.draw(PROGRAM);
        let sample = host.table.resolve(raw);
        host.describe(&sample)
    }

    /// A return address is that of the next instruction: the caller's frame is the byte before, even where the call is the last
    /// instruction of a mapping. The leaf is where it is.
    #[test]
    fn callers_are_placed_inside_their_call() {
        assert_eq!(resolved(&sample(20, 50, &[0x5010, 0x1100])), "/bin/program+0xff /lib/lib.so+0x10 complete");
        assert_eq!(resolved(&sample(20, 50, &[0x5010, 0x2000])), "/bin/program+0xfff /lib/lib.so+0x10 complete");
    }

    /// Kernel frames come after the user's; the user's first one is no caller, but the interrupted instruction.
    #[test]
    fn kernel_frames_follow_the_user_frames() {
        let kernel = [0xffff_ffff_8100_0010_u64, 0xffff_ffff_8100_0100];
        let raw = RawSample { kernel: kernel.into(), ..sample(20, 50, &[0x5010, 0x1100]) };
        let expected =
            "/bin/program+0xff /lib/lib.so+0x10 [kernel]+0xffffffff810000ff [kernel]+0xffffffff81000010 complete";
        assert_eq!(resolved(&raw), expected);
        let thread = RawSample { user: [].into(), end: StackEnd::NoUserStack, ..raw };
        assert_eq!(resolved(&thread), "[kernel]+0xffffffff810000ff [kernel]+0xffffffff81000010 no_user_stack");
    }

    /// A caller that is no code is where the walk went astray: it and what follows are noise.
    #[test]
    fn a_walk_that_went_astray_is_cut() {
        let raw = sample(20, 50, &[0x5010, 0x1100, 0xdead_0000, 0x1200]);
        assert_eq!(resolved(&raw), "/bin/program+0xff /lib/lib.so+0x10 return_address_lost");
        assert_eq!(resolved(&sample(20, 50, &[0x7777, 0x1100])), "/bin/program+0xff [anon]+0x7777 complete");
        assert_eq!(resolved(&sample(20, 50, &[0x1000, 0])), "/bin/program+0x0 return_address_lost");
    }

    /// Equal stacks are resolved once, until a mapping changes.
    #[test]
    fn equal_stacks_are_resolved_once() {
        let mut host = Host::default();
        host.draw(PROGRAM);
        host.draw("13 fork 60 <- 50");
        let raw = sample(20, 50, &[0x5010, 0x1100]);
        let first = host.table.resolve(&raw);
        let again = host.table.resolve(&raw);
        assert!(Arc::ptr_eq(&first.stack, &again.stack));
        let child = host.table.resolve(&sample(20, 60, &[0x5010, 0x1100]));
        assert!(Arc::ptr_eq(&first.stack, &child.stack), "the child has the very mappings of its parent");
        assert_eq!(host.table.counts().stacks_resolved, 1);
        host.draw("21 mmap 50 0x5000-0x6000 /lib/other.so");
        let remapped = host.table.resolve(&raw);
        assert_eq!(host.describe(&remapped), "/bin/program+0xff /lib/other.so+0x10 complete");
    }
}
