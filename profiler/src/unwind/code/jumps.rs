//! Where the jumps of a `switch` go: the table is read, if the code just before says where it is and how long.
//!
//! gcc and clang make `cmp $last, index; ja default; lea table(%rip), base; movslq (base, index, 4), to; add base, to; jmp *to`, in
//! code for fixed addresses `jmp *table(, index, 8)`. Anything else has no known targets, nor has a table of which one entry leads
//! out of the code.

use std::collections::HashMap;

use iced_x86::{ConditionCode, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::Hole;
use crate::unwind::elf::{Elf, u32_at, u64_at};

/// Most entries of a table.
const MAX_ENTRIES: u64 = 2048;
/// Most entries of all tables of a file.
const MAX_ALL_ENTRIES: usize = 1 << 18;

/// What a general register holds.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Value {
    #[default]
    Unknown,
    /// An address: `lea`.
    Address(u64),
    /// A word of the table at an address: what is to be added to that.
    Offset(u64),
    /// A target by the table at an address, relative to it.
    Target(u64),
    /// The same, the words being addresses.
    Word(u64),
}

/// What registers hold, in the order of the code, and the tables that were read.
#[derive(Default)]
pub(super) struct JumpTables {
    values: [Value; 16],
    /// Compared with this just now.
    compared: Option<u64>,
    /// An index was found to be below this.
    bound: Option<u64>,
    /// By the address of the jump.
    read: HashMap<u64, Vec<u64>>,
    entries: usize,
}

fn number(register: Register) -> Option<usize> {
    let full = register.full_register();
    full.is_gpr64().then(|| full.number())
}

impl JumpTables {
    /// Another function begins.
    pub(super) fn forget(&mut self) {
        (self.values, self.compared, self.bound) = ([Value::Unknown; 16], None, None);
    }

    fn value(&self, register: Register) -> Value {
        number(register).map_or(Value::Unknown, |at| self.values[at])
    }

    /// The address that a `lea` takes.
    pub(super) fn address_taken(&self, instruction: &Instruction) -> Option<u64> {
        (instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand())
            .then(|| instruction.ip_rel_memory_address())
    }

    /// What an instruction does to registers, as far as tables are concerned.
    pub(super) fn note(&mut self, instruction: &Instruction) {
        match instruction.flow_control() {
            FlowControl::ConditionalBranch => {
                match (instruction.condition_code(), self.compared) {
                    (ConditionCode::a, Some(last)) => self.bound = last.checked_add(1),
                    (ConditionCode::ae, Some(first_not)) => self.bound = Some(first_not),
                    _ => {}
                }
                return;
            }
            FlowControl::Call | FlowControl::IndirectCall => {
                // rax, rcx, rdx, rsi, rdi, r8 to r11 belong to the called function (System V ABI, 3.2.1).
                [0, 1, 2, 6, 7, 8, 9, 10, 11].into_iter().for_each(|at| self.values[at] = Value::Unknown);
                self.bound = None;
            }
            FlowControl::Next => {}
            FlowControl::IndirectBranch => return,
            _ => {
                self.bound = None;
                return;
            }
        }
        if instruction.mnemonic() == Mnemonic::Cmp {
            let is_number = instruction.op0_kind() == OpKind::Register && instruction.op1_kind() != OpKind::Register;
            self.compared = (is_number && instruction.op1_kind() != OpKind::Memory).then(|| instruction.immediate(1));
            return;
        }
        self.compared = self.compared.filter(|_| matches!(instruction.mnemonic(), Mnemonic::Mov | Mnemonic::Lea));
        if matches!(instruction.mnemonic(), Mnemonic::Test | Mnemonic::Push) || instruction.op_count() == 0 {
            return;
        }
        if instruction.op0_kind() == OpKind::Register
            && let Some(written) = number(instruction.op0_register())
        {
            self.values[written] = self.written(instruction);
        }
    }

    /// What the first operand holds then.
    fn written(&self, instruction: &Instruction) -> Value {
        let is_memory = instruction.op1_kind() == OpKind::Memory;
        match instruction.mnemonic() {
            Mnemonic::Lea => self.address_taken(instruction).map_or(Value::Unknown, Value::Address),
            Mnemonic::Movsxd if is_memory && instruction.memory_index_scale() == 4 => {
                match (self.value(instruction.memory_base()), instruction.memory_displacement64()) {
                    (Value::Address(table), 0) => Value::Offset(table),
                    _ => Value::Unknown,
                }
            }
            Mnemonic::Mov if is_memory => table_of_words(instruction).map_or(Value::Unknown, Value::Word),
            Mnemonic::Add if instruction.op1_kind() == OpKind::Register => {
                match (self.value(instruction.op0_register()), self.value(instruction.op1_register())) {
                    (Value::Offset(table), Value::Address(base)) | (Value::Address(base), Value::Offset(table))
                        if table == base =>
                    {
                        Value::Target(table)
                    }
                    _ => Value::Unknown,
                }
            }
            _ => Value::Unknown,
        }
    }

    /// Where a jump may go; nothing when that is not known.
    pub(super) fn targets(&mut self, instruction: &Instruction, hole: &Hole, elf: &Elf<'_>) -> Vec<u64> {
        if let Some(known) = self.read.get(&instruction.ip()) {
            return known.clone();
        }
        let table = match instruction.op0_kind() {
            OpKind::Register => self.value(instruction.op0_register()),
            OpKind::Memory => table_of_words(instruction).map_or(Value::Unknown, Value::Word),
            _ => Value::Unknown,
        };
        let is_code = |target: u64| target.checked_sub(hole.address).is_some_and(|at| at < hole.bytes.len() as u64);
        if let Value::Address(target) = table {
            return Vec::from_iter(is_code(target).then_some(target));
        }
        let entries = self.bound.filter(|bound| (1..=MAX_ENTRIES).contains(bound)).unwrap_or_default();
        if entries == 0 || self.entries >= MAX_ALL_ENTRIES {
            return Vec::new();
        }
        let loaded = |table: u64, len: u64| elf.loaded(table, len).ok().filter(|bytes| bytes.len() as u64 == len);
        let targets: Option<Vec<u64>> = match table {
            Value::Target(table) => loaded(table, 4 * entries).map(|bytes| {
                let offset = |at| i64::from(u32_at(&bytes, 4 * at) as i32);
                (0..entries as usize).map(|at| table.wrapping_add_signed(offset(at))).collect()
            }),
            Value::Word(table) => {
                loaded(table, 8 * entries).map(|bytes| (0..entries as usize).map(|at| u64_at(&bytes, 8 * at)).collect())
            }
            _ => None,
        };
        let is_all_code = |targets: &Vec<u64>| targets.iter().all(|target| is_code(*target));
        let mut targets = targets.filter(is_all_code).unwrap_or_default();
        targets.sort_unstable();
        targets.dedup();
        self.entries += targets.len();
        if !targets.is_empty() {
            self.read.insert(instruction.ip(), targets.clone());
        }
        targets
    }
}

/// Address of the table of an operand without base, with an index of words.
fn table_of_words(instruction: &Instruction) -> Option<u64> {
    let is_table = instruction.memory_base() == Register::None
        && instruction.memory_index() != Register::None
        && instruction.memory_index_scale() == 8;
    is_table.then(|| instruction.memory_displacement64())
}
