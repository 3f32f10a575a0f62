//! The GNU build id of an ELF file, read by a few bounded reads and never by a mapping (a mapped file that is truncated
//! kills its reader).
//!
//! Anything odd is `None`. At most [`MAX_HEADERS`] program headers and [`MAX_NOTE`] bytes of each note segment are looked at;
//! the kernel's own parser stops at the first page.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::profile::{BuildId, CodeSegment};

/// Most program headers read; real files have about a dozen.
const MAX_HEADERS: usize = 256;
/// Most bytes read of one note segment; real ones are below 200.
const MAX_NOTE: u64 = 64 * 1024;
/// Most note segments read; real files have one to three.
const MAX_NOTES: usize = 16;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Flag of a program header: the segment is code.
const PF_X: u32 = 1;
const NT_GNU_BUILD_ID: u32 = 3;

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elf {
    /// Not an ELF file of this machine's byte order.
    Not,
    /// An ELF file, with its build id if it has one.
    Is(Option<BuildId>),
}

/// Looks whether a file is ELF, and for its build id.
pub(super) fn read_elf(file: &File) -> Elf {
    let mut header = [0; 64];
    let got = read_up_to(file, &mut header, 0);
    let Some(layout) = Layout::of(&header[..got]) else { return Elf::Not };
    Elf::Is(read_build_id(file, &header[..got], layout))
}

/// The build id of a file, if it is an ELF file with one.
#[must_use]
pub fn build_id_of(file: &File) -> Option<BuildId> {
    if let Elf::Is(build_id) = read_elf(file) { build_id } else { None }
}

/// The GNU build id in a block of notes.
pub(super) fn build_id_note(mut notes: &[u8]) -> Option<BuildId> {
    // name size, descriptor size, type, then name and descriptor, each padded to four bytes (`man 5 elf`).
    while notes.len() >= 12 {
        let word = |at| read_u32(notes, at).map(|n| n as usize);
        let (name_len, descriptor_len, kind) = (word(0)?, word(4)?, word(8)?);
        let name = notes.get(12..12_usize.checked_add(name_len)?)?;
        let at = 12_usize.checked_add(name_len.checked_next_multiple_of(4)?)?;
        let descriptor = notes.get(at..at.checked_add(descriptor_len)?)?;
        if kind == NT_GNU_BUILD_ID as usize && name == b"GNU\0" {
            return BuildId::new(descriptor);
        }
        notes = notes.get(at.checked_add(descriptor_len.checked_next_multiple_of(4)?)?..).unwrap_or_default();
    }
    None
}

/// Where the fields are: 64-bit and 32-bit files differ.
#[derive(Clone, Copy)]
struct Layout {
    wide: bool,
}

impl Layout {
    fn of(header: &[u8]) -> Option<Self> {
        let little_endian = cfg!(target_endian = "little");
        match header {
            [0x7f, b'E', b'L', b'F', class @ (1 | 2), order @ (1 | 2), ..] if (*order == 1) == little_endian => {
                Some(Self { wide: *class == 2 })
            }
            _ => None,
        }
    }
}

/// A program header.
#[derive(Clone, Copy)]
struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    len: u64,
}

/// The program headers of a file; none where they are odd.
fn segments(file: &File, header: &[u8], layout: Layout) -> Vec<Segment> {
    read_segments(file, header, layout).unwrap_or_default()
}

fn read_segments(file: &File, header: &[u8], layout: Layout) -> Option<Vec<Segment>> {
    let (table, entry_len, entries) = if layout.wide {
        (read_u64(header, 32)?, read_u16(header, 54)?, read_u16(header, 56)?)
    } else {
        (u64::from(read_u32(header, 28)?), read_u16(header, 42)?, read_u16(header, 44)?)
    };
    let least = if layout.wide { 56 } else { 32 };
    let entry_len = usize::from(entry_len);
    if entry_len < least || entry_len > 256 {
        return None;
    }
    let mut headers = vec![0; entry_len * usize::from(entries).min(MAX_HEADERS)];
    let got = read_up_to(file, &mut headers, table);
    let segment = |entry: &[u8]| {
        let kind = read_u32(entry, 0)?;
        Some(if layout.wide {
            let flags = read_u32(entry, 4)?;
            let (offset, address, len) = (read_u64(entry, 8)?, read_u64(entry, 16)?, read_u64(entry, 32)?);
            Segment { kind, flags, offset, address, len }
        } else {
            let number = |at| read_u32(entry, at).map(u64::from);
            let (offset, address, len) = (number(4)?, number(8)?, number(16)?);
            Segment { kind, flags: read_u32(entry, 24)?, offset, address, len }
        })
    };
    Some(headers[..got].chunks_exact(entry_len).filter_map(segment).collect())
}

fn read_build_id(file: &File, header: &[u8], layout: Layout) -> Option<BuildId> {
    let notes = segments(file, header, layout).into_iter().filter(|segment| segment.kind == PT_NOTE);
    notes.take(MAX_NOTES).find_map(|segment| {
        let mut note = vec![0; segment.len.min(MAX_NOTE) as usize];
        let got = read_up_to(file, &mut note, segment.offset);
        build_id_note(&note[..got])
    })
}

/// Where the code of an ELF file lies: its executable segments. None of what is no ELF file.
pub(super) fn executable_segments(file: &File) -> Vec<CodeSegment> {
    let mut header = [0; 64];
    let got = read_up_to(file, &mut header, 0);
    let Some(layout) = Layout::of(&header[..got]) else { return Vec::new() };
    let code = segments(file, &header[..got], layout).into_iter();
    code.filter(|segment| segment.kind == PT_LOAD && segment.flags & PF_X != 0)
        .map(|Segment { offset, address, len, .. }| CodeSegment { offset, address, len })
        .collect()
}

/// Reads until the buffer is full, the file ends or a read fails; says how much there is.
pub(super) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    let mut got = 0;
    while got < buffer.len() {
        let Some(at) = offset.checked_add(got as u64) else { break };
        match file.read_at(&mut buffer[got..], at) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    got
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// The smallest 64-bit file with one note segment.
    fn elf_with_note(note: &[u8]) -> Vec<u8> {
        let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        elf.resize(64, 0);
        elf[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        elf[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        elf[56..58].copy_from_slice(&1_u16.to_ne_bytes());
        elf.extend(PT_NOTE.to_ne_bytes());
        elf.resize(64 + 56, 0);
        elf[72..80].copy_from_slice(&120_u64.to_ne_bytes());
        elf[96..104].copy_from_slice(&(note.len() as u64).to_ne_bytes());
        elf.extend(note);
        elf
    }

    fn note(name: &[u8], kind: u32, descriptor: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        [name.len() as u32, descriptor.len() as u32, kind].iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
        for part in [name, descriptor] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    /// The build id is found behind other notes, whatever their padding.
    #[test]
    fn the_build_id_is_found_among_other_notes() {
        let id = [7; 20];
        let notes = [note(b"GNU\0", 1, &[1; 16]), note(b"stapsdt\0", 3, &[9; 5]), note(b"GNU\0", 3, &id)].concat();
        assert_eq!(read_elf(&file_of(&elf_with_note(&notes))), Elf::Is(BuildId::new(&id)));
        let too_long = note(b"GNU\0", 3, &[1; 21]);
        assert_eq!(read_elf(&file_of(&elf_with_note(&too_long))), Elf::Is(None));
    }

    /// The C library's id is the one that readelf prints.
    #[test]
    fn it_agrees_with_readelf() {
        let exe = std::env::current_exe().unwrap();
        let printed = std::process::Command::new("readelf").arg("-n").arg(&exe).output();
        let Ok(printed) = printed else { return };
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        let expected = printed.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
        let Elf::Is(found) = read_elf(&File::open(exe).unwrap()) else { panic!("we are an ELF file") };
        assert_eq!(found.map(|id| id.to_string()).as_deref(), expected);
    }

    /// Code lies where readelf says that it does.
    #[test]
    fn code_lies_where_readelf_says() {
        let exe = std::env::current_exe().unwrap();
        let printed = std::process::Command::new("readelf").arg("-lW").arg(&exe).output().unwrap();
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        // Type, offset, address, physical address, length in the file, in memory, flags.
        let row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| u64::from_str_radix(words.get(at)?.strip_prefix("0x")?, 16).ok();
            let is_code = words.first() == Some(&"LOAD") && words.contains(&"E");
            is_code.then(|| Some(CodeSegment { offset: number(1)?, address: number(2)?, len: number(4)? }))?
        };
        let expected: Vec<_> = printed.lines().filter_map(row).collect();
        assert!(!expected.is_empty(), "{printed}");
        assert_eq!(executable_segments(&File::open(exe).unwrap()), expected);
    }

    /// Text, nothing and a foreign byte order are no ELF.
    #[test]
    fn other_files_are_not_elf() {
        assert_eq!(read_elf(&file_of(b"#!/bin/sh\n")), Elf::Not);
        assert_eq!(read_elf(&file_of(b"")), Elf::Not);
        let mut foreign = elf_with_note(&note(b"GNU\0", 3, &[7; 20]));
        foreign[5] = 2;
        assert_eq!(read_elf(&file_of(&foreign)), Elf::Not);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        /// A file with any bytes flipped, or cut anywhere, is read without a panic.
        #[test]
        fn hostile_files_are_survived(
            flips in proptest::collection::vec((0_usize..200, any::<u8>()), 0..12), cut in 0_usize..200
        ) {
            let mut elf = elf_with_note(&note(b"GNU\0", 3, &[7; 20]));
            for (at, byte) in flips {
                if let Some(slot) = elf.get_mut(at) {
                    *slot = byte;
                }
            }
            elf.truncate(cut);
            read_elf(&file_of(&elf));
        }
    }
}
