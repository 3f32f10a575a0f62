//! Where the frame is, instruction by instruction: the stack pointer counted along straight code. System V ABI for x86-64, 3.2.
//!
//! What an instruction does to the stack that is not known here makes the place unknown, never wrong.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use profiler_ebpf::tables::{Cfa, Rule, Saved};

/// Deepest stack believed.
const MAX_DEPTH: i32 = 1 << 20;

/// Where the frame pointer of the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramePointer {
    Same,
    /// At the canonical frame address plus this.
    At(i32),
    Lost,
}

/// What is known before an instruction. The canonical frame address (CFA) is the stack pointer before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// CFA less the stack pointer.
    pub(super) sp: Option<i32>,
    /// CFA less the frame pointer.
    fp: Option<i32>,
    pub(super) saved: FramePointer,
    /// The CFA is the word at `sp + .0`, plus `.1`: an aligned stack whose old pointer was put by.
    stored: Option<(i32, i32)>,
    /// A register that is the CFA less this.
    copy: Option<(Register, i32)>,
    /// The frame pointer was cleared before anything was saved: by the ABI, the first function of a thread.
    pub(super) first: bool,
}

impl State {
    /// At the first instruction of a function.
    pub(super) const ENTRY: Self =
        Self { sp: Some(8), fp: None, saved: FramePointer::Same, stored: None, copy: None, first: false };

    /// Where a program begins.
    pub(super) const FIRST: Self = Self { first: true, ..Self::ENTRY };

    pub(super) fn rule(&self) -> Option<Rule> {
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
        (rule.ra, rule.ra_offset) = (Saved::AtCfa as u8 | Rule::READ, -8);
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

    pub(super) fn apply(&mut self, instruction: &Instruction) {
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
