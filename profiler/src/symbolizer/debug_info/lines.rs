//! The line of source code that an address belongs to: a unit's line program, run once and held against sorted addresses.

use std::collections::HashMap;
use std::sync::Arc;

use gimli::Range;

use super::is_left_out;
use super::line_program::{LineRow, LineRows};
use super::texts::text;
use super::units::{Lines, Unit, Units};
use crate::profile::SourceLine;

/// A row that covers an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Where its sequence begins.
    pub begin: u64,
    /// Number of its file.
    pub file: u64,
    /// 0: none.
    pub line: u64,
}

/// The row for each address, in order. `addresses` are sorted. A program that is damaged tells of what comes before the damage.
pub(super) fn rows(program: Option<&Lines<'_>>, addresses: &[u64]) -> Vec<Option<Row>> {
    let mut found = vec![None; addresses.len()];
    let Some(program) = program else { return found };
    let mut last: Option<(u64, Row)> = None;
    let (mut next, mut missing) = (0, addresses.len());
    for LineRow { address, file, line, end } in LineRows::new(program.header()) {
        let begin = match &last {
            // Of several rows for one address the last one holds; none reaches backwards.
            Some((before, row)) => {
                if address > *before {
                    while let Some(wanted) = addresses.get(next).filter(|wanted| **wanted < address) {
                        missing -= usize::from(take(&mut found[next], *wanted >= *before, *row));
                        next += 1;
                    }
                }
                row.begin
            }
            None => {
                if missing == 0 {
                    break;
                }
                next = addresses.partition_point(|wanted| *wanted < address);
                address
            }
        };
        last = (!end).then_some((address, Row { begin, file, line }));
    }
    found
}

/// Where a unit's line program says that it has code.
pub(super) fn sequences(program: Option<Lines<'_>>) -> Vec<Range> {
    let Some(program) = program else { return Vec::new() };
    let (mut found, mut begin) = (Vec::new(), None);
    for LineRow { address, end, .. } in LineRows::new(program.header()) {
        let first = *begin.get_or_insert(address);
        if end {
            found.push(Range { begin: first, end: address });
            begin = None;
        }
    }
    found
}

/// Says whether an address has a row now that had none before.
fn take(found: &mut Option<Row>, covers: bool, row: Row) -> bool {
    if !covers || is_left_out(row.begin) || found.as_ref().is_some_and(|found| found.begin >= row.begin) {
        return false;
    }
    found.replace(row).is_none()
}

/// Paths of a unit's source files, by number.
pub(super) struct Files<'r, 's, 'u, 'l> {
    units: &'r Units<'s>,
    unit: &'r Unit<'u>,
    lines: Option<&'r Lines<'l>>,
    known: HashMap<u64, Option<Arc<str>>>,
}

impl<'r, 's, 'u, 'l> Files<'r, 's, 'u, 'l> {
    /// Looks nothing up yet.
    pub fn new(units: &'r Units<'s>, unit: &'r Unit<'u>, lines: Option<&'r Lines<'l>>) -> Self {
        Self { units, unit, lines, known: HashMap::new() }
    }

    /// A place in a file; line 0 is DWARF for "no line".
    pub fn source(&mut self, file: Option<u64>, line: u64) -> Option<SourceLine> {
        let file = file?;
        let path = match self.known.get(&file) {
            Some(known) => known.clone(),
            None => {
                let path = self.path(file).map(|path| self.units.texts.borrow_mut().path(path));
                self.known.insert(file, path.clone());
                path
            }
        };
        Some(SourceLine { file: path?, line: u32::try_from(line).ok().filter(|line| *line > 0) })
    }

    /// The folder that the unit was compiled in, the file's folder, its name: from the last of them on that is absolute.
    fn path(&self, number: u64) -> Option<String> {
        let header = self.lines?.header();
        let file = header.file(number)?;
        let text = |value| text(self.units.sections, self.unit, value);
        let folder = self.unit.folder.and_then(|value| super::texts::text(self.units.sections, self.unit, value));
        let mut path = folder.unwrap_or_default();
        // Folder 0 is the unit's.
        let folder = file.directory(header).filter(|_| file.directory_index() != 0);
        for part in [folder.and_then(text), Some(text(file.path_name())?)].into_iter().flatten() {
            if part.starts_with('/') {
                path.clear();
            } else if !path.is_empty() && !path.ends_with('/') {
                path.push('/');
            }
            path.push_str(&part);
        }
        Some(path)
    }
}
