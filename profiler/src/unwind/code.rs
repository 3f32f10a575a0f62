//! Rows for x86-64 code that nothing describes: musl's C library, assembler functions of codecs, linkers' stubs. The instructions
//! themselves say how far the stack pointer is from the return address; this reads them.
//!
//! It is a guess that is checked: between two beginnings of functions every `ret` must find the stack as the call left it, and code
//! that leaves through a jump table without any `ret` proves nothing. What fails has no rows, and the walk takes its frame
//! pointer. So do interpreters' handlers (V8's), which run in a frame that another function made.
//!
//! Only holes are read: code that no other source covers, [`MAX_CODE`] bytes of a file at most. It is passed over until no pass finds
//! more, [`MAX_PASSES`] times at most, because a branch backward says what is known at a place that was passed before; and twice more,
//! because what nothing is seen to lead to is guessed last.

mod functions;
mod jumps;
mod stack;

use std::collections::HashSet;

use profiler_ebpf::machine::{Machine as _, X86_64};
use profiler_ebpf::tables::{Cfa, RULE_NONE, RULE_UNSUPPORTED, Rule};

use self::functions::{Function, Guess, Sweeper};
use self::stack::State;
use super::CompileError;
use super::elf::{Elf, Machine};
use super::rows::{OFFSET_LIMIT, Rows, RuleTable, fill_holes, offset_of, row_of, rule_of};

#[cfg(test)]
pub(super) use self::functions::is_padding;

/// Most bytes of code without tables that are read; libx265 has 12 MiB.
const MAX_CODE: u64 = 16 << 20;
/// Most passes that guess nothing: code that only branches backward lead to is known a pass later.
const MAX_PASSES: usize = 6;
/// Most bytes of a symbol table.
const MAX_SYMBOLS: u64 = 32 << 20;

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
    let passes = std::iter::repeat_n(Guess::None, MAX_PASSES).chain([Guess::Part, Guess::PartOrFunction]);
    let mut is_settled = false;
    for guess in passes {
        if guess == Guess::None && is_settled {
            continue;
        }
        let known = sweeper.known();
        for hole in &holes {
            let functions = sweeper.sweep(hole, elf, guess);
            match guess {
                Guess::None => {}
                Guess::Part => {
                    let wrong = functions.iter().filter(|function| function.is_guess && !function.is_believed());
                    sweeper.no_parts.extend(wrong.map(|function| function.start));
                }
                Guess::PartOrFunction => push(hole, &functions, rules, &mut rows)?,
            }
        }
        is_settled = known == sweeper.known();
        sweeper.called.drain(..).for_each(|start| add_start(&mut holes, start));
    }
    holes.iter().try_for_each(|hole| trampolines(hole, rules, &mut rows))?;
    fill_holes(labels(&holes, &sweeper.addressed), rows.finish())
}

/// Places behind the end of a function, or behind a jump in it, whose address is taken: nothing calls what lies before, so that who has such
/// a return address was given it (Boost.Context's `finish`). The byte before has a rule that the walk does not follow: it looks at the
/// code then.
fn labels(holes: &[Hole], addressed: &HashSet<u64>) -> Vec<u64> {
    let mut places: Vec<u64> = addressed
        .iter()
        .filter(|address| {
            let after = holes.partition_point(|hole| hole.address <= **address).checked_sub(1);
            let before = after.and_then(|after| {
                let at = usize::try_from(**address - holes[after].address).ok()?;
                holes[after].bytes.get(..=at)?[..at].last_chunk()
            });
            before.is_some_and(|code| {
                // A `ret` of one byte needs the rule of its own place.
                let (code, is_short) = (u64::from_le_bytes(*code), code[7] == 0xc3);
                !is_short && !X86_64::ends_with_call(code) && X86_64::ends_function(code)
            })
        })
        .copied()
        .collect();
    places.sort_unstable();
    let mut rows: Vec<u64> = Vec::with_capacity(2 * places.len());
    for place in places {
        let bias = holes[holes.partition_point(|hole| hole.address <= place).saturating_sub(1)].bias;
        let offset = place.wrapping_add(bias) % OFFSET_LIMIT;
        rows.extend([row_of(offset.saturating_sub(1), RULE_UNSUPPORTED), row_of(offset, RULE_NONE)]);
    }
    rows.sort_unstable();
    rows
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
