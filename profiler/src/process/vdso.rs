//! The kernel's shared object, `[vdso]`: the same image in every 64-bit process, so ours names everyone's.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags};

use super::proc_text::executable_maps;

/// Largest image believed; real ones have two to four pages.
const MAX_LEN: u64 = 1024 * 1024;

/// Copies our own image into memory that nobody can change any more, so that it can be handed on like a file.
///
/// # Errors
/// There is no `[vdso]` (`vdso=0`), or a system call failed.
pub(super) fn copy_vdso() -> io::Result<File> {
    let maps = std::fs::read("/proc/self/maps")?;
    let vdso = executable_maps(&maps)
        .find(|line| line.path == b"[vdso]" && line.end - line.start <= MAX_LEN)
        .ok_or(io::ErrorKind::NotFound)?;
    let mut image = vec![0; (vdso.end - vdso.start) as usize];
    File::open("/proc/self/mem")?.read_exact_at(&mut image, vdso.start)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("vdso", flags)?);
    file.write_all(&image)?;
    file.rewind()?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::build_id::{Elf, read_elf};
    use super::*;

    /// The image is an ELF file with a build id, and cannot be written.
    #[test]
    fn our_vdso_is_a_sealed_elf_file() {
        let file = copy_vdso().unwrap();
        assert!(matches!(read_elf(&file), Elf::Is(Some(_))));
        assert!(file.write_at(b"x", 0).is_err());
    }
}
