//! Files that were damaged, or made to do damage: whatever they say, compiling ends without a panic, and what it yields is an image
//! that the decoder accepts. `make fuzz-rows` runs many more cases of these.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::tests::{AARCH64, CODE, X86_64, debug_frame, elf, file_of};
use super::{Image, compile};

fn survives(bytes: &[u8]) {
    if let Ok(image) = compile(&file_of(bytes)) {
        let again = Image::decode(&image.encode()).unwrap();
        assert!(again == image);
    }
}

/// Bytes that are more often interesting ones.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(0x7f), Just(0x80)]
}

/// Instructions of DWARF's machine with operands that mean something, among others.
fn instructions() -> impl Strategy<Value = Vec<u8>> {
    let known = prop_oneof![
        (0x40_u8..0x60).prop_map(|advance| vec![advance]),
        (0_u8..0x18, byte(), byte()).prop_map(|(code, a, b)| vec![code, a & 0x1f, b]),
        (0_u8..32, 0_u8..0x7f).prop_map(|(register, offset)| vec![0x80 + register, offset]),
        Just(vec![0x0a]),
        Just(vec![0x0b]),
        proptest::collection::vec(byte(), 0..12).prop_map(|bytes| [vec![0x0f, bytes.len() as u8], bytes].concat()),
    ];
    proptest::collection::vec(known, 0..20).prop_map(|parts| parts.concat())
}

proptest! {
    // As many cases as `PROPTEST_CASES` says; 256 by default.

    /// A small real program with bytes changed in its headers and anywhere else, and cut off.
    #[test]
    fn damaged_programs_are_survived(
        header in proptest::collection::vec((0_usize..1024, byte()), 0..6),
        anywhere in proptest::collection::vec((any::<usize>(), byte()), 0..30),
        cut in prop_oneof![5 => Just(usize::MAX), 1 => any::<usize>()],
    ) {
        let mut bytes = std::fs::read("/bin/true").unwrap();
        let len = bytes.len();
        for (at, byte) in header.into_iter().chain(anywhere) {
            bytes[at % len] = byte;
        }
        bytes.truncate(if cut == usize::MAX { len } else { cut % len });
        survives(&bytes);
    }

    /// Tables of any content, on either machine.
    #[test]
    fn any_tables_are_survived(
        common in instructions(), functions in proptest::collection::vec(instructions(), 1..8), signal: bool, arm: bool,
        flips in proptest::collection::vec((any::<usize>(), byte()), 0..3),
    ) {
        let functions: Vec<&[u8]> = functions.iter().map(Vec::as_slice).collect();
        let mut frames = debug_frame(if arm { 30 } else { 16 }, if signal { "S" } else { "" }, &common, &functions);
        let len = frames.len();
        flips.into_iter().for_each(|(at, byte)| frames[at % len] = byte);
        survives(&elf(if arm { AARCH64 } else { X86_64 }, &[], &[(".debug_frame", 0, frames)]));
    }

    /// Code of any content, with many of the instructions that move the stack.
    #[test]
    fn any_code_is_survived(parts in proptest::collection::vec(
        prop_oneof![
            proptest::collection::vec(byte(), 1..8),
            (0x50_u8..0x60).prop_map(|push| vec![push]),
            (byte(), byte(), byte(), byte()).prop_map(|(a, b, c, d)| vec![0x48, 0x81, 0xec, a, b, c, d]),
            (byte(), byte(), byte(), byte()).prop_map(|(a, b, c, d)| vec![0x48, 0x8d, 0xa4, 0x24, a, b, c, d]),
            Just(vec![0x48, 0x89, 0xe5]),
            Just(vec![0xc9]),
            Just(vec![0xc3]),
            byte().prop_map(|to| vec![0xeb, to]),
        ],
        0..200,
    )) {
        let code = parts.concat();
        survives(&elf(X86_64, &code, &[(".text", CODE, vec![0; code.len()])]));
    }

    /// Go's tables with any content.
    #[test]
    fn any_table_of_go_is_survived(
        flips in proptest::collection::vec((any::<usize>(), byte()), 0..8), magic in 0_usize..3, arm: bool,
    ) {
        let (machine, quantum) = if arm { (AARCH64, 4) } else { (X86_64, 1) };
        let mut table = super::go::tests::some_table([0xffff_fffa, 0xffff_fff0, 0xffff_fff1][magic], quantum);
        let len = table.len() - 8;
        flips.into_iter().for_each(|(at, byte)| table[8 + at % len] = byte);
        survives(&elf(machine, &[], &[(".gopclntab", 0x50_0000, table), (".text", CODE, vec![0; 512])]));
    }
}
