//! Names for locations, in the background.
//!
//! In: [`Request`]s, a location and the binary it is in, with the binary's file open. Out: [`Symbolized`](crate::profile::Symbolized) answers, each
//! location once, through the function given to [`Symbolizer::start`]. Which locations need a name, and keeping the names, is
//! the store's.
//!
//! Files are parsed in a child process only: a hostile or changing file can abort its parser (allocation
//! failure, SIGBUS on truncation), and no catching helps. A child that crashes, hangs or grows is killed and the file that did it
//! set aside; the daemon goes on. Question and answer are plain bytes plus a few descriptors (`wire.rs`), so the child needs
//! nothing of the file system but `/proc`. Unwind tables are compiled in such a child too, one of their own ([`RowsWorker`]).
//!
//! Invariant: an answer is given only for what was asked, and "unknown" always says why.

mod again;
mod child;
mod child_counts;
mod child_user;
mod code;
mod code_in_memory;
mod contents;
mod copy;
mod debug_files;
mod debug_info;
mod debuginfod;
mod demangle;
mod dwarf;
mod elf;
mod failure;
mod found;
#[cfg(fuzzing)]
pub mod fuzzing;
mod jit_map;
mod jit_names;
mod kept_names;
mod kernel;
mod lane;
mod memfd;
mod names;
mod own_programs;
mod packages;
mod packed;
mod pending;
mod plt;
mod sandbox;
mod self_test;
mod service;
mod set_aside;
mod silent;
mod unwind_rows;
mod wire;
mod worker;

pub use again::FileFinder;
pub use child::WorkerCommand;
pub use child_counts::{ChildCounts, Restart};
pub use code::{CodeBytes, Piece};
pub use contents::Facts;
pub use debuginfod::{Debuginfod, DebuginfodError};
pub use names::{Mapped, NamesWorker};
pub use sandbox::{Confinement, Layer};
pub use self_test::{Attempt, Exposure, SelfTest};
pub use service::{Answers, Request, Symbolizer, SymbolizerError};
pub use unwind_rows::{RowsError, RowsWorker};
pub use worker::{CompileRows, ROWS_TOO_LARGE, WorkerError, worker_main};
