//! A copy of the parts of an ELF file that name its code, for parsers that map their file. Runs in the child only.
//!
//! The file is foreign and may shrink or change at any time: mapped, that would be a SIGBUS; read into a copy, it is at worst a
//! copy that makes no sense. The copy is a sparse memfd with everything where it is in the file, and holes for what names
//! nothing. Sections that are left out lose their name in the copy: those that lead to other files, those that claim to be
//! larger than we would unpack, and the debug information that tells of variables and types only.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, FileKind, ReadCache, ReadCacheOps, elf};

/// Most bytes copied. Chromium's debug information has about 1 GiB.
const MAX_COPIED: u64 = 1 << 30;
/// Largest section after unpacking.
const MAX_UNPACKED: u64 = 512 << 20;
/// Most bytes of headers read: 65,535 sections have 4 MiB of them.
const MAX_HEADERS: u64 = 16 << 20;
/// Bytes copied at a time.
const CHUNK: usize = 256 << 10;

/// Sections of debug information that say which function and line an address belongs to.
const NAMING: [&str; 14] = [
    "abbrev",
    "addr",
    "aranges",
    "info",
    "line",
    "line_str",
    "ranges",
    "rnglists",
    "str",
    "str_offsets",
    "types",
    "cu_index",
    "tu_index",
    "sup",
];

/// What is in the copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// DWARF.
    pub debug_info: bool,
    /// A full symbol table.
    pub symtab: bool,
}

/// Copies what names code, with or without debug information; `None` when it is no ELF file or makes no sense.
pub(super) fn copy_naming_parts(file: &File, copy: &File, with_debug_info: bool) -> Option<Copied> {
    let cache = ReadCache::new(Bounded { file, at: 0, left: MAX_HEADERS });
    match FileKind::parse(&cache).ok()? {
        FileKind::Elf32 => copy_elf::<elf::FileHeader32<Endianness>>(file, &cache, copy, with_debug_info),
        FileKind::Elf64 => copy_elf::<elf::FileHeader64<Endianness>>(file, &cache, copy, with_debug_info),
        _ => None,
    }
}

fn copy_elf<Elf: FileHeader<Endian = Endianness>>(
    file: &File,
    cache: &ReadCache<Bounded<'_>>,
    copy: &File,
    with_debug_info: bool,
) -> Option<Copied> {
    let header = Elf::parse(cache).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, cache).ok()?;
    let sections = header.section_headers(endian, cache).ok()?;
    let strings = header.section_strings_index(endian, cache).ok();
    let names = header.section_strings(endian, cache, sections).ok();
    let mut budget = MAX_COPIED;
    let mut put = |from: u64, len: u64| copy_range(file, copy, from, len, &mut budget);
    put(0, size_of::<Elf>() as u64)?;
    put(header.e_phoff(endian).into(), size_of_val(segments) as u64)?;
    let table: u64 = header.e_shoff(endian).into();
    put(table, size_of_val(sections) as u64)?;
    let mut copied = Copied::default();
    for (index, section) in sections.iter().enumerate() {
        let name = names.as_ref().and_then(|names| section.name(endian, *names).ok()).unwrap_or_default();
        let kind = section.sh_type(endian);
        let wanted = match kind {
            elf::SHT_SYMTAB | elf::SHT_DYNSYM | elf::SHT_STRTAB | elf::SHT_SYMTAB_SHNDX | elf::SHT_NOTE => true,
            _ => with_debug_info && is_naming(name),
        };
        let len: u64 = section.sh_size(endian).into();
        let fits = unpacked_size::<Elf>(section, endian, cache).is_some_and(|len| len <= MAX_UNPACKED);
        if kind == elf::SHT_NOBITS {
            continue;
        }
        if Some(index) == strings.map(|strings| strings.0) || (wanted && fits) {
            put(section.sh_offset(endian).into(), len)?;
            copied.debug_info |= matches!(name, b".debug_info" | b".zdebug_info");
            copied.symtab |= kind == elf::SHT_SYMTAB;
        } else {
            // No name: nobody looks for it any more.
            let at = table + index as u64 * size_of::<Elf::SectionHeader>() as u64;
            copy.write_all_at(&[0; 4], at).ok()?;
        }
    }
    Some(copied)
}

fn is_naming(name: &[u8]) -> bool {
    let name = name.strip_prefix(b".debug_").or_else(|| name.strip_prefix(b".zdebug_")).unwrap_or_default();
    NAMING.iter().any(|naming| naming.as_bytes() == name && *naming != "sup")
}

/// What a section says its size is once unpacked; `None` when what it says makes no sense.
fn unpacked_size<Elf: FileHeader<Endian = Endianness>>(
    section: &Elf::SectionHeader,
    endian: Endianness,
    cache: &ReadCache<Bounded<'_>>,
) -> Option<u64> {
    use object::read::elf::CompressionHeader;

    let len: u64 = section.sh_size(endian).into();
    let flags: u64 = section.sh_flags(endian).into();
    if flags & u64::from(elf::SHF_COMPRESSED) == 0 {
        return Some(len);
    }
    let offset: u64 = section.sh_offset(endian).into();
    let header: &Elf::CompressionHeader = object::ReadRef::read_at(cache, offset).ok()?;
    Some(header.ch_size(endian).into())
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

/// Reads headers, and no more of them than is reasonable, whatever the file says about itself.
struct Bounded<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl ReadCacheOps for Bounded<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        self.file.metadata().map(|stat| stat.len()).map_err(|_| ())
    }

    fn seek(&mut self, at: u64) -> Result<u64, ()> {
        self.at = at;
        Ok(at)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        self.left = self.left.checked_sub(buffer.len() as u64).ok_or(())?;
        let read = self.file.read_at(buffer, self.at).map_err(|_| ())?;
        self.at += read as u64;
        Ok(read)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.left = self.left.checked_sub(buffer.len() as u64).ok_or(())?;
        self.file.read_exact_at(buffer, self.at).map_err(|_| ())?;
        self.at += buffer.len() as u64;
        Ok(())
    }
}
