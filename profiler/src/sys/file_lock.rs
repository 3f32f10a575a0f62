//! A shared lock that lasts as long as its descriptor, whatever else the process opens and closes.
//!
//! POSIX locks belong to the process and end when it closes any descriptor of the file. Open-file-description locks
//! (`F_OFD_SETLK`, `man 2 fcntl`, Linux 3.15) belong to the descriptor; both kinds keep each other out.

#![expect(unsafe_code, reason = "rustix locks whole files, and by POSIX locks only")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// A range of bytes of a file, shared with whoever shares it: nobody gets it for themselves meanwhile.
#[derive(Debug)]
pub struct SharedRange {
    file: File,
    start: i64,
    length: i64,
}

impl SharedRange {
    /// Locks a range of `file`, which is open for reading. Does not wait.
    ///
    /// # Errors
    /// Somebody has it for themselves, or the file system has no such locks.
    pub fn lock(file: File, start: i64, length: i64) -> io::Result<Self> {
        let range = Self { file, start, length };
        range.set(libc::F_RDLCK)?;
        Ok(range)
    }

    /// Lets go of the range; the file stays open.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn unlock(&self) -> io::Result<()> {
        self.set(libc::F_UNLCK)
    }

    fn set(&self, kind: libc::c_int) -> io::Result<()> {
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: self.start,
            l_len: self.length,
            // The kernel refuses anything else.
            l_pid: 0,
        };
        // SAFETY: the descriptor is open, and the kernel only reads the structure during the call.
        match unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}
