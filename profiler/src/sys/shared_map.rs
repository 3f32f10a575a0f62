//! An eBPF array map as memory of this process: what is written there the kernel's programs see at once, without a system call.

#![expect(unsafe_code, reason = "mmap, and shared memory as a slice, have no safe wrapper")]

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Elements of an array map that was made with `BPF_F_MMAPABLE`.
///
/// Eight bytes, or a multiple, an element: the kernel rounds up to that. The kernel's programs read while we write; each element
/// is to be complete before anything leads them to it.
#[derive(Debug)]
pub struct SharedArray<T> {
    base: NonNull<T>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, `T` is plain data.
unsafe impl<T: aya::Pod> Send for SharedArray<T> {}

impl<T: aya::Pod> SharedArray<T> {
    /// Maps a whole map of `len` elements.
    ///
    /// # Errors
    /// The map was not made for it, or there is no address space left.
    pub fn map(map: impl AsFd, len: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8) && size_of::<T>() > 0) };
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                len * size_of::<T>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                map.as_fd(),
                0,
            )?
        };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, len })
    }

    /// Writes an element; says whether there is such a one.
    pub fn set(&mut self, at: usize, value: T) -> bool {
        if at >= self.len {
            return false;
        }
        // SAFETY: inside the mapping. Volatile: somebody else reads it.
        unsafe { self.base.add(at).write_volatile(value) };
        true
    }

    /// An element. The kernel's programs only read, so that it stays as it is while nobody here writes.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&T> {
        // SAFETY: inside the mapping; any bytes are a `T`; writing needs `&mut self`.
        (at < self.len).then(|| unsafe { self.base.add(at).as_ref() })
    }
}

impl<T> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, unmapped once.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len * size_of::<T>()) };
    }
}
