//! The parts of an ELF file that say how to unwind its code, read by bounded `pread`s: never mapped (a mapped file that is
//! truncated kills its reader), never more than the sections asked for. `man 5 elf`.
//!
//! Everything here is hostile: a header's sizes are believed only as far as the file reaches, and below the caps.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::CompileError;

/// Most program headers looked at; real files have about a dozen.
const MAX_SEGMENTS: usize = 256;
/// Most section headers looked at; `-ffunction-sections` of a linked program leaves tens.
const MAX_SECTIONS: usize = 4096;
/// Most bytes of section names.
const MAX_NAMES: u64 = 1024 * 1024;

/// Bytes of a program header and of a section header.
const SEGMENT: usize = 56;
const SECTION: usize = 64;

const PT_LOAD: u32 = 1;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PF_X: u32 = 1;
const SHT_NOBITS: u32 = 8;
const SHF_EXECINSTR: u64 = 1 << 2;
const SHF_COMPRESSED: u64 = 1 << 11;
const STT_FUNC: u8 = 2;
const ELFCOMPRESS_ZLIB: u32 = 1;
const ELFCOMPRESS_ZSTD: u32 = 2;

/// What the code is for. The tables know two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// Number in DWARF of the stack pointer, the frame pointer and the return address.
    pub(super) fn special_registers(self) -> (u16, u16, u16) {
        match self {
            Self::X86_64 => (7, 6, 16),
            Self::Aarch64 => (31, 29, 30),
        }
    }
}

/// A loaded part of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) offset: u64,
    /// Bytes in the file.
    pub(super) len: u64,
    pub(super) executable: bool,
}

impl Segment {
    fn holds(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|at| at < self.len)
    }
}

/// A named part of the file.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) name: Vec<u8>,
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
    compressed: bool,
    executable: bool,
}

/// Headers of a file.
pub(super) struct Elf<'file> {
    file: &'file File,
    file_len: u64,
    pub(super) machine: Machine,
    /// Where the kernel or the loader jumps to.
    pub(super) entry: u64,
    /// Loaded segments.
    pub(super) segments: Vec<Segment>,
    /// Where `.eh_frame_hdr` is loaded: address and length.
    pub(super) eh_frame_hdr: Option<(u64, u64)>,
    /// Sections with content. Empty in a file whose section headers were stripped.
    pub(super) sections: Vec<Section>,
}

impl<'file> Elf<'file> {
    pub(super) fn parse(file: &'file File) -> Result<Self, CompileError> {
        let file_len = file.metadata().map_err(CompileError::Read)?.len();
        let mut header = [0; 64];
        let got = read_up_to(file, &mut header, 0).map_err(CompileError::Read)?;
        if got < 64 || header[..4] != *b"\x7fELF" {
            return Err(CompileError::NotElf);
        }
        let machine = match (header[4], header[5], u16_at(&header, 18)) {
            (2, 1, 62) => Machine::X86_64,
            (2, 1, 183) => Machine::Aarch64,
            _ => return Err(CompileError::ForeignMachine),
        };
        let entry = u64_at(&header, 24);
        let mut elf =
            Self { file, file_len, machine, entry, segments: Vec::new(), eh_frame_hdr: None, sections: Vec::new() };
        elf.read_segments(u64_at(&header, 32), u16_at(&header, 54), u16_at(&header, 56))?;
        elf.read_sections(u64_at(&header, 40), u16_at(&header, 58), u16_at(&header, 60), u16_at(&header, 62))?;
        Ok(elf)
    }

    fn read_segments(&mut self, table: u64, entry_len: u16, entries: u16) -> Result<(), CompileError> {
        if usize::from(entry_len) != SEGMENT {
            return Err(CompileError::NotElf);
        }
        let table = self.read(table, (usize::from(entries).min(MAX_SEGMENTS) * SEGMENT) as u64)?;
        for entry in table.as_chunks::<SEGMENT>().0 {
            let (kind, flags) = (u32_at(entry, 0), u32_at(entry, 4));
            let (offset, address, len) = (u64_at(entry, 8), u64_at(entry, 16), u64_at(entry, 32));
            // What reaches beyond the file or the address space cannot run.
            let len = len.min(self.file_len.saturating_sub(offset)).min(u64::MAX - address);
            match kind {
                PT_LOAD => self.segments.push(Segment { address, offset, len, executable: flags & PF_X != 0 }),
                PT_GNU_EH_FRAME => self.eh_frame_hdr = Some((address, len)),
                _ => {}
            }
        }
        Ok(())
    }

    /// A file without section headers, or with broken ones, has none: the segments may do.
    fn read_sections(&mut self, table: u64, entry_len: u16, entries: u16, names: u16) -> Result<(), CompileError> {
        if usize::from(entry_len) != SECTION || table == 0 {
            return Ok(());
        }
        let table = self.read(table, (usize::from(entries).min(MAX_SECTIONS) * SECTION) as u64)?;
        let Some(names) = table.as_chunks::<SECTION>().0.get(usize::from(names)) else { return Ok(()) };
        let names = self.read(u64_at(names, 24), u64_at(names, 32).min(MAX_NAMES))?;
        for entry in table.as_chunks::<SECTION>().0.iter().filter(|entry| u32_at(*entry, 4) != SHT_NOBITS) {
            let Some(name) = names.get(u32_at(entry, 0) as usize..) else { continue };
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            self.sections.push(Section {
                name: name.get(..32).unwrap_or(name).to_vec(),
                address: u64_at(entry, 16),
                offset: u64_at(entry, 24),
                len: u64_at(entry, 32),
                executable: u64_at(entry, 8) & SHF_EXECINSTR != 0,
                compressed: u64_at(entry, 8) & SHF_COMPRESSED != 0,
            });
        }
        Ok(())
    }

    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name.as_bytes())
    }

    /// A section's bytes, decompressed; an error if they are more than `cap`.
    pub(super) fn contents(&self, section: &Section, cap: u64) -> Result<Vec<u8>, CompileError> {
        if section.len > cap {
            return Err(CompileError::TooLarge("a section"));
        }
        let bytes = self.read(section.offset, section.len)?;
        if section.compressed { decompress(&bytes, cap) } else { Ok(bytes) }
    }

    /// The bytes of a `.zdebug` section, as Go wrote them before 1.19: "ZLIB", the length, big-endian, and a zlib stream.
    pub(super) fn old_compressed_contents(&self, section: &Section, cap: u64) -> Result<Vec<u8>, CompileError> {
        let bytes = self.contents(section, cap)?;
        let (Some(b"ZLIB"), Some(packed)) = (bytes.get(..4), bytes.get(12..)) else { return Ok(Vec::new()) };
        inflate(packed, u64::from_be_bytes(bytes_at(&bytes, 4)), ELFCOMPRESS_ZLIB, cap)
    }

    /// What is loaded at an address, from there to the end of its segment, `len` bytes at most.
    pub(super) fn loaded(&self, address: u64, len: u64) -> Result<Vec<u8>, CompileError> {
        let Some(segment) = self.segments.iter().find(|segment| segment.holds(address)) else { return Ok(Vec::new()) };
        let at = address - segment.address;
        self.read(segment.offset.saturating_add(at), len.min(segment.len - at))
    }

    /// The executable segment that an address is in.
    pub(super) fn code(&self, address: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.executable && segment.holds(address))
    }

    /// Where instructions are: executable sections, but for those of some name, or segments in a file without sections.
    pub(super) fn code_ranges(&self, but_for: &[u8]) -> Vec<(u64, u64)> {
        let sections = self.sections.iter().filter(|section| section.executable && !section.name.starts_with(but_for));
        let segments = self.segments.iter().filter(|segment| segment.executable && self.sections.is_empty());
        let ranges = sections.map(|section| (section.address, section.len));
        ranges.chain(segments.map(|segment| (segment.address, segment.len))).collect()
    }

    /// Where functions begin, by the symbol tables.
    pub(super) fn functions(&self, cap: u64) -> Vec<u64> {
        let tables = [".symtab", ".dynsym"].into_iter().filter_map(|name| self.section(name));
        let mut found = Vec::new();
        for bytes in tables.filter_map(|table| self.contents(table, cap).ok()) {
            let functions = bytes.as_chunks::<24>().0.iter().filter(|symbol| symbol[4] & 0xf == STT_FUNC);
            found.extend(functions.map(|symbol| u64_at(symbol, 8)));
        }
        found
    }

    /// Bytes of the file, fewer where it ends.
    fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, CompileError> {
        let mut bytes = vec![0; len.min(self.file_len.saturating_sub(offset)) as usize];
        let got = read_up_to(self.file, &mut bytes, offset).map_err(CompileError::Read)?;
        bytes.truncate(got);
        Ok(bytes)
    }
}

/// `Elf64_Chdr` and what follows.
fn decompress(bytes: &[u8], cap: u64) -> Result<Vec<u8>, CompileError> {
    let (Some(header), Some(packed)) = (bytes.get(..24), bytes.get(24..)) else { return Ok(Vec::new()) };
    inflate(packed, u64_at(header, 8), u32_at(header, 0), cap)
}

/// What does not decompress wholly is no section.
fn inflate(packed: &[u8], len: u64, kind: u32, cap: u64) -> Result<Vec<u8>, CompileError> {
    if len > cap {
        return Err(CompileError::TooLarge("a compressed section"));
    }
    let mut content = Vec::new();
    let unpacked = match kind {
        ELFCOMPRESS_ZLIB => flate2::read::ZlibDecoder::new(packed).take(len).read_to_end(&mut content),
        ELFCOMPRESS_ZSTD => {
            zstd::Decoder::with_buffer(packed).and_then(|decoder| decoder.take(len).read_to_end(&mut content))
        }
        _ => return Ok(Vec::new()),
    };
    Ok(if unpacked.is_ok() { content } else { Vec::new() })
}

/// Reads until the buffer is full or the file ends; says how much there is.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        let Some(at) = offset.checked_add(got as u64).filter(|at| i64::try_from(*at).is_ok()) else { break };
        match file.read_at(&mut buffer[got..], at) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Numbers of a little-endian file; 0 beyond the end.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}
