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
        let bytes = self.bytes();
        match &mut self.charge {
            Some(charge) => charge.resize(bytes),
            None => self.charge = budget.charge(user, bytes),
        }
    }
}

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
    /// What people see of it.
    pub facts: Arc<ProcessFacts>,
    /// Id of the cgroup that `facts` tell of; 0 when no sample has shown it yet.
    pub cgroup_id: u64,
    /// Its control group.
    pub cgroup: Arc<Cgroup>,
    /// Whether the control group is only assumed: its parent's at the fork, or the root.
    pub cgroup_assumed: bool,
    /// When it last became another program, if that was seen.
    pub executed: Option<BootNanos>,
    /// The next file it maps is its executable.
    pub exe_follows: bool,
    /// What is known may be wrong: ask `/proc` at the next sample.
    pub stale: bool,
    /// `/proc` was read at this time: older side-band records tell nothing new.
    pub read_at: BootNanos,
    /// When reading `/proc` was last tried.
    pub asked_at: BootNanos,
    /// Whether a sample of it has come.
    pub sampled: bool,
    /// When its main thread left, if it did.
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
            cgroup_id: 0,
            cgroup: Arc::new(Cgroup::root()),
            cgroup_assumed: true,
            executed: None,
            exe_follows: false,
            stale: true,
            read_at: BootNanos(0),
            asked_at: BootNanos(0),
            sampled: false,
            left: None,
            seen: now,
            charge: None,
        }
    }

    /// Bytes that it takes beside its mappings: both allocations with their headers and the texts.
    pub fn bytes(&self) -> usize {
        let facts = &self.facts;
        let texts = [facts.exe.as_deref(), facts.container.as_ref().map(|_| "0123456789"), facts.unit.as_deref()];
        let texts: usize = texts.into_iter().flatten().map(str::len).sum();
        size_of::<Self>() + size_of::<ProcessFacts>() + facts.comm.len() + facts.cgroup.len() + texts + 100
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
        child.space = self.space.clone();
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

    /// Gives it another name.
    pub fn rename(&mut self, comm: &str) {
        if self.facts.comm != comm {
            Arc::make_mut(&mut self.facts).comm = comm.to_owned();
        }
    }

    /// Notes its executable.
    pub fn set_exe(&mut self, exe: Option<String>) {
        if self.facts.exe != exe {
            Arc::make_mut(&mut self.facts).exe = exe;
        }
    }

    /// Notes its control group.
    pub fn set_cgroup(&mut self, cgroup: Arc<Cgroup>) {
        self.cgroup_assumed = false;
        if self.facts.cgroup != cgroup.path {
            let facts = Arc::make_mut(&mut self.facts);
            facts.cgroup.clone_from(&cgroup.path);
            facts.container.clone_from(&cgroup.container);
            facts.unit.clone_from(&cgroup.unit);
        }
        self.cgroup = cgroup;
    }
}

/// Facts of a process of which only the identity is known.
pub(super) fn blank_facts(key: ProcessKey) -> ProcessFacts {
    ProcessFacts { key, comm: NAMELESS.to_owned(), exe: None, cgroup: "/".to_owned(), container: None, unit: None }
}
