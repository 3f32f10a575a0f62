//! How the allocator deals with the kernel: glibc keeps what is freed, an arena for each thread, which a question that
//! needs tens of MiB for half a second turns into tens of MiB for ever.
//!
//! But what is given back costs a page fault for every 4 KiB at the next question, which was half of what it took: so freed memory
//! is kept while questions are asked, and given back when nobody has asked for some seconds.
//!
//! Other C libraries (musl) give memory back by themselves; there these functions do nothing.

#![expect(unsafe_code, reason = "mallopt and malloc_trim have no safe wrapper")]

/// Blocks from this size on are mapped by themselves, so that freeing one gives it back. Said once, the size stays: glibc
/// would raise it to that of the largest block freed, up to 32 MiB (`man 3 mallopt`).
const MAPPED_BYTES: libc::c_int = 256 << 10;

/// The same while questions are asked: the most that glibc takes, half of an arena's heap.
const MAPPED_BYTES_BUSY: libc::c_int = 32 << 20;

/// While questions are asked: free memory at an arena's end from which on it goes back. What the usual question
/// takes stays; what the largest takes (192 MiB of sums alone) does not.
const KEPT_BYTES_BUSY: libc::c_int = 128 << 20;

/// The same at other times: glibc's own.
const KEPT_BYTES: libc::c_int = 128 << 10;

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

/// For a time of much work that needs the same memory again and again: what is freed is kept until [`give_back`].
pub fn keep_much() {
    #[cfg(target_env = "gnu")]
    // SAFETY: as above. What was allocated under another threshold is freed as it was allocated.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_BUSY);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES_BUSY);
    }
}

/// Gives freed memory back to the kernel, and what will be freed. Takes a millisecond or a few.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: as above; malloc_trim only touches free memory, under the allocator's own locks.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
        libc::malloc_trim(0);
    }
}
