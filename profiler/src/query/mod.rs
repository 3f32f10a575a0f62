//! Range + selector -> timeline, flame graph, top table, label values: what the page and the exports ask.
//!
//! Inputs: a [`crate::store::Reader`], a [`TimeRange`], a [`Selector`]. Outputs: the plain tables below. A window belongs
//! to a range when its wall-clock start lies inside it. Percentages are the caller's: counts here are exact.

use crate::profile::{CallTree, TimeRange, WallNanos};
use crate::store::Reader;

/// A parsed label selector, such as `{comm="postgres", container=~"web-.*"}`.
#[derive(Clone, Debug, Default)]
pub struct Selector {}

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
    #[error("unknown label {0:?}")]
    UnknownLabel(String),
    /// The database failed.
    #[error("failed to read the database")]
    Store(#[source] crate::store::StoreError),
}

/// Labels a selector can name, in the order shown to people.
pub const LABELS: [&str; 7] = ["comm", "pid", "exe", "thread", "cgroup", "container", "unit"];

/// Parses `{label="v", label!="v", label=~"re", label!~"re"}`; the braces may be left out; empty selects everything.
///
/// # Errors
/// [`QueryError::BadSelector`] with the column and what was expected, [`QueryError::UnknownLabel`].
pub fn parse_selector(_text: &str) -> Result<Selector, QueryError> {
    Ok(Selector::default())
}

/// Parses both ends of a range: `now`, `now-1h`, `now-2d12h`, RFC 3339, or Unix time in s, ms, us or ns (told apart by size).
///
/// # Errors
/// [`QueryError::BadTime`] naming the text, also when `from` is not before `to`.
pub fn parse_range(_from: &str, _to: &str, _now: WallNanos) -> Result<TimeRange, QueryError> {
    Err(QueryError::BadTime("under construction".into()))
}

/// A merged profile.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// The tree; the root's total is the number of samples.
    pub tree: CallTree,
    /// CPU time one sample stands for (weighted mean over the windows).
    pub nanos_per_sample: u64,
}

/// The call tree of a range, pruned to `max_nodes` by leaving the smallest out behind remainder nodes.
///
/// # Errors
/// [`QueryError::Store`].
pub fn flame_graph(
    _reader: &mut Reader,
    _range: TimeRange,
    _selector: &Selector,
    _max_nodes: usize,
) -> Result<Merged, QueryError> {
    Ok(Merged::default())
}

/// One function of the top table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopRow {
    /// The function.
    pub frame: crate::profile::Frame,
    /// Samples that ended in it.
    pub self_: u64,
    /// Samples with it on the stack, recursion counted once.
    pub total: u64,
}

/// Functions by falling self, then total, then name.
#[derive(Clone, Debug, Default)]
pub struct Top {
    /// Samples in all.
    pub samples: u64,
    /// CPU time one sample stands for.
    pub nanos_per_sample: u64,
    /// At most the number of rows asked for.
    pub rows: Vec<TopRow>,
    /// Functions left out.
    pub hidden_rows: u64,
}

/// The functions of a range.
///
/// # Errors
/// [`QueryError::Store`].
pub fn top(_reader: &mut Reader, _range: TimeRange, _selector: &Selector, _max_rows: usize) -> Result<Top, QueryError> {
    Ok(Top::default())
}

/// Samples over time in equal buckets.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Start of the first bucket.
    pub start: WallNanos,
    /// Width of each, in nanoseconds: a multiple of the window length, rounded to a human step.
    pub step: i64,
    /// The buckets.
    pub buckets: Vec<Bucket>,
}

/// One bucket of a [`Timeline`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Samples that pass the selector.
    pub samples: u64,
    /// Samples that pass and whose user stack is cut short.
    pub incomplete: u64,
    /// Cores kept busy by what passes; `None` where nothing was recorded.
    pub busy_cores: Option<f64>,
    /// Share of CPU ticks of the whole host that were not idle; `None` where nothing was recorded.
    pub utilisation: Option<f64>,
    /// Samples lost, whole host.
    pub lost: u64,
}

/// The timeline of a range, in at most `max_points` buckets.
///
/// # Errors
/// [`QueryError::Store`].
pub fn timeline(
    _reader: &mut Reader,
    _range: TimeRange,
    _selector: &Selector,
    _max_points: usize,
) -> Result<Timeline, QueryError> {
    Ok(Timeline::default())
}

/// Values of a label in a range with their samples, by falling samples; the empty value is "has none".
///
/// # Errors
/// [`QueryError::UnknownLabel`], [`QueryError::Store`].
pub fn label_values(
    _reader: &mut Reader,
    _range: TimeRange,
    _selector: &Selector,
    _label: &str,
) -> Result<Vec<(String, u64)>, QueryError> {
    Ok(Vec::new())
}

/// What the whole database holds.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Samples taken.
    pub taken: u64,
    /// Samples stored.
    pub stored: u64,
    /// Samples lost.
    pub losses: crate::profile::Losses,
    /// Stored samples by how their user walk ended.
    pub stacks: Vec<(crate::profile::StackEnd, u64)>,
    /// Windows.
    pub windows: u64,
    /// Start of the oldest and end of the newest window.
    pub span: Option<TimeRange>,
}

/// Totals of the whole database.
///
/// # Errors
/// [`QueryError::Store`].
pub fn totals(_reader: &mut Reader) -> Result<Totals, QueryError> {
    Ok(Totals::default())
}
