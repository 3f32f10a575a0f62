//! The line of source code that an address belongs to: a unit's line program, run once and held against sorted addresses.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gimli::{LineProgramHeader, Range, UnitRef};

use super::{Reader, is_left_out};
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
pub(super) fn rows(unit: UnitRef<'_, Reader<'_>>, addresses: &[u64]) -> Vec<Option<Row>> {
    let mut found = vec![None; addresses.len()];
    let Some(program) = unit.line_program.clone() else { return found };
    let mut rows = program.rows();
    let mut last: Option<(u64, Row)> = None;
    let (mut next, mut missing) = (0, addresses.len());
    while let Ok(Some((_, row))) = rows.next_row() {
        let address = row.address();
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
        let row_line = || row.line().map_or(0, std::num::NonZeroU64::get);
        last = (!row.end_sequence()).then(|| (address, Row { begin, file: row.file_index(), line: row_line() }));
    }
    found
}

/// Where a unit's line program says that it has code.
pub(super) fn sequences(unit: UnitRef<'_, Reader<'_>>) -> Vec<Range> {
    let Some(program) = unit.line_program.clone() else { return Vec::new() };
    let (mut rows, mut found, mut begin) = (program.rows(), Vec::new(), None);
    while let Ok(Some((_, row))) = rows.next_row() {
        let first = *begin.get_or_insert(row.address());
        if row.end_sequence() {
            found.push(Range { begin: first, end: row.address() });
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
pub(super) struct Files<'u, 'a> {
    unit: UnitRef<'u, Reader<'a>>,
    known: HashMap<u64, Option<Arc<str>>>,
}

impl<'u, 'a> Files<'u, 'a> {
    /// Looks nothing up yet.
    pub fn new(unit: UnitRef<'u, Reader<'a>>) -> Self {
        Self { unit, known: HashMap::new() }
    }

    /// A place in a file; line 0 is DWARF for "no line".
    pub fn source(&mut self, texts: &mut HashSet<Arc<str>>, file: Option<u64>, line: u64) -> Option<SourceLine> {
        let file = file?;
        let known = self.known.entry(file);
        let path = known.or_insert_with(|| path(self.unit, file).map(|path| shared(texts, path))).clone();
        Some(SourceLine { file: path?, line: u32::try_from(line).ok().filter(|line| *line > 0) })
    }
}

/// The text that is the same in other units.
fn shared(texts: &mut HashSet<Arc<str>>, text: String) -> Arc<str> {
    if let Some(known) = texts.get(&*text) {
        return Arc::clone(known);
    }
    let text: Arc<str> = text.into();
    texts.insert(Arc::clone(&text));
    text
}

/// The folder that the unit was compiled in, the file's folder, its name: from the last of them on that is absolute.
fn path(unit: UnitRef<'_, Reader<'_>>, number: u64) -> Option<String> {
    let header: &LineProgramHeader<_> = unit.line_program.as_ref()?.header();
    let file = header.file(number)?;
    let mut path = unit.comp_dir.map_or_else(String::new, |folder| folder.to_string_lossy().into_owned());
    let text = |value| unit.attr_string(value).ok().map(|text| text.to_string_lossy().into_owned());
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
