//! Fills blocks of 128 rows with granules of code, 512 bytes each, so that hardly any row of a block stays unused.
//!
//! A block is searched by the low 16 bits of where its rows begin, and only for granules whose index entry names it. So any granules can
//! share a block as long as their places within 64 KiB differ, near each other or not; each run of neighbours needs one row more
//! at its start, the one in force there. Filling only with neighbours left a sixth of the rows unused, this leaves
//! a fiftieth (`rows` of rustc's driver, cc1plus and libc).

use std::collections::HashMap;

use profiler_ebpf::tables::{BLOCK_ROWS, Block, GRANULE_SHIFT, RULE_NONE, RULE_UNSUPPORTED};

use super::image::index_pages;
use super::stats::{Cause, Stats};

/// Granules of 64 KiB.
const PLACES: usize = 1 << (16 - GRANULE_SHIFT);
/// Most blocks with room for more that are remembered.
const PARTIAL: usize = 64;

/// A block that is being filled.
struct Open {
    page: u32,
    rows: Vec<(u16, u16)>,
    /// Places of its granules: one bit each.
    places: u128,
}

impl Open {
    fn takes(&self, place: usize, rows: usize) -> bool {
        self.rows.len() + rows <= BLOCK_ROWS && self.places & 1 << place == 0
    }
}

/// Takes a file's granules in order.
pub(super) struct Packer {
    index_pages: u32,
    index: Vec<u32>,
    blocks: Vec<Block>,
    /// The block of the granule before, if that had rows.
    current: Option<Open>,
    partial: Vec<Open>,
    /// Blocks for code without any row of its own, by the rule in force: each serves every such place.
    constant: HashMap<u16, u32>,
    /// The rule in force.
    rule: u16,
}

impl Packer {
    pub(super) fn new(granules: usize) -> Self {
        Self {
            index_pages: index_pages(granules),
            index: Vec::with_capacity(granules),
            blocks: Vec::new(),
            current: None,
            partial: Vec::new(),
            constant: HashMap::new(),
            rule: RULE_NONE,
        }
    }

    /// Adds the next granule with its own rows: low 16 bits of where they begin, and rules.
    pub(super) fn granule(
        &mut self,
        granule: usize,
        rows: impl ExactSizeIterator<Item = (u16, u16)> + Clone,
        stats: &mut Stats,
    ) {
        let place = granule % PLACES;
        // The first granule of 64 KiB is no neighbour of the one before: its places begin anew.
        if place == 0 || !self.current.as_ref().is_some_and(|block| block.takes(place, rows.len())) {
            self.put_by();
            let start = (granule << GRANULE_SHIFT) as u16;
            let Some((first, _)) = rows.clone().next() else {
                let page = self.constant_block();
                self.index.push(page);
                return;
            };
            let inherits = first != start;
            let mut block = self.block_for(place, rows.len() + usize::from(inherits));
            if inherits {
                block.rows.push((start, self.rule));
            }
            self.current = Some(block);
        }
        let Some(block) = &mut self.current else { return };
        block.places |= 1 << place;
        for row in rows {
            if block.rows.len() == BLOCK_ROWS {
                // More rows than a block holds: nothing is known from the last one on.
                block.rows[BLOCK_ROWS - 1].1 = RULE_UNSUPPORTED;
                stats.count(Cause::Crowded);
            } else {
                block.rows.push(row);
            }
            self.rule = row.1;
        }
        self.index.push(block.page);
    }

    /// A block with room for a run that begins with so many rows: the fullest that can take it, or a new one.
    fn block_for(&mut self, place: usize, rows: usize) -> Open {
        let fits = |(at, block): (usize, &Open)| block.takes(place, rows).then_some((block.rows.len(), at));
        match self.partial.iter().enumerate().filter_map(fits).max() {
            Some((_, at)) => self.partial.swap_remove(at),
            None => Open { page: self.new_page(), rows: Vec::with_capacity(BLOCK_ROWS), places: 0 },
        }
    }

    fn new_page(&mut self) -> u32 {
        let page = self.index_pages + self.blocks.len() as u32;
        self.blocks.push(Block { pcs: [u16::MAX; _], rules: [RULE_NONE; _] });
        page
    }

    /// Ends a run. Of too many blocks with room the fullest is finished.
    fn put_by(&mut self) {
        self.partial.extend(self.current.take());
        if self.partial.len() > PARTIAL {
            let fullest = self.partial.iter().enumerate().max_by_key(|(_, block)| block.rows.len());
            if let Some((at, _)) = fullest {
                let block = self.partial.swap_remove(at);
                self.write(block);
            }
        }
    }

    fn write(&mut self, mut open: Open) {
        open.rows.sort_unstable_by_key(|(pc, _)| *pc);
        let Some(block) = self.blocks.get_mut((open.page - self.index_pages) as usize) else { return };
        // Unused rows repeat the last rule.
        block.rules.fill(open.rows.last().map_or(RULE_NONE, |(_, rule)| *rule));
        for ((to_pc, to_rule), (pc, rule)) in block.pcs.iter_mut().zip(&mut block.rules).zip(open.rows) {
            (*to_pc, *to_rule) = (pc, rule);
        }
    }

    fn constant_block(&mut self) -> u32 {
        if let Some(page) = self.constant.get(&self.rule) {
            return *page;
        }
        let page = self.new_page();
        let mut pcs = [u16::MAX; _];
        pcs[0] = 0;
        self.blocks[(page - self.index_pages) as usize] = Block { pcs, rules: [self.rule; _] };
        self.constant.insert(self.rule, page);
        page
    }

    /// Index and blocks.
    pub(super) fn finish(mut self) -> (Vec<u32>, Vec<Block>) {
        let open: Vec<Open> = self.partial.drain(..).chain(self.current.take()).collect();
        open.into_iter().for_each(|block| self.write(block));
        (self.index, self.blocks)
    }
}
