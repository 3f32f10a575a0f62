//! Where the mappings of a pprof file lie, and so the addresses of its locations.
//!
//! Addresses of processes are random and of no use later; the store has file offsets. So each sampled file is laid out anew, as a
//! process could have mapped its executable segment: `address - start + offset` is the offset in the file, by which pprof and others
//! come to the address that the linker gave.
//!
//! - The program with the most samples lies where its linker put it: `go tool pprof -disasm` takes addresses for the linker's
//!   (`ObjAddr` in its `cmd/pprof`, at least until Go 1.19).
//! - All others follow each other from [`FIRST`]: `-disasm` adds up samples by address alone, so that none may be in two files.
//!   No address is its own file offset there, which is a kernel to google's pprof (`kernelBase` in its `internal/elfexec`).
//! - Where the segment is not known a mapping goes from the page of the first sampled offset to the page after the last one: a wider
//!   one is taken for something else (`ProgramHeadersForMapping`, same place).
//!
//! Kernels and memory without a file have no offsets but addresses, which stay here: their locations are told apart by
//! their functions and have address 0.

use crate::profile::{BinaryKind, CodeSegment, FrameKind, StackSamples};

const PAGE: u64 = 4096;
/// Address of the first mapping: above what linkers give, below what pprof takes for the kernel's half.
const FIRST: u64 = 1 << 40;
/// Longest mapping. Beyond it are sparse files that somebody made; their locations have address 0.
const LONGEST: u64 = 1 << 40;
/// No mapping ends above this.
const LAST: u64 = 1 << 62;

/// The sampled part of one binary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Index of the binary.
    pub(super) binary: u32,
    /// First address; 0 where addresses stay here.
    pub(super) start: u64,
    /// Address after the last one.
    pub(super) limit: u64,
    /// File offset of `start`.
    pub(super) offset: u64,
    /// Added to a file offset it is the address, modulo 2^64; `None` where addresses stay here.
    bias: Option<u64>,
    /// Whether all its places have names.
    pub(super) named: bool,
    /// Whether some place has a source file.
    pub(super) has_files: bool,
    /// Whether some place has a line.
    pub(super) has_lines: bool,
    /// Whether inlined functions were looked for, and found at some place.
    pub(super) has_inlined: bool,
}

/// All of them.
pub(super) struct Layout {
    /// By binary.
    pub(super) parts: Vec<Part>,
    /// By place: its part, and its address.
    pub(super) places: Vec<(Option<u32>, u64)>,
}

impl Layout {
    /// `main` is the index of the program that the profile is of.
    pub(super) fn of(samples: &StackSamples, main: Option<usize>) -> Self {
        // First and last offset of each binary.
        let mut spans = vec![(u64::MAX, 0); samples.binaries.len()];
        let mut parts: Vec<_> =
            (0..samples.binaries.len() as u32).map(|binary| Part { binary, named: true, ..Part::default() }).collect();
        for place in &samples.places {
            let Some(binary) = place.binary else { continue };
            let (first, last): &mut (u64, u64) = &mut spans[binary as usize];
            (*first, *last) = ((*first).min(place.offset), (*last).max(place.offset));
            let part = &mut parts[binary as usize];
            part.named &= place.named;
            for at in &place.lines {
                part.has_files |= samples.functions[at.function as usize].file.is_some();
                part.has_lines |= at.line > 0;
                part.has_inlined |= at.kind == FrameKind::Inlined;
            }
        }
        let mut next = FIRST;
        for (((nth, part), span), binary) in parts.iter_mut().enumerate().zip(&spans).zip(&samples.binaries) {
            if !matches!(binary.kind, BinaryKind::File | BinaryKind::Vdso) || span.0 > span.1 {
                continue;
            }
            let code = binary.code.filter(|code| covers(code, *span));
            let (first, last) = code.map_or(*span, |code| (code.offset, code.offset + (code.len - 1)));
            let offset = first / PAGE * PAGE;
            let length = last / PAGE * PAGE - offset + PAGE;
            if length > LONGEST || next + length > LAST {
                continue;
            }
            let linked = code.filter(|_| Some(nth) == main).map(|code| code.address / PAGE * PAGE);
            part.start = match linked.filter(|start| *start < FIRST && length < FIRST - start) {
                Some(start) => start,
                None => {
                    let start = next;
                    // A page between two, so that nothing takes them for one.
                    next += length + PAGE;
                    start
                }
            };
            (part.limit, part.offset) = (part.start + length, offset);
            part.bias = Some(part.start.wrapping_sub(offset));
        }
        let address =
            |binary: u32, offset: u64| parts[binary as usize].bias.map_or(0, |bias| offset.wrapping_add(bias));
        let places = samples
            .places
            .iter()
            .map(|place| (place.binary, place.binary.map_or(0, |binary| address(binary, place.offset))))
            .collect();
        Self { parts, places }
    }
}

/// Whether a segment makes sense and the offsets lie in it. Its file says where it is, and may lie.
fn covers(code: &CodeSegment, (first, last): (u64, u64)) -> bool {
    let end = code.len.checked_sub(1).and_then(|len| code.offset.checked_add(len));
    code.offset % PAGE == code.address % PAGE && code.offset <= first && end.is_some_and(|end| last <= end)
}
