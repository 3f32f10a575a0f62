//! Addresses of the kernel, as they leave the process: relative to its text, or nothing but their place in a page.
//!
//! The kernel lies at a random place (KASLR), and whoever knows it is a step nearer to attacking it. `location.offset` has addresses as
//! they were sampled, for what is asked of the running kernel: the file is its owner's alone. `meta` has the bounds of the text, by boot
//! (`kernel-text-begin:BOOT`, `kernel-text-end:BOOT`); older databases and kernels that hide their symbols have none.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::StoreError;
use crate::sys::kernel_text;

/// What a page holds; the kernel and its modules lie at random pages.
const PAGE: u64 = 4096;

/// The boot id of a kernel whose addresses are relative already, in a part that was cut out of a history; a number follows.
pub const RELATIVE: &str = "relative-";

/// What may be said of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// So far from the beginning of the text.
    Text(u64),
    /// Outside it (a module, code that the kernel generated), or nobody knows where that is: so far into some page.
    Page(u64),
}

impl Told {
    /// Of `address`, when the text lies there.
    #[must_use]
    pub fn of(address: u64, text: Option<&Range<u64>>) -> Self {
        match text {
            Some(text) if text.contains(&address) => Self::Text(address - text.start),
            _ => Self::Page(address % PAGE),
        }
    }
}

/// Keeps where the text of the kernel lies, if this is the kernel that runs.
pub(super) fn keep(tx: &Transaction<'_>, boot_id: &str) -> Result<(), StoreError> {
    let Some(text) = kernel_text::of_boot(boot_id) else { return Ok(()) };
    let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO meta VALUES (?1, ?2)")?;
    for (bound, address) in [("begin", text.start), ("end", text.end)] {
        insert.execute((format!("kernel-text-{bound}:{boot_id}"), address.cast_signed()))?;
    }
    Ok(())
}

/// Where the text of a boot's kernel lay, if that was kept.
pub(super) fn kept(conn: &Connection, boot_id: &str) -> Result<Option<Range<u64>>, StoreError> {
    if boot_id.starts_with(RELATIVE) {
        return Ok(Some(0..1 << 40));
    }
    let mut select = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    let mut bound = |bound: &str| {
        let found = select.query_row([format!("kernel-text-{bound}:{boot_id}")], |row| row.get::<_, i64>(0));
        found.optional().map(|found| found.map(i64::cast_unsigned))
    };
    Ok(bound("begin")?.zip(bound("end")?).map(|(begin, end)| begin..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what is inside the text is told from its beginning; of everything else no more than its place in a page.
    #[test]
    fn no_more_is_told_than_where_in_the_text_an_address_is() {
        let text = 0xffff_ffff_8120_0000..0xffff_ffff_8220_0000;
        for (address, known, told) in [
            (0xffff_ffff_8121_a695, true, Told::Text(0x1_a695)),
            (0xffff_ffff_8120_0000, true, Told::Text(0)),
            (0xffff_ffff_8220_0000, true, Told::Page(0)),
            (0xffff_ffff_c012_3456, true, Told::Page(0x456)),
            (0xffff_ffff_8121_a695, false, Told::Page(0x695)),
        ] {
            assert_eq!(Told::of(address, known.then_some(&text)), told, "{address:x}");
        }
    }
}
