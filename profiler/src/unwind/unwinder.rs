//! The tables as a whole: what a sample needs is asked for, what has come is loaded, what has changed is made anew.
//!
//! Driven by the sampling thread alone, ten times a second. Nothing is loaded for processes that are never sampled.

use std::collections::BTreeSet;
use std::io;

use super::images::{Changed, Images};
use super::loader::{Loader, Request};
use super::spaces::{Entered, Spaces};
use super::{Kernel, Missing, Unmapped};
use crate::profile::{BinaryId, BootNanos, MappedRange};

/// The figures of the tables, for `/metrics`, `/status` and `doctor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwindCounts {
    /// Files whose rows are loaded.
    pub files: u64,
    /// Rows loaded.
    pub rows: u64,
    /// Distinct rules.
    pub rules: u64,
    /// Files whose rows are on their way.
    pub loading: u64,
    /// Address spaces.
    pub spaces: u64,
    /// Processes that have one.
    pub processes: u64,
    /// Kernel memory of the pool, bytes.
    pub held_bytes: u64,
    /// Bytes of it in use.
    pub used_bytes: u64,
    /// Bytes it may grow to.
    pub budget_bytes: u64,
    /// Files given up for others, since the start.
    pub evicted: u64,
    /// Rules that found no number, since the start.
    pub rules_refused: u64,
    /// Samples whose walk was finished in user space, since the start.
    pub finished: u64,
}

/// The unwind tables.
#[derive(Debug)]
pub struct Unwinder<K> {
    kernel: K,
    images: Images,
    spaces: Spaces,
    loader: Loader,
    /// Found while spaces were made; asked for by the next [`Self::ask`].
    wanted: Vec<BinaryId>,
}

impl<K: Kernel> Unwinder<K> {
    /// Empty tables that grow up to `budget` bytes.
    pub fn new(mut kernel: K, budget: u64, loader: Loader) -> Self {
        let images = Images::new(budget, &mut kernel);
        Self { kernel, images, spaces: Spaces::default(), loader, wanted: Vec::new() }
    }

    /// The kernel's side.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    /// The space with this number, made from `ranges` if it is new. `None` when there is no room for it.
    ///
    /// # Errors
    /// The kernel refuses memory.
    pub fn enter(
        &mut self,
        generation: u64,
        ranges: impl FnOnce() -> Vec<MappedRange>,
        now: BootNanos,
    ) -> io::Result<Option<Entered>> {
        if let Some(known) = self.spaces.find(generation, now) {
            return Ok(Some(known));
        }
        self.spaces.enter(generation, ranges(), &mut self.images, &mut self.kernel, &mut self.wanted, now)
    }

    /// Gives a process the space with this number, if it is here; `known`: until when all that it mapped is in it. Says what the kernel side saw
    /// unmapped since.
    ///
    /// # Errors
    /// The map of processes is full.
    pub fn assign(&mut self, pid: u32, generation: u64, known: BootNanos) -> io::Result<Option<Unmapped>> {
        self.spaces.assign(pid, generation, known, &mut self.kernel)
    }

    /// The number of a process's space, if the kernel side has one for it.
    #[must_use]
    pub fn mappings_of(&self, pid: u32) -> Option<u64> {
        self.spaces.generation(pid)
    }

    /// Whether the space with this number is here.
    #[must_use]
    pub fn knows(&self, generation: u64) -> bool {
        self.spaces.entered(generation).is_some()
    }

    /// Whether all rows that the space with this number can have are loaded; a space that is gone waits for nothing.
    #[must_use]
    pub fn is_ready(&self, generation: u64) -> bool {
        self.spaces.entered(generation).is_none_or(|entered| entered.ready)
    }

    /// The space with this number, if it is here.
    pub fn find(&mut self, generation: u64, now: BootNanos) -> Option<Entered> {
        self.spaces.find(generation, now)
    }

    /// A process has no space any more.
    pub fn remove(&mut self, pid: u32) {
        self.spaces.remove(pid, &mut self.kernel);
    }

    /// A sample met rows of this space that are not loaded: those that were given up are asked for again.
    pub fn revive(&mut self, generation: u64) {
        let images = &mut self.images;
        self.wanted.extend(self.spaces.files(generation).filter(|id| images.revive(*id)));
    }

    /// Asks the loader for what is wanted; `open` gives the file and its build id, if there is one.
    ///
    /// # Errors
    /// The kernel refuses memory.
    pub fn ask(&mut self, mut open: impl FnMut(BinaryId) -> Option<Request>, now: BootNanos) -> io::Result<()> {
        let mut missing = BTreeSet::new();
        for binary in std::mem::take(&mut self.wanted) {
            match open(binary) {
                Some(request) => {
                    if !self.loader.ask(request) {
                        self.wanted.push(binary);
                    }
                }
                None => missing.extend(self.images.missing(binary, Missing::Unreadable, now).binaries),
            }
        }
        self.refresh(missing, now)
    }

    /// A file is open at last that something else stood for, which could not be read: the spaces that map it ask for its rows.
    ///
    /// # Errors
    /// The kernel refuses memory.
    pub fn opened(&mut self, before: BinaryId, binary: BinaryId, now: BootNanos) -> io::Result<()> {
        self.images.forget_missing(before);
        self.spaces.rename(before, binary);
        self.refresh(BTreeSet::from([binary]), now)
    }

    /// Loads what has come and takes back what is no longer used. Says whether anything has changed.
    ///
    /// # Errors
    /// The kernel refuses memory.
    pub fn poll(&mut self, now: BootNanos) -> io::Result<bool> {
        let mut changed: BTreeSet<BinaryId> = self.images.reuse(&mut self.kernel, now)?.binaries.into_iter().collect();
        for (binary, image) in self.loader.take() {
            let Changed { binaries } = match image {
                Ok(image) => self.images.load(binary, image, &mut self.kernel, now)?,
                Err(why) => self.images.missing(binary, why, now),
            };
            changed.extend(binaries);
        }
        let any = !changed.is_empty();
        self.refresh(changed, now)?;
        Ok(any)
    }

    fn refresh(&mut self, changed: BTreeSet<BinaryId>, now: BootNanos) -> io::Result<()> {
        if changed.is_empty() {
            return Ok(());
        }
        self.spaces.refresh(&changed, &mut self.images, &mut self.kernel, &mut self.wanted, now)
    }

    /// Samples of the window that ended hit these files.
    pub fn touch(&mut self, binaries: impl Iterator<Item = BinaryId>, now: BootNanos) {
        self.images.touch(binaries, now);
    }

    /// Forgets what no process has any more; `current` tells a process's space.
    pub fn tidy(&mut self, current: impl Fn(u32) -> Option<u64>, now: BootNanos) {
        let mapped = self.spaces.tidy(current, &mut self.images, &mut self.kernel, now);
        let gone: Vec<BinaryId> = self.images.binaries().filter(|id| !mapped.contains(id)).collect();
        gone.into_iter().for_each(|id| self.images.forget(id, now));
        self.wanted.extend(self.images.retry(&mapped, now));
    }

    /// Why a file has no rows, if it has none.
    #[must_use]
    pub fn why_missing(&self, binary: BinaryId) -> Option<Missing> {
        self.images.why_missing(binary)
    }

    /// The figures.
    #[must_use]
    pub fn counts(&self) -> UnwindCounts {
        let (files, rows, loading) = self.images.census();
        let (spaces, processes) = self.spaces.census();
        let pool = &self.images.pool;
        UnwindCounts {
            files,
            rows,
            rules: self.images.rules.len() as u64,
            loading,
            spaces,
            processes,
            held_bytes: pool.held(),
            used_bytes: pool.used(),
            budget_bytes: pool.budget(),
            evicted: self.images.evicted,
            rules_refused: self.images.rules.refused(),
            finished: 0,
        }
    }
}
