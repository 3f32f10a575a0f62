//! Is the sandbox real? The child tries what it must not be able to do, and says what became of it.

use std::fs::File;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::Pid;
use rustix::thread::Uid;

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
            Self::BecomeRoot => rustix::thread::set_thread_uid(Uid::ROOT).map_err(Into::into),
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

/// The user that owns nothing, and the kernel's overflow id.
const NOBODY: u32 = 65534;

/// Who can signal the first child. Where both run as the profiler's own user, that user can, as is right.
fn exposures(child: &WorkerChild, other: &WorkerChild) -> Vec<Exposure> {
    let (Some(_), Some(pid)) = (child.confinement().user, child.pid()) else { return Vec::new() };
    let by_nobody = user_can_signal(NOBODY, pid).then_some(Exposure::Nobody);
    let theirs = other.confinement().user;
    let by_other = theirs.is_none_or(|theirs| user_can_signal(theirs, pid)).then_some(Exposure::OtherChild);
    by_nobody.into_iter().chain(by_other).collect()
}

/// Whether a process of a user can signal another one, as a thread of ours that becomes this user finds out; `false` where we may not
/// change users.
fn user_can_signal(user: u32, pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let as_user = move || {
        // Of this thread only: the C library would change them all.
        let user = Uid::from_raw(user);
        rustix::thread::set_thread_res_uid(user, user, user).is_ok() && rustix::process::test_kill_process(pid).is_ok()
    };
    std::thread::spawn(as_user).join().unwrap_or(true)
}

/// The child's side: what succeeded.
pub(super) fn try_everything() -> Vec<Attempt> {
    Attempt::ALL.into_iter().filter(|attempt| attempt.succeeds()).collect()
}

/// What must not be able to signal a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// A process of the user `nobody`, whom many services and containers share.
    Nobody,
    /// Another child, taken over by its file.
    OtherChild,
}

/// What the self-test found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// The layers in force, as the child says.
    pub confinement: Confinement,
    /// Attempts that succeeded although they must not.
    pub escaped: Vec<Attempt>,
    /// Processes that can signal a child although they must not.
    pub exposed_to: Vec<Exposure>,
}

impl SelfTest {
    /// Starts a child and lets it try everything; tries to signal it as others would.
    ///
    /// # Errors
    /// It cannot be started or does not answer.
    pub fn run(command: &WorkerCommand) -> io::Result<Self> {
        let mut child = WorkerChild::spawn(command)?;
        let confinement = child.confinement();
        let exposed_to = exposures(&child, &WorkerChild::spawn(command)?);
        match child.ask(Kind::SelfTest, &[], &[], None).map_err(io::Error::other)?.reply {
            Reply::Escaped(escaped) => Ok(Self { confinement, escaped, exposed_to }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Attempts that a kernel without Landlock lets through, where the user is all that keeps files apart.
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
        let user = found.confinement.user;
        assert_eq!(found.confinement, Confinement { user, landlock: Layer::Full, seccomp: true });
        assert_eq!((user.is_some(), found.exposed_to.is_empty()), (root, true), "{found:?}");
        assert_ne!(user, Some(NOBODY));
    }

    /// Nobody's processes reach what runs as nobody: the test of it can fail. (Needs root, as does changing users.)
    #[test]
    fn what_runs_as_nobody_can_be_signalled_by_nobody() {
        use std::os::unix::process::CommandExt as _;

        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mut sleeper = Command::new("sleep").arg("100").uid(NOBODY).gid(NOBODY).spawn().unwrap();
        assert!(user_can_signal(NOBODY, sleeper.id()));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
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
