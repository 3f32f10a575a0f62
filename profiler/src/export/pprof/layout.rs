//! Where the mappings of a pprof file lie, and so the addresses of its locations.
//!
//! Addresses of processes are random and of no use later; the store has file offsets. An address here is the file offset, which
//! in most position-independent files is the address that the linker gave, and what `go tool pprof -disasm` takes it for. A
//! mapping goes from the page of the first sampled offset to the page after the last one. It is that narrow because pprof
//! looks for the ELF segment that a mapping lies in, and takes a wider one for something else (`ProgramHeadersForMapping`
//! in its `internal/elfexec`). Mappings of different files overlap: locations name their mapping.
//!
//! Kernels and memory without a file have no offsets but addresses, which stay here: their locations are told apart by
//! their functions and have address 0.

use crate::profile::{BinaryKind, FrameKind, StackSamples};

const PAGE: u64 = 4096;

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
    pub(super) fn of(samples: &StackSamples) -> Self {
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
        for ((part, (first, last)), binary) in parts.iter_mut().zip(&spans).zip(&samples.binaries) {
            // A file says how long it is, and may lie.
            let limit = (last / PAGE + 1).checked_mul(PAGE);
            if let (BinaryKind::File | BinaryKind::Vdso, true, Some(limit)) = (binary.kind, first <= last, limit) {
                part.offset = first / PAGE * PAGE;
                (part.start, part.limit) = (part.offset, limit);
            }
        }
        let address = |binary: u32, offset: u64| {
            let part = &parts[binary as usize];
            if part.limit == 0 { 0 } else { part.start + (offset - part.offset) }
        };
        let places = samples
            .places
            .iter()
            .map(|place| (place.binary, place.binary.map_or(0, |binary| address(binary, place.offset))))
            .collect();
        Self { parts, places }
    }
}
