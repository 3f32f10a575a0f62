//! What code alone tells, against the tables of files that have them, and in small pieces made by hand.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::path::Path;

use iced_x86::{Decoder, DecoderOptions};
use profiler_ebpf::tables::{Cfa, Rule, Saved};

use super::code::is_padding;
use super::compile::{code_only, tables_only};
use super::elf::{Elf, Machine};
use super::tests::{CODE, CODE_OFFSET, X86_64, elf, file_of};
use super::{Image, compile};

/// Of the instructions that a file's tables describe, for how many the code alone gives the same, something else, and nothing.
fn against_tables(path: &Path) -> [usize; 3] {
    let file = File::open(path).unwrap();
    let (ours, theirs) = (code_only(&file).unwrap(), tables_only(&file).unwrap());
    let elf = Elf::parse(&file).unwrap();
    let mut counts = [0; 3];
    for (address, len) in elf.code_ranges(b".bolt.org") {
        let bytes = elf.loaded(address, len).unwrap();
        let segment = elf.code(address).unwrap();
        for instruction in Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE).iter() {
            let offset = instruction.ip() - segment.address + segment.offset;
            let (ours, theirs) = (ours.rule_at(offset), theirs.rule_at(offset));
            if theirs.cfa == Cfa::Register as u8 && !is_padding(&instruction) {
                counts[if ours.cfa == 0 { 2 } else { usize::from(!say_the_same(&ours, &theirs)) }] += 1;
            }
        }
    }
    counts
}

fn say_the_same(ours: &Rule, theirs: &Rule) -> bool {
    // A frame by the frame pointer, where the tables count from the stack pointer.
    let by_frame = ours.cfa_register == 6 && theirs.cfa_register == 7 && theirs.fp_offset == -16;
    // Where the frame pointer is popped already, tables still name the place it was popped from.
    let popped = ours.fp == Saved::Same as u8 && i32::from(theirs.fp_offset) < -theirs.cfa_offset;
    let same_frame =
        (ours.cfa, ours.cfa_register, ours.cfa_offset) == (theirs.cfa, theirs.cfa_register, theirs.cfa_offset);
    by_frame || same_frame && (popped || (ours.fp, ours.fp_offset) == (theirs.fp, theirs.fp_offset))
}

/// A stripped program whose tables are not looked at: nineteen in twenty instructions are understood, and one in 1000 of them wrongly, no more.
#[test]
fn code_alone_says_what_tables_say() {
    if Machine::X86_64 == Elf::parse(&File::open("/bin/bash").unwrap()).unwrap().machine {
        let [same, other, nothing] = against_tables(Path::new("/bin/bash"));
        assert!(same > 19 * nothing, "{same} the same, {nothing} not understood");
        assert!(other * 1000 < same, "{same} the same, {other} otherwise");
    }
}

/// A file of pieces of code at multiples of 64 bytes.
fn image_of(pieces: &[&[u8]]) -> Image {
    let mut code = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        code.resize(64 * at, 0x90);
        code.extend(*piece);
    }
    let len = code.len();
    compile(&file_of(&elf(X86_64, &code, &[(".text", CODE, vec![0; len])]))).unwrap()
}

fn rule(image: &Image, piece: u64, byte: u64) -> Rule {
    image.rule_at(CODE_OFFSET + 64 * piece + byte)
}

/// `xor ebp, ebp; mov rdi, rsp; call piece 1; hlt`: where a program begins.
const START: [u8; 11] = [0x31, 0xed, 0x48, 0x89, 0xe7, 0xe8, 0x36, 0, 0, 0, 0xf4];

fn frame(depth: i32) -> Rule {
    let (cfa, ra) = (Cfa::Register as u8, Saved::AtCfa as u8 | Rule::READ);
    Rule { cfa, cfa_register: 7, cfa_offset: depth, ra, ra_offset: -8, ..Rule::default() }
}

/// Pushes, pops and room on the stack count; a branch takes what is known with it; nobody called the entry point.
#[test]
fn the_stack_is_counted_along_the_code() {
    // push rbp; push rbx; sub rsp, 24; test eax, eax; je 3 on; nop; jmp 4 on; (11:) add rsp, 24; pop rbx; pop rbp; ret
    let function =
        [0x55, 0x53, 0x48, 0x83, 0xec, 24, 0x85, 0xc0, 0x74, 3, 0x90, 0xeb, 0, 0x48, 0x83, 0xc4, 24, 0x5b, 0x5d, 0xc3];
    let image = image_of(&[&START, &function]);
    assert_eq!([0, 2, 9].map(|byte| rule(&image, 0, byte).cfa), [Cfa::End as u8; 3]);
    let saved = |depth| Rule { fp: Saved::AtCfa as u8, fp_offset: -16, ..frame(depth) };
    let expected = [(0, frame(8)), (1, saved(16)), (2, saved(24)), (6, saved(48)), (13, saved(48)), (17, saved(24))];
    for (byte, expected) in expected.into_iter().chain([(18, saved(16)), (19, frame(8))]) {
        assert_eq!(rule(&image, 1, byte), expected, "at {byte}");
    }
}

/// A frame with a frame pointer counts from there, whatever happens to the stack pointer; `leave` undoes it.
#[test]
fn frames_with_a_frame_pointer_count_from_it() {
    // push rbp; mov rbp, rsp; sub rsp, rax; sub rsp, [rax]; leave; ret
    let image = image_of(&[&START, &[0x55, 0x48, 0x89, 0xe5, 0x48, 0x29, 0xc4, 0x48, 0x2b, 0x20, 0xc9, 0xc3]]);
    let framed = Rule { cfa_register: 6, fp: Saved::AtCfa as u8, fp_offset: -16, ..frame(16) };
    assert_eq!([4, 7, 10].map(|byte| rule(&image, 1, byte)), [framed; 3]);
    assert_eq!(rule(&image, 1, 11), frame(8));
}

/// Codecs align the stack and put the old stack pointer by.
#[test]
fn an_aligned_stack_is_found_by_the_word_put_by() {
    // mov r10, rsp; and rsp, -32; sub rsp, 64; mov [rsp + 56], r10; nop; mov rsp, [rsp + 56]; ret
    let function = [
        0x49, 0x89, 0xe2, 0x48, 0x83, 0xe4, 0xe0, 0x48, 0x83, 0xec, 64, 0x4c, 0x89, 0x54, 0x24, 56, 0x90, 0x48, 0x8b,
        0x64, 0x24, 56, 0xc3,
    ];
    let image = image_of(&[&START, &function]);
    assert_eq!(rule(&image, 1, 16), Rule { cfa: Cfa::Deref as u8, extra: 8, ..frame(56) });
    assert_eq!(rule(&image, 1, 22), frame(8));
}

/// Code that returns with the stack in disorder was not understood, and code that only jumps away proves nothing (an interpreter's
/// handlers). Neither has rows.
#[test]
fn what_does_not_add_up_has_no_rows() {
    // push rbx; ret
    let image = image_of(&[&START, &[0x53, 0xc3], &[0x48, 0x89, 0xc1, 0xff, 0xe0]]);
    assert_eq!([rule(&image, 1, 0), rule(&image, 1, 1), rule(&image, 2, 0)], [Rule::default(); 3]);
}

/// musl's return from signal handlers is asked for one byte before its first: nobody called it. Its `clone` clears the frame
/// pointer in the new thread.
#[test]
fn signal_trampolines_and_new_threads_are_known() {
    let restore = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 5];
    // syscall; test eax, eax; jne 6 on; xor ebp, ebp; pop rdi; call r9; hlt; ret
    let clone = [0x0f, 5, 0x85, 0xc0, 0x75, 7, 0x31, 0xed, 0x5f, 0x41, 0xff, 0xd1, 0xf4, 0xc3];
    let image = image_of(&[&START, &clone, &restore]);
    let signal = Rule { cfa: Cfa::Signal as u8, cfa_register: 7, ..Rule::default() };
    assert_eq!([rule(&image, 1, 63), rule(&image, 2, 0), rule(&image, 2, 8)], [signal; 3]);
    assert_eq!([rule(&image, 1, 0), rule(&image, 1, 13)], [frame(8); 2]);
    assert_eq!(rule(&image, 1, 11).cfa, Cfa::End as u8);
}

/// A `switch`: its table, of words relative to itself, says where its parts begin and thereby what their stack is.
#[test]
fn a_jump_table_leads_to_its_parts() {
    // 0: push rbx; cmp edi, 1; ja 27; lea rdx, [table]; movsxd rax, [rdx + 4 * rdi]; add rax, rdx; jmp rax
    // 20: pop rbx; ret; nop; 23: nop; pop rbx; ret; nop; 27: pop rbx; ret
    let function = [
        0x53, 0x83, 0xff, 1, 0x77, 0x15, 0x48, 0x8d, 0x15, 0x33, 0, 0, 0, 0x48, 0x63, 0x04, 0xba, 0x48, 0x01, 0xd0,
        0xff, 0xe0, 0x5b, 0xc3, 0x90, 0x5b, 0xc3, 0x5b, 0xc3,
    ];
    let table: Vec<u8> = [22_i32 - 64, 25 - 64].iter().flat_map(|offset| offset.to_le_bytes()).collect();
    let image = image_of(&[&START, &function, &table]);
    let depths = [(0, 8), (1, 16), (20, 16), (22, 16), (23, 8), (25, 16), (26, 8), (27, 16), (28, 8)];
    assert_eq!(depths.map(|(byte, _)| rule(&image, 1, byte)), depths.map(|(_, depth)| frame(depth)));
    // One entry leads out of the code: nothing is known of the parts, nor of what is before them.
    let table: Vec<u8> = [22_i32 - 64, 1 << 20].iter().flat_map(|offset| offset.to_le_bytes()).collect();
    let image = image_of(&[&START, &function[..27], &table]);
    assert_eq!(rule(&image, 1, 20), Rule::default());
}

/// For compilers the code goes on behind musl's way to crash.
#[test]
fn the_frame_holds_behind_a_trap() {
    // push rbx; test edi, edi; je 1 on; hlt; pop rbx; ret
    let image = image_of(&[&START, &[0x53, 0x85, 0xff, 0x74, 1, 0xf4, 0x5b, 0xc3]]);
    assert_eq!([5, 6, 7].map(|byte| rule(&image, 1, byte)), [frame(16), frame(16), frame(8)]);
}

/// From a call that does not come back no way leads on: the branch to what follows says how the stack is there.
#[test]
fn a_call_that_does_not_return_says_nothing_of_what_follows() {
    // test edi, edi; je 6 on; push rbx; call piece 2; (10:) nop; ret; and: ud2
    let image = image_of(&[&START, &[0x85, 0xff, 0x74, 6, 0x53, 0xe8, 0x36, 0, 0, 0, 0x90, 0xc3], &[0x0f, 0x0b]]);
    assert_eq!([5, 10, 11].map(|byte| rule(&image, 1, byte)), [frame(16), frame(8), frame(8)]);
}

/// Two ways to one place with different stacks: one of them was misread.
#[test]
fn ways_that_disagree_have_no_rows() {
    // test edi, edi; je 2 on; push rbx; nop; ret
    let image = image_of(&[&START, &[0x85, 0xff, 0x74, 2, 0x53, 0x90, 0xc3]]);
    assert_eq!([0, 4, 5, 6].map(|byte| rule(&image, 1, byte)), [Rule::default(); 4]);
}

/// A function of one jump through a register proves nothing, but that another function takes its address.
#[test]
fn a_function_whose_address_is_taken_may_only_jump_away() {
    // lea rax, [piece 2]; call piece 2; ret; and: jmp rdx
    let taker = [0x48, 0x8d, 0x05, 0x39, 0, 0, 0, 0xe8, 0x34, 0, 0, 0, 0xc3];
    let image = image_of(&[&START, &taker, &[0xff, 0xe2]]);
    assert_eq!(rule(&image, 2, 0), frame(8));
    let image = image_of(&[&START, &taker[7..], &[0xff, 0xe2]]);
    assert_eq!(rule(&image, 2, 0), Rule::default());
}

/// A label behind a jump whose address is taken is what a made stack returns to (Boost.Context's `make_fcontext`): the byte before has a
/// rule that makes the walk look at the code, the label none of that. A `ret` keeps its own rule.
#[test]
fn a_label_behind_a_jump_is_no_place_that_was_called_from() {
    let make = [
        &[0x48, 0x8d, 0x0d, 0x08, 0, 0, 0][..], // lea 15(%rip), %rcx
        &[0x48, 0x89, 0x48, 0x30, 0xc3],        // mov %rcx, 0x30(%rax); ret
        &[0x55, 0xff, 0xe3],                    // push %rbp; jmp *%rbx
        &[0x48, 0x31, 0xff, 0xc3],              // xor %rdi, %rdi; ret
    ];
    let image = image_of(&[&[0xc3], &make.concat()]);
    let unsupported = Cfa::Unsupported as u8;
    assert_eq!([13, 14, 15].map(|byte| rule(&image, 1, byte).cfa == unsupported), [false, true, false]);
    assert_eq!(rule(&image, 1, 11), frame(8));
}
