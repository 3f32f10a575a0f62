//! A copy of the parts of an ELF file that name its code, for parsers that map their file. Runs in the child only.
//!
//! The file is foreign and may shrink or change at any time: mapped, that would be a SIGBUS; read into a copy, it is at worst a
//! copy that makes no sense. The copy is a sparse memfd with everything where it is in the file, and holes for what names
//! nothing. Sections that are left out lose their name in the copy: those that lead to other files, those that claim to be
//! larger than we would unpack, and the debug information that tells of variables and types only.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use lzma_rust2::XzReader;
use object::elf;

use super::contents::Contents;
use crate::profile::{NameSource, NameSources};

/// Most bytes copied. Chromium's debug information has about 1 GiB.
const MAX_COPIED: u64 = 1 << 30;
/// Largest section after unpacking.
pub(super) const MAX_UNPACKED: u64 = 512 << 20;
/// Bytes copied at a time.
const CHUNK: usize = 256 << 10;
/// Memory for unpacking `.gnu_debugdata`, in KiB; `xz -9` takes 65 MiB.
const UNXZ_MEMORY: u32 = 100 << 10;

/// Sections of debug information that say which function and line an address belongs to.
const NAMING: [&[u8]; 13] = [
    b"abbrev",
    b"addr",
    b"aranges",
    b"info",
    b"line",
    b"line_str",
    b"ranges",
    b"rnglists",
    b"str",
    b"str_offsets",
    b"types",
    b"cu_index",
    b"tu_index",
];

/// Copies what names code, with or without debug information. `None` when the file says what makes no sense.
pub(super) fn copy_naming_parts(
    file: &File,
    contents: &Contents,
    copy: &File,
    debug_info: bool,
    allowed: NameSources,
) -> Option<()> {
    let mut budget = MAX_COPIED;
    let mut put = |from: u64, len: u64| copy_range(file, copy, from, len, &mut budget);
    contents.headers.iter().try_for_each(|(from, len)| put(*from, *len))?;
    for section in contents.sections.iter().filter(|section| section.kind != elf::SHT_NOBITS) {
        let wanted = match section.kind {
            elf::SHT_SYMTAB => allowed.has(NameSource::Symtab),
            elf::SHT_DYNSYM => allowed.has(NameSource::Dynsym),
            elf::SHT_STRTAB | elf::SHT_SYMTAB_SHNDX | elf::SHT_NOTE => true,
            _ => debug_info && is_naming(&section.name),
        };
        let fits = section.unpacked.is_some_and(|len| len <= MAX_UNPACKED);
        if section.names || (wanted && fits) {
            put(section.offset, section.len)?;
        } else {
            // No name: nobody looks for it any more.
            copy.write_all_at(&[0; 4], section.header).ok()?;
        }
    }
    Some(())
}

fn is_naming(name: &[u8]) -> bool {
    let name = name.strip_prefix(b".debug_").or_else(|| name.strip_prefix(b".zdebug_")).unwrap_or_default();
    // A package of split debug information has an index of them all.
    NAMING.contains(&name) || name.ends_with(b".dwo")
}

/// Unpacks `.gnu_debugdata`, a small ELF file with a symbol table, as far as there is room. `None` when it is not whole.
pub(super) fn unpack_debug_data(file: &File, contents: &Contents, into: &File) -> Option<()> {
    let section = contents.section(b".gnu_debugdata")?;
    let packed = Range { file, at: section.offset, end: section.offset.checked_add(section.len)? };
    let mut unpacked = XzReader::new_mem_limit(packed, false, UNXZ_MEMORY);
    let mut out = At { file: into, at: 0 };
    io::copy(&mut unpacked, &mut out).ok().map(drop)
}

/// `None` when it lies outside of the file or over the budget. Bytes that are gone by now stay zero.
fn copy_range(file: &File, copy: &File, from: u64, len: u64, budget: &mut u64) -> Option<()> {
    let end = from.checked_add(len)?;
    *budget = budget.checked_sub(len)?;
    let mut buffer = vec![0; CHUNK.min(usize::try_from(len).ok()?)];
    let mut at = from;
    while at < end {
        let piece = buffer.len().min(usize::try_from(end - at).ok()?);
        match file.read_at(&mut buffer[..piece], at) {
            Ok(0) => break,
            Ok(read) => {
                copy.write_all_at(&buffer[..read], at).ok()?;
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    Some(())
}

/// Reads a part of a file.
struct Range<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl io::Read for Range<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..len], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Writes a file from a place on.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl io::Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
