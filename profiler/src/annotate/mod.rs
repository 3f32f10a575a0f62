//! A function beside its samples: its machine code, or the text of its source.
//!
//! In: a function's samples by place, out of history ([`query::Code`], [`query::Lines`]). Out: instructions and lines, each with its samples.
//! The binary is looked for where it was mapped, and used only if it is the very build that was sampled. A source file is read only
//! if history names it for this function, and only below a folder that was given for it ([`SourceRoot`]), or as far as its viewer could
//! read it too ([`Viewer`]).
//!
//! Files are foreign. ELF and DWARF are parsed in a child process ([`NamesWorker`]); here bytes of code are decoded and text is shown.
//! Everything is bounded, and done within a deadline. What cannot be had is a reason, and the samples are listed all the same.

mod code;
mod decode;
mod disassembly;
mod source;
mod viewer;

pub use disassembly::{Disassembly, Instruction};
pub use source::{Line, Source, SourceRoot};
pub use viewer::Viewer;

use std::path::Path;
use std::sync::Arc;

#[cfg(doc)]
use crate::query;
use crate::symbolizer::{Debuginfod, NamesWorker, WorkerCommand};
use crate::sys::timeout_pool::TimeoutPool;

/// How long a file may take to open or to be read: it may lie on a file system that does not answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Answers one question at a time, with a child process of its own while it does.
#[derive(Debug)]
pub struct Annotator {
    worker: NamesWorker,
    opener: TimeoutPool,
    roots: Vec<SourceRoot>,
}

impl Annotator {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(command: WorkerCommand, roots: Vec<SourceRoot>) -> Self {
        Self { worker: NamesWorker::new(command), opener: TimeoutPool::new("annotator", PATIENCE), roots }
    }

    /// Takes lines from the debug files that servers gave, too; asks for none.
    #[must_use]
    pub fn with_debuginfod(mut self, debuginfod: Option<Arc<Debuginfod>>) -> Self {
        self.worker = self.worker.with_debuginfod(debuginfod);
        self
    }

    /// Takes names and lines that are kept in a folder, and keeps there what it has learnt.
    #[must_use]
    pub fn keeping_names_in(mut self, folder: Option<&Path>) -> Self {
        self.worker = self.worker.keeping_in(folder);
        self
    }
}
