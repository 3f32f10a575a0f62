//! Names for kernel addresses, from the text of `/proc/kallsyms`. Runs in the child only, as the table takes
//! 5 MB for 120,000 symbols.
//!
//! Each line is an address, a type, a name, and the module in brackets if there is one (`man 5 proc_kallsyms`); `[bpf]` is an eBPF
//! program (whose, the parent knows: `own_programs.rs`), `[__builtin__ftrace]` a trampoline. Symbols have no length: one reaches to the next, of whatever type, and the last
//! one of the kernel's text to its end. A kernel that hides its addresses says 0 for all.

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use super::code::CodeBytes;
use crate::profile::{Symbol, Symbolized, UnknownReason};

/// The table is read again after this long: modules and BPF programs come and go, and an address in a new one would get the
/// name of the symbol before it. Reading it takes 50 ms.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Most bytes read; 120,000 symbols have 5.4 MB.
const MAX_TEXT: u64 = 256 << 20;
/// No function of the kernel is longer: an address further from its symbol lies in something without symbols.
const MAX_FUNCTION: u64 = 4 << 20;
/// A module's functions end where the module does; the gap to the next one may be anything. BPF programs are this long at most.
const PAGE: u64 = 4096;

/// The kernel's symbol table, read when first needed.
#[derive(Default)]
pub(super) struct KernelSymbols {
    table: Option<(Instant, Table)>,
}

impl KernelSymbols {
    /// Names for each address, in order. `kallsyms` is read when the table is missing or old.
    pub fn symbolize(&mut self, kallsyms: impl Read, addresses: &[u64]) -> Vec<Symbolized> {
        let table = self.table(kallsyms);
        addresses.iter().map(|address| table.name(*address)).collect()
    }

    /// Where the functions that cover these addresses begin and end, as code that is blank: the kernel's memory has it.
    pub fn bounds(&mut self, kallsyms: impl Read, addresses: &[u64]) -> CodeBytes {
        let mut code = CodeBytes::default();
        let table = self.table(kallsyms);
        for function in addresses.iter().filter_map(|address| table.function(*address)) {
            code.push(function.begin, function.end - function.begin, |_| true);
        }
        code
    }

    fn table(&mut self, kallsyms: impl Read) -> &Table {
        if self.table.as_ref().is_some_and(|(read_at, _)| read_at.elapsed() > MAX_AGE) {
            self.table = None;
        }
        &self.table.get_or_insert_with(|| (Instant::now(), Table::read(kallsyms))).1
    }
}

/// A function, and how far it may reach.
struct Function<'a> {
    begin: u64,
    end: u64,
    name: &'a str,
    module: Option<&'a str>,
}

/// Symbols by address.
#[derive(Debug, Default)]
struct Table {
    /// Address, and where the symbol's text lies; 0 for one that is no code.
    symbols: Vec<(u64, u32)>,
    /// `name` or `name\tmodule`, each ended by a newline; the first byte belongs to no one.
    text: String,
}

impl Table {
    fn read(kallsyms: impl Read) -> Self {
        let mut table = Self { symbols: Vec::new(), text: "\n".to_owned() };
        for line in BufReader::with_capacity(64 << 10, kallsyms.take(MAX_TEXT)).lines() {
            let Ok(line) = line else { break };
            let mut fields = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let Ok(address) = u64::from_str_radix(address, 16) else { continue };
            // Per-CPU variables have offsets for addresses; hidden addresses are 0.
            if address == 0 || matches!(kind, "a" | "A") {
                continue;
            }
            let code = matches!(kind, "t" | "T" | "w" | "W" | "i" | "I");
            let at = if code { u32::try_from(table.text.len()).unwrap_or(0) } else { 0 };
            table.symbols.push((address, at));
            if at != 0 {
                table.text.push_str(name);
                if let Some(module) = fields.next() {
                    table.text.push('\t');
                    table.text.push_str(module.trim_matches(['[', ']']));
                }
                table.text.push('\n');
            }
        }
        // Of several names for one address the first of the table stays first, as in `addr2line`.
        table.symbols.sort_by_key(|(address, at)| (*address, *at == 0));
        table.symbols.dedup_by_key(|(address, _)| *address);
        table
    }

    fn name(&self, address: u64) -> Symbolized {
        if self.symbols.is_empty() {
            return Symbolized::Unknown(UnknownReason::KernelHidden);
        }
        let Some(Function { name, module, .. }) = self.function(address) else {
            return Symbolized::Unknown(UnknownReason::NotFound);
        };
        let name = match module {
            Some("__builtin__ftrace") => format!("{name} [ftrace]"),
            Some(module) => format!("{name} [{module}]"),
            None => name.to_owned(),
        };
        Symbolized::Named(vec![Symbol { name: name.into(), ..Symbol::default() }])
    }

    /// The function that covers an address.
    fn function(&self, address: u64) -> Option<Function<'_>> {
        let after = self.symbols.partition_point(|(begin, _)| *begin <= address);
        let (begin, at) = after.checked_sub(1).map(|before| self.symbols[before])?;
        let text = self.text[at as usize..].lines().next().unwrap_or_default();
        let (name, module) = text.split_once('\t').map_or((text, None), |(name, module)| (name, Some(module)));
        let next = self.symbols.get(after).map(|(next, _)| *next);
        let reach = match (next, module) {
            (Some(_), None) => MAX_FUNCTION,
            // Within a module the next symbol is near; after its last one nobody knows.
            (Some(next), Some(_)) if next - begin < MAX_FUNCTION => MAX_FUNCTION,
            _ => PAGE,
        };
        let end = begin.saturating_add(reach).min(next.unwrap_or(u64::MAX));
        (at != 0 && address < end).then_some(Function { begin, end, name, module })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::fs::File;

    use super::*;

    const KALLSYMS: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000010 T first
ffffffff81000010 T alias_of_first
ffffffff81000100 t second
ffffffff81000200 D data
ffffffffc0000000 t read_page\t[ext4]
ffffffffc0000100 t write_page\t[ext4]
ffffffffc0500000 t bpf_prog_6deef7357e7b4530_sample\t[bpf]
ffffffffc0600000 t bpf_prog_6deef7357e7b4530\t[bpf]
ffffffffc0700000 t ftrace_trampoline\t[__builtin__ftrace]
";

    fn names(text: &str, addresses: &[u64]) -> Vec<String> {
        let answers = KernelSymbols::default().symbolize(text.as_bytes(), addresses);
        let name = |answer| match answer {
            Symbolized::Named(symbols) => symbols[0].name.to_string(),
            Symbolized::Unknown(reason) | Symbolized::Nameless(reason, _) => format!("{reason:?}"),
        };
        answers.into_iter().map(name).collect()
    }

    /// Functions reach to the next symbol; data is no function; modules and programs are named with theirs.
    #[test]
    fn every_sort_of_kernel_code_has_its_name() {
        let addresses = [
            0xffff_ffff_8100_0010,
            0xffff_ffff_8100_00ff,
            0xffff_ffff_8100_0150,
            0xffff_ffff_8100_0210,
            0xffff_ffff_c000_0010,
            0xffff_ffff_c050_0020,
            0xffff_ffff_c060_0020,
            0xffff_ffff_c070_0020,
        ];
        let expected = [
            "first",
            "first",
            "second",
            "NotFound",
            "read_page [ext4]",
            "bpf_prog_6deef7357e7b4530_sample [bpf]",
            "bpf_prog_6deef7357e7b4530 [bpf]",
            "ftrace_trampoline [ftrace]",
        ];
        assert_eq!(names(KALLSYMS, &addresses), expected);
    }

    /// A function's bounds are its symbol and the next one; the last of a module has a page.
    #[test]
    fn functions_reach_to_the_next_symbol() {
        let addresses = [0xffff_ffff_8100_00ff, 0xffff_ffff_8100_0010, 0xffff_ffff_c070_0020, 0xffff_ffff_8100_0210];
        let found = KernelSymbols::default().bounds(KALLSYMS.as_bytes(), &addresses);
        let bounds: Vec<_> = found.pieces.iter().map(|piece| (piece.address, piece.bytes.len())).collect();
        assert_eq!(bounds, [(0xffff_ffff_8100_0010, 0xf0), (0xffff_ffff_c070_0000, 4096)]);
    }

    /// What lies far from the last symbol of its neighbourhood is not given its name.
    #[test]
    fn gaps_have_no_name() {
        let addresses = [1, 0xffff_ffff_80ff_ffff, 0xffff_ffff_c000_2000, 0xffff_ffff_c070_1000, u64::MAX];
        assert_eq!(names(KALLSYMS, &addresses), ["NotFound"; 5]);
    }

    /// With `kernel.kptr_restrict` all addresses are 0: there is no name, and the reason is told.
    #[test]
    fn hidden_addresses_are_told_of() {
        let hidden = "0000000000000000 T _stext\n0000000000000000 T schedule\n";
        assert_eq!(names(hidden, &[0xffff_ffff_8100_0010]), ["KernelHidden"]);
        assert_eq!(names("", &[0xffff_ffff_8100_0010]), ["KernelHidden"]);
    }

    /// An address inside a function of this kernel has its name; a kernel that hides its addresses says so.
    #[test]
    fn a_function_of_this_kernel_has_its_name() {
        let text = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let line = text.lines().find(|line| line.ends_with(" schedule")).unwrap();
        let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
        let names = KernelSymbols::default().symbolize(File::open("/proc/kallsyms").unwrap(), &[address + 1]);
        match &names[..] {
            [Symbolized::Named(symbols)] => assert_eq!(&*symbols[0].name, "schedule"),
            hidden => {
                assert_eq!(hidden, [Symbolized::Unknown(UnknownReason::KernelHidden)]);
                assert_eq!(address, 0, "addresses can be read");
            }
        }
    }
}
