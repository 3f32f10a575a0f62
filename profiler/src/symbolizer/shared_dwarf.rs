//! Names from debug information that `dwz` has spread over two files, as in Debian's debug packages. Runs in the child only.
//!
//! blazesym 0.2.7 reads the second file, but leaves inlined functions that are described there without a name; the `addr2line`
//! library names them. It reads into memory, at about twice the cost, so it is asked for these files only.

use std::borrow::Cow;
use std::fs::File;

use addr2line::gimli::{Dwarf, EndianRcSlice, RunTimeEndian, SectionId};
use addr2line::{Context, Frame};
use object::{Object, ObjectSection, ReadCache};

use crate::profile::{SourceLine, Symbol, Symbolized, UnknownReason};

type Reader = EndianRcSlice<RunTimeEndian>;

/// Names for each address, in order; `None` when the debug information makes no sense. Both files are copies of ours.
pub(super) fn symbolize(debug: &File, shared: &File, addresses: &[u64]) -> Option<Vec<Symbolized>> {
    let (debug, shared) = (ReadCache::new(debug), ReadCache::new(shared));
    let (debug, shared) = (object::File::parse(&debug).ok()?, object::File::parse(&shared).ok()?);
    let mut dwarf = Dwarf::load(|id| Some(section(&debug, id)).ok_or(())).ok()?;
    dwarf.load_sup(|id| Some(section(&shared, id)).ok_or(())).ok()?;
    let context = Context::from_dwarf(dwarf).ok()?;
    Some(addresses.iter().map(|address| name(&context, *address)).collect())
}

/// A section's content, unpacked; empty when it is not there or broken.
fn section<'a>(file: &object::File<'a, &'a ReadCache<&'a File>>, id: SectionId) -> Reader {
    let content = file.section_by_name(id.name()).and_then(|section| section.uncompressed_data().ok());
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    EndianRcSlice::new(content.unwrap_or(Cow::Borrowed(&[])).into(), endian)
}

fn name(context: &Context<Reader>, address: u64) -> Symbolized {
    // Debug information in a third file (`.dwo`) is not loaded.
    let Ok(mut frames) = context.find_frames(address).skip_all_loads() else {
        return Symbolized::Unknown(UnknownReason::NotFound);
    };
    let mut symbols = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        let Some(symbol) = symbol(&frame) else { break };
        if symbols.len() == super::wire::MAX_SYMBOLS {
            break;
        }
        symbols.push(symbol);
    }
    match symbols.last_mut() {
        Some(last) => last.inlined = false,
        None => return Symbolized::Unknown(UnknownReason::NotFound),
    }
    Symbolized::Named(symbols)
}

/// `None` when the function has no name: the symbol table may have one.
fn symbol(frame: &Frame<'_, Reader>) -> Option<Symbol> {
    let name = frame.function.as_ref()?.demangle().ok()?.into_owned();
    let source = frame.location.as_ref().and_then(|location| {
        Some(SourceLine { file: location.file?.to_owned(), line: location.line.filter(|line| *line > 0) })
    });
    Some(Symbol { name, source, inlined: true })
}
