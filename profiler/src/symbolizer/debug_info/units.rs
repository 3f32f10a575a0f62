//! Which unit covers an address, and the unit that an entry elsewhere lies in.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use gimli::{
    AbbreviationsCacheStrategy, DebugInfoOffset, Dwarf, Range, Unit, UnitHeader, UnitOffset, UnitRef, UnitType,
};

use super::lines::sequences;
use super::{Reader, is_left_out};

/// Most units remembered that entries of others lead to.
const MAX_REMEMBERED: usize = 64;

/// The units of a file.
pub(super) struct Units<'a> {
    dwarf: Dwarf<Reader<'a>>,
    /// By rising offset.
    headers: Vec<(DebugInfoOffset, UnitHeader<Reader<'a>>)>,
    remembered: RefCell<HashMap<usize, Rc<Unit<Reader<'a>>>>>,
}

impl<'a> Units<'a> {
    /// All whose headers can be read.
    pub fn new(mut dwarf: Dwarf<Reader<'a>>) -> Self {
        dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::Duplicates);
        let mut headers = Vec::new();
        let mut units = dwarf.units();
        while let Ok(Some(header)) = units.next() {
            if let Some(offset) = header.debug_info_offset() {
                headers.push((offset, header));
            }
        }
        Self { dwarf, headers, remembered: RefCell::default() }
    }

    /// Hands out each unit that covers some of the addresses, which are sorted, with their places.
    pub fn each_of(&self, wanted: &[u64], mut visit: impl FnMut(UnitRef<'_, Reader<'a>>, &[usize])) {
        let told = self.ranges_told();
        for (offset, header) in &self.headers {
            if matches!(header.type_(), UnitType::Type { .. } | UnitType::SplitType { .. } | UnitType::Partial) {
                continue;
            }
            let first = told.partition_point(|(unit, _)| unit < offset);
            let mut covered = Covered { wanted, places: Vec::new() };
            told[first..].iter().take_while(|(unit, _)| unit == offset).for_each(|(_, range)| covered.add(*range));
            let is_told = told.get(first).is_some_and(|(unit, _)| unit == offset);
            if is_told && covered.places.is_empty() {
                continue;
            }
            let Ok(unit) = self.dwarf.unit(*header) else { continue };
            let unit = UnitRef::new(&self.dwarf, &unit);
            if !is_told {
                covered.add_all_of(unit);
            }
            let places = covered.sorted();
            if !places.is_empty() {
                visit(unit, &places);
            }
        }
    }

    /// What `.debug_aranges` tells of where units lie, sorted by unit. Not all compilers write it, nor for all units.
    fn ranges_told(&self) -> Vec<(DebugInfoOffset, Range)> {
        let mut told = Vec::new();
        let mut headers = self.dwarf.debug_aranges.headers();
        while let Ok(Some(header)) = headers.next() {
            let mut entries = header.entries();
            loop {
                match entries.next() {
                    Ok(Some(entry)) if entry.length() > 0 => told.push((header.debug_info_offset(), entry.range())),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    // An address that overflows spoils itself only; the iterator ends where it cannot go on.
                    Err(_) => {}
                }
            }
        }
        told.sort_by_key(|(unit, _)| *unit);
        told
    }

    /// The unit that an entry lies in, and where in it.
    pub fn unit_at(&self, offset: DebugInfoOffset) -> Option<(Rc<Unit<Reader<'a>>>, UnitOffset)> {
        let at = self.headers.partition_point(|(begin, _)| *begin <= offset).checked_sub(1)?;
        let (_, header) = &self.headers[at];
        let inside = offset.to_unit_offset(header)?;
        let mut remembered = self.remembered.borrow_mut();
        if let Some(unit) = remembered.get(&at) {
            return Some((Rc::clone(unit), inside));
        }
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        let unit = Rc::new(self.dwarf.unit(*header).ok()?);
        remembered.insert(at, Rc::clone(&unit));
        Some((unit, inside))
    }

    /// What strings and ranges are looked up in.
    pub fn dwarf(&self) -> &Dwarf<Reader<'a>> {
        &self.dwarf
    }
}

/// The addresses that a unit covers.
struct Covered<'w> {
    wanted: &'w [u64],
    places: Vec<usize>,
}

impl Covered<'_> {
    fn add(&mut self, range: Range) {
        if is_left_out(range.begin) {
            return;
        }
        let first = self.wanted.partition_point(|address| *address < range.begin);
        let inside = self.wanted[first..].iter().take_while(|address| **address < range.end).count();
        self.places.extend(first..first + inside);
    }

    /// Where the unit says that it lies. Of one that says nothing, which is most often one without code, its lines tell.
    fn add_all_of(&mut self, unit: UnitRef<'_, Reader<'_>>) {
        let mut says = false;
        if let Ok(mut ranges) = unit.unit_ranges() {
            while let Ok(Some(range)) = ranges.next() {
                if range.begin < range.end {
                    says = true;
                    self.add(range);
                }
            }
        }
        if !says {
            sequences(unit).into_iter().for_each(|range| self.add(range));
        }
    }

    fn sorted(mut self) -> Vec<usize> {
        self.places.sort_unstable();
        self.places.dedup();
        self.places
    }
}
