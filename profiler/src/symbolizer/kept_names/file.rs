//! A file of names: where they are kept on disk. Places stand in blocks and texts in chunks; each is read, checked and unpacked when something in
//! it is asked for, so one place of ten thousand costs a few kilobytes, and all of them no more than the file.
//!
//! ```text
//! file    magic:4 version:4 head-len:4 crc:4 head body           crc of the head; all numbers little-endian
//! head    profiler:text allowed:2 found:1 source ..  chunks:4 part ..  blocks:4 first:8 part ..
//! source  source:1 has:1 [path:text]
//! part    at:4 len:4 crc:4                                       of its bytes in the body
//! chunk   text ..                                                64 each, the last one fewer (packed.rs)
//! block   places:2 place .. result ..                            results as in packed.rs
//! place   offset:8 at:4                                          sorted; where its result begins, from the end of the list
//! ```
//!
//! What is damaged is as if it were not kept. A place that nothing covers has a reason for its result.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::packed::{Cursor, MAX_SYMBOLS, Texts, put_result, put_text, take_result};
use crate::profile::{FoundSource, NameSource, NameSources, Symbolized};

/// Longest file; a binary with more places than fit begins anew.
pub(super) const MAX_FILE: u64 = 32 << 20;
/// "prfn".
const MAGIC: [u8; 4] = *b"prfn";
/// Another number for whatever names otherwise, or is laid out otherwise.
const VERSION: u32 = 4;
/// Bytes before the head.
const PREFIX: usize = 16;
/// Texts of one chunk.
const TEXTS: usize = 64;
/// Places of one block.
const PLACES: usize = 64;

/// A file that is open, and what has been read of it.
#[derive(Debug)]
pub(super) struct NamesFile {
    body: Body,
    chunks: Vec<Part<Vec<Arc<str>>>>,
    /// Each with its first place's offset.
    blocks: Vec<(u64, Part<Vec<u8>>)>,
}

/// What parts are read from.
#[derive(Debug)]
struct Body {
    file: File,
    /// Where it begins.
    begin: u64,
    /// For all of them: a fresh one for each takes longer than the reading.
    buffer: Vec<u8>,
}

/// A part of the body.
#[derive(Debug)]
struct Part<T> {
    at: u32,
    len: u32,
    crc: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    NotRead,
    Damaged,
    Read(T),
}

impl<T> Part<T> {
    fn take(at: &mut Cursor<'_>) -> Option<Self> {
        Some(Self { at: at.u32()?, len: at.u32()?, crc: at.u32()?, content: Content::NotRead })
    }

    /// What it holds.
    fn get(&mut self, body: &mut Body, unpack: impl FnOnce(&[u8]) -> Option<T>) -> Option<&T> {
        if matches!(self.content, Content::NotRead) {
            let len = self.len as usize;
            if body.buffer.len() < len {
                body.buffer.resize(len, 0);
            }
            let bytes = &mut body.buffer[..len];
            let read = body.file.read_exact_at(bytes, body.begin + u64::from(self.at));
            let whole = read.is_ok() && crc32fast::hash(bytes) == self.crc;
            let content = whole.then_some(&*bytes).and_then(unpack);
            self.content = content.map_or(Content::Damaged, Content::Read);
        }
        if let Content::Read(content) = &self.content { Some(content) } else { None }
    }
}

impl NamesFile {
    /// With what was found where. `None` when its head is damaged, of another version, or made from other sources than `allowed`.
    pub fn open(file: File, allowed: NameSources) -> Option<(Self, Vec<FoundSource>)> {
        let len = file.metadata().ok()?.len();
        let mut prefix = [0; PREFIX];
        file.read_exact_at(&mut prefix, 0).ok()?;
        let mut at = Cursor(&prefix);
        if at.take(4)? != MAGIC || at.u32()? != VERSION {
            return None;
        }
        let (head_len, crc) = (at.u32()?, at.u32()?);
        let body = PREFIX as u64 + u64::from(head_len);
        let body_len = len.checked_sub(body).filter(|_| len <= MAX_FILE)?;
        let mut head = vec![0; head_len as usize];
        file.read_exact_at(&mut head, PREFIX as u64).ok()?;
        let mut at = Cursor(&head);
        if crc32fast::hash(&head) != crc || at.text()? != env!("CARGO_PKG_VERSION") || at.u16()? != allowed.bits() {
            return None;
        }
        let mut found = Vec::new();
        for _ in 0..at.u8()? {
            let source = NameSource::from_u8(at.u8()?)?;
            let path = if at.u8()? != 0 { Some(at.text()?.to_owned()) } else { None };
            found.push(FoundSource { source, found: path });
        }
        // No part is longer than the file, whatever the head says, and all numbers of them are bounded by the head's length.
        let fits = |at: u32, len: u32| u64::from(at) + u64::from(len) <= body_len;
        let chunks = (0..at.u32()?).map(|_| Part::take(&mut at).filter(|part| fits(part.at, part.len)));
        let chunks = chunks.collect::<Option<_>>()?;
        let blocks =
            (0..at.u32()?).map(|_| Some((at.u64()?, Part::take(&mut at).filter(|part| fits(part.at, part.len))?)));
        let blocks = blocks.collect::<Option<_>>()?;
        let body = Body { file, begin: body, buffer: Vec::new() };
        at.0.is_empty().then_some((Self { body, chunks, blocks }, found))
    }

    /// The names of a place, if they are here.
    pub fn name(&mut self, offset: u64) -> Option<Symbolized> {
        let block = self.blocks.partition_point(|(first, _)| *first <= offset).checked_sub(1)?;
        let block = self.blocks[block].1.get(&mut self.body, owned)?;
        let (places, results) = places(block)?;
        let place = places.binary_search_by_key(&offset, offset_of).ok()?;
        result(&places[place], results, &mut self.chunks, &mut self.body)
    }

    /// All that can be read.
    pub fn all(&mut self) -> Vec<(u64, Symbolized)> {
        let mut all = Vec::new();
        for (_, block) in &mut self.blocks {
            let Some((places, results)) = block.get(&mut self.body, owned).and_then(|block| places(block)) else {
                continue;
            };
            let result = |place| result(place, results, &mut self.chunks, &mut self.body);
            all.extend(
                places.iter().map(result).zip(places).filter_map(|(name, place)| Some((offset_of(place), name?))),
            );
        }
        all
    }

    /// Bytes that were read of the body.
    #[cfg(test)]
    pub fn read(&self) -> u64 {
        let of = |is_read: bool, len: u32| if is_read { u64::from(len) } else { 0 };
        let chunks = self.chunks.iter().map(|part| of(matches!(part.content, Content::Read(_)), part.len));
        let blocks = self.blocks.iter().map(|(_, part)| of(matches!(part.content, Content::Read(_)), part.len));
        chunks.chain(blocks).sum()
    }
}

type Place = [u8; 12];

/// A block's places, and its results.
fn places(block: &[u8]) -> Option<(&[Place], &[u8])> {
    let (count, rest) = block.split_first_chunk()?;
    let (places, results) = rest.split_at_checked(usize::from(u16::from_le_bytes(*count)) * size_of::<Place>())?;
    Some((places.as_chunks().0, results))
}

fn offset_of(place: &Place) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *place;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn result(place: &Place, results: &[u8], chunks: &mut [Part<Vec<Arc<str>>>], body: &mut Body) -> Option<Symbolized> {
    let [.., a, b, c, d] = *place;
    let mut at = Cursor(results.get(u32::from_le_bytes([a, b, c, d]) as usize..)?);
    let mut left = MAX_SYMBOLS;
    take_result(&mut at, &mut left, |number| {
        let number = number as usize;
        let chunk = chunks.get_mut(number / TEXTS)?.get(body, texts)?;
        chunk.get(number % TEXTS).cloned()
    })
}

fn owned(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

fn texts(bytes: &[u8]) -> Option<Vec<Arc<str>>> {
    let (mut at, mut texts) = (Cursor(bytes), Vec::with_capacity(TEXTS));
    while !at.0.is_empty() {
        texts.push(at.text()?.into());
    }
    Some(texts)
}

/// A file's content. Of several names for a place the last one holds.
pub(super) fn encode(allowed: NameSources, found: &[FoundSource], mut names: Vec<(u64, Symbolized)>) -> Vec<u8> {
    names.sort_by_key(|(offset, _)| *offset);
    let (mut body, mut index, mut texts) = (Vec::new(), Vec::new(), Texts::default());
    let names: Vec<_> = names.chunk_by(|(a, _), (b, _)| a == b).filter_map(<[_]>::last).collect();
    let blocks = names.chunks(PLACES);
    index.extend((blocks.len() as u32).to_le_bytes());
    for block in blocks {
        let (mut places, mut results) = (Vec::new(), Vec::new());
        places.extend((block.len() as u16).to_le_bytes());
        for (offset, name) in block {
            places.extend(offset.to_le_bytes());
            places.extend((results.len() as u32).to_le_bytes());
            put_result(&mut results, &mut texts, name);
        }
        places.extend(results);
        index.extend(block.first().map_or(0, |(offset, _)| *offset).to_le_bytes());
        put_part(&mut index, &mut body, &places);
    }
    let mut head = Vec::new();
    put_text(&mut head, env!("CARGO_PKG_VERSION"));
    head.extend(allowed.bits().to_le_bytes());
    head.push(found.len() as u8);
    for FoundSource { source, found } in found {
        head.extend([*source as u8, u8::from(found.is_some())]);
        found.iter().for_each(|path| put_text(&mut head, &path[..path.floor_char_boundary(4096)]));
    }
    let begins: Vec<usize> = texts.begins.iter().step_by(TEXTS).map(|begin| *begin as usize).collect();
    head.extend((begins.len() as u32).to_le_bytes());
    let ends = begins.iter().skip(1).copied().chain([texts.bytes.len()]);
    begins.iter().zip(ends).for_each(|(begin, end)| put_part(&mut head, &mut body, &texts.bytes[*begin..end]));
    head.extend(index);
    with_head(&head, &body)
}

fn put_part(index: &mut Vec<u8>, body: &mut Vec<u8>, part: &[u8]) {
    for number in [body.len() as u32, part.len() as u32, crc32fast::hash(part)] {
        index.extend(number.to_le_bytes());
    }
    body.extend(part);
}

/// A file of these parts.
pub(super) fn with_head(head: &[u8], body: &[u8]) -> Vec<u8> {
    let prefix = [MAGIC, VERSION.to_le_bytes(), (head.len() as u32).to_le_bytes(), crc32fast::hash(head).to_le_bytes()];
    [prefix.as_flattened(), head, body].concat()
}
