//! Memory that the parent lends a child for one question.

use std::fs::File;
use std::io;

use rustix::fs::{MemfdFlags, SealFlags};

/// Memory to share with a child: of this size for ever, empty pages until they are written. The child cannot make any itself, so
/// this bounds what it can take.
pub(super) fn fixed_memfd(len: u64) -> io::Result<File> {
    let memfd = rustix::fs::memfd_create(c"profiler", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&memfd, len)?;
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(File::from(memfd))
}
