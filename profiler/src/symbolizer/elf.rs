//! Names for file offsets of an ELF file, by blazesym. Runs in the child only.
//!
//! The file itself is read, never mapped: blazesym, which maps, sees a copy of what names code (`copy.rs`). The copy leads to no
//! other file, and the sandbox opens none.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Reason, Sym, Symbolized as Found, Symbolizer};

use super::copy::copy_naming_parts;
use crate::profile::{SourceLine, Symbol, Symbolized, UnknownReason};

/// Names for each offset, in order. `copy` is an empty memfd as large as the file.
pub(super) fn symbolize_file(file: &File, copy: &File, offsets: &[u64], with_debug_info: bool) -> Vec<Symbolized> {
    let Some(contents) = copy_naming_parts(file, copy, with_debug_info) else {
        return vec![Symbolized::Unknown(UnknownReason::BadFile); offsets.len()];
    };
    let path = &PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    let mut names = if contents.debug_info { symbolize(path, offsets, true).unwrap_or_default() } else { Vec::new() };
    // What debug information could not tell, or told wrongly, the symbol tables may.
    let unnamed: Vec<usize> = (0..offsets.len()).filter(|at| !is_named(names.get(*at))).collect();
    names.resize(offsets.len(), Symbolized::Unknown(UnknownReason::NotFound));
    if !unnamed.is_empty() {
        let asked: Vec<u64> = unnamed.iter().map(|at| offsets[*at]).collect();
        match symbolize(path, &asked, false) {
            Some(found) => unnamed.iter().zip(found).for_each(|(at, name)| names[*at] = name),
            None => unnamed.iter().for_each(|at| names[*at] = Symbolized::Unknown(UnknownReason::BadFile)),
        }
    }
    // A file without `.symtab` exports a few of its functions at most: the rest have no symbol at all.
    if !contents.symtab && !contents.debug_info {
        let not_found = names.iter_mut().filter(|name| **name == Symbolized::Unknown(UnknownReason::NotFound));
        not_found.for_each(|name| *name = Symbolized::Unknown(UnknownReason::NoSymbols));
    }
    names
}

fn is_named(name: Option<&Symbolized>) -> bool {
    matches!(name, Some(Symbolized::Named(_)))
}

/// `None` when blazesym cannot make anything of the file. A panic of its parser is caught here, so that a file with broken debug
/// information still gets the names of its symbol table; what cannot be caught ends the child.
fn symbolize(path: &Path, offsets: &[u64], debug_info: bool) -> Option<Vec<Symbolized>> {
    let attempt = AssertUnwindSafe(|| {
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false)
            .enable_code_info(debug_info)
            .enable_inlined_fns(debug_info)
            .set_debug_dirs(Some::<[&Path; 0]>([]))
            .build();
        let mut elf = Elf::new(path);
        elf.debug_syms = debug_info;
        let found = symbolizer.symbolize(&Source::Elf(elf), Input::FileOffset(offsets)).ok()?;
        Some(found.iter().map(named).collect())
    });
    catch_unwind(attempt).ok().flatten()
}

/// blazesym's answer in our words.
fn named(found: &Found<'_>) -> Symbolized {
    match found {
        Found::Sym(sym) if sym.name.is_empty() => Symbolized::Unknown(UnknownReason::NotFound),
        Found::Sym(sym) => Symbolized::Named(symbols(sym)),
        Found::Unknown(Reason::MissingSyms) => Symbolized::Unknown(UnknownReason::NoSymbols),
        Found::Unknown(Reason::IgnoredError) => Symbolized::Unknown(UnknownReason::BadFile),
        Found::Unknown(_) => Symbolized::Unknown(UnknownReason::NotFound),
    }
}

/// blazesym lists inlined functions from the outermost in, each with the line where it calls the next; we list them from
/// the innermost out, the function that stands in the file last.
fn symbols(sym: &Sym<'_>) -> Vec<Symbol> {
    let inlined = sym.inlined.iter().rev().map(|function| Symbol {
        name: function.name.clone().into_owned(),
        source: function.code_info.as_ref().map(source_line),
        inlined: true,
    });
    let outer = Symbol {
        name: sym.name.clone().into_owned(),
        source: sym.code_info.as_deref().map(source_line),
        inlined: false,
    };
    inlined.chain([outer]).collect()
}

fn source_line(info: &CodeInfo<'_>) -> SourceLine {
    // Line 0 is DWARF for "no line".
    SourceLine { file: info.to_path().to_string_lossy().into_owned(), line: info.line.filter(|line| *line > 0) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

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

        /// What binutils say: function and `file:line`, innermost first.
        fn addr2line(&self, address: u64) -> Vec<(String, String)> {
            let address = format!("{address:#x}");
            let text = run(Command::new("addr2line").args(["-f", "-i", "-e"]).arg(&self.path).arg(address));
            let lines: Vec<&str> = text.lines().collect();
            let place = |line: &str| line.split(" (disc").next().unwrap().to_owned();
            lines.chunks(2).map(|pair| (pair[0].to_owned(), place(pair[1]))).collect()
        }
    }

    fn names_of(path: &Path, offsets: &[u64]) -> Vec<Symbolized> {
        let file = File::open(path).unwrap();
        let copy = fixed_memfd(file.metadata().unwrap().len()).unwrap();
        symbolize_file(&file, &copy, offsets, true)
    }

    fn describe(names: &Symbolized) -> Vec<(String, String)> {
        let Symbolized::Named(symbols) = names else { panic!("{names:?}") };
        let place = |symbol: &Symbol| {
            let source = symbol.source.as_ref().unwrap();
            format!("{}:{}", source.file, source.line.map_or("?".to_owned(), |line| line.to_string()))
        };
        symbols.iter().map(|symbol| (symbol.name.clone(), place(symbol))).collect()
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
        let expected = Symbol { name: "outer".to_owned(), source: None, inlined: false };
        assert_eq!(program.names(program.function("outer").0 + 1), Symbolized::Named(vec![expected]));
    }

    /// "Stripped" and "not covered" are told apart: the one can be mended by installing symbols.
    #[test]
    fn a_stripped_file_is_told_from_a_missing_symbol() {
        let program = Program::build(&[]);
        let (outer, _) = program.function("outer");
        // The first bytes of a file are its header, which no symbol covers.
        assert_eq!(program.names(0), Symbolized::Unknown(UnknownReason::NotFound));
        run(Command::new("strip").arg(&program.path));
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
        run(Command::new("objcopy")
            .current_dir(&program.dir)
            .arg("--add-gnu-debuglink=other.debug")
            .arg(&program.path));
        std::fs::remove_file(&debug).unwrap();
        run(Command::new("mkfifo").arg(&debug));
        assert!(matches!(&expected, Symbolized::Named(symbols) if symbols.len() == 3));
        assert_eq!(program.names(program.function("outer").0), expected);
    }

    /// Compressed debug information is unpacked; programs for 32-bit processors are named too.
    #[test]
    fn compressed_sections_and_32_bit_programs_are_named() {
        let expected = Program::build(&["-g"]);
        let expected = describe(&expected.names(expected.function("outer").0));
        for flags in [["-g", "-gz=zlib"], ["-g", "-gdwarf-4"]] {
            let program = Program::build(&flags);
            let names = describe(&program.names(program.function("outer").0));
            let functions = |names: &[(String, String)]| names.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            assert_eq!(functions(&names), functions(&expected), "{flags:?}");
        }
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
}
