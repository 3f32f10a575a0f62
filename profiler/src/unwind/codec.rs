//! An image as bytes: what the compiling child answers and what the cache keeps. Both are foreign to the reader, so that decoding
//! checks all that an [`Image`] promises; the checksum is for damage, not for malice.
//!
//! ```text
//! magic 8, version u32, granules u32, base u64, blocks u32, rules u32, functions u32, rows u32, unsupported u32 each,
//! rules 16 each, index u32 each, blocks 512 each, crc32 of all before u32; little-endian
//! ```

use profiler_ebpf::tables::{BLOCK_ROWS, Block, Cfa, GRANULE_SHIFT, PAGE, Rule, Saved};
use thiserror::Error;

use super::elf::{u16_at, u32_at, u64_at};
use super::image::{Image, MAX_GRANULES, index_pages};
use super::rows::{FIXED_RULES, MAX_FILE_RULES};
use super::stats::{Cause, Stats};

const MAGIC: &[u8; 8] = b"unwimage";
/// Of the layout and of what compiling yields: a cached image of another version is compiled again.
const VERSION: u32 = 3;
const HEADER: usize = 40 + 4 * Cause::COUNT;
const RULE: usize = 16;

/// Bytes that are no image.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ImageError {
    /// Neither is it an older one.
    #[error("not an unwind image")]
    Foreign,
    /// Another version wrote it.
    #[error("an unwind image of version {0}")]
    Version(u32),
    /// Too short, too long, or its checksum is another.
    #[error("a damaged unwind image")]
    Damaged,
    /// Its checksum is right and it contradicts itself.
    #[error("an unwind image that is wrong: {0}")]
    Wrong(&'static str),
}

impl Image {
    /// Most bytes of an image: 6 million rows, and 4 GiB of code to find them by.
    pub const MAX_ENCODED: usize = 64 << 20;

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let len = HEADER + self.rules.len() * RULE + self.index.len() * 4 + self.blocks.len() * PAGE + 4;
        let mut out = Vec::with_capacity(len);
        out.extend(MAGIC);
        put(&mut out, [VERSION, self.index.len() as u32]);
        out.extend(self.base.to_le_bytes());
        put(&mut out, [self.blocks.len() as u32, self.rules.len() as u32, self.stats.functions, self.stats.rows]);
        put(&mut out, self.stats.unsupported);
        self.rules.iter().for_each(|rule| put_rule(&mut out, rule));
        put(&mut out, self.index.iter().copied());
        for block in &self.blocks {
            block.pcs.iter().chain(&block.rules).for_each(|number| out.extend(number.to_le_bytes()));
        }
        let sum = crc32fast::hash(&out);
        put(&mut out, [sum]);
        out
    }

    /// From bytes that may be anything.
    ///
    /// # Errors
    /// They are not a whole image, or not one that a walk could use.
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        if bytes.get(..8) != Some(MAGIC) {
            return Err(ImageError::Foreign);
        }
        if bytes.len() < HEADER + 4 {
            return Err(ImageError::Damaged);
        }
        let word = |at| u32_at(bytes, at);
        if word(8) != VERSION {
            return Err(ImageError::Version(word(8)));
        }
        let (granules, blocks, rules) = (word(12) as usize, word(24) as usize, word(28) as usize);
        let sizes = [(HEADER, 1), (rules, RULE), (granules, 4), (blocks, PAGE), (4, 1)];
        let len = sizes.iter().try_fold(0_usize, |sum, (n, size)| sum.checked_add(n.checked_mul(*size)?));
        if len != Some(bytes.len()) {
            return Err(ImageError::Damaged);
        }
        let (content, sum) = bytes.split_at(bytes.len() - 4);
        if crc32fast::hash(content) != u32_at(sum, 0) {
            return Err(ImageError::Damaged);
        }
        let (rule_bytes, rest) = content[HEADER..].split_at(rules * RULE);
        let (index_bytes, block_bytes) = rest.split_at(granules * 4);
        let mut unsupported = [0; Cause::COUNT];
        (0..Cause::COUNT).for_each(|cause| unsupported[cause] = word(40 + 4 * cause));
        let image = Self {
            base: u64_at(bytes, 16),
            index: index_bytes.as_chunks::<4>().0.iter().map(|entry| u32::from_le_bytes(*entry)).collect(),
            blocks: block_bytes.as_chunks().0.iter().map(block_of).collect(),
            rules: rule_bytes.as_chunks().0.iter().map(rule_of).collect(),
            stats: Stats { functions: word(32), rows: word(36), unsupported },
        };
        image.check()?;
        Ok(image)
    }

    fn check(&self) -> Result<(), ImageError> {
        let sound = |holds: bool, what| if holds { Ok(()) } else { Err(ImageError::Wrong(what)) };
        sound(self.base.is_multiple_of(1 << GRANULE_SHIFT) && self.base < 1 << 48, "base")?;
        sound(!self.index.is_empty() && self.index.len() <= MAX_GRANULES as usize, "granules")?;
        sound(self.rules.len() <= MAX_FILE_RULES && self.rules.iter().all(rule_is_sound), "rules")?;
        let rules = self.rules.len() as u16 + FIXED_RULES;
        for block in &self.blocks {
            sound(block.pcs.is_sorted() && block.rules.iter().all(|rule| *rule < rules), "a block")?;
        }
        let first = index_pages(self.index.len());
        for (granule, page) in self.index.iter().enumerate() {
            let block = page.checked_sub(first).and_then(|block| self.blocks.get(block as usize));
            let start = (granule << GRANULE_SHIFT) as u16;
            sound(block.is_some_and(|block| block.pcs[0] <= start), "an index entry")?;
        }
        Ok(())
    }
}

/// Whether the walk knows all of it. Registers are x86-64's or aarch64's.
fn rule_is_sound(rule: &Rule) -> bool {
    let register = |number: i16| (0..32).contains(&number);
    let saved =
        |kind: u8, offset: i16| kind <= Saved::Undefined as u8 && (kind != Saved::InRegister as u8 || register(offset));
    rule.cfa <= Cfa::Unsupported as u8
        && rule.cfa_register < 32
        && saved(rule.fp, rule.fp_offset)
        && saved(rule.ra & !(Rule::SIGNED | Rule::READ), rule.ra_offset)
}

fn put(out: &mut Vec<u8>, words: impl IntoIterator<Item = u32>) {
    words.into_iter().for_each(|word| out.extend(word.to_le_bytes()));
}

fn put_rule(out: &mut Vec<u8>, rule: &Rule) {
    out.extend([rule.cfa, rule.cfa_register, rule.fp, rule.ra]);
    out.extend(rule.cfa_offset.to_le_bytes());
    out.extend(rule.fp_offset.to_le_bytes());
    out.extend(rule.ra_offset.to_le_bytes());
    out.extend(rule.extra.to_le_bytes());
}

fn rule_of(bytes: &[u8; RULE]) -> Rule {
    Rule {
        cfa: bytes[0],
        cfa_register: bytes[1],
        fp: bytes[2],
        ra: bytes[3],
        cfa_offset: u32_at(bytes, 4) as i32,
        fp_offset: u16_at(bytes, 8) as i16,
        ra_offset: u16_at(bytes, 10) as i16,
        extra: u32_at(bytes, 12) as i32,
    }
}

fn block_of(bytes: &[u8; PAGE]) -> Block {
    let half = |from: usize| std::array::from_fn::<_, BLOCK_ROWS, _>(|row| u16_at(bytes, from + 2 * row));
    Block { pcs: half(0), rules: half(PAGE / 2) }
}
