//! From a file to its image: gathers rows from whatever the file has, the best source first.

use std::fs::File;
use std::io::{self, Write};

use gimli::{BaseAddresses, DebugFrame, EhFrame, EhFrameHdr, LittleEndian, Pointer, Vendor};
use thiserror::Error;

use super::code;
use super::dwarf;
use super::elf::{Elf, Machine};
use super::go;
use super::image::Image;
use super::rows::{Rows, RuleTable, fill_holes};
use super::stats::Stats;

/// Most bytes of one section that is read: Chromium's `.eh_frame`, the largest seen, has 12 MiB.
const MAX_SECTION: u64 = 128 << 20;

/// Why a file has no image.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The answer could not be written.
    #[error("the answer could not be written: {0}")]
    Write(#[source] io::Error),
    /// Not an ELF file.
    #[error("not an ELF file")]
    NotElf,
    /// Not for x86-64 or aarch64.
    #[error("a file for another machine")]
    ForeignMachine,
    /// No tables, or none that say anything.
    #[error("no unwind rows")]
    NoRows,
    /// More than is read.
    #[error("{0} is too large")]
    TooLarge(&'static str),
}

impl CompileError {
    /// For the wire. Never renumbered.
    pub fn code(&self) -> u8 {
        match self {
            Self::Read(_) => 1,
            Self::Write(_) => 2,
            Self::NotElf => 3,
            Self::ForeignMachine => 4,
            Self::NoRows => 5,
            Self::TooLarge(_) => 6,
        }
    }

    /// What a code means: the words that a person reads.
    pub fn explain(code: u8) -> &'static str {
        match code {
            1 => "the file could not be read",
            2 => "the answer could not be written",
            3 => "not an ELF file",
            4 => "a file for another machine",
            5 => "the file has no unwind tables",
            6 => "the unwind tables are too large",
            _ => "the unwind tables could not be compiled",
        }
    }
}

/// Compiles an ELF file and writes its encoded image. On an error before writing nothing is written. Reads by `pread` and `statx` only.
///
/// # Errors
/// See [`CompileError`].
pub fn compile_file(file: &File, out: &mut (impl Write + ?Sized)) -> Result<Stats, CompileError> {
    let image = compile(file)?;
    let bytes = image.encode();
    if bytes.len() > Image::MAX_ENCODED {
        return Err(CompileError::TooLarge("the image"));
    }
    out.write_all(&bytes).map_err(CompileError::Write)?;
    Ok(image.stats())
}

/// Compiles an ELF file.
///
/// # Errors
/// See [`CompileError`].
pub fn compile(file: &File) -> Result<Image, CompileError> {
    let elf = Elf::parse(file)?;
    let mut rules = RuleTable::new();
    let mut stats = Stats::default();
    let mut rows = eh_frame(&elf, &mut rules, &mut stats)?;
    rows = fill_holes(rows, go::compile(&elf, &mut rules, &mut stats)?)?;
    rows = fill_holes(rows, debug_frame(&elf, &mut rules, &mut stats)?)?;
    let code = code::compile(&elf, &rows, &mut rules)?;
    rows = fill_holes(rows, code)?;
    Image::build(&rows, rules.into_rules(), stats)
}

/// An image of what the file's tables say, without what can be read from its code.
#[cfg(test)]
pub(super) fn tables_only(file: &File) -> Result<Image, CompileError> {
    let elf = Elf::parse(file)?;
    let (mut rules, mut stats) = (RuleTable::new(), Stats::default());
    let rows = eh_frame(&elf, &mut rules, &mut stats)?;
    Image::build(&rows, rules.into_rules(), stats)
}

/// An image of what can be read from a file's code, without what its tables say.
#[cfg(test)]
pub(super) fn code_only(file: &File) -> Result<Image, CompileError> {
    let mut rules = RuleTable::new();
    let rows = code::compile(&Elf::parse(file)?, &[], &mut rules)?;
    Image::build(&rows, rules.into_rules(), Stats::default())
}

fn vendor(elf: &Elf<'_>) -> Vendor {
    if elf.machine == Machine::Aarch64 { Vendor::AArch64 } else { Vendor::Default }
}

/// By section, or, in a file without sections, by the header that the C++ runtime finds it with.
fn eh_frame(elf: &Elf<'_>, rules: &mut RuleTable, stats: &mut Stats) -> Result<Vec<u64>, CompileError> {
    let (address, bytes) = match elf.section(".eh_frame") {
        Some(section) => (section.address, elf.contents(section, MAX_SECTION)?),
        None => match eh_frame_address(elf)? {
            Some(address) => (address, elf.loaded(address, MAX_SECTION)?),
            None => return Ok(Vec::new()),
        },
    };
    let mut bases = BaseAddresses::default().set_eh_frame(address);
    if let Some(text) = elf.section(".text") {
        bases = bases.set_text(text.address);
    }
    let mut section = EhFrame::new(&bytes, LittleEndian);
    section.set_address_size(8);
    section.set_vendor(vendor(elf));
    let mut rows = Rows::new();
    dwarf::compile(&section, &bases, elf, rules, &mut rows, stats)?;
    Ok(rows.finish())
}

/// What `.eh_frame_hdr` says.
fn eh_frame_address(elf: &Elf<'_>) -> Result<Option<u64>, CompileError> {
    let Some((address, len)) = elf.eh_frame_hdr else { return Ok(None) };
    // Version, three encodings, and the address: what follows, a table for searching, is not read.
    let bytes = elf.loaded(address, len.min(32))?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(address);
    Ok(match EhFrameHdr::new(&bytes, LittleEndian).parse(&bases, 8).map(|header| header.eh_frame_ptr()) {
        Ok(Pointer::Direct(address)) => Some(address),
        _ => None,
    })
}

fn debug_frame(elf: &Elf<'_>, rules: &mut RuleTable, stats: &mut Stats) -> Result<Vec<u64>, CompileError> {
    let bytes = match (elf.section(".debug_frame"), elf.section(".zdebug_frame")) {
        (Some(section), _) => elf.contents(section, MAX_SECTION)?,
        (None, Some(section)) => elf.old_compressed_contents(section, MAX_SECTION)?,
        (None, None) => return Ok(Vec::new()),
    };
    let mut section = DebugFrame::new(&bytes, LittleEndian);
    section.set_address_size(8);
    section.set_vendor(vendor(elf));
    let mut rows = Rows::new();
    dwarf::compile(&section, &BaseAddresses::default(), elf, rules, &mut rows, stats)?;
    Ok(rows.finish())
}
