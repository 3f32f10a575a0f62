//! The images of files: which are in the pool, which are on their way, which there are not.
//!
//! Decides what to load, what to give up for it, and hands out what a mapping of the file has to say. Pages and rules given up
//! are retired: reused only when no walk that began before can still be reading them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;

use profiler_ebpf::tables::Mapping;

use super::pool::{Extent, Pool};
use super::rules::Rules;
use super::{Image, Kernel, Missing};
use crate::profile::{BinaryId, BootNanos};

/// Retired pages are reused after this long: a walk takes microseconds, and a fork that copied an old space is known of by then.
const GRACE: u64 = 1_000_000_000;
/// An image that a sample needed this recently is not given up for another: two would push each other out without end.
const IN_USE: u64 = 20_000_000_000;
/// A file whose image found no room, or could not be read, is tried again after this long.
const RETRY: u64 = 60_000_000_000;

/// This part of the pool is kept for address spaces: without one a process has no use for rows.
const SPACES_SHARE: u64 = 8;

/// Where a file's image is.
#[derive(Debug)]
enum State {
    /// Asked for.
    Loading,
    /// In the pool.
    Loaded(Loaded),
    /// Was in the pool, had to go; asked for again when a sample needs it.
    Evicted,
    /// Not to be had.
    Missing(Missing, BootNanos),
}

/// An image in the pool.
#[derive(Debug)]
struct Loaded {
    extent: Extent,
    base: u64,
    granules: u32,
    /// The rules it uses.
    rules: Vec<u16>,
    rows: u64,
    used: BootNanos,
}

/// All images.
#[derive(Debug)]
pub(super) struct Images {
    states: HashMap<BinaryId, State>,
    pub pool: Pool,
    pub rules: Rules,
    /// Waiting for pages that are being retired.
    parked: VecDeque<(BinaryId, Image)>,
    retired: VecDeque<(BootNanos, Extent, Vec<u16>)>,
    /// Images given up for others since the start.
    pub evicted: u64,
}

/// What became of an image that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// Files whose mappings have something else to say now.
    pub binaries: Vec<BinaryId>,
}

impl Images {
    pub fn new(budget: u64, kernel: &mut impl Kernel) -> Self {
        Self {
            states: HashMap::new(),
            pool: Pool::new(budget),
            rules: Rules::new(|number, rule| kernel.set_rule(number, rule)),
            parked: VecDeque::new(),
            retired: VecDeque::new(),
            evicted: 0,
        }
    }

    /// What a mapping of this file at `start`, beginning at `offset` of the file, says to the walk, and whether the image
    /// has to be asked for now.
    pub fn mapping(&mut self, binary: BinaryId, range: (u64, u64), offset: u64, now: BootNanos) -> (Mapping, bool) {
        let (start, end) = range;
        let special = |image| Mapping { start, end, bias: 0, image, granules: 0 };
        match self.states.get_mut(&binary) {
            Some(State::Loaded(loaded)) => {
                loaded.used = loaded.used.max(now);
                let bias = offset.wrapping_sub(start).wrapping_sub(loaded.base);
                let (image, granules) = (loaded.extent.first, loaded.granules);
                (Mapping { start, end, bias, image, granules }, false)
            }
            Some(State::Loading | State::Evicted) => (special(Mapping::NOT_LOADED), false),
            Some(State::Missing(..)) => (special(Mapping::NO_ROWS), false),
            None => {
                self.states.insert(binary, State::Loading);
                (special(Mapping::NOT_LOADED), true)
            }
        }
    }

    /// A sample met code whose rows were given up: whether they have to be asked for again now.
    pub fn revive(&mut self, binary: BinaryId) -> bool {
        match self.states.get_mut(&binary) {
            Some(state @ State::Evicted) => {
                *state = State::Loading;
                true
            }
            _ => false,
        }
    }

    /// The files among these that were not to be had and are worth another try: to be asked for now.
    pub fn retry(&mut self, mapped: &BTreeSet<BinaryId>, now: BootNanos) -> Vec<BinaryId> {
        let again = self.states.iter_mut().filter_map(|(id, state)| match state {
            State::Missing(why, at) if why.may_come() && now.0 >= at.0.saturating_add(RETRY) && mapped.contains(id) => {
                *at = now;
                Some(*id)
            }
            _ => None,
        });
        again.collect()
    }

    /// An image cannot be had. Tells whether that is news.
    pub fn missing(&mut self, binary: BinaryId, why: Missing, now: BootNanos) -> Changed {
        self.states.insert(binary, State::Missing(why, now));
        Changed { binaries: vec![binary] }
    }

    /// Asks for a file anew that could not be read, when next something maps it.
    pub fn forget_missing(&mut self, binary: BinaryId) {
        if self.why_missing(binary).is_some_and(Missing::may_come) {
            self.states.remove(&binary);
        }
    }

    /// A sample needed these files.
    pub fn touch(&mut self, binaries: impl Iterator<Item = BinaryId>, now: BootNanos) {
        for binary in binaries {
            if let Some(State::Loaded(loaded)) = self.states.get_mut(&binary) {
                loaded.used = loaded.used.max(now);
            }
        }
    }

    /// Puts an image that has arrived into the pool, giving up others for it where it must.
    ///
    /// # Errors
    /// The kernel refuses memory.
    pub fn load(
        &mut self,
        binary: BinaryId,
        image: Image,
        kernel: &mut impl Kernel,
        now: BootNanos,
    ) -> io::Result<Changed> {
        let reserve = self.pool.budget() / SPACES_SHARE;
        if !self.pool.could_hold(image.pages(), reserve) {
            return Ok(self.missing(binary, Missing::OverBudget, now));
        }
        let Some(extent) = self.pool.take(image.pages(), reserve, kernel)? else {
            return Ok(self.make_room(binary, image, now));
        };
        let numbers: Vec<u16> = image
            .rules()
            .iter()
            .map(|rule| self.rules.number(*rule, |number, rule| kernel.set_rule(number, rule)))
            .collect();
        image.write_pages(&numbers, |number, page| kernel.write(extent.first + number, page));
        let loaded = Loaded {
            extent,
            base: image.base(),
            granules: image.granules(),
            rules: numbers,
            rows: u64::from(image.stats().rows),
            used: now,
        };
        self.states.insert(binary, State::Loaded(loaded));
        Ok(Changed { binaries: vec![binary] })
    }

    /// Gives up the images used longest ago until there is room for this one, which waits for their pages.
    fn make_room(&mut self, binary: BinaryId, image: Image, now: BootNanos) -> Changed {
        let retiring: u32 = self.retired.iter().map(|(_, extent, _)| extent.pages).sum();
        let mut missing = image.pages().saturating_sub(retiring);
        let mut idle: Vec<(BootNanos, BinaryId, u32)> = self
            .states
            .iter()
            .filter_map(|(id, state)| match state {
                State::Loaded(loaded) if now.0.saturating_sub(loaded.used.0) > IN_USE => {
                    Some((loaded.used, *id, loaded.extent.pages))
                }
                _ => None,
            })
            .collect();
        idle.sort_unstable();
        let mut binaries = Vec::new();
        for (_, victim, pages) in idle {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(pages);
            self.evict(victim, now);
            binaries.push(victim);
        }
        if missing > 0 {
            binaries.extend(self.missing(binary, Missing::OverBudget, now).binaries);
        } else {
            self.parked.push_back((binary, image));
        }
        Changed { binaries }
    }

    fn evict(&mut self, binary: BinaryId, now: BootNanos) {
        if let Some(State::Loaded(loaded)) = self.states.insert(binary, State::Evicted) {
            self.evicted += 1;
            self.retired.push_back((now, loaded.extent, loaded.rules));
        }
    }

    /// Forgets a file that nobody maps any more.
    pub fn forget(&mut self, binary: BinaryId, now: BootNanos) {
        if let Some(State::Loaded(loaded)) = self.states.remove(&binary) {
            self.retired.push_back((now, loaded.extent, loaded.rules));
        }
    }

    /// Pages of a space are no longer pointed to.
    pub fn retire(&mut self, extent: Extent, now: BootNanos) {
        self.retired.push_back((now, extent, Vec::new()));
    }

    /// Takes back what was retired long enough ago, and loads what waited for it.
    ///
    /// # Errors
    /// The kernel refuses memory.
    pub fn reuse(&mut self, kernel: &mut impl Kernel, now: BootNanos) -> io::Result<Changed> {
        while let Some((_, extent, rules)) = self.retired.pop_front_if(|(at, ..)| now.0 >= at.0.saturating_add(GRACE)) {
            self.pool.put(extent, kernel);
            self.rules.release(&rules);
        }
        let mut changed = Changed { binaries: Vec::new() };
        if self.retired.is_empty() {
            for (binary, image) in std::mem::take(&mut self.parked) {
                changed.binaries.extend(self.load(binary, image, kernel, now)?.binaries);
            }
        }
        Ok(changed)
    }

    /// Files with rows in the pool, their rows, files on their way.
    pub fn census(&self) -> (u64, u64, u64) {
        self.states.values().fold((0, 0, 0), |(loaded, rows, loading), state| match state {
            State::Loaded(image) => (loaded + 1, rows + image.rows, loading),
            State::Loading => (loaded, rows, loading + 1),
            State::Evicted | State::Missing(..) => (loaded, rows, loading),
        })
    }

    /// Why a file has no rows, if it has none.
    pub fn why_missing(&self, binary: BinaryId) -> Option<Missing> {
        match self.states.get(&binary) {
            Some(State::Missing(why, _)) => Some(*why),
            _ => None,
        }
    }

    /// The known files.
    pub fn binaries(&self) -> impl Iterator<Item = BinaryId> + '_ {
        self.states.keys().copied()
    }
}
