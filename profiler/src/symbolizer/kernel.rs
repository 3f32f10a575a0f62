//! Names for kernel addresses, by blazesym from `/proc/kallsyms`. Runs in the child only, as the table takes
//! 8 MB for 120,000 symbols.

use std::time::{Duration, Instant};

use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel, Source};
use blazesym::symbolize::{Input, Symbolizer};

use super::elf::named;
use crate::profile::{Symbolized, UnknownReason};

/// The table is read again after this long: modules and BPF programs come and go, and an address in a new one would get the
/// name of the symbol before it. Reading it takes 50 ms.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The kernel's symbol table, read when first needed.
#[derive(Default)]
pub(super) struct KernelSymbols {
    table: Option<(Instant, Symbolizer)>,
}

impl KernelSymbols {
    /// Names for each address, in order.
    pub fn symbolize(&mut self, addresses: &[u64]) -> Vec<Symbolized> {
        if self.table.as_ref().is_some_and(|(read_at, _)| read_at.elapsed() > MAX_AGE) {
            self.table = None;
        }
        let (_, symbolizer) = self.table.get_or_insert_with(|| (Instant::now(), Symbolizer::new()));
        // Without a kernel image nothing depends on how far the kernel was moved: kallsyms has the addresses as they are.
        let kernel = Kernel { vmlinux: MaybeDefault::None, debug_syms: false, ..Kernel::default() };
        let hidden = UnknownReason::KernelHidden;
        match symbolizer.symbolize(&Source::Kernel(kernel), Input::AbsAddr(addresses)) {
            Ok(found) => found.iter().map(|found| named(found, hidden)).collect(),
            Err(_) => vec![Symbolized::Unknown(hidden); addresses.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// An address inside a function of this kernel has its name; a kernel that hides its addresses says so.
    #[test]
    fn a_function_of_this_kernel_has_its_name() {
        let table = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let line = table.lines().find(|line| line.ends_with(" schedule")).unwrap();
        let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
        let names = KernelSymbols::default().symbolize(&[address + 1]);
        match &names[..] {
            [Symbolized::Named(symbols)] => assert_eq!(symbols[0].name, "schedule"),
            hidden => {
                assert_eq!(hidden, [Symbolized::Unknown(UnknownReason::KernelHidden)]);
                assert_eq!(address, 0, "addresses can be read");
            }
        }
    }
}
