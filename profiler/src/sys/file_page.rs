//! A page of a file mapped into this process, to see what the kernel calls that file. It is never read.

#![expect(unsafe_code, reason = "mmap has no safe wrapper")]

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes that are mapped; the kernel rounds up to its pages.
const LEN: usize = 4096;

/// The first page of a file.
#[derive(Debug)]
pub struct FilePage(*mut c_void);

impl FilePage {
    /// Maps it.
    ///
    /// # Errors
    /// The file cannot be mapped.
    pub fn map(file: impl AsFd) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice, to which nobody gets a pointer.
        Ok(Self(unsafe { mmap(std::ptr::null_mut(), LEN, ProtFlags::READ, MapFlags::PRIVATE, file.as_fd(), 0)? }))
    }

    /// Where it lies.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.0.addr() as u64
    }
}

impl Drop for FilePage {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, unmapped once.
        let _ = unsafe { munmap(self.0, LEN) };
    }
}
