//! One child at a time for one sort of question, and what is remembered of the files that harmed it.
//!
//! A child may be taken over by a file that it parsed, and say anything from then on. So the files of different users are parsed
//! by different children: only root's files, which everybody trusts anyway, share a child with one user's.
//!
//! Only a file whose child failed by its own fault (`failure.rs`) is set aside (`set_aside.rs`). Children that something else ends are
//! replaced, the first at once, more of them in a row after growing pauses, and the question is asked again.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, StatxFlags};

use super::child::{WorkerChild, WorkerCommand};
use super::child_counts::{self, LaneState, Restart};
use super::failure::Failure;
use super::set_aside::SetAside;
use super::wire::{Kind, Reply};

/// What a file has done to its child: what may still be asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Its symbol tables; parsing its debug information ended the child.
    SymbolsOnly,
    /// Nothing.
    Nothing,
}

/// A file's content: when it changes, it is another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileContent {
    dev: u64,
    inode: u64,
    len: u64,
    mtime: (i64, u32),
    /// Whose it is. A file that is given away is parsed by another child.
    owner: u32,
}

impl FileContent {
    /// What the kernel knows without asking the file system, which may be a dead one or somebody's own.
    pub fn of(file: &File) -> Option<Self> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(file, "", flags, StatxFlags::BASIC_STATS).ok()?;
        let dev = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        let mtime = (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec);
        Some(Self { dev, inode: stat.stx_ino, len: stat.stx_size, mtime, owner: stat.stx_uid })
    }

    /// One that is in no file system.
    #[cfg(test)]
    pub fn made(owner: u32, inode: u64) -> Self {
        Self { dev: 1, inode, len: 1, mtime: (0, 0), owner }
    }

    /// The same, as a file that a user has who was found out to own it ([`Owner::user`]): the file system may claim any.
    pub fn owned_by(self, user: Option<u32>) -> Self {
        Self { owner: user.unwrap_or(self.owner), ..self }
    }

    /// Its owner.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.len
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaneError {
    /// None could be started: no file's doing.
    #[error("failed to start the symbolizer's child: {0}")]
    NoChild(#[source] io::Error),
    /// It failed on the file that the question was about, or the file did not answer: noted in [`SetAside`].
    #[error("the symbolizer's child failed: {0}")]
    Failed(#[source] Failure),
    /// Something else ended it: no file's doing. Worth another try, at once if [`Lane::is_ready`].
    #[error("the symbolizer's child was interrupted: {0}")]
    Interrupted(#[source] Failure),
    /// Children were ended again and again: none is started for a while.
    #[error("the symbolizer's children keep being ended")]
    Pause,
}

/// Starts children as they are needed, one at a time.
#[derive(Debug)]
pub(super) struct Lane {
    pub command: WorkerCommand,
    pub child: Option<WorkerChild>,
    /// The one user other than root whose files the child has parsed.
    owner: Option<u32>,
    /// Which files it has parsed.
    parsed: Parsed,
    files: SetAside,
    /// Children ended one after the other by no fault of theirs.
    interrupted: usize,
    /// None is started before.
    not_before: Option<Instant>,
    state: LaneState,
}

/// What a child has parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parsed {
    Nothing,
    Only(FileContent),
    Several,
}

/// After the first interruption another child is started at once, after more of them in a row so many seconds later.
const PAUSES: [u64; 6] = [0, 1, 2, 4, 8, 15];

impl Lane {
    /// No child yet.
    pub fn new(command: WorkerCommand) -> Self {
        Self {
            command,
            child: None,
            owner: None,
            parsed: Parsed::Nothing,
            files: SetAside::default(),
            interrupted: 0,
            not_before: None,
            state: LaneState::default(),
        }
    }

    /// What is known against a file; `None` also when it is time to try it again.
    pub fn distrust(&self, content: &FileContent) -> Option<Trust> {
        self.files.trust(content, Instant::now())
    }

    /// When a file that is set aside is tried again.
    pub fn set_aside_until(&self, content: &FileContent) -> Option<Instant> {
        self.files.until(content, Instant::now())
    }

    /// When a child is started again, while none is.
    pub fn not_before(&self) -> Option<Instant> {
        self.not_before.filter(|at| *at > Instant::now())
    }

    /// Whether a child may be asked now.
    pub fn is_ready(&self) -> bool {
        self.not_before().is_none()
    }

    /// Lets an idle child go, and its memory with it.
    pub fn let_go(&mut self) {
        self.child = None;
    }

    /// Asks a child that has parsed no other user's files. A failure is charged to the file, or to nobody.
    pub fn ask(
        &mut self,
        kind: Kind,
        content: Option<&FileContent>,
        files: &[BorrowedFd<'_>],
        offsets: &[u64],
        deadline: Option<Instant>,
    ) -> Result<Reply, LaneError> {
        if !self.is_ready() {
            return Err(LaneError::Pause);
        }
        let now = Instant::now();
        if content.is_some_and(|content| self.files.is_retry(content, now)) {
            child_counts::retried();
        }
        let child = match self.child_for(content) {
            Ok(child) => child,
            Err(error) => {
                child_counts::restarted(Restart::NotStarted);
                self.interrupt(&error);
                return Err(LaneError::NoChild(error));
            }
        };
        match child.ask(kind, files, offsets, deadline) {
            Ok(answer) => {
                if answer.leaving {
                    self.child = None;
                }
                self.interrupted = 0;
                self.state.held_up(None);
                if let Some(content) = content.filter(|_| kind.tries_all()) {
                    self.files.acquit(content, Instant::now());
                    self.count_files();
                }
                Ok(answer.reply)
            }
            Err(failure) => {
                self.child = None;
                failure.restart().into_iter().for_each(child_counts::restarted);
                match (&failure, content) {
                    (Failure::Fault(_), Some(content)) => {
                        self.charge(kind, *content, files, &failure);
                        Err(LaneError::Failed(failure))
                    }
                    (Failure::NoAnswer(_), Some(content)) => {
                        let pause = self.files.postpone(*content, Instant::now());
                        self.count_files();
                        let path = path_of(files);
                        tracing::warn!(%path, %failure, ?kind, ?pause, "a file does not answer; it is asked about again later");
                        Err(LaneError::Failed(failure))
                    }
                    (Failure::Late, _) => Err(LaneError::Interrupted(failure)),
                    (_, content) => {
                        // While children end whatever they are asked about, no file is to be suspected.
                        if let Some(content) = content.filter(|_| self.interrupted == 0)
                            && let Some(pause) = self.files.interrupted(*content, Instant::now())
                        {
                            self.count_files();
                            let path = path_of(files);
                            tracing::warn!(%path, %failure, ?kind, ?pause, "children end on this file alone; it is asked about again later");
                        }
                        self.interrupt(&failure);
                        Err(LaneError::Interrupted(failure))
                    }
                }
            }
        }
    }

    fn count_files(&mut self) {
        self.state.files(self.files.len(), self.files.postponed());
    }

    /// Charges a file with a failure of its child.
    fn charge(&mut self, kind: Kind, content: FileContent, files: &[BorrowedFd<'_>], failure: &Failure) {
        let alone = self.parsed == Parsed::Only(content);
        let first = if kind.has_less_to_ask() { Trust::SymbolsOnly } else { Trust::Nothing };
        let news = self.files.fault(content, alone, first, Instant::now());
        self.count_files();
        let path = path_of(files);
        match news {
            Some(pause) => {
                tracing::warn!(%path, %failure, ?kind, ?pause, "a file is set aside: the child that parsed it failed twice")
            }
            None => {
                tracing::info!(%path, %failure, ?kind, "the child that parsed a file failed; it is tried once more, alone")
            }
        }
    }

    /// A child has ended by no fault of its own, or could not be started: the next one may have to wait.
    fn interrupt(&mut self, why: &dyn std::fmt::Display) {
        let pause = Duration::from_secs(PAUSES[self.interrupted.min(PAUSES.len() - 1)]);
        self.interrupted += 1;
        tracing::info!(%why, ?pause, "a child was interrupted");
        if !pause.is_zero() {
            self.not_before = Some(Instant::now() + pause);
            self.state.held_up(Some(why.to_string()));
        }
    }

    fn child_for(&mut self, content: Option<&FileContent>) -> io::Result<&mut WorkerChild> {
        let owner = content.map(|content| content.owner).filter(|owner| *owner != 0);
        // One that ended between two questions is no file's doing.
        let foreign = self.owner.is_some() && self.owner != owner;
        // A fault counts fully when the child has parsed nothing else.
        let mixed = content.is_some_and(|content| {
            self.files.is_suspect(content) && ![Parsed::Nothing, Parsed::Only(*content)].contains(&self.parsed)
        });
        self.child.take_if(|child| foreign || mixed || !child.is_alive());
        let child = match self.child.take() {
            Some(child) => child,
            None => {
                (self.owner, self.parsed) = (None, Parsed::Nothing);
                WorkerChild::spawn(&self.command)?
            }
        };
        self.owner = self.owner.or(owner);
        if let Some(content) = content {
            let same = [Parsed::Nothing, Parsed::Only(*content)].contains(&self.parsed);
            self.parsed = if same { Parsed::Only(*content) } else { Parsed::Several };
        }
        Ok(self.child.insert(child))
    }

    /// Files that are set aside, and that are postponed.
    #[cfg(test)]
    pub fn files(&self) -> (usize, usize) {
        (self.files.len(), self.files.postponed())
    }

    /// Files are tried again after this long.
    #[cfg(test)]
    pub fn shorten_pauses(&mut self, pause: Duration) {
        self.files.pauses = [pause; 3];
    }

    /// Two faults, as if there had been.
    #[cfg(test)]
    pub fn blame(&mut self, content: FileContent, trust: Trust) {
        for _ in 0..2 {
            self.files.fault(content, true, trust, Instant::now());
        }
    }
}

/// Where the file that a question is about lies, for the log.
fn path_of(files: &[BorrowedFd<'_>]) -> String {
    let path = files.first().and_then(|file| std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok());
    path.map(|path| path.display().to_string()).unwrap_or_default()
}
