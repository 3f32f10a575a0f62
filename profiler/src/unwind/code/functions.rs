//! The functions of a hole: the stack counted along branches, and the evidence that it was counted right.

use std::collections::{HashMap, HashSet};

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::Hole;
use super::stack::{FramePointer, State};

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
}

impl Function {
    fn new(start: u64, is_guess: bool) -> Self {
        let (balanced, unbalanced, agreed, contradicted, jumps_away) = (0, 0, 0, 0, 0);
        Self { start, is_guess, states: Vec::new(), balanced, unbalanced, agreed, contradicted, jumps_away }
    }

    pub(super) fn is_believed(&self) -> bool {
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
}

impl Sweeper {
    /// The functions of a hole, as far as is known.
    pub(super) fn sweep(&mut self, hole: &Hole, entry: u64, guess: Guess) -> Vec<Function> {
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
                state = Some(if at == entry { State::FIRST } else { State::ENTRY });
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

pub(in super::super) fn is_padding(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3 | Mnemonic::Fnop)
        || instruction.code() == Code::Nopd
}
