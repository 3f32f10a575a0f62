//! The functions of a hole: the stack counted along branches, and the evidence that it was counted right.

use std::collections::{HashMap, HashSet};

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::Hole;
use super::jumps::JumpTables;
use super::stack::{FramePointer, State};
use crate::unwind::elf::Elf;

/// Most branch targets, and calls, remembered.
const MAX_TARGETS: usize = 1 << 20;

/// What was found between two beginnings: of functions, or of code that nothing is seen to lead to.
pub(super) struct Function {
    pub(super) start: u64,
    /// Nothing is known to begin here: called from elsewhere, or reached by a jump table.
    pub(super) is_guess: bool,
    /// Where each state begins.
    pub(super) states: Vec<(u64, Option<State>)>,
    /// Returns that find the stack as the call left it, and others.
    balanced: u32,
    unbalanced: u32,
    /// Branches to places where the stack is known to be as here, or known to be otherwise.
    agreed: u32,
    contradicted: u32,
    jumps_away: u32,
    /// It is only known to be jumped to, the stack being as a call leaves it.
    is_tail: bool,
    /// Other code takes its address, and nothing in it touches the stack.
    is_addressed_leaf: bool,
}

impl Function {
    fn new(start: u64, is_guess: bool) -> Self {
        let (balanced, unbalanced, agreed, contradicted, jumps_away) = (0, 0, 0, 0, 0);
        let (states, is_tail, is_addressed_leaf) = (Vec::new(), false, false);
        Self {
            start,
            is_guess,
            states,
            balanced,
            unbalanced,
            agreed,
            contradicted,
            jumps_away,
            is_tail,
            is_addressed_leaf,
        }
    }

    pub(super) fn is_believed(&self) -> bool {
        let whole = self.jumps_away == 0 || self.is_addressed_leaf;
        let proven = self.balanced > 0 || if self.is_guess || self.is_tail { self.agreed > 0 } else { whole };
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
pub(super) enum Guess {
    /// Nothing: it may be reached yet.
    None,
    /// A part of the function before it, where that has made its frame.
    Part,
    /// The same, unless that was found to be wrong; then a function, if it is aligned like one.
    PartOrFunction,
}

/// Passes over holes, and what is learned in one for the next.
#[derive(Default)]
pub(super) struct Sweeper {
    targets: HashMap<u64, Target>,
    /// Beginnings that are no parts of the functions before them.
    pub(super) no_parts: HashSet<u64>,
    pub(super) called: Vec<u64>,
    /// Places whose address other functions take.
    pub(super) addressed: HashSet<u64>,
    jumps: JumpTables,
}

impl Sweeper {
    /// The functions of a hole, as far as is known.
    pub(super) fn sweep(&mut self, hole: &Hole, elf: &Elf<'_>, guess: Guess) -> Vec<Function> {
        let entry = elf.entry;
        self.jumps.forget();
        let mut functions: Vec<Function> = Vec::new();
        let mut decoder = Decoder::with_ip(64, &hole.bytes, hole.address, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        let mut state: Option<State> = None;
        // Where a function is when it has made its frame.
        let mut body: Option<State> = None;
        // Calls are made from different depths: which is the frame's is not known.
        let mut is_mixed = false;
        // Code may go on here, or end.
        let mut after_end = false;
        let mut after_padding = false;
        while decoder.can_decode() {
            let at = decoder.ip();
            decoder.decode_out(&mut instruction);
            let led = self.targets.get(&at).filter(|target| !target.is_guess).map(|target| target.state);
            // Behind a call that does not come back there is no jump: only the look of what follows.
            let ends = state.is_none() || after_end;
            let is_start = hole.is_start(at);
            if is_start || ends && at.is_multiple_of(16) && looks_like_function(&instruction) {
                // What is jumped to with a frame is the cold part of another function, whatever its symbol says.
                let part = led.filter(|led| at != entry && led.sp != Some(8));
                functions.push(Function::new(at, part.is_some()));
                state = Some(part.unwrap_or(if at == entry { State::FIRST } else { State::ENTRY }));
                (body, is_mixed) = (None, false);
                self.jumps.forget();
            } else if after_padding && led.is_none() && at.is_multiple_of(16) && !is_padding(&instruction) {
                // Behind a call: a loop of the same function, or another function. It has to prove itself.
                functions.push(Function::new(at, true));
            } else if state.is_none() && !is_padding(&instruction) {
                if at.is_multiple_of(16) && led.is_some_and(|led| led.sp == Some(8)) {
                    // Jumped to at the end of a function, perhaps.
                    functions.push(Function { is_tail: true, ..Function::new(at, false) });
                    (body, is_mixed) = (None, false);
                }
                state = self.targets.get(&at).map(|target| target.state);
                if state.is_none() && guess != Guess::None {
                    functions.push(Function::new(at, true));
                    state = if is_mixed { aligned_entry(at) } else { self.guess(at, guess, body) };
                    let unknown = state.is_none().then_some((at, None));
                    functions.last_mut().into_iter().for_each(|function| function.states.extend(unknown));
                } else if functions.is_empty() {
                    functions.push(Function::new(at, true));
                }
            } else if let (Some(now), Some(led), Some(function)) = (&mut state, led, functions.last_mut())
                && now.sp != led.sp
            {
                // Two ways to one place. From a call that does not come back there is none.
                if after_end {
                    *now = led;
                } else if now.sp.is_some() && led.sp.is_some() {
                    function.contradicted += 1;
                }
            }
            if instruction.is_call_near() && self.called.len() < MAX_TARGETS {
                self.called.push(instruction.near_branch_target());
            }
            let is_call = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
            let is_trap = instruction.mnemonic() == Mnemonic::Hlt;
            after_padding = after_end && state.is_some() && is_padding(&instruction);
            after_end = is_call || is_trap || after_end && is_padding(&instruction);
            self.jumps.note(&instruction);
            if let Some(target) = self.jumps.address_taken(&instruction)
                && self.addressed.len() < MAX_TARGETS
                && functions.last().is_some_and(|function| function.start != target)
            {
                self.addressed.insert(target);
            }
            let (Some(function), Some(now)) = (functions.last_mut(), &mut state) else { continue };
            if function.states.last().is_none_or(|(_, last)| *last != Some(*now)) {
                function.states.push((at, Some(*now)));
            }
            match instruction.flow_control() {
                // musl's and others' way to crash, which compilers know nothing about: for them the code goes on.
                FlowControl::Next if is_trap && (now.first || function.is_guess) => state = None,
                FlowControl::Next => now.apply(&instruction),
                FlowControl::Call | FlowControl::IndirectCall => {
                    is_mixed |= body.is_some_and(|body| body.sp != now.sp);
                    body = Some(*now);
                }
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
                    let targets = self.jumps.targets(&instruction, hole, elf);
                    if targets.is_empty() {
                        function.jumps_away += 1;
                        function.is_addressed_leaf = self.addressed.contains(&function.start)
                            && function.states.iter().all(|(_, state)| *state == Some(State::ENTRY));
                        (body, is_mixed) = (Some(*now), false);
                    }
                    for target in targets {
                        self.lead(target, *now, function);
                    }
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

    /// How many places are known to be led to.
    pub(super) fn known(&self) -> usize {
        self.targets.len()
    }

    fn guess(&self, at: u64, guess: Guess, body: Option<State>) -> Option<State> {
        let body = body.filter(|body| body.sp != Some(8) && !body.first);
        if guess == Guess::Part || !self.no_parts.contains(&at) {
            return body.or(Some(State::ENTRY));
        }
        aligned_entry(at)
    }

    fn branch(&mut self, instruction: &Instruction, state: State, function: &mut Function) {
        if instruction.op0_kind() != OpKind::NearBranch64 {
            return;
        }
        self.lead(instruction.near_branch_target(), state, function);
    }

    /// From here the code goes on there.
    fn lead(&mut self, target: u64, state: State, function: &mut Function) {
        match self.targets.get(&target) {
            Some(known) => function.compare(&state, known),
            None if self.targets.len() < MAX_TARGETS => {
                self.targets.insert(target, Target { state, is_guess: function.is_guess });
            }
            None => {}
        }
    }
}

/// A function, if it is aligned like one.
fn aligned_entry(at: u64) -> Option<State> {
    at.is_multiple_of(16).then_some(State::ENTRY)
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

pub(in super::super) fn is_padding(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3 | Mnemonic::Fnop)
        || instruction.code() == Code::Nopd
}
