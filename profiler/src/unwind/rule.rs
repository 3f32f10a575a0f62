//! From the state of DWARF's unwind machine to a [`Rule`]: pure. DWARF 5, 6.4; System V ABI for x86-64, 3.6.2.
//!
//! A rule says exactly what the state says, or it is [`Cfa::Unsupported`] and the cause counted. The one exception is a frame pointer
//! whose place cannot be said: it is [`Saved::Undefined`], so that frames that need none still walk.

use gimli::{EndianSlice, LittleEndian, Operation};
use profiler_ebpf::tables::{Cfa, Rule, Saved};

use super::elf::Machine;
use super::stats::Cause;

/// A DWARF expression.
pub(super) type Expression<'a> = gimli::Expression<EndianSlice<'a, LittleEndian>>;

/// The rule for the canonical frame address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum CfaState<'a> {
    Unset,
    Register(u16, i64),
    Expression(Expression<'a>),
}

/// The rule for a register of the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RegisterState<'a> {
    Unspecified,
    Undefined,
    Same,
    /// At CFA plus offset.
    Offset(i64),
    /// Is CFA plus offset.
    ValOffset(i64),
    Register(u16),
    /// At the result.
    Expression(Expression<'a>),
    /// Is the result.
    ValExpression,
}

/// What is in force between two addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct State<'a> {
    pub(super) cfa: CfaState<'a>,
    pub(super) fp: RegisterState<'a>,
    pub(super) ra: RegisterState<'a>,
    pub(super) signed: bool,
}

impl State<'_> {
    /// Before the first instruction.
    pub(super) const START: Self =
        Self { cfa: CfaState::Unset, fp: RegisterState::Unspecified, ra: RegisterState::Unspecified, signed: false };
}

/// What an expression that we know says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// `reg + offset`.
    Register(u16, i64),
    /// `*(reg + offset) + extra`.
    Deref(u16, i64, i64),
    /// The x86 linkers' expression for lazy PLT entries: offset and threshold.
    Plt(i64, u8),
}

/// The rule of a state. `ra_column` is the register that stands for the return address, `signal` whether the function is a signal
/// trampoline.
pub(super) fn rule(
    state: &State<'_>,
    machine: Machine,
    ra_column: u16,
    signal: bool,
    mut lost: impl FnMut(Cause),
) -> Result<Rule, Cause> {
    if state.ra == RegisterState::Undefined {
        return Ok(Rule { cfa: Cfa::End as u8, ..Rule::default() });
    }
    if signal && let Some(rule) = signal_frame(state, machine) {
        return Ok(rule);
    }
    let mut rule = cfa(&state.cfa, machine)?;
    (rule.ra, rule.ra_offset) = return_address(&state.ra, &rule, machine, ra_column)?;
    if state.signed && machine == Machine::Aarch64 {
        rule.ra |= Rule::SIGNED;
    }
    (rule.fp, rule.fp_offset) = frame_pointer(&state.fp, &rule, machine).unwrap_or_else(|| {
        lost(Cause::FramePointer);
        (Saved::Undefined as u8, 0)
    });
    Ok(rule)
}

fn cfa(state: &CfaState<'_>, machine: Machine) -> Result<Rule, Cause> {
    let (kind, register, offset, extra) = match state {
        CfaState::Unset => return Err(Cause::CfaRegister),
        CfaState::Register(register, offset) => (Cfa::Register, *register, *offset, 0),
        CfaState::Expression(expression) => match known(*expression).ok_or(Cause::CfaExpression)? {
            Known::Register(register, offset) => (Cfa::Register, register, offset, 0),
            Known::Deref(register, offset, extra) => (Cfa::Deref, register, offset, extra),
            Known::Plt(offset, threshold) if machine == Machine::X86_64 => {
                (Cfa::Plt, machine.special_registers().0, offset, i64::from(threshold))
            }
            Known::Plt(..) => return Err(Cause::CfaExpression),
        },
    };
    let last = if machine == Machine::X86_64 { 15 } else { 31 };
    if register > last {
        return Err(Cause::CfaRegister);
    }
    Ok(Rule {
        cfa: kind as u8,
        cfa_register: register as u8,
        cfa_offset: i32::try_from(offset).map_err(|_| Cause::Offset)?,
        extra: i32::try_from(extra).map_err(|_| Cause::Offset)?,
        ..Rule::default()
    })
}

fn return_address(state: &RegisterState<'_>, rule: &Rule, machine: Machine, column: u16) -> Result<(u8, i16), Cause> {
    let (_, _, usual) = machine.special_registers();
    match state {
        RegisterState::Register(register) => in_register(*register, machine),
        // A description may name the register that holds the address all along as its return address.
        RegisterState::Same | RegisterState::Unspecified if column != usual => in_register(column, machine),
        RegisterState::Same | RegisterState::Unspecified if machine == Machine::Aarch64 => Some((Saved::Same as u8, 0)),
        state => saved(state, rule),
    }
    .ok_or(Cause::ReturnAddress)
}

fn frame_pointer(state: &RegisterState<'_>, rule: &Rule, machine: Machine) -> Option<(u8, i16)> {
    match state {
        // Callee-saved: what is not mentioned is unchanged.
        RegisterState::Same | RegisterState::Unspecified => Some((Saved::Same as u8, 0)),
        RegisterState::Undefined => Some((Saved::Undefined as u8, 0)),
        RegisterState::Register(register) if *register == machine.special_registers().1 => Some((Saved::Same as u8, 0)),
        RegisterState::Register(register) => in_register(*register, machine),
        state => saved(state, rule),
    }
}

fn in_register(register: u16, machine: Machine) -> Option<(u8, i16)> {
    let last = if machine == Machine::X86_64 { 15 } else { 30 };
    (register <= last).then_some((Saved::InRegister as u8, register as i16))
}

/// A place in memory, counted from the frame or from the rule's register.
fn saved(state: &RegisterState<'_>, rule: &Rule) -> Option<(u8, i16)> {
    let plain = rule.cfa == Cfa::Register as u8;
    match state {
        RegisterState::Offset(offset) => {
            let from_register = || plain.then(|| offset.checked_add(i64::from(rule.cfa_offset))).flatten();
            i16::try_from(*offset)
                .map(|offset| (Saved::AtCfa as u8, offset))
                .ok()
                .or_else(|| Some((Saved::AtRegister as u8, i16::try_from(from_register()?).ok()?)))
        }
        RegisterState::Expression(expression) => match known(*expression)? {
            Known::Register(register, offset) if register == u16::from(rule.cfa_register) => {
                Some((Saved::AtRegister as u8, i16::try_from(offset).ok()?))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The kernel's signal frame: its `ucontext` is where the trampoline's stack pointer points (x86-64), or 128 bytes above, after the
/// `siginfo` (aarch64). x86's C libraries say so by expressions for every register (glibc, `sigaction.c`); the stack pointer's
/// is enough to know them: it stands at 160 in the context (Linux, `struct sigcontext_64`).
fn signal_frame(state: &State<'_>, machine: Machine) -> Option<Rule> {
    let (sp, _, _) = machine.special_registers();
    let offset = match (machine, &state.cfa) {
        (Machine::X86_64, CfaState::Expression(expression)) => match known(*expression)? {
            Known::Deref(register, offset, 0) if register == sp => offset.checked_sub(160)?,
            _ => return None,
        },
        (Machine::X86_64, _) => return None,
        (Machine::Aarch64, _) => 128,
    };
    let cfa_offset = i32::try_from(offset).ok()?;
    Some(Rule { cfa: Cfa::Signal as u8, cfa_register: sp as u8, cfa_offset, ..Rule::default() })
}

/// Linkers write this for `.plt`, where the stack grows in the middle of an entry of 16 bytes (x86-64 ABI; GNU ld
/// `elf_x86_64_eh_frame_lazy_plt`): `rsp + offset + ((rip & 15) >= threshold) << 3`.
fn plt(bytes: &[u8]) -> Option<Known> {
    match bytes {
        // DW_OP_breg7 n; breg16 0; lit15; and; lit t; ge; lit3; shl; plus
        [0x77, offset @ 0..=0x3f, 0x80, 0, 0x3f, 0x1a, threshold @ 0x30..=0x3f, 0x2a, 0x33, 0x24, 0x22] => {
            Some(Known::Plt(i64::from(*offset), threshold - 0x30))
        }
        _ => None,
    }
}

/// The expressions that compilers and assembler programmers write: `breg`, `breg deref`, `breg deref plus`.
fn known(expression: Expression<'_>) -> Option<Known> {
    let bytes = expression.0.slice();
    if let Some(plt) = plt(bytes) {
        return Some(plt);
    }
    // Longer ones are none of ours; this bounds the work as well.
    if bytes.len() > 32 {
        return None;
    }
    // Expressions of frames do not depend on the version of DWARF, but for 8-byte addresses.
    let encoding = gimli::Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };
    let mut operations = expression.operations(encoding);
    let mut result = None;
    while let Some(operation) = operations.next().ok()? {
        result = Some(match (operation, result) {
            (Operation::RegisterOffset { register, offset, .. }, None) => Known::Register(register.0, offset),
            (Operation::Deref { size: 8, space: false, .. }, Some(Known::Register(register, offset))) => {
                Known::Deref(register, offset, 0)
            }
            (Operation::PlusConstant { value }, Some(known)) => add(known, i64::try_from(value).ok()?)?,
            (Operation::UnsignedConstant { value }, Some(known)) => {
                add(known, constant_operand(i64::try_from(value).ok()?, operations.next().ok()??)?)?
            }
            (Operation::SignedConstant { value }, Some(known)) => {
                add(known, constant_operand(value, operations.next().ok()??)?)?
            }
            _ => return None,
        });
    }
    result
}

/// A constant that is then added or subtracted.
fn constant_operand(value: i64, operation: Operation<EndianSlice<'_, LittleEndian>>) -> Option<i64> {
    match operation {
        Operation::Plus => Some(value),
        Operation::Minus => value.checked_neg(),
        _ => None,
    }
}

fn add(known: Known, value: i64) -> Option<Known> {
    Some(match known {
        Known::Register(register, offset) => Known::Register(register, offset.checked_add(value)?),
        Known::Deref(register, offset, extra) => Known::Deref(register, offset, extra.checked_add(value)?),
        Known::Plt(..) => return None,
    })
}
