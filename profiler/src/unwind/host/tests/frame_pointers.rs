//! Frame pointers: where a rule says so, where there are no rows, and alone.

use super::*;

const JIT: u64 = 0x5000;

/// Go's functions keep frame pointers, and its system stack leads back to the goroutine's, wherever that is.
#[test]
fn a_frame_pointer_rule_follows_the_chain() {
    let go = Rule { cfa: Cfa::FramePointer as u8, ..Rule::default() };
    let stack = [at(2), row(0), 0, row(0)];
    let registers = Registers { fp: at(0), ..in_row(0) };
    let walked = Drawing::new(&[go], &stack).walk(registers);
    assert_eq!(seen(&walked), (vec![row(0), row(0) - 1, row(0) - 1], StackEnd::Complete), "not marked: a rule says so");
    let higher = Registers { sp: at(1), ..registers };
    assert_eq!(Drawing::new(&[go], &stack).walk(higher).end, StackEnd::FramePointerLost);
    let switched = Rule { extra: 1, ..go };
    assert_eq!(Drawing::new(&[switched], &stack).walk(higher).end, StackEnd::Complete);
}

/// Without rows the frame pointer leads on, where it is right; such frames are marked, and rows take over again.
#[test]
fn code_without_rows_is_left_by_its_frame_pointer() {
    //    rbp: saved rbp, return;         saved rbp, return; ... back in a file
    let stack = [7, at(3), JIT + 0x20, at(6), row(1), 7, row(0)];
    let rules = [end(), cfa(RSP, 16)];
    let registers = Registers { ip: JIT + 0x10, sp: at(0), fp: at(1), all: 1, ..Registers::default() };
    let drawing = |mode| Drawing::new(&rules, &stack).with(JIT, JIT + 0x1000, Mapping::JIT).by(mode);
    let walked = drawing(UnwindMode::Auto).walk(registers);
    let frames = vec![JIT + 0x10, (JIT + 0x1f) | BY_FRAME_POINTER, (row(1) - 1) | BY_FRAME_POINTER, row(0) - 1];
    assert_eq!(seen(&walked), (frames, StackEnd::CompleteByFramePointers));
    assert_eq!(seen(&drawing(UnwindMode::Rows).walk(registers)), (vec![JIT + 0x10], StackEnd::JitFramePointerLost));
}

/// A frame pointer that is odd, below the stack pointer, far above it, unreadable, or that leads to no code is not believed.
#[test]
fn a_frame_pointer_without_rows_is_checked() {
    let stack = [at(2), row(0), at(4), 0x9999_9999, 7];
    let leaf = |fp, sp, image| {
        let registers = Registers { ip: JIT + 8, sp, fp, all: 1, ..Registers::default() };
        seen(&Drawing::new(&[end()], &stack).with(JIT, JIT + 0x1000, image).walk(registers))
    };
    for (fp, sp) in [
        (at(0) + 4, at(0)),
        (at(0), at(1)),
        (at(0) + (2 << 20), at(0)),
        (at(50), at(0)),
        (at(2), at(0)),
        (0, at(0)),
        (u64::MAX - 7, at(0)),
    ] {
        assert_eq!(leaf(fp, sp, Mapping::JIT), (vec![JIT + 8], StackEnd::JitFramePointerLost), "{fp:#x} {sp:#x}");
        assert_eq!(leaf(fp, sp, Mapping::NO_ROWS), (vec![JIT + 8], StackEnd::NoUnwindRows), "{fp:#x} {sp:#x}");
    }
    assert_eq!(leaf(at(0), at(0), Mapping::JIT).1, StackEnd::CompleteByFramePointers);
}

/// A frame of more than a MiB is not believed without a row, though everything else about it is right.
#[test]
fn a_frame_pointer_far_away_is_not_believed() {
    let far = |words: usize| {
        let mut stack = vec![7; words];
        stack.extend([0, row(0)]);
        let registers = Registers { ip: JIT + 8, sp: at(0), fp: at(words as u64), all: 1, ..Registers::default() };
        Drawing::new(&[end()], &stack).with(JIT, JIT + 0x1000, Mapping::JIT).walk(registers).end
    };
    assert_eq!(far((1 << 20) / 8), StackEnd::CompleteByFramePointers);
    assert_eq!(far((1 << 20) / 8 + 1), StackEnd::JitFramePointerLost);
}

/// A trampoline can be reached by a frame pointer; what the signal interrupted was reached by its registers.
#[test]
fn a_signal_frame_ends_the_marks() {
    let trampoline = Rule { cfa: Cfa::Signal as u8, ..Rule::default() };
    let mut stack = vec![0; 100];
    // A handler made at run time; its caller is the trampoline, whose ucontext begins at word 2.
    stack[1] = row(1);
    [stack[2 + 5 + 15], stack[2 + 5 + 16]] = [at(50), row(0)];
    let registers = Registers { ip: JIT + 8, sp: at(0), fp: at(0), all: 1, ..Registers::default() };
    let walked = Drawing::new(&[end(), trampoline], &stack).with(JIT, JIT + 0x1000, Mapping::JIT).walk(registers);
    let frames = vec![JIT + 8, row(1) | BY_FRAME_POINTER, row(0)];
    assert_eq!(seen(&walked), (frames, StackEnd::CompleteByFramePointers));
}

/// An address that has the mark's own bit is not taken for a mark.
#[test]
fn the_mark_is_never_part_of_an_address() {
    let vsyscall = Registers { ip: 0xffff_ffff_ff60_0000, ..in_row(0) };
    for mode in [UnwindMode::Auto, UnwindMode::FramePointers] {
        let walked = Drawing::new(&[end()], &[7]).by(mode).walk(vsyscall);
        assert_eq!(walked.frames, [0x7fff_ffff_ff60_0000]);
    }
}

/// The chain of frame pointers ends in a zero: that is the first function, if the chain was followed up to there.
#[test]
fn a_chain_of_frame_pointers_ends_in_zero() {
    let registers = Registers { ip: JIT + 8, sp: at(0), fp: at(0), all: 1, ..Registers::default() };
    let walked = Drawing::new(&[end()], &[0, JIT + 0x20, 7]).with(JIT, JIT + 0x1000, Mapping::JIT).walk(registers);
    assert_eq!(seen(&walked), (vec![JIT + 8, (JIT + 0x1f) | BY_FRAME_POINTER], StackEnd::CompleteByFramePointers));
}

/// A hole between the functions of a file is code without rows as well.
#[test]
fn a_hole_between_functions_is_code_without_rows() {
    let drawing = |mode| Drawing::new(&[end(), Rule::default()], &[0, row(0)]).by(mode);
    let registers = Registers { fp: at(0), ..in_row(1) };
    assert_eq!(drawing(UnwindMode::Auto).walk(registers).end, StackEnd::CompleteByFramePointers);
    assert_eq!(drawing(UnwindMode::Rows).walk(registers).end, StackEnd::NoUnwindRows);
}

/// Asked for frame pointers only, no table is looked at.
#[test]
fn frame_pointers_alone_need_no_tables() {
    let registers = Registers { fp: at(1), ..in_row(0) };
    let drawing = Drawing::new(&[end()], &[7, at(3), 0x9000, 0, 0xa000]).by(UnwindMode::FramePointers);
    assert_eq!(seen(&drawing.walk(registers)), (vec![row(0), 0x8fff, 0x9fff], StackEnd::Complete));
}
