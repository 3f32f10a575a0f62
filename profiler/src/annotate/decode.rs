//! Bytes of code -> instructions as text. Pure; the bytes are foreign and the decoders safe Rust: what is no instruction is `(bad)`.
//!
//! x86 in Intel's syntax by `iced-x86`, Arm's 64-bit code by `yaxpeax-arm`.

use iced_x86::{Decoder as X86, DecoderOptions, FlowControl, Formatter, IntelFormatter};
use object::elf::{EM_386, EM_AARCH64, EM_X86_64};
use yaxpeax_arch::{Decoder as _, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Opcode, Operand};

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Where it is.
    pub address: u64,
    /// Bytes.
    pub len: usize,
    /// As an assembler writes it.
    pub text: String,
    /// Where it calls or jumps to, when it says so itself.
    pub target: Option<u64>,
}

/// The instructions of a function; `None` for a processor that we cannot read.
pub(super) fn decode(machine: u16, address: u64, bytes: &[u8]) -> Option<Vec<Decoded>> {
    match machine {
        EM_X86_64 => Some(x86(64, address, bytes)),
        EM_386 => Some(x86(32, address, bytes)),
        EM_AARCH64 => Some(aarch64(address, bytes)),
        _ => None,
    }
}

fn x86(bitness: u32, address: u64, bytes: &[u8]) -> Vec<Decoded> {
    let mut decoder = X86::with_ip(bitness, bytes, address, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_branch_leading_zeros(false);
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_rip_relative_addresses(true);
    let mut found = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let mut text = String::new();
        if instruction.is_invalid() {
            text.push_str("(bad)");
        } else {
            formatter.format(&instruction, &mut text);
        }
        let near = matches!(
            instruction.flow_control(),
            FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
        );
        let target = Some(instruction.near_branch_target()).filter(|target| near && *target != 0);
        found.push(Decoded { address: instruction.ip(), len: instruction.len().max(1), text, target });
    }
    found
}

fn aarch64(address: u64, bytes: &[u8]) -> Vec<Decoded> {
    let decoder = InstDecoder::default();
    let words = bytes.as_chunks::<4>().0.iter().enumerate();
    let read = |(nth, word): (usize, &[u8; 4])| {
        let address = address + 4 * nth as u64;
        let (text, target) = match decoder.decode(&mut U8Reader::new(&word[..])) {
            Ok(instruction) => {
                let jumps =
                    matches!(instruction.opcode, Opcode::B | Opcode::BL | Opcode::Bcc(_) | Opcode::CBZ | Opcode::CBNZ);
                let offset = instruction.operands.iter().find_map(|operand| match operand {
                    Operand::PCOffset(offset) if jumps => Some(*offset),
                    _ => None,
                });
                (instruction.to_string(), offset.map(|offset| address.wrapping_add_signed(offset)))
            }
            Err(_) => ("(bad)".to_owned(), None),
        };
        Decoded { address, len: 4, text, target }
    };
    words.map(read).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn texts(machine: u16, bytes: &[u8]) -> Vec<(u64, String, Option<u64>)> {
        let decoded = decode(machine, 0x1000, bytes).unwrap();
        decoded.into_iter().map(|one| (one.address, one.text, one.target)).collect()
    }

    /// `push rbp; mov rbp, rsp; call +5; lea rax, [rip+2]; ret`, as objdump -M intel says.
    #[test]
    fn x86_code_reads_as_in_intels_manual() {
        let code = b"\x55\x48\x89\xe5\xe8\x05\x00\x00\x00\x48\x8d\x05\x02\x00\x00\x00\xc3";
        let expected = [
            (0x1000, "push rbp", None),
            (0x1001, "mov rbp, rsp", None),
            (0x1004, "call 0x100e", Some(0x100e)),
            (0x1009, "lea rax, [rip+2]", None),
            (0x1010, "ret", None),
        ];
        assert_eq!(texts(EM_X86_64, code), expected.map(|(at, text, to)| (at, text.to_owned(), to)));
        assert_eq!(
            texts(EM_386, b"\x40\xc3"),
            [(0x1000, "inc eax".to_owned(), None), (0x1001, "ret".to_owned(), None)]
        );
    }

    /// `stp x29, x30, [sp, #-16]!; bl +8; ret`, as an assembler writes them.
    #[test]
    fn arm_code_is_read_too() {
        let code = [0xa9bf_7bfd_u32, 0x9400_0002, 0xd65f_03c0].map(u32::to_le_bytes).concat();
        let found = texts(EM_AARCH64, &code);
        assert_eq!(found[0].1, "stp x29, x30, [sp, #-0x10]!");
        assert_eq!((found[1].1.starts_with("bl "), found[1].2), (true, Some(0x100c)));
        assert_eq!(found[2].1, "ret");
        assert_eq!(decode(8, 0, &code), None, "MIPS");
    }

    proptest! {
        /// Whatever the bytes are, every one of them belongs to one instruction, in order (but for the rest of a word on Arm).
        #[test]
        fn any_bytes_are_decoded_to_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..200), address in 0..u64::MAX / 2) {
            for (machine, step) in [(EM_X86_64, 1), (EM_386, 1), (EM_AARCH64, 4)] {
                let mut at = if machine == EM_386 { address & 0xffff } else { address };
                let end = at + (bytes.len() / step * step) as u64;
                for one in decode(machine, at, &bytes).unwrap() {
                    prop_assert_eq!(one.address, at);
                    at += one.len as u64;
                }
                prop_assert_eq!(at, end);
            }
        }
    }
}
