//! How good the data is: stacks that are cut short, binaries without names.

use serde::Serialize;
use utoipa::ToSchema;

/// `GET /api/v1/quality`: how many stacks are whole, and where, why and whose the others end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Quality {
    /// Samples in all.
    pub samples: u64,
    /// As in [`FlameGraph::scale`].
    pub scale: u64,
    /// As in [`FlameGraph::counts_samples`].
    pub counts_samples: bool,
    /// Those whose user stack is whole, or that have none.
    pub complete: u64,
    /// The others, by falling samples.
    pub incomplete: Vec<Incomplete>,
    /// Rows of `incomplete` that the limit left out.
    pub hidden_rows: u64,
    /// All samples by the kind of the frame they ended in, as in `/api/v1/flamegraph`.
    pub kinds: Vec<u64>,
    /// Those that ended in a function without a name, by falling samples.
    pub unnamed: Vec<Unnamed>,
    /// Rows of `unnamed` that the limit left out.
    pub hidden_unnamed: u64,
    /// Processes that an interpreter or another runtime runs, by falling samples in which no function of the script has a name.
    pub interpreters: Vec<Interpreter>,
    /// Rows of `interpreters` that the limit left out.
    pub hidden_interpreters: u64,
    /// Samples that a function of a script could stand in, of all these rows.
    pub script_total: u64,
    /// Those in which one does.
    pub script_named: u64,
    /// Share of all ticks due that the sampling program did not see, 0 to 1, whole host whatever the filter.
    pub missed_share: f64,
    /// These ticks by cause.
    pub ticks_missed: std::collections::BTreeMap<String, u64>,
}

/// Processes of one name that a runtime runs.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Interpreter {
    /// Name of the processes.
    pub comm: String,
    /// `CPython`, `Ruby`, `PHP`, `Perl`, `Lua`, `LuaJIT`, `V8`, `HotSpot`, `BEAM` or `.NET`.
    pub runtime: String,
    /// Path of a file of the runtime's; null where only code in memory was sampled.
    pub file: Option<String>,
    /// Samples that a function of the script could stand in.
    pub total: u64,
    /// Those in which one does.
    pub named: u64,
    /// What gives the others one, the best first.
    pub remedies: Vec<Remedy>,
}

/// Samples that ended in a function without a name, of one reason, in one file.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Unnamed {
    /// Why: `not_asked` (nobody has looked yet), `file_gone`, `file_refused`, `no_symbols`, `not_found`, `bad_file`, `no_file`,
    /// `kernel_hidden`, `symbolizer_failed`, `switched_off`, `too_many_mappings`, `not_verified` or `not_opened_in_time`.
    pub reason: String,
    /// Path of the file; null without one.
    pub binary: Option<String>,
    /// Samples.
    pub samples: u64,
}

/// `GET /api/v1/binaries`: how well each binary is named, and what helps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Binaries {
    /// By falling frames without a name, then samples.
    pub binaries: Vec<Binary>,
    /// Rows that the limit left out.
    pub hidden_rows: u64,
    /// Frames of all rows, those left out too.
    pub frames: u64,
    /// Those with a name.
    pub named: u64,
    /// One command for the packages with the symbols of the ten heaviest rows that want some; null when fewer than two do.
    pub together: Option<Remedy>,
    /// As in [`FlameGraph::scale`].
    pub scale: u64,
    /// As in [`FlameGraph::counts_samples`].
    pub counts_samples: bool,
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
    /// Why most frames without a name have none, as in [`Unnamed`]; null when all have one.
    pub reason: Option<String>,
    /// What helps, the best first; empty where no help is known.
    pub remedies: Vec<Remedy>,
}

/// What gives frames their names.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Remedy {
    /// A command to copy; null where only the note helps.
    pub command: Option<String>,
    /// What it needs to work, what it does besides, or where the manual is; null when there is nothing to say.
    pub note: Option<String>,
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
