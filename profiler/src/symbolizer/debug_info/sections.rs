//! The sections of debug information in memory, unpacked. The file is foreign: it is read once, by `pread`, and never mapped.

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
/// Most bytes of them. Chromium's debug information has about 1 GiB.
const MAX_BYTES: u64 = 1 << 30;
/// Before a section of older compilers, `.zdebug_`: this, and its length in eight bytes, the highest first.
const ZLIB: &[u8; 4] = b"ZLIB";

/// What a file has of debug information.
#[derive(Debug)]
pub struct Sections {
    endian: RunTimeEndian,
    found: Vec<(SectionId, Vec<u8>)>,
}

impl Sections {
    /// Reads them. A section that is damaged, or claims to be larger than we would unpack, is as if it were not there. `None` when
    /// there are no units at all.
    pub fn read(file: &File, contents: &Contents) -> Option<Self> {
        let endian = if contents.big_endian { RunTimeEndian::Big } else { RunTimeEndian::Little };
        let mut left = MAX_BYTES;
        let mut found = Vec::new();
        for id in NAMING {
            let name = id.name();
            let older = format!(".z{}", &name[1..]);
            let bytes = match (contents.section(name.as_bytes()), contents.section(older.as_bytes())) {
                (Some(section), _) => content(file, section, &mut left),
                (None, Some(section)) => older_content(file, section, &mut left),
                (None, None) => None,
            };
            found.extend(bytes.map(|bytes| (id, bytes)));
        }
        let sections = Self { endian, found };
        (!sections.section(SectionId::DebugInfo).is_empty()).then_some(sections)
    }

    /// For gimli.
    pub(super) fn dwarf(&self) -> Dwarf<Reader<'_>> {
        Dwarf::load(|id| Ok::<_, gimli::Error>(self.section(id))).unwrap_or_default()
    }

    fn section(&self, id: SectionId) -> Reader<'_> {
        let found = self.found.iter().find(|(found, _)| *found == id);
        EndianSlice::new(found.map_or(&[], |(_, bytes)| bytes), self.endian)
    }
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

/// A section as it lies in the file, without its first bytes. What the file says is there and is not, is zeros.
fn bytes(file: &File, section: &Section, skip: u64) -> Option<Vec<u8>> {
    let (mut at, len) = (section.offset.checked_add(skip)?, section.len.checked_sub(skip)?);
    let end = at.checked_add(len)?;
    if end > file.metadata().ok()?.len() {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    let mut rest = &mut bytes[..];
    while at < end {
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
    Some(bytes)
}
