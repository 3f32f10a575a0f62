//! The unwind tables in kernel memory. What goes where is decided in `unwind/`; this only puts it there.
//!
//! The kernel walks while we write. So the order is the caller's part: pages and rules first, then the [`Space`] that leads to them; and
//! what a space leads to stays as it is until no process has that space any more.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::thread;

use aya::Ebpf;
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, HashMap, IterableMap as _, Map, MapData, MapError};
use profiler_ebpf::tables::{MAX_RULES, PAGES_PER_CHUNK, Page, Rule, Space};

use super::SamplerError;
use super::load::take;
use crate::profile::BootNanos;
use crate::sys::shared_map::SharedArray;
use crate::unwind::{Kernel, PageMemory, Unmapped, host};

/// `BPF_F_MMAPABLE`, as the object says of its template: the kernel compares them.
const MMAPABLE: u32 = 1 << 10;
/// `BPF_ANY`, `BPF_EXIST`.
const ANY: u64 = 0;
const EXIST: u64 = 2;
/// Chunks whose entry into the outer map is waited for at a time.
const MOST_WAITING: usize = 16;

/// Handles to the tables.
pub struct UnwindMaps {
    /// The array of chunks.
    outer: MapData,
    chunks: Vec<SharedArray<Page>>,
    /// The first chunk as a map. A slot of the outer map that has lost its chunk gets this one: aya cannot empty a slot.
    first: Option<Array<MapData, Page>>,
    rules: SharedArray<Rule>,
    processes: HashMap<MapData, u32, Space>,
    /// When and where the kernel side last saw that known code of a process is gone.
    unmapped: HashMap<MapData, u32, [u64; 3]>,
}

impl UnwindMaps {
    /// Takes the maps of a loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, SamplerError> {
        let rules: Array<_, Rule> = take(ebpf, "RULES", Array::try_from)?;
        Ok(Self {
            outer: take(ebpf, "UNWIND_PAGES", |map| match map {
                Map::ArrayOfMaps(outer) => Ok(outer),
                _ => Err(MapError::InvalidMapType { map_type: 0 }),
            })?,
            chunks: Vec::new(),
            first: None,
            rules: shared(&rules, MAX_RULES).map_err(SamplerError::load)?,
            processes: take(ebpf, "PROCESSES", HashMap::try_from)?,
            unmapped: take(ebpf, "UNMAPPED", HashMap::try_from)?,
        })
    }

    /// A process's mappings, if they are believed.
    #[must_use]
    pub fn space_of(&self, pid: u32) -> Option<Space> {
        let space = self.processes.get(&pid, 0).ok().filter(|space| space.seal == space.seal());
        space.map(|space| Space { seal: 0, ..space })
    }

    /// Writes a space, and takes it back when the kernel side has seen something unmapped since it was made.
    fn write_space(&mut self, pid: u32, space: Space, known: BootNanos, flags: u64) -> io::Result<Option<Unmapped>> {
        let since = |maps: &Self| {
            let [time, start, end] = maps.unmapped.get(&pid, 0).ok().filter(|[time, ..]| *time > known.0)?;
            Some(Unmapped { time: BootNanos(time), start, end })
        };
        if let Some(unmapped) = since(self) {
            return Ok(Some(unmapped));
        }
        self.insert(pid, sealed(space), flags)?;
        // The kernel side notes first and breaks the seal then: what it has done before we wrote is noted by now.
        let unmapped = since(self);
        if unmapped.is_some() {
            self.insert(pid, Space { seal: 0, ..space }, EXIST)?;
        }
        Ok(unmapped)
    }

    /// Writes the entry of a process; with [`EXIST`] only where there is one: it may have ended, or called exec, meanwhile.
    fn insert(&mut self, pid: u32, space: Space, flags: u64) -> io::Result<()> {
        match self.processes.insert(&pid, &space, flags) {
            Err(error) if flags != EXIST || !is_missing(&error) => Err(io::Error::other(error)),
            _ => Ok(()),
        }
    }

    /// Every process that has mappings, with them. While processes come and go some can be missed.
    pub fn spaces(&self) -> impl Iterator<Item = (u32, Space)> + '_ {
        self.processes.iter().filter_map(Result::ok).map(|(pid, space)| (pid, Space { seal: 0, ..space }))
    }
}

impl PageMemory for UnwindMaps {
    fn add_chunks(&mut self, chunks: Range<u32>) -> io::Result<()> {
        // The first one stays when it is dropped.
        let new = chunks.start.max(self.chunks.len() as u32)..chunks.end;
        let create = || -> io::Result<(Array<MapData, Page>, SharedArray<Page>)> {
            let map = Array::create(PAGES_PER_CHUNK, MMAPABLE).map_err(io::Error::other)?;
            let pages = shared(&map, PAGES_PER_CHUNK)?;
            Ok((map, pages))
        };
        let made = new.clone().map(|_| create()).collect::<io::Result<Vec<_>>>()?;
        link(&self.outer, new, &made.iter().map(|(map, _)| map).collect::<Vec<_>>())?;
        for (map, pages) in made {
            self.chunks.push(pages);
            self.first.get_or_insert(map);
        }
        Ok(())
    }

    fn drop_chunk(&mut self, chunk: u32) {
        if let Some(first) = &self.first
            && chunk > 0
            && link(&self.outer, chunk..chunk + 1, &[first]).is_ok()
        {
            self.chunks.truncate(chunk as usize);
        }
    }

    fn write(&mut self, page: u32, words: &Page) {
        if let Some(chunk) = self.chunks.get_mut((page / PAGES_PER_CHUNK) as usize) {
            chunk.set((page % PAGES_PER_CHUNK) as usize, *words);
        }
    }
}

impl Kernel for UnwindMaps {
    fn set_rule(&mut self, number: u16, rule: Rule) {
        self.rules.set(usize::from(number), rule);
    }

    fn add_space(&mut self, pid: u32, space: Space, known: BootNanos) -> io::Result<Option<Unmapped>> {
        self.write_space(pid, space, known, ANY)
    }

    fn replace_space(&mut self, pid: u32, space: Space, known: BootNanos) -> io::Result<()> {
        self.write_space(pid, space, known, EXIST).map(drop)
    }

    fn remove_space(&mut self, pid: u32) {
        // Gone already, most likely: the kernel side forgets a process that ends.
        let _ = self.processes.remove(&pid);
    }
}

impl host::Tables for UnwindMaps {
    fn page(&self, number: u32) -> Option<&Page> {
        self.chunks.get((number / PAGES_PER_CHUNK) as usize)?.get((number % PAGES_PER_CHUNK) as usize)
    }

    fn rule(&self, number: u16) -> Option<&Rule> {
        self.rules.get(usize::from(number))
    }
}

/// Puts chunks into slots of the outer map. Each waits until no program runs that could have seen the slot as it was, 10 ms or more
/// (`maybe_wait_bpf_programs` in the kernel); so they wait together: a large program brings a dozen.
fn link(outer: &MapData, slots: Range<u32>, chunks: &[&Array<MapData, Page>]) -> io::Result<()> {
    let link = |slot: u32, chunk: &Array<MapData, Page>| -> io::Result<()> {
        let outer = outer.fd().as_fd().try_clone_to_owned()?;
        let outer = MapData::from_fd(outer).map_err(io::Error::other)?;
        let mut outer = ArrayOfMaps::try_from(Map::ArrayOfMaps(outer)).map_err(io::Error::other)?;
        outer.set(slot, chunk, ANY).map_err(io::Error::other)
    };
    let pairs: Vec<(u32, &Array<MapData, Page>)> = slots.zip(chunks.iter().copied()).collect();
    for pairs in pairs.chunks(MOST_WAITING) {
        let Some(((slot, chunk), others)) = pairs.split_first() else { continue };
        thread::scope(|scope| {
            let others: Vec<_> = others.iter().map(|(slot, chunk)| scope.spawn(move || link(*slot, chunk))).collect();
            let first = link(*slot, chunk);
            let panicked = |_| io::Error::other("a thread panicked");
            others.into_iter().fold(first, |so_far, other| so_far.and(other.join().map_err(panicked).flatten()))
        })?;
    }
    Ok(())
}

/// As it lies in the kernel's map.
fn sealed(space: Space) -> Space {
    Space { seal: space.seal(), ..space }
}

fn shared<T: aya::Pod>(map: &Array<MapData, T>, len: u32) -> io::Result<SharedArray<T>> {
    SharedArray::map(map.map().fd().as_fd(), len as usize)
}

fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}
