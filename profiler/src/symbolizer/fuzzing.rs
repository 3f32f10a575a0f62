//! What the fuzzer calls (`make fuzz`; the crate in `profiler/fuzz`): the parsers of foreign bytes, each in this very process. Only there
//! in builds for it.
//!
//! blazesym and the demanglers (`demangle.rs`) are left out: their panics and aborts are known, and the reason for the child. What is ours must not panic at all.

use std::fs::File;
use std::io::Write as _;

use super::contents::Contents;
use super::debug_info::{Sections, describe};
use super::memfd::fixed_memfd;
use super::wire::Answer;
use super::{dwarf, jit_map, plt};
use crate::unwind::{compile_file, go_functions};

/// A file with these bytes.
fn file_of(bytes: &[u8]) -> Option<File> {
    let mut file = fixed_memfd(bytes.len() as u64).ok()?;
    file.write_all(bytes).ok()?;
    Some(file)
}

/// See the target of this name.
pub fn elf(bytes: &[u8]) {
    let Some(file) = file_of(bytes) else { return };
    let Some(contents) = Contents::of(&file) else { return };
    let addresses: Vec<Option<u64>> = (0..64).map(|nth| contents.address_of(nth * 0x40)).collect();
    let some: Vec<u64> = addresses.iter().flatten().copied().collect();
    drop(plt::stubs(&file, &contents, &addresses));
    drop(go_functions(&file, &some));
    drop(dwarf::units_of(&file, &addresses));
    if let Some(sections) = Sections::read(&file, &contents) {
        drop(describe(&sections, &some));
    }
}

/// See the target of this name.
pub fn rows(bytes: &[u8]) {
    if let Some(file) = file_of(bytes) {
        drop(compile_file(&file, &mut std::io::sink()));
    }
}

/// See the target of this name.
pub fn jit_map(bytes: &[u8]) {
    if let Some(file) = file_of(bytes) {
        drop(jit_map::symbolize(&file, &[0, 0x1000, u64::MAX]));
    }
}

/// See the target of this name.
pub fn answer(bytes: &[u8]) {
    drop(Answer::decode(bytes));
}
