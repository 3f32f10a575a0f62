//! What may be asked: query parameters. One struct a question, because a refusal of unknown names and parts shared between
//! questions (`flatten`) do not go together in serde.

use serde::Deserialize;
use utoipa::IntoParams;

/// Query parameters of every question about a range.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RangeParams {
    /// Start: `now-1h`, RFC 3339, or Unix time in s or ms. Default `now-1h`.
    pub from: Option<String>,
    /// End, in the same forms. Default `now`.
    pub to: Option<String>,
    /// Label selector, such as `{comm="postgres", container=~"web-.*"}`. Default: everything.
    pub filter: Option<String>,
    /// Flame graph: most nodes to send (default 100000). Timeline: most points (default 600). Top and label values: most
    /// rows (default 200).
    #[param(minimum = 1)]
    pub limit: Option<u32>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
}

/// Query parameters of the exports that are made of a call tree.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportParams {
    /// Start: `now-1h`, RFC 3339, or Unix time in s or ms. Default `now-1h`.
    pub from: Option<String>,
    /// End, in the same forms. Default `now`.
    pub to: Option<String>,
    /// Label selector, such as `{comm="postgres", container=~"web-.*"}`. Default: everything.
    pub filter: Option<String>,
    /// Most nodes (default 1000000 folded, 10000 SVG); the smallest stand in remainder nodes.
    #[param(minimum = 1)]
    pub limit: Option<u32>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
    /// The heat map's columns, for the samples of a box of it alone. Default: all of the range.
    #[param(minimum = 1)]
    pub columns: Option<u32>,
    /// The heat map's rows (default 50).
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

/// Query parameters of `GET /api/v1/export/pprof`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PprofParams {
    /// Start: `now-1h`, RFC 3339, or Unix time in s or ms. Default `now-1h`.
    pub from: Option<String>,
    /// End, in the same forms. Default `now`.
    pub to: Option<String>,
    /// Label selector, such as `{comm="postgres", container=~"web-.*"}`. Default: everything.
    pub filter: Option<String>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
    /// Whether each stack begins with a frame that names its process (default false: the process is in the labels).
    pub process_frames: Option<bool>,
    /// The heat map's columns, for the samples of a box of it alone. Default: all of the range.
    #[param(minimum = 1)]
    pub columns: Option<u32>,
    /// The heat map's rows (default 50).
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

/// Query parameters of `GET /api/v1/top`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TopParams {
    /// Start: `now-1h`, RFC 3339, or Unix time in s or ms. Default `now-1h`.
    pub from: Option<String>,
    /// End, in the same forms. Default `now`.
    pub to: Option<String>,
    /// Label selector, such as `{comm="postgres", container=~"web-.*"}`. Default: everything.
    pub filter: Option<String>,
    /// Most rows (default 200).
    #[param(minimum = 1)]
    pub limit: Option<u32>,
    /// What the rows are put in order by: `self` (default), `total`, `name` or `binary`.
    pub sort: Option<String>,
    /// `desc` (default: the most first) or `asc`.
    pub order: Option<String>,
    /// Only functions that fit: `text` in the name (any case), `"text"` the whole name, `/text/` a regular expression (`/text/i`: any
    /// case), or `kind:`, `binary:`, `package:`, `file:` and a value. What does not fit is counted in `unmatched_rows`.
    pub search: Option<String>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
    /// The heat map's columns, for the samples of a box of it alone. Default: all of the range.
    #[param(minimum = 1)]
    pub columns: Option<u32>,
    /// The heat map's rows (default 50).
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

/// Query parameters of the questions that count samples of a range, or of a box of its heat map.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CountParams {
    /// Start: `now-1h`, RFC 3339, or Unix time in s or ms. Default `now-1h`.
    pub from: Option<String>,
    /// End, in the same forms. Default `now`.
    pub to: Option<String>,
    /// Label selector, such as `{comm="postgres", container=~"web-.*"}`. Default: everything.
    pub filter: Option<String>,
    /// Most rows (default 200).
    #[param(minimum = 1)]
    pub limit: Option<u32>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
    /// The heat map's columns, for the samples of a box of it alone. Default: all of the range.
    #[param(minimum = 1)]
    pub columns: Option<u32>,
    /// The heat map's rows (default 50).
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

/// Query parameters of `GET /api/v1/timeline`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TimelineParams {
    /// Start: `now-1h`, RFC 3339, or Unix time in s or ms. Default `now-1h`.
    pub from: Option<String>,
    /// End, in the same forms. Default `now`.
    pub to: Option<String>,
    /// Label selector, such as `{comm="postgres", container=~"web-.*"}`. Default: everything.
    pub filter: Option<String>,
    /// Most points (default 600).
    #[param(minimum = 1)]
    pub limit: Option<u32>,
    /// A label: the answer then has a series of samples for each of its values.
    pub by: Option<String>,
    /// Most series (default 10); the rest is `others`.
    #[param(minimum = 1, maximum = 100)]
    pub series: Option<u32>,
    /// The heat map's columns, for the samples of a box of it alone. Default: all of the range.
    #[param(minimum = 1)]
    pub columns: Option<u32>,
    /// The heat map's rows (default 50).
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

/// Query parameters of `GET /api/v1/flamegraph`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FlameGraphParams {
    /// Start: `now-1h`, RFC 3339, or Unix time in s or ms. Default `now-1h`.
    pub from: Option<String>,
    /// End, in the same forms. Default `now`.
    pub to: Option<String>,
    /// Label selector, such as `{comm="postgres", container=~"web-.*"}`. Default: everything.
    pub filter: Option<String>,
    /// Most nodes to send (default 100000).
    #[param(minimum = 1)]
    pub limit: Option<u32>,
    /// Where it is seen from: `topdown` (default), `bottomup`, or with `focus` `callers` or `callees`.
    pub mode: Option<String>,
    /// The name of a function, for `callers` and `callees`.
    pub focus: Option<String>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
    /// A label whose values stand between the root and the processes.
    pub group: Option<String>,
    /// Of `topdown`: spend the limit on what is below this node, named by its depth and the hash of its path, such as
    /// `4-1f3a9c02b7d4e0` (docs/api.md); where there is none, on everything.
    pub below: Option<String>,
    /// Of `topdown`: spend the limit on what calls this function and what it calls, wherever it is: `kind|binary|file|name`, such as
    /// `2|/usr/bin/app||main` (kinds as in `frames.kind`; binary or file are empty where the frame has none).
    pub around: Option<String>,
}

/// Query parameters of `GET /api/v1/diff`: the base is before, the range after.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DiffParams {
    /// Start after. Default `now-1h`.
    pub from: Option<String>,
    /// End after. Default `now`.
    pub to: Option<String>,
    /// Selector after. Default: everything.
    pub filter: Option<String>,
    /// Start before. Default: `from`.
    pub base_from: Option<String>,
    /// End before. Default: `to`.
    pub base_to: Option<String>,
    /// Selector before. Default: `filter`.
    pub base_filter: Option<String>,
    /// Most nodes to send (default 100000).
    #[param(minimum = 1)]
    pub limit: Option<u32>,
    /// What is compared: `share` of each side's samples (default), or `time`: CPU time by recorded time.
    pub by: Option<String>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
    /// Spend the limit on what is below this node, as for `/api/v1/flamegraph`.
    pub below: Option<String>,
}

/// Query parameters of `GET /api/v1/source`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SourceParams {
    /// The function's name, as other answers give it.
    pub function: String,
    /// Its source file, as other answers give it. Default: of several files with such a function, the one with the most samples.
    pub file: Option<String>,
    /// Folders to look for it in, `FROM=TO` as for `--source-map`, one a line, at most 16: for who is logged in, and only files that they
    /// could read themselves.
    pub source_map: Option<String>,
    /// Start: `now-1h`, RFC 3339, or Unix time in s or ms. Default `now-1h`.
    pub from: Option<String>,
    /// End, in the same forms. Default `now`.
    pub to: Option<String>,
    /// Label selector. Default: everything.
    pub filter: Option<String>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
    /// The heat map's columns, for the samples of a box of it alone. Default: all of the range.
    #[param(minimum = 1)]
    pub columns: Option<u32>,
    /// The heat map's rows (default 50).
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

/// Query parameters of `GET /api/v1/disassembly`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DisassemblyParams {
    /// The function's name, as other answers give it.
    pub function: String,
    /// Path of its binary, as other answers give it. Default: of several builds with such a function, the one with the most samples.
    pub binary: Option<String>,
    /// Start: `now-1h`, RFC 3339, or Unix time in s or ms. Default `now-1h`.
    pub from: Option<String>,
    /// End, in the same forms. Default `now`.
    pub to: Option<String>,
    /// Label selector. Default: everything.
    pub filter: Option<String>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
    /// The heat map's columns, for the samples of a box of it alone. Default: all of the range.
    #[param(minimum = 1)]
    pub columns: Option<u32>,
    /// The heat map's rows (default 50).
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

/// Query parameters of `GET /api/v1/heatmap`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HeatMapParams {
    /// Start: `now-1m`, RFC 3339, or Unix time in s, ms, us or ns. Default `now-1h`.
    pub from: Option<String>,
    /// End, in the same forms. Default `now`.
    pub to: Option<String>,
    /// Label selector. Default: everything.
    pub filter: Option<String>,
    /// Equal slices of the range (default 60).
    #[param(minimum = 1)]
    pub columns: Option<u32>,
    /// Equal slices of each column (default 50).
    #[param(minimum = 1)]
    pub rows: Option<u32>,
}

/// Query parameters of `GET /api/v1/heatmap/flamegraph`: a heat map and a box of it, both ends inside.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AreaParams {
    /// Start of the heat map. Default `now-1h`.
    pub from: Option<String>,
    /// Its end. Default `now`.
    pub to: Option<String>,
    /// Label selector. Default: everything.
    pub filter: Option<String>,
    /// The heat map's columns (default 60).
    #[param(minimum = 1)]
    pub columns: Option<u32>,
    /// The heat map's rows (default 50).
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
    /// Most nodes to send (default 100000).
    #[param(minimum = 1)]
    pub limit: Option<u32>,
    /// As for `/api/v1/flamegraph`.
    pub mode: Option<String>,
    /// As for `/api/v1/flamegraph`.
    pub focus: Option<String>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
    /// As for `/api/v1/flamegraph`.
    pub group: Option<String>,
    /// As for `/api/v1/flamegraph`.
    pub below: Option<String>,
    /// As for `/api/v1/flamegraph`.
    pub around: Option<String>,
}
