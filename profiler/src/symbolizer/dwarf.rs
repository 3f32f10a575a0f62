//! Names from debug information that lies in several files: what `dwz` has moved to a second one, as in Debian's debug packages, and split
//! debug information, in a package (`.dwp`) or beside its object files (`.dwo`). Runs in the child only.
//!
//! The `addr2line` library knows how they belong together. It builds tables and holds sections twice, so it is asked for these files only:
//! what lies in one file is `debug_info.rs`'s.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use addr2line::gimli::{
    Dwarf, DwarfFileType, DwarfPackage, DwoId, EndianArcSlice, Error, Reader as _, RunTimeEndian, SectionId,
};
use addr2line::{Context, Frame, FrameIter, LookupContinuation, LookupResult, SplitDwarfLoad};
use object::{Object, ObjectSection, ReadCache};

use super::demangle::function;
use super::packed::MAX_SYMBOLS;
use crate::profile::{SourceLine, Symbol, Symbolized, UnknownReason};

/// Most files of split debug information that one question is answered from.
pub(super) const MAX_UNITS: usize = 16;

type Reader = EndianArcSlice<RunTimeEndian>;
type Elf<'a> = object::File<'a, &'a ReadCache<&'a File>>;

/// The second file, in a copy of ours.
#[derive(Clone, Copy)]
pub(super) enum Second<'a> {
    /// What `dwz` found to be in several files.
    Shared(&'a File),
    /// A package of split debug information.
    Package(&'a File),
    /// Split debug information of some units, a file each. They are foreign, and read, never mapped.
    Units(&'a [File]),
}

/// Files of split debug information, as the debug information of a program names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// So many of the offsets asked for, from the first on, lie in these units or in none that is split.
    pub covered: u32,
    /// Paths, each below the folder that it was compiled in: folder, path.
    pub files: Vec<(String, String)>,
}

/// The files with the split debug information of these addresses, of as many from the first on as [`MAX_UNITS`] files tell of.
pub(super) fn units_of(file: &File, addresses: &[Option<u64>]) -> Units {
    let mut units = Units { covered: addresses.len() as u32, files: Vec::new() };
    let cache = ReadCache::new(file);
    let Some(context) = object::File::parse(&cache).ok().and_then(|elf| {
        let dwarf = Dwarf::load(|id| Ok::<_, Error>(section(&elf, Some(id.name())))).ok()?;
        Context::from_dwarf(dwarf).ok()
    }) else {
        return units;
    };
    let text = |text: Option<Reader>| Some(text?.to_string_lossy().ok()?.into_owned());
    for (nth, address) in (0_u32..).zip(addresses) {
        let Some(LookupResult::Load { load, .. }) = address.map(|address| context.find_frames(address)) else {
            continue;
        };
        let Some(path) = text(load.path).filter(|path| !path.is_empty()) else { continue };
        let unit = (text(load.comp_dir).unwrap_or_default(), path);
        if units.files.contains(&unit) {
            continue;
        }
        if units.files.len() == MAX_UNITS {
            units.covered = nth;
            break;
        }
        units.files.push(unit);
    }
    units
}

/// Names for each address, in order; `None` when the debug information makes no sense. `first` is a copy of ours, too.
pub(super) fn symbolize(first: &File, second: Second<'_>, addresses: &[u64]) -> Option<Vec<Symbolized>> {
    let first = ReadCache::new(first);
    let first = object::File::parse(&first).ok()?;
    let mut dwarf = Dwarf::load(|id| Ok::<_, Error>(section(&first, Some(id.name())))).ok()?;
    let split = match second {
        Second::Shared(file) => {
            let file = ReadCache::new(file);
            let file = object::File::parse(&file).ok()?;
            dwarf.load_sup(|id| Ok::<_, Error>(section(&file, Some(id.name())))).ok()?;
            Split::default()
        }
        Second::Package(file) => {
            let file = ReadCache::new(file);
            let file = object::File::parse(&file).ok()?;
            let of_package = |id: SectionId| Ok::<_, Error>(section(&file, id.dwo_name()));
            Split { package: Some(DwarfPackage::load(of_package, section(&file, None)).ok()?), ..Split::default() }
        }
        Second::Units(files) => {
            Split { units: RefCell::new(files.iter().filter_map(unit).collect()), ..Split::default() }
        }
    };
    let context = Context::from_dwarf(dwarf).ok()?;
    Some(addresses.iter().map(|address| name(frames(&context, &split, *address))).collect())
}

/// Split debug information that was given.
#[derive(Default)]
struct Split {
    package: Option<DwarfPackage<Reader>>,
    /// Those not used yet: the context keeps what it was given.
    units: RefCell<HashMap<DwoId, Dwarf<Reader>>>,
}

impl Split {
    /// That of one unit: the number of a unit is in both files, and changes with its content.
    fn unit(&self, load: &SplitDwarfLoad<Reader>) -> Option<Arc<Dwarf<Reader>>> {
        if let Some(package) = &self.package {
            return package.find_cu(load.dwo_id, &load.parent).ok().flatten().map(Arc::new);
        }
        let mut unit = self.units.borrow_mut().remove(&load.dwo_id)?;
        unit.make_dwo(&load.parent);
        Some(Arc::new(unit))
    }
}

/// A unit's split debug information, with the unit's number.
fn unit(file: &File) -> Option<(DwoId, Dwarf<Reader>)> {
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).ok()?;
    let mut dwarf = Dwarf::load(|id| Ok::<_, Error>(section(&elf, id.dwo_name()))).ok()?;
    dwarf.file_type = DwarfFileType::Dwo;
    // Units of types come first, and have no such number.
    let mut headers = dwarf.units();
    while let Ok(Some(header)) = headers.next() {
        if let Ok(unit) = dwarf.unit(header)
            && let Some(id) = unit.dwo_id
        {
            return Some((id, dwarf));
        }
    }
    None
}

/// A section's content, unpacked; empty when it is not there or broken.
fn section<'a>(file: &Elf<'a>, name: Option<&str>) -> Reader {
    let section = name.and_then(|name| file.section_by_name(name));
    let content = section.and_then(|section| section.uncompressed_data().ok()).unwrap_or(Cow::Borrowed(&[]));
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    EndianArcSlice::new(content.into(), endian)
}

/// The functions at an address, with the unit that lies elsewhere.
fn frames<'a>(context: &'a Context<Reader>, split: &Split, address: u64) -> Option<FrameIter<'a, Reader>> {
    let mut found = context.find_frames(address);
    loop {
        match found {
            LookupResult::Output(frames) => return frames.ok(),
            LookupResult::Load { load, continuation } => {
                found = continuation.resume(split.unit(&load));
            }
        }
    }
}

fn name(frames: Option<FrameIter<'_, Reader>>) -> Symbolized {
    let not_found = Symbolized::Unknown(UnknownReason::NotFound);
    let Some(mut frames) = frames else { return not_found };
    let mut symbols = Vec::new();
    let mut is_outermost_named = false;
    while symbols.len() < MAX_SYMBOLS
        && let Ok(Some(frame)) = frames.next()
    {
        // An inlined function without a name is left out, no more; who called it is as before.
        let symbol = symbol(&frame);
        is_outermost_named = symbol.is_some();
        symbols.extend(symbol);
    }
    let Some(last) = symbols.last_mut().filter(|_| is_outermost_named) else { return not_found };
    last.inlined = false;
    Symbolized::Named(symbols)
}

/// `None` when the function has no name: the symbol table may have one.
fn symbol(frame: &Frame<'_, Reader>) -> Option<Symbol> {
    let function = function(&frame.function.as_ref()?.raw_name().ok()?);
    let source = frame.location.as_ref().and_then(|location| {
        Some(SourceLine { file: location.file?.into(), line: location.line.filter(|line| *line > 0) })
    });
    Some(Symbol { source, inlined: true, ..function })
}

#[cfg(test)]
mod tests;
