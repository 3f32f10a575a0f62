//! Return addresses that no call has left: the stack ends there.

use super::*;

/// A stack, and eight bytes of code that end at an address.
struct WithCode<'a> {
    stack: StackBytes<'a>,
    end: u64,
    code: u64,
}

impl Memory for WithCode<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let code = StackBytes { start: self.end - 8, bytes: &self.code.to_le_bytes() };
        self.stack.read(address, into) || code.read(address, into)
    }
}

/// Row 1 calls row 2, which returns to the first byte of `row` behind this code. Row 0 is the first function.
fn returns_to(row: u64, rules: &[Rule], machine: Machine, code: Option<u64>) -> (Vec<u64>, StackEnd) {
    let return_address = CODE + row * ROW;
    let mut drawing = Drawing::new(rules, &[return_address, CODE + 8, 0, 0]).on(machine);
    let space = drawing.space();
    let bytes = drawing.bytes();
    let stack = StackBytes { start: STACK, bytes: &bytes };
    let end = if code.is_some() { return_address } else { 8 };
    let memory = WithCode { stack, end, code: code.unwrap_or_default() };
    seen(&walk(in_row(2), machine, &drawing.pool, space, &memory, UnwindMode::Auto))
}

/// Behind the end of a function, or the padding behind it, there is no return address: the stack is whole, and nobody is invented as a
/// caller. Behind each form of a call there is.
#[test]
fn a_return_address_behind_no_call_ends_the_stack() {
    let rules = [end(), cfa(RSP, 8), cfa(RSP, 8), cfa(RSP, 16)];
    let ends = [
        // ret, int3, hlt, nop, ud2; jmp to near and far, by a register and by memory.
        0xc3c9_0000_00e8_9090,
        0xcc00_0000_0000_0000,
        0xf400_0000_0000_0000,
        0x9066_0000_0000_0000,
        0x0b0f_0000_0000_0000,
        0x10eb_0000_0000_0000,
        0x0000_0010_e900_0000,
        0xe3ff_5500_0000_0000,
        0x0000_2010_25ff_0000,
        // nops of three, four, five, seven and eight bytes.
        0x001f_0f00_0000_0000,
        0x0040_1f0f_0000_0000,
        0x0000_441f_0f00_0000,
        0x0000_0000_801f_0f00,
        0x0000_0000_0084_1f0f,
    ];
    for code in ends {
        let walked = returns_to(3, &rules, Machine::X86_64, Some(code));
        assert_eq!(walked, (vec![row(2)], StackEnd::Complete), "{code:x}");
    }
    // call rel32, call *%rax, call *%r12, call *8(%rax), call *8(%rax,%rcx,8), call *0x100(%rip), call *0x100(%rsp).
    let calls = [
        0x1122_3344_e890_9090,
        0xd0ff_9090_9090_9090,
        0xd4ff_4190_9090_9090,
        0x0850_ff90_9090_9090,
        0x08c8_54ff_9090_9090,
        0x0000_0100_15ff_9090,
        0x0000_0100_2494_ff90,
        // No call, but code that goes on: mov %rax, %rbx, where a running goroutine was interrupted.
        0xd889_4800_0000_0000,
    ];
    for code in calls {
        let walked = returns_to(3, &rules, Machine::X86_64, Some(code));
        assert_eq!(walked, (vec![row(2), CODE + 3 * ROW - 1, CODE + 7], StackEnd::Complete), "{code:x}");
    }
}

/// Code that nothing describes may hold the label that a made stack returns to: it is only ever jumped to.
#[test]
fn a_return_address_behind_no_call_in_code_without_rows_ends_the_stack() {
    let none = Rule { cfa: Cfa::None as u8, ..Rule::default() };
    let rules = [end(), cfa(RSP, 8), cfa(RSP, 8), none, none];
    let jump = returns_to(4, &rules, Machine::X86_64, Some(0xe3ff_5500_0000_0000));
    assert_eq!(jump, (vec![row(2)], StackEnd::Complete));
    let call = returns_to(4, &rules, Machine::X86_64, Some(0xd0ff_9090_9090_9090));
    assert_eq!(call, (vec![row(2), CODE + 4 * ROW - 1], StackEnd::NoUnwindRows));
}

/// On aarch64 a call is one instruction.
#[test]
fn calls_of_aarch64_are_known() {
    let leaf = Rule {
        ra: Saved::AtCfa as u8,
        ra_offset: -8,
        cfa: Cfa::Register as u8,
        cfa_register: 31,
        cfa_offset: 8,
        ..end()
    };
    let rules = [end(), leaf, leaf, leaf];
    // ret, br x16, b, nop, brk, udf; then bl, blr x8, blraaz x8, add.
    let ends = [0xd65f_03c0, 0xd61f_0200, 0x1400_0004, 0xd503_201f, 0xd420_0020, 0];
    let others = [0x9400_0010, 0xd63f_0100, 0xd63f_091f, 0x9100_4000];
    for (instruction, is_end) in ends.map(|end| (end, true)).into_iter().chain(others.map(|other| (other, false))) {
        let (frames, _) = returns_to(3, &rules, Machine::Aarch64, Some(instruction << 32));
        assert_eq!(frames.len() == 1, is_end, "{instruction:x}");
    }
}

/// A sample that is finished here brings no code along: its return address is taken for a call's.
#[test]
fn without_code_a_return_address_is_taken_for_a_calls() {
    let (frames, _) = returns_to(3, &[end(), cfa(RSP, 8), cfa(RSP, 8), cfa(RSP, 16)], Machine::X86_64, None);
    assert_eq!(frames.len(), 3);
}

/// The kernel's memory: a page of code that is out of memory comes back, for who reads the file.
struct WithoutPage<'a>(StackBytes<'a>);

impl Memory for WithoutPage<'_> {
    const CODE_MAY_COME: bool = true;

    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        self.0.read(address, into)
    }
}

/// Where the code before a return address cannot be read, the kernel side leaves the walk, and remembers nothing; who has the file ends it as it
/// would have ended.
#[test]
fn a_return_address_whose_code_is_out_of_memory_is_decided_later() {
    let none = Rule { cfa: Cfa::None as u8, ..Rule::default() };
    for (rule, back) in [(cfa(RSP, 16), 3), (none, 3)] {
        let return_address = CODE + back * ROW;
        let mut drawing = Drawing::new(&[end(), cfa(RSP, 8), cfa(RSP, 8), rule], &[return_address, CODE + 8, 0, 0]);
        let (space, bytes) = (drawing.space(), drawing.bytes());
        let memory = WithoutPage(StackBytes { start: STACK, bytes: &bytes });
        let left = walk(in_row(2), Machine::X86_64, &drawing.pool, space, &memory, UnwindMode::Auto);
        assert_eq!(seen(&left), (vec![row(2), return_address - 1], StackEnd::RowsNotLoaded));
        let at = left.registers.sp - STACK;
        let tail = StackBytes { start: left.registers.sp, bytes: &bytes[at as usize..] };
        let code = |code| WithCode { stack: tail, end: return_address, code };
        let go_on = |memory| walk(left.registers, Machine::X86_64, &drawing.pool, space, &memory, UnwindMode::Auto);
        // Behind a ret, and behind a call.
        assert_eq!(seen(&go_on(code(0xc3 << 56))), (vec![], StackEnd::Complete));
        assert_eq!(go_on(code(0xd0ff << 48)).frames.first(), Some(&(return_address - 1)));
    }
}

/// What was seen is remembered for this address and set of mappings, and not mistaken for the same address interrupted there.
#[test]
fn what_was_seen_of_the_code_is_remembered() {
    let (mut cache, space) = ([CachedRow::default(); CACHE_SLOTS], Space { id: 3, ..Space::default() });
    let mut drawing = Drawing::new(&[end(), cfa(RSP, 8)], &[]);
    let known = Space { id: 3, ..drawing.space() };
    let world = World(&drawing.pool, &StackBytes { start: 0, bytes: &[] });
    let look = |cache: &mut RowCache| rows::find(&world, cache, &known, &mut Mapping::default(), row(1));
    let found = look(&mut cache);
    assert!(found.is(rows::Code::Rows));
    for (of, seen) in [(Space { id: 4, ..space }, rows::Code::Rows), (space, rows::Code::Made)] {
        rows::remember(&mut cache, &of, row(1), rows::Found { code: rows::Code::Made as u16, ..found });
        assert!(look(&mut cache).is(seen) && look(&mut cache).has_rule());
    }
}

/// The interrupted instruction may lie before the beginning of a function, and a signal's trampoline is returned to without a call.
#[test]
fn what_runs_and_what_handlers_return_to_is_not_made() {
    let mut drawing = Drawing::new(&[end(), cfa(RSP, 8), cfa(RSP, 16)], &[row(0)]);
    let (space, bytes) = (drawing.space(), drawing.bytes());
    let memory = WithCode { stack: StackBytes { start: STACK, bytes: &bytes }, end: CODE + 2 * ROW, code: 0 };
    let leaf = Registers { ip: CODE + 2 * ROW - 1, ..in_row(1) };
    let walked = walk(leaf, Machine::X86_64, &drawing.pool, space, &memory, UnwindMode::Auto);
    assert_eq!(seen(&walked), (vec![leaf.ip, row(0) - 1], StackEnd::Complete));
    let signal = Rule { cfa: Cfa::Signal as u8, cfa_register: RSP, ..Rule::default() };
    let (frames, _) = returns_to(2, &[end(), signal, cfa(RSP, 8)], Machine::X86_64, Some(0));
    assert_eq!(frames.len(), 2);
}
