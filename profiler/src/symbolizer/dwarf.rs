//! Names from debug information that lies in two files: what `dwz` has moved to a second one, as in Debian's debug packages, and split
//! debug information in a package (`.dwp`). Runs in the child only.
//!
//! blazesym 0.2.7 reads dwz's second file, but leaves inlined functions that are described there without a name, and looks for packages by
//! path only. The `addr2line` library does both. It reads into memory, at about twice the cost, so it is asked for these files only.

use std::borrow::Cow;
use std::fs::File;
use std::sync::Arc;

use addr2line::gimli::{Dwarf, DwarfPackage, EndianArcSlice, Error, RunTimeEndian, SectionId};
use addr2line::{Context, Frame, FrameIter, LookupContinuation, LookupResult};
use object::{Object, ObjectSection, ReadCache};

use super::demangle::function;
use super::wire::MAX_SYMBOLS;
use crate::profile::{SourceLine, Symbol, Symbolized, UnknownReason};

type Reader = EndianArcSlice<RunTimeEndian>;
type Elf<'a> = object::File<'a, &'a ReadCache<&'a File>>;

/// The second file, in a copy of ours.
#[derive(Clone, Copy)]
pub(super) enum Second<'a> {
    /// What `dwz` found to be in several files.
    Shared(&'a File),
    /// A package of split debug information.
    Package(&'a File),
}

/// Names for each address, in order; `None` when the debug information makes no sense. `first` is a copy of ours, too.
pub(super) fn symbolize(first: &File, second: Second<'_>, addresses: &[u64]) -> Option<Vec<Symbolized>> {
    let (Second::Shared(file) | Second::Package(file)) = second;
    let (first, file) = (ReadCache::new(first), ReadCache::new(file));
    let (first, file) = (object::File::parse(&first).ok()?, object::File::parse(&file).ok()?);
    let mut dwarf = Dwarf::load(|id| Ok::<_, Error>(section(&first, Some(id.name())))).ok()?;
    let package = match second {
        Second::Shared(_) => {
            dwarf.load_sup(|id| Ok::<_, Error>(section(&file, Some(id.name())))).ok()?;
            None
        }
        Second::Package(_) => {
            let of_package = |id: SectionId| Ok::<_, Error>(section(&file, id.dwo_name()));
            Some(DwarfPackage::load(of_package, section(&file, None)).ok()?)
        }
    };
    let context = Context::from_dwarf(dwarf).ok()?;
    Some(addresses.iter().map(|address| name(frames(&context, package.as_ref(), *address))).collect())
}

/// A section's content, unpacked; empty when it is not there or broken.
fn section<'a>(file: &Elf<'a>, name: Option<&str>) -> Reader {
    let section = name.and_then(|name| file.section_by_name(name));
    let content = section.and_then(|section| section.uncompressed_data().ok()).unwrap_or(Cow::Borrowed(&[]));
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    EndianArcSlice::new(content.into(), endian)
}

/// The functions at an address, with the unit that the package has of it.
fn frames<'a>(
    context: &'a Context<Reader>,
    package: Option<&DwarfPackage<Reader>>,
    address: u64,
) -> Option<FrameIter<'a, Reader>> {
    let mut found = context.find_frames(address);
    loop {
        match found {
            LookupResult::Output(frames) => return frames.ok(),
            LookupResult::Load { load, continuation } => {
                let unit = package.and_then(|package| package.find_cu(load.dwo_id, &load.parent).ok().flatten());
                found = continuation.resume(unit.map(Arc::new));
            }
        }
    }
}

fn name(frames: Option<FrameIter<'_, Reader>>) -> Symbolized {
    let not_found = Symbolized::Unknown(UnknownReason::NotFound);
    let Some(mut frames) = frames else { return not_found };
    let mut symbols = Vec::new();
    while symbols.len() < MAX_SYMBOLS
        && let Ok(Some(frame)) = frames.next()
        && let Some(symbol) = symbol(&frame)
    {
        symbols.push(symbol);
    }
    let Some(last) = symbols.last_mut() else { return not_found };
    last.inlined = false;
    Symbolized::Named(symbols)
}

/// `None` when the function has no name: the symbol table may have one.
fn symbol(frame: &Frame<'_, Reader>) -> Option<Symbol> {
    let function = function(&frame.function.as_ref()?.raw_name().ok()?);
    let source = frame.location.as_ref().and_then(|location| {
        Some(SourceLine { file: location.file?.to_owned(), line: location.line.filter(|line| *line > 0) })
    });
    Some(Symbol { source, inlined: true, ..function })
}
