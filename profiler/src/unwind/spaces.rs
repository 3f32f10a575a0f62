//! Address spaces as the kernel side sees them: sorted mappings in pages, and which process has which.
//!
//! A space is made when a sample needs it, shared by all processes with the very same mappings (a fork shares its parent's until
//! one of them changes), and made anew under another number whenever something in it changes: the walk's cache never has to
//! forget.

use std::collections::{BTreeSet, HashMap};
use std::io;

use profiler_ebpf::tables::{MAX_MAPPINGS, Mapping, PAGE, PAGE_MAPPINGS, Page, Space};

use super::images::Images;
use super::pool::Extent;
use super::{Kernel, Unmapped};
use crate::profile::{BinaryId, BootNanos, MappedRange};

/// A space that no process has is kept this long for one that maps the same again, or for samples on their way.
const KEEP: u64 = 30_000_000_000;

/// One space.
#[derive(Debug)]
struct Published {
    space: Space,
    extent: Extent,
    ranges: Vec<MappedRange>,
    pids: BTreeSet<u32>,
    /// Whether the rows of some of its files are on their way.
    waiting: bool,
    used: BootNanos,
}

/// All spaces, by the number that the process table gives to equal sets of mappings.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    spaces: HashMap<u64, Published>,
    /// The space of each process, and until when all that it has mapped is in it.
    pids: HashMap<u32, (u64, BootNanos)>,
    /// Last number given to a space; they are never used twice.
    last: u32,
}

/// A space in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// As the walk needs it.
    pub space: Space,
    /// Whether all rows that it can have are loaded.
    pub ready: bool,
}

impl Spaces {
    /// A space that is here.
    pub fn find(&mut self, generation: u64, now: BootNanos) -> Option<Entered> {
        let published = self.spaces.get_mut(&generation)?;
        published.used = published.used.max(now);
        Some(Entered { space: published.space, ready: !published.waiting })
    }

    /// A space that is here, without saying that it is in use.
    pub fn entered(&self, generation: u64) -> Option<Entered> {
        self.spaces.get(&generation).map(|published| Entered { space: published.space, ready: !published.waiting })
    }

    /// Makes a space of these ranges. `None` when there is no room for it. Files that have to be asked for are added to `wanted`.
    ///
    /// # Errors
    /// The kernel refuses memory.
    pub fn enter(
        &mut self,
        generation: u64,
        ranges: Vec<MappedRange>,
        images: &mut Images,
        kernel: &mut impl Kernel,
        wanted: &mut Vec<BinaryId>,
        now: BootNanos,
    ) -> io::Result<Option<Entered>> {
        let Some((space, extent, waiting)) = self.write(&ranges, images, kernel, wanted, now)? else { return Ok(None) };
        let published = Published { space, extent, ranges, pids: BTreeSet::new(), waiting, used: now };
        self.spaces.insert(generation, published);
        Ok(Some(Entered { space, ready: !waiting }))
    }

    /// Writes mappings into pages of their own.
    fn write(
        &mut self,
        ranges: &[MappedRange],
        images: &mut Images,
        kernel: &mut impl Kernel,
        wanted: &mut Vec<BinaryId>,
        now: BootNanos,
    ) -> io::Result<Option<(Space, Extent, bool)>> {
        let ranges = &ranges[..ranges.len().min(MAX_MAPPINGS as usize)];
        let Some(extent) = images.pool.take(ranges.len().div_ceil(PAGE_MAPPINGS) as u32, 0, kernel)? else {
            return Ok(None);
        };
        let mut waiting = false;
        let mappings: Vec<Mapping> = ranges
            .iter()
            .map(|range| {
                let mapping = match range.file {
                    None => Mapping { start: range.start, end: range.end, bias: 0, image: Mapping::JIT, granules: 0 },
                    Some(binary) => {
                        let (mapping, ask) = images.mapping(binary, (range.start, range.end), range.offset, now);
                        if ask {
                            wanted.push(binary);
                        }
                        mapping
                    }
                };
                waiting |= mapping.image == Mapping::NOT_LOADED;
                mapping
            })
            .collect();
        for (number, mappings) in (extent.first..).zip(mappings.chunks(PAGE_MAPPINGS)) {
            kernel.write(number, &page(mappings));
        }
        self.last += 1;
        let space = Space { id: self.last, first_page: extent.first, count: mappings.len() as u32, seal: 0 };
        Ok(Some((space, extent, waiting)))
    }

    /// Gives a process this space, in which all is that it mapped until `known`.
    pub fn assign(
        &mut self,
        pid: u32,
        generation: u64,
        known: BootNanos,
        kernel: &mut impl Kernel,
    ) -> io::Result<Option<Unmapped>> {
        let Some(published) = self.spaces.get_mut(&generation) else { return Ok(None) };
        published.pids.insert(pid);
        let unmapped = kernel.add_space(pid, published.space, known)?;
        if let Some((before, _)) = self.pids.insert(pid, (generation, known))
            && before != generation
            && let Some(before) = self.spaces.get_mut(&before)
        {
            before.pids.remove(&pid);
        }
        Ok(unmapped)
    }

    /// A process has no space any more: it is gone, or its mappings are not known.
    pub fn remove(&mut self, pid: u32, kernel: &mut impl Kernel) {
        if let Some((generation, _)) = self.pids.remove(&pid) {
            if let Some(published) = self.spaces.get_mut(&generation) {
                published.pids.remove(&pid);
            }
            kernel.remove_space(pid);
        }
    }

    /// The files of a space.
    pub fn files(&self, generation: u64) -> impl Iterator<Item = BinaryId> + '_ {
        let ranges = self.spaces.get(&generation).into_iter().flat_map(|published| &published.ranges);
        ranges.filter_map(|range| range.file)
    }

    /// What was mapped as one binary is another one.
    pub fn rename(&mut self, before: BinaryId, binary: BinaryId) {
        let ranges = self.spaces.values_mut().flat_map(|published| &mut published.ranges);
        ranges.filter(|range| range.file == Some(before)).for_each(|range| range.file = Some(binary));
    }

    /// The number of a process's space.
    pub fn generation(&self, pid: u32) -> Option<u64> {
        self.pids.get(&pid).map(|(generation, _)| *generation)
    }

    /// Makes those spaces anew that map one of these files: what their mappings say has changed.
    ///
    /// # Errors
    /// The kernel refuses memory.
    pub fn refresh(
        &mut self,
        changed: &BTreeSet<BinaryId>,
        images: &mut Images,
        kernel: &mut impl Kernel,
        wanted: &mut Vec<BinaryId>,
        now: BootNanos,
    ) -> io::Result<()> {
        let touched = |published: &Published| {
            published.ranges.iter().filter_map(|range| range.file).any(|file| changed.contains(&file))
        };
        let affected: Vec<u64> =
            self.spaces.iter().filter(|(_, space)| touched(space)).map(|(generation, _)| *generation).collect();
        for generation in affected {
            let Some(mut published) = self.spaces.remove(&generation) else { continue };
            // Used long ago as it may be, the images behind it are not more in use than they were.
            let written = self.write(&published.ranges, images, kernel, wanted, published.used)?;
            images.retire(published.extent, now);
            let Some((space, extent, waiting)) = written else {
                for pid in published.pids {
                    self.pids.remove(&pid);
                    kernel.remove_space(pid);
                }
                continue;
            };
            (published.space, published.extent, published.waiting) = (space, extent, waiting);
            for pid in &published.pids {
                let known = self.pids.get(pid).map_or(BootNanos(0), |(_, known)| *known);
                kernel.replace_space(*pid, space, known)?;
            }
            self.spaces.insert(generation, published);
        }
        Ok(())
    }

    /// Forgets spaces that no process has had for a while, and processes whose mappings are no longer `current`. Returns the
    /// files that are still mapped.
    pub fn tidy(
        &mut self,
        current: impl Fn(u32) -> Option<u64>,
        images: &mut Images,
        kernel: &mut impl Kernel,
        now: BootNanos,
    ) -> BTreeSet<BinaryId> {
        let stale: Vec<u32> = self
            .pids
            .iter()
            .filter(|(pid, (generation, _))| current(**pid) != Some(*generation))
            .map(|(pid, _)| *pid)
            .collect();
        stale.into_iter().for_each(|pid| self.remove(pid, kernel));
        self.spaces.retain(|_, published| {
            let keep = !published.pids.is_empty() || now.0.saturating_sub(published.used.0) < KEEP;
            if !keep {
                images.retire(published.extent, now);
            }
            keep
        });
        self.spaces.values().flat_map(|published| &published.ranges).filter_map(|range| range.file).collect()
    }

    /// Spaces, and processes that have one.
    pub fn census(&self) -> (u64, u64) {
        (self.spaces.len() as u64, self.pids.len() as u64)
    }
}

/// The words of a page of mappings; what is not used of it stays zero.
fn page(mappings: &[Mapping]) -> Page {
    let mut words = [0; PAGE / 8];
    for (words, mapping) in words.as_chunks_mut::<4>().0.iter_mut().zip(mappings) {
        let Mapping { start, end, bias, image, granules } = *mapping;
        // `image` and `granules` are two 32-bit fields in the machine's order.
        let (image, granules) = (image.to_ne_bytes(), granules.to_ne_bytes());
        let both = std::array::from_fn(|at| if at < 4 { image[at] } else { granules[at - 4] });
        *words = [start, end, bias, u64::from_ne_bytes(both)];
    }
    words
}
