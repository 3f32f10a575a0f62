//! Names of Go code from the same table as its rows: functions, and those inlined into them, with file and line, in programs stripped
//! of all else.
//!
//! Which functions are inlined where stands elsewhere (`go_inlined.rs`). Where that is not to be had, an address has the function that
//! stands in the file, and a line only where the line is in that function's file. Facts: Go's `src/runtime/symtab.go` (`funcname`,
//! `funcfile`, `funcline1`), 1.16 to today, and `src/runtime/symtabinl.go`.

use std::fs::File;

use super::elf::{Elf, u32_at};
use super::go::{Layout, MAX_STEPS, find, layout, quantum};
use super::go_inlined::Inlined;

/// Longest name and path.
const MAX_TEXT: usize = 4096;
/// Most functions inlined into one another; the compiler's own limits end far below.
const MAX_INLINED: usize = 100;

/// A function at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoFunction {
    /// Package and name.
    pub name: String,
    /// Source file, as the compiler was given it.
    pub file: Option<String>,
    /// Line of the address, or of the call that was inlined.
    pub line: Option<u32>,
}

/// The functions at these addresses, as the linker gave them: innermost inlined function first, the one that stands in the file last;
/// none where there is no function. `None` when the file has no such table.
#[must_use]
pub fn go_functions(file: &File, addresses: &[u64]) -> Option<Vec<Vec<GoFunction>>> {
    let elf = Elf::parse(file).ok()?;
    let (address, bytes) = find(&elf).ok()??;
    let layout = layout(&elf, address, &bytes).ok()??;
    let inlined = Inlined::new(&elf, address..address.saturating_add(bytes.len() as u64), layout);
    let table = Names { bytes: &bytes, layout, quantum: quantum(&elf), inlined };
    Some(addresses.iter().map(|address| table.functions(*address).unwrap_or_default()).collect())
}

struct Names<'a> {
    bytes: &'a [u8],
    layout: Layout,
    quantum: u8,
    inlined: Inlined<'a>,
}

/// A function's description, and where it begins and ends.
struct Description<'a> {
    start: u64,
    end: u64,
    /// From its entry on.
    bytes: &'a [u8],
    /// The entry's: 8 bytes before 1.18, 4 since.
    entry_len: usize,
}

impl Description<'_> {
    /// Name, arguments, deferreturn, then three tables (stack, file, line), the number of further tables, the compilation unit.
    fn word(&self, at: usize) -> u32 {
        u32_at(self.bytes, self.entry_len + at)
    }
}

impl Names<'_> {
    fn functions(&self, address: u64) -> Option<Vec<GoFunction>> {
        let function = self.description(address)?;
        let name = self.name(function.word(0))?;
        let Some((mut found, at)) = self.inlined_at(&function, address) else {
            // Something may be inlined, but not known what: the file is the function's, and the line if it is one of that file.
            let file_at = |address| self.value(function.word(16), function.start, address);
            let file = self.file(&function, function.start);
            let is_own = file.is_some() && file_at(address) == file_at(function.start);
            let line = self.line(&function, address).filter(|_| is_own);
            return Some(vec![GoFunction { name, file, line }]);
        };
        let (file, line) = self.place(&function, at);
        found.push(GoFunction { name, file, line });
        Some(found)
    }

    fn description(&self, address: u64) -> Option<Description<'_>> {
        let start_of = |at: usize| self.layout.entry(self.bytes, at).map(|(start, _)| start);
        // Entries are in order of their addresses; in a file where they are not, some other function is found.
        let (mut below, mut above) = (0, self.layout.functions);
        while below < above {
            let middle = below.midpoint(above);
            if start_of(middle)? <= address { below = middle + 1 } else { above = middle }
        }
        let (start, offset) = self.layout.entry(self.bytes, below.checked_sub(1)?)?;
        let end = start_of(below)?;
        let bytes = self.bytes.get(self.layout.table.checked_add(offset)?..)?;
        let entry_len = if self.layout.text.is_some() { 4 } else { 8 };
        (start..end).contains(&address).then_some(Description { start, end, bytes, entry_len })
    }

    /// The functions inlined at an address, innermost first, and where the outermost of them is called. `None` when they are not to be
    /// had: an older layout, or a table that makes no sense.
    fn inlined_at(&self, function: &Description<'_>, address: u64) -> Option<(Vec<GoFunction>, u64)> {
        let (mut found, mut at) = (Vec::new(), address);
        let steps = self.inlined.steps(function.bytes)?;
        while let Some(number) = self.value(steps, function.start, at) {
            if found.len() == MAX_INLINED {
                return None;
            }
            let call = self.inlined.call(function.bytes, number)?;
            let (file, line) = self.place(function, at);
            found.push(GoFunction { name: self.whole_name(call.name)?, file, line });
            at = function.start.checked_add(call.parent).filter(|at| *at < function.end)?;
        }
        Some((found, at))
    }

    /// File and line of an address; the line only where there is a file.
    fn place(&self, function: &Description<'_>, address: u64) -> (Option<String>, Option<u32>) {
        let file = self.file(function, address);
        let line = file.as_ref().and_then(|_| self.line(function, address));
        (file, line)
    }

    fn file(&self, function: &Description<'_>, address: u64) -> Option<String> {
        let number = self.value(function.word(16), function.start, address)? as usize;
        let unit = (function.word(28) as usize).checked_add(number)?.checked_mul(4)?;
        let unit = self.layout.units.checked_add(unit)?;
        self.text(self.layout.files.checked_add(u32_at(self.bytes, unit) as usize)?)
    }

    fn line(&self, function: &Description<'_>, address: u64) -> Option<u32> {
        self.value(function.word(20), function.start, address).filter(|line| *line > 0)
    }

    /// What a table of steps says of an address.
    fn value(&self, steps: u32, start: u64, address: u64) -> Option<u32> {
        let mut end = start;
        let mut steps = self.layout.steps(self.bytes, steps as usize, self.quantum).take(MAX_STEPS);
        let (value, _) = steps.find(|(_, len)| {
            end = end.saturating_add(u64::from(*len));
            address < end
        })?;
        u32::try_from(value).ok()
    }

    fn name(&self, offset: u32) -> Option<String> {
        self.text(self.layout.names.checked_add(offset as usize)?)
    }

    /// A name that begins where it is said to begin: what is no call at all leads into the middle of some name.
    fn whole_name(&self, offset: u32) -> Option<String> {
        let before = self.layout.names.checked_add(offset as usize)?.checked_sub(1)?;
        self.name(offset).filter(|_| self.bytes.get(before) == Some(&0))
    }

    fn text(&self, at: usize) -> Option<String> {
        let bytes = self.bytes.get(at..)?;
        let end = bytes.iter().take(MAX_TEXT).position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned()).filter(|text| !text.is_empty())
    }
}
