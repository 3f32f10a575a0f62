//! The sampler, the database, and what went wrong.

use serde::Serialize;
use utoipa::ToSchema;

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

/// The sampler, live.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Recording {
    /// `cpu-clock` or `cycles`.
    pub event: String,
    /// Samples per second and CPU.
    pub hz: u32,
    /// CPUs online.
    pub cpus: u32,
    /// Samples per second and CPU that are wanted: more than `hz` while the kernel's limit is lower.
    pub hz_wanted: u32,
    /// Since when.
    pub since_ms: i64,
    /// Length of a window.
    pub window_ms: u64,
    /// Age of the end of the newest stored window.
    pub lag_ms: u64,
    /// What is late, when that is older than three windows: `sampling` (no window is closed) or `storing` (closed ones wait); else null.
    pub late: Option<String>,
    /// The process whose mappings the sampling thread waits for, such as `mapbomb (pid 4711)`; null where it waits for none.
    pub waits_for: Option<String>,
    /// Processor time used so far: by this process and by its children (which parse foreign files), those that have ended too.
    pub cpu_ms: u64,
    /// Resident memory of them.
    pub rss_bytes: u64,
    /// Of the processor time, the children's.
    pub children_cpu_ms: u64,
    /// Of the memory, the children's.
    pub children_rss_bytes: u64,
    /// Ticks that were due and that the sampling program did not see, by cause, since the start.
    pub ticks_missed: std::collections::BTreeMap<String, u64>,
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
    /// `ok`, `starting` or `failing`.
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
    /// A command that helps, for a shell of the profiler's host; null where none does.
    pub command: Option<String>,
}
