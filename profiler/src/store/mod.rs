//! SQLite: one writer, many readers.
//!
//! Takes closed [`crate::profile::Window`]s and names, gives rows back to `query`; knows nothing of either's meaning beyond
//! the schema in `migrations/`. One window is one durable transaction: after a kill or a power cut every acknowledged window
//! is there, the one under way is not, and the file is whole. The writer is one [`Store`] (an advisory lock sees to it); each
//! [`Reader`] sees a consistent moment per question and never blocks the writer.
//!
//! Invariant: `taken = stored + lost` in every window row as its window said, and `tally` is the sum of the rows.

mod codec;
mod columns;
mod cover;
mod damage;
#[cfg(test)]
pub(crate) mod drawing;
mod edge;
mod error;
mod file;
mod function_tree;
mod garbage;
mod halves;
mod hour_leaf;
mod intern;
mod kept_sums;
pub(crate) mod kernel_text;
mod level;
mod marks;
mod merge;
mod migrate;
mod name_cache;
mod name_status;
mod names;
pub mod naming;
mod numbers;
mod older;
mod open;
mod open_files;
mod place;
mod process_cache;
mod range_coder;
mod reader;
mod retention;
mod rollup;
mod rollup_row;
mod row_map;
mod series;
mod snapshot;
mod split;
pub mod sql;
mod stack_page;
mod stack_writer;
mod tally;
mod times;
pub mod upkeep;
mod varint;
mod write;

pub(crate) use codec::{Group, GroupKey, StackId};
pub(crate) use cover::Piece;
pub use damage::SetAside;
pub(crate) use edge::Edge;
pub use error::StoreError;
pub use file::{SetAsideFile, set_aside_beside};
pub(crate) use function_tree::FunctionId;
pub use kept_sums::KeptSums;
pub(crate) use kept_sums::{RowSums, TopSums};
pub(crate) use marks::Marks;
pub(crate) use name_cache::CachedFrame;
pub(crate) use numbers::Numbers;
pub use open_files::{Gone, Left};
pub(crate) use process_cache::ProcessRow;
pub use reader::Reader;
pub use retention::{Keep, Retained};
pub(crate) use row_map::RowMap;
pub(crate) use snapshot::{Loaded, Snapshot, Stacks};
pub use write::{LOG_ALARM_BYTES, LocationId, Store, Unnamed};
