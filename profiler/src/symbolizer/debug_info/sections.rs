//! The sections of debug information. The file is foreign: it is read by `pread` and never mapped. The large ones are read in pieces, as far as
//! they are needed, the others, and whatever is packed, as a whole.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use flate2::read::ZlibDecoder;
use gimli::{Dwarf, EndianSlice, RunTimeEndian, SectionId};
use object::elf;

use super::super::contents::{Contents, Section};
use super::super::copy::MAX_UNPACKED;
use super::Reader;

/// Sections that say which function and line an address belongs to.
const NAMING: [SectionId; 10] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];
/// Those that are most of the bytes, and of which a unit needs its own part only.
const IN_PIECES: [SectionId; 3] = [SectionId::DebugInfo, SectionId::DebugLine, SectionId::DebugStr];
/// Longest text. Names of C++ have some kilobytes.
const MAX_TEXT: u64 = 1 << 20;
/// Most bytes of them. Chromium's debug information has about 1 GiB.
const MAX_BYTES: u64 = 1 << 30;
/// Before a section of older compilers, `.zdebug_`: this, and its length in eight bytes, the highest first.
const ZLIB: &[u8; 4] = b"ZLIB";

/// What a file has of debug information.
#[derive(Debug)]
pub struct Sections<'f> {
    file: &'f File,
    endian: RunTimeEndian,
    found: Vec<(SectionId, Content)>,
}

#[derive(Debug)]
enum Content {
    Read(Vec<u8>),
    InFile { at: u64, len: u64 },
}

impl<'f> Sections<'f> {
    /// Looks for them. A section that is damaged, or claims to be larger than we would unpack, is as if it were not there. `None` when
    /// there are no units at all.
    pub fn read(file: &'f File, contents: &Contents) -> Option<Self> {
        let endian = if contents.big_endian { RunTimeEndian::Big } else { RunTimeEndian::Little };
        let mut left = MAX_BYTES;
        let mut found = Vec::new();
        for id in NAMING {
            let name = id.name();
            let older = format!(".z{}", &name[1..]);
            let content = match (contents.section(name.as_bytes()), contents.section(older.as_bytes())) {
                (Some(section), _) if section.packed.is_none() && IN_PIECES.contains(&id) => in_file(file, section),
                (Some(section), _) => content(file, section, &mut left).map(Content::Read),
                (None, Some(section)) => older_content(file, section, &mut left).map(Content::Read),
                (None, None) => None,
            };
            found.extend(content.map(|content| (id, content)));
        }
        let sections = Self { file, endian, found };
        (sections.len(SectionId::DebugInfo) > 0).then_some(sections)
    }

    /// For gimli, without what is read in pieces.
    pub(super) fn dwarf(&self) -> Dwarf<Reader<'_>> {
        let section = |id| match self.found(id) {
            Some(Content::Read(bytes)) if !IN_PIECES.contains(&id) => &bytes[..],
            _ => &[],
        };
        Dwarf::load(|id| Ok::<_, gimli::Error>(EndianSlice::new(section(id), self.endian))).unwrap_or_default()
    }

    /// How numbers are written.
    pub(super) fn endian(&self) -> RunTimeEndian {
        self.endian
    }

    /// Length of a section.
    pub(super) fn len(&self, id: SectionId) -> u64 {
        match self.found(id) {
            Some(Content::Read(bytes)) => bytes.len() as u64,
            Some(Content::InFile { len, .. }) => *len,
            None => 0,
        }
    }

    /// A part of a section; `None` where it has not got that. `buffer` is for what must be read: whoever passes the same again spares the
    /// kernel new pages, which take longer than the reading.
    pub(super) fn piece<'b>(&'b self, id: SectionId, at: u64, len: u64, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        let end = at.checked_add(len).filter(|end| *end <= self.len(id))?;
        match self.found(id)? {
            Content::Read(bytes) => bytes.get(at as usize..end as usize),
            Content::InFile { at: begin, .. } => {
                let len = usize::try_from(len).ok()?;
                if buffer.len() < len {
                    buffer.resize(len, 0);
                }
                fill(self.file, begin + at, &mut buffer[..len]);
                Some(&buffer[..len])
            }
        }
    }

    /// The text that begins at a place, without its zero.
    pub(super) fn text(&self, id: SectionId, at: u64) -> Option<Vec<u8>> {
        let mut buffer = Vec::new();
        let mut len = 256;
        loop {
            let there = self.len(id).checked_sub(at)?;
            let piece = self.piece(id, at, len.min(there), &mut buffer)?;
            if let Some(end) = piece.iter().position(|byte| *byte == 0) {
                return Some(piece[..end].to_vec());
            }
            if len >= there.min(MAX_TEXT) {
                return None;
            }
            len *= 16;
        }
    }

    fn found(&self, id: SectionId) -> Option<&Content> {
        self.found.iter().find(|(found, _)| *found == id).map(|(_, content)| content)
    }
}

fn in_file(file: &File, section: &Section) -> Option<Content> {
    let end = section.offset.checked_add(section.len)?;
    let there = end <= file.metadata().ok()?.len() && section.len <= MAX_UNPACKED;
    there.then_some(Content::InFile { at: section.offset, len: section.len })
}

fn content(file: &File, section: &Section, left: &mut u64) -> Option<Vec<u8>> {
    let unpacked = section.unpacked.filter(|len| *len <= MAX_UNPACKED)?;
    *left = left.checked_sub(unpacked)?;
    let Some((kind, header)) = section.packed else { return bytes(file, section, 0) };
    let packed = bytes(file, section, header)?;
    match kind {
        elf::ELFCOMPRESS_ZLIB => unpack(ZlibDecoder::new(&*packed), unpacked),
        elf::ELFCOMPRESS_ZSTD => unpack(zstd::stream::read::Decoder::new(&*packed).ok()?, unpacked),
        _ => None,
    }
}

fn older_content(file: &File, section: &Section, left: &mut u64) -> Option<Vec<u8>> {
    let packed = bytes(file, section, 0)?;
    let (len, packed) = packed.strip_prefix(ZLIB)?.split_first_chunk()?;
    let unpacked = Some(u64::from_be_bytes(*len)).filter(|len| *len <= MAX_UNPACKED)?;
    *left = left.checked_sub(unpacked)?;
    unpack(ZlibDecoder::new(packed), unpacked)
}

/// As many bytes as a section says it has, no more.
fn unpack(packed: impl Read, len: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    let mut packed = packed;
    packed.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// A section as it lies in the file, without its first bytes.
fn bytes(file: &File, section: &Section, skip: u64) -> Option<Vec<u8>> {
    let (at, len) = (section.offset.checked_add(skip)?, section.len.checked_sub(skip)?);
    if at.checked_add(len)? > file.metadata().ok()?.len() {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    fill(file, at, &mut bytes);
    Some(bytes)
}

/// What the file says is there and is not, is zeros.
fn fill(file: &File, mut at: u64, mut rest: &mut [u8]) {
    while !rest.is_empty() {
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(read) => {
                rest = &mut rest[read..];
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    rest.fill(0);
}
