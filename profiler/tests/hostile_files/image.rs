//! Small ELF files to be spoilt, compiled here.

use std::process::Command;

const SOURCE: &str = "\
static volatile int sink;
static inline __attribute__((always_inline)) void leaf(int n) {
    for (int i = 0; i < n; i++)
        sink += i * 7 / (n + 3);
}
__attribute__((noinline)) void outer(int n) {
    leaf(n + 2);
}
int main(void) {
    outer(10);
    return sink;
}
";

/// A small program with debug information, built with these flags.
pub fn program(flags: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (source, path) = (dir.path().join("p.c"), dir.path().join("p"));
    std::fs::write(&source, SOURCE).unwrap();
    let status = Command::new("cc").args(["-O2", "-g", "-o"]).arg(&path).arg(&source).args(flags).status();
    assert!(status.unwrap().success());
    std::fs::read(&path).unwrap()
}

/// A number in the file.
pub fn number(image: &[u8], at: usize, len: usize) -> usize {
    image[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Where the section headers begin, of a 64-bit file.
pub fn section_headers(image: &[u8]) -> Vec<usize> {
    let (table, count) = (number(image, 40, 8), number(image, 60, 2));
    (0..count).map(|n| table + n * 64).collect()
}

/// The header of a section by its type.
pub fn section_of_type(image: &[u8], kind: usize) -> usize {
    section_headers(image).into_iter().find(|at| number(image, at + 4, 4) == kind).unwrap()
}
