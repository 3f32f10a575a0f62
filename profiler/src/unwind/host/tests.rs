//! Stacks are drawn: a word at an address each. Code lies at 0x10000, each row 16 bytes of it; the stack below 0x8000_0000.

#![expect(clippy::unwrap_used, reason = "tests")]

use profiler_ebpf::tables::{Cfa, Saved};

use super::*;

mod aarch64;
mod frame_pointers;
mod look_ups;
mod made;
mod properties;
mod unfinished;

/// Where the code is, and how much of it a row covers.
const CODE: u64 = 0x10000;
const ROW: u64 = 16;
/// Where the stack is.
const STACK: u64 = 0x7fff_0000;

/// A process with one file, row `n` of which has rule `n`; and a stack.
struct Drawing {
    pool: Pool,
    mappings: Vec<Mapping>,
    stack: Vec<u64>,
    machine: Machine,
    mode: UnwindMode,
}

impl Drawing {
    fn new(rules: &[Rule], stack: &[u64]) -> Self {
        let mut pool = Pool::default();
        let rows: Vec<(u64, u16)> = (0..).zip(rules).map(|(n, rule)| (n * ROW, pool.add_rule(*rule))).collect();
        let image = pool.add_pages(&image_of(&rows));
        let end = CODE + rules.len() as u64 * ROW;
        let granules = ((end - CODE).div_ceil(512)) as u32;
        let file = Mapping { start: CODE, end, bias: CODE.wrapping_neg(), image, granules };
        Self { pool, mappings: vec![file], stack: stack.to_vec(), machine: Machine::X86_64, mode: UnwindMode::Auto }
    }

    /// One more mapping, of code without an image.
    fn with(mut self, start: u64, end: u64, image: u32) -> Self {
        self.mappings.push(Mapping { start, end, image, ..Mapping::default() });
        self
    }

    fn on(mut self, machine: Machine) -> Self {
        self.machine = machine;
        self
    }

    fn by(mut self, mode: UnwindMode) -> Self {
        self.mode = mode;
        self
    }

    fn space(&mut self) -> Space {
        self.mappings.sort_by_key(|mapping| mapping.start);
        self.pool.space(&self.mappings)
    }

    fn bytes(&self) -> Vec<u8> {
        self.stack.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn walk(mut self, registers: Registers) -> Walked {
        let space = self.space();
        let memory = StackBytes { start: STACK, bytes: &self.bytes() };
        walk(registers, self.machine, &self.pool, space, &memory, self.mode)
    }
}

/// An address inside row `n`.
fn row(n: u64) -> u64 {
    CODE + n * ROW + 8
}

/// The address of stack word `n`.
fn at(n: u64) -> u64 {
    STACK + 8 * n
}

/// Interrupted in row `n`, the stack pointer at the first word.
fn in_row(n: u64) -> Registers {
    Registers { ip: row(n), sp: STACK, all: 1, ..Registers::default() }
}

fn end() -> Rule {
    Rule { cfa: Cfa::End as u8, ..Rule::default() }
}

/// x86-64: CFA at `register + offset`, the return address below.
fn cfa(register: u8, offset: i32) -> Rule {
    Rule {
        cfa: Cfa::Register as u8,
        cfa_register: register,
        cfa_offset: offset,
        ra: Saved::AtCfa as u8,
        ra_offset: -8,
        ..Rule::default()
    }
}

const RSP: u8 = 7;
const RBP: u8 = 6;

fn pushed_rbp(rule: Rule) -> Rule {
    Rule { fp: Saved::AtCfa as u8, fp_offset: -16, ..rule }
}

/// Frames and end of a walk, the frames as rows: a caller is looked up at the byte before its return address.
fn seen(walked: &Walked) -> (Vec<u64>, StackEnd) {
    (walked.frames.clone(), walked.end)
}

/// By the stack pointer up to the first function, whose return address is undefined. Callers are looked up inside their calls.
#[test]
fn stack_pointer_rules_lead_to_the_first_function() {
    let drawing = Drawing::new(&[end(), cfa(RSP, 8), cfa(RSP, 24)], &[7, 7, row(1), row(0)]);
    let walked = drawing.walk(in_row(2));
    assert_eq!(seen(&walked), (vec![row(2), row(1) - 1, row(0) - 1], StackEnd::Complete));
    assert_eq!((walked.registers.ip, walked.registers.sp, walked.registers.all), (row(0), at(4), 0));
}

/// A rule that was read from code and finds no return address was wrong: the stack's end is never told by it.
#[test]
fn a_zero_return_address_ends_a_stack_only_where_tables_say_so() {
    for (ra, end) in [(0, StackEnd::Complete), (Rule::READ, StackEnd::ReturnAddressLost)] {
        let rule = cfa(RSP, 16);
        let drawing = Drawing::new(&[Rule { ra: rule.ra | ra, ..rule }], &[7, 0]);
        assert_eq!(seen(&drawing.walk(in_row(0))), (vec![row(0)], end));
    }
}

/// A call that is the last instruction of its function returns to the next one's first byte; the row is that of the call.
#[test]
fn a_return_address_at_the_end_of_a_function_finds_its_callers_row() {
    let drawing = Drawing::new(&[end(), cfa(RSP, 16), cfa(RSP, 8)], &[CODE + 2 * ROW, 7, CODE + ROW]);
    assert_eq!(seen(&drawing.walk(in_row(2))), (vec![row(2), CODE + 2 * ROW - 1, CODE + ROW - 1], StackEnd::Complete));
}

/// The frame pointer is restored where the rule says it was saved, and the next rule counts from it.
#[test]
fn a_saved_frame_pointer_serves_the_callers_rule() {
    let rules = [end(), pushed_rbp(cfa(RBP, 16)), pushed_rbp(cfa(RSP, 16))];
    //                  saved rbp, return,   ...  saved rbp, return
    let drawing = Drawing::new(&rules, &[at(4), row(1), 7, 7, 0, row(0)]);
    assert_eq!(seen(&drawing.walk(in_row(2))), (vec![row(2), row(1) - 1, row(0) - 1], StackEnd::Complete));
}

/// A return address of zero ends a stack too: threads begin so where nobody wrote a rule for it.
#[test]
fn a_return_address_of_zero_is_the_end() {
    assert_eq!(Drawing::new(&[cfa(RSP, 8)], &[0]).walk(in_row(0)).end, StackEnd::Complete);
}

/// A PLT entry has pushed its number when the processor is far enough in it.
#[test]
fn a_plt_entry_counts_what_it_has_pushed() {
    let plt = Rule { cfa: Cfa::Plt as u8, cfa_register: RSP, extra: 11, ..cfa(RSP, 8) };
    for (offset, stack) in [(10, vec![row(0), 7]), (11, vec![7, row(0)])] {
        let registers = Registers { ip: CODE + ROW + offset, ..in_row(0) };
        let walked = Drawing::new(&[end(), plt], &stack).walk(registers);
        assert_eq!(seen(&walked), (vec![CODE + ROW + offset, row(0) - 1], StackEnd::Complete), "at {offset}");
    }
}

/// `add rsp, 8; ret` behind the call in code made at run time: one word is taken down, then comes the return address.
#[test]
fn a_trampolines_code_says_where_its_caller_is() {
    const ADD_8_AND_RETURN: u64 = 0xc3_08c4_8348;
    let through = |code: u64| {
        // The fifth word is the code that the first one returns to.
        let stack = [at(4), 1, row(0), 0, code];
        let drawing = Drawing::new(&[end(), cfa(RSP, 8)], &stack).with(at(4) - 8, at(5), Mapping::JIT);
        drawing.walk(in_row(1))
    };
    let frames = vec![row(1), at(4) - 1, row(0) - 1];
    assert_eq!(seen(&through(ADD_8_AND_RETURN)), (frames, StackEnd::Complete));
    assert_eq!(seen(&through(ADD_8_AND_RETURN + 1)).1, StackEnd::JitFramePointerLost);
}

/// gcc realigns the stack and keeps where it was in a word below rbp: the CFA is read from there.
#[test]
fn a_realigned_stack_is_found_through_memory() {
    let realigned = Rule { cfa: Cfa::Deref as u8, extra: 8, fp: Saved::AtRegister as u8, ..cfa(RBP, -8) };
    //     the word at rbp - 8, saved rbp, ...  return
    let drawing = Drawing::new(&[pushed_rbp(cfa(RBP, 16)), realigned, end()], &[at(4), at(5), 7, 7, row(0), 0, row(2)]);
    let registers = Registers { fp: at(1), ..in_row(1) };
    assert_eq!(seen(&drawing.walk(registers)), (vec![row(1), row(0) - 1, row(2) - 1], StackEnd::Complete));
}

/// Any register can hold the CFA of the frame that was interrupted; of a caller's registers only two are known.
#[test]
fn other_registers_are_known_in_the_interrupted_frame_only() {
    let r10 = cfa(10, 0);
    let mut registers = in_row(1);
    registers.general[10] = at(2);
    assert_eq!(Drawing::new(&[end(), r10], &[7, row(0)]).walk(registers).end, StackEnd::Complete);
    let caller = Drawing::new(&[r10, cfa(RSP, 8)], &[row(0), 7]).walk(registers);
    assert_eq!(seen(&caller), (vec![row(1), row(0) - 1], StackEnd::UnsupportedRule));
}

/// glibc's vfork keeps its return address in rdi while it runs: the child must not overwrite it on the stack. The stack pointer is
/// the caller's then, until it is pushed again.
#[test]
fn a_return_address_in_a_register_is_taken_from_there() {
    for offset in [0, 8] {
        let vfork = Rule { ra: Saved::InRegister as u8, ra_offset: 5, ..cfa(RSP, offset) };
        let mut registers = in_row(1);
        registers.general[5] = row(0);
        let walked = Drawing::new(&[end(), vfork], &[7]).walk(registers);
        assert_eq!(seen(&walked), (vec![row(1), row(0) - 1], StackEnd::Complete));
    }
}

/// A frame pointer can be in another register, or gone.
#[test]
fn a_frame_pointer_is_taken_from_where_the_rule_says() {
    let in_rbx = Rule { fp: Saved::InRegister as u8, fp_offset: 3, ..cfa(RSP, 8) };
    let gone = Rule { fp: Saved::Undefined as u8, ..cfa(RSP, 8) };
    let mut registers = Registers { fp: 0xbad, ..in_row(1) };
    registers.general[3] = at(1);
    let rules = [cfa(RBP, 16), in_rbx, gone, end()];
    let walked = Drawing::new(&rules, &[row(0), 7, row(3)]).walk(registers);
    assert_eq!(seen(&walked), (vec![row(1), row(0) - 1, row(3) - 1], StackEnd::Complete));
    let walked = Drawing::new(&rules, &[row(0), 7, row(3)]).walk(Registers { ip: row(2), ..registers });
    assert_eq!(walked.registers.fp, 0);
}

/// Through a signal frame all registers come back, the interrupted instruction counts as it is, and the stack may lie anywhere: here
/// the handler ran on an alternate stack above. The trampoline, where the handler returns to, is shown at its first byte.
#[test]
fn a_signal_frame_gives_every_register_back() {
    let trampoline = Rule { cfa: Cfa::Signal as u8, ..Rule::default() };
    // Words 0..2 are the interrupted function's stack; the handler's begins at word 8.
    let mut stack = vec![0; 40];
    stack[1] = row(0);
    stack[8] = CODE + ROW;
    let ucontext = 9 + 5;
    for n in 0..16 {
        stack[ucontext + n] = 0x100 + n as u64;
    }
    stack[ucontext + 2] = at(0); // r10
    stack[ucontext + 10] = 0x77; // rbp
    stack[ucontext + 15] = at(0); // rsp
    stack[ucontext + 16] = CODE + 3 * ROW; // rip: the first byte of its row
    let rules = [end(), trampoline, cfa(RSP, 8), cfa(10, 16)];
    // The rule for the trampoline has to begin a byte before it.
    let mut drawing = Drawing::new(&rules, &stack);
    let rows: Vec<(u64, u16)> =
        (0..4).zip(&rules).map(|(n, rule)| (n * ROW - u64::from(n == 1), drawing.pool.add_rule(*rule))).collect();
    drawing.mappings[0].image = drawing.pool.add_pages(&image_of(&rows));
    let walked = drawing.walk(Registers { sp: at(8), ..in_row(2) });
    assert_eq!(seen(&walked), (vec![row(2), CODE + ROW, CODE + 3 * ROW, row(0) - 1], StackEnd::Complete));
    assert_eq!(walked.registers.fp, 0x77);
    // By their DWARF numbers: rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15.
    let expected =
        [0x10d, 0x10c, 0x10e, 0x10b, 0x109, 0x108, 0x77, at(0), 0x100, 0x101, at(0), 0x103, 0x104, 0x105, 0x106, 0x107];
    assert_eq!(walked.registers.general[..16], expected);
}

/// What was read of the stack before a signal frame is not taken for what lies there: the registers went through the same place.
#[test]
fn the_stack_is_read_anew_after_a_signal_frame() {
    let trampoline = Rule { cfa: Cfa::Signal as u8, ..Rule::default() };
    let mut stack = vec![0; 100];
    stack[0] = row(1);
    // The ucontext begins at word 1; the interrupted function's stack (an alternate one) at word 3.
    stack[1 + 5 + 15] = at(3);
    stack[1 + 5 + 16] = row(3);
    stack[3] = row(0);
    let walked = Drawing::new(&[end(), trampoline, cfa(RSP, 8), cfa(RSP, 8)], &stack).walk(in_row(2));
    assert_eq!(seen(&walked), (vec![row(2), row(1), row(3), row(0) - 1], StackEnd::Complete));
}

/// Interrupted at a null pointer that was called: there is no way on.
#[test]
fn a_signal_frame_of_a_jump_to_nowhere_is_lost() {
    let trampoline = Rule { cfa: Cfa::Signal as u8, ..Rule::default() };
    let walked = Drawing::new(&[trampoline], &[0; 40]).walk(in_row(0));
    assert_eq!(seen(&walked), (vec![row(0)], StackEnd::ReturnAddressLost));
    assert_eq!(Drawing::new(&[trampoline], &[0; 20]).walk(in_row(0)).end, StackEnd::StackUnreadable);
}

/// A stack that does not rise is not this function's: rows and stack do not fit together.
#[test]
fn a_stack_must_rise() {
    assert_eq!(Drawing::new(&[cfa(RSP, 0)], &[row(0)]).walk(in_row(0)).end, StackEnd::StackNotRising);
    let registers = Registers { fp: at(0), sp: at(5), ..in_row(0) };
    assert_eq!(Drawing::new(&[cfa(RBP, 16)], &[0; 8]).walk(registers).end, StackEnd::StackNotRising);
}

/// What cannot be read, what is no address, and what no rule can say end the walk by their names.
#[test]
fn every_other_way_to_lose_a_stack_has_its_end() {
    assert_eq!(Drawing::new(&[cfa(RSP, 80)], &[0; 4]).walk(in_row(0)).end, StackEnd::StackUnreadable);
    assert_eq!(Drawing::new(&[cfa(RSP, 8)], &[12]).walk(in_row(0)).end, StackEnd::ReturnAddressLost);
    assert_eq!(Drawing::new(&[cfa(RSP, 8)], &[1 << 60]).walk(in_row(0)).end, StackEnd::ReturnAddressLost);
    let unsupported = Rule { cfa: Cfa::Unsupported as u8, ..Rule::default() };
    assert_eq!(Drawing::new(&[unsupported], &[0; 4]).walk(in_row(0)).end, StackEnd::UnsupportedRule);
    let same = Rule { ra: Saved::Same as u8, ..cfa(RSP, 8) };
    assert_eq!(Drawing::new(&[same], &[0; 4]).walk(in_row(0)).end, StackEnd::UnsupportedRule, "no link register here");
    let undefined = Rule { ra: Saved::Undefined as u8, ..cfa(RSP, 8) };
    assert_eq!(Drawing::new(&[undefined], &[0; 4]).walk(in_row(0)).end, StackEnd::Complete);
}

/// What the tables do not know ends the walk so that it can be taken up later; the frame itself is kept.
#[test]
fn missing_tables_leave_the_walk_unfinished() {
    let stack = [0x5008, 7, row(0)];
    let unmapped = Drawing::new(&[end(), cfa(RSP, 8)], &stack).walk(in_row(1));
    assert_eq!(seen(&unmapped), (vec![row(1), 0x5007], StackEnd::NoMappings));
    assert_eq!((unmapped.registers.ip, unmapped.registers.sp), (0x5008, at(1)));
    let late = Drawing::new(&[end(), cfa(RSP, 8)], &stack).with(0x5000, 0x6000, Mapping::NOT_LOADED).walk(in_row(1));
    assert_eq!(seen(&late), (vec![row(1), 0x5007], StackEnd::RowsNotLoaded));
    let gone = Drawing::new(&[end(), cfa(RSP, 8)], &stack).with(0x5000, 0x6000, 12_345).walk(in_row(1));
    assert_eq!(gone.end, StackEnd::NoUnwindRows, "no granules");
}

/// Recursion without end is cut at the limit; the leaf side is kept.
#[test]
fn a_stack_deeper_than_the_limit_is_cut() {
    let walked = Drawing::new(&[cfa(RSP, 8)], &[row(0); 600]).walk(in_row(0));
    assert_eq!((walked.frames.len(), walked.end), (MAX_USER_FRAMES, StackEnd::TruncatedAtMaxDepth));
}
