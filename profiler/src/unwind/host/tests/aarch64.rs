//! The other machine: link register, signed pointers, its signal frame. No real one has run this.

use super::*;

/// aarch64: a leaf keeps its return address in x30 and may use no stack; others save x29 and x30 at their CFA; pointers are signed.
#[test]
fn aarch64_leaves_return_by_the_link_register() {
    let leaf = Rule { cfa: Cfa::Register as u8, cfa_register: 31, ..Rule::default() };
    let saved = Rule {
        cfa_offset: 32,
        fp: Saved::AtCfa as u8,
        fp_offset: -32,
        ra: Saved::AtCfa as u8 | Rule::SIGNED,
        ra_offset: -24,
        ..leaf
    };
    let by_fp = Rule { cfa_register: 29, ..saved };
    let signed = |address: u64| address | 0x00bd_0000_0000_0000;
    let stack = [at(4), signed(row(2)), 7, 7, 0, row(0)];
    let drawing = || Drawing::new(&[end(), leaf, by_fp, saved], &stack).on(Machine::Aarch64);
    let registers = Registers { lr: signed(row(3)), ..in_row(1) };
    let walked = drawing().walk(registers);
    assert_eq!(seen(&walked), (vec![row(1), row(3) - 1, row(2) - 1, row(0) - 1], StackEnd::Complete));
    // A caller cannot have its return address in x30: whom it called has overwritten that.
    let again = drawing().walk(Registers { lr: row(1), ..in_row(1) });
    assert_eq!(seen(&again), (vec![row(1), row(1) - 1], StackEnd::StackNotRising));
    let caller = Rule { cfa_offset: 16, ..leaf };
    let walked =
        Drawing::new(&[end(), leaf, caller], &stack).on(Machine::Aarch64).walk(Registers { lr: row(2), ..in_row(1) });
    assert_eq!(walked.end, StackEnd::UnsupportedRule);
}

/// aarch64: a signal frame has 31 registers, sp and pc behind siginfo and the head of the ucontext.
#[test]
fn aarch64_signal_frames_give_every_register_back() {
    let trampoline = Rule { cfa: Cfa::Signal as u8, cfa_offset: 128, ..Rule::default() };
    let leaf = Rule { cfa: Cfa::Register as u8, cfa_register: 31, ..Rule::default() };
    let mut stack = vec![0; 80];
    let saved = 312 / 8;
    stack[saved + 29] = 0x77;
    stack[saved + 30] = row(0);
    stack[saved + 31] = at(3);
    stack[saved + 32] = row(1);
    let walked = Drawing::new(&[end(), leaf, trampoline], &stack).on(Machine::Aarch64).walk(in_row(2));
    assert_eq!(seen(&walked), (vec![row(2), row(1), row(0) - 1], StackEnd::Complete));
    assert_eq!((walked.registers.fp, walked.registers.sp), (0x77, at(3)));
}
