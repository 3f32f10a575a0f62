//! Unwind tables in ordinary memory, laid out as in the kernel's.

use std::iter;

use profiler_ebpf::tables::{
    BLOCK_ROWS, Cfa, GRANULE_SHIFT, INDEX_ENTRIES, Mapping, PAGE, PAGE_MAPPINGS, Page, RULE_NONE, Rule, Space,
};

use super::Tables;

/// Pages and rules, added one after the other.
#[derive(Clone, Debug)]
pub struct Pool {
    pages: Vec<Page>,
    rules: Vec<Rule>,
    spaces: u32,
}

impl Default for Pool {
    /// No pages, and the three rules that are always there.
    fn default() -> Self {
        Self { pages: Vec::new(), rules: fixed_rules().to_vec(), spaces: 0 }
    }
}

/// The rules with the numbers `RULE_NONE`, `RULE_UNSUPPORTED` and `RULE_END`.
#[must_use]
pub fn fixed_rules() -> [Rule; 3] {
    [Cfa::None, Cfa::Unsupported, Cfa::End].map(|cfa| Rule { cfa: cfa as u8, ..Rule::default() })
}

impl Pool {
    /// Adds a rule, unless it is there. Gives its number.
    ///
    /// # Panics
    /// More than 65,536 different rules.
    pub fn add_rule(&mut self, rule: Rule) -> u16 {
        let at = self.rules.iter().position(|known| *known == rule).unwrap_or_else(|| {
            self.rules.push(rule);
            self.rules.len() - 1
        });
        u16::try_from(at).expect("as many rules as there are numbers")
    }

    /// Adds pages. Gives the number of the first.
    pub fn add_pages(&mut self, pages: &[Page]) -> u32 {
        let first = self.pages.len() as u32;
        self.pages.extend_from_slice(pages);
        first
    }

    /// All pages, by number.
    #[must_use]
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// All rules, by number.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Adds a process's mappings, sorted by their start.
    pub fn space(&mut self, mappings: &[Mapping]) -> Space {
        let pages: Vec<Page> = mappings.chunks(PAGE_MAPPINGS).map(page_of).collect();
        self.spaces += 1;
        Space { id: self.spaces, first_page: self.add_pages(&pages), count: mappings.len() as u32, seal: 0 }
    }
}

/// A small file's image: rows by their `rel` and the number of their rule, ascending. Each granule gets a block of its own.
///
/// # Panics
/// A granule has more rows than a block.
#[must_use]
pub fn image_of(rows: &[(u64, u16)]) -> Vec<Page> {
    let granules = rows.last().map_or(0, |(rel, _)| (rel >> GRANULE_SHIFT) + 1);
    let index_pages = granules.div_ceil(INDEX_ENTRIES as u64);
    let mut pages = vec![[0; PAGE / 8]; index_pages as usize];
    for granule in 0..granules {
        let number = index_pages + granule;
        pages[granule as usize / INDEX_ENTRIES][granule as usize % INDEX_ENTRIES / 2] |= number << (granule % 2 * 32);
        let (begin, end) = (granule << GRANULE_SHIFT, (granule + 1) << GRANULE_SHIFT);
        // The row in force at the beginning, then those that begin inside.
        let in_force = rows.iter().rev().find(|(rel, _)| *rel <= begin).map_or(RULE_NONE, |(_, rule)| *rule);
        let inside = rows.iter().filter(|(rel, _)| (begin + 1..end).contains(rel));
        let all: Vec<(u16, u16)> =
            iter::once((begin as u16, in_force)).chain(inside.map(|(rel, rule)| (*rel as u16, *rule))).collect();
        assert!(all.len() <= BLOCK_ROWS, "{} rows in a granule", all.len());
        let last = all.last().map_or(RULE_NONE, |(_, rule)| *rule);
        let all: Vec<(u16, u16)> = all.into_iter().chain(iter::repeat((u16::MAX, last))).take(BLOCK_ROWS).collect();
        let halves = all.iter().map(|(pc, _)| *pc).chain(all.iter().map(|(_, rule)| *rule)).collect::<Vec<u16>>();
        let mut block = [0; PAGE / 8];
        for (word, four) in block.iter_mut().zip(halves.as_chunks::<4>().0) {
            *word = four.iter().rev().fold(0, |word, half| word << 16 | u64::from(*half));
        }
        pages.push(block);
    }
    pages
}

/// Up to a page of mappings, as the page lies in memory.
#[must_use]
pub fn page_of(mappings: &[Mapping]) -> Page {
    let mut page = [0; PAGE / 8];
    let words = mappings.iter().flat_map(|mapping| {
        let Mapping { start, end, bias, image, granules } = *mapping;
        [start, end, bias, u64::from(image) | u64::from(granules) << 32]
    });
    page.iter_mut().zip(words).for_each(|(place, word)| *place = word);
    page
}

impl Tables for Pool {
    fn page(&self, number: u32) -> Option<&Page> {
        self.pages.get(number as usize)
    }

    fn rule(&self, number: u16) -> Option<&Rule> {
        self.rules.get(usize::from(number))
    }
}
