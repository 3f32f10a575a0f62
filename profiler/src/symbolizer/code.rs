//! The code of functions: where a function begins and ends, and its bytes. Runs in the child only; what comes out is bytes, which the
//! parent decodes.
//!
//! A function's bounds are those of its symbol; without one, those that the unwind table gives it (`.eh_frame`, as in Debian's stripped
//! programs). Bytes are given of executable segments only, as far as the file reaches, and of functions that were asked for.

use std::fs::File;
use std::os::unix::fs::FileExt;

use gimli::{BaseAddresses, CieOrFde, EhFrame, EndianSlice, RunTimeEndian, UnwindSection};
use object::{Object, ObjectSection, ObjectSymbol, ReadCache, SymbolKind};

use super::contents::{Contents, Segment};

/// Most functions: a function in parts (`.cold`), or inlined into others.
pub(super) const MAX_PIECES: usize = 16;
/// Most bytes in all. The largest functions of real programs have some hundred kilobytes.
pub(super) const MAX_BYTES: usize = 512 << 10;

/// A function's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the file; its address in memory that is no file.
    pub offset: u64,
    /// The address that the linker gave it.
    pub address: u64,
    /// The code, cut where it is over the limit.
    pub bytes: Vec<u8>,
}

/// The code of some functions of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeBytes {
    /// For which processor: `e_machine` of the ELF header. 0 when the file cannot be read, or the code lies elsewhere: in memory.
    pub machine: u16,
    /// Functions, in the order of what was asked for; offsets that no function covers are left out.
    pub pieces: Vec<Piece>,
}

impl CodeBytes {
    /// Adds a function at an address, as far as there is room; blank, unless `read` fills in its code.
    pub(super) fn push(&mut self, address: u64, len: u64, read: impl FnOnce(&mut [u8]) -> bool) {
        let covers = |piece: &Piece| address.checked_sub(piece.address).is_some_and(|at| at < piece.bytes.len() as u64);
        let left = MAX_BYTES - self.pieces.iter().map(|piece| piece.bytes.len()).sum::<usize>();
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(left);
        if len == 0 || self.pieces.len() == MAX_PIECES || self.pieces.iter().any(covers) {
            return;
        }
        let mut bytes = vec![0; len];
        if address.checked_add(len as u64).is_some() && read(&mut bytes) {
            self.pieces.push(Piece { offset: address, address, bytes });
        }
    }
}

/// The functions that cover these offsets of a file, those of the first offsets as far as there is room.
pub(super) fn code_of(file: &File, offsets: &[u64]) -> CodeBytes {
    read(file, offsets).unwrap_or_default()
}

fn read(file: &File, offsets: &[u64]) -> Option<CodeBytes> {
    let contents = Contents::of(file)?;
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).ok()?;
    let wanted = offsets.iter().enumerate().filter_map(|(rank, offset)| Wanted::at(&contents, *offset, rank));
    let mut wanted: Vec<Wanted> = wanted.collect();
    wanted.sort_by_key(|wanted| wanted.address);
    let mut offer = |begin: u64, len: u64| {
        let end = begin.saturating_add(len);
        let first = wanted.partition_point(|wanted| wanted.address < begin);
        let inside = wanted[first..].iter_mut().take_while(|wanted| wanted.address < end);
        inside.for_each(|wanted| wanted.take(begin, end));
    };
    let is_code = |kind| matches!(kind, SymbolKind::Text | SymbolKind::Unknown);
    for symbol in elf.symbols().chain(elf.dynamic_symbols()).filter(|symbol| is_code(symbol.kind())) {
        offer(symbol.address(), symbol.size());
    }
    if wanted.iter().any(|wanted| wanted.bounds.is_none()) {
        let found = frames(&elf).unwrap_or_default();
        // Where a symbol tells, it knows better: one unwind entry may cover a whole `.plt`.
        wanted.iter_mut().filter(|wanted| wanted.bounds.is_none()).for_each(|wanted| {
            let after = found.partition_point(|(begin, _)| *begin <= wanted.address);
            if let Some((begin, end)) = after.checked_sub(1).map(|before| found[before]) {
                wanted.take(begin, end);
            }
        });
    }
    let mut code = CodeBytes { machine: contents.machine, pieces: Vec::new() };
    let mut left = MAX_BYTES;
    wanted.sort_by_key(|wanted| wanted.rank);
    for Wanted { address, segment, bounds, .. } in wanted {
        let covered =
            |piece: &Piece| address.checked_sub(piece.address).is_some_and(|at| at < piece.bytes.len() as u64);
        let Some((begin, end)) = bounds.filter(|_| !code.pieces.iter().any(covered)) else { continue };
        let begin = begin.max(segment.address);
        let len = end.min(segment.address.saturating_add(segment.len)).saturating_sub(begin);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(left)];
        let offset = segment.offset.checked_add(begin - segment.address)?;
        if bytes.is_empty() || code.pieces.len() == MAX_PIECES || file.read_exact_at(&mut bytes, offset).is_err() {
            continue;
        }
        left -= bytes.len();
        code.pieces.push(Piece { offset, address: begin, bytes });
    }
    Some(code)
}

/// An address whose function is wanted.
struct Wanted {
    address: u64,
    segment: Segment,
    bounds: Option<(u64, u64)>,
    rank: usize,
}

impl Wanted {
    fn at(contents: &Contents, offset: u64, rank: usize) -> Option<Self> {
        let segment = contents.segment_of(offset).filter(|segment| segment.executable)?;
        let address = segment.address.checked_add(offset - segment.offset)?;
        Some(Self { address, segment, bounds: None, rank })
    }

    /// Of several that cover it, the narrowest: a symbol may stand for a whole section.
    fn take(&mut self, begin: u64, end: u64) {
        let covers = (begin..end).contains(&self.address);
        if covers && self.bounds.is_none_or(|(first, last)| end - begin < last - first) {
            self.bounds = Some((begin, end));
        }
    }
}

/// Where the functions that cover these addresses begin, by the unwind table alone: what a stripped file still says of them.
pub(super) fn begins(file: &File, addresses: &[u64]) -> Option<Vec<Option<u64>>> {
    let cache = ReadCache::new(file);
    let found = frames(&object::File::parse(&cache).ok()?)?;
    let begin = |address: &u64| {
        let after = found.partition_point(|(begin, _)| begin <= address);
        let (begin, end) = found[after.checked_sub(1)?];
        (*address < end).then_some(begin)
    };
    Some(addresses.iter().map(begin).collect())
}

/// What `.eh_frame` says of where functions begin and end, by rising address.
fn frames<'data>(elf: &object::File<'data, &'data ReadCache<&'data File>>) -> Option<Vec<(u64, u64)>> {
    let address_of = |name| elf.section_by_name(name).map_or(0, |section| section.address());
    let section = elf.section_by_name(".eh_frame")?;
    let data = section.data().ok()?;
    let endian = if elf.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let mut table = EhFrame::from(EndianSlice::new(data, endian));
    table.set_address_size(if elf.is_64() { 8 } else { 4 });
    let bases = BaseAddresses::default().set_eh_frame(section.address()).set_text(address_of(".text"));
    let (mut entries, mut found) = (table.entries(&bases), Vec::new());
    while let Ok(Some(entry)) = entries.next() {
        if let CieOrFde::Fde(partial) = entry
            && let Ok(fde) = partial.parse(EhFrame::cie_from_offset)
        {
            found.push((fde.initial_address(), fde.initial_address().saturating_add(fde.len())));
        }
    }
    found.sort_unstable();
    Some(found)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::process::Command;

    use super::*;

    const SOURCE: &str = "
        static volatile int sink;
        __attribute__((noinline)) void first(int n) { for (int i = 0; i < n; i++) sink += i * 7; }
        __attribute__((noinline)) void second(int n) { sink -= n; first(n); }
        int main(void) { second(10); return sink; }";

    fn run(command: &str, folder: &std::path::Path) -> String {
        let output = Command::new("sh").current_dir(folder).args(["-ec", command]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Address and size of the functions of a program that `cc` makes, and the program, as it is and stripped.
    fn program() -> (tempfile::TempDir, Vec<(String, u64, u64)>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("program.c"), SOURCE).unwrap();
        run("cc -O2 -o program program.c && strip -o stripped program", dir.path());
        let functions = run("nm -S program", dir.path());
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let functions = functions.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [address, size, "T" | "t", name] = fields[..] else { return None };
            Some((name.to_owned(), hex(address), hex(size)))
        });
        let functions = functions.filter(|(name, ..)| ["first", "second", "main"].contains(&name.as_str())).collect();
        (dir, functions)
    }

    /// With a symbol table and without one, each function has its own bytes, however it was hit.
    #[test]
    fn functions_have_their_own_bytes() {
        let (dir, functions) = program();
        assert_eq!(functions.len(), 3);
        for name in ["program", "stripped"] {
            let file = File::open(dir.path().join(name)).unwrap();
            let contents = Contents::of(&file).unwrap();
            for (function, address, size) in &functions {
                let segment = contents.segments.iter().find(|segment| segment.executable).unwrap();
                let offset = address - segment.address + segment.offset;
                let found = code_of(&file, &[offset + 1, offset, offset + size - 1]);
                let [piece] = &found.pieces[..] else { panic!("{function} of {name}: {found:?}") };
                assert_eq!((piece.address, piece.bytes.len() as u64), (*address, *size), "{function} of {name}");
                let mut bytes = vec![0; *size as usize];
                file.read_exact_at(&mut bytes, offset).unwrap();
                assert_eq!(piece.bytes, bytes);
            }
        }
    }

    /// Nothing but code is given out: not data, not headers, not what lies beyond the file, and nothing of what is no ELF file.
    #[test]
    fn nothing_but_code_is_given_out() {
        let (dir, _) = program();
        let file = File::open(dir.path().join("program")).unwrap();
        let len = file.metadata().unwrap().len();
        let contents = Contents::of(&file).unwrap();
        let code = |offset: &u64| {
            contents.segments.iter().any(|s| s.executable && (s.offset..s.offset + s.len).contains(offset))
        };
        let elsewhere: Vec<u64> = (0..len + 100).step_by(16).filter(|offset| !code(offset)).collect();
        assert!(elsewhere.len() > 100);
        assert_eq!(code_of(&file, &elsewhere).pieces, []);
        let text = File::open(dir.path().join("program.c")).unwrap();
        assert_eq!(code_of(&text, &[0, 10]), CodeBytes::default());
    }
}
