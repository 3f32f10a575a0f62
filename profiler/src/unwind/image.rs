//! The unwind rows of one file, laid out as they will lie in kernel memory: `profiler_ebpf::tables` draws the picture.
//!
//! An image differs from kernel memory in one thing: its rule numbers are its own. [`Image::write_pages`] replaces them.
//! Invariant, kept by the builder and checked by the decoder: every granule's block begins at or before it, and every
//! number in it is that of a rule.

use profiler_ebpf::tables::{BLOCK_ROWS, Block, GRANULE_SHIFT, INDEX_ENTRIES, Page, RULE_NONE, RULE_UNSUPPORTED, Rule};

use super::CompileError;
use super::pack::Packer;
use super::rows::{FIXED_RULES, fixed_rule, offset_of, rule_of};
use super::stats::Stats;

/// Bytes of code of one index entry.
const GRANULE: u64 = 1 << GRANULE_SHIFT;
/// Most granules: 4 GiB between a file's first and last row.
pub(super) const MAX_GRANULES: u32 = 1 << 23;

/// See above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub(super) base: u64,
    /// For each granule, the page of its block.
    pub(super) index: Vec<u32>,
    pub(super) blocks: Vec<Block>,
    pub(super) rules: Vec<Rule>,
    pub(super) stats: Stats,
}

impl Image {
    /// File offset that is 0 in the image: `rel`, of the pictures, is the file offset less this. A multiple of 512.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// How many granules have rows: from there on there are none.
    pub fn granules(&self) -> u32 {
        self.index.len() as u32
    }

    /// Pages of kernel memory.
    pub fn pages(&self) -> u32 {
        self.index_pages() + self.blocks.len() as u32
    }

    fn index_pages(&self) -> u32 {
        index_pages(self.index.len())
    }

    /// The rules from local number 3 on; 0, 1 and 2 are the same in every image.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Counts.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Writes the pages as the walk reads them. `numbers` says which rule of the kernel's table each of [`Image::rules`] is; what
    /// it does not say becomes [`RULE_UNSUPPORTED`].
    pub fn write_pages(&self, numbers: &[u16], mut page: impl FnMut(u32, &Page)) {
        let number = |rule: u16| match rule.checked_sub(FIXED_RULES) {
            None => rule,
            Some(at) => numbers.get(usize::from(at)).copied().unwrap_or(RULE_UNSUPPORTED),
        };
        let mut out: Page = [0; _];
        for (at, entries) in self.index.chunks(INDEX_ENTRIES).enumerate() {
            out.fill(0);
            for (word, pair) in out.iter_mut().zip(entries.chunks(2)) {
                *word = word_of(&[pair[0], pair.get(1).copied().unwrap_or_default()].map(u32::to_ne_bytes));
            }
            page(at as u32, &out);
        }
        for (at, block) in self.blocks.iter().enumerate() {
            let (pcs, rules) = out.split_at_mut(BLOCK_ROWS / 4);
            for (word, four) in pcs.iter_mut().zip(block.pcs.as_chunks::<4>().0) {
                *word = word_of(&four.map(u16::to_ne_bytes));
            }
            for (word, four) in rules.iter_mut().zip(block.rules.as_chunks::<4>().0) {
                *word = word_of(&four.map(|rule| number(rule).to_ne_bytes()));
            }
            page(self.index_pages() + at as u32, &out);
        }
    }

    /// The rule in force at a file offset, looked up as the walk does it.
    pub fn rule_at(&self, offset: u64) -> Rule {
        let number = self.number_at(offset).unwrap_or(RULE_NONE);
        let own = || self.rules.get(usize::from(number.checked_sub(FIXED_RULES)?)).copied();
        fixed_rule(number).or_else(own).unwrap_or_default()
    }

    pub(super) fn number_at(&self, offset: u64) -> Option<u16> {
        let rel = offset.checked_sub(self.base)?;
        let page = *self.index.get(usize::try_from(rel >> GRANULE_SHIFT).ok()?)?;
        let block = self.blocks.get(page.checked_sub(self.index_pages())? as usize)?;
        let row = block.pcs.partition_point(|pc| *pc <= rel as u16).checked_sub(1)?;
        block.rules.get(row).copied()
    }

    /// Lays out finished rows.
    pub(super) fn build(rows: &[u64], rules: Vec<Rule>, mut stats: Stats) -> Result<Self, CompileError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Err(CompileError::NoRows) };
        let base = offset_of(*first) & !(GRANULE - 1);
        let granules = ((offset_of(*last) - base) >> GRANULE_SHIFT) + 1;
        if granules > u64::from(MAX_GRANULES) {
            return Err(CompileError::TooLarge("the code between the first and the last unwind row"));
        }
        let granules = granules as usize;
        stats.rows = rows.len() as u32;
        let mut builder = Packer::new(granules);
        let mut rest = rows;
        for granule in 0..granules {
            let end = (granule as u64 + 1) * GRANULE;
            // Granules have tens of rows, files have millions: no binary search.
            let here = rest.iter().position(|row| offset_of(*row) - base >= end);
            let (own, after) = rest.split_at(here.unwrap_or(rest.len()));
            let own = own.iter().map(|row| ((offset_of(*row) - base) as u16, rule_of(*row)));
            builder.granule(granule, own, &mut stats);
            rest = after;
        }
        let (index, blocks) = builder.finish();
        Ok(Self { base, index, blocks, rules, stats })
    }
}

pub(super) fn index_pages(granules: usize) -> u32 {
    granules.div_ceil(INDEX_ENTRIES) as u32
}

/// The bytes of a few small numbers, in memory order, as one word.
fn word_of<const N: usize, const M: usize>(parts: &[[u8; N]; M]) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(parts.as_flattened()).for_each(|(to, from)| *to = *from);
    u64::from_ne_bytes(bytes)
}
