//! The unwind tables in kernel memory, to be filled: the pool of pages, the rules, each process's mappings. What goes where is said
//! in the boundary crate's `tables`; this only puts it there.
//!
//! The kernel walks while we write. So the order is the caller's part: pages and rules first, then the [`Space`] that leads to them; and
//! what a space leads to stays as it is until no process has that space any more.

use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, HashMap, IterableMap as _, MapData, MapError};
use profiler_ebpf::tables::{MAX_CHUNKS, MAX_RULES, PAGES_PER_CHUNK, Page, Rule, Space};

use super::SamplerError;
use super::load::take;
use crate::sys::shared_map::SharedArray;
use crate::unwind::host::fixed_rules;

/// `BPF_F_MMAPABLE`, as the object says of its template: the kernel compares them.
const MMAPABLE: u32 = 1 << 10;
/// `BPF_ANY`, `BPF_EXIST`.
const ANY: u64 = 0;
const EXIST: u64 = 2;

/// Handles to the tables.
pub struct UnwindMaps {
    outer: ArrayOfMaps<MapData, Array<MapData, Page>>,
    chunks: Vec<SharedArray<Page>>,
    rules: SharedArray<Rule>,
    processes: HashMap<MapData, u32, Space>,
}

impl UnwindMaps {
    /// Takes the maps of a loaded object; writes the rules that are always there.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, SamplerError> {
        let rules: Array<_, Rule> = take(ebpf, "RULES", Array::try_from)?;
        let mut maps = Self {
            outer: take(ebpf, "UNWIND_PAGES", ArrayOfMaps::try_from)?,
            chunks: Vec::new(),
            rules: shared(&rules, MAX_RULES)?,
            processes: take(ebpf, "PROCESSES", HashMap::try_from)?,
        };
        for (number, rule) in (0..).zip(fixed_rules()) {
            maps.set_rule(number, rule);
        }
        Ok(maps)
    }

    /// Lets the pool grow by one chunk of empty pages. Gives the number of the first.
    ///
    /// # Errors
    /// The pool is as large as it gets, or the kernel has no memory for it.
    pub fn add_chunk(&mut self) -> Result<u32, SamplerError> {
        let number = self.chunks.len() as u32;
        if number >= MAX_CHUNKS {
            return Err(SamplerError::load(std::io::Error::other("the pool of unwind pages is full")));
        }
        let map: Array<_, Page> = Array::create(PAGES_PER_CHUNK, MMAPABLE).map_err(SamplerError::load)?;
        let chunk = shared(&map, PAGES_PER_CHUNK)?;
        self.outer.set(number, &map, ANY).map_err(SamplerError::load)?;
        self.chunks.push(chunk);
        Ok(number * PAGES_PER_CHUNK)
    }

    /// How many pages there are, used or not.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.chunks.len() as u32 * PAGES_PER_CHUNK
    }

    /// Writes a page that no process's space leads to. Says whether there is such a page.
    pub fn set_page(&mut self, number: u32, page: Page) -> bool {
        let chunk = self.chunks.get_mut((number / PAGES_PER_CHUNK) as usize);
        chunk.is_some_and(|chunk| chunk.set((number % PAGES_PER_CHUNK) as usize, page))
    }

    /// Reads a page.
    #[must_use]
    pub fn page(&self, number: u32) -> Option<Page> {
        self.chunks.get((number / PAGES_PER_CHUNK) as usize)?.get((number % PAGES_PER_CHUNK) as usize)
    }

    /// Writes a rule whose number no row has. Says whether there is room for it.
    pub fn set_rule(&mut self, number: u16, rule: Rule) -> bool {
        self.rules.set(usize::from(number), rule)
    }

    /// Gives a process its mappings, whether it had some or not.
    ///
    /// # Errors
    /// There is no room for one more process.
    pub fn add_space(&mut self, tgid: u32, space: Space) -> Result<(), SamplerError> {
        self.processes.insert(&tgid, &space, ANY).map_err(SamplerError::load)
    }

    /// Gives a process other mappings, if it still has some: not when it has executed another program since, or ended. Says whether.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn replace_space(&mut self, tgid: u32, space: Space) -> Result<bool, SamplerError> {
        unless_missing(self.processes.insert(&tgid, &space, EXIST))
    }

    /// Forgets a process's mappings. Says whether it had some.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_space(&mut self, tgid: u32) -> Result<bool, SamplerError> {
        unless_missing(self.processes.remove(&tgid))
    }

    /// A process's mappings.
    #[must_use]
    pub fn space_of(&self, tgid: u32) -> Option<Space> {
        self.processes.get(&tgid, 0).ok()
    }

    /// Every process that has some, with them. While processes come and go some can be missed.
    pub fn spaces(&self) -> impl Iterator<Item = (u32, Space)> + '_ {
        self.processes.iter().filter_map(Result::ok)
    }
}

fn shared<T: aya::Pod>(map: &Array<MapData, T>, len: u32) -> Result<SharedArray<T>, SamplerError> {
    SharedArray::map(map.map().fd().as_fd(), len as usize).map_err(SamplerError::load)
}

/// Whether it worked, where the process may be gone.
fn unless_missing(result: Result<(), MapError>) -> Result<bool, SamplerError> {
    match result {
        Ok(()) => Ok(true),
        Err(MapError::KeyNotFound) => Ok(false),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SamplerError::load(error)),
    }
}
