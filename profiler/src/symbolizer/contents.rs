//! What an ELF file has to name its code with, read by a few bounded reads. Runs in the child only.

use std::fs::File;
use std::os::unix::fs::FileExt;

use object::read::elf::{CompressionHeader, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, FileKind, ReadCache, ReadCacheOps, ReadRef, elf};

use crate::profile::{NameSource, NameSources};

/// Most bytes of headers and links read: 65,535 sections have 4 MiB of headers.
const MAX_HEADERS: u64 = 16 << 20;
/// Longest link to another file: a path and a build id.
const MAX_LINK: u64 = 4096 + 64;

/// What stands in a file, as far as names are concerned. Everything but the segments goes to the parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// DWARF.
    pub debug_info: bool,
    /// A full symbol table.
    pub symtab: bool,
    /// A table of exported functions.
    pub dynsym: bool,
    /// A compressed symbol table (`.gnu_debugdata`).
    pub debug_data: bool,
    /// Go's own table.
    pub go: bool,
    /// Debug information that lies in other files (`.dwo`, `.dwp`), as far as a section tells.
    pub split: bool,
    /// Name of the file with the debug information, without a folder.
    pub link: Option<String>,
    /// The checksum that this file has (CRC-32 of all of it).
    pub link_checksum: Option<u32>,
    /// Path and build id of the file with what several files' debug information has in common.
    pub shared: Option<(String, Vec<u8>)>,
}

impl Facts {
    /// Whether it tells of all its functions, not only of those it exports.
    pub fn has_functions(&self) -> bool {
        self.symtab || self.debug_info || self.debug_data || self.go
    }

    /// What is left of it when names may come from these sources only.
    pub fn only(mut self, sources: NameSources) -> Self {
        self.debug_info &= sources.has(NameSource::Dwarf);
        self.symtab &= sources.has(NameSource::Symtab);
        self.dynsym &= sources.has(NameSource::Dynsym);
        self.debug_data &= sources.has(NameSource::GnuDebugdata);
        self.go &= sources.has(NameSource::Go);
        self.shared = self.shared.filter(|_| sources.has(NameSource::Dwz));
        self
    }
}

/// A section, as far as it is needed.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub name: Vec<u8>,
    pub kind: u32,
    pub offset: u64,
    pub len: u64,
    /// Where it is loaded; 0 when it is not.
    pub address: u64,
    /// Bytes of one entry, where it has entries of one size.
    pub entry: u64,
    /// Once unpacked; `None` when it is compressed and says nothing that makes sense.
    pub unpacked: Option<u64>,
    /// How it is compressed (`ch_type`), and the length of the header that says so; `None` when it is not.
    pub packed: Option<(u32, u64)>,
    /// Where its header lies.
    pub header: u64,
    /// It holds the names of the sections.
    pub names: bool,
}

/// A part of the file that is mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub offset: u64,
    pub len: u64,
    pub address: u64,
    pub executable: bool,
}

/// An ELF file's headers.
#[derive(Debug)]
pub(super) struct Contents {
    pub facts: Facts,
    pub big_endian: bool,
    /// For which processor (`e_machine`).
    pub machine: u16,
    pub sections: Vec<Section>,
    pub segments: Vec<Segment>,
    /// Where headers lie: file header, program headers, section headers.
    pub headers: [(u64, u64); 3],
}

impl Contents {
    /// `None` when it is no ELF file or makes no sense.
    pub fn of(file: &File) -> Option<Self> {
        let cache = ReadCache::new(Bounded { file, at: 0, left: MAX_HEADERS });
        match FileKind::parse(&cache).ok()? {
            FileKind::Elf32 => read::<elf::FileHeader32<Endianness>>(&cache),
            FileKind::Elf64 => read::<elf::FileHeader64<Endianness>>(&cache),
            _ => None,
        }
    }

    /// The address that the linker gave to what lies at an offset of the file.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let segment = self.segment_of(offset)?;
        segment.address.checked_add(offset - segment.offset)
    }

    /// The segment that an offset of the file lies in.
    pub fn segment_of(&self, offset: u64) -> Option<Segment> {
        let covers = |segment: &&Segment| offset.checked_sub(segment.offset).is_some_and(|at| at < segment.len);
        self.segments.iter().find(covers).copied()
    }

    /// The loaded section that an address lies in.
    pub fn section_at(&self, address: u64) -> Option<&Section> {
        let covers = |section: &&Section| {
            section.address != 0 && address.checked_sub(section.address).is_some_and(|at| at < section.len)
        };
        self.sections.iter().find(covers)
    }

    /// A section by its name.
    pub fn section(&self, name: &[u8]) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name && section.kind != elf::SHT_NOBITS)
    }
}

fn read<Elf: FileHeader<Endian = Endianness>>(cache: &ReadCache<Bounded<'_>>) -> Option<Contents> {
    let header = Elf::parse(cache).ok()?;
    let endian = header.endian().ok()?;
    let program = header.program_headers(endian, cache).ok()?;
    let table = header.section_headers(endian, cache).ok()?;
    let strings = header.section_strings_index(endian, cache).ok();
    let names = header.section_strings(endian, cache, table).ok();
    let begin: u64 = header.e_shoff(endian).into();
    let sections = table.iter().enumerate().map(|(index, section)| {
        let (unpacked, packed) = unpacked::<Elf>(section, endian, cache);
        Section {
            name: names.and_then(|names| section.name(endian, names).ok()).unwrap_or_default().to_vec(),
            kind: section.sh_type(endian),
            offset: section.sh_offset(endian).into(),
            len: section.sh_size(endian).into(),
            address: section.sh_addr(endian).into(),
            entry: section.sh_entsize(endian).into(),
            unpacked,
            packed,
            header: begin.saturating_add(index as u64 * size_of::<Elf::SectionHeader>() as u64),
            names: strings.is_some_and(|strings| strings.0 == index),
        }
    });
    let loaded = program.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
    let segments = loaded.map(|segment| Segment {
        offset: segment.p_offset(endian).into(),
        len: segment.p_filesz(endian).into(),
        address: segment.p_vaddr(endian).into(),
        executable: segment.p_flags(endian) & elf::PF_X != 0,
    });
    let headers = [
        (0, size_of::<Elf>() as u64),
        (header.e_phoff(endian).into(), size_of_val(program) as u64),
        (begin, size_of_val(table) as u64),
    ];
    let (sections, segments) = (sections.collect(), segments.collect());
    let machine = header.e_machine(endian);
    let big_endian = endian == Endianness::Big;
    let mut contents = Contents { facts: Facts::default(), big_endian, machine, sections, segments, headers };
    contents.facts = facts(&contents, cache);
    Some(contents)
}

fn facts(contents: &Contents, cache: &ReadCache<Bounded<'_>>) -> Facts {
    let has = |name: &str| contents.section(name.as_bytes()).is_some();
    let has_kind = |kind| contents.sections.iter().any(|section| section.kind == kind);
    let text = |name: &str| {
        let section = contents.section(name.as_bytes()).filter(|section| section.len <= MAX_LINK)?;
        let bytes = cache.read_bytes_at(section.offset, section.len).ok()?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some((std::str::from_utf8(&bytes[..end]).ok()?.to_owned(), bytes[end + 1..].to_vec()))
    };
    let link = text(".gnu_debuglink").filter(|(name, _)| !name.contains('/') && !name.is_empty());
    // The name and its zero are filled up to four bytes; the checksum is in the order of the file. (`info gdb`, "Separate Debug Files".)
    let checksum = link.as_ref().and_then(|(name, rest)| {
        let at = (name.len() + 1).next_multiple_of(4) - (name.len() + 1);
        let bytes = rest.get(at..at + 4)?.try_into().ok()?;
        Some(if contents.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    });
    Facts {
        debug_info: has(".debug_info") || has(".zdebug_info"),
        symtab: has_kind(elf::SHT_SYMTAB),
        dynsym: has_kind(elf::SHT_DYNSYM),
        debug_data: has(".gnu_debugdata"),
        split: has(".debug_addr"),
        // Linkers other than Go's put the table among other data.
        go: [".gopclntab", ".data.rel.ro.gopclntab", ".go.buildinfo", ".note.go.buildid"].into_iter().any(has),
        link: link.map(|(name, _)| name),
        link_checksum: checksum,
        shared: text(".gnu_debugaltlink").filter(|(path, id)| !path.is_empty() && (8..=20).contains(&id.len())),
    }
}

/// What a section says its size is once unpacked, and how it is packed; no size when what it says makes no sense.
fn unpacked<Elf: FileHeader<Endian = Endianness>>(
    section: &Elf::SectionHeader,
    endian: Endianness,
    cache: &ReadCache<Bounded<'_>>,
) -> (Option<u64>, Option<(u32, u64)>) {
    let flags: u64 = section.sh_flags(endian).into();
    if flags & u64::from(elf::SHF_COMPRESSED) == 0 {
        return (Some(section.sh_size(endian).into()), None);
    }
    let header: Result<&Elf::CompressionHeader, ()> = cache.read_at(section.sh_offset(endian).into());
    header.map_or((None, None), |header| {
        let len = size_of::<Elf::CompressionHeader>() as u64;
        (Some(header.ch_size(endian).into()), Some((header.ch_type(endian), len)))
    })
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
