//! Names for one file or the kernel, asked of a child: with debug information first, and without it when that harmed the child.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Instant;

use super::child::WorkerCommand;
use super::lane::{FileContent, Lane, LaneError, Trust};
use super::memfd::fixed_memfd;
use super::wire::{Kind, Reply};
use super::worker::MAX_FILE;
use crate::profile::{Symbolized, UnknownReason};

/// Asks a child of its own.
#[derive(Debug)]
pub struct NamesWorker {
    pub(super) lane: Lane,
}

impl NamesWorker {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(command: WorkerCommand) -> Self {
        Self { lane: Lane::new(command) }
    }

    /// Lets an idle child go, and its memory with it.
    pub fn let_go(&mut self) {
        self.lane.let_go();
    }

    /// Names for offsets of a file, one for each. `None` when there is no child to ask, or the deadline has come: worth another
    /// try. `path` is for the log.
    pub fn of_file(
        &mut self,
        file: &File,
        path: &str,
        offsets: &[u64],
        deadline: Option<Instant>,
    ) -> Option<Vec<Symbolized>> {
        let refused = || Some(vec![Symbolized::Unknown(UnknownReason::FileRefused); offsets.len()]);
        let Some(content) = FileContent::of(file).filter(|content| content.size() <= MAX_FILE) else {
            return refused();
        };
        let mut results = Vec::with_capacity(offsets.len());
        while results.len() < offsets.len() {
            let kind = match self.lane.distrust(&content) {
                None => Kind::Elf,
                Some(Trust::SymbolsOnly) => Kind::ElfSymbolsOnly,
                Some(Trust::Nothing) => break,
            };
            let copy = fixed_memfd(content.size()).inspect_err(|error| {
                tracing::warn!(%error, "failed to make memory for a file's copy");
            });
            let (copy, patience) = (copy.ok()?, self.lane.patience(deadline));
            let rest = &offsets[results.len()..];
            match self.lane.ask(kind, Some(&content), &[file.as_fd(), copy.as_fd()], rest, patience) {
                Ok(Reply::Names(names)) => results.extend(names),
                // `WorkerChild::ask` lets no other reply through.
                Ok(_) => return None,
                Err(LaneError::NoChild(error)) => return no_child(&error),
                // It is we who ran out of time, then.
                Err(_) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => return None,
                Err(LaneError::Failed(error)) => {
                    tracing::warn!(path, %error, "the symbolizer's child failed on a file, which is set aside");
                    let trust = if kind == Kind::Elf { Trust::SymbolsOnly } else { Trust::Nothing };
                    self.lane.blame(content, trust);
                }
            }
        }
        results.resize(offsets.len(), Symbolized::Unknown(UnknownReason::SymbolizerFailed));
        Some(results)
    }

    /// Names for kernel addresses, one for each. `None` when there is no child to ask or it failed, which no file of others can
    /// have done: worth another try.
    pub fn of_kernel(&mut self, addresses: &[u64], deadline: Option<Instant>) -> Option<Vec<Symbolized>> {
        // Whoever opens it decides whether addresses are shown: we, who may.
        let Ok(kallsyms) = File::open("/proc/kallsyms") else {
            return Some(vec![Symbolized::Unknown(UnknownReason::KernelHidden); addresses.len()]);
        };
        let mut results = Vec::with_capacity(addresses.len());
        while results.len() < addresses.len() {
            let (rest, patience) = (&addresses[results.len()..], self.lane.patience(deadline));
            match self.lane.ask(Kind::Kernel, None, &[kallsyms.as_fd()], rest, patience) {
                Ok(Reply::Names(names)) => results.extend(names),
                Ok(_) => return None,
                Err(LaneError::NoChild(error)) => return no_child(&error),
                Err(LaneError::Failed(error)) => {
                    tracing::warn!(%error, "the symbolizer's child failed on kernel symbols");
                    return None;
                }
            }
        }
        Some(results)
    }
}

fn no_child(error: &std::io::Error) -> Option<Vec<Symbolized>> {
    tracing::warn!(%error, "failed to start the symbolizer's child");
    None
}
