//! What may be asked: sets of query parameters. An endpoint has one or several of them (`server/parameters.rs`).

use serde::Deserialize;
use utoipa::IntoParams;

/// Of every question about samples.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RangeParams {
    /// Start: `now-1h`, RFC 3339, or Unix time in s, ms, us or ns. Default `now-1h`.
    pub from: Option<String>,
    /// End, in the same forms. Default `now`.
    pub to: Option<String>,
    /// Label selector, such as `{comm="postgres", container=~"web-.*"}`. Default: everything.
    pub filter: Option<String>,
    /// What is shown of names, where there are any: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the
    /// linker's).
    pub demangle: Option<String>,
}

/// Of questions whose answers are cut.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LimitParams {
    /// The most nodes, points or rows of the answer, which tells how many it leaves out. Default: 100000 nodes of a graph or a difference,
    /// 1000000 of folded stacks, 10000 of an SVG; 600 points; 200 rows.
    #[param(minimum = 1)]
    pub limit: Option<u32>,
}

/// Of a heat map, or, where another question has them, of the box of it whose samples alone are meant.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BoxParams {
    /// The heat map's columns: equal slices of the range. Default: 60 for a heat map, elsewhere none: all of the range.
    #[param(minimum = 1)]
    pub columns: Option<u32>,
    /// The heat map's rows: equal slices of each column (default 50).
    #[param(minimum = 1)]
    pub rows: Option<u32>,
    /// First column of the box, from 0 (default 0).
    pub column_from: Option<u32>,
    /// Last column of the box (default the last).
    pub column_to: Option<u32>,
    /// First row of the box, from 0 (default 0).
    pub row_from: Option<u32>,
    /// Last row of the box (default the last).
    pub row_to: Option<u32>,
}

/// Of `GET /api/v1/heatmap`.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GridParams {
    /// Equal slices of the range (default 60).
    #[param(minimum = 1)]
    pub columns: Option<u32>,
    /// Equal slices of each column (default 50).
    #[param(minimum = 1)]
    pub rows: Option<u32>,
}

/// Of `GET /api/v1/timeline`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TimelineParams {
    /// A label: the answer then has a series of samples for each of its values.
    pub by: Option<String>,
    /// Most series (default 10); the rest is `others`.
    #[param(minimum = 1, maximum = 100)]
    pub series: Option<u32>,
}

/// Of flame graphs.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ShapeParams {
    /// Where it is seen from: `topdown` (default), `bottomup`, or with `focus` `callers` or `callees`.
    pub mode: Option<String>,
    /// The name of a function, for `callers` and `callees`.
    pub focus: Option<String>,
    /// A label whose values stand between the root and the processes.
    pub group: Option<String>,
    /// Of `topdown`: spend the limit on what is below this node, named by its depth and the hash of its path, such as
    /// `4-1f3a9c02b7d4e0` (docs/api.md); where there is none, on everything.
    pub below: Option<String>,
    /// Of `topdown`: spend the limit on what calls this function and what it calls, wherever it is: `kind|binary|file|name`, such as
    /// `2|/usr/bin/app||main` (kinds as in `frames.kind`; binary or file are empty where the frame has none).
    pub around: Option<String>,
}

/// Of `GET /api/v1/diff`: the base is before, the range after.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DiffParams {
    /// Start before. Default: `from`.
    pub base_from: Option<String>,
    /// End before. Default: `to`.
    pub base_to: Option<String>,
    /// Selector before. Default: `filter`.
    pub base_filter: Option<String>,
    /// What is compared: `share` of each side's samples (default), or `time`: CPU time by recorded time.
    pub by: Option<String>,
    /// Spend the limit on what is below this node, as for `/api/v1/flamegraph`.
    pub below: Option<String>,
}

/// Of `GET /api/v1/top`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TopParams {
    /// What the rows are put in order by: `self` (default), `total`, `name` or `binary`.
    pub sort: Option<String>,
    /// `desc` (default: the most first) or `asc`.
    pub order: Option<String>,
    /// Only functions that fit: `text` in the name (any case), `"text"` the whole name, `/text/` a regular expression (`/text/i`: any
    /// case), or `kind:`, `binary:`, `package:`, `file:` and a value. What does not fit is counted in `unmatched_rows`.
    pub search: Option<String>,
}

/// Of `GET /api/v1/export/pprof`.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PprofParams {
    /// Whether each stack begins with a frame that names its process (default false: the process is in the labels).
    pub process_frames: Option<bool>,
}

/// Of `GET /api/v1/source`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SourceParams {
    /// The function's name, as other answers give it.
    pub function: String,
    /// Its source file, as other answers give it. Default: of several files with such a function, the one with the most samples.
    pub file: Option<String>,
    /// Folders to look for it in, `FROM=TO` as for `--source-map`, one a line, at most 16: for who is logged in, and only files that they
    /// could read themselves.
    pub source_map: Option<String>,
}

/// Of `GET /api/v1/disassembly`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DisassemblyParams {
    /// The function's name, as other answers give it.
    pub function: String,
    /// Path of its binary, as other answers give it. Default: of several builds with such a function, the one with the most samples.
    pub binary: Option<String>,
}
