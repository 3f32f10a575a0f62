//! The parent's end of a symbolizer child: start it, ask it, and be rid of it.

use std::ffi::OsString;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::child_user::ChildUser;
use super::failure::{Failure, Watch};
use super::sandbox::{Confinement, Layer};
use super::wire::{Answer, Kind, MAX_FILES, MAX_FRAME, Question, Reply};
use crate::profile::NameSources;

/// A killed child is waited for this long; then a thread of its own does.
const REAP: Duration = Duration::from_millis(200);

/// 57 MB of debug information take 0.3 s of processor time; the child's own limit is about the same.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a child that does not answer yet is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The variable that tells a child which user to become.
pub(super) const USER: &str = "PROFILER_CHILD_USER";
/// The variable that tells a child not to give way to other processes.
pub(super) const URGENT: &str = "PROFILER_CHILD_URGENT";

/// How to start the child: a program that calls [`super::worker_main`].
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// A question that takes so much processor time, or waits so long without using any, has hung the child, which is then
    /// killed. Wall time is no measure: a host may be busy.
    pub patience: Duration,
    /// What names may come from.
    pub sources: NameSources,
    /// Samples wait for its answers: it does not give way to other processes.
    pub is_urgent: bool,
}

impl Default for WorkerCommand {
    /// This very program, even when its file was replaced meanwhile, with its hidden subcommand `symbolizer-worker`.
    fn default() -> Self {
        Self {
            program: "/proc/self/exe".into(),
            args: vec!["symbolizer-worker".into()],
            patience: PATIENCE,
            sources: NameSources::ALL,
            is_urgent: false,
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
    patience: Duration,
}

impl WorkerChild {
    /// Starts one. It inherits nothing but its end of the socket: no environment but the user that it becomes and its urgency, no other
    /// descriptors; what it prints is dropped, as it may quote a hostile file.
    pub fn spawn(command: &WorkerCommand) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_read_timeout(Some(LOOK))?;
        socket.set_write_timeout(Some(LOOK))?;
        let user = ChildUser::draw();
        let child = Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .envs(user.iter().map(|user| (USER, user.id().to_string())))
            .envs(command.is_urgent.then_some((URGENT, "1")))
            .current_dir("/")
            // A Ctrl-C is meant for us: the last names are still wanted.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let unknown = Confinement { user: None, landlock: Layer::None, seccomp: false };
        let (sources, patience) = (command.sources, command.patience);
        let mut started =
            Self { child: Some(child), socket, questions: 0, confinement: unknown, _user: user, sources, patience };
        let mut watch = Watch::new(started.pid(), patience, None);
        match started.receive(&mut watch).map_err(io::Error::other)? {
            Answer { id: 0, leaving: false, reply: Reply::Hello(confinement) } => started.confinement = confinement,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(started)
    }

    /// Asks a question, waiting for the answer until the child has used up its time. Names come for the first of the offsets at
    /// least, and for all unless they are long. After any failure this child is of no more use.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn ask(
        &mut self,
        kind: Kind,
        files: &[BorrowedFd<'_>],
        offsets: &[u64],
        deadline: Option<Instant>,
    ) -> Result<Answer, Failure> {
        let mut watch = Watch::new(self.pid(), self.patience, deadline);
        self.questions = self.questions.wrapping_add(1).max(1);
        let question = Question { id: self.questions, kind, sources: self.sources, offsets: offsets.to_vec() };
        self.send(&question.encode(), files, &mut watch)?;
        let answer = self.receive(&mut watch)?;
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
        if answer.id == question.id && fits { Ok(answer) } else { Err(Failure::nonsense()) }
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

    fn receive(&mut self, watch: &mut Watch) -> Result<Answer, Failure> {
        let mut len = [0; 4];
        self.read(&mut len, watch)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > MAX_FRAME {
            return Err(Failure::nonsense());
        }
        let mut body = vec![0; len];
        self.read(&mut body, watch)?;
        Answer::decode(&body).ok_or_else(Failure::nonsense)
    }

    fn send(&mut self, mut body: &[u8], files: &[BorrowedFd<'_>], watch: &mut Watch) -> Result<(), Failure> {
        let len = (body.len() as u32).to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(Failure::Killed("its question has too many files".into()));
        }
        // Four bytes always fit into an empty socket; the descriptors go with them.
        let sent = rustix::net::sendmsg(&self.socket, &[IoSlice::new(&len)], &mut control, SendFlags::NOSIGNAL);
        sent.map_err(|error| self.ended(watch, &error.into()))?;
        while !body.is_empty() {
            match rustix::net::send(&self.socket, body, SendFlags::NOSIGNAL) {
                Ok(n) => body = &body[n..],
                Err(error) => self.wait_on(watch, &error.into())?,
            }
        }
        Ok(())
    }

    fn read(&mut self, mut buffer: &mut [u8], watch: &mut Watch) -> Result<(), Failure> {
        while !buffer.is_empty() {
            match self.socket.read(buffer) {
                Ok(0) => return Err(self.ended(watch, &io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => buffer = &mut buffer[n..],
                Err(error) => self.wait_on(watch, &error)?,
            }
        }
        Ok(())
    }

    /// Nothing was read or written: is there a reason to go on?
    fn wait_on(&mut self, watch: &mut Watch, error: &io::Error) -> Result<(), Failure> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => watch.look(),
            _ => Err(self.ended(watch, error)),
        }
    }

    /// Why it has closed its socket.
    fn ended(&mut self, watch: &Watch, error: &io::Error) -> Failure {
        let deadline = Instant::now() + REAP;
        loop {
            // Before it is reaped: afterwards its figures are gone.
            let used_up = watch.is_used_up();
            match self.child.as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => return Failure::of_end(status, used_up),
                Some(Ok(None)) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                // Killed and not dead yet, perhaps, on a host that is busy.
                _ => return Failure::Killed(format!("it closed its socket: {error}")),
            }
        }
    }
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
