//! How the allocator deals with the kernel.
//!
//! glibc keeps what is freed, which a storm of processes or a question that needs tens of MiB turns into tens of MiB for ever; what goes
//! back at once costs a page fault for every 4 KiB at the next question, which was half of what it took. So freed memory is kept, and
//! given back from time to time: [`give_back`]. Why so: `docs/decisions/0080-memory-comes-back.md`.
//!
//! Other C libraries (musl) give memory back by themselves; there these functions do nothing.

#![expect(unsafe_code, reason = "mallopt and malloc_trim have no safe wrapper")]

/// Blocks from this size on are mapped by themselves: the most that glibc takes, half of an arena's heap. Said once, it stays.
const MAPPED_BYTES: libc::c_int = 32 << 20;

/// Free memory at an arena's end from which on it goes back at once. What the usual question takes stays until [`give_back`]; what the
/// largest takes (192 MiB of sums alone) does not.
const KEPT_BYTES: libc::c_int = 128 << 20;

/// Arenas of the whole process; by default eight for each CPU. Two threads rarely allocate at the same time here.
const ARENAS: libc::c_int = 2;

/// Sets limits for the whole process. To be called once, before threads start: `mallopt` is not safe beside them (`man 3 mallopt`).
pub fn configure() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes numbers; no other thread runs yet.
    unsafe {
        // They fail only for numbers that glibc does not know; then memory is kept longer, or costs more page faults.
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Gives freed memory back to the kernel, from the middle of the arenas too. Takes a millisecond or a few.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only touches free memory, under the allocator's own locks (MT-Safe, `man 3 malloc_trim`).
    unsafe {
        libc::malloc_trim(0);
    }
}
