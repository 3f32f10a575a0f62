//! Where the text of the running kernel lies, from `/proc/kallsyms` (`_stext` to `_etext`), read once.
//!
//! It is randomised at each boot (KASLR). `None` where the kernel hides it (`kptr_restrict`, no `CAP_SYSLOG`): all addresses are 0 there.

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::sync::OnceLock;

/// Most bytes read; 120,000 symbols have 5.4 MB.
const MAX_TEXT: u64 = 256 << 20;

/// That of the kernel of this boot; `None` for another boot's.
#[must_use]
pub fn of_boot(boot_id: &str) -> Option<Range<u64>> {
    static THIS: OnceLock<Option<(String, Range<u64>)>> = OnceLock::new();
    let read = || {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let kallsyms = std::fs::File::open("/proc/kallsyms").ok()?;
        Some((boot_id.trim().to_owned(), parse(kallsyms)?))
    };
    let (this, text) = THIS.get_or_init(read).as_ref()?;
    (this == boot_id).then(|| text.clone())
}

fn parse(kallsyms: impl Read) -> Option<Range<u64>> {
    let (mut begin, mut end) = (None, None);
    for line in BufReader::with_capacity(64 << 10, kallsyms.take(MAX_TEXT)).lines() {
        let line = line.ok()?;
        let mut fields = line.split_ascii_whitespace();
        let (address, _, name) = (fields.next()?, fields.next()?, fields.next()?);
        match name {
            "_stext" => begin = u64::from_str_radix(address, 16).ok(),
            "_etext" => end = u64::from_str_radix(address, 16).ok(),
            _ => continue,
        }
        if let (Some(begin), Some(end)) = (begin, end) {
            return (0 < begin && begin < end).then_some(begin..end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text is from its first to its last symbol; a kernel that hides addresses has none.
    #[test]
    fn the_text_is_between_its_two_symbols() {
        let table = "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _stext\nffffffff81000040 T f\nffffffff82200000 T _etext\n";
        assert_eq!(parse(table.as_bytes()), Some(0xffff_ffff_8100_0000..0xffff_ffff_8220_0000));
        assert_eq!(parse("0000000000000000 T _stext\n0000000000000000 T _etext\n".as_bytes()), None);
        assert_eq!(parse("ffffffff81000000 T _stext\n".as_bytes()), None);
        assert_eq!(parse("nonsense\n".as_bytes()), None);
    }

    /// Of another boot nothing is known here.
    #[test]
    fn another_boots_kernel_lies_elsewhere() {
        assert_eq!(of_boot("another"), None);
    }
}
