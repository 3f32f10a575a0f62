//! Bytes of code -> instructions as text. Pure; the bytes are foreign and the decoders safe Rust: what is no instruction is `(bad)`.
//!
//! x86 in Intel's syntax by `iced-x86`, Arm's 64-bit code by `yaxpeax-arm`.

use std::ops::Range;

use iced_x86::{Decoder as X86, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter, OpKind};
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
    /// Of its bytes, those of an address of the kernel that it holds.
    pub hidden: Range<usize>,
}

/// Whose code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hide {
    /// A program's: all of it may be shown.
    Nothing,
    /// The kernel's, relocated to a random place: no absolute address in it is shown.
    Addresses,
}

/// What stands for an address that is not shown.
const HIDDEN: &str = "<address>";

/// Values that may be addresses of the kernel: the upper half but for its end, where small negative numbers are.
fn is_address(value: u64) -> bool {
    (0xffff_8000_0000_0000..0xffff_ffff_ff00_0000).contains(&value)
}

/// The instructions of a function; `None` for a processor that we cannot read.
pub(super) fn decode(machine: u16, address: u64, bytes: &[u8], hide: Hide) -> Option<Vec<Decoded>> {
    match machine {
        EM_X86_64 => Some(x86(64, address, bytes, hide)),
        EM_386 => Some(x86(32, address, bytes, hide)),
        EM_AARCH64 => Some(aarch64(address, bytes, hide)),
        _ => None,
    }
}

fn x86(bitness: u32, address: u64, bytes: &[u8], hide: Hide) -> Vec<Decoded> {
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
        let (mut hidden, len) = (0..0, instruction.len().max(1));
        if instruction.is_invalid() {
            text.push_str("(bad)");
            if hide == Hide::Addresses {
                hidden = 0..len;
            }
        } else if hide == Hide::Addresses && (0..instruction.op_count()).any(|nth| holds_address(&instruction, nth)) {
            hidden = constants(&decoder, &instruction);
            without_addresses(&mut formatter, &instruction, &mut text);
        } else {
            formatter.format(&instruction, &mut text);
        }
        let near = matches!(
            instruction.flow_control(),
            FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
        );
        let target = Some(instruction.near_branch_target()).filter(|target| near && *target != 0);
        found.push(Decoded { address: instruction.ip(), len, text, target, hidden });
    }
    found
}

/// Whether an operand has an address in it, sign-extended or whole.
fn holds_address(instruction: &Instruction, nth: u32) -> bool {
    match instruction.op_kind(nth) {
        OpKind::Memory => !instruction.is_ip_rel_memory_operand() && is_address(instruction.memory_displacement64()),
        OpKind::Immediate32to64 | OpKind::Immediate64 => is_address(instruction.immediate(nth)),
        _ => false,
    }
}

/// The bytes of an instruction's constants.
fn constants(decoder: &X86<'_>, instruction: &Instruction) -> Range<usize> {
    let offsets = decoder.get_constant_offsets(instruction);
    let begin = |has: bool, at: usize| if has { at } else { instruction.len() };
    let begin = begin(offsets.has_displacement(), offsets.displacement_offset())
        .min(begin(offsets.has_immediate(), offsets.immediate_offset()));
    // Displacement and immediate come last, in this order.
    begin..instruction.len()
}

fn without_addresses(formatter: &mut IntelFormatter, instruction: &Instruction, text: &mut String) {
    formatter.format_mnemonic(instruction, text);
    for nth in 0..formatter.operand_count(instruction) {
        text.push_str(if nth == 0 { " " } else { ", " });
        let of_instruction = formatter.get_instruction_operand(instruction, nth).ok().flatten();
        let hides = of_instruction.is_some_and(|nth| holds_address(instruction, nth));
        // A text that could not be made is none to show.
        if hides || formatter.format_operand(instruction, text, nth).is_err() {
            text.push_str(HIDDEN);
        }
    }
}

fn aarch64(address: u64, bytes: &[u8], hide: Hide) -> Vec<Decoded> {
    let decoder = InstDecoder::default();
    let all = bytes.as_chunks::<4>().0;
    // Addresses stand between the instructions (literal pools): their upper word begins with ffff, which no instruction does.
    let is_upper = |nth: usize| all.get(nth).is_some_and(|word| word[3] == 0xff && word[2] == 0xff);
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
        if hide == Hide::Addresses && (is_upper(nth) || is_upper(nth + 1)) {
            return Decoded { address, len: 4, text: HIDDEN.to_owned(), target: None, hidden: 0..4 };
        }
        Decoded { address, len: 4, text, target, hidden: 0..0 }
    };
    words.map(read).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn texts(machine: u16, bytes: &[u8]) -> Vec<(u64, String, Option<u64>)> {
        let decoded = decode(machine, 0x1000, bytes, Hide::Nothing).unwrap();
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
        assert_eq!(decode(8, 0, &code, Hide::Nothing), None, "MIPS");
    }

    proptest! {
        /// Whatever the bytes are, every one of them belongs to one instruction, in order (but for the rest of a word on Arm).
        #[test]
        fn any_bytes_are_decoded_to_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..200), address in 0..u64::MAX / 2) {
            for (machine, step) in [(EM_X86_64, 1), (EM_386, 1), (EM_AARCH64, 4)] {
                let mut at = if machine == EM_386 { address & 0xffff } else { address };
                let end = at + (bytes.len() / step * step) as u64;
                for one in decode(machine, at, &bytes, Hide::Nothing).unwrap() {
                    prop_assert_eq!(one.address, at);
                    at += one.len as u64;
                }
                prop_assert_eq!(at, end);
            }
        }
    }

    /// What the kernel's code says of where the kernel is, is hidden in text and bytes; what it says of nothing else is shown.
    #[test]
    fn addresses_of_the_kernel_are_hidden() {
        // mov rdi, 0xffffffff82a01234; mov rax, [rax*8 - 0x7d5fedcc]; movabs rax, 0xffff888000001000; mov rax, -1; and rax, -4096; ret
        let code = b"\x48\xc7\xc7\x34\x12\xa0\x82\x48\x8b\x04\xc5\x34\x12\xa0\x82\
            \x48\xb8\x00\x10\x00\x00\x80\x88\xff\xff\x48\xc7\xc0\xff\xff\xff\xff\x48\x25\x00\xf0\xff\xff\xc3";
        let decoded = decode(EM_X86_64, 0, code, Hide::Addresses).unwrap();
        let shown: Vec<_> = decoded.iter().map(|one| (one.text.as_str(), one.hidden.clone())).collect();
        assert_eq!(
            shown,
            [
                ("mov rdi, <address>", 3..7),
                ("mov rax, <address>", 4..8),
                ("mov rax, <address>", 2..10),
                ("mov rax, 0xffffffffffffffff", 0..0),
                ("and rax, 0xfffffffffffff000", 0..0),
                ("ret", 0..0),
            ]
        );
        let program = decode(EM_X86_64, 0, code, Hide::Nothing).unwrap();
        assert!(program[0].text.contains("0xffffffff82a01234"), "{program:?}");
        // ldr x0, #8; ret; .quad 0xffff800008012340
        let code = b"\x40\x00\x00\x58\xc0\x03\x5f\xd6\x40\x23\x01\x08\x00\x80\xff\xff";
        let decoded = decode(EM_AARCH64, 0, code, Hide::Addresses).unwrap();
        let hidden: Vec<_> = decoded.iter().map(|one| one.hidden.len()).collect();
        assert_eq!(hidden, [0, 0, 4, 4]);
    }
}
