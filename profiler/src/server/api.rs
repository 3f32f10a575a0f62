//! The wire: what `/api/v1` answers, as JSON. `web/src/api/schema.d.ts` is generated from its OpenAPI document;
//! both sides test the same golden files.
//!
//! Times are milliseconds since the Unix epoch, counts are samples, tables are columns (one array per field, equal
//! lengths) because a million small objects are slow to parse. Optional indexes are -1 when absent.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

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
    /// rows (default 200). Exports: most nodes (default 1000000 folded, 10000 SVG).
    #[param(minimum = 1)]
    pub limit: Option<u32>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
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
    /// What the first rows have most of: `self` (default) or `total`.
    pub sort: Option<String>,
    /// What is shown of names: `full` (default), `simple` (no parameters, no generic arguments), or `none` (the linker's).
    pub demangle: Option<String>,
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
}

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
    /// Samples by the values of the label asked for with `by`; null without.
    pub groups: Option<TimelineGroups>,
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
}

/// Columns of [`Timeline`]; bucket `i` starts at `from_ms + i * step_ms`.
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
    /// Samples that pass the filter and whose user stack is cut short.
    pub incomplete: Vec<u64>,
}

/// `GET /api/v1/flamegraph`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct FlameGraph {
    /// Range that was answered.
    pub from_ms: i64,
    /// Range that was answered.
    pub to_ms: i64,
    /// Samples in all (the root's total).
    pub samples: u64,
    /// CPU time one sample stands for, in nanoseconds (mean over the range).
    pub nanos_per_sample: u64,
    /// Samples whose user stack is cut short.
    pub incomplete: u64,
    /// Nodes folded into "remainder" frames because of the limit.
    pub hidden_nodes: u64,
    /// Strings that the frames point into.
    pub strings: Vec<String>,
    /// Distinct frames.
    pub frames: FrameColumns,
    /// The tree, depth first: see [`NodeColumns`].
    pub nodes: NodeColumns,
}

/// Columns of frames.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct FrameColumns {
    /// Name, in `strings`.
    pub name: Vec<u32>,
    /// 0 root, 1 process, 2 user, 3 kernel, 4 inlined, 5 unknown, 6 note (why a stack is cut short), 7 remainder, 8 JIT.
    pub kind: Vec<u8>,
    /// Path of the binary, in `strings`, or -1.
    pub binary: Vec<i64>,
    /// Source file, in `strings`, or -1.
    pub file: Vec<i64>,
    /// Source line, or 0.
    pub line: Vec<u32>,
    /// Why there is no name, in `strings`, or -1.
    pub reason: Vec<i64>,
}

/// Columns of nodes, depth first; node 0 is the root. The descendants of node `i` are the nodes after it with a greater
/// depth, up to the first without. Siblings by falling total. `total[i] = self[i] + sum of children's totals`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct NodeColumns {
    /// Depth; the root's is 0, a process's 1.
    pub depth: Vec<u32>,
    /// Index into the frame columns.
    pub frame: Vec<u32>,
    /// Samples here and below.
    pub total: Vec<u64>,
    /// Samples that ended here.
    #[serde(rename = "self")]
    pub self_: Vec<u64>,
}

/// `GET /api/v1/diff`: two flame graphs as one tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Diff {
    /// The base.
    pub before: DiffSide,
    /// The range.
    pub after: DiffSide,
    /// `share` or `time`, as asked.
    pub by: String,
    /// Nodes folded into "remainder" frames because of the limit.
    pub hidden_nodes: u64,
    /// Strings that the frames point into.
    pub strings: Vec<String>,
    /// Distinct frames.
    pub frames: FrameColumns,
    /// The tree, depth first: see [`DiffColumns`].
    pub nodes: DiffColumns,
}

/// One side of a [`Diff`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct DiffSide {
    /// Range that was answered.
    pub from_ms: i64,
    /// Range that was answered.
    pub to_ms: i64,
    /// Samples in all.
    pub samples: u64,
    /// CPU time one sample stands for, in nanoseconds.
    pub nanos_per_sample: u64,
    /// Samples whose user stack is cut short.
    pub incomplete: u64,
    /// Time that was recorded in the range.
    pub recorded_ms: u64,
}

/// Columns of a diff's nodes, laid out as [`NodeColumns`]; siblings by falling weight of both sides together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct DiffColumns {
    /// Depth; the root's is 0.
    pub depth: Vec<u32>,
    /// Index into the frame columns.
    pub frame: Vec<u32>,
    /// Samples here and below, before.
    pub total_before: Vec<u64>,
    /// Samples here and below, after.
    pub total_after: Vec<u64>,
    /// Samples that ended here, before.
    pub self_before: Vec<u64>,
    /// Samples that ended here, after.
    pub self_after: Vec<u64>,
    /// The difference of the totals in standard errors, two digits; positive when there is more after. From -2 to 2 it may be chance.
    pub z: Vec<f64>,
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
}

/// `GET /api/v1/quality`: how many stacks are whole, and where, why and whose the others end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Quality {
    /// Samples in all.
    pub samples: u64,
    /// Those whose user stack is whole, or that have none.
    pub complete: u64,
    /// The others, by falling samples.
    pub incomplete: Vec<Incomplete>,
    /// Rows that the limit left out.
    pub hidden_rows: u64,
}

/// `GET /api/v1/binaries`: how well each binary is named, and what helps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Binaries {
    /// By falling frames without a name, then samples.
    pub binaries: Vec<Binary>,
    /// Rows that the limit left out.
    pub hidden_rows: u64,
}

/// One binary. Frames are counted as a flame graph shows them: a stack of ten samples with two frames in it counts twenty.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Binary {
    /// Path as its processes saw it, `[kernel]`, `[vdso]` or `[anon]` (memory without a file).
    pub path: String,
    /// Its build id, in hexadecimal; null without one.
    pub build_id: Option<String>,
    /// Of memory without a file: the program that wrote the code; null of others.
    pub program: Option<String>,
    /// Samples that ended in it.
    pub samples_self: u64,
    /// Frames in it, inlined functions not counted.
    pub frames: u64,
    /// Those with a name.
    pub named: u64,
    /// Functions inlined into them.
    pub inlined_frames: u64,
    /// What was looked for when its names were last asked for; empty when nobody could look.
    pub sources: Vec<NameSource>,
    /// Why most frames without a name have none; null when all have one.
    pub reason: Option<String>,
    /// A command that helps; null where none is known.
    pub remedy: Option<String>,
}

/// `POST /api/v1/symbolize`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Symbolizing {
    /// Whether it has begun: there is something to name.
    pub started: bool,
    /// Places in code without a name, of the whole history.
    pub unnamed: u64,
}

/// A source of names that was looked for.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct NameSource {
    /// `dwarf`, `symtab`, `dynsym`, `gnu_debugdata`, `debug_file`, `dwz`, `dwo`, `debuginfod`, `go`, `perf_map`, `jitdump`, `kallsyms`,
    /// `bpf` or `vdso`.
    pub source: String,
    /// Path of the file that has it; null when there is none.
    pub found: Option<String>,
}

/// Samples whose user stack is cut short, of one cause, in one file.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Incomplete {
    /// How the walk ended: a key of `totals.stacks` in `/api/v1/status`.
    pub cause: String,
    /// Name of the processes.
    pub comm: String,
    /// Path of the file of the outermost frame there is; null without one.
    pub binary: Option<String>,
    /// Samples.
    pub samples: u64,
    /// What can be done; null where nothing can, or where it passes by itself.
    pub remedy: Option<String>,
}

/// `GET /api/v1/top`: functions by falling self.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Top {
    /// Samples in all.
    pub samples: u64,
    /// CPU time one sample stands for, in nanoseconds.
    pub nanos_per_sample: u64,
    /// The rows.
    pub rows: Vec<TopRow>,
    /// Functions that the limit left out.
    pub hidden_rows: u64,
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
}

/// One value.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LabelValue {
    /// The value; empty for processes without one (not in a container, say).
    pub value: String,
    /// Samples.
    pub samples: u64,
}

/// `GET /api/v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Status {
    /// Version of this program.
    pub version: String,
    /// Host name.
    pub host: String,
    /// What is sampling; null when only a database is being served.
    pub recording: Option<Recording>,
    /// Samples since the database began.
    pub totals: Totals,
    /// The database.
    pub database: Database,
    /// Things that a person should know (a damaged file set aside, windows waiting for disk space), each with its fix.
    pub notices: Vec<String>,
}

/// `GET /api/v1/source`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Source {
    /// The function.
    pub function: String,
    /// Its source file, as the compiler wrote it; null where no debug information tells.
    pub file: Option<String>,
    /// The file that was read; null when none was.
    pub found: Option<String>,
    /// Why none was, and what would help.
    pub reason: Option<String>,
    /// Samples with this file's function on the stack, recursion counted once.
    pub total: u64,
    /// Number of the first line; 0 without any.
    pub first_line: u64,
    /// Lines with samples, and those near them; numbers may jump.
    pub lines: Vec<SourceText>,
}

/// A source line.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SourceText {
    /// Number, from 1.
    pub line: u64,
    /// What stands there, at most 500 bytes; null when the file was not read or has no such line.
    pub text: Option<String>,
    /// Samples taken in it.
    #[serde(rename = "self")]
    pub self_: u64,
    /// Samples taken in it or in what it calls, recursion counted once.
    pub total: u64,
}

/// `GET /api/v1/disassembly`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Disassembly {
    /// The function.
    pub function: String,
    /// Path of the binary.
    pub binary: String,
    /// Its build id, in hex.
    pub build_id: Option<String>,
    /// Whether the binary was read.
    pub available: bool,
    /// Why it was not, or why some instructions have no text.
    pub reason: Option<String>,
    /// Instructions by rising address; numbers may jump where a function has several parts or is very long.
    pub instructions: Vec<Instruction>,
    /// Samples with this binary's function on the stack, recursion counted once.
    pub total: u64,
    /// Instructions left out, none of them with samples.
    pub hidden_instructions: u64,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Instruction {
    /// The address that the linker gave it, in hex, for numbers of JSON end at 2^53; its offset in the file when that was not read.
    pub address: String,
    /// Its bytes, in hex.
    pub bytes: String,
    /// As an assembler writes it; empty when the binary was not read.
    pub text: String,
    /// Source file, of the innermost of inlined functions.
    pub file: Option<String>,
    /// Source line.
    pub line: Option<u32>,
    /// Samples taken at it, those of functions inlined there too.
    #[serde(rename = "self")]
    pub self_: u64,
    /// Samples taken at it or in what it calls, recursion counted once.
    pub total: u64,
}

/// The sampler, live.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Recording {
    /// `cpu-clock` or `cycles`.
    pub event: String,
    /// Samples per second and CPU.
    pub hz: u32,
    /// CPUs online.
    pub cpus: u32,
    /// Since when.
    pub since_ms: i64,
    /// Length of a window.
    pub window_ms: u64,
    /// Age of the end of the newest stored window.
    pub lag_ms: u64,
    /// Processor time used by this process so far.
    pub cpu_ms: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// The unwind tables; null when stacks are walked by frame pointers only.
    pub unwind: Option<UnwindTables>,
    /// What names may come from: `--names`.
    pub names: Vec<String>,
}

/// The unwind tables in kernel memory.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct UnwindTables {
    /// Files whose rows are loaded.
    pub files: u64,
    /// Rows loaded.
    pub rows: u64,
    /// Files whose rows are on their way.
    pub loading: u64,
    /// Processes that have tables.
    pub processes: u64,
    /// Kernel memory held.
    pub memory_bytes: u64,
    /// Kernel memory that may be taken: `--unwind-memory`.
    pub memory_limit_bytes: u64,
    /// Files given up for others since the start.
    pub evicted: u64,
}

/// taken = stored + lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Totals {
    /// Samples taken.
    pub taken: u64,
    /// Samples stored.
    pub stored: u64,
    /// Samples lost, by cause.
    pub lost: std::collections::BTreeMap<String, u64>,
    /// Stored samples by how the walk of the user stack ended.
    pub stacks: std::collections::BTreeMap<String, u64>,
}

/// The database file.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Database {
    /// Where.
    pub path: String,
    /// Size with its write-ahead log.
    pub bytes: u64,
    /// Windows in it.
    pub windows: u64,
    /// Start of the oldest window.
    pub oldest_ms: Option<i64>,
    /// End of the newest window.
    pub newest_ms: Option<i64>,
}

/// `GET /healthz`: status 200 when all is well, else 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// `ok` or `failing`.
    pub status: String,
    /// Why it is failing, and what to do.
    pub reason: Option<String>,
}

/// Every error answer: RFC 9457, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Short code, such as `bad_selector`, stable.
    pub code: String,
    /// What went wrong, naming the thing.
    pub title: String,
    /// What to do about it.
    pub detail: String,
}
