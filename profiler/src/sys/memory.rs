//! How the allocator deals with the kernel: glibc keeps what is freed, an arena for each thread, which a question that
//! needs tens of MiB for half a second turns into tens of MiB for ever.
//!
//! Other C libraries (musl) give memory back by themselves; there both functions do nothing.

#![expect(unsafe_code, reason = "mallopt and malloc_trim have no safe wrapper")]

/// Blocks from this size on are mapped by themselves, so that freeing one gives it back. Said once, the size stays: glibc
/// would raise it to that of the largest block freed, up to 32 MiB (`man 3 mallopt`).
const MAPPED_BYTES: libc::c_int = 256 << 10;

/// Arenas of the whole process; by default eight for each CPU. Two threads rarely allocate at the same time here.
const ARENAS: libc::c_int = 2;

/// For the whole process, best before threads start: large blocks go back as they are freed, and few arenas.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes numbers and may be called at any time.
    unsafe {
        // They fail only for numbers that glibc does not know; then memory is kept longer.
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Gives freed memory back to the kernel. Takes a millisecond or a few.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only touches free memory, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
