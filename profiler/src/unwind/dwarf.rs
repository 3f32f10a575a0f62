//! Rows from `.eh_frame` and `.debug_frame`: DWARF's unwind machine, for the three registers that a walk needs. DWARF 5, 6.4;
//! LSB Core, "Exception Frames".
//!
//! gimli reads entries and instructions. Its own evaluation keeps all registers and starts each function from the common
//! entry's instructions; this one keeps the frame address, the frame pointer and the return address, which makes it
//! several times as fast. `tests` compare the two at every row.

use std::collections::HashMap;

use gimli::{
    BaseAddresses, CallFrameInstruction, CallFrameInstructionIter, CieOrFde, EndianSlice, LittleEndian, Register,
    UnwindOffset, UnwindSection,
};
use profiler_ebpf::tables::{RULE_NONE, RULE_UNSUPPORTED};

use super::CompileError;
use super::elf::{Elf, Machine};
use super::rows::{Rows, RuleTable};
use super::rule::{self, CfaState, RegisterState, State};
use super::stats::{Cause, Stats};

/// Most states remembered (`DW_CFA_remember_state`) at a time; compilers nest one or two.
const MAX_REMEMBERED: usize = 32;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Cie<'a> = gimli::CommonInformationEntry<Slice<'a>>;

/// What functions of one common entry share.
#[derive(Clone)]
struct Common<'a> {
    cie: Cie<'a>,
    /// State after its instructions; nothing if they are broken.
    initial: Option<State<'a>>,
}

/// Adds the rows of each function of a section.
pub(super) fn compile<'a, S>(
    section: &S,
    bases: &BaseAddresses,
    elf: &Elf<'_>,
    rules: &mut RuleTable,
    rows: &mut Rows,
    stats: &mut Stats,
) -> Result<(), CompileError>
where
    S: UnwindSection<Slice<'a>>,
    S::Offset: UnwindOffset<usize>,
{
    let mut commons: HashMap<usize, Common<'a>> = HashMap::new();
    let mut last: Option<(usize, Common<'a>)> = None;
    let mut entries = section.entries(bases);
    let mut code = None;
    loop {
        let fde = match entries.next() {
            Ok(Some(CieOrFde::Fde(fde))) => fde,
            Ok(Some(CieOrFde::Cie(_))) => continue,
            Ok(None) => return Ok(()),
            // gimli cannot go on behind a broken length.
            Err(_) => {
                stats.count(Cause::Function);
                return Ok(());
            }
        };
        let at = UnwindOffset::into(fde.cie_offset());
        if last.as_ref().is_none_or(|(offset, _)| *offset != at) {
            let known = match commons.get(&at) {
                Some(known) => known.clone(),
                None => {
                    let Ok(cie) = section.cie_from_offset(bases, fde.cie_offset()) else {
                        stats.count(Cause::Function);
                        continue;
                    };
                    let common = Common { initial: initial_state(section, bases, &cie, elf.machine), cie };
                    commons.insert(at, common.clone());
                    common
                }
            };
            last = Some((at, known));
        }
        let Some((_, common)) = &last else { continue };
        let Ok(fde) = fde.parse(|_, _, _| Ok(common.cie.clone())) else {
            stats.count(Cause::Function);
            continue;
        };
        stats.functions = stats.functions.saturating_add(1);
        let (start, end) = (fde.initial_address(), fde.end_address());
        let inside = |segment: &&super::elf::Segment| {
            start >= segment.address && end.checked_sub(segment.address).is_some_and(|len| len <= segment.len)
        };
        code = code.filter(inside).or_else(|| elf.code(start).filter(inside));
        let Some(segment) = code.filter(|_| start < end) else {
            stats.count(Cause::Elsewhere);
            continue;
        };
        let mut function = Function {
            machine: elf.machine,
            cie: &common.cie,
            start,
            end,
            bias: segment.offset.wrapping_sub(segment.address),
            signal: common.cie.is_signal_trampoline(),
            rules,
            rows,
            stats,
        };
        function.run(section, common.initial, fde.instructions(section, bases))?;
    }
}

fn initial_state<'a, S>(section: &S, bases: &BaseAddresses, cie: &Cie<'a>, machine: Machine) -> Option<State<'a>>
where
    S: UnwindSection<Slice<'a>>,
{
    let mut state = State::START;
    let mut instructions = cie.instructions(section, bases);
    while let Some(instruction) = instructions.next().ok()? {
        apply(&mut state, &State::START, instruction, section, cie, machine)?;
    }
    Some(state)
}

/// One function on its way into rows.
struct Function<'a, 'b> {
    machine: Machine,
    cie: &'b Cie<'a>,
    start: u64,
    end: u64,
    /// Address plus bias is the file offset.
    bias: u64,
    signal: bool,
    rules: &'b mut RuleTable,
    rows: &'b mut Rows,
    stats: &'b mut Stats,
}

impl<'a> Function<'a, '_> {
    fn run<S>(
        &mut self,
        section: &S,
        initial: Option<State<'a>>,
        mut instructions: CallFrameInstructionIter<'_, Slice<'a>>,
    ) -> Result<(), CompileError>
    where
        S: UnwindSection<Slice<'a>>,
    {
        let mut at = self.start;
        let Some(initial) = initial else {
            self.broken(at)?;
            return self.row(self.end, RULE_NONE);
        };
        let mut state = initial;
        let mut remembered: Vec<State<'a>> = Vec::new();
        // Instructions that change nothing we keep (saved registers) make no row.
        let mut said: Option<State<'a>> = None;
        loop {
            let step = match instructions.next() {
                Ok(None) => break,
                Ok(Some(CallFrameInstruction::AdvanceLoc { delta })) => {
                    let delta = u64::from(delta).checked_mul(self.cie.code_alignment_factor());
                    delta.and_then(|delta| at.checked_add(delta)).map(Some)
                }
                Ok(Some(CallFrameInstruction::SetLoc { address })) => (address >= at).then_some(Some(address)),
                Ok(Some(CallFrameInstruction::RememberState)) if remembered.len() < MAX_REMEMBERED => {
                    remembered.push(state);
                    Some(None)
                }
                Ok(Some(CallFrameInstruction::RestoreState)) => remembered.pop().map(|before| {
                    state = before;
                    None
                }),
                Ok(Some(instruction)) => {
                    apply(&mut state, &initial, instruction, section, self.cie, self.machine).map(|()| None)
                }
                Err(_) => None,
            };
            match step {
                Some(None) => {}
                Some(Some(next)) => {
                    if next > at && said != Some(state) {
                        self.state(at, &state)?;
                        said = Some(state);
                    }
                    at = next;
                    if at >= self.end {
                        break;
                    }
                }
                None => {
                    self.broken(at)?;
                    return self.row(self.end, RULE_NONE);
                }
            }
        }
        if at < self.end && said != Some(state) {
            self.state(at, &state)?;
        }
        self.row(self.end, RULE_NONE)
    }

    fn broken(&mut self, at: u64) -> Result<(), CompileError> {
        self.stats.count(Cause::Instruction);
        self.row(at, RULE_UNSUPPORTED)
    }

    fn state(&mut self, at: u64, state: &State<'a>) -> Result<(), CompileError> {
        let ra = self.cie.return_address_register().0;
        let lost = |cause| self.stats.count(cause);
        let number = rule::rule(state, self.machine, ra, self.signal, lost)
            .and_then(|rule| self.rules.number(rule).ok_or(Cause::Rules))
            .unwrap_or_else(|cause| {
                self.stats.count(cause);
                RULE_UNSUPPORTED
            });
        self.row(at, number)
    }

    fn row(&mut self, at: u64, rule: u16) -> Result<(), CompileError> {
        self.rows.push(at.wrapping_add(self.bias), rule)
    }
}

/// One instruction other than those that move or remember. Nothing if it cannot be right.
fn apply<'a, S>(
    state: &mut State<'a>,
    initial: &State<'a>,
    instruction: CallFrameInstruction<usize>,
    section: &S,
    cie: &Cie<'a>,
    machine: Machine,
) -> Option<()>
where
    S: UnwindSection<Slice<'a>>,
{
    use CallFrameInstruction as Do;
    let factored = |offset: i64| offset.checked_mul(cie.data_alignment_factor());
    let unsigned = |offset: u64| i64::try_from(offset).ok().and_then(factored);
    let mut set = |register: Register, to: RegisterState<'a>| {
        if register == cie.return_address_register() {
            state.ra = to;
        } else if register.0 == machine.special_registers().1 {
            state.fp = to;
        }
    };
    match instruction {
        Do::DefCfa { register, offset } => state.cfa = CfaState::Register(register.0, i64::try_from(offset).ok()?),
        Do::DefCfaSf { register, factored_offset } => {
            state.cfa = CfaState::Register(register.0, factored(factored_offset)?);
        }
        Do::DefCfaRegister { register } => match &mut state.cfa {
            CfaState::Register(old, _) => *old = register.0,
            _ => return None,
        },
        Do::DefCfaOffset { offset } => set_offset(&mut state.cfa, i64::try_from(offset).ok()?)?,
        Do::DefCfaOffsetSf { factored_offset } => set_offset(&mut state.cfa, factored(factored_offset)?)?,
        Do::DefCfaExpression { expression } => state.cfa = CfaState::Expression(expression.get(section).ok()?),
        Do::Undefined { register } => set(register, RegisterState::Undefined),
        Do::SameValue { register } => set(register, RegisterState::Same),
        Do::Offset { register, factored_offset } => set(register, RegisterState::Offset(unsigned(factored_offset)?)),
        Do::OffsetExtendedSf { register, factored_offset } => {
            set(register, RegisterState::Offset(factored(factored_offset)?));
        }
        Do::ValOffset { register, factored_offset } => {
            set(register, RegisterState::ValOffset(unsigned(factored_offset)?));
        }
        Do::ValOffsetSf { register, factored_offset } => {
            set(register, RegisterState::ValOffset(factored(factored_offset)?));
        }
        Do::Register { dest_register, src_register } => set(dest_register, RegisterState::Register(src_register.0)),
        Do::Expression { register, expression } => {
            set(register, RegisterState::Expression(expression.get(section).ok()?));
        }
        Do::ValExpression { register, .. } => set(register, RegisterState::ValExpression),
        Do::Restore { register } => {
            if register == cie.return_address_register() {
                state.ra = initial.ra;
            } else if register.0 == machine.special_registers().1 {
                state.fp = initial.fp;
            }
        }
        Do::NegateRaState => state.signed = !state.signed,
        Do::ArgsSize { .. } | Do::Nop => {}
        // Only in a function, and there dealt with before.
        _ => return None,
    }
    Some(())
}

fn set_offset(cfa: &mut CfaState<'_>, to: i64) -> Option<()> {
    match cfa {
        CfaState::Register(_, offset) => *offset = to,
        _ => return None,
    }
    Some(())
}
