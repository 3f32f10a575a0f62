//! System calls that a sandbox must refuse, made only to see that it does.

#![expect(unsafe_code, reason = "system calls without a safe wrapper")]

use std::io;

/// `ptrace`: attaches to the parent. Undone at once should it succeed.
///
/// # Errors
/// As it should: refused.
pub fn trace_parent() -> io::Result<()> {
    // SAFETY: PTRACE_SEIZE and PTRACE_DETACH take numbers only, and do not stop the parent.
    unsafe {
        let parent = libc::getppid();
        check(libc::ptrace(libc::PTRACE_SEIZE, parent, 0, 0))?;
        check(libc::ptrace(libc::PTRACE_DETACH, parent, 0, 0))
    }
}

/// `bpf`: makes an array of one entry.
///
/// # Errors
/// As it should: refused.
pub fn create_bpf_map() -> io::Result<()> {
    const BPF_MAP_CREATE: libc::c_long = 0;
    // The beginning of `union bpf_attr`: an array (type 2), key 4 bytes, value 4 bytes, one entry.
    let attributes: [u32; 4] = [2, 4, 4, 1];
    // SAFETY: the kernel reads as many bytes as the size says, and all of them are there.
    close(unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, attributes.as_ptr(), size_of_val(&attributes)) })
}

/// `perf_event_open`: a software event of this process, in user mode, which everybody may count.
///
/// # Errors
/// As it should: refused.
pub fn open_perf_event() -> io::Result<()> {
    // The beginning of `struct perf_event_attr`: type 1 (software) and its size, 64 (version 0); config 0 (CPU clock); of the
    // flags, at byte 40, exclude_kernel (bit 5) and exclude_hv (bit 6).
    let mut attributes = [0_u64; 8];
    attributes[0] = 1 | 64 << 32;
    attributes[5] = 1 << 5 | 1 << 6;
    // SAFETY: the kernel reads the 64 bytes that the size within says, and all of them are there.
    close(unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0) })
}

/// `mmap`: a page that may be executed. Nothing is written into it.
///
/// # Errors
/// As it should: refused.
pub fn map_code() -> io::Result<()> {
    const PAGE: usize = 4096;
    // SAFETY: a new mapping where the kernel likes, unmapped again before anybody knows of it.
    unsafe {
        let (code, private) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let page = libc::mmap(std::ptr::null_mut(), PAGE, code, private, -1, 0);
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        check(libc::munmap(page, PAGE).into())
    }
}

/// `unshare`: a user namespace, in which a process is root.
///
/// # Errors
/// As it should: refused.
pub fn unshare_user() -> io::Result<()> {
    // SAFETY: takes a number only.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into())
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn close(descriptor: libc::c_long) -> io::Result<()> {
    check(descriptor)?;
    // SAFETY: just opened, and nobody else knows of it.
    check(unsafe { libc::close(descriptor as libc::c_int) }.into())
}
