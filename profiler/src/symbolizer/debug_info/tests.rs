//! Debug information of C programs that cc makes, held against what the `addr2line` library says of it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use addr2line::gimli::{Dwarf, EndianSlice, Error, RunTimeEndian};
use object::{Object, ObjectSection};
use tempfile::TempDir;

use super::super::contents::Contents;
use super::*;

/// Inlined functions side by side, in blocks, one in the other, and in a function that is in two parts; two units.
const SOURCES: [(&str, &str); 2] = [
    (
        "inner.c",
        "static volatile int sink;
#define INLINED static inline __attribute__((always_inline))
INLINED int leaf(int n) { for (int i = 0; i < n; i++) sink += i * 7 / (n + 3); return sink; }
INLINED int middle(int n) {
    int sum = leaf(n + 1);
    { int other = leaf(n + 2); sum += other; }
    { int third = 0; { third += leaf(sum); } sum += third; }
    return sum;
}
__attribute__((cold, noinline)) void never(void) { sink = 0; }
int outer(int n) {
    int sum = middle(n + 2);
    if (sum == 77) { never(); sum += leaf(1); }
    for (int i = 0; i < n; i++) { int step = middle(i); sum += step; }
    return sum;
}
",
    ),
    ("main.c", "int outer(int n);\nint main(int argc, char **argv) {\n    return outer(argc);\n}\n"),
];

fn sh(folder: &Path, script: &str) {
    let output = Command::new("sh").current_dir(folder).args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn program(flags: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    for (name, source) in SOURCES {
        std::fs::write(dir.path().join(name), source).unwrap();
    }
    sh(dir.path(), &format!("cc -O2 {flags} -o program inner.c main.c"));
    let path = dir.path().join("program");
    (dir, path)
}

/// The addresses of `.text`, each byte.
fn text(path: &Path) -> Vec<u64> {
    let image = std::fs::read(path).unwrap();
    let section =
        object::File::parse(&*image).unwrap().section_by_name(".text").map(|text| (text.address(), text.size()));
    let (begin, len) = section.unwrap();
    (begin..begin + len).collect()
}

/// Each function with its place, the innermost first.
type Frames = Vec<(String, String, u32)>;

fn ours(path: &Path, addresses: &[u64]) -> Vec<Frames> {
    let file = File::open(path).unwrap();
    let sections = Sections::read(&file, &Contents::of(&file).unwrap()).unwrap();
    let frame = |symbol: Symbol| {
        let source = symbol.source.unwrap();
        (symbol.name.to_string(), source.file.to_string(), source.line.unwrap_or(0))
    };
    let frames =
        |described: Described| described.symbols(None).map_or(Vec::new(), |all| all.into_iter().map(frame).collect());
    describe(&sections, addresses).into_iter().map(frames).collect()
}

fn theirs(path: &Path, addresses: &[u64]) -> Vec<Frames> {
    let image = std::fs::read(path).unwrap();
    let elf = object::File::parse(&*image).unwrap();
    let section =
        |name| elf.section_by_name(name).map_or(Default::default(), |section| section.uncompressed_data().unwrap());
    let content: HashMap<&str, std::borrow::Cow<'_, [u8]>> = [
        ".debug_abbrev",
        ".debug_aranges",
        ".debug_info",
        ".debug_line",
        ".debug_line_str",
        ".debug_ranges",
        ".debug_rnglists",
        ".debug_str",
    ]
    .map(|name| (name, section(name)))
    .into();
    let dwarf = Dwarf::load(|id| {
        let bytes = content.get(id.name()).map_or(&[][..], |bytes| bytes);
        Ok::<_, Error>(EndianSlice::new(bytes, RunTimeEndian::Little))
    });
    let context = addr2line::Context::from_dwarf(dwarf.unwrap()).unwrap();
    let frames = |address: &u64| {
        let mut found = context.find_frames(*address).skip_all_loads().unwrap();
        let mut frames = Frames::new();
        while let Some(frame) = found.next().unwrap() {
            let Some(function) = frame.function else { return Frames::new() };
            let place = frame.location.unwrap();
            let name = function.raw_name().unwrap().into_owned();
            frames.push((name, place.file.unwrap().to_owned(), place.line.unwrap_or(0)));
        }
        frames
    };
    addresses.iter().map(frames).collect()
}

/// At every byte of the code, functions, inlined ones, files and lines are those of the library: in both versions that compilers write, packed by
/// both methods, with and without the table that says which unit covers what.
#[test]
fn every_byte_has_the_functions_and_lines_of_addr2line() {
    let mut deepest = 0;
    for (flags, after) in [
        ("-g", ""),
        ("-gdwarf-4", ""),
        ("-g -gz=zlib", ""),
        ("-g", "objcopy --compress-debug-sections=zlib-gnu program"),
        ("-g", "objcopy --compress-debug-sections=zstd program || true"),
        ("-g", "objcopy --remove-section .debug_aranges program"),
        ("-g -ffunction-sections -Wl,--gc-sections", ""),
    ] {
        let (dir, path) = program(flags);
        sh(dir.path(), &format!("cp program plain; objcopy --decompress-debug-sections plain; {after}"));
        let addresses = text(&path);
        let found = ours(&path, &addresses);
        assert_eq!(found, theirs(&dir.path().join("plain"), &addresses), "{flags} {after}");
        deepest = deepest.max(found.iter().map(Vec::len).max().unwrap());
        // What is asked makes no difference to the answer, nor does its order.
        let (mut some, mut expected): (Vec<_>, Vec<_>) = addresses.into_iter().zip(found).step_by(7).unzip();
        some.reverse();
        expected.reverse();
        assert_eq!(ours(&path, &some), expected);
    }
    assert_eq!(deepest, 3, "nothing was inlined: the test tests little");
}

/// A function that the linker has left out claims to begin at 0, and to reach into others that are at low addresses: they keep theirs.
#[test]
fn functions_that_were_left_out_name_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x = x * 3 + y; y = y * 5 + x; ".repeat(400);
    let source = format!(
        "volatile int x, y;\nvoid left_out(void) {{ {long} }}\nvoid kept(void) {{ x = 1; }}\nvoid begin(void) {{ kept(); for (;;) y = 2; }}\n"
    );
    std::fs::write(dir.path().join("low.c"), source).unwrap();
    let flags = "-g -O1 -ffreestanding -nostdlib -static -fno-pie -no-pie -ffunction-sections";
    sh(dir.path(), &format!("cc {flags} -Wl,--gc-sections,-e,begin,-Ttext=0x1000,--build-id=none -o program low.c"));
    let path = dir.path().join("program");
    let names: Vec<String> = ours(&path, &text(&path)).into_iter().flatten().map(|(name, ..)| name).collect();
    assert!(names.iter().any(|name| name == "kept") && names.iter().any(|name| name == "begin"), "{names:?}");
    assert!(names.iter().all(|name| name != "left_out"), "{names:?}");
}

/// The call of a lambda names the function that it stands in and which of its lambdas it is; that of a class its class.
#[test]
fn a_lambda_names_its_function() {
    let dir = tempfile::tempdir().unwrap();
    let source = "static volatile int sink;
#define INLINED __attribute__((always_inline))
struct Less { INLINED int operator()(int n) const { for (int i = 0; i < n; i++) sink += i; return sink; } };
namespace pool { struct Worker { int run(int n); }; }
template <class F> INLINED inline int call(F f, int n) { return f(n) + 1; }
int pool::Worker::run(int n) {
    auto first = [](int m) INLINED { for (int i = 0; i < m; i++) sink += i * 3; return sink + 0; };
    auto second = [n](int m) INLINED { for (int i = 0; i < m; i++) sink += i * n; return sink + 1; };
    struct Local { INLINED int operator()(int m) const { for (int i = 0; i < m; i++) sink += i * 5; return sink + 2; } };
    return call(first, n) + call(second, n) + Less()(n) + Local()(n);
}
static auto lone = [](int m) __attribute__((noinline)) { for (int i = 0; i < m; i++) sink += i * 7; return sink + 3; };
int main(int c, char **) { pool::Worker w; return w.run(c) + lone(c); }
";
    std::fs::write(dir.path().join("lambdas.cc"), source).unwrap();
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        sh(dir.path(), &format!("g++ -O1 {version} -o program lambdas.cc"));
        let path = dir.path().join("program");
        let names: std::collections::BTreeSet<String> =
            ours(&path, &text(&path)).into_iter().flatten().map(|(name, ..)| name).collect();
        let wanted = [
            "Less::operator()(int) const",
            "Local::operator()",
            "pool::Worker::run(int)::{lambda#1}::operator()",
            "pool::Worker::run(int)::{lambda#2}::operator()",
            "{lambda#1}::operator()",
        ];
        assert!(wanted.iter().all(|name| names.contains(*name)), "{version}: {names:#?}");
        assert!(!names.contains("operator()"), "{version}: {names:#?}");
    }
}

/// Each function has the line that declares it, wherever its entry leads to: inlined ones, those in two parts, and the definition of a
/// method, not its declaration in the class.
#[test]
fn functions_have_the_lines_that_declare_them() {
    let declared = |path: &Path| {
        let (file, addresses) = (File::open(path).unwrap(), text(path));
        let sections = Sections::read(&file, &Contents::of(&file).unwrap()).unwrap();
        let symbols = describe(&sections, &addresses).into_iter().filter_map(|described| described.symbols(None));
        let mut lines: Vec<_> = symbols.flatten().map(|symbol| (symbol.name.to_string(), symbol.declared)).collect();
        lines.sort();
        lines.dedup();
        lines
    };
    let line = |name: &str, line| (name.to_owned(), Some(line));
    for flags in ["-g", "-gdwarf-4"] {
        let (_dir, path) = program(flags);
        let expected = [("leaf", 3), ("main", 2), ("middle", 4), ("never", 10), ("outer", 11)];
        assert_eq!(declared(&path), expected.map(|(name, at)| line(name, at)), "{flags}");
    }
    let dir = tempfile::tempdir().unwrap();
    let source = "struct S { int method(int); };\n\nint S::method(int n) { return n * 3; }\nint main() { return S().method(1); }\n";
    std::fs::write(dir.path().join("s.cc"), source).unwrap();
    sh(dir.path(), "c++ -g -O0 -o program s.cc");
    assert_eq!(declared(&dir.path().join("program")), [line("S::method(int)", 3), line("main", 4)]);
}
