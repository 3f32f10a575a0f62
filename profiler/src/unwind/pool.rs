//! Which pages of the pool are whose. Pure book-keeping: the memory itself is behind [`PageMemory`].
//!
//! Extents are runs of page numbers, taken first-fit. The pool grows by whole chunks while its budget lasts, and gives back chunks
//! at its end that nobody uses. Invariant: free extents are disjoint, sorted, not empty, and never touch each other.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use profiler_ebpf::tables::{MAX_CHUNKS, PAGE, PAGES_PER_CHUNK, Page};

/// Bytes of one chunk.
pub const CHUNK: u64 = PAGES_PER_CHUNK as u64 * PAGE as u64;

/// The memory that page numbers stand for: the kernel's maps, or a vector in tests.
pub trait PageMemory {
    /// Makes the pages of these chunks exist, the first of which follows the last there is. All zero.
    ///
    /// # Errors
    /// The kernel refuses the memory; none was added.
    fn add_chunks(&mut self, chunks: Range<u32>) -> io::Result<()>;
    /// Gives a chunk back.
    fn drop_chunk(&mut self, chunk: u32);
    /// Fills a page.
    fn write(&mut self, page: u32, words: &Page);
}

/// A run of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Number of the first.
    pub first: u32,
    /// How many.
    pub pages: u32,
}

/// Who has which page.
#[derive(Debug)]
pub struct Pool {
    free: BTreeMap<u32, u32>,
    chunks: u32,
    max_chunks: u32,
    used: u32,
}

impl Pool {
    /// An empty pool that grows up to `budget` bytes.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let max_chunks = (budget / CHUNK).clamp(1, u64::from(MAX_CHUNKS)) as u32;
        Self { free: BTreeMap::new(), chunks: 0, max_chunks, used: 0 }
    }

    /// Takes `pages` pages; `None` when the budget, less a `reserve` in bytes, does not allow it.
    ///
    /// # Errors
    /// The kernel refuses more memory.
    pub fn take(&mut self, pages: u32, reserve: u64, memory: &mut impl PageMemory) -> io::Result<Option<Extent>> {
        let pages = pages.max(1);
        if self.used() + u64::from(pages) * PAGE as u64 + reserve > self.budget() {
            return Ok(None);
        }
        let fitting = |pool: &Self| pool.free.iter().find(|(_, len)| **len >= pages).map(|(first, _)| *first);
        let first = match fitting(self) {
            Some(first) => first,
            None => {
                let tail = self.free.iter().next_back().filter(|(first, len)| *first + *len == self.end());
                let missing = pages - tail.map_or(0, |(_, len)| *len);
                let chunks = missing.div_ceil(PAGES_PER_CHUNK);
                if chunks > self.max_chunks - self.chunks {
                    return Ok(None);
                }
                memory.add_chunks(self.chunks..self.chunks + chunks)?;
                let first = self.end();
                self.chunks += chunks;
                self.give(Extent { first, pages: chunks * PAGES_PER_CHUNK });
                let Some(first) = fitting(self) else { return Ok(None) };
                first
            }
        };
        let len = self.free.remove(&first).unwrap_or(pages);
        if len > pages {
            self.free.insert(first + pages, len - pages);
        }
        self.used += pages;
        Ok(Some(Extent { first, pages }))
    }

    /// Takes pages back, once no walk can be reading them.
    pub fn put(&mut self, extent: Extent, memory: &mut impl PageMemory) {
        self.used -= extent.pages;
        self.give(extent);
        while let Some((&first, &len)) = self.free.iter().next_back()
            && first + len == self.end()
            && len >= PAGES_PER_CHUNK
        {
            self.chunks -= 1;
            memory.drop_chunk(self.chunks);
            match len - PAGES_PER_CHUNK {
                0 => self.free.remove(&first),
                rest => self.free.insert(first, rest),
            };
        }
    }

    /// Bytes of kernel memory held.
    #[must_use]
    pub fn held(&self) -> u64 {
        u64::from(self.chunks) * CHUNK
    }

    /// Bytes of it in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        u64::from(self.used) * PAGE as u64
    }

    /// Bytes it may grow to.
    #[must_use]
    pub fn budget(&self) -> u64 {
        u64::from(self.max_chunks) * CHUNK
    }

    /// Whether so many pages could ever be had beside a reserve in bytes.
    #[must_use]
    pub fn could_hold(&self, pages: u32, reserve: u64) -> bool {
        u64::from(pages) * PAGE as u64 + reserve <= self.budget()
    }

    fn end(&self) -> u32 {
        self.chunks * PAGES_PER_CHUNK
    }

    /// Enters a free extent, joined with its neighbours.
    fn give(&mut self, Extent { mut first, mut pages }: Extent) {
        if let Some((&before, &len)) = self.free.range(..first).next_back()
            && before + len == first
        {
            self.free.remove(&before);
            first = before;
            pages += len;
        }
        if let Some(len) = self.free.remove(&(first + pages)) {
            pages += len;
        }
        self.free.insert(first, pages);
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    /// Chunks in ordinary memory.
    #[derive(Debug, Default)]
    pub struct Heap {
        /// The pages, chunk after chunk.
        pub pages: Vec<Page>,
    }

    impl PageMemory for Heap {
        fn add_chunks(&mut self, chunks: Range<u32>) -> io::Result<()> {
            assert_eq!(self.pages.len(), (chunks.start * PAGES_PER_CHUNK) as usize);
            self.pages.resize((chunks.end * PAGES_PER_CHUNK) as usize, [0; PAGE / 8]);
            Ok(())
        }

        fn drop_chunk(&mut self, chunk: u32) {
            self.pages.truncate((chunk * PAGES_PER_CHUNK) as usize);
        }

        fn write(&mut self, page: u32, words: &Page) {
            self.pages[page as usize] = *words;
        }
    }

    /// A large file needs more than one chunk in a row, beginning in what the last one has left.
    #[test]
    fn an_extent_may_cross_chunks() {
        let (mut pool, mut heap) = (Pool::new(8 * CHUNK), Heap::default());
        let small = pool.take(10, 0, &mut heap).unwrap().unwrap();
        let large = pool.take(3 * PAGES_PER_CHUNK - 20, 0, &mut heap).unwrap().unwrap();
        assert_eq!((small.first, large.first), (0, 10));
        assert_eq!(pool.held(), 3 * CHUNK);
        pool.put(large, &mut heap);
        assert_eq!(pool.held(), CHUNK, "what nobody uses goes back");
    }

    /// The budget is the limit, and what was given back can be had again.
    #[test]
    fn the_budget_holds() {
        let (mut pool, mut heap) = (Pool::new(2 * CHUNK), Heap::default());
        let first = pool.take(PAGES_PER_CHUNK, 0, &mut heap).unwrap().unwrap();
        let _second = pool.take(PAGES_PER_CHUNK, 0, &mut heap).unwrap().unwrap();
        assert_eq!(pool.take(1, 0, &mut heap).unwrap(), None);
        assert!(!pool.could_hold(2 * PAGES_PER_CHUNK + 1, 0));
        pool.put(first, &mut heap);
        assert_eq!(pool.take(PAGES_PER_CHUNK, 0, &mut heap).unwrap(), Some(first));
    }

    proptest! {
        /// However extents are taken and given back, no page has two owners and none is lost.
        #[test]
        fn no_page_has_two_owners(steps in proptest::collection::vec((1_u32..3000, any::<prop::sample::Index>(), any::<bool>()), 1..60)) {
            let (mut pool, mut heap) = (Pool::new(12 * CHUNK), Heap::default());
            let mut taken: Vec<Extent> = Vec::new();
            for (pages, which, put) in steps {
                if put && !taken.is_empty() {
                    let extent = taken.swap_remove(which.index(taken.len()));
                    pool.put(extent, &mut heap);
                } else if let Some(extent) = pool.take(pages, 0, &mut heap).unwrap() {
                    taken.push(extent);
                }
                let mut owners = vec![0; heap.pages.len()];
                let free = pool.free.iter().map(|(first, pages)| Extent { first: *first, pages: *pages });
                for extent in taken.iter().copied().chain(free) {
                    owners[extent.first as usize..(extent.first + extent.pages) as usize].iter_mut().for_each(|n| *n += 1);
                }
                prop_assert!(owners.iter().all(|n| *n == 1));
                prop_assert_eq!(pool.used(), taken.iter().map(|extent| u64::from(extent.pages) * PAGE as u64).sum::<u64>());
            }
        }
    }
}
