#![expect(clippy::unwrap_used, reason = "tests")]

mod go;

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::super::memfd::fixed_memfd;
use super::*;

/// `leaf` is inlined into `middle`, and that into `outer`; each on lines of its own.
const SOURCE: &str = "\
static volatile int sink;
static inline __attribute__((always_inline)) void leaf(int n) {
    for (int i = 0; i < n; i++)
        sink += i * 7 / (n + 3);
}
static inline __attribute__((always_inline)) void middle(int n) {
    leaf(n + 1);
}
__attribute__((noinline)) void outer(int n) {
    middle(n + 2);
}
int main(void) {
    outer(10);
    return sink;
}
";

struct Program {
    dir: TempDir,
    path: PathBuf,
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Program {
    fn build(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("program.c");
        std::fs::write(&source, SOURCE).unwrap();
        let path = dir.path().join("program");
        run(Command::new("cc").args(["-O2", "-o"]).arg(&path).arg(&source).args(flags));
        Self { dir, path }
    }

    /// Address and length of a function, from `nm`; in a file whose addresses are file offsets plus `bias`.
    fn function(&self, name: &str) -> (u64, u64) {
        let table = run(Command::new("nm").arg("-S").arg(&self.path));
        let line = table.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap().to_owned();
        let mut fields = line.split(' ').map(|field| u64::from_str_radix(field, 16));
        (fields.next().unwrap().unwrap(), fields.next().unwrap().unwrap())
    }

    /// File offset of an address, by the program headers.
    fn offset(&self, address: u64) -> u64 {
        let headers = run(Command::new("readelf").arg("-lW").arg(&self.path));
        let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        let loads = headers.lines().filter(|line| line.trim_start().starts_with("LOAD"));
        let mut found = loads.filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (offset, start, len) = (hex(fields[1]), hex(fields[2]), hex(fields[4]));
            (start..start + len).contains(&address).then(|| address - start + offset)
        });
        found.next().unwrap()
    }

    fn names(&self, address: u64) -> Symbolized {
        names_of(&self.path, &[self.offset(address)]).remove(0)
    }

    /// What the file says with others beside it: its debug file, and what that shares.
    fn names_with(&self, address: u64, debug: &str, shared: Option<&str>) -> Symbolized {
        let open = |name: &str| opened(&self.dir.path().join(name));
        let (main, debug, shared) = (opened(&self.path), open(debug), shared.map(open));
        let sources = Sources {
            main: (&main.0, &main.1),
            spare: &fixed_memfd(1 << 20).unwrap(),
            debug: Some((&debug.0, &debug.1)),
            shared: shared.as_ref().map(|shared| (&shared.0, &shared.1)),
            package: None,
            units: &[],
            debug_info: true,
            allowed: NameSources::ALL,
        };
        symbolize_file(&sources, &[self.offset(address)]).remove(0)
    }

    fn sh(&self, script: &str) {
        run(Command::new("sh").current_dir(&self.dir).args(["-ec", script]));
    }

    /// What binutils say: function and `file:line`, innermost first.
    fn addr2line(&self, address: u64) -> Vec<(String, String)> {
        let address = format!("{address:#x}");
        let text = run(Command::new("addr2line").args(["-f", "-i", "-e"]).arg(&self.path).arg(address));
        let lines: Vec<&str> = text.lines().collect();
        let place = |line: &str| line.split(" (disc").next().unwrap().to_owned();
        lines.chunks(2).map(|pair| (pair[0].to_owned(), place(pair[1]))).collect()
    }
}

/// A file and memory for its copy.
fn opened(path: &Path) -> (File, File) {
    let file = File::open(path).unwrap();
    let copy = fixed_memfd(file.metadata().unwrap().len()).unwrap();
    (file, copy)
}

fn names_of(path: &Path, offsets: &[u64]) -> Vec<Symbolized> {
    names_from(path, offsets, NameSources::ALL)
}

fn names_from(path: &Path, offsets: &[u64], allowed: NameSources) -> Vec<Symbolized> {
    let ((file, copy), spare) = (opened(path), fixed_memfd(1 << 20).unwrap());
    let package = path.with_extension("dwp");
    let package = package.exists().then(|| opened(&package));
    let package = package.as_ref().map(|(file, copy)| (file, copy));
    let main = (&file, &copy);
    let sources =
        Sources { main, spare: &spare, debug: None, shared: None, package, units: &[], debug_info: true, allowed };
    symbolize_file(&sources, offsets)
}

fn describe(names: &Symbolized) -> Vec<(String, String)> {
    let Symbolized::Named(symbols) = names else { panic!("{names:?}") };
    let place = |symbol: &Symbol| {
        let source = symbol.source.as_ref().unwrap();
        format!("{}:{}", source.file, source.line.map_or("?".to_owned(), |line| line.to_string()))
    };
    symbols.iter().map(|symbol| (symbol.name.to_string(), place(symbol))).collect()
}

/// At every instruction of a function with two others inlined into it, names, order, files and lines are those of binutils.
#[test]
fn inlined_functions_and_lines_agree_with_addr2line() {
    let program = Program::build(&["-g"]);
    let (start, len) = program.function("outer");
    let mut deepest = 0;
    for address in start..start + len {
        let names = program.names(address);
        let expected = program.addr2line(address);
        if expected[0].1.ends_with(":?") || expected[0].1.ends_with(":0") {
            continue;
        }
        assert_eq!(describe(&names), expected, "at {address:#x}");
        let Symbolized::Named(symbols) = names else { unreachable!("described above") };
        let inlined: Vec<bool> = symbols.iter().map(|symbol| symbol.inlined).collect();
        assert!(inlined.iter().rev().skip(1).all(|inlined| *inlined) && !inlined[inlined.len() - 1]);
        deepest = deepest.max(symbols.len());
    }
    assert_eq!(deepest, 3, "the compiler inlined nothing: the test tests nothing");
}

/// Without debug information there are names from the symbol table, and no lines.
#[test]
fn a_symbol_table_gives_names_without_lines() {
    let program = Program::build(&[]);
    let expected = Symbol { name: "outer".into(), raw: None, source: None, declared: None, inlined: false };
    assert_eq!(program.names(program.function("outer").0 + 1), Symbolized::Named(vec![expected]));
}

/// Each source can be switched off: what is left names what it can, and the reason tells of the switch.
#[test]
fn sources_can_be_switched_off() {
    let program = Program::build(&["-g", "-rdynamic"]);
    let offset = program.offset(program.function("outer").0);
    let names = |list: &str| names_from(&program.path, &[offset], NameSources::parse(list).unwrap()).remove(0);
    let functions = |list: &str| if let Symbolized::Named(symbols) = names(list) { symbols.len() } else { 0 };
    assert_eq!((functions("all"), functions("dwarf")), (3, 3));
    assert_eq!((functions("-dwarf"), functions("symtab"), functions("dynsym")), (1, 1, 1));
    assert_eq!(names("go"), Symbolized::Nameless(UnknownReason::SwitchedOff, offset));
    assert_eq!(names("-all"), Symbolized::Nameless(UnknownReason::SwitchedOff, offset));
    program.sh("strip program");
    assert_eq!((functions("-symtab"), functions("symtab")), (1, 0), "exported");
}

/// "Stripped" and "not covered" are told apart: the one can be mended by installing symbols. All places of a stripped function know
/// where it begins.
#[test]
fn a_stripped_file_is_told_from_a_missing_symbol() {
    let program = Program::build(&[]);
    let (outer, len) = program.function("outer");
    // The first bytes of a file are its header, which no symbol covers.
    assert_eq!(program.names(0), Symbolized::Unknown(UnknownReason::NotFound));
    run(Command::new("strip").arg(&program.path));
    let nameless = Symbolized::Nameless(UnknownReason::NoSymbols, program.offset(outer));
    assert!((outer..outer + len).all(|address| program.names(address) == nameless));
    assert_ne!(program.names(outer - 1), nameless);
    program.sh("objcopy --remove-section .eh_frame --remove-section .eh_frame_hdr program");
    assert_eq!(program.names(outer), Symbolized::Unknown(UnknownReason::NoSymbols));
}

/// What is no ELF file is a bad file, at every offset.
#[test]
fn other_files_are_bad_files() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [("text", &b"#!/bin/sh\n"[..]), ("magic", b"\x7fELF\x02\x01\x01 and then nonsense")] {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let bad = Symbolized::Unknown(UnknownReason::BadFile);
        assert_eq!(names_of(&path, &[0, 100]), [bad.clone(), bad], "{name}");
    }
}

/// A link to a separate debug file is not followed: here it leads to a FIFO, which would block for ever. The file's own
/// debug information is used all the same.
#[test]
fn links_to_other_files_are_not_followed() {
    let program = Program::build(&["-g"]);
    let expected = program.names(program.function("outer").0);
    let debug = program.dir.path().join("other.debug");
    std::fs::copy(&program.path, &debug).unwrap();
    run(Command::new("objcopy").current_dir(&program.dir).arg("--add-gnu-debuglink=other.debug").arg(&program.path));
    std::fs::remove_file(&debug).unwrap();
    run(Command::new("mkfifo").arg(&debug));
    assert!(matches!(&expected, Symbolized::Named(symbols) if symbols.len() == 3));
    assert_eq!(program.names(program.function("outer").0), expected);
}

/// Compressed debug information is unpacked; that of older compilers and of 32-bit programs is read too.
#[test]
fn compressed_sections_and_32_bit_programs_are_named() {
    let deepest = |flags: &[&str]| {
        let program = Program::build(flags);
        let (start, len) = program.function("outer");
        let names = (start..start + len).map(|address| describe(&program.names(address)));
        let functions = names.map(|names| names.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
        functions.max_by_key(Vec::len).unwrap()
    };
    let bare = ["-g", "-m32", "-ffreestanding", "-nostdlib", "-static", "-Wl,-e,main"];
    for flags in [&["-g"][..], &["-g", "-gz=zlib"], &["-g", "-gdwarf-4"], &bare] {
        assert_eq!(deepest(flags), ["leaf", "middle", "outer"], "{flags:?}");
    }
}

/// Split debug information, packed beside the program, names every instruction as if it had not been split. (Of the fourth version:
/// Debian 12's `dwp` crashes on the fifth.)
#[test]
fn a_package_of_split_debug_information_is_read() {
    let version = "-gdwarf-4";
    let whole = Program::build(&["-g", version]);
    let program = Program::build(&["-g", version, "-gsplit-dwarf"]);
    let names = |program: &Program| {
        let (start, len) = program.function("outer");
        let names = (start..start + len).map(|address| describe(&program.names(address)));
        let functions =
            names.map(|names| names.into_iter().map(|(name, place)| (name, line(&place))).collect::<Vec<_>>());
        functions.collect::<Vec<_>>()
    };
    // Without it there are the symbol table and the lines, which are never split, but no inlined functions.
    let (start, len) = program.function("outer");
    assert!((start..start + len).all(|at| describe(&program.names(at)).len() == 1));
    program.sh("dwp -e program -o program.dwp; rm -f *.dwo");
    assert_eq!(names(&program), names(&whole));
}

fn line(place: &str) -> String {
    place.rsplit('/').next().unwrap().to_owned()
}

/// A stripped program and its debug file name every instruction as the program did before it was stripped.
#[test]
fn a_debug_file_names_a_stripped_program() {
    let program = Program::build(&["-g"]);
    let (start, len) = program.function("outer");
    let expected: Vec<_> = (start..start + len).map(|address| program.names(address)).collect();
    program.sh("objcopy --only-keep-debug program debug; strip program");
    assert_eq!(program.names(start).reason(), Some(UnknownReason::NoSymbols));
    let found: Vec<_> = (start..start + len).map(|address| program.names_with(address, "debug", None)).collect();
    assert_eq!(found, expected);
    // Debian strips debug information and keeps the debug file's symbol table; the other way round there are names, too.
    program.sh("strip --strip-debug debug");
    let name = Symbol { name: "outer".into(), raw: None, source: None, declared: None, inlined: false };
    assert_eq!(program.names_with(start, "debug", None), Symbolized::Named(vec![name]));
}

/// Without the lines that declare functions, which are not read from debug information in several files.
fn undeclared(name: Symbolized) -> Symbolized {
    let Symbolized::Named(symbols) = name else { return name };
    Symbolized::Named(symbols.into_iter().map(|symbol| Symbol { declared: None, ..symbol }).collect())
}

/// What `dwz` has moved from two debug files to a third is found again, as in Debian's debug packages.
#[test]
fn debug_information_shared_by_dwz_is_found() {
    let program = Program::build(&["-g", "-Wl,--build-id"]);
    let (start, len) = program.function("outer");
    let expected: Vec<_> = (start..start + len).map(|address| program.names(address)).collect();
    program
        .sh("cp program twin; objcopy --only-keep-debug program one; cp one two; strip program; dwz -m shared one two");
    let names = |address| program.names_with(address, "one", Some("shared"));
    let found = (start..start + len).map(names).map(undeclared).collect::<Vec<_>>();
    assert_eq!(found, expected.into_iter().map(undeclared).collect::<Vec<_>>());
    // Without it there are still the symbols.
    assert!(matches!(program.names_with(start, "one", None), Symbolized::Named(_)));
}

/// `.gnu_debugdata`, the compressed symbol table of Fedora's programs, names what is not exported.
#[test]
fn a_compressed_symbol_table_names_a_stripped_program() {
    let program = Program::build(&[]);
    let (start, _) = program.function("outer");
    program.sh("objcopy --only-keep-debug program mini; xz -k mini; strip program
             objcopy --add-section .gnu_debugdata=mini.xz program");
    let name = Symbol { name: "outer".into(), raw: None, source: None, declared: None, inlined: false };
    assert_eq!(program.names(start), Symbolized::Named(vec![name]));
}

/// Random damage to a file with debug information never panics out of here. (What aborts is the child's business.)
#[test]
fn damaged_files_do_not_panic() {
    let program = Program::build(&["-g"]);
    let offset = program.offset(program.function("outer").0);
    let image = std::fs::read(&program.path).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200 {
        let mut damaged = image.clone();
        for _ in 0..8 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Beyond the headers: a section of 2^46 bytes would abort the test.
            let at = 4096 + (random >> 16) as usize % (damaged.len() - 4096 - 2048);
            damaged[at] = (random >> 8) as u8;
        }
        std::fs::write(&program.path, &damaged).unwrap();
        assert_eq!(names_of(&program.path, &[offset]).len(), 1);
    }
}
