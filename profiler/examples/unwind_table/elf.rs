//! Names that a profiler did not have: from the file's own symbols, from the debug file that Debian's -dbg packages install,
//! and the entry point that every file has.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};

use crate::bytes;

/// The longest `_start`: code this far behind the entry point belongs to it.
const START_BYTES: u64 = 64;

struct Names {
    /// File offset to address: (offset, address, size) of each segment.
    segments: Vec<(u64, u64, u64)>,
    entry: u64,
    /// (address, size, name), by address.
    functions: Vec<(u64, u64, String)>,
}

static READ: Mutex<Option<HashMap<PathBuf, Names>>> = Mutex::new(None);

/// The function at a file offset, if anything tells.
pub fn function_at(path: &Path, offset: u64) -> Option<String> {
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let names = read.get_or_insert_default().entry(path.to_owned()).or_insert_with(|| Names::read(path));
    let (start, address, _) =
        names.segments.iter().find(|(start, _, size)| (*start..start + size).contains(&offset))?;
    names.at(offset - start + address)
}

impl Names {
    fn read(path: &Path) -> Self {
        let mut names = Self { segments: vec![], entry: 0, functions: vec![] };
        let data = bytes(path);
        let Ok(file) = object::File::parse(&*data) else { return names };
        names.entry = file.entry();
        names.segments = file
            .segments()
            .map(|segment| (segment.file_range().0, segment.address(), segment.file_range().1))
            .collect();
        names.add(&file);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        if let Ok(Some([first, rest @ ..])) = file.build_id() {
            let debug = format!("/usr/lib/debug/.build-id/{first:02x}/{}.debug", hex(rest));
            let data = bytes(Path::new(&debug));
            if let Ok(file) = object::File::parse(&*data) {
                names.add(&file);
            }
        }
        names.functions.sort();
        names
    }

    fn add(&mut self, file: &object::File<'_>) {
        let symbols = file.symbols().chain(file.dynamic_symbols());
        let functions = symbols.filter(|symbol| symbol.is_definition() && symbol.size() > 0);
        let named =
            functions.filter_map(|symbol| Some((symbol.address(), symbol.size(), symbol.name().ok()?.to_owned())));
        self.functions.extend(named);
    }

    fn at(&self, address: u64) -> Option<String> {
        let after = self.functions.partition_point(|(start, ..)| *start <= address);
        let covers = |(start, size, _): &&(u64, u64, String)| address < start + size;
        // Symbols may nest; the one that begins last wins, and a few steps back are enough.
        let found = self.functions[..after].iter().rev().take(8).find(covers).map(|(.., name)| name.clone());
        let at_entry = (self.entry..self.entry + START_BYTES).contains(&address);
        found.or_else(|| at_entry.then(|| "_start".to_owned()))
    }
}
