//! From an address of a process to its unwind rule: cache, mapping, index page, block. Reads the tables of [`crate::tables`].
//!
//! Runs in the kernel as well as on the host. Nothing in the tables is trusted to be consistent: every number is a look-up
//! that may find nothing.

use crate::tables::{
    BLOCK_ROWS, Block, GRANULE_SHIFT, INDEX_ENTRIES, MAX_MAPPINGS, Mapping, PAGE_MAPPINGS, RULE_NONE, Rule, Space,
};

/// Where tables come from: kernel maps, or memory of this process.
pub trait Tables {
    /// A page of mappings.
    fn mappings(&self, page: u32) -> Option<&[Mapping; PAGE_MAPPINGS]>;
    /// A page of an image's index.
    fn index(&self, page: u32) -> Option<&[u32; INDEX_ENTRIES]>;
    /// A page of rows.
    fn block(&self, page: u32) -> Option<&Block>;
    /// A rule.
    fn rule(&self, number: u16) -> Option<&Rule>;
}

/// What there is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// A file with rows.
    Rows = 0,
    /// Code made at run time.
    Jit = 1,
    /// A file without rows.
    NoRows = 2,
    /// A file whose rows are not loaded.
    NotLoaded = 3,
    /// Nothing that we know of.
    Unmapped = 4,
    /// [`Code::Rows`], and the code before was seen to be a call, or to go on.
    Called = 5,
    /// The same, and the code before was seen to end without a call.
    Made = 6,
}

/// What a look-up gives: the rule, for [`Code::Rows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Number of the rule; [`RULE_NONE`] for code of another kind.
    pub rule: u16,
    /// [`Code`], as a number: what the cache holds.
    pub code: u16,
}

impl Found {
    #[inline(always)]
    const fn only(code: Code) -> Self {
        Self { rule: RULE_NONE, code: code as u16 }
    }

    /// Whether a rule was found.
    #[inline(always)]
    #[must_use]
    pub const fn has_rule(self) -> bool {
        self.is(Code::Rows) || self.is(Code::Called) || self.is(Code::Made)
    }

    /// Whether this is the kind of code found.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, code: Code) -> bool {
        self.code == code as u16
    }
}

/// Slots of the cache.
pub const CACHE_SLOTS: usize = 1 << CACHE_BITS;
const CACHE_BITS: u32 = 10;

/// The answer to one look-up. Never wrong: address and space are compared in full, and what a space says never changes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CachedRow {
    address: u64,
    space: u32,
    rule: u16,
    code: u16,
}

const _: () = assert!(size_of::<CachedRow>() == 16);

/// Answers to the last look-ups of a CPU, each in the one slot where it can be.
pub type RowCache = [CachedRow; CACHE_SLOTS];

/// The slot of an address: the high bits of a product, which depend on all bits of the address.
#[inline(always)]
fn slot(address: u64, space: u32) -> usize {
    let mixed = (address ^ (u64::from(space) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - CACHE_BITS)) as usize
}

/// Finds the rule for an address. `current` is the mapping of the look-up before, and becomes this one's.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, cache: &mut RowCache, space: &Space, current: &mut Mapping, address: u64) -> Found {
    let cached = &mut cache[slot(address, space.id) & (CACHE_SLOTS - 1)];
    if cached.address == address && cached.space == space.id {
        return Found { rule: cached.rule, code: cached.code };
    }
    if !enter(tables, space, current, address) {
        return Found::only(Code::Unmapped);
    }
    let found = match current.image {
        Mapping::JIT => Found::only(Code::Jit),
        Mapping::NO_ROWS => Found::only(Code::NoRows),
        Mapping::FIRST_SPECIAL.. => return Found::only(Code::NotLoaded),
        _ => match row(tables, current, address) {
            Some(rule) => Found { rule, code: Code::Rows as u16 },
            None => return Found::only(Code::NotLoaded),
        },
    };
    *cached = CachedRow { address, space: space.id, rule: found.rule, code: found.code };
    found
}

/// Remembers more of what was found at an address.
#[inline(always)]
pub fn remember(cache: &mut RowCache, space: &Space, address: u64, found: Found) {
    let cached = &mut cache[slot(address, space.id) & (CACHE_SLOTS - 1)];
    if cached.address == address && cached.space == space.id {
        cached.code = found.code;
    }
}

/// Makes the mapping of an address the current one. Says whether there is one.
#[inline(always)]
pub fn enter<T: Tables>(tables: &T, space: &Space, current: &mut Mapping, address: u64) -> bool {
    if (current.start..current.end).contains(&address) {
        return true;
    }
    let Some(found) = last_at(tables, space, address) else { return false };
    if !(found.start..found.end).contains(&address) {
        return false;
    }
    // Field by field: as one it would be a loop over bytes, a function that the linker brings along.
    let Mapping { start, end, bias, image, granules } = current;
    [*start, *end, *bias] = [found.start, found.end, found.bias];
    [*image, *granules] = [found.image, found.granules];
    true
}

/// The last mapping that begins at or below an address, or the first one of all.
#[inline(always)]
fn last_at<'a, T: Tables>(tables: &'a T, space: &Space, address: u64) -> Option<&'a Mapping> {
    let mapping = |n: u32| {
        let page = tables.mappings(space.first_page.wrapping_add(n / PAGE_MAPPINGS as u32))?;
        Some(&page[n as usize % PAGE_MAPPINGS])
    };
    // Among `len` from `base` on.
    let (mut base, mut len) = (0, space.count);
    for _ in 0..MAX_MAPPINGS.ilog2() {
        if len <= 1 {
            break;
        }
        let half = len / 2;
        if mapping(base + half)?.start <= address {
            base += half;
        }
        len -= half;
    }
    if len == 1 { mapping(base) } else { None }
}

/// Whether something is mapped between two addresses.
#[inline(always)]
pub fn overlaps<T: Tables>(tables: &T, space: &Space, start: u64, end: u64) -> bool {
    last_at(tables, space, end.wrapping_sub(1)).is_some_and(|known| known.start < end && start < known.end)
}

/// The rule in force at an address of a mapped file; `None` when its pages are not there.
#[inline(always)]
fn row<T: Tables>(tables: &T, mapping: &Mapping, address: u64) -> Option<u16> {
    let rel = address.wrapping_add(mapping.bias);
    let granule = rel >> GRANULE_SHIFT;
    if granule >= u64::from(mapping.granules) {
        return Some(RULE_NONE);
    }
    let granule = granule as u32;
    let index = tables.index(mapping.image.wrapping_add(granule / INDEX_ENTRIES as u32))?;
    let number = index[granule as usize % INDEX_ENTRIES];
    let block = tables.block(mapping.image.wrapping_add(number))?;
    Some(block.rules[last_row(block, rel as u16)])
}

/// The last row that begins at or below `pc`; the first one when there is none. By arithmetic, for its seven comparisons go either
/// way as often: no processor foresees them, and the kernel's verifier need not follow them apart.
#[inline(always)]
fn last_row(block: &Block, pc: u16) -> usize {
    let mut at = 0;
    let mut step = BLOCK_ROWS / 2;
    while step > 0 {
        let below = i64::from(pc) - i64::from(block.pcs[(at + step) & (BLOCK_ROWS - 1)]);
        // All ones when the row begins above.
        let above = (below >> 63) as usize;
        at += step & !above;
        step /= 2;
    }
    at & (BLOCK_ROWS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One page of mappings.
    struct Mapped([Mapping; PAGE_MAPPINGS]);

    impl Tables for Mapped {
        fn mappings(&self, page: u32) -> Option<&[Mapping; PAGE_MAPPINGS]> {
            (page == 3).then_some(&self.0)
        }

        fn index(&self, _: u32) -> Option<&[u32; INDEX_ENTRIES]> {
            None
        }

        fn block(&self, _: u32) -> Option<&Block> {
            None
        }

        fn rule(&self, _: u16) -> Option<&Rule> {
            None
        }
    }

    /// A file at 10 to 20, made code at 30 to 40, a file at 40 to 50.
    fn mapped() -> (Mapped, Space) {
        let mut page = [Mapping::default(); PAGE_MAPPINGS];
        for (mapping, (start, image)) in page.iter_mut().zip([(10, 7), (30, Mapping::JIT), (40, Mapping::NOT_LOADED)]) {
            *mapping = Mapping { start, end: start + 10, image, ..Mapping::default() };
        }
        (Mapped(page), Space { id: 1, first_page: 3, count: 3, seal: 0 })
    }

    /// What reaches into a mapping overlaps it, what lies in a gap does not.
    #[test]
    fn a_range_overlaps_what_it_reaches_into() {
        let (tables, space) = mapped();
        for (start, end) in [(0, 10), (20, 30), (50, 60), (22, 25)] {
            assert!(!overlaps(&tables, &space, start, end), "{start} to {end} is a gap");
        }
        for (start, end) in [(10, 20), (5, 11), (19, 25), (12, 13), (0, 100), (45, 46), (15, 45)] {
            assert!(overlaps(&tables, &space, start, end), "{start} to {end}");
        }
        assert!(!overlaps(&tables, &Space { count: 0, ..space }, 10, 20));
        assert!(!overlaps(&tables, &Space { first_page: 9, ..space }, 10, 20), "no such page");
    }

    /// An address is found in the mapping that has it, wherever that stands, and in none of a gap.
    #[test]
    fn addresses_are_found_in_their_mappings() {
        let (tables, space) = mapped();
        // As a walk goes: with the mapping of the frame before.
        let mut last = Mapping::default();
        for (address, start) in [(10, 10), (19, 10), (30, 30), (39, 30), (40, 40), (49, 40), (12, 10)] {
            let mut found = Mapping::default();
            assert!(enter(&tables, &space, &mut found, address) && found.start == start, "{address}");
            assert!(enter(&tables, &space, &mut last, address) && last.start == start, "{address} after another");
        }
        for address in [0, 9, 20, 29, 50, u64::MAX] {
            assert!(!enter(&tables, &space, &mut Mapping::default(), address), "{address}");
        }
    }
}
