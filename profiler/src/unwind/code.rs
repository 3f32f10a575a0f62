//! Rows for x86-64 code that nothing describes: musl's C library, assembler functions of codecs, linkers' stubs. The instructions
//! themselves say how far the stack pointer is from the return address; this reads them.
//!
//! It is a guess that is checked: between two beginnings of functions every `ret` must find the stack as the call left it, and code
//! that leaves through a jump table without any `ret` proves nothing. What fails has no rows, and the walk takes its frame
//! pointer. So do interpreters' handlers (V8's), which run in a frame that another function made.
//!
//! Only holes are read: code that no other source covers, [`MAX_CODE`] bytes of a file at most. It is passed over four times, because
//! a branch backward says what is known at a place that was passed before, and what nothing is seen to lead to is guessed last.

use std::collections::{HashMap, HashSet};

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use profiler_ebpf::tables::{Cfa, RULE_NONE, Rule, Saved};

use super::CompileError;
use super::elf::{Elf, Machine};
use super::rows::{Rows, RuleTable, offset_of, rule_of};

/// Most bytes of code without tables that are read; libx265 has 10 MiB.
const MAX_CODE: u64 = 16 << 20;
/// Most bytes of a symbol table.
const MAX_SYMBOLS: u64 = 32 << 20;
/// Most branch targets remembered.
const MAX_TARGETS: usize = 1 << 20;
/// Deepest stack believed.
const MAX_DEPTH: i32 = 1 << 20;

/// Where the frame pointer of the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FramePointer {
    Same,
    /// At the canonical frame address plus this.
    At(i32),
    Lost,
}

/// What is known before an instruction. The canonical frame address (CFA) is the stack pointer before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// CFA less the stack pointer.
    sp: Option<i32>,
    /// CFA less the frame pointer.
    fp: Option<i32>,
    saved: FramePointer,
    /// The CFA is the word at `sp + .0`, plus `.1`: an aligned stack whose old pointer was put by.
    stored: Option<(i32, i32)>,
    /// A register that is the CFA less this.
    copy: Option<(Register, i32)>,
    /// The frame pointer was cleared before anything was saved: by the ABI, the first function of a thread.
    first: bool,
}

impl State {
    /// At the first instruction of a function.
    const ENTRY: Self =
        Self { sp: Some(8), fp: None, saved: FramePointer::Same, stored: None, copy: None, first: false };

    fn rule(&self) -> Option<Rule> {
        if self.first {
            return Some(Rule { cfa: Cfa::End as u8, ..Rule::default() });
        }
        let believed = |depth: i32| (8..MAX_DEPTH).contains(&depth) && depth % 8 == 0;
        let frame =
            |offset: i32| Rule { cfa: Cfa::Register as u8, cfa_register: 6, cfa_offset: offset, ..Rule::default() };
        let mut rule = match (self.fp, self.sp, self.stored) {
            // A frame as compilers make it holds whatever happens to the stack pointer.
            (Some(16), ..) => frame(16),
            (_, Some(depth), _) if believed(depth) => Rule { cfa_register: 7, ..frame(depth) },
            (Some(depth), ..) if believed(depth) => frame(depth),
            (_, None, Some((at, extra))) if (0..MAX_DEPTH).contains(&at) => {
                Rule { cfa: Cfa::Deref as u8, cfa_register: 7, cfa_offset: at, extra, ..Rule::default() }
            }
            _ => return None,
        };
        (rule.ra, rule.ra_offset) = (Saved::AtCfa as u8, -8);
        (rule.fp, rule.fp_offset) = match self.saved {
            FramePointer::Same => (Saved::Same as u8, 0),
            FramePointer::At(at) => (Saved::AtCfa as u8, i16::try_from(at).ok()?),
            FramePointer::Lost => (Saved::Undefined as u8, 0),
        };
        Some(rule)
    }

    /// The stack grows by some bytes.
    fn grow(&mut self, bytes: i32) {
        self.sp = self.sp.and_then(|depth| depth.checked_add(bytes));
        self.stored = self.stored.and_then(|(at, extra)| Some((at.checked_add(bytes)?, extra)));
    }

    fn apply(&mut self, instruction: &Instruction) {
        let register = |operand: u32| instruction.op_register(operand);
        let is = |operand: u32, wanted: Register| {
            instruction.op_kind(operand) == OpKind::Register && register(operand) == wanted
        };
        let memory_at = |base: Register| {
            (instruction.memory_base() == base && instruction.memory_index() == Register::None)
                .then(|| instruction.memory_displacement64() as i32)
        };
        match instruction.mnemonic() {
            Mnemonic::Push => {
                self.grow(8);
                if let (true, FramePointer::Same, Some(depth)) = (is(0, Register::RBP), self.saved, self.sp) {
                    self.saved = FramePointer::At(depth.saturating_neg());
                }
            }
            Mnemonic::Pushfq => self.grow(8),
            Mnemonic::Popfq => self.grow(-8),
            Mnemonic::Pop => {
                let depth = self.sp.or(self.fp.filter(|_| is(0, Register::RBP)));
                self.grow(-8);
                if is(0, Register::RBP) {
                    self.fp = None;
                    let own = depth.is_some_and(|depth| self.saved == FramePointer::At(depth.saturating_neg()));
                    self.saved =
                        if own || self.saved == FramePointer::Same { FramePointer::Same } else { FramePointer::Lost };
                } else if is(0, Register::RSP) {
                    (self.sp, self.stored) = (None, None);
                }
            }
            Mnemonic::Leave => {
                self.sp = self.fp.map(|depth| depth.saturating_sub(8));
                let own = self.fp.is_some_and(|depth| self.saved == FramePointer::At(depth.saturating_neg()));
                self.saved = if own { FramePointer::Same } else { FramePointer::Lost };
                (self.fp, self.stored) = (None, None);
            }
            Mnemonic::Sub | Mnemonic::Add if is(0, Register::RSP) => {
                let sign = if instruction.mnemonic() == Mnemonic::Sub { 1 } else { -1 };
                let bytes = match instruction.op_kind(1) {
                    OpKind::Register | OpKind::Memory => None,
                    _ => i32::try_from(instruction.immediate(1) as i64).ok(),
                };
                match bytes {
                    Some(bytes) => self.grow(bytes.saturating_mul(sign)),
                    None => (self.sp, self.stored) = (None, None),
                }
            }
            Mnemonic::And if is(0, Register::RSP) => (self.sp, self.stored) = (None, None),
            Mnemonic::Mov if is(0, Register::RSP) => {
                let from = |register: Register| self.copy.filter(|(copy, _)| *copy == register).map(|(_, depth)| depth);
                let stored = self.stored.filter(|(at, _)| memory_at(Register::RSP) == Some(*at));
                self.sp = match instruction.op_kind(1) {
                    OpKind::Register if register(1) == Register::RBP => self.fp,
                    OpKind::Register => from(register(1)),
                    OpKind::Memory => stored.map(|(_, extra)| extra),
                    _ => None,
                };
                self.stored = None;
            }
            Mnemonic::Lea if is(0, Register::RSP) => {
                let by_sp = memory_at(Register::RSP).and_then(|at| Some(self.sp?.saturating_sub(at)));
                let by_fp = memory_at(Register::RBP).and_then(|at| Some(self.fp?.saturating_sub(at)));
                match memory_at(Register::RSP) {
                    Some(at) => self.grow(at.saturating_neg()),
                    None => self.stored = None,
                }
                self.sp = by_sp.or(by_fp);
            }
            Mnemonic::Mov if is(0, Register::RBP) && is(1, Register::RSP) => self.set_frame(self.sp),
            Mnemonic::Lea if is(0, Register::RBP) => {
                let at = memory_at(Register::RSP).and_then(|at| Some(self.sp?.saturating_sub(at)));
                self.set_frame(at);
            }
            Mnemonic::Xor if is_clearing(instruction) && self.saved == FramePointer::Same && self.sp == Some(8) => {
                self.first = true;
            }
            Mnemonic::Mov if instruction.op_kind(0) == OpKind::Register && is(1, Register::RSP) => {
                self.copy = self.sp.map(|depth| (register(0), depth));
            }
            Mnemonic::Mov if instruction.op_kind(0) == OpKind::Memory && instruction.op_kind(1) == OpKind::Register => {
                let copy = self.copy.filter(|(copy, _)| *copy == register(1));
                if let (Some((_, depth)), Some(at)) = (copy, memory_at(Register::RSP)) {
                    self.stored = Some((at, depth));
                } else if let (Register::RBP, FramePointer::Same, Some(depth), Some(at)) =
                    (register(1), self.saved, self.sp, memory_at(Register::RSP))
                {
                    self.saved = FramePointer::At(at.saturating_sub(depth));
                }
            }
            Mnemonic::Mov if is(0, Register::RBP) && instruction.op_kind(1) == OpKind::Memory => {
                let at = memory_at(Register::RSP).and_then(|at| Some(at.saturating_sub(self.sp?)));
                let own = at.is_some_and(|at| self.saved == FramePointer::At(at));
                (self.fp, self.saved) = (None, if own { FramePointer::Same } else { self.lost() });
            }
            Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Nop => {}
            _ => self.written(instruction),
        }
    }

    /// The frame pointer gets another value: the caller's is where it was saved, or nowhere.
    fn lost(&self) -> FramePointer {
        if self.saved == FramePointer::Same { FramePointer::Lost } else { self.saved }
    }

    fn set_frame(&mut self, depth: Option<i32>) {
        (self.fp, self.saved) = (depth, self.lost());
    }

    /// Any other instruction, whose first operand is written.
    fn written(&mut self, instruction: &Instruction) {
        if instruction.op_count() == 0 || instruction.op_kind(0) != OpKind::Register {
            return;
        }
        let written = instruction.op0_register().full_register();
        if written == Register::RBP {
            self.set_frame(None);
        } else if written == Register::RSP {
            (self.sp, self.stored) = (None, None);
        }
        self.copy = self.copy.filter(|(copy, _)| *copy != written);
    }
}

/// `xor ebp, ebp`.
fn is_clearing(instruction: &Instruction) -> bool {
    let full = |operand| instruction.op_register(operand).full_register();
    instruction.op1_kind() == OpKind::Register && full(0) == Register::RBP && full(1) == Register::RBP
}

/// A stretch of code without rows, at an address.
struct Hole {
    address: u64,
    /// Address plus bias is the file offset.
    bias: u64,
    bytes: Vec<u8>,
    /// Where functions begin: one bit for each byte.
    starts: Vec<u64>,
}

impl Hole {
    fn is_start(&self, address: u64) -> bool {
        let at = (address - self.address) as usize;
        self.starts.get(at / 64).is_some_and(|word| word & 1 << (at % 64) != 0)
    }
}

/// Notes that a function begins there, if a hole is.
fn add_start(holes: &mut [Hole], address: u64) {
    let Some(after) = holes.partition_point(|hole| hole.address <= address).checked_sub(1) else { return };
    let hole = &mut holes[after];
    let at = (address - hole.address) as usize;
    if at < hole.bytes.len()
        && let Some(word) = hole.starts.get_mut(at / 64)
    {
        *word |= 1 << (at % 64);
    }
}

/// Rows for what `known` leaves open.
pub(super) fn compile(elf: &Elf<'_>, known: &[u64], rules: &mut RuleTable) -> Result<Vec<u64>, CompileError> {
    if elf.machine != Machine::X86_64 {
        return Ok(Vec::new());
    }
    let mut holes = holes(elf, known)?;
    let functions = if holes.is_empty() { Vec::new() } else { elf.functions(MAX_SYMBOLS) };
    functions.into_iter().chain([elf.entry]).for_each(|start| add_start(&mut holes, start));
    let mut sweeper = Sweeper::default();
    let mut rows = Rows::new();
    for guess in [Guess::None, Guess::None, Guess::Part, Guess::PartOrFunction] {
        for hole in &holes {
            let functions = sweeper.sweep(hole, elf.entry, guess);
            match guess {
                Guess::None => {}
                Guess::Part => {
                    let wrong = functions.iter().filter(|function| function.is_guess && !function.is_believed());
                    sweeper.no_parts.extend(wrong.map(|function| function.start));
                }
                Guess::PartOrFunction => push(hole, &functions, rules, &mut rows)?,
            }
        }
        sweeper.called.drain(..).for_each(|start| add_start(&mut holes, start));
    }
    holes.iter().try_for_each(|hole| trampolines(hole, rules, &mut rows))?;
    Ok(rows.finish())
}

/// Code between rows, in the order of the file. Code that an optimizer left behind when it moved it (BOLT) is none.
fn holes(elf: &Elf<'_>, known: &[u64]) -> Result<Vec<Hole>, CompileError> {
    let mut left = MAX_CODE;
    let mut holes = Vec::new();
    for (address, len) in elf.code_ranges(b".bolt.org") {
        let Some(segment) = elf.code(address) else { continue };
        let bias = segment.offset.wrapping_sub(segment.address);
        let (start, end) = (address.wrapping_add(bias), address.wrapping_add(bias).saturating_add(len));
        let first = known.partition_point(|row| offset_of(*row) <= start);
        let before = first.checked_sub(1).map_or(RULE_NONE, |at| rule_of(known[at]));
        let rows = known[first..].iter().take_while(|row| offset_of(**row) < end);
        let edges = std::iter::once((start, before)).chain(rows.map(|row| (offset_of(*row), rule_of(*row))));
        let edges: Vec<(u64, u16)> = edges.chain([(end, RULE_NONE)]).collect();
        for pair in edges.windows(2).filter(|pair| pair[0].1 == RULE_NONE) {
            let len = pair[1].0 - pair[0].0;
            if len == 0 || len > left {
                continue;
            }
            left -= len;
            let address = pair[0].0.wrapping_sub(bias);
            let bytes = elf.loaded(address, len)?;
            let starts = vec![0; bytes.len().div_ceil(64)];
            holes.push(Hole { address, bias, bytes, starts });
        }
    }
    holes.sort_by_key(|hole| hole.address);
    Ok(holes)
}

/// What was found between two beginnings: of functions, or of code that nothing is seen to lead to.
struct Function {
    start: u64,
    /// Nothing is known to begin here: called from elsewhere, or reached by a jump table.
    is_guess: bool,
    /// Where each state begins.
    states: Vec<(u64, Option<State>)>,
    /// Returns that find the stack as the call left it, and others.
    balanced: u32,
    unbalanced: u32,
    /// Branches to places where the stack is known to be as here, or known to be otherwise.
    agreed: u32,
    contradicted: u32,
    jumps_away: u32,
}

impl Function {
    fn new(start: u64, is_guess: bool) -> Self {
        let (balanced, unbalanced, agreed, contradicted, jumps_away) = (0, 0, 0, 0, 0);
        Self { start, is_guess, states: Vec::new(), balanced, unbalanced, agreed, contradicted, jumps_away }
    }

    fn is_believed(&self) -> bool {
        let proven = self.balanced > 0 || if self.is_guess { self.agreed > 0 } else { self.jumps_away == 0 };
        self.unbalanced == 0 && self.contradicted == 0 && proven
    }

    /// Compares with what a branch from elsewhere says of a place.
    fn compare(&mut self, here: &State, target: &Target) {
        if target.is_guess {
            return;
        }
        match (here.sp, target.state.sp) {
            // Every tail call agrees with every function.
            (Some(here), Some(there)) if here == there => self.agreed += u32::from(here != 8),
            (Some(_), Some(_)) => self.contradicted += 1,
            _ => {}
        }
    }
}

/// What a branch says of the place that it leads to.
#[derive(Clone, Copy)]
struct Target {
    state: State,
    is_guess: bool,
}

/// What code that nothing is seen to lead to is taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guess {
    /// Nothing: it may be reached yet.
    None,
    /// A part of the function before it, where that has made its frame.
    Part,
    /// The same, unless that was found to be wrong; then a function, if it is aligned like one.
    PartOrFunction,
}

#[derive(Default)]
struct Sweeper {
    targets: HashMap<u64, Target>,
    /// Beginnings that are no parts of the functions before them.
    no_parts: HashSet<u64>,
    called: Vec<u64>,
}

impl Sweeper {
    /// The functions of a hole, as far as is known.
    fn sweep(&mut self, hole: &Hole, entry: u64, guess: Guess) -> Vec<Function> {
        let mut functions: Vec<Function> = Vec::new();
        let mut decoder = Decoder::with_ip(64, &hole.bytes, hole.address, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        let mut state: Option<State> = None;
        // Where a function is when it has made its frame.
        let mut body: Option<State> = None;
        let mut after_call = false;
        while decoder.can_decode() {
            let at = decoder.ip();
            decoder.decode_out(&mut instruction);
            // Behind a call that does not come back there is no jump: only the look of what follows.
            let ends = state.is_none() || after_call;
            if hole.is_start(at) || ends && at.is_multiple_of(16) && looks_like_function(&instruction) {
                functions.push(Function::new(at, false));
                state = Some(State { first: at == entry, ..State::ENTRY });
                body = None;
            } else if state.is_none() && !is_padding(&instruction) {
                state = self.targets.get(&at).map(|target| target.state);
                if state.is_none() && guess != Guess::None {
                    functions.push(Function::new(at, true));
                    state = self.guess(at, guess, body);
                } else if functions.is_empty() {
                    functions.push(Function::new(at, true));
                }
            }
            if instruction.is_call_near() && self.called.len() < MAX_TARGETS {
                self.called.push(instruction.near_branch_target());
            }
            after_call = instruction.is_call_near() || after_call && is_padding(&instruction);
            let (Some(function), Some(now)) = (functions.last_mut(), &mut state) else { continue };
            if function.states.last().is_none_or(|(_, last)| *last != Some(*now)) {
                function.states.push((at, Some(*now)));
            }
            match instruction.flow_control() {
                FlowControl::Next if instruction.mnemonic() == Mnemonic::Hlt => state = None,
                FlowControl::Next => now.apply(&instruction),
                FlowControl::Call | FlowControl::IndirectCall => body = Some(*now),
                FlowControl::ConditionalBranch => self.branch(&instruction, *now, function),
                FlowControl::UnconditionalBranch => {
                    self.branch(&instruction, *now, function);
                    state = None;
                }
                FlowControl::Return => {
                    let is_balanced = now.first || now.sp == Some(8) && now.saved == FramePointer::Same;
                    *(if is_balanced { &mut function.balanced } else { &mut function.unbalanced }) += 1;
                    state = None;
                }
                FlowControl::IndirectBranch => {
                    function.jumps_away += 1;
                    body = Some(*now);
                    state = None;
                }
                FlowControl::Interrupt | FlowControl::Exception => {
                    if instruction.code() == Code::INVALID {
                        function.states.push((at, None));
                    }
                    state = None;
                }
                FlowControl::XbeginXabortXend => {}
            }
        }
        if let Some(function) = functions.last_mut() {
            function.states.push((hole.address.saturating_add(hole.bytes.len() as u64), None));
        }
        functions
    }

    fn guess(&self, at: u64, guess: Guess, body: Option<State>) -> Option<State> {
        let body = body.filter(|body| body.sp != Some(8) && !body.first);
        if guess == Guess::Part || !self.no_parts.contains(&at) {
            return body.or(Some(State::ENTRY));
        }
        at.is_multiple_of(16).then_some(State::ENTRY)
    }

    fn branch(&mut self, instruction: &Instruction, state: State, function: &mut Function) {
        if instruction.op0_kind() != OpKind::NearBranch64 {
            return;
        }
        let target = instruction.near_branch_target();
        match self.targets.get(&target) {
            Some(known) => function.compare(&state, known),
            None if self.targets.len() < MAX_TARGETS => {
                self.targets.insert(target, Target { state, is_guess: function.is_guess });
            }
            None => {}
        }
    }
}

/// How compilers let a function begin, and hardly anything else.
fn looks_like_function(instruction: &Instruction) -> bool {
    const SAVED: [Register; 6] =
        [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];
    let first = instruction.op0_register();
    match instruction.mnemonic() {
        Mnemonic::Endbr64 => true,
        Mnemonic::Push => SAVED.contains(&first),
        Mnemonic::Sub => first == Register::RSP,
        _ => false,
    }
}

pub(super) fn is_padding(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3 | Mnemonic::Fnop)
        || instruction.code() == Code::Nopd
}

fn push(hole: &Hole, functions: &[Function], rules: &mut RuleTable, rows: &mut Rows) -> Result<(), CompileError> {
    for function in functions {
        for (at, state) in &function.states {
            let is_first = |state: &State| state.first && !function.is_guess;
            let rule = state.as_ref().filter(|state| function.is_believed() || is_first(state)).and_then(State::rule);
            let number = rule.and_then(|rule| rules.number(rule)).unwrap_or(RULE_NONE);
            rows.push(at.wrapping_add(hole.bias), number)?;
        }
    }
    Ok(())
}

/// musl's and others' return from a signal handler, known by its bytes: nobody calls it, so that the walk asks one byte before.
fn trampolines(hole: &Hole, rules: &mut RuleTable, rows: &mut Rows) -> Result<(), CompileError> {
    // mov $15, %rax; syscall, with a long and a short `mov`.
    const LONG: &[u8] = &[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 5];
    const SHORT: &[u8] = &[0xb8, 15, 0, 0, 0, 0x0f, 5];
    let signal = Rule { cfa: Cfa::Signal as u8, cfa_register: 7, ..Rule::default() };
    for code in [LONG, SHORT] {
        for at in hole.bytes.windows(code.len()).enumerate().filter(|(_, bytes)| *bytes == code).map(|(at, _)| at) {
            let Some(number) = rules.number(signal) else { return Ok(()) };
            let start = hole.address.wrapping_add(at as u64).wrapping_add(hole.bias);
            for place in [start.saturating_sub(1), start] {
                rows.push(place, number)?;
            }
            rows.push(start.saturating_add(code.len() as u64), RULE_NONE)?;
        }
    }
    Ok(())
}
