//! Names for code that a running program wrote, from the file in which its runtime tells of it. Runs in the child only.
//!
//! Two forms: `perf-PID.map`, a line for each function (start and size in hexadecimal, name; the kernel's
//! `tools/perf/Documentation/jit-interface.txt`), and `jit-PID.dump`, binary records (`jitdump-specification.txt` there). Both grow
//! while the program runs and may tell of an address twice: what comes last holds. Nothing is kept but the answers, so a file's
//! length costs time only, and that is bounded.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;

use super::code::CodeBytes;
use crate::process::MAX_JIT_MAP;
use crate::profile::{SourceLine, Symbol, Symbolized, UnknownReason, printable_name};

/// Most lines or records read.
const MAX_ENTRIES: usize = 1_000_000;
/// Longest line read; what is beyond is no name.
const MAX_LINE: u64 = 8192;
/// Longest name kept.
const MAX_NAME: usize = 4096;

/// Names for each address, in order.
pub(super) fn symbolize(file: &File, addresses: &[u64]) -> Vec<Symbolized> {
    let names = read_all(file, addresses).told.into_iter().map(|told| match told {
        Some(told) => Symbolized::Named(vec![symbol(&told.name)]),
        None => Symbolized::Unknown(UnknownReason::NotFound),
    });
    names.collect()
}

/// The functions that cover these addresses: their code as a dump has it; blank of a map, which tells only where it is.
pub(super) fn code_of(file: &File, addresses: &[u64]) -> CodeBytes {
    let Answers { told, machine, .. } = read_all(file, addresses);
    let mut code = CodeBytes { machine, pieces: Vec::new() };
    for Told { start, len, code: at, .. } in told.into_iter().flatten() {
        code.push(start, len, |bytes| at.is_none_or(|at| file.read_exact_at(bytes, at).is_ok()));
    }
    code
}

fn read_all(file: &File, addresses: &[u64]) -> Answers {
    let mut answers = Answers::new(addresses);
    let mut magic = [0; 4];
    let read = if file.read_exact_at(&mut magic, 0).is_ok() && magic == JITDUMP {
        read_dump(file, &mut answers)
    } else {
        read_map(BufReader::with_capacity(64 << 10, At { file, at: 0 }.take(MAX_JIT_MAP)), &mut answers)
    };
    // What was read before a fault is still true.
    let _ = read;
    answers
}

/// The addresses asked for, and what is known of them so far.
struct Answers {
    /// Sorted, with the place of each in `told`.
    addresses: Vec<(u64, usize)>,
    told: Vec<Option<Told>>,
    /// For which processor code is, where it is there.
    machine: u16,
}

/// What is known of a function.
#[derive(Clone, Debug)]
struct Told {
    start: u64,
    len: u64,
    name: String,
    /// Where in the file its code is.
    code: Option<u64>,
}

impl Answers {
    fn new(addresses: &[u64]) -> Self {
        let mut sorted: Vec<_> = addresses.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        Self { addresses: sorted, told: vec![None; addresses.len()], machine: 0 }
    }

    /// Tells that a function is at these addresses, from now on.
    fn tell(&mut self, start: u64, len: u64, name: &[u8], code: Option<u64>) {
        let first = self.addresses.partition_point(|(address, _)| *address < start);
        let inside = self.addresses[first..].iter().take_while(|(address, _)| address - start < len);
        for (_, at) in inside {
            let name = printable_name(name, MAX_NAME);
            self.told[*at] = Some(Told { start, len, name, code });
        }
    }
}

fn read_map(mut map: impl BufRead, answers: &mut Answers) -> io::Result<()> {
    let mut line = Vec::new();
    for _ in 0..MAX_ENTRIES {
        line.clear();
        map.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        // The last line may not be whole yet.
        let Some(text) = line.strip_suffix(b"\n") else {
            if (line.len() as u64) < MAX_LINE {
                break;
            }
            map.skip_until(b'\n')?;
            continue;
        };
        let mut fields = text.splitn(3, |byte| *byte == b' ');
        let mut number = || {
            let text = std::str::from_utf8(fields.next()?).ok()?;
            u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
        };
        if let (Some(start), Some(len)) = (number(), number())
            && let Some(name) = fields.next().filter(|name| !name.is_empty())
        {
            answers.tell(start, len, name, None);
        }
    }
    Ok(())
}

/// `JiTD` as this machine's bytes.
const JITDUMP: [u8; 4] = 0x4A69_5444_u32.to_ne_bytes();
/// Where the size of the header stands in it.
const HEADER_SIZE: u64 = 8;
/// Where the processor stands in it (`e_machine`).
const MACHINE: u64 = 12;
const CODE_LOAD: u32 = 0;
/// Bytes of a record before its body: its kind, its size, its time.
const RECORD: u64 = 16;
/// Bytes of a load before the name: pid, tid, address (twice), size, number.
const LOAD: u64 = 40;

fn read_dump(file: &File, answers: &mut Answers) -> io::Result<()> {
    let u32_at = |at| read::<4>(file, at).map(u32::from_ne_bytes);
    let u64_at = |at| read::<8>(file, at).map(u64::from_ne_bytes);
    answers.machine = u32_at(MACHINE)?.try_into().unwrap_or(0);
    let mut at = u64::from(u32_at(HEADER_SIZE)?);
    for _ in 0..MAX_ENTRIES {
        let (kind, size) = (u32_at(at)?, u64::from(u32_at(at + 4)?));
        if size < RECORD {
            break;
        }
        if kind == CODE_LOAD && size > RECORD + LOAD {
            let body = at + RECORD;
            let (start, len) = (u64_at(body + 16)?, u64_at(body + 24)?);
            let name = |most: usize| -> io::Result<Vec<u8>> {
                let mut name = vec![0; usize::try_from(size - RECORD - LOAD).unwrap_or(most).min(most)];
                let read = file.read_at(&mut name, body + LOAD)?;
                name.truncate(read);
                Ok(name)
            };
            let mut text = name(MAX_NAME)?;
            if text.len() == MAX_NAME && !text.contains(&0) {
                text = name(MAX_LINE as usize)?;
            }
            let name = text.split(|byte| *byte == 0).next().unwrap_or_default();
            // The code follows the name.
            answers.tell(start, len, name, Some(body + LOAD + name.len() as u64 + 1));
        }
        at = at.checked_add(size).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(())
}

fn read<const N: usize>(file: &File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Reads a file from a place on.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Takes a name apart where the runtime puts the file into it.
fn symbol(text: &str) -> Symbol {
    let plain = |name: &str| Symbol { name: name.into(), raw: None, source: None, declared: None, inlined: false };
    // CPython: `py::function:/path/file.py`.
    if let Some(python) = text.strip_prefix("py::") {
        let Some((name, file)) = python.split_once(':').filter(|(name, _)| !name.is_empty()) else {
            return plain(text);
        };
        let source = SourceLine { file: file.into(), line: None };
        return Symbol { name: name.into(), raw: None, source: Some(source), declared: None, inlined: false };
    }
    // V8: `JS:*function file:///path/file.js:12:3`, with a mark for how well it is compiled (`~`, `^`, `+`, `*`).
    let script =
        ["JS:", "LazyCompile:", "Function:", "Script:", "Eval:"].iter().find_map(|kind| text.strip_prefix(kind));
    let Some(script) = script else { return plain(text) };
    let script = script.trim_start_matches(['~', '^', '+', '*']);
    let Some((name, place)) = script.split_once(' ') else { return plain(script) };
    let name = if name.is_empty() { "(anonymous)" } else { name };
    let mut parts = place.rsplitn(3, ':');
    let (column, line, file) = (parts.next(), parts.next(), parts.next());
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
    let source = match (file, number(line), number(column)) {
        (Some(file), Some(line), Some(_)) => SourceLine { file: file.into(), line: Some(line) },
        _ => SourceLine { file: place.into(), line: None },
    };
    Symbol { name: name.into(), raw: None, source: Some(source), declared: None, inlined: false }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Write;

    use proptest::prelude::*;

    use super::super::code::{MAX_BYTES, Piece};
    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn names(content: &[u8], addresses: &[u64]) -> Vec<String> {
        let name = |answer| match answer {
            Symbolized::Named(symbols) => symbols[0].name.to_string(),
            Symbolized::Unknown(reason) | Symbolized::Nameless(reason, _) => format!("{reason:?}"),
        };
        symbolize(&file_of(content), addresses).into_iter().map(name).collect()
    }

    /// A function covers its addresses and no more; of two that cover one address, the later holds; a line that is not whole, or
    /// makes no sense, is no function.
    #[test]
    fn the_last_word_holds() {
        let map = b"1000 10 first\n0x2000 20 second one\nnonsense\n1008 8 later\n3000 10\n3000 zz bad\n4000 10 unfinis";
        let addresses = [0x4000, 0x1000, 0x1007, 0x1008, 0x100f, 0x1010, 0x2010, 0x0fff, 0x3000];
        let expected =
            ["NotFound", "first", "first", "later", "later", "NotFound", "second one", "NotFound", "NotFound"];
        assert_eq!(names(map, &addresses), expected);
    }

    /// CPython's own lines, as `python3.12 -X perf` and 3.13 wrote them: function and file, whatever stands in the function's name.
    #[test]
    fn a_map_of_cpython_is_read() {
        let map = b"7f93a1ab6cb0 b py::<module>:/srv/hot.py\n7f93a1ab6cc0 b py::Shop:/srv/hot.py\n\
            7f93a1ab6ce0 b py::Shop.serve:/srv/hot.py\n7f93a1ab6cf0 b py::Shop.serve.<locals>.<genexpr>:/srv/hot.py\n\
            7f93a1ab6d00 b py::_find_and_load:<frozen importlib._bootstrap>\n";
        let addresses = [0x7f93_a1ab_6cb5, 0x7f93_a1ab_6cba, 0x7f93_a1ab_6cbb, 0x7f93_a1ab_6cf7, 0x7f93_a1ab_6d07];
        let found = symbolize(&file_of(map), &addresses);
        let place = |answer: &Symbolized| match answer {
            Symbolized::Named(symbols) => {
                let file = symbols[0].source.as_ref().map(|source| &*source.file);
                format!("{} {}", symbols[0].name, file.unwrap_or("-"))
            }
            Symbolized::Unknown(reason) | Symbolized::Nameless(reason, _) => format!("{reason:?}"),
        };
        let expected = [
            "<module> /srv/hot.py",
            "<module> /srv/hot.py",
            "NotFound",
            "Shop.serve.<locals>.<genexpr> /srv/hot.py",
            "_find_and_load <frozen importlib._bootstrap>",
        ];
        assert_eq!(found.iter().map(place).collect::<Vec<_>>(), expected);
    }

    /// A line without end is passed over, and what follows is read.
    #[test]
    fn a_line_without_end_is_passed_over() {
        let map = [b"1000 10 ".as_slice(), &[b'x'; 100_000], b"\n2000 10 good\n"].concat();
        assert_eq!(names(&map, &[0x1000, 0x2000]), ["NotFound", "good"]);
    }

    /// Records of a jitdump: loads are functions, others are passed over; a record cut short ends it.
    #[test]
    fn a_jitdump_is_read() {
        let record = |kind: u32, body: &[u8]| {
            let size = RECORD as u32 + body.len() as u32;
            [&kind.to_ne_bytes()[..], &size.to_ne_bytes(), &7_u64.to_ne_bytes(), body].concat()
        };
        let load = |start: u64, len: u64, name: &str| {
            let numbers = [start, start, len, 1].map(u64::to_ne_bytes).concat();
            record(CODE_LOAD, &[&[0; 8][..], &numbers, name.as_bytes(), &[0], &vec![0x90; len as usize]].concat())
        };
        let words = [1_u32, 40, 62].map(u32::to_ne_bytes).concat();
        let header = [&JITDUMP[..], &words, &[0; 24]].concat();
        let dump =
            [header, load(0x1000, 16, "one"), record(2, &[0; 50]), load(0x2000, 16, "two"), load(0x3000, 16, "cut")];
        let dump = dump.concat();
        let addresses = [0x1000, 0x200f, 0x2010, 0x3000];
        assert_eq!(names(&dump, &addresses), ["one", "two", "NotFound", "cut"]);
        assert_eq!(names(&dump[..dump.len() - 60], &addresses), ["one", "two", "NotFound", "NotFound"]);
        let code = code_of(&file_of(&dump), &addresses);
        let pieces: Vec<_> = code.pieces.iter().map(|piece| (piece.address, piece.bytes.clone())).collect();
        assert_eq!(pieces, [0x1000, 0x2000, 0x3000].map(|start| (start, vec![0x90; 16])));
        assert_eq!(code.machine, 62);
    }

    /// A map says where code is, not what: it is blank, and no machine's. A function without end is cut.
    #[test]
    fn a_map_tells_where_code_is() {
        let code = code_of(&file_of(b"1000 10 first\n2000 ffffffffffff endless\n"), &[0x2010, 0x1001, 0x1002, 0x500]);
        let pieces: Vec<_> = code.pieces.iter().map(|piece| (piece.address, piece.bytes.len())).collect();
        assert_eq!((code.machine, &pieces[..]), (0, &[(0x2000, MAX_BYTES)][..]), "what is left of the room is nothing");
        let code = code_of(&file_of(b"1000 10 first\n"), &[0x1001, 0x1002]);
        assert_eq!(code.pieces, [Piece { offset: 0x1000, address: 0x1000, bytes: vec![0; 16] }]);
    }

    /// Runtimes put the file into the name: it is shown where files are shown.
    #[test]
    fn files_are_taken_out_of_names() {
        let source = |text| {
            let symbol = symbol(text);
            (symbol.name, symbol.source.map(|source| (source.file, source.line)))
        };
        let at = |name: &str, file: &str, line| (name.into(), Some((file.into(), line)));
        assert_eq!(source("py::hot:/srv/app.py"), at("hot", "/srv/app.py", None));
        assert_eq!(source("JS:*hot file:///srv/app.js:12:3"), at("hot", "file:///srv/app.js", Some(12)));
        assert_eq!(source("LazyCompile:~ /srv/app.js:1:1"), at("(anonymous)", "/srv/app.js", Some(1)));
        assert_eq!(source("JS:^eval [eval]"), at("eval", "[eval]", None));
        assert_eq!(source("Builtin:ArrayMap"), ("Builtin:ArrayMap".into(), None));
        assert_eq!(source("py::"), ("py::".into(), None));
    }

    proptest! {
        /// Whatever a program writes, every address has an answer, printable and short.
        #[test]
        fn any_bytes_are_survived(
            dump in any::<bool>(), content in proptest::collection::vec(any::<u8>(), 0..400), addresses in any::<[u64; 4]>()
        ) {
            let content = if dump { [&JITDUMP[..], &1_u32.to_ne_bytes(), &12_u32.to_ne_bytes(), &content].concat() } else { content };
            prop_assert!(code_of(&file_of(&content), &addresses).pieces.len() <= addresses.len());
            for answer in symbolize(&file_of(&content), &addresses) {
                if let Symbolized::Named(symbols) = answer {
                    prop_assert!(symbols[0].name.len() <= MAX_NAME);
                    prop_assert!(symbols[0].name.chars().all(crate::profile::is_printable));
                }
            }
        }

        /// In any order of lines, an address has the name of the last line that covers it.
        #[test]
        fn the_last_line_that_covers_an_address_names_it(lines in proptest::collection::vec((0..64_u64, 1..32_u64), 1..20)) {
            let map: String = lines.iter().enumerate().map(|(n, (start, len))| format!("{start:x} {len:x} f{n}\n")).collect();
            let addresses: Vec<u64> = (0..100).collect();
            let expected = |address: &u64| {
                let covers = |(start, len): &(u64, u64)| *start <= *address && *address < start + len;
                lines.iter().rposition(covers).map_or("NotFound".to_owned(), |n| format!("f{n}"))
            };
            prop_assert_eq!(names(map.as_bytes(), &addresses), addresses.iter().map(expected).collect::<Vec<_>>());
        }
    }
}
