//! Rows of Go code, which has no `.eh_frame`: from the table that Go's own runtime walks stacks by (`pclntab`), which no stripping
//! removes. Go 1.16 to today. Facts: Go's `src/runtime/symtab.go` (`pcHeader`, `_func`, `step`, `funcspdelta`), `asm_amd64.s`.
//!
//! For each function the table has how far the stack pointer is below the return address, at each instruction. The frame pointer is
//! saved just below the return address by every function with a frame. Functions of the runtime that change
//! stacks are known by name.

#[cfg(test)]
pub(super) mod tests;

use profiler_ebpf::tables::{Cfa, RULE_END, RULE_NONE, RULE_UNSUPPORTED, Rule, Saved};

use super::CompileError;
use super::elf::{Elf, Machine, Section, u32_at, u64_at};
use super::go_module::{self, Module};
use super::rows::{Rows, RuleTable};
use super::stats::{Cause, Stats};

/// Most bytes of the table: Kubernetes' largest has 25 MiB, programs with generated code hundreds.
pub(super) const MAX_TABLE: u64 = 512 << 20;
/// Most steps of one function; the runtime's `init` functions have thousands.
pub(super) const MAX_STEPS: usize = 100_000;

/// Where things are in the table.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Go's minor version, of those that laid the table out anew.
    pub(super) version: u32,
    pub(super) functions: usize,
    /// Address of the first function; entries count from there, or are addresses themselves (Go 1.16 and 1.17).
    pub(super) text: Option<u64>,
    pub(super) names: usize,
    /// Which files a compilation unit has.
    pub(super) units: usize,
    /// Names of files.
    pub(super) files: usize,
    steps: usize,
    pub(super) table: usize,
}

impl Layout {
    /// Address and description of a function; the address alone for the end of the last.
    pub(super) fn entry(&self, bytes: &[u8], at: usize) -> Option<(u64, usize)> {
        let (address, offset) = if let Some(text) = self.text {
            let entry = bytes.get(self.table + at.checked_mul(8)?..)?;
            (text.checked_add(u64::from(u32_at(entry.first_chunk::<4>()?, 0)))?, u32_at(entry, 4) as usize)
        } else {
            let entry = bytes.get(self.table + at.checked_mul(16)?..)?;
            (u64_at(entry.first_chunk::<8>()?, 0), u64_at(entry, 8) as usize)
        };
        Some((address, offset))
    }

    /// One of the tables of steps; empty when there is none.
    pub(super) fn steps<'a>(&self, bytes: &'a [u8], offset: usize, quantum: u8) -> Steps<'a> {
        // Offset 0 is "none".
        let at = self.steps.checked_add(offset).filter(|_| offset != 0);
        let bytes = at.and_then(|at| bytes.get(at..)).unwrap_or_default();
        Steps { bytes, value: -1, first: true, quantum: u32::from(quantum) }
    }
}

/// What is special about a function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// The first of its stack.
    First,
    /// Calls on another stack, and keeps the frame pointer.
    ChangesStack,
    /// Calls the kernel's clock on another stack, once it has its own frame.
    ChangesStackInFrame,
    /// The signal trampoline.
    Signal,
}

fn kind(name: &[u8]) -> Kind {
    let Some(name) = name.strip_prefix(b"runtime.") else {
        return match name {
            b"_rt0_amd64" | b"_rt0_amd64_linux" | b"_rt0_arm64_linux" => Kind::First,
            b"time.now" => Kind::ChangesStackInFrame,
            _ => Kind::Plain,
        };
    };
    match name.strip_suffix(b".abi0").unwrap_or(name) {
        // `mcall` leaves its caller's stack for good.
        b"goexit" | b"mstart" | b"rt0_go" | b"mcall" => Kind::First,
        b"systemstack" | b"asmcgocall" | b"morestack" => Kind::ChangesStack,
        b"nanotime1" | b"walltime" | b"walltime1" => Kind::ChangesStackInFrame,
        b"sigreturn" | b"sigreturn__sigaction" => Kind::Signal,
        _ => Kind::Plain,
    }
}

/// Rows of the Go code of a file, if there is any.
pub(super) fn compile(elf: &Elf<'_>, rules: &mut RuleTable, stats: &mut Stats) -> Result<Vec<u64>, CompileError> {
    let Some((address, bytes)) = find(elf)? else { return Ok(Vec::new()) };
    let Some(layout) = layout(elf, address, &bytes)? else { return Ok(Vec::new()) };
    let mut table = Table { elf, bytes: &bytes, layout, rules, rows: Rows::new() };
    for function in 0..layout.functions {
        table.function(function, stats)?;
    }
    Ok(table.rows.finish())
}

/// The table: its address and bytes. Where other linkers than Go's put it among other data, or there are no sections, it is known by
/// its first bytes.
pub(super) fn find(elf: &Elf<'_>) -> Result<Option<(u64, Vec<u8>)>, CompileError> {
    let named = [".gopclntab", ".data.rel.ro.gopclntab"].into_iter().find_map(|name| elf.section(name));
    if let Some(section) = named {
        return Ok(Some((section.address, elf.contents(section, MAX_TABLE)?)));
    }
    let is_go = [".go.buildinfo", ".note.go.buildid"].into_iter().any(|name| elf.section(name).is_some());
    let among = |name: &&str| is_go.then(|| elf.section(name)).flatten();
    for section in [".data.rel.ro", ".rodata"].iter().filter_map(among) {
        if let Some(found) = find_start(elf, section.address, elf.contents(section, MAX_TABLE)?) {
            return Ok(Some(found));
        }
    }
    let data = elf.segments.iter().filter(|segment| !segment.executable && segment.len <= MAX_TABLE);
    for segment in data.filter(|_| elf.sections.is_empty()) {
        if let Some(found) = find_start(elf, segment.address, elf.loaded(segment.address, segment.len)?) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The table somewhere in these bytes. Linkers align it.
fn find_start(elf: &Elf<'_>, address: u64, mut bytes: Vec<u8>) -> Option<(u64, Vec<u8>)> {
    let is_start = |at: &usize| bytes.get(*at..).is_some_and(|bytes| has_header(elf, bytes));
    let at = (0..bytes.len()).step_by(8).find(is_start)?;
    bytes.drain(..at);
    Some((address.wrapping_add(at as u64), bytes))
}

fn has_header(elf: &Elf<'_>, bytes: &[u8]) -> bool {
    let count = u64_at(bytes, 8);
    version(bytes).is_some()
        && bytes.get(4..8) == Some(&[0, 0, quantum(elf), 8])
        && count > 0
        && count < bytes.len() as u64
}

/// Bytes of the shortest instruction.
pub(super) fn quantum(elf: &Elf<'_>) -> u8 {
    if elf.machine == Machine::Aarch64 { 4 } else { 1 }
}

/// Go's minor version, of those that laid the table out anew.
fn version(bytes: &[u8]) -> Option<u32> {
    match u32_at(bytes, 0) {
        0xffff_fffa => Some(16),
        0xffff_fff0 => Some(18),
        0xffff_fff1 => Some(20),
        _ => None,
    }
}

pub(super) fn layout(elf: &Elf<'_>, address: u64, bytes: &[u8]) -> Result<Option<Layout>, CompileError> {
    let Some(version) = version(bytes).filter(|_| has_header(elf, bytes)) else { return Ok(None) };
    // Since 1.18 the address of the code comes between the two counts and the offsets.
    let offsets = if version >= 18 { 32 } else { 24 };
    let field = |at: usize| usize::try_from(u64_at(bytes, at)).unwrap_or(usize::MAX).min(bytes.len());
    let (names, units) = (field(offsets), field(offsets + 8));
    Ok(Some(Layout {
        version,
        functions: field(8),
        text: if version >= 18 { Some(text(elf, address, u64_at(bytes, 24), names, units)?) } else { None },
        names,
        units,
        files: field(offsets + 16),
        steps: field(offsets + 24),
        table: field(offsets + 32),
    }))
}

/// Where Go's code begins. The header says it, but in position-independent files a relocation does, and newer versions of Go leave the
/// field empty: then the module's description says it. The section begins with other code where another linker than Go's made it.
fn text(elf: &Elf<'_>, table: u64, said: u64, names: usize, units: usize) -> Result<u64, CompileError> {
    if said != 0 {
        return Ok(said);
    }
    if let Some(relocations) = elf.section(".rela.dyn") {
        let bytes = elf.contents(relocations, MAX_TABLE)?;
        let field = table.wrapping_add(24);
        if let Some(entry) = bytes.as_chunks::<24>().0.iter().find(|entry| u64_at(*entry, 0) == field) {
            return Ok(u64_at(entry, 16));
        }
    }
    let module = Module::find(elf, table, names, units).and_then(|module| module.word(go_module::TEXT));
    let section = || elf.section(".text").map_or(0, |text: &Section| text.address);
    Ok(module.filter(|text| *text != 0).unwrap_or_else(section))
}

struct Table<'a> {
    elf: &'a Elf<'a>,
    bytes: &'a [u8],
    layout: Layout,
    rules: &'a mut RuleTable,
    rows: Rows,
}

impl Table<'_> {
    fn entry(&self, at: usize) -> Option<(u64, usize)> {
        self.layout.entry(self.bytes, at)
    }

    fn function(&mut self, at: usize, stats: &mut Stats) -> Result<(), CompileError> {
        let (Some((start, offset)), Some((end, _))) = (self.entry(at), self.entry(at + 1)) else {
            stats.count(Cause::Function);
            return Ok(());
        };
        let Some(segment) = self.elf.code(start).filter(|segment| start < end && end - segment.address <= segment.len)
        else {
            stats.count(Cause::Elsewhere);
            return Ok(());
        };
        let bias = segment.offset.wrapping_sub(segment.address);
        let Some(description) = self.layout.table.checked_add(offset).and_then(|at| self.bytes.get(at..)) else {
            stats.count(Cause::Function);
            return Ok(());
        };
        stats.functions = stats.functions.saturating_add(1);
        // The entry is 8 bytes before 1.18, 4 since.
        let entry_len = if self.layout.text.is_some() { 4 } else { 8 };
        let name = self.name(u32_at(description, entry_len) as usize);
        let kind = kind(name);
        let steps = u32_at(description, entry_len + 12) as usize;
        match kind {
            Kind::First => self.rows.push(start.wrapping_add(bias), RULE_END)?,
            Kind::Signal => {
                // Nobody called it: the walk asks one byte before its first instruction.
                let rule = self.number(signal(self.elf.machine), stats);
                let start = start.wrapping_add(bias);
                self.rows.push(start.saturating_sub(1), rule)?;
                self.rows.push(start, rule)?;
            }
            // Unless it says of itself where it is (Go 1.21 and later), all of it is on either stack.
            Kind::ChangesStack if !self.has_frame(steps) => {
                let rule = self.number(OTHER_STACK, stats);
                self.rows.push(start.wrapping_add(bias), rule)?;
            }
            Kind::Plain | Kind::ChangesStack | Kind::ChangesStackInFrame => {
                self.plain(start, end, bias, steps, kind != Kind::Plain, stats)?;
            }
        }
        self.rows.push(end.wrapping_add(bias), RULE_NONE)
    }

    fn name(&self, offset: usize) -> &[u8] {
        let name = self.layout.names.checked_add(offset).and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        name[..name.len().min(64)].split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn steps(&self, offset: usize) -> Steps<'_> {
        self.layout.steps(self.bytes, offset, quantum(self.elf))
    }

    fn has_frame(&self, steps: usize) -> bool {
        self.steps(steps).take(MAX_STEPS).any(|(value, _)| value > 0)
    }

    /// Rows by how far the stack pointer is below the return address.
    fn plain(
        &mut self,
        start: u64,
        end: u64,
        bias: u64,
        steps: usize,
        changes: bool,
        stats: &mut Stats,
    ) -> Result<(), CompileError> {
        let mut at = start;
        let steps: Vec<(i32, u32)> = self.steps(steps).take(MAX_STEPS).collect();
        if steps.is_empty() {
            // An assembler function that the linker knows nothing of.
            return self.rows.push(at.wrapping_add(bias), RULE_NONE);
        }
        for (value, len) in steps {
            if at >= end {
                break;
            }
            let rule = match value {
                _ if changes && value > 0 => self.number(OTHER_STACK, stats),
                0.. if value % 8 == 0 => self.number(framed(self.elf.machine, value), stats),
                _ => {
                    stats.count(Cause::Offset);
                    RULE_UNSUPPORTED
                }
            };
            self.rows.push(at.wrapping_add(bias), rule)?;
            at = at.saturating_add(u64::from(len));
        }
        Ok(())
    }

    fn number(&mut self, rule: Rule, stats: &mut Stats) -> u16 {
        self.rules.number(rule).unwrap_or_else(|| {
            stats.count(Cause::Rules);
            RULE_UNSUPPORTED
        })
    }
}

/// Frame pointer, and it may lead to another stack.
const OTHER_STACK: Rule = Rule {
    cfa: Cfa::FramePointer as u8,
    cfa_register: 0,
    fp: 0,
    ra: 0,
    cfa_offset: 0,
    fp_offset: 0,
    ra_offset: 0,
    extra: 1,
};

fn signal(machine: Machine) -> Rule {
    let (register, offset) = if machine == Machine::Aarch64 { (31, 128) } else { (7, 0) };
    Rule { cfa: Cfa::Signal as u8, cfa_register: register, cfa_offset: offset, ..Rule::default() }
}

/// x86-64: the call pushed the return address, the function the frame pointer below it. aarch64: a frame's lowest word is the return
/// address, and below the stack pointer is the frame pointer.
fn framed(machine: Machine, depth: i32) -> Rule {
    let saved = |kind: Saved| if depth > 0 { kind as u8 } else { Saved::Same as u8 };
    let at = |offset: i16| if depth > 0 { offset } else { 0 };
    match machine {
        Machine::X86_64 => Rule {
            cfa: Cfa::Register as u8,
            cfa_register: 7,
            cfa_offset: depth.saturating_add(8),
            fp: saved(Saved::AtCfa),
            fp_offset: at(-16),
            ra: Saved::AtCfa as u8,
            ra_offset: -8,
            extra: 0,
        },
        Machine::Aarch64 => Rule {
            cfa: Cfa::Register as u8,
            cfa_register: 31,
            cfa_offset: depth,
            fp: saved(Saved::AtRegister),
            fp_offset: at(-8),
            ra: saved(Saved::AtRegister),
            ra_offset: 0,
            extra: 0,
        },
    }
}

/// Values and for how many bytes of code each is in force: pairs of variable-length numbers, the first with its sign in the lowest
/// bit; the value counts from -1, and a change of 0 ends.
pub(super) struct Steps<'a> {
    bytes: &'a [u8],
    value: i32,
    first: bool,
    quantum: u32,
}

impl Steps<'_> {
    fn number(&mut self) -> Option<u32> {
        let mut number = 0_u32;
        for shift in (0..35).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

impl Iterator for Steps<'_> {
    type Item = (i32, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let change = self.number()?;
        if change == 0 && !self.first {
            return None;
        }
        self.first = false;
        let change = if change & 1 == 1 { !(change >> 1) } else { change >> 1 };
        self.value = self.value.wrapping_add(change as i32);
        Some((self.value, self.number()?.saturating_mul(self.quantum)))
    }
}
