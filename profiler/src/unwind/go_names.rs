//! Names of Go code from the same table as its rows: functions with file and line, in programs stripped of all else.
//!
//! Which functions are inlined where stands elsewhere, in data that only a symbol leads to: an address has the function that stands
//! in the file, and a line only where the line is in that function's file. Facts: Go's `src/runtime/symtab.go` (`funcname`,
//! `funcfile`, `funcline1`), 1.16 to today.

use std::fs::File;

use super::elf::{Elf, u32_at};
use super::go::{Layout, MAX_STEPS, find, layout, quantum};

/// Longest name and path.
const MAX_TEXT: usize = 4096;

/// A function at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoFunction {
    /// Package and name.
    pub name: String,
    /// Source file, as the compiler was given it.
    pub file: Option<String>,
    /// Line of the address.
    pub line: Option<u32>,
}

/// The functions at these addresses, as the linker gave them. `None` when the file has no such table.
#[must_use]
pub fn go_functions(file: &File, addresses: &[u64]) -> Option<Vec<Option<GoFunction>>> {
    let elf = Elf::parse(file).ok()?;
    let (address, bytes) = find(&elf).ok()??;
    let layout = layout(&elf, address, &bytes).ok()??;
    let table = Names { bytes: &bytes, layout, quantum: quantum(&elf) };
    Some(addresses.iter().map(|address| table.function(*address)).collect())
}

struct Names<'a> {
    bytes: &'a [u8],
    layout: Layout,
    quantum: u8,
}

impl Names<'_> {
    fn function(&self, address: u64) -> Option<GoFunction> {
        let start_of = |at: usize| self.layout.entry(self.bytes, at).map(|(start, _)| start);
        // Entries are in order of their addresses; in a file where they are not, some other function is found.
        let (mut below, mut above) = (0, self.layout.functions);
        while below < above {
            let middle = below.midpoint(above);
            if start_of(middle)? <= address { below = middle + 1 } else { above = middle }
        }
        let (start, offset) = self.layout.entry(self.bytes, below.checked_sub(1)?)?;
        if !(start..start_of(below)?).contains(&address) {
            return None;
        }
        let description = self.bytes.get(self.layout.table.checked_add(offset)?..)?;
        // The entry is 8 bytes before 1.18, 4 since; then name, arguments, deferreturn, and three tables: stack, file, line.
        let entry_len = if self.layout.text.is_some() { 4 } else { 8 };
        let word = |at: usize| u32_at(description, entry_len + at);
        let name = self.text(self.layout.names.checked_add(word(0) as usize)?)?;
        let (files, lines, unit) = (word(16) as usize, word(20) as usize, word(28));
        let file_at = |address| self.value(files, start, address);
        let (here, first) = (file_at(address), file_at(start));
        let file = first.and_then(|number| {
            let unit = self.layout.units.checked_add((unit as usize).checked_add(number as usize)?.checked_mul(4)?)?;
            self.text(self.layout.files.checked_add(u32_at(self.bytes, unit) as usize)?)
        });
        let line = self.value(lines, start, address).filter(|line| here == first && *line > 0);
        Some(GoFunction { name, line: line.filter(|_| file.is_some()), file })
    }

    /// What a table of steps says of an address.
    fn value(&self, steps: usize, start: u64, address: u64) -> Option<u32> {
        let mut end = start;
        let mut steps = self.layout.steps(self.bytes, steps, self.quantum).take(MAX_STEPS);
        let (value, _) = steps.find(|(_, len)| {
            end = end.saturating_add(u64::from(*len));
            address < end
        })?;
        u32::try_from(value).ok()
    }

    fn text(&self, at: usize) -> Option<String> {
        let bytes = self.bytes.get(at..)?;
        let end = bytes.iter().take(MAX_TEXT).position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned()).filter(|text| !text.is_empty())
    }
}
