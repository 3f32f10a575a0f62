//! Names, files and lines from a file's debug information (DWARF, versions 2 to 5), for many addresses in one pass. Runs in the child only.
//!
//! Symbolizing libraries build tables of a unit's functions and lines, to be asked again and again. The child is asked once, for all
//! addresses that a binary has: here each unit that covers one is read and gone through once, its functions and its lines are held against
//! the sorted addresses, and nothing else is kept. Forms and line programs are gimli's to decode; which entries matter is DWARF 5, sections
//! 3.3 (functions and inlined ones), 2.17 (their addresses) and 6.2 (lines). What lies in several files is `dwarf.rs`'s.
//!
//! Invariant: memory is that of the largest unit, of tables of ranges and abbreviations, of packed sections and of the answers, whatever the file
//! says; time is the caller's to limit.

mod closures;
mod functions;
mod line_program;
mod lines;
mod sections;
mod texts;
mod units;

use gimli::{EndianSlice, RunTimeEndian};

pub(super) use self::sections::Sections;
use self::units::{Lines, Unit, Units};
use crate::profile::{SourceLine, Symbol};

type Reader<'a> = EndianSlice<'a, RunTimeEndian>;

/// Code that the linker has left out stands where the file begins, or, in lists of ranges, at 1 (DWARF 5 says nothing of it; it is what
/// linkers do): nothing that runs begins there.
fn is_left_out(begin: u64) -> bool {
    begin <= 1
}

/// What debug information says of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    /// Functions inlined there, the innermost first.
    pub inlined: Vec<Symbol>,
    /// The function that stands in the file, without its line; `None` when it has no name, or lines are all there is.
    pub function: Option<Symbol>,
    /// Where in that function.
    pub source: Option<SourceLine>,
    /// Where it begins: of several that cover a place, the later one is more likely to be about it.
    begin: u64,
}

impl Described {
    /// As a list of functions, the innermost first, with `name` for the outermost that has none.
    pub fn symbols(self, name: Option<Symbol>) -> Option<Vec<Symbol>> {
        let outer = self.function.or(name)?;
        let mut symbols = self.inlined;
        symbols.push(Symbol { source: self.source, ..outer });
        Some(symbols)
    }

    fn is_better_than(&self, other: &Self) -> bool {
        let rank = |of: &Self| (of.function.is_some(), of.begin, of.source.is_some());
        rank(self) > rank(other)
    }
}

/// What debug information says of each address, in order.
pub(super) fn describe(sections: &Sections<'_>, addresses: &[u64]) -> Vec<Described> {
    let mut wanted: Vec<u64> = addresses.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = vec![Described::default(); wanted.len()];
    let units = Units::new(sections);
    units.each_of(&wanted, |unit, lines, covered| describe_in(&units, unit, lines, &wanted, covered, &mut found));
    let at = |address| wanted.binary_search(address).ok();
    addresses.iter().map(|address| at(address).map(|at| found[at].clone()).unwrap_or_default()).collect()
}

/// The same for what one unit covers: `covered` are places in `wanted`, in order.
fn describe_in(
    units: &Units<'_>,
    unit: &Unit<'_>,
    lines: Option<Lines<'_>>,
    wanted: &[u64],
    covered: &[usize],
    found: &mut [Described],
) {
    let addresses: Vec<u64> = covered.iter().map(|at| wanted[*at]).collect();
    let functions = functions::functions(units, unit, &addresses);
    let rows = lines::rows(lines.as_ref(), &addresses);
    let mut files = lines::Files::new(units, unit, lines.as_ref());
    for ((function, row), at) in functions.into_iter().zip(rows).zip(covered) {
        let mut source = row.as_ref().and_then(|row| files.source(Some(row.file), row.line));
        let mut described = Described { begin: row.map_or(0, |row| row.begin), ..Described::default() };
        if let Some(function) = function {
            for call in function.calls.into_iter().rev() {
                // Each stands at its own line; what called it, at the line of the call.
                let here = std::mem::replace(&mut source, files.source(call.file, call.line));
                if let Some(name) = call.name {
                    described.inlined.push(Symbol { source: here, inlined: true, ..name });
                }
            }
            described.begin = function.begin;
            described.function = function.name;
        }
        described.source = source;
        if described.is_better_than(&found[*at]) {
            found[*at] = described;
        }
    }
}

#[cfg(test)]
mod tests;
