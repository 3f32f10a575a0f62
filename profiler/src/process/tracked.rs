//! One process as the table tracks it: who it is, what it has mapped, what is known of it.

use std::sync::Arc;

use super::backing::BackingRef;
use super::budget::{Budget, Charge};
use super::cgroup::Cgroup;
use super::mappings::{Mapping, Mappings};
use crate::profile::{BootNanos, ProcessFacts, ProcessKey, StartTicks};

/// A fork record comes this much later than the start time which the kernel noted for the process, in ticks: copying a
/// process can take long on a busy machine.
const FORK_DELAY: u64 = 500;

/// User of a process that was gone before it could be asked: the kernel's own number for no user.
pub(super) const NO_USER: u32 = u32::MAX;

/// Bytes that a range takes: vectors grow by doubling.
pub(super) const RANGE_BYTES: usize = 2 * size_of::<Mapping<BackingRef>>();

/// Name of a process that never told one.
pub(super) const NAMELESS: &str = "?";

/// What is known of when a process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// From a sample or `/proc`: the truth.
    Known(StartTicks),
    /// When its fork was recorded, a little later than its start.
    Forked(BootNanos),
    /// Its beginning was missed.
    Unknown,
}

impl Start {
    /// Whether a process that started at `start` can be this one.
    pub fn admits(self, start: StartTicks) -> bool {
        match self {
            Self::Known(known) => known == start,
            Self::Forked(at) => {
                let at = StartTicks::from_boot(at);
                start <= at && at.0 - start.0 <= FORK_DELAY
            }
            Self::Unknown => true,
        }
    }
}

/// Mappings with the number that no different ones share, so that equal numbers mean equal resolutions.
#[derive(Clone, Debug, Default)]
pub(super) struct AddressSpace {
    /// Changes with every change of the ranges.
    pub generation: u64,
    /// The ranges.
    pub ranges: Mappings<BackingRef>,
    /// There are more ranges than are known: they were too many for the user's share, or for one process.
    pub incomplete: bool,
    /// Some range is memory without a file, or was: code that the program wrote.
    pub has_made_code: bool,
    /// For the ranges.
    pub charge: Option<Charge>,
}

impl AddressSpace {
    /// No ranges, of a process that has more than can be kept.
    pub fn without_room(generation: u64) -> Self {
        Self { generation, incomplete: true, ..Self::default() }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.ranges.len() * RANGE_BYTES
    }

    /// Charges a user for the ranges that there are now.
    pub fn settle(&mut self, budget: &Budget, user: u32) {
        self.has_made_code = self.ranges.iter().any(|range| range.backing.is_anonymous());
        let bytes = self.bytes();
        match &mut self.charge {
            Some(charge) => charge.resize(bytes),
            None => self.charge = budget.charge(user, bytes),
        }
    }
}

/// Facts that were true of a process until a time.
#[derive(Clone, Debug)]
struct Past {
    until: BootNanos,
    revision: u32,
    facts: Arc<ProcessFacts>,
}

/// Most past facts of one process that are kept for windows that are not closed yet. What changes beyond it changes in the newest.
pub(super) const MAX_PAST: usize = 64;

/// A process.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    /// When it started.
    pub start: Start,
    /// Its parent when it was made; 0 when unknown.
    pub ppid: u32,
    /// Shared with the parent until one of them changes it.
    pub space: Arc<AddressSpace>,
    /// Effective user, whose shares of memory and time it uses; [`NO_USER`] while unknown.
    pub user: u32,
    /// `user` may be another one: it has become another program, perhaps of another user, or nobody has asked yet.
    pub user_stale: bool,
    /// What people see of it, as it is now.
    pub facts: Arc<ProcessFacts>,
    /// Number of `facts`: samples name the facts of their time by it.
    revision: u32,
    /// A sample has named `facts`, so that a change must not touch them.
    facts_sampled: bool,
    /// What it was before, oldest first: a program that has called exec since, another control group.
    past: Vec<Past>,
    /// Id of the cgroup that `facts` tell of; 0 when no sample has shown it yet.
    pub cgroup_id: u64,
    /// Its control group.
    pub cgroup: Arc<Cgroup>,
    /// Whether the control group is only assumed: its parent's at the fork, or the root.
    pub cgroup_assumed: bool,
    /// When the control group was last asked for; 0 to ask at the next sample.
    pub cgroup_asked_at: BootNanos,
    /// `cgroup` was read after `cgroup_id` was seen: it is that group's if the id is the same at another sample.
    pub cgroup_unconfirmed: bool,
    /// When it last became another program, if that was seen.
    pub executed: Option<BootNanos>,
    /// The next file it maps is its executable.
    pub exe_follows: bool,
    /// Memory without a file has taken the place of code: it may become executable.
    pub text_was_cut: bool,
    /// What is known may be wrong: ask `/proc` at the next sample.
    pub stale: bool,
    /// `/proc` was read at this time: older side-band records tell nothing new.
    pub read_at: BootNanos,
    /// All code that was mapped until then is known.
    pub mapped_at: BootNanos,
    /// When reading `/proc` was last tried.
    pub asked_at: BootNanos,
    /// Whether a sample of it has come.
    pub sampled: bool,
    /// It may have more than one thread.
    pub has_threads: bool,
    /// Its first thread has ended and others went on when that was last looked at, at this time.
    pub goes_on: Option<BootNanos>,
    /// When it left, if it did.
    pub left: Option<BootNanos>,
    /// Last sign of life.
    pub seen: BootNanos,
    /// For what it takes beside its mappings.
    pub charge: Option<Charge>,
}

impl Tracked {
    /// A process of which nothing is known yet.
    pub fn unknown(pid: u32, start: Start, now: BootNanos) -> Self {
        let ticks = if let Start::Known(ticks) = start { ticks } else { StartTicks(0) };
        Self {
            start,
            ppid: 0,
            space: Arc::default(),
            user: NO_USER,
            user_stale: true,
            facts: Arc::new(blank_facts(ProcessKey { pid, start: ticks })),
            revision: 0,
            facts_sampled: false,
            past: Vec::new(),
            cgroup_id: 0,
            cgroup: Arc::new(Cgroup::root()),
            cgroup_assumed: true,
            cgroup_asked_at: BootNanos(0),
            cgroup_unconfirmed: false,
            executed: None,
            exe_follows: false,
            text_was_cut: false,
            stale: true,
            read_at: BootNanos(0),
            mapped_at: BootNanos(0),
            asked_at: BootNanos(0),
            sampled: false,
            has_threads: false,
            goes_on: None,
            left: None,
            seen: now,
            charge: None,
        }
    }

    /// Bytes that it takes beside its mappings: both allocations with their headers and the texts.
    pub fn bytes(&self) -> usize {
        let past: usize = self.past.iter().map(|past| size_of::<Past>() + bytes_of(&past.facts)).sum();
        size_of::<Self>() + bytes_of(&self.facts) + past + 100
    }

    /// Charges its user for what it takes now; without room its executable's path is not kept.
    pub fn settle(&mut self, budget: &Budget) {
        self.charge = None;
        self.charge = budget.charge(self.user, self.bytes());
        if self.charge.is_none() {
            self.set_exe(None);
        }
    }

    /// Forgets what was mapped between two addresses: something else is there now, for which there is no room. If the ranges are shared
    /// and there is no room for a copy, it forgets all.
    pub fn forget(&mut self, start: u64, end: u64, generation: u64, shared: bool) {
        if shared {
            self.space = Arc::new(AddressSpace::without_room(generation));
        } else {
            let space = Arc::make_mut(&mut self.space);
            space.ranges.cut(start, end);
            (space.incomplete, space.generation) = (true, generation);
        }
    }

    /// The child that a fork makes of this process.
    pub fn fork(&self, pid: u32, ppid: u32, now: BootNanos) -> Self {
        let mut child = Self::unknown(pid, Start::Forked(now), now);
        child.ppid = ppid;
        (child.user, child.user_stale) = (self.user, self.user_stale);
        (child.space, child.mapped_at) = (self.space.clone(), self.mapped_at);
        child.facts = Arc::new(ProcessFacts { key: child.facts.key, ..ProcessFacts::clone(&self.facts) });
        child.cgroup_id = self.cgroup_id;
        child.cgroup = self.cgroup.clone();
        child.stale = self.stale;
        child
    }

    /// Whether it had begun at a time; told by what is known of its beginning.
    pub fn began_by(&self, time: BootNanos) -> bool {
        match self.start {
            Start::Known(start) => start.to_boot() <= time,
            Start::Forked(at) => at <= time,
            Start::Unknown => true,
        }
    }

    /// Its identity, settled for good at the first call: once given out it never changes.
    pub fn key(&mut self, sample: StartTicks) -> ProcessKey {
        let ticks = match self.start {
            Start::Known(ticks) => ticks,
            _ if sample != StartTicks(0) => sample,
            Start::Forked(at) => StartTicks::from_boot(at),
            Start::Unknown => StartTicks(0),
        };
        self.start = Start::Known(ticks);
        if self.facts.key.start != ticks {
            Arc::make_mut(&mut self.facts).key.start = ticks;
        }
        self.facts.key
    }

    /// Changes what is true of it from a time on: samples from before keep the facts of their time. Says no when there is no room for
    /// those: they get the new facts too.
    pub fn change_facts(&mut self, time: BootNanos, budget: &Budget, change: impl FnOnce(&mut ProcessFacts)) -> bool {
        let mut kept = true;
        if self.facts_sampled {
            let bytes = size_of::<Past>() + bytes_of(&self.facts);
            kept = self.past.len() < MAX_PAST && budget.has_room(self.user, bytes);
            if kept {
                self.past.push(Past { until: time, revision: self.revision, facts: Arc::clone(&self.facts) });
                self.revision += 1;
                self.facts_sampled = false;
            }
        }
        change(Arc::make_mut(&mut self.facts));
        self.resize_charge();
        kept
    }

    /// The number of the facts of a sample's time.
    pub fn revision_at(&mut self, time: BootNanos) -> u32 {
        if let Some(past) = self.past.iter().find(|past| time < past.until) {
            return past.revision;
        }
        self.facts_sampled = true;
        self.revision
    }

    /// The facts of a number.
    pub fn facts_of(&self, revision: u32) -> &Arc<ProcessFacts> {
        let past = self.past.iter().find(|past| past.revision == revision);
        past.map_or(&self.facts, |past| &past.facts)
    }

    /// The lowest number of facts that equal those of this one: a name that was given back is the same name.
    pub fn first_like(&self, revision: u32) -> u32 {
        let facts = self.facts_of(revision);
        self.past.iter().find(|past| past.facts == *facts).map_or(revision, |past| past.revision)
    }

    /// Whether what is true of it now was true at a time: nothing has changed since.
    pub fn is_now(&self, time: BootNanos) -> bool {
        self.past.last().is_none_or(|past| past.until <= time) && self.executed.is_none_or(|executed| executed <= time)
    }

    /// What was mapped at a time; nothing is known of it when it has become another program since.
    pub fn space_at(&self, time: BootNanos) -> Arc<AddressSpace> {
        if self.executed.is_some_and(|executed| time < executed) { Arc::default() } else { self.space.clone() }
    }

    /// Drops facts of before a time.
    pub fn drop_past(&mut self, before: BootNanos) {
        if self.past.first().is_some_and(|past| past.until < before) {
            self.past.retain(|past| past.until >= before);
            self.resize_charge();
        }
    }

    fn resize_charge(&mut self) {
        let bytes = self.bytes();
        if let Some(charge) = &mut self.charge {
            charge.resize(bytes);
        }
    }

    /// Gives it another name from a time on. Any name is better than none, for samples from before too. Says no as
    /// [`Self::change_facts`] does.
    pub fn rename(&mut self, comm: &str, time: BootNanos, budget: &Budget) -> bool {
        if self.facts.comm == comm {
            return true;
        }
        if self.facts.comm == NAMELESS {
            Arc::make_mut(&mut self.facts).comm = comm.to_owned();
            return true;
        }
        self.change_facts(time, budget, |facts| facts.comm = comm.to_owned())
    }

    /// Notes its executable, which was not known.
    pub fn set_exe(&mut self, exe: Option<String>) {
        if self.facts.exe != exe {
            Arc::make_mut(&mut self.facts).exe = exe;
        }
    }

    /// Notes its control group, as it is from a time on; one that was only assumed was never true. Says no as
    /// [`Self::change_facts`] does.
    pub fn set_cgroup(&mut self, cgroup: Arc<Cgroup>, time: BootNanos, budget: &Budget) -> bool {
        let assumed = std::mem::take(&mut self.cgroup_assumed);
        let mut kept = true;
        if self.facts.cgroup != cgroup.path {
            let set = |facts: &mut ProcessFacts| {
                facts.cgroup.clone_from(&cgroup.path);
                facts.container.clone_from(&cgroup.container);
                facts.unit.clone_from(&cgroup.unit);
            };
            if assumed {
                set(Arc::make_mut(&mut self.facts));
            } else {
                kept = self.change_facts(time, budget, set);
            }
        }
        self.cgroup = cgroup;
        kept
    }
}

/// Bytes that facts take with their texts.
fn bytes_of(facts: &ProcessFacts) -> usize {
    let texts = [facts.exe.as_deref(), facts.container.as_ref().map(|id| id.0.as_str()), facts.unit.as_deref()];
    let texts: usize = texts.into_iter().flatten().map(str::len).sum();
    size_of::<ProcessFacts>() + facts.comm.len() + facts.cgroup.len() + texts
}

/// Facts of a process of which only the identity is known.
pub(super) fn blank_facts(key: ProcessKey) -> ProcessFacts {
    ProcessFacts { key, comm: NAMELESS.to_owned(), exe: None, cgroup: "/".to_owned(), container: None, unit: None }
}
