//! The parent's end of a symbolizer child: start it, ask it, and be rid of it.

use std::ffi::OsString;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::child_user::ChildUser;
use super::sandbox::{Confinement, Layer};
use super::wire::{Answer, Kind, MAX_FILES, MAX_FRAME, Question, Reply};
use crate::profile::NameSources;

/// A killed child is waited for this long; then a thread of its own does.
const REAP: Duration = Duration::from_millis(200);

/// 57 MB of debug information take 0.3 s; the child's own limit on CPU time is about the same.
const PATIENCE: Duration = Duration::from_secs(10);

/// The variable that tells a child which user to become.
pub(super) const USER: &str = "PROFILER_CHILD_USER";

/// How to start the child: a program that calls [`super::worker_main`].
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// A question that takes longer has hung the child, which is then killed.
    pub patience: Duration,
    /// What names may come from.
    pub sources: NameSources,
}

impl Default for WorkerCommand {
    /// This very program, even when its file was replaced meanwhile, with its hidden subcommand `symbolizer-worker`.
    fn default() -> Self {
        Self {
            program: "/proc/self/exe".into(),
            args: vec!["symbolizer-worker".into()],
            patience: PATIENCE,
            sources: NameSources::ALL,
        }
    }
}

/// A running child.
#[derive(Debug)]
pub(super) struct WorkerChild {
    child: Option<Child>,
    socket: UnixStream,
    questions: u32,
    confinement: Confinement,
    /// No other child has it meanwhile.
    _user: Option<ChildUser>,
    sources: NameSources,
}

impl WorkerChild {
    /// Starts one. It inherits nothing but its end of the socket: no environment but the user that it becomes, no other
    /// descriptors; what it prints is dropped, as it may quote a hostile file.
    pub fn spawn(command: &WorkerCommand) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let user = ChildUser::draw();
        let child = Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .envs(user.iter().map(|user| (USER, user.id().to_string())))
            .current_dir("/")
            // A Ctrl-C is meant for us: the last names are still wanted.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let unknown = Confinement { user: None, landlock: Layer::None, seccomp: false };
        let sources = command.sources;
        let mut started = Self { child: Some(child), socket, questions: 0, confinement: unknown, _user: user, sources };
        match started.receive(Instant::now() + command.patience)? {
            Answer { id: 0, leaving: false, reply: Reply::Hello(confinement) } => started.confinement = confinement,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(started)
    }

    /// Asks a question, waiting for the answer until the time is up. Names come for the first of the offsets at least, and
    /// for all unless they are long. Any error means that this child is of no more use.
    ///
    /// # Errors
    /// It died, took too long, or did not answer in our language.
    pub fn ask(
        &mut self,
        kind: Kind,
        files: &[BorrowedFd<'_>],
        offsets: &[u64],
        patience: Duration,
    ) -> io::Result<Answer> {
        let deadline = Instant::now() + patience;
        self.questions = self.questions.wrapping_add(1).max(1);
        let question = Question { id: self.questions, kind, sources: self.sources, offsets: offsets.to_vec() };
        self.send(&question.encode(), files, deadline)?;
        let answer = self.receive(deadline)?;
        let fits = match &answer.reply {
            Reply::Names(results) => {
                kind.asks_for_names() && results.len() <= offsets.len() && (offsets.is_empty() || !results.is_empty())
            }
            Reply::Written(_) | Reply::Refused(_) => kind == Kind::UnwindRows,
            Reply::Escaped(_) => kind == Kind::SelfTest,
            Reply::Facts(_) => kind == Kind::Inspect,
            Reply::Code(_) => kind.asks_for_code(),
            Reply::Units(_) => kind == Kind::Units,
            Reply::Hello(_) => false,
        };
        if answer.id == question.id && fits { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// What it has given up.
    pub fn confinement(&self) -> Confinement {
        self.confinement
    }

    /// Whether it has not ended yet.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it as anyone might.
    #[cfg(test)]
    pub fn kill(&mut self) {
        self.child.iter_mut().for_each(|child| drop(child.kill()));
    }

    fn receive(&mut self, deadline: Instant) -> io::Result<Answer> {
        let mut len = [0; 4];
        self.read(&mut len, deadline)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > MAX_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; len];
        self.read(&mut body, deadline)?;
        Answer::decode(&body).ok_or(io::ErrorKind::InvalidData.into())
    }

    fn send(&mut self, body: &[u8], files: &[BorrowedFd<'_>], deadline: Instant) -> io::Result<()> {
        let len = (body.len() as u32).to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.socket.set_write_timeout(Some(left(deadline)?))?;
        // Four bytes always fit into an empty socket; the descriptors go with them.
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(&len)], &mut control, SendFlags::NOSIGNAL)?;
        self.socket.write_all(body)
    }

    fn read(&mut self, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
        while !buffer.is_empty() {
            self.socket.set_read_timeout(Some(left(deadline)?))?;
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => buffer = &mut buffer[n..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

impl Drop for WorkerChild {
    /// Kills it, whatever it is doing, and does not leave a zombie.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        let deadline = Instant::now() + REAP;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // Stuck in the kernel on a dead disk, perhaps: do not be stuck with it.
                std::thread::spawn(move || child.wait());
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
