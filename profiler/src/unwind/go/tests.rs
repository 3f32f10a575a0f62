//! Tables of Go made by hand, in all layouts.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::super::compile;
use super::super::tests::{AARCH64, CODE, CODE_OFFSET, X86_64, elf, file_of};
use super::*;

const LEN: u32 = 64;

/// A table of functions of 64 bytes each: name, and (depth, bytes) from the start.
fn table(magic: u32, quantum: u8, text: u64, functions: &[(&str, &[(i32, u32)])]) -> Vec<u8> {
    let new = magic != 0xffff_fffa;
    let (header, entry) = if new { (72, 8) } else { (64, 16) };
    let (mut names, mut steps, mut descriptions) = (vec![0_u8], vec![0_u8], Vec::new());
    let table_len = entry * (functions.len() + 1);
    let mut entries = Vec::new();
    let mut add_entry = |at: usize, offset: usize| {
        let at = at as u64 * u64::from(LEN);
        if new {
            entries.extend([at as u32, offset as u32].map(u32::to_le_bytes).concat());
        } else {
            entries.extend([CODE + at, offset as u64].map(u64::to_le_bytes).concat());
        }
    };
    for (at, (name, depths)) in functions.iter().enumerate() {
        add_entry(at, table_len + descriptions.len());
        let words = [names.len() as u32, 0, 0, if depths.is_empty() { 0 } else { steps.len() as u32 }];
        descriptions.resize(descriptions.len() + if new { 4 } else { 8 }, 0);
        words.iter().for_each(|word| descriptions.extend(word.to_le_bytes()));
        descriptions.resize(descriptions.len() + 32, 0);
        names.extend([name.as_bytes(), b"\0"].concat());
        let mut before = -1;
        for (depth, len) in *depths {
            let change: i32 = depth - before;
            let mut zigzag = (change << 1 ^ change >> 31) as u32;
            while zigzag >= 0x80 {
                steps.push(zigzag as u8 | 0x80);
                zigzag >>= 7;
            }
            steps.extend([zigzag as u8, (*len / u32::from(quantum)) as u8]);
            before = *depth;
        }
        steps.push(0);
    }
    add_entry(functions.len(), 0);
    let mut out = [magic.to_le_bytes(), [0, 0, quantum, 8]].concat();
    let word = |out: &mut Vec<u8>, value: usize| out.extend((value as u64).to_le_bytes());
    word(&mut out, functions.len());
    word(&mut out, 0);
    if new {
        word(&mut out, text as usize);
    }
    for offset in [0, 0, 0, names.len(), names.len() + steps.len()] {
        word(&mut out, header + offset);
    }
    assert_eq!(out.len(), header);
    [out, names, steps, entries, descriptions].concat()
}

const FUNCTIONS: [(&str, &[(i32, u32)]); 8] = [
    ("main.main", &[(0, 4), (200, 40), (0, 20)]),
    ("runtime.goexit.abi0", &[(0, 64)]),
    ("runtime.systemstack", &[(0, 64)]),
    ("runtime.systemstack", &[(0, 8), (8, 56)]),
    ("runtime.nanotime1", &[(0, 4), (24, 60)]),
    ("main.handwritten", &[]),
    ("main.odd", &[(3, 64)]),
    ("runtime.sigreturn__sigaction", &[(0, 64)]),
];

/// One with all kinds of functions.
pub(in super::super) fn some_table(magic: u32, quantum: u8) -> Vec<u8> {
    table(magic, quantum, CODE, &FUNCTIONS)
}

fn check(image: &super::super::Image, machine: Machine) {
    let rule = |function: u64, byte: u64| image.rule_at(CODE_OFFSET + u64::from(LEN) * function + byte);
    let (leaf, deep) = (framed(machine, 0), framed(machine, 200));
    assert_eq!([0, 3, 4, 43, 44, 63].map(|byte| rule(0, byte)), [leaf, leaf, deep, deep, leaf, leaf]);
    assert_eq!(rule(1, 0).cfa, Cfa::End as u8);
    assert_eq!([rule(2, 0), rule(2, 63)], [OTHER_STACK; 2]);
    assert_eq!([rule(3, 7), rule(3, 8)], [leaf, OTHER_STACK]);
    assert_eq!([rule(4, 3), rule(4, 4)], [leaf, OTHER_STACK]);
    assert_eq!(rule(5, 9), Rule::default());
    assert_eq!(rule(6, 9).cfa, Cfa::Unsupported as u8);
    assert_eq!([rule(6, 63), rule(7, 63)], [signal(machine); 2]);
    assert_eq!(rule(8, 0), Rule::default());
}

/// Both layouts, found by section, among other data, and in a file without sections: stack depths, and the runtime's special
/// functions.
#[test]
fn tables_of_go_give_rows() {
    for (magic, text) in [(0xffff_fffa, 0), (0xffff_fff0, CODE), (0xffff_fff1, CODE), (0xffff_fff1, 0)] {
        let table = table(magic, 1, text, &FUNCTIONS);
        let code = (".text", CODE, Vec::new());
        let image = |file: &[u8]| compile(&file_of(file)).unwrap();
        let named = elf(X86_64, &[], &[(".gopclntab", 0x50_0000, table.clone()), code.clone()]);
        check(&image(&named), Machine::X86_64);
        let among = [&[1; 24][..], &table].concat();
        let marker = (".go.buildinfo", 0, vec![0]);
        check(&image(&elf(X86_64, &[], &[(".data.rel.ro", 0x50_0000, among), code, marker])), Machine::X86_64);
    }
    let arm = table(0xffff_fff1, 4, CODE, &FUNCTIONS);
    check(&compile(&file_of(&elf(AARCH64, &[], &[(".gopclntab", 0, arm)]))).unwrap(), Machine::Aarch64);
}

/// A position-independent file's table does not say where the code is: a relocation does.
#[test]
fn relocations_say_where_the_code_is() {
    let table = table(0xffff_fff0, 1, 0, &FUNCTIONS);
    let relocation = [0x50_0000 + 24, 8, CODE].map(u64::to_le_bytes).concat();
    let sections = [
        (".data.rel.ro.gopclntab", 0x50_0000, table),
        (".rela.dyn", 0, [vec![7; 24], relocation].concat()),
        (".text", CODE - 4096, Vec::new()),
    ];
    check(&compile(&file_of(&elf(X86_64, &[], &sections))).unwrap(), Machine::X86_64);
}

/// Newer versions of Go leave the header's field empty; where another linker put its own code first, the module's description says
/// where Go's begins.
#[test]
fn the_module_says_where_the_code_is() {
    let table = table(0xffff_fff1, 1, 0, &FUNCTIONS);
    let mut module = vec![0_u8; 400];
    let part = |at: usize| 0x50_0000 + u64_at(&table, at);
    for (at, word) in [(0, 0x50_0000), (8, part(32)), (32, part(40)), (176, CODE)] {
        module[8 + at..16 + at].copy_from_slice(&u64::to_le_bytes(word));
    }
    let sections =
        [(".gopclntab", 0x50_0000, table), (".noptrdata", 0x60_0000, module), (".text", CODE - 4096, Vec::new())];
    check(&compile(&file_of(&elf(X86_64, &[], &sections))).unwrap(), Machine::X86_64);
}
