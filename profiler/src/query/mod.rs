//! Range + selector -> timeline, flame graph, top table, label values: what the page and the exports ask.
//!
//! Inputs: a [`crate::store::Reader`], a [`TimeRange`], a [`Selector`]. Outputs: the plain tables below. A window belongs
//! to a range when its wall-clock start lies inside it. Percentages are the caller's: counts here are exact, and every view
//! of one range and selector adds up to the same number of samples.
//!
//! ```text
//! pieces of the range --merge--> samples by (process name, note, stack) --grow--> tree of frames --cut--> what is shown
//!                                                                             \--lazy--> bottom-up, callers, callees
//! ```

mod binaries;
mod busy_lines;
mod diff;
mod flame_graph;
mod grow;
mod heat_map;
mod hottest;
mod interpreters;
mod labels;
mod lazy;
mod merge;
mod name_remedy;
mod note;
mod one_function;
mod path_hash;
mod places;
mod quality;
mod rows;
mod runtime;
mod search;
mod selector;
mod sieve;
mod slice;
mod sparse;
pub mod sql;
mod stack_samples;
mod time;
mod timeline;
mod top;
mod totals;
mod tree;

pub use binaries::{NamedBinaries, NamedBinary, binaries};
pub use diff::{By, Diff, DiffNode, Side, diff};
pub use flame_graph::{Around, Kinds, Merged, Shape, View, flame_graph, flame_graph_from};
pub use heat_map::{Area, Grid, HeatMap, MAX_CELLS, Within, flame_graph_of_area, heat_map};
pub use hottest::{Hottest, Own};
pub use interpreters::Interpreted;
pub use labels::{LABELS, LabelValues, label_values};
pub use name_remedy::Remedy;
pub use note::{note, note_in, remedy};
pub use one_function::OneFunction;
pub use path_hash::PathHash;
pub use places::{Code, FunctionIs, Lines, Weight, code, lines};
pub use quality::{Incomplete, Quality, Unnamed, quality};
pub use rows::{Frames, Holder, Row, RowFrame, rows};
pub use runtime::Runtime;
pub use search::Search;
pub use selector::{Selector, parse_selector};
pub use slice::slice;
pub use stack_samples::stack_samples;
pub use time::{parse_range, parse_time};
pub use timeline::{Bucket, Series, Timeline, series, timeline};
pub use top::{Top, TopOrder, TopRow, TopRows, top};
pub use totals::{Totals, newest_boot, totals};

#[cfg(doc)]
use crate::profile::TimeRange;

/// What went wrong with a question.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The selector does not parse.
    #[error("bad selector: {0}")]
    BadSelector(String),
    /// A time does not parse, or the range is empty.
    #[error("bad time range: {0}")]
    BadTime(String),
    /// No label has this name.
    #[error("unknown label {0:?}: the labels are {labels}", labels = LABELS.join(", "))]
    UnknownLabel(String),
    /// The answer would take more memory than a question may.
    #[error("query too large: it has too many different stacks")]
    TooLarge,
    /// The database failed.
    #[error("failed to read the database")]
    Store(#[source] crate::store::StoreError),
}

impl From<crate::store::StoreError> for QueryError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Store(error)
    }
}
