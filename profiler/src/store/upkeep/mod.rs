//! Looking after a database, beside a running profiler or at rest: what it holds, whether it is sound, a copy, less of it.
//!
//! Nothing here is the writer, and the writer never waits long for any of it: looking and copying read one moment, and space is
//! given back in short transactions. Every step reports how far it is, for a progress bar.

mod backup;
mod blobs;
mod check;
mod compact;
mod stats;

pub use backup::backup;
pub use check::check;
pub use compact::{Compacted, compact};
pub use stats::{Stats, stats};

/// Told how much of how much is done.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);
