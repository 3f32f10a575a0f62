//! Names for the stubs through which a file calls functions of others (`.plt`, `.plt.sec`, `.plt.got`): `function@plt`, as binutils say.
//! Runs in the child only.
//!
//! No symbol covers them, so the one before would name them, often `_init`. A stub jumps to where a slot of the global offset table says;
//! the dynamic relocation of that slot names the function (System V ABI, processor supplements, "Procedure Linkage Table"). What is
//! no such stub, such as the first one, which calls the linker, is `.plt`.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use iced_x86::{Code, Decoder, DecoderOptions};
use object::elf::{EM_AARCH64, EM_X86_64};
use object::{Object, ObjectSymbol, ObjectSymbolTable, ReadCache, RelocationTarget};

use super::contents::{Contents, Section};

/// Longest stub.
const MAX_STUB: u64 = 32;
/// Where the section does not say: all stubs of both processors are 16 bytes long, or 8 in `.plt.got` and 24 with branch protection.
const STUB: u64 = 16;

/// Names of the addresses that are in stubs, in order; `None` for those that are not.
pub(super) fn stubs(file: &File, contents: &Contents, addresses: &[Option<u64>]) -> Vec<Option<String>> {
    let section = |address: &Option<u64>| contents.section_at((*address)?).filter(|section| is_plt(section));
    let sections: Vec<Option<&Section>> = addresses.iter().map(section).collect();
    if sections.iter().all(Option::is_none) {
        return vec![None; addresses.len()];
    }
    let slots = slots(file).unwrap_or_default();
    let name = |(section, address): (Option<&Section>, &Option<u64>)| {
        let slot = slot_of(file, contents.machine, section?, (*address)?);
        let name = slot.and_then(|slot| slots.get(&slot));
        Some(name.map_or_else(|| ".plt".to_owned(), |name| format!("{name}@plt")))
    };
    sections.into_iter().zip(addresses).map(name).collect()
}

fn is_plt(section: &Section) -> bool {
    section.name == b".plt" || section.name.starts_with(b".plt.") || section.name == b".iplt"
}

/// The slot that the stub at an address jumps through.
fn slot_of(file: &File, machine: u16, section: &Section, address: u64) -> Option<u64> {
    let len = if (4..=MAX_STUB).contains(&section.entry) { section.entry } else { STUB };
    let begin = (address - section.address) / len * len;
    let mut bytes = [0; MAX_STUB as usize];
    let bytes = &mut bytes[..usize::try_from(len.min(section.len.checked_sub(begin)?)).ok()?];
    file.read_exact_at(bytes, section.offset.checked_add(begin)?).ok()?;
    let begin = section.address.checked_add(begin)?;
    match machine {
        EM_X86_64 => {
            let mut instructions = Decoder::with_ip(64, bytes, begin, DecoderOptions::NONE).into_iter();
            let jump = instructions.find(|one| one.code() == Code::Jmp_rm64 && one.is_ip_rel_memory_operand())?;
            // What pushes before it jumps is the first one, whose slot is the linker's.
            Some(jump.ip_rel_memory_address())
        }
        EM_AARCH64 => {
            let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
            aarch64_slot(&words, begin)
        }
        _ => None,
    }
}

/// `adrp x16, page; ldr x17, [x16, #offset]` (Arm Architecture Reference Manual, C6.2.11 and C6.2.167), perhaps behind a `bti`.
fn aarch64_slot(words: &[u32], begin: u64) -> Option<u64> {
    let at = words.iter().position(|word| word & 0x9f00_001f == 0x9000_0010)?;
    let (adrp, ldr) = (*words.get(at)?, *words.get(at + 1)?);
    if ldr & 0xffc0_03ff != 0xf940_0211 {
        return None;
    }
    let pages = i64::from(((adrp >> 5 & 0x7_ffff) << 2 | (adrp >> 29 & 3)).cast_signed() << 11 >> 11);
    let page = ((begin + 4 * at as u64) & !0xfff).wrapping_add_signed(pages << 12);
    Some(page.wrapping_add(u64::from(ldr >> 10 & 0xfff) * 8))
}

/// The functions that the dynamic linker puts into slots.
fn slots(file: &File) -> Option<HashMap<u64, String>> {
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).ok()?;
    let symbols = elf.dynamic_symbol_table()?;
    let name = |(slot, relocation): (u64, object::Relocation)| {
        let RelocationTarget::Symbol(index) = relocation.target() else { return None };
        let name = symbols.symbol_by_index(index).ok()?.name().ok()?.to_owned();
        (!name.is_empty()).then_some((slot, name))
    };
    Some(elf.dynamic_relocations()?.filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::process::Command;

    use super::*;

    /// Every stub of programs of this host is named as objdump names it, at each of its bytes; what is around them is not.
    #[test]
    fn stubs_have_the_names_that_binutils_give() {
        let dir = tempfile::tempdir().unwrap();
        // Stubs for branch protection, which Debian's own programs have not.
        let script =
            "echo 'int puts(const char *); int rand(void); int main(void) { return puts(\"x\") + rand(); }' > ibt.c
             cc -O1 -fcf-protection -Wl,-z,ibtplt -o ibt ibt.c && objdump -h ibt | grep -q plt.sec";
        assert!(Command::new("sh").current_dir(&dir).args(["-ec", script]).status().unwrap().success());
        let ibt = dir.path().join("ibt").display().to_string();
        let mut seen = 0;
        for path in ["/bin/bash", "/usr/bin/curl", "/usr/bin/sqlite3", "/usr/bin/xz", "/bin/true", &ibt] {
            let output =
                Command::new("objdump").args(["-d", "-j", ".plt", "-j", ".plt.got", "-j", ".plt.sec", path]).output();
            let text = String::from_utf8(output.unwrap().stdout).unwrap();
            // `0000000000001030 <getenv@plt>:`, but the first stub is `<getenv@plt-0x10>`.
            let labels = text.lines().filter_map(|line| line.strip_suffix(">:")?.split_once(" <"));
            let mut stubs: Vec<(u64, String)> = labels
                .map(|(address, name)| {
                    (u64::from_str_radix(address, 16).unwrap(), name.split("@@").next().unwrap().to_owned())
                })
                .filter(|(_, name)| name.ends_with("@plt") && !name.starts_with('*'))
                .collect();
            stubs.dedup();
            let file = File::open(path).unwrap();
            let contents = Contents::of(&file).unwrap();
            for (address, name) in &stubs {
                let asked: Vec<Option<u64>> = (0..8).map(|byte| Some(address + byte)).collect();
                let expected = vec![Some(name.clone()); 8];
                assert_eq!(super::stubs(&file, &contents, &asked), expected, "{path} at {address:#x}");
            }
            let text = contents.sections.iter().find(|section| section.name == b".text").unwrap();
            assert_eq!(super::stubs(&file, &contents, &[Some(text.address), None]), [None, None]);
            seen += stubs.len();
        }
        assert!(seen > 300, "{seen} stubs: the test tests little");
    }

    /// `adrp x16, 0x11000; ldr x17, [x16, #0xfa8]; add x16, x16, #0xfa8; br x17`, as ld makes them, with and without `bti c` before it.
    #[test]
    fn arms_stubs_lead_to_their_slot() {
        let stub = [0xb000_0090, 0xf947_d611, 0x913e_a210, 0xd61f_0220];
        assert_eq!(aarch64_slot(&stub, 0x600), Some(0x11fa8));
        assert_eq!(aarch64_slot(&[&[0xd503_245f], &stub[..]].concat(), 0x600), Some(0x11fa8));
        // The first stub pushes before it jumps, through a slot that no function has; an `adrp` backwards has a negative page.
        assert_eq!(aarch64_slot(&[0xf0ff_fff0, 0xf940_0211], 0x5000), Some(0x4000));
        assert_eq!(aarch64_slot(&[0xd503_201f; 4], 0), None);
    }
}
