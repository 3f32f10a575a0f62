//! The runtime's description of a Go module: where its code and data are. Stripping leaves it, but no symbol leads to it; it is known by
//! what it begins with, the addresses of the table of names and of two of its parts. Facts: Go's `src/runtime/symtab.go`
//! (`moduledata`), 1.16 to today.

use std::collections::HashMap;

use super::elf::{Elf, u64_at};
use super::go::MAX_TABLE;

/// Where the address of the code is.
pub(super) const TEXT: u64 = 176;
/// So much of a description is looked at.
const LEN: u64 = 384;
/// Most places of a file that may have the table's address.
const MAX_PLACES: usize = 8;

/// The words of a description, by their place.
pub(super) struct Module(HashMap<u64, u64>);

impl Module {
    /// The description of the module with a table of names, by the table's address and where in it names and the units' files are.
    pub(super) fn find(elf: &Elf<'_>, table: u64, names: usize, units: usize) -> Option<Self> {
        let part = |offset: usize| table.wrapping_add(offset as u64);
        // The table; then slices, of three words, of the names and of the units' files.
        let words = [(0, table), (8, part(names)), (32, part(units))];
        Self::in_data(elf, &words).or_else(|| Self::in_relocations(elf, &words))
    }

    /// One of its words.
    pub(super) fn word(&self, at: u64) -> Option<u64> {
        self.0.get(&at).copied()
    }

    /// The words, by their place, of the description that begins with these.
    fn in_data(elf: &Elf<'_>, words: &[(u64, u64); 3]) -> Option<Self> {
        let sections = [".go.module", ".noptrdata", ".data"].into_iter().filter_map(|name| elf.section(name));
        let segments = elf.segments.iter().filter(|segment| elf.sections.is_empty() && !segment.executable);
        let sections = sections.map(|section| elf.contents(section, MAX_TABLE));
        let segments = segments.map(|segment| elf.loaded(segment.address, segment.len.min(MAX_TABLE)));
        for bytes in sections.chain(segments).flatten() {
            let word = |at: usize| bytes.get(at..).filter(|rest| rest.len() >= 8).map(|rest| u64_at(rest, 0));
            // The linker aligns it.
            let is_start = |start: &usize| words.iter().all(|(at, value)| word(start + *at as usize) == Some(*value));
            if let Some(start) = (0..bytes.len()).step_by(8).find(is_start) {
                let words = (0..LEN).step_by(8).filter_map(|at| Some((at, word(start + at as usize)?)));
                return Some(Self(words.collect()));
            }
        }
        None
    }

    /// The same in position-independent files of other linkers, whose data are empty until relocations fill them.
    fn in_relocations(elf: &Elf<'_>, words: &[(u64, u64); 3]) -> Option<Self> {
        let bytes = elf.contents(elf.section(".rela.dyn")?, MAX_TABLE).ok()?;
        let entries = || bytes.as_chunks::<24>().0.iter().map(|entry| (u64_at(entry, 0), u64_at(entry, 16)));
        let has = |place: u64, value: u64| entries().any(|entry| entry == (place, value));
        let mut starts = entries().filter(|(_, value)| *value == words[0].1).take(MAX_PLACES);
        let is_start = |(start, _): &(u64, u64)| words.iter().all(|(at, value)| has(start.wrapping_add(*at), *value));
        let (start, _) = starts.find(is_start)?;
        let within = |place: u64| place.checked_sub(start).filter(|at| *at < LEN);
        Some(Self(entries().filter_map(|(place, value)| Some((within(place)?, value))).collect()))
    }
}
