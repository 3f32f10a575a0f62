//! Samples by time: the timeline and the heat map.

use serde::Serialize;
use utoipa::ToSchema;

/// `GET /api/v1/timeline`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Timeline {
    /// Start of the first bucket.
    pub from_ms: i64,
    /// End of the last bucket.
    pub to_ms: i64,
    /// Width of a bucket.
    pub step_ms: i64,
    /// One entry a bucket.
    pub buckets: TimelineBuckets,
    /// Time that was not recorded. While this host is recording, what is not stored yet is not among it.
    pub gaps: Vec<Gap>,
    /// When recording began, or went on after a gap.
    pub began_ms: Vec<i64>,
    /// The most CPUs that were online.
    pub cpus: u32,
    /// Samples by the values of the label asked for with `by`; null without.
    pub groups: Option<TimelineGroups>,
}

/// Time that was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Gap {
    /// Its start.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
}

/// A timeline grouped by a label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct TimelineGroups {
    /// The label.
    pub label: String,
    /// The values with the most samples, these first; the empty value is "has none".
    pub values: Vec<String>,
    /// Samples of each value, one entry a bucket.
    pub samples: Vec<Vec<u64>>,
    /// Samples of all other values, one entry a bucket.
    pub others: Vec<u64>,
    /// How many other values there are.
    pub hidden_values: u64,
    /// As in [`FlameGraph::scale`].
    pub scale: u64,
    /// As in [`FlameGraph::counts_samples`].
    pub counts_samples: bool,
}

/// Columns of [`Timeline`]; bucket `i` starts at `from_ms + i * step_ms`. A window counts in the bucket it starts in; one longer than
/// a bucket is spread over those it covers. A bucket that a window only overlaps has its rates, and no samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct TimelineBuckets {
    /// Samples that pass the filter.
    pub samples: Vec<u64>,
    /// CPU cores kept busy by what passes the filter; null where nothing was recorded.
    pub busy_cores: Vec<Option<f64>>,
    /// Share of all CPU time that was not idle, 0 to 1, whole host whatever the filter; null where nothing was recorded.
    pub utilisation: Vec<Option<f64>>,
    /// Samples lost, whole host.
    pub lost: Vec<u64>,
    /// Share of all ticks due that the sampling program did not see, 0 to 1, whole host; null where nothing was recorded.
    pub missed_share: Vec<Option<f64>>,
    /// What most of these were missed for, such as `program_busy`; null where none were.
    pub missed_cause: Vec<Option<String>>,
    /// Samples that pass the filter and whose user stack is cut short.
    pub incomplete: Vec<u64>,
}

/// `GET /api/v1/heatmap`: samples by the time they were taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct HeatMap {
    /// Range that was answered.
    pub from_ms: i64,
    /// Range that was answered.
    pub to_ms: i64,
    /// Columns.
    pub columns: u32,
    /// Rows of each.
    pub rows: u32,
    /// Width of a column, in nanoseconds; a row's is this by `rows`.
    pub column_nanos: i64,
    /// Samples of each cell: cell `i` is column `i / rows`, row `i % rows`, and later rows are later in the column.
    pub samples: Vec<u64>,
    /// Samples of the range whose time is not known (any more).
    pub untimed: u64,
    /// As in [`FlameGraph::scale`].
    pub scale: u64,
    /// As in [`FlameGraph::counts_samples`].
    pub counts_samples: bool,
}
