//! The function that an address lies in, and those that were inlined there: a unit's entries, gone through once.

use gimli::{Abbreviation, AttributeValue, EntriesRaw, Range, RangeListsOffset, Result, UnitOffset, UnitRef};

use super::closures::{CALL, Class};
use super::units::{Unit, Units};
use super::{Reader, is_left_out};
use crate::profile::Symbol;

/// Most calls deep that inlined functions are followed.
const MAX_CALLS: usize = 256;
/// Most entries that lead from one to the other to a name.
const MAX_STEPS: usize = 16;

/// A function that covers an address.
#[derive(Clone, Debug)]
pub(super) struct Function {
    /// Where the part of it begins that covers the address.
    pub begin: u64,
    /// Its name.
    pub name: Option<Symbol>,
    /// The functions inlined there, the outermost first.
    pub calls: Vec<Call>,
    /// Where its entry is.
    entry: UnitOffset,
}

/// A function that was inlined.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Its name.
    pub name: Option<Symbol>,
    /// The file in which it is called.
    pub file: Option<u64>,
    /// The line; 0: none.
    pub line: u64,
}

/// The function for each address, in order. `addresses` are sorted. Entries after a damaged one are not looked at.
pub(super) fn functions(units: &Units<'_>, unit: &Unit<'_>, addresses: &[u64]) -> Vec<Option<Function>> {
    let (found, reference) = (vec![None; addresses.len()], unit.reference());
    let mut search = Search { units, whole: unit, unit: reference, addresses, found, open: Vec::new() };
    // What was found before a damaged entry holds.
    let _ = search.run();
    search.found
}

struct Search<'r, 's, 'u> {
    units: &'r Units<'s>,
    whole: &'r Unit<'u>,
    unit: UnitRef<'r, Reader<'u>>,
    addresses: &'r [u64],
    found: Vec<Option<Function>>,
    /// The functions whose entries we are in: one may stand in another.
    open: Vec<Open>,
}

struct Open {
    depth: isize,
    entry: UnitOffset,
    covers_some: bool,
    /// How deep the entries of inlined functions are that we are in.
    inlined: Vec<isize>,
}

impl<'u> Search<'_, '_, 'u> {
    fn run(&mut self) -> Result<()> {
        let unit = self.unit;
        let mut entries = unit.entries_raw(None)?;
        let mut missing = self.addresses.len();
        while !entries.is_empty() {
            let (depth, entry) = (entries.next_depth(), entries.next_offset());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            while self.open.last().is_some_and(|open| depth <= open.depth) {
                self.open.pop();
            }
            if let Some(open) = self.open.last_mut() {
                // Whatever stands beside an inlined function ends it: a block may hold the next one.
                while open.inlined.last().is_some_and(|inlined| depth <= *inlined) {
                    open.inlined.pop();
                }
            }
            match abbreviation.tag() {
                gimli::DW_TAG_subprogram => {
                    if missing == 0 && self.open.is_empty() {
                        break;
                    }
                    let function = Entry::read(unit, &mut entries, abbreviation)?;
                    let (covers_some, more) = self.take(&function, entry)?;
                    missing -= more;
                    self.open.push(Open { depth, entry, covers_some, inlined: Vec::new() });
                }
                gimli::DW_TAG_inlined_subroutine if self.open.last().is_some_and(|open| open.covers_some) => {
                    let inlined = Entry::read(unit, &mut entries, abbreviation)?;
                    self.take_inlined(&inlined, depth)?;
                }
                _ => entries.skip_attributes(abbreviation.attributes())?,
            }
        }
        Ok(())
    }

    /// Takes a function for the addresses it covers; says whether there are any, and how many had none before.
    fn take(&mut self, function: &Entry<'u>, entry: UnitOffset) -> Result<(bool, usize)> {
        let (mut covers_some, mut more) = (false, 0);
        let (units, unit) = (self.units, self.whole);
        let mut name = None;
        function.each_range(self.unit, |range| {
            for at in covered(self.addresses, range) {
                covers_some = true;
                let before = self.found[at].as_ref().map(|before| before.begin);
                // Of several the later one, as with units.
                if before.is_some_and(|before| before >= range.begin) {
                    continue;
                }
                more += usize::from(before.is_none());
                let name = name.get_or_insert_with(|| function.name(units, unit, MAX_STEPS)).clone();
                self.found[at] = Some(Function { begin: range.begin, name, calls: Vec::new(), entry });
            }
        })?;
        Ok((covers_some, more))
    }

    fn take_inlined(&mut self, inlined: &Entry<'u>, depth: isize) -> Result<()> {
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        let (level, function) = (open.inlined.len(), open.entry);
        open.inlined.push(depth);
        let (units, unit) = (self.units, self.whole);
        let mut call: Option<Call> = None;
        inlined.each_range(self.unit, |range| {
            for at in covered(self.addresses, range) {
                let Some(found) = self.found[at].as_mut().filter(|found| found.entry == function) else { continue };
                // It is called by the one around it, which covers the address as well.
                if found.calls.len() == level && level < MAX_CALLS {
                    let call = call.get_or_insert_with(|| Call {
                        name: inlined.name(units, unit, MAX_STEPS),
                        file: inlined.call_file,
                        line: inlined.call_line,
                    });
                    found.calls.push(call.clone());
                }
            }
        })
    }
}

fn covered(addresses: &[u64], range: Range) -> std::ops::Range<usize> {
    let first = addresses.partition_point(|address| *address < range.begin);
    let inside = addresses[first..].iter().take_while(|address| **address < range.end).count();
    first..first + inside
}

/// What matters of an entry.
#[derive(Default)]
struct Entry<'a> {
    begin: Option<u64>,
    end: Option<u64>,
    len: Option<u64>,
    ranges: Option<RangeListsOffset>,
    linker_name: Option<AttributeValue<Reader<'a>>>,
    source_name: Option<AttributeValue<Reader<'a>>>,
    /// The entry that has what this one has not.
    origin: Option<AttributeValue<Reader<'a>>>,
    call_file: Option<u64>,
    call_line: u64,
    /// Line that declares it.
    declared: Option<u32>,
}

impl<'a> Entry<'a> {
    fn read(
        unit: UnitRef<'_, Reader<'a>>,
        entries: &mut EntriesRaw<'_, Reader<'a>>,
        abbreviation: &Abbreviation,
    ) -> Result<Self> {
        let mut entry = Self::default();
        for specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(*specification)?;
            match attribute.name() {
                gimli::DW_AT_low_pc => entry.begin = unit.attr_address(attribute.value())?,
                gimli::DW_AT_high_pc => match attribute.udata_value() {
                    Some(len) => entry.len = Some(len),
                    None => entry.end = unit.attr_address(attribute.value())?,
                },
                gimli::DW_AT_ranges => entry.ranges = unit.attr_ranges_offset(attribute.value())?,
                gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => {
                    entry.linker_name = Some(attribute.value())
                }
                gimli::DW_AT_name => entry.source_name = Some(attribute.value()),
                gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => entry.origin = Some(attribute.value()),
                // Before the fifth version number 0 was no file.
                gimli::DW_AT_call_file => {
                    entry.call_file = match attribute.value() {
                        AttributeValue::FileIndex(file) if file > 0 || unit.header.version() >= 5 => Some(file),
                        _ => None,
                    };
                }
                gimli::DW_AT_decl_line => {
                    let line = attribute.udata_value().and_then(|line| u32::try_from(line).ok());
                    entry.declared = line.filter(|line| *line > 0);
                }
                gimli::DW_AT_call_line => entry.call_line = attribute.udata_value().unwrap_or(0),
                _ => {}
            }
        }
        Ok(entry)
    }

    fn each_range(&self, unit: UnitRef<'_, Reader<'a>>, mut visit: impl FnMut(Range)) -> Result<()> {
        let mut offer = |range: Range| {
            if range.begin < range.end && !is_left_out(range.begin) {
                visit(range)
            }
        };
        if let Some(ranges) = self.ranges {
            let mut ranges = unit.ranges(ranges)?;
            while let Some(range) = ranges.next()? {
                offer(range);
            }
        } else if let Some(begin) = self.begin {
            let end = self.end.or_else(|| begin.checked_add(self.len?));
            offer(Range { begin, end: end.unwrap_or(begin) });
        }
        Ok(())
    }

    /// Its name, the linker's if it has one, or that of the entry it leads to; so with the line that declares it.
    fn name(&self, units: &Units<'_>, unit: &Unit<'a>, steps: usize) -> Option<Symbol> {
        let symbol = |value| units.texts.borrow_mut().symbol(units.sections, unit, value);
        let own = self.linker_name.and_then(symbol).or_else(|| self.source_name.and_then(symbol));
        if own.is_some() && self.declared.is_some() {
            return own.map(|own| Symbol { declared: self.declared, ..own });
        }
        let origin = self.origin_name(units, unit, steps);
        let declared = self.declared.or_else(|| origin.as_ref()?.declared);
        own.or(origin).map(|name| Symbol { declared, ..name })
    }

    fn origin_name(&self, units: &Units<'_>, unit: &Unit<'a>, steps: usize) -> Option<Symbol> {
        let steps = steps.checked_sub(1)?;
        let at = match self.origin? {
            AttributeValue::UnitRef(inside) => unit.span.start.checked_add(inside.0 as u64)?,
            AttributeValue::DebugInfoRef(at) => at.0 as u64,
            // In another file, which we have not got.
            _ => return None,
        };
        units.named(at, unit, |unit, inside| name_at(units, unit, inside, steps))
    }
}

fn name_at(units: &Units<'_>, unit: &Unit<'_>, inside: UnitOffset, steps: usize) -> Option<Symbol> {
    let reference = unit.reference();
    let mut entries = reference.entries_raw(Some(inside)).ok()?;
    let abbreviation = entries.read_abbreviation().ok()??;
    let entry = Entry::read(reference, &mut entries, abbreviation).ok()?;
    let name = entry.name(units, unit, steps)?;
    if &*name.name != CALL || entry.source_name.is_none() {
        return Some(name);
    }
    let of = |at| name_at(units, unit, at, steps.checked_sub(1)?);
    let class = match units.class_of(unit, inside) {
        Some(Class::Named(class)) => of(class).map(|class| class.name.to_string()),
        Some(Class::Lambda(function, number)) => {
            let function = function.and_then(of).map(|function| format!("{}::", function.name));
            Some(format!("{}{{lambda#{number}}}", function.unwrap_or_default()))
        }
        None => None,
    };
    Some(class.map_or(name, |class| Symbol { name: format!("{class}::{CALL}").into(), ..Symbol::default() }))
}
