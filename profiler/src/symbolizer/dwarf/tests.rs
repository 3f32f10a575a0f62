//! Split debug information in files of its own, asked for as the profiler asks: through the parent, which opens, and a real child.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::super::names::{Mapped, NamesWorker};
use super::super::worker::tests::real_child;
use super::*;

/// Two units: `outer`, with two functions inlined, and `main`.
const SOURCES: [(&str, &str); 2] = [
    (
        "outer.c",
        "static volatile int sink;
static inline __attribute__((always_inline)) void leaf(int n) {
    for (int i = 0; i < n; i++)
        sink += i * 7 / (n + 3);
}
static inline __attribute__((always_inline)) void middle(int n) {
    leaf(n + 1);
}
void outer(int n) {
    middle(n + 2);
}
",
    ),
    ("main.c", "void outer(int n);\nint main(void) {\n    outer(10);\n    return 0;\n}\n"),
];

fn sh(folder: &Path, script: &str) -> String {
    let output = Command::new("sh").current_dir(folder).args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The program, built in a folder of its own with these options.
fn program(flags: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, source) in SOURCES {
        std::fs::write(dir.path().join(name), source).unwrap();
    }
    sh(
        dir.path(),
        &format!(
            "for f in outer main; do cc -O2 -fdebug-prefix-map=$PWD=. {flags} -c $f.c; done; cc -o app outer.o main.o"
        ),
    );
    dir
}

/// Offsets of a function's bytes: the text of a small position-independent program lies in its file as it does in memory.
fn offsets(dir: &TempDir, function: &str) -> Vec<u64> {
    let table = sh(dir.path(), "nm -S app");
    let line = table.lines().find(|line| line.ends_with(&format!(" {function}"))).unwrap();
    let number = |at: usize| u64::from_str_radix(line.split(' ').nth(at).unwrap(), 16).unwrap();
    (number(0)..number(0) + number(1)).collect()
}

/// Names, innermost first, with the last part of the file's path and the line.
fn names(dir: &TempDir, offsets: &[u64]) -> Vec<Vec<String>> {
    let file = File::open(dir.path().join("app")).unwrap();
    let path = dir.path().join("app").display().to_string();
    let mapped = Mapped { file: &file, path: &path, build_id: None, identity: None, root: None, debug: None };
    let found = NamesWorker::new(real_child()).of_file(&mapped, offsets, None).unwrap();
    let place = |symbol: &Symbol| match &symbol.source {
        Some(source) => format!("{} {}:{:?}", symbol.name, source.file.rsplit('/').next().unwrap(), source.line),
        None => symbol.name.to_string(),
    };
    let name = |name: &Symbolized| match name {
        Symbolized::Named(symbols) => symbols.iter().map(place).collect(),
        Symbolized::Unknown(reason) | Symbolized::Nameless(reason, _) => vec![format!("{reason:?}")],
    };
    found.iter().map(name).collect()
}

/// Inlined functions, files and lines are those that the same program has with its debug information in itself, in either version of
/// split debug information: where it was compiled, and beside the program.
#[test]
fn split_units_tell_what_whole_ones_do() {
    let whole = program("-g");
    let all: Vec<u64> = [offsets(&whole, "outer"), offsets(&whole, "main")].concat();
    let expected = names(&whole, &all);
    assert!(expected.iter().any(|names| names.len() == 3), "nothing is inlined: {expected:?}");
    // GNU's extension to version 4, and version 5. Without the map the folder of the build is where it was.
    for flags in ["-gdwarf-4 -gsplit-dwarf", "-gdwarf-5 -gsplit-dwarf"] {
        let split = program(flags);
        assert_eq!(names(&split, &all), expected, "{flags}, beside the program");
        sh(split.path(), "mkdir elsewhere; mv *.dwo elsewhere");
        let without = names(&split, &all);
        assert!(without.iter().all(|names| names.len() == 1), "{without:?}");
        assert!(without[0][0].starts_with("outer"), "{without:?}");
        sh(
            split.path(),
            &format!(
                "for f in outer main; do cc -O2 {flags} -c $f.c; done; cc -o app outer.o main.o; mkdir bin; mv app bin"
            ),
        );
        std::fs::rename(split.path().join("bin/app"), split.path().join("bin/moved")).unwrap();
        std::fs::hard_link(split.path().join("bin/moved"), split.path().join("app")).unwrap();
        assert_eq!(names(&split, &all), expected, "{flags}, where it was compiled");
    }
}

/// A unit compiled again, somebody else's file, a FIFO and what is no ELF file tell nothing, at once; the symbol table names what it did.
#[test]
fn units_that_are_not_the_programs_tell_nothing() {
    let split = program("-g -gsplit-dwarf");
    let outer = offsets(&split, "outer");
    let good = names(&split, &outer);
    assert!(good.iter().any(|names| names.len() == 3));
    let unit = split.path().join("outer.dwo");
    let only_symbols = |what: &str| {
        let found = names(&split, &outer);
        assert!(found.iter().all(|names| names.len() == 1 && names[0].starts_with("outer")), "{what}: {found:?}");
    };
    chown(&unit, Some(1234), None).unwrap();
    only_symbols("somebody else's");
    sh(
        split.path(),
        "rm outer.dwo; sed -i 's/n + 3/n + 4/' outer.c; mkdir again; cp outer.c again; cd again; cc -O2 -g -gsplit-dwarf -c outer.c; mv outer.dwo ..",
    );
    only_symbols("another build's");
    std::fs::write(&unit, "no ELF file").unwrap();
    only_symbols("text");
    sh(split.path(), "rm outer.dwo; mkfifo outer.dwo");
    only_symbols("a FIFO");
}

/// A program of more units than one question takes is asked about in several.
#[test]
fn programs_of_many_units_are_named_to_the_last() {
    let dir = tempfile::tempdir().unwrap();
    sh(
        dir.path(),
        "for n in $(seq 40); do echo \"int f$n(int x) { return x * $n + 1; }\" > f$n.c; cc -O1 -g -gsplit-dwarf -c f$n.c; done
         echo 'int main(void) { return 0; }' > main.c; cc -o app main.c f*.o",
    );
    let starts: Vec<u64> = (1..=40).map(|n| offsets(&dir, &format!("f{n}"))[0]).collect();
    let expected: Vec<Vec<String>> = (1..=40).map(|n| vec![format!("f{n} f{n}.c:Some(1)")]).collect();
    assert_eq!(names(&dir, &starts), expected);
}
