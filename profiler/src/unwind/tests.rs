//! The room as a whole: small files made by hand, with tables made by hand, compiled and looked up.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io::Write;

use profiler_ebpf::tables::{Cfa, Rule, Saved};

use super::compile::tables_only;
use super::{Cause, CompileError, Image, compile};

/// Where the code of the files is: address and file offset differ.
pub(super) const CODE: u64 = 0x40_1000;
pub(super) const CODE_OFFSET: u64 = 0x1000;
const CODE_LEN: u64 = 0x1000;

pub(super) const X86_64: u16 = 62;
pub(super) const AARCH64: u16 = 183;

/// A file with one executable segment, which is entered at its start, and these sections, each with its address. Of `.text` address
/// and length count.
pub(super) fn elf(machine: u16, code: &[u8], sections: &[(&str, u64, Vec<u8>)]) -> Vec<u8> {
    let mut file = vec![0; (CODE_OFFSET + CODE_LEN) as usize];
    file[CODE_OFFSET as usize..][..code.len()].copy_from_slice(code);
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(18, &machine.to_le_bytes());
    put(24, &CODE.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &1_u16.to_le_bytes());
    put(64, &1_u32.to_le_bytes());
    put(68, &5_u32.to_le_bytes());
    put(72, &CODE_OFFSET.to_le_bytes());
    put(80, &CODE.to_le_bytes());
    put(96, &CODE_LEN.to_le_bytes());
    let mut names = vec![0];
    let mut headers = vec![[0; 64]];
    let mut content: Vec<(&str, u64, Vec<u8>)> = sections.to_vec();
    names.extend(b".shstrtab\0");
    content.iter().for_each(|(name, ..)| names.extend([name.as_bytes(), b"\0"].concat()));
    content.push((".shstrtab", 0, names.clone()));
    let count = content.len() as u16 + 1;
    for (name, address, bytes) in content {
        let executable = name == ".text";
        let name = names.windows(name.len()).position(|at| at == name.as_bytes()).unwrap() as u32;
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[4] = 1;
        header[8] = if executable { 4 } else { 0 };
        header[16..24].copy_from_slice(&address.to_le_bytes());
        header[24..32].copy_from_slice(&(file.len() as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        headers.push(header);
        file.extend(bytes);
    }
    let table = file.len() as u64;
    headers.iter().for_each(|header| file.extend(header));
    file[40..48].copy_from_slice(&table.to_le_bytes());
    file[58..60].copy_from_slice(&64_u16.to_le_bytes());
    file[60..62].copy_from_slice(&count.to_le_bytes());
    file[62..64].copy_from_slice(&(count - 1).to_le_bytes());
    file
}

/// `.debug_frame`, whose addresses are absolute: one common entry, and functions of 256 bytes one after the other.
pub(super) fn debug_frame(ra: u8, augmentation: &str, common: &[u8], functions: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut entry = |id: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        out.extend(((padded + 4) as u32).to_le_bytes());
        out.extend(id.to_le_bytes());
        out.extend(body);
        out.resize(out.len() + padded - body.len(), 0);
    };
    // Version 1, code factor 1, data factor -8.
    let head = [&[1], augmentation.as_bytes(), &[0, 1, 0x78, ra]].concat();
    entry(u32::MAX, &[&head, common].concat());
    for (at, function) in functions.iter().enumerate() {
        let start = CODE + 256 * at as u64;
        entry(0, &[&start.to_le_bytes(), &256_u64.to_le_bytes()[..], function].concat());
    }
    out
}

pub(super) fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub(super) fn compile_frames(machine: u16, frames: Vec<u8>) -> Image {
    compile(&file_of(&elf(machine, &[], &[(".debug_frame", 0, frames)]))).unwrap()
}

/// x86-64: CFA is rsp + 8, the return address below it.
const X86_COMMON: [u8; 5] = [0x0c, 7, 8, 0x80 + 16, 1];
const X86_START: Rule = Rule {
    cfa: 1 + 1,
    cfa_register: 7,
    fp: 0,
    ra: Saved::AtCfa as u8,
    cfa_offset: 8,
    fp_offset: 0,
    ra_offset: -8,
    extra: 0,
};

fn at(function: u64, byte: u64) -> u64 {
    CODE_OFFSET + 256 * function + byte
}

/// The first instruction of a function is no different from the last one before it in what it may see.
#[test]
fn rules_are_in_force_from_their_instruction_to_the_next() {
    let push_rbp = [0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6];
    let image = compile_frames(X86_64, debug_frame(16, "", &X86_COMMON, &[&push_rbp]));
    let pushed = Rule { cfa_offset: 16, fp: Saved::AtCfa as u8, fp_offset: -16, ..X86_START };
    let framed = Rule { cfa_register: 6, ..pushed };
    let nothing = Rule::default();
    let expected =
        [(0, X86_START), (1, pushed), (3, pushed), (4, framed), (255, framed), (256, nothing), (4000, nothing)];
    for (byte, rule) in expected {
        assert_eq!(image.rule_at(at(0, byte)), rule, "at {byte}");
    }
    assert_eq!(image.rule_at(CODE_OFFSET - 1), nothing);
    assert_eq!(image.rule_at(u64::MAX), nothing);
}

/// The expressions of linkers, of OpenSSL and gcc, and of C libraries for signals have their rules; others are counted.
#[test]
fn expressions_that_rules_can_say_are_said() {
    let expression = |bytes: &[u8]| [&[0x0f, bytes.len() as u8], bytes].concat();
    let plt = expression(&[0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3a, 0x2a, 0x33, 0x24, 0x22]);
    let openssl = expression(&[0x77, 0x98, 1, 0x06, 0x23, 8]);
    let gcc = [expression(&[0x76, 0x78, 0x06]), vec![0x10, 6, 2, 0x76, 0]].concat();
    let minus = expression(&[0x77, 0, 0x06, 0x38, 0x1c]);
    let product = expression(&[0x77, 8, 0x79, 0, 0x38, 0x1e, 0x22]);
    let functions = [&plt[..], &openssl, &gcc, &minus, &product];
    let image = compile_frames(X86_64, debug_frame(16, "", &X86_COMMON, &functions));
    let rule = |function| image.rule_at(at(function, 9));
    assert_eq!(rule(0), Rule { cfa: Cfa::Plt as u8, extra: 10, ..X86_START });
    assert_eq!(rule(1), Rule { cfa: Cfa::Deref as u8, cfa_offset: 152, extra: 8, ..X86_START });
    let gcc = Rule { cfa: Cfa::Deref as u8, cfa_register: 6, cfa_offset: -8, fp: Saved::AtRegister as u8, ..X86_START };
    assert_eq!(rule(2), gcc);
    assert_eq!(rule(3), Rule { cfa: Cfa::Deref as u8, cfa_offset: 0, extra: -8, ..X86_START });
    assert_eq!(rule(4).cfa, Cfa::Unsupported as u8);
    assert_eq!(image.stats().unsupported[Cause::CfaExpression as usize], 1);
}

/// The trampoline of glibc says where every register is; one look at the stack pointer's is enough.
#[test]
fn signal_trampolines_are_known() {
    let body = [0x0f, 4, 0x77, 0xa0, 1, 0x06, 0x10, 6, 3, 0x77, 0xf8, 0, 0x10, 16, 3, 0x77, 0xa8, 1];
    let image = compile_frames(X86_64, debug_frame(16, "S", &[], &[&body]));
    let signal = Rule { cfa: Cfa::Signal as u8, cfa_register: 7, ..Rule::default() };
    assert_eq!(image.rule_at(at(0, 0)), signal);
}

/// A thread's first function, vfork's return address in a register, and a frame pointer in another register.
#[test]
fn return_addresses_may_be_undefined_or_in_registers() {
    let functions: [&[u8]; 3] = [&[0x07, 16], &[0x09, 16, 5, 0x0e, 0], &[0x09, 6, 9]];
    let image = compile_frames(X86_64, debug_frame(16, "", &X86_COMMON, &functions));
    assert_eq!(image.rule_at(at(0, 0)).cfa, Cfa::End as u8);
    let vfork = Rule { ra: Saved::InRegister as u8, ra_offset: 5, cfa_offset: 0, ..X86_START };
    assert_eq!(image.rule_at(at(1, 0)), vfork);
    assert_eq!(image.rule_at(at(2, 0)), Rule { fp: Saved::InRegister as u8, fp_offset: 9, ..X86_START });
}

/// aarch64: the return address is in the link register until it is saved, and signed from `paciasp` on.
#[test]
fn aarch64_has_a_link_register_and_signed_addresses() {
    // CFA is sp + 0; then `paciasp`; then `stp x29, x30, [sp, -32]!`; then `mov x29, sp`.
    let function = [0x44, 0x2d, 0x44, 0x0e, 32, 0x9d, 4, 0x9e, 3, 0x44, 0x0d, 29];
    let image = compile_frames(AARCH64, debug_frame(30, "", &[0x0c, 31, 0], &[&function, &[0x07, 30]]));
    let start = Rule { cfa: Cfa::Register as u8, cfa_register: 31, ..Rule::default() };
    let signed = Rule { ra: Rule::SIGNED, ..start };
    let saved = Saved::AtCfa as u8;
    let pushed = Rule { cfa_offset: 32, fp: saved, fp_offset: -32, ra: saved | Rule::SIGNED, ra_offset: -24, ..start };
    for (byte, rule) in [(0, start), (4, signed), (8, pushed), (12, Rule { cfa_register: 29, ..pushed })] {
        assert_eq!(image.rule_at(at(0, byte)), rule, "at {byte}");
    }
    assert_eq!(image.rule_at(at(1, 0)).cfa, Cfa::End as u8);
}

/// A broken instruction costs the rest of its own function only.
#[test]
fn a_broken_function_costs_itself() {
    let functions: [&[u8]; 3] = [&[0x41, 0x0e, 16, 0x42, 0x3f], &[0x41, 0x0b], &[0x41, 0x0e, 24]];
    let image = compile_frames(X86_64, debug_frame(16, "", &X86_COMMON, &functions));
    assert_eq!(image.rule_at(at(0, 2)), Rule { cfa_offset: 16, ..X86_START });
    assert_eq!(image.rule_at(at(0, 3)).cfa, Cfa::Unsupported as u8);
    assert_eq!(image.rule_at(at(1, 1)).cfa, Cfa::Unsupported as u8);
    assert_eq!(image.rule_at(at(2, 1)), Rule { cfa_offset: 24, ..X86_START });
    assert_eq!(image.stats().unsupported[Cause::Instruction as usize], 2);
}

/// Each kind of file that has no image says why.
#[test]
fn files_without_an_image_say_why() {
    let why = |bytes: &[u8]| compile(&file_of(bytes)).unwrap_err();
    assert!(matches!(why(b"#!/bin/sh\n"), CompileError::NotElf));
    assert!(matches!(why(b"\x7fELF"), CompileError::NotElf));
    assert!(matches!(why(&elf(40, &[], &[])), CompileError::ForeignMachine));
    assert!(matches!(why(&elf(X86_64, &[], &[])), CompileError::NoRows));
    let directory = File::open("/").unwrap();
    assert!(matches!(compile(&directory).unwrap_err(), CompileError::Read(_)));
}

/// A file stripped of its section headers is found by what the C++ runtime finds it by, and gives the same image.
#[test]
fn section_headers_are_not_needed() {
    let exe = std::env::current_exe().unwrap();
    let mut bytes = std::fs::read("/bin/bash").or_else(|_| std::fs::read(exe)).unwrap();
    let whole = tables_only(&file_of(&bytes)).unwrap();
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    assert!(tables_only(&file_of(&bytes)).unwrap() == whole);
}

/// A compressed `.debug_frame`, as ELF has it and as Go's linker once wrote it, says the same as a plain one.
#[test]
fn compressed_sections_are_unpacked() {
    let frames = debug_frame(16, "", &X86_COMMON, &[&[0x41, 0x0e, 16]]);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(&frames).unwrap();
    let old = [b"ZLIB", &(frames.len() as u64).to_be_bytes()[..], &zlib.finish().unwrap()].concat();
    let image = compile(&file_of(&elf(X86_64, &[], &[(".zdebug_frame", 0, old)]))).unwrap();
    assert!(image == compile_frames(X86_64, frames));
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let run = |program: &str, args: &[&std::path::Path]| {
        assert!(std::process::Command::new(program).args(args).status().unwrap().success(), "{program}");
    };
    std::fs::write(at("a.c"), "int main(int c, char **v) { char b[c]; return b[0] + v[0][0]; }").unwrap();
    let flags = ["-g", "-fno-asynchronous-unwind-tables", "-fno-omit-frame-pointer", "-o"].map(std::path::Path::new);
    run("cc", &[&flags[..], &[&at("plain"), &at("a.c")]].concat());
    let plain = compile(&File::open(at("plain")).unwrap()).unwrap();
    for kind in ["zlib", "zstd"] {
        let flag = format!("--compress-debug-sections={kind}");
        run("objcopy", &[std::path::Path::new(&flag), &at("plain"), &at(kind)]);
        let packed = compile(&File::open(at(kind)).unwrap()).unwrap();
        assert!(packed == plain, "{kind}");
        assert!(std::fs::metadata(at(kind)).unwrap().len() != std::fs::metadata(at("plain")).unwrap().len());
    }
}

/// The kernel's shared object has tables like any other file; we have it in memory.
#[test]
fn the_vdso_has_rows() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let Some(line) = maps.lines().find(|line| line.ends_with("[vdso]")) else { return };
    let (start, rest) = line.split_once('-').unwrap();
    let ends = [start, rest.split(' ').next().unwrap()].map(|text| u64::from_str_radix(text, 16).unwrap());
    let mut bytes = vec![0; (ends[1] - ends[0]) as usize];
    let memory = File::open("/proc/self/mem").unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, ends[0]).unwrap();
    let stats = compile(&file_of(&bytes)).unwrap().stats();
    assert!(stats.functions > 3 && stats.rows > 10, "{stats:?}");
}
