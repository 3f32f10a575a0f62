//! A child process that waits before its `exec` until it is told to go, so that sampling sees its first instruction.

#![expect(unsafe_code, reason = "CommandExt::pre_exec runs code between fork and exec")]

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::thread::JoinHandle;

/// A child that has forked and not yet executed its program.
#[derive(Debug)]
pub struct HeldChild {
    pid: u32,
    go: io::PipeWriter,
    spawning: JoinHandle<io::Result<Child>>,
}

impl HeldChild {
    /// Forks; the child waits.
    ///
    /// # Errors
    /// No process or descriptor to be had.
    pub fn fork(mut command: Command) -> io::Result<Self> {
        let (mut told_pid, mut tell_pid) = io::pipe()?;
        let (mut told_go, go) = io::pipe()?;
        let held_end = go.as_raw_fd();
        // SAFETY: between fork and exec only async-signal-safe calls: getpid, write, close, read; no allocation.
        unsafe {
            command.pre_exec(move || {
                // The child's copy of the writing end must go, or it would wait for itself when the parent dies.
                libc::close(held_end);
                tell_pid.write_all(&libc::getpid().to_ne_bytes())?;
                match told_go.read(&mut [0])? {
                    1 => Ok(()),
                    _ => Err(io::ErrorKind::Interrupted.into()),
                }
            });
        }
        // `spawn` returns only after the exec, so it waits in a thread of its own.
        let spawning = std::thread::spawn(move || command.spawn());
        let mut pid = [0; 4];
        if let Err(error) = told_pid.read_exact(&mut pid) {
            // The fork itself failed: its error says more.
            return Err(match spawning.join() {
                Ok(Err(spawn_error)) => spawn_error,
                _ => error,
            });
        }
        Ok(Self { pid: u32::from_ne_bytes(pid), go, spawning })
    }

    /// The child's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it execute its program.
    ///
    /// # Errors
    /// The program cannot be executed (`NotFound`, `PermissionDenied`).
    pub fn release(mut self) -> io::Result<Child> {
        self.go.write_all(&[1])?;
        match self.spawning.join() {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("the thread that spawns the command panicked")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// The pid is known while the program has not begun, and the exit code is the program's.
    #[test]
    fn a_held_child_runs_only_when_released() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 7"]);
        let held = HeldChild::fork(command).unwrap();
        let exe = std::fs::read_link(format!("/proc/{}/exe", held.pid())).unwrap();
        assert_eq!(exe, std::env::current_exe().unwrap(), "still our own image before the release");
        assert_eq!(held.release().unwrap().wait().unwrap().code(), Some(7));
    }

    /// The error of the exec reaches the caller.
    #[test]
    fn a_command_that_does_not_exist_is_not_found() {
        let held = HeldChild::fork(Command::new("/nonexistent/program")).unwrap();
        assert_eq!(held.release().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
