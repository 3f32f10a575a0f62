//! The units of a file, read one at a time: which one covers an address, and the one that an entry elsewhere lies in.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use gimli::{
    Abbreviations, AttributeValue, DebugAddrBase, DebugInfo, DebugInfoOffset, DebugLine, DebugLineOffset,
    DebugLocListsBase, DebugRngListsBase, DebugStrOffsetsBase, Dwarf, DwarfFileType, EndianSlice,
    IncompleteLineProgram, Range, Reader as _, SectionId, UnitHeader, UnitOffset, UnitRef, UnitType,
};

use super::closures::{Class, members};
use super::lines::sequences;
use super::sections::Sections;
use super::texts::Texts;
use super::{Reader, is_left_out};
use crate::profile::Symbol;

/// Most units remembered that entries of others lead to.
const MAX_REMEMBERED: usize = 64;
/// Most entries remembered that others lead to.
const MAX_ORIGINS: usize = 64 << 10;
/// Bytes of a unit that are looked at for where it lies: its header and its first entry.
const HEAD: u64 = 1024;
/// Bytes read at a time where many small units stand.
const WINDOW: u64 = 4096;

/// A line program that has not run yet.
pub(super) type Lines<'a> = IncompleteLineProgram<Reader<'a>>;

/// The units of a file.
pub(super) struct Units<'s> {
    pub sections: &'s Sections<'s>,
    pub texts: RefCell<Texts>,
    /// Where each begins, and how long it is; rising.
    spans: Vec<(u64, u64)>,
    remembered: RefCell<HashMap<u64, Rc<Remembered>>>,
    origins: RefCell<HashMap<u64, Option<Symbol>>>,
    /// The members of classes, by where their unit begins.
    members: RefCell<HashMap<u64, Rc<HashMap<UnitOffset, Class>>>>,
}

/// A unit that an entry of another led to.
struct Remembered {
    begin: u64,
    bytes: Vec<u8>,
    abbreviations: Arc<Abbreviations>,
}

/// A unit in memory, or the beginning of one.
pub(super) struct Unit<'u> {
    /// Where it begins in its section, and ends.
    pub span: std::ops::Range<u64>,
    pub unit: gimli::Unit<Reader<'u>>,
    /// What it refers to.
    pub dwarf: Dwarf<Reader<'u>>,
    /// The folder that it was compiled in.
    pub folder: Option<AttributeValue<Reader<'u>>>,
    lines: Option<DebugLineOffset>,
}

impl<'u> Unit<'u> {
    /// Whether there can be any in it.
    fn has_code(&self) -> bool {
        !matches!(self.unit.header.type_(), UnitType::Type { .. } | UnitType::SplitType { .. } | UnitType::Partial)
    }

    /// For gimli.
    pub fn reference(&self) -> UnitRef<'_, Reader<'u>> {
        UnitRef::new(&self.dwarf, &self.unit)
    }
}

impl<'s> Units<'s> {
    /// All whose lengths can be read.
    pub fn new(sections: &'s Sections<'s>) -> Self {
        let mut units = Self {
            sections,
            texts: RefCell::default(),
            spans: Vec::new(),
            remembered: RefCell::default(),
            origins: RefCell::default(),
            members: RefCell::default(),
        };
        let (mut begin, mut window) = (0, Window::default());
        while let Some(len) = units.length(SectionId::DebugInfo, begin, &mut window) {
            units.spans.push((begin, len));
            begin += len;
        }
        units
    }

    /// Length of the unit or line program that begins at a place, with the number that says so.
    fn length(&self, id: SectionId, at: u64, window: &mut Window) -> Option<u64> {
        let there = self.sections.len(id).checked_sub(at)?;
        let bytes = window.piece(self.sections, id, at, there.min(12))?;
        let (len, format) = EndianSlice::new(bytes, self.sections.endian()).read_initial_length().ok()?;
        let len = (len as u64).checked_add(u64::from(format.initial_length_size()))?;
        (len <= there).then_some(len)
    }

    /// Hands out each unit that covers some of the addresses, which are sorted, with their places and its line program.
    pub fn each_of(&self, wanted: &[u64], mut visit: impl FnMut(&Unit<'_>, Option<Lines<'_>>, &[usize])) {
        let told = self.ranges_told();
        let (mut window, mut info, mut lines) = (Window::default(), Vec::new(), Vec::new());
        let mut last: Option<(usize, Arc<Abbreviations>)> = None;
        for (begin, len) in &self.spans {
            let first = told.partition_point(|(unit, _)| (unit.0 as u64) < *begin);
            let mut covered = Covered { wanted, places: Vec::new() };
            let own = told[first..].iter().take_while(|(unit, _)| unit.0 as u64 == *begin);
            own.for_each(|(_, range)| covered.add(*range));
            let is_told = told.get(first).is_some_and(|(unit, _)| unit.0 as u64 == *begin);
            if is_told && covered.places.is_empty() {
                continue;
            }
            if !is_told {
                let Some(head) = self.head(*begin, *len, &mut window) else { continue };
                let Some(abbreviations) = self.abbreviations(&head, &mut last) else { continue };
                let mut unit = self.open(&head, *begin, &abbreviations);
                if unit.is_none() {
                    let whole = self.sections.piece(SectionId::DebugInfo, *begin, *len, &mut info);
                    unit = whole.and_then(|whole| self.open(whole, *begin, &abbreviations));
                }
                let Some(unit) = unit else { continue };
                if !unit.has_code() {
                    continue;
                }
                covered.add_all_of(self, &unit, &mut lines);
            }
            let places = covered.sorted();
            if places.is_empty() {
                continue;
            }
            let Some(bytes) = self.sections.piece(SectionId::DebugInfo, *begin, *len, &mut info) else { continue };
            let Some(abbreviations) = self.abbreviations(bytes, &mut last) else { continue };
            if let Some(unit) = self.open(bytes, *begin, &abbreviations).filter(Unit::has_code) {
                visit(&unit, self.lines_of(&unit, &mut lines), &places);
            }
        }
    }

    /// The beginning of a unit, as if that were all of it.
    fn head(&self, begin: u64, len: u64, window: &mut Window) -> Option<Vec<u8>> {
        let mut head = window.piece(self.sections, SectionId::DebugInfo, begin, len.min(HEAD))?.to_vec();
        let (len, format) = EndianSlice::new(&head, self.sections.endian()).read_initial_length().ok()?;
        let before = usize::from(format.initial_length_size());
        let there = head.len().checked_sub(before)?.min(len);
        let big = self.sections.endian() == gimli::RunTimeEndian::Big;
        let (small, large) = (there as u32, there as u64);
        match format {
            gimli::Format::Dwarf32 => {
                head[..4].copy_from_slice(&if big { small.to_be_bytes() } else { small.to_le_bytes() });
            }
            gimli::Format::Dwarf64 => {
                head[4..12].copy_from_slice(&if big { large.to_be_bytes() } else { large.to_le_bytes() });
            }
        }
        Some(head)
    }

    fn header<'u>(&self, bytes: &'u [u8]) -> Option<UnitHeader<Reader<'u>>> {
        DebugInfo::new(bytes, self.sections.endian()).units().next().ok()?
    }

    /// A unit's abbreviations. Units that follow each other may share them.
    fn abbreviations(
        &self,
        bytes: &[u8],
        last: &mut Option<(usize, Arc<Abbreviations>)>,
    ) -> Option<Arc<Abbreviations>> {
        let at = self.header(bytes)?.debug_abbrev_offset();
        if let Some((before, abbreviations)) = last
            && *before == at.0
        {
            return Some(Arc::clone(abbreviations));
        }
        let abbreviations = Arc::new(self.sections.dwarf().debug_abbrev.abbreviations(at).ok()?);
        *last = Some((at.0, Arc::clone(&abbreviations)));
        Some(abbreviations)
    }

    /// A unit whose bytes these are, without its line program. As `gimli::Unit::new`, but that what it refers to need not be in memory.
    fn open<'u>(&'u self, bytes: &'u [u8], begin: u64, abbreviations: &Arc<Abbreviations>) -> Option<Unit<'u>> {
        let header = self.header(bytes)?;
        let (encoding, kind) = (header.encoding(), DwarfFileType::Main);
        let unit = gimli::Unit {
            abbreviations: Arc::clone(abbreviations),
            name: None,
            comp_dir: None,
            low_pc: 0,
            str_offsets_base: DebugStrOffsetsBase::default_for_encoding_and_file(encoding, kind),
            addr_base: DebugAddrBase(0),
            loclists_base: DebugLocListsBase::default_for_encoding_and_file(encoding, kind),
            rnglists_base: DebugRngListsBase::default_for_encoding_and_file(encoding, kind),
            line_program: None,
            dwo_id: None,
            header,
        };
        let span = begin..begin + bytes.len() as u64;
        let mut opened = Unit { span, unit, dwarf: self.sections.dwarf(), folder: None, lines: None };
        let mut low = None;
        let mut entries = opened.unit.header.entries_raw(abbreviations, None).ok()?;
        let root = entries.read_abbreviation().ok()??;
        let attributes: Vec<_> =
            root.attributes().iter().map(|spec| entries.read_attribute(*spec)).collect::<Result<_, _>>().ok()?;
        for attribute in attributes {
            match (attribute.name(), attribute.value()) {
                (gimli::DW_AT_comp_dir, folder) => opened.folder = Some(folder),
                (gimli::DW_AT_low_pc, value) => low = Some(value),
                (gimli::DW_AT_stmt_list, AttributeValue::DebugLineRef(at)) => opened.lines = Some(at),
                (gimli::DW_AT_str_offsets_base, AttributeValue::DebugStrOffsetsBase(base)) => {
                    opened.unit.str_offsets_base = base;
                }
                (gimli::DW_AT_addr_base | gimli::DW_AT_GNU_addr_base, AttributeValue::DebugAddrBase(base)) => {
                    opened.unit.addr_base = base;
                }
                (
                    gimli::DW_AT_rnglists_base | gimli::DW_AT_GNU_ranges_base,
                    AttributeValue::DebugRngListsBase(base),
                ) => {
                    opened.unit.rnglists_base = base;
                }
                _ => {}
            }
        }
        let low = low.and_then(|low| opened.reference().attr_address(low).ok()?);
        opened.unit.low_pc = low.unwrap_or(0);
        Some(opened)
    }

    /// A unit's line program.
    fn lines_of<'b>(&'b self, unit: &Unit<'_>, buffer: &'b mut Vec<u8>) -> Option<Lines<'b>> {
        let at = unit.lines?.0 as u64;
        let len = self.length(SectionId::DebugLine, at, &mut Window::default())?;
        let bytes = self.sections.piece(SectionId::DebugLine, at, len, buffer)?;
        let lines = DebugLine::new(bytes, self.sections.endian());
        lines.program(DebugLineOffset(0), unit.unit.header.address_size(), None, None).ok()
    }

    /// What `.debug_aranges` tells of where units lie, sorted by unit. Not all compilers write it, nor for all units.
    fn ranges_told(&self) -> Vec<(DebugInfoOffset, Range)> {
        let mut told = Vec::new();
        let mut headers = self.sections.dwarf().debug_aranges.headers();
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

    /// What an entry is called that others lead to, as `name` finds in the unit that it lies in. Found once.
    pub fn named(
        &self,
        at: u64,
        here: &Unit<'_>,
        name: impl Fn(&Unit<'_>, UnitOffset) -> Option<Symbol>,
    ) -> Option<Symbol> {
        if let Some(known) = self.origins.borrow().get(&at) {
            return known.clone();
        }
        let inside = |unit: &Unit<'_>| Some(UnitOffset(usize::try_from(at.checked_sub(unit.span.start)?).ok()?));
        let found = if here.span.contains(&at) {
            name(here, inside(here)?)
        } else {
            let there = self.remembered(at)?;
            let unit = self.open(&there.bytes, there.begin, &there.abbreviations)?;
            name(&unit, inside(&unit)?)
        };
        let mut origins = self.origins.borrow_mut();
        if origins.len() >= MAX_ORIGINS {
            origins.clear();
        }
        origins.insert(at, found.clone());
        found
    }

    /// The class that a function is a member of. Its unit is gone through once.
    pub fn class_of(&self, unit: &Unit<'_>, member: UnitOffset) -> Option<Class> {
        let known = self.members.borrow().get(&unit.span.start).cloned();
        let members = known.unwrap_or_else(|| {
            let found = Rc::new(members(unit));
            let mut members = self.members.borrow_mut();
            if members.len() >= MAX_REMEMBERED {
                members.clear();
            }
            members.insert(unit.span.start, Rc::clone(&found));
            found
        });
        members.get(&member).copied()
    }

    /// The unit that an entry lies in.
    fn remembered(&self, at: u64) -> Option<Rc<Remembered>> {
        let span = self.spans.partition_point(|(begin, _)| *begin <= at).checked_sub(1)?;
        let (begin, len) = *self.spans.get(span).filter(|(begin, len)| at - begin < *len)?;
        if let Some(known) = self.remembered.borrow().get(&begin) {
            return Some(Rc::clone(known));
        }
        let mut buffer = Vec::new();
        let bytes = self.sections.piece(SectionId::DebugInfo, begin, len, &mut buffer)?.to_vec();
        let abbreviations = self.abbreviations(&bytes, &mut None)?;
        let found = Rc::new(Remembered { begin, bytes, abbreviations });
        let mut remembered = self.remembered.borrow_mut();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(begin, Rc::clone(&found));
        Some(found)
    }
}

/// What was read last of a section, for small parts that follow each other.
#[derive(Default)]
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn piece(&mut self, sections: &Sections<'_>, id: SectionId, at: u64, len: u64) -> Option<&[u8]> {
        let inside = at.checked_sub(self.at).filter(|begin| begin + len <= self.bytes.len() as u64);
        if inside.is_none() {
            let there = sections.len(id).checked_sub(at)?.min(WINDOW.max(len));
            let mut buffer = std::mem::take(&mut self.bytes);
            let bytes = sections.piece(id, at, there, &mut buffer)?.to_vec();
            (self.at, self.bytes) = (at, bytes);
        }
        let begin = usize::try_from(at - self.at).ok()?;
        self.bytes.get(begin..begin + usize::try_from(len).ok()?)
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
    fn add_all_of(&mut self, units: &Units<'_>, unit: &Unit<'_>, lines: &mut Vec<u8>) {
        let mut says = false;
        if let Ok(mut ranges) = unit.reference().unit_ranges() {
            while let Ok(Some(range)) = ranges.next() {
                if range.begin < range.end {
                    says = true;
                    self.add(range);
                }
            }
        }
        if !says {
            sequences(units.lines_of(unit, lines)).into_iter().for_each(|range| self.add(range));
        }
    }

    fn sorted(mut self) -> Vec<usize> {
        self.places.sort_unstable();
        self.places.dedup();
        self.places
    }
}
