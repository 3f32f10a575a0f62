//! SQLite: one writer, many readers.
//!
//! Takes closed [`crate::profile::Window`]s and names, gives rows back to `query`; knows nothing of either's meaning beyond
//! the schema in `migrations/`. One window is one durable transaction: after a kill or a power cut every acknowledged window
//! is there, the one under way is not, and the file is whole. The writer is one [`Store`] (an advisory lock sees to it); each
//! [`Reader`] sees a consistent moment per question and never blocks the writer.
//!
//! Invariant: `taken = stored + lost` in every window row as its window said, and `tally` is the sum of the rows.

mod codec;
#[cfg(test)]
pub(crate) mod drawing;
mod error;
mod file;
mod intern;
mod migrate;
mod name_cache;
mod names;
mod open;
mod reader;
mod retention;
mod row_map;
mod snapshot;
mod stack_cache;
mod write;

pub(crate) use codec::{StackId, ThreadId, decode};
pub use error::StoreError;
pub(crate) use name_cache::{CachedFrame, PlacedFrame};
pub use reader::Reader;
pub use retention::Retained;
pub(crate) use row_map::RowMap;
pub(crate) use snapshot::{ProcessRow, Snapshot};
pub use write::{LocationId, Store, Unnamed};
