//! Functions and labels by their samples.

use serde::Serialize;
use utoipa::ToSchema;

/// `GET /api/v1/top`: functions with their samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Top {
    /// Samples in all.
    pub samples: u64,
    /// As in [`FlameGraph::scale`].
    pub scale: u64,
    /// As in [`FlameGraph::counts_samples`].
    pub counts_samples: bool,
    /// The rows.
    pub rows: Vec<TopRow>,
    /// Functions that the limit left out.
    pub hidden_rows: u64,
    /// Functions that do not fit the search.
    pub unmatched_rows: u64,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TopRow {
    /// Name.
    pub name: String,
    /// As in [`FrameColumns::kind`].
    pub kind: u8,
    /// Path of the binary.
    pub binary: Option<String>,
    /// Source file.
    pub file: Option<String>,
    /// Source line.
    pub line: Option<u32>,
    /// Samples that ended in it.
    #[serde(rename = "self")]
    pub self_: u64,
    /// Samples with it on the stack, each counted once however often it recurs.
    pub total: u64,
}

/// `GET /api/v1/labels`: the labels that a selector can name.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Labels {
    /// `comm`, `pid`, `exe`, `thread`, `cgroup`, `container`, `unit`.
    pub labels: Vec<String>,
}

/// `GET /api/v1/labels/{name}/values`: values in the range, by falling samples.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LabelValues {
    /// The label.
    pub label: String,
    /// Its values.
    pub values: Vec<LabelValue>,
    /// Values that the limit left out.
    pub hidden_values: u64,
    /// Samples of all values, the ones left out too.
    pub samples: u64,
    /// As in [`FlameGraph::scale`].
    pub scale: u64,
    /// As in [`FlameGraph::counts_samples`].
    pub counts_samples: bool,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LabelValue {
    /// The value; empty for processes without one (not in a container, say).
    pub value: String,
    /// Of a process id: the name of the process; null of other labels.
    pub name: Option<String>,
    /// Samples.
    pub samples: u64,
}
