//! Flame graphs and their differences.

use serde::Serialize;
use utoipa::ToSchema;

/// `GET /api/v1/flamegraph`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct FlameGraph {
    /// Range that was answered.
    pub from_ms: i64,
    /// Range that was answered.
    pub to_ms: i64,
    /// Samples in all (the root's total).
    pub samples: u64,
    /// CPU time that each number of samples stands for, in nanoseconds; 0 where nothing was recorded.
    pub scale: u64,
    /// Whether the numbers of samples are just that. False where samples of several rates are in the range: then each counts as the
    /// nanoseconds that it stands for, and `scale` is 1.
    pub counts_samples: bool,
    /// Samples whose user stack is cut short.
    pub incomplete: u64,
    /// Nodes folded into "remainder" frames because of the limit.
    pub hidden_nodes: u64,
    /// All samples by the kind of the frame they ended in (entry `i` of kind `i`, see [`FrameColumns::kind`]), whatever the limit and
    /// the mode. Those of stacks cut short are `incomplete`.
    pub kinds: Vec<u64>,
    /// All samples of the function that was asked for with `around`; null without.
    pub around: Option<FunctionSamples>,
    /// Time of the range that was recorded; of a heat map's box, its time.
    pub recorded_ms: u64,
    /// What the profiler itself took; null where its executable is not known.
    pub own: Option<OwnWork>,
    /// The process that took the most besides the profiler, and its hottest function, whatever the limit and the mode; null without samples.
    pub hottest: Option<Hottest>,
    /// Strings that the frames point into.
    pub strings: Vec<String>,
    /// Distinct frames.
    pub frames: FrameColumns,
    /// The tree, depth first: see [`NodeColumns`].
    pub nodes: NodeColumns,
}

/// The profiler's own work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct OwnWork {
    /// Its executable, a value of the label `exe`.
    pub exe: String,
    /// Names of processes that are all the profiler's own: none of theirs is another program's that is only called so.
    pub names: Vec<String>,
    /// Samples of all its processes.
    pub total: u64,
}

/// The process with the most samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Hottest {
    /// Name of the processes, a value of the label `comm`.
    pub process: String,
    /// Samples of them.
    pub total: u64,
    /// The function that most of these ended in; null where none ended in code.
    pub function: Option<HottestFunction>,
}

/// The hottest function of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct HottestFunction {
    /// Name.
    pub name: String,
    /// What it is, as in [`FrameColumns::kind`].
    pub kind: u8,
    /// Path of its binary.
    pub binary: Option<String>,
    /// Its source file.
    pub file: Option<String>,
    /// Samples of the process that ended in it.
    #[serde(rename = "self")]
    pub self_: u64,
}

/// A function's samples, as `/api/v1/top` has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct FunctionSamples {
    /// Samples with it on the stack, recursion counted once.
    pub total: u64,
    /// Samples that ended in it.
    #[serde(rename = "self")]
    pub self_: u64,
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
    /// Why there is no name (a `reason` of `/api/v1/quality`), or of a note how the stack ended (a key of `totals.stacks` in
    /// `/api/v1/status`), in `strings`, or -1.
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
    /// As in [`FlameGraph::scale`].
    pub scale: u64,
    /// As in [`FlameGraph::counts_samples`].
    pub counts_samples: bool,
    /// The most that one sample adds to the numbers: 1 where these are samples, else the time between two of the slowest rate. The numbers
    /// are at most as noisy as if each sample added so much.
    pub heaviest: u64,
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
