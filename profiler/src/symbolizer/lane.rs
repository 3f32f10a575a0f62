//! One child at a time for one sort of question, and what is remembered of the files that harmed it.
//!
//! A child may be taken over by a file that it parsed, and say anything from then on. So the files of different users are parsed
//! by different children: only root's files, which everybody trusts anyway, share a child with one user's.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, StatxFlags};

use super::child::{WorkerChild, WorkerCommand};
use super::wire::{Kind, Reply};

/// Most files remembered as having harmed a child.
const MAX_SET_ASIDE: usize = 4096;

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
    /// It died, hung, or did not answer in our language.
    #[error("the symbolizer's child failed: {0}")]
    Failed(#[source] io::Error),
}

/// Starts children as they are needed, one at a time.
#[derive(Debug)]
pub(super) struct Lane {
    pub command: WorkerCommand,
    pub child: Option<WorkerChild>,
    /// The one user other than root whose files the child has parsed.
    owner: Option<u32>,
    set_aside: HashMap<FileContent, Trust>,
}

impl Lane {
    /// No child yet.
    pub fn new(command: WorkerCommand) -> Self {
        Self { command, child: None, owner: None, set_aside: HashMap::new() }
    }

    /// What is known against a file.
    pub fn distrust(&self, content: &FileContent) -> Option<Trust> {
        self.set_aside.get(content).copied()
    }

    /// Sets a file aside.
    pub fn blame(&mut self, content: FileContent, trust: Trust) {
        if self.set_aside.len() >= MAX_SET_ASIDE {
            self.set_aside.clear();
        }
        self.set_aside.insert(content, trust);
    }

    /// Lets an idle child go, and its memory with it.
    pub fn let_go(&mut self) {
        self.child = None;
    }

    /// How long a question may take.
    pub fn patience(&self, deadline: Option<Instant>) -> Duration {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map_or(self.command.patience, |left| left.min(self.command.patience))
    }

    /// Asks a child that has parsed no other user's files.
    pub fn ask(
        &mut self,
        kind: Kind,
        content: Option<&FileContent>,
        files: &[BorrowedFd<'_>],
        offsets: &[u64],
        patience: Duration,
    ) -> Result<Reply, LaneError> {
        let answer = self.child_for(content)?.ask(kind, files, offsets, patience);
        let answer = answer.inspect_err(|_| self.child = None).map_err(LaneError::Failed)?;
        if answer.leaving {
            self.child = None;
        }
        Ok(answer.reply)
    }

    fn child_for(&mut self, content: Option<&FileContent>) -> Result<&mut WorkerChild, LaneError> {
        let owner = content.map(|content| content.owner).filter(|owner| *owner != 0);
        // One that ended between two questions (it is the first to go when memory runs out) is no file's doing.
        let foreign = self.owner.is_some() && self.owner != owner;
        self.child.take_if(|child| foreign || !child.is_alive());
        let child = match self.child.take() {
            Some(child) => child,
            None => {
                self.owner = None;
                WorkerChild::spawn(&self.command).map_err(LaneError::NoChild)?
            }
        };
        self.owner = self.owner.or(owner);
        Ok(self.child.insert(child))
    }

    #[cfg(test)]
    pub fn set_aside(&self) -> usize {
        self.set_aside.len()
    }
}
