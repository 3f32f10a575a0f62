//! Is the sandbox real? The child tries what it must not be able to do, and says what became of it.

use std::fs::File;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;

use super::sandbox::{Confinement, Layer};
use super::wire::{Kind, Reply};
use super::{child::WorkerChild, child::WorkerCommand};
use crate::sys::attempt;

/// What the child tries. The numbers go over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Attempt {
    /// A file that everybody may read.
    ReadFile = 1,
    /// Its own memory map, as every process may.
    ReadProc = 2,
    /// A file in `/tmp`, as everybody may.
    CreateFile = 3,
    /// A TCP port.
    Listen = 4,
    /// A datagram socket.
    Datagram = 5,
    /// A socket pair.
    UnixSocket = 6,
    /// Another program.
    Execute = 7,
    /// Another thread.
    Thread = 8,
    /// Its parent's memory.
    Trace = 9,
    /// A signal to its parent.
    Signal = 10,
    /// An eBPF map.
    Bpf = 11,
    /// A perf event on itself, as every process may.
    PerfEvent = 12,
    /// Being root again.
    BecomeRoot = 13,
    /// Executable memory.
    MapCode = 14,
    /// More memory to share.
    Memfd = 15,
    /// A namespace of its own.
    Unshare = 16,
}

impl Attempt {
    /// Every attempt.
    pub const ALL: [Self; 16] = [
        Self::ReadFile,
        Self::ReadProc,
        Self::CreateFile,
        Self::Listen,
        Self::Datagram,
        Self::UnixSocket,
        Self::Execute,
        Self::Thread,
        Self::Trace,
        Self::Signal,
        Self::Bpf,
        Self::PerfEvent,
        Self::BecomeRoot,
        Self::MapCode,
        Self::Memfd,
        Self::Unshare,
    ];

    /// Tries it, in the child.
    fn succeeds(self) -> bool {
        let done: io::Result<()> = match self {
            Self::ReadFile => File::open("/etc/passwd").map(drop),
            Self::ReadProc => File::open("/proc/self/maps").map(drop),
            Self::CreateFile => tempfile_in("/tmp"),
            Self::Listen => TcpListener::bind(("127.0.0.1", 0)).map(drop),
            Self::Datagram => UdpSocket::bind(("127.0.0.1", 0)).map(drop),
            Self::UnixSocket => UnixStream::pair().map(drop),
            Self::Execute => Command::new("/bin/true").status().map(drop),
            Self::Thread => std::thread::Builder::new().spawn(|| {}).map(drop),
            Self::Trace => attempt::trace_parent(),
            Self::Signal => signal_parent(),
            Self::Bpf => attempt::create_bpf_map(),
            Self::PerfEvent => attempt::open_perf_event(),
            Self::BecomeRoot => rustix::thread::set_thread_uid(rustix::thread::Uid::ROOT).map_err(Into::into),
            Self::MapCode => attempt::map_code(),
            Self::Memfd => {
                rustix::fs::memfd_create(c"x", rustix::fs::MemfdFlags::CLOEXEC).map(drop).map_err(Into::into)
            }
            Self::Unshare => attempt::unshare_user(),
        };
        done.is_ok()
    }
}

fn tempfile_in(folder: &str) -> io::Result<()> {
    let path = format!("{folder}/profiler-self-test-{}", std::process::id());
    let created = File::options().write(true).create_new(true).open(&path).map(drop);
    let _ = std::fs::remove_file(&path);
    created
}

fn signal_parent() -> io::Result<()> {
    let parent = rustix::process::getppid().ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::test_kill_process(parent)?)
}

/// The child's side: what succeeded.
pub(super) fn try_everything() -> Vec<Attempt> {
    Attempt::ALL.into_iter().filter(|attempt| attempt.succeeds()).collect()
}

/// What the self-test found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// The layers in force, as the child says.
    pub confinement: Confinement,
    /// Attempts that succeeded although they must not.
    pub escaped: Vec<Attempt>,
}

impl SelfTest {
    /// Starts a child and lets it try everything.
    ///
    /// # Errors
    /// It cannot be started or does not answer.
    pub fn run(command: &WorkerCommand) -> io::Result<Self> {
        let mut child = WorkerChild::spawn(command)?;
        let confinement = child.confinement();
        match child.ask(Kind::SelfTest, &[], &[], command.patience)?.reply {
            Reply::Escaped(escaped) => Ok(Self { confinement, escaped }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Attempts that a kernel without Landlock lets through, where being nobody is all that keeps files apart.
    #[must_use]
    pub fn explained_by_missing_landlock(&self) -> bool {
        let files = [Attempt::ReadFile, Attempt::ReadProc];
        self.confinement.landlock == Layer::None && self.escaped.iter().all(|attempt| files.contains(attempt))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::worker::tests::real_child;
    use super::*;

    /// On this kernel (Landlock and seccomp are there, we are root) every layer is in force and every attempt fails.
    #[test]
    fn nothing_escapes() {
        let found = SelfTest::run(&real_child()).unwrap();
        assert_eq!(found.escaped, []);
        let root = rustix::process::geteuid().is_root();
        assert_eq!(found.confinement, Confinement { nobody: root, landlock: Layer::Full, seccomp: true });
    }

    /// The attempts are real: here, outside the sandbox, where they are allowed, they succeed.
    #[test]
    fn the_attempts_can_succeed() {
        let harmless = [
            Attempt::ReadFile,
            Attempt::ReadProc,
            Attempt::CreateFile,
            Attempt::Listen,
            Attempt::Datagram,
            Attempt::UnixSocket,
            Attempt::Execute,
            Attempt::Thread,
            Attempt::Signal,
            Attempt::MapCode,
            Attempt::Memfd,
        ];
        let failed: Vec<_> = harmless.into_iter().filter(|attempt| !attempt.succeeds()).collect();
        assert_eq!(failed, []);
        if rustix::process::geteuid().is_root() {
            assert!(Attempt::Bpf.succeeds() && Attempt::PerfEvent.succeeds());
        }
    }
}
