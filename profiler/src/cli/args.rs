//! The words of the command line, as clap reads them. What they mean is checked where they are used.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Parser, Subcommand, ValueEnum};

use crate::annotate::SourceRoot;
use crate::profile::{Demangle, NameSources};

/// Where the page is, unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7117";

const EXIT_CODES: &str = "\
Exit codes:
  0    done (record -- COMMAND: the command's own code, 128 + n when signal n ended it)
  1    something failed; the message says what
  2    the command line makes no sense
  3    no samples, or none that match
  4    not allowed; the message says how to grant it
  5    this kernel lacks something
  6    the address cannot be listened on
  7    the database cannot be used
  126  the command of `record` may not be executed
  127  the command of `record` was not found
  130  interrupted twice";

const EXAMPLES: &str = "\
Examples:
  sudo profiler run                               sample this host, open http://127.0.0.1:7117
  sudo profiler record -d 30 -o cpu.svg           thirty seconds of the whole host as a flame graph
  sudo profiler record -o make.folded -- make -j  one command and its children, as folded stacks
  profiler serve saved.db                         browse a recording, no privileges needed
  profiler export --from now-15m --filter '{comm=\"postgres\"}' -o pg.folded
  profiler db backup -o copy.db                   a copy of one moment, while the profiler goes on
  profiler doctor                                 what this host offers, what is missing, how to fix it";

/// A continuous profiler: samples every process and the kernel by eBPF, keeps the history, shows flame graphs.
#[derive(Debug, Parser)]
#[command(name = "profiler", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sample this host around the clock, keep the history, serve the page.
    Run(RunArgs),
    /// Sample once: a command, some processes or the whole host, into a file.
    Record(RecordArgs),
    /// Browse a database that was recorded earlier. Needs no privileges.
    Serve(ServeArgs),
    /// Print a link that lets one browser into the page of a running `run` or `serve`, once, within ten minutes.
    Url(UrlArgs),
    /// Write a range of a database as folded stacks or as a flame graph picture.
    Export(ExportArgs),
    /// Ask the database in SQL: read-only, within limits. The tables are described in docs/sql.md.
    Sql(SqlArgs),
    /// Say how well each binary is named: where names were found, why others are missing, what helps.
    Names(NamesArgs),
    /// Name again what had no name: debug packages may have come since, or a file is given by hand.
    Symbolize(SymbolizeArgs),
    /// Look after a database: what it holds, whether it is sound, a backup, less of it. A running profiler goes on meanwhile.
    Db(DbArgs),
    /// Check what this host offers for profiling, and say how to fix what is missing.
    Doctor(DoctorArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Write the manual pages into a folder.
    Man(ManArgs),
    /// The child process that reads foreign files.
    #[command(name = "symbolizer-worker", hide = true)]
    SymbolizerWorker,
}

/// How to sample.
#[derive(Clone, Debug, clap::Args)]
pub struct SamplingArgs {
    /// Samples per second and CPU, 1 to 10000. Prime numbers do not beat with periodic work [default: 97, or the kernel's limit where
    /// that is lower].
    #[arg(short = 'F', long = "frequency", visible_alias = "rate", value_name = "HZ")]
    pub frequency: Option<u32>,
    /// What makes the samples.
    #[arg(short = 'e', long, value_enum, default_value_t = EventArg::Auto)]
    pub event: EventArg,
    /// How user stacks are walked.
    #[arg(long, value_enum, default_value_t = UnwindArg::Auto)]
    pub unwind: UnwindArg,
    #[command(flatten)]
    pub tables: UnwindArgs,
    /// Ask these servers for debug files that are not here: build ids of what runs here are sent to them. Without a value, those of
    /// DEBUGINFOD_URLS.
    #[arg(long, value_name = "URLS", num_args = 0..=1, require_equals = true, default_missing_value = "", env = "PROFILER_DEBUGINFOD")]
    pub debuginfod: Option<String>,
    #[command(flatten)]
    pub naming: NamingArgs,
    /// Slots of the user stack map, a power of two: fewer use less kernel memory and send stacks more often.
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = power_of_two, hide = true)]
    pub user_stack_slots: u32,
    /// Buckets of each kernel stack map, a power of two.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = power_of_two, hide = true)]
    pub kernel_stack_buckets: u32,
    /// Walk by tail calls, as on kernels before 5.17, where there is bpf_loop too.
    #[arg(long, hide = true)]
    pub walk_by_tail_calls: bool,
    /// Length of a window: what a kill -9 or a power cut can lose.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = window, hide = true)]
    pub window: Duration,
}

/// Memory and disk of the unwind tables.
#[derive(Clone, Debug, clap::Args)]
pub struct UnwindArgs {
    /// Most kernel memory for unwind tables; the files used longest ago go first.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", env = "PROFILER_UNWIND_MEMORY")]
    pub unwind_memory: ByteSize,
    /// Where unwind tables and names are kept for the next start [default: /var/cache/profiler as root, else below $XDG_CACHE_HOME].
    #[arg(long, value_name = "FOLDER", env = "PROFILER_CACHE")]
    pub cache: Option<PathBuf>,
}

/// How to name.
#[derive(Clone, Debug, clap::Args)]
pub struct NamingArgs {
    /// What names may come from: a list of sources (dwarf,symtab), or what to leave out (-debug_file,-dwz) [default: all].
    ///
    /// There are dwarf, symtab, dynsym, gnu_debugdata, debug_file, dwz, dwo, debuginfod, go, perf_map, jitdump, kallsyms, bpf, vdso.
    #[arg(long, value_name = "SOURCES", default_value = "all", hide_default_value = true, allow_hyphen_values = true,
          env = "PROFILER_NAMES", value_parser = NameSources::parse)]
    pub names: NameSources,
}

fn power_of_two(text: &str) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_power_of_two() && number <= 1 << 22 {
        Ok(number)
    } else {
        Err("not a power of two up to 4194304".into())
    }
}

/// Choice of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventArg {
    /// CPU cycles where a short test shows that the counter works, else the software clock.
    Auto,
    /// The software CPU clock: works everywhere.
    CpuClock,
    /// The CPU's cycle counter: also sees code with interrupts off.
    Cycles,
}

/// Choice of how to walk user stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnwindArg {
    /// By the unwind rows of the files (.eh_frame), and by frame pointers where a file or a JIT has none.
    Auto,
    /// By unwind rows only.
    Dwarf,
    /// By frame pointers only: cheapest, and blind where programs are built without them.
    Fp,
}

/// `run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The database [default: /var/lib/profiler/profiler.db as root, else below $XDG_DATA_HOME].
    #[arg(long, value_name = "FILE", env = "PROFILER_DB")]
    pub db: Option<PathBuf>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Sample these processes and their children only.
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',', conflicts_with = "cgroup")]
    pub pids: Vec<u32>,
    /// Sample one cgroup (version 2) and those below it only.
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Keep no history older than this; ten-second detail goes after 30 days, five minutes after 90.
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = duration, env = "PROFILER_KEEP")]
    pub keep: Duration,
    /// When the database, with those that were set aside, is larger than this, forget those first, then the oldest detail; sample times (24 h, at most 1 GiB) are counted apart.
    #[arg(long, value_name = "SIZE", default_value = "10GiB", env = "PROFILER_KEEP_SIZE")]
    pub keep_size: ByteSize,
}

/// Where to serve.
#[derive(Clone, Debug, clap::Args)]
pub struct ListenArgs {
    /// Address and port of the page.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN, env = "PROFILER_LISTEN")]
    pub listen: SocketAddr,
    /// Also answer requests for this host name, besides localhost (behind a proxy, say). May be repeated.
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allow_hosts: Vec<String>,
    /// Where the source text of functions is: what was compiled below FROM is below TO here. May be repeated; the page shows files below
    /// TO that samples name, and no others.
    #[arg(long = "source-map", value_name = "FROM=TO")]
    pub source_map: Vec<SourceRoot>,
    /// Let everybody who reaches the address read every profile, without a login.
    #[arg(long)]
    pub no_login: bool,
    /// Ask everybody for a login, also the user who started this and asks from this host.
    #[arg(long, conflicts_with = "no_login")]
    pub always_login: bool,
    /// Let everybody who reaches the address read `/metrics`.
    #[arg(long, conflicts_with = "metrics_token_file")]
    pub open_metrics: bool,
    /// Also answer `/metrics` to who sends `Authorization: Bearer` with what this file holds (32 letters and digits or more).
    #[arg(long, value_name = "FILE", env = "PROFILER_METRICS_TOKEN_FILE")]
    pub metrics_token_file: Option<PathBuf>,
}

/// `record`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The file's extension chooses the format: .folded (stacks, for flame graph tools), .svg (flame graph),\n\
                        .pb.gz (pprof), .db (everything, for `profiler serve`). `-o -` writes folded stacks to standard output."
)]
pub struct RecordArgs {
    /// Sample these processes and their children.
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',', group = "who")]
    pub pids: Vec<u32>,
    /// Sample the whole host (the default without a command).
    #[arg(short, long, group = "who")]
    pub all: bool,
    /// Sample one cgroup (version 2) and those below it.
    #[arg(long, value_name = "PATH", group = "who")]
    pub cgroup: Option<PathBuf>,
    /// Stop after this long (30, 30s, 5m) [default: when the command ends, or at Ctrl-C].
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// What of functions' names goes into the outputs; a .db keeps all of it.
    #[arg(long, value_enum, default_value_t = DemangleArg::Full)]
    pub demangle: DemangleArg,
    /// Where to write: FILE.folded, FILE.svg, FILE.html, FILE.pb.gz, FILE.db, or - for folded stacks on standard output. May be repeated.
    #[arg(short, long, value_name = "FILE", default_value = "profile.db")]
    pub output: Vec<PathBuf>,
    /// The command to run and sample, with its children, from its first instruction.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

/// `serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// The database.
    #[arg(value_name = "DB")]
    pub db: PathBuf,
    #[command(flatten)]
    pub listen: ListenArgs,
}

/// `url`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The link is made from the token in DB.token, which whoever runs this must be allowed to read.\n\
                        Programs send the token itself: curl -H \"Authorization: Bearer $(sudo cat DB.token)\" ..."
)]
pub struct UrlArgs {
    /// The database that is served [default: where `run` keeps it].
    #[arg(long, value_name = "FILE", env = "PROFILER_DB")]
    pub db: Option<PathBuf>,
    /// Where the page is, as the profiler was told.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN, env = "PROFILER_LISTEN")]
    pub listen: SocketAddr,
    /// Where the browser finds the page, such as http://localhost:8000 (by ssh -L) or https://prof.example/path/ (by a proxy)
    /// [default: http:// and the address of --listen].
    #[arg(long, value_name = "URL", value_parser = base)]
    pub base: Option<String>,
    /// Make another token first: all sessions and links end, and programs need the new one.
    #[arg(long)]
    pub rotate: bool,
}

/// What an address bar can hold, up to the page.
fn base(text: &str) -> Result<String, String> {
    let uri: actix_web::http::Uri = text.parse().map_err(|error| format!("{error}"))?;
    let web = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none();
    if web {
        Ok(text.to_owned())
    } else {
        Err("write it like http://localhost:8000 or https://prof.example/path/".into())
    }
}

/// `export`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// The database [default: where `run` keeps it].
    #[arg(long, value_name = "FILE", env = "PROFILER_DB")]
    pub db: Option<PathBuf>,
    /// Start: now-1h, 2026-11-22T10:00:00Z, or Unix time.
    #[arg(long, value_name = "TIME", default_value = "now-1h")]
    pub from: String,
    /// End, in the same forms.
    #[arg(long, value_name = "TIME", default_value = "now")]
    pub to: String,
    /// Label selector, such as '{comm="postgres", container=~"web-.*"}'.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    pub filter: String,
    /// The format [default: by the output's extension, else folded].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// What of functions' names is written; a .db keeps all of it.
    #[arg(long, value_enum, default_value_t = DemangleArg::Full)]
    pub demangle: DemangleArg,
    /// Where to write; - is standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
}

/// What of functions' names is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemangleArg {
    /// As the source has them.
    Full,
    /// Without parameters and generic arguments.
    Simple,
    /// As the linker has them.
    None,
}

impl From<DemangleArg> for Demangle {
    fn from(arg: DemangleArg) -> Self {
        match arg {
            DemangleArg::Full => Self::Full,
            DemangleArg::Simple => Self::Simple,
            DemangleArg::None => Self::None,
        }
    }
}

/// Export formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line a stack, `process;function;function count`.
    Folded,
    /// A flame graph picture.
    Svg,
    /// One page with a flame graph to look around in, without a network (`.html`).
    Html,
    /// pprof's gzipped protobuf (`.pb.gz`): for `go tool pprof`, speedscope, Grafana.
    Pprof,
    /// A small database of its own (`.db`): for `profiler serve`.
    Db,
}

/// `sql`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Tables: samples and frames (of the range and filter), v_samples, v_functions, v_locations, v_processes, v_binaries,\n\
                        v_windows, v_history (of the whole database, in any SQLite shell too).\n\n\
                        Example: profiler sql 'SELECT comm, sum(cpu_seconds) FROM samples GROUP BY comm ORDER BY 2 DESC' --from now-1d"
)]
pub struct SqlArgs {
    /// One question, such as 'SELECT * FROM v_windows'.
    #[arg(value_name = "SELECT")]
    pub question: String,
    /// The database [default: where `run` keeps it].
    #[arg(long, value_name = "FILE", env = "PROFILER_DB")]
    pub db: Option<PathBuf>,
    /// Start of what the tables `samples` and `frames` hold: now-1h, 2026-11-22T10:00:00Z, or Unix time.
    #[arg(long, value_name = "TIME", default_value = "now-1h")]
    pub from: String,
    /// End, in the same forms.
    #[arg(long, value_name = "TIME", default_value = "now")]
    pub to: String,
    /// Label selector for these tables, such as '{comm="postgres"}'.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    pub filter: String,
    /// The shape of the answer.
    #[arg(long, value_enum, default_value_t = SqlFormat::Table)]
    pub format: SqlFormat,
    /// Most rows of the answer.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub limit: u64,
    /// Longest time the question may take.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

/// Shapes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SqlFormat {
    /// Columns, for people.
    Table,
    /// A list of objects.
    Json,
    /// With a line of names.
    Csv,
}

/// `names`.
#[derive(Clone, Debug, clap::Args)]
pub struct NamesArgs {
    /// The database [default: where `run` keeps it].
    #[arg(long, value_name = "FILE", env = "PROFILER_DB")]
    pub db: Option<PathBuf>,
    /// Start: now-1h, 2026-11-22T10:00:00Z, or Unix time.
    #[arg(long, value_name = "TIME", default_value = "now-1h")]
    pub from: String,
    /// End, in the same forms.
    #[arg(long, value_name = "TIME", default_value = "now")]
    pub to: String,
    /// Label selector, such as '{comm="postgres"}'.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    pub filter: String,
    /// Most binaries, those with the most frames without a name first.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub limit: usize,
}

/// `symbolize`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Samples are not touched; a name becomes better or stays. A running profiler does it by itself when asked:\n\
                        curl -X POST localhost:7117/api/v1/symbolize  (by another user: with the token, see `profiler url --help`)"
)]
pub struct SymbolizeArgs {
    /// The database [default: where `run` keeps it].
    #[arg(long, value_name = "FILE", env = "PROFILER_DB")]
    pub db: Option<PathBuf>,
    /// A program or library with its symbols, or its debug file, for what has the same build id. May be repeated.
    #[arg(long = "file", value_name = "BINARY")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub naming: NamingArgs,
    /// Also ask about what has a name, for more inlined functions, files and lines.
    #[arg(long)]
    pub all: bool,
}

/// `db`.
#[derive(Clone, Debug, clap::Args)]
pub struct DbArgs {
    /// The database [default: where `run` keeps it].
    #[arg(long, value_name = "FILE", env = "PROFILER_DB", global = true)]
    pub db: Option<PathBuf>,
    /// What to do with it.
    #[command(subcommand)]
    pub command: DbCommand,
}

/// What can be done with a database.
#[derive(Clone, Debug, Subcommand)]
pub enum DbCommand {
    /// What it holds and what that costs: samples, bytes a sample, MB for each CPU and day, tables.
    Stats {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Whether it is sound: SQLite's checks and our own, blob by blob. Exits with 7 when it is not.
    Check,
    /// Copy it as it is at one moment into a new file.
    Backup {
        /// The copy; must not exist.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Give free space back to the file system. At rest the whole file is written anew, which needs as much room again.
    Compact,
}

/// `doctor`.
#[derive(Clone, Debug, clap::Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub unwind: UnwindArgs,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `completions`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Clone, Debug, clap::Args)]
pub struct ManArgs {
    /// An existing folder.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
}

/// `30` (seconds), `30s`, `5m`, `1h30m`, `30d`.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a time: write 30, 30s, 5m, 1h or 30d");
    let duration = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let span: jiff::Span = text.parse().map_err(|_| bad())?;
            let days = jiff::SpanRelativeTo::days_are_24_hours();
            Duration::try_from(span.to_duration(days).map_err(|_| bad())?).map_err(|_| bad())?
        }
    };
    if duration.is_zero() { Err(format!("{text:?} is no time at all: write 30s or more")) } else { Ok(duration) }
}

/// A window's length: long enough to be stored in its own time, short enough to be held in memory.
fn window(text: &str) -> Result<Duration, String> {
    let window = duration(text)?;
    if (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&window) {
        Ok(window)
    } else {
        Err("a window is 100ms to 1h long".into())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use clap::CommandFactory as _;

    use super::*;

    /// Clap's own check of the whole definition.
    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    /// Bare numbers are seconds; units are as people write them; nonsense and zero are refused.
    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("30", 30), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("30d", 30 * 86_400)] {
            assert_eq!(duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for text in ["", "0", "-5s", "soon", "5 parsecs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    /// Lengths that would overflow a clock or never be reached are refused.
    #[test]
    fn windows_have_a_sensible_length() {
        assert_eq!(window("200ms").unwrap(), Duration::from_millis(200));
        for text in ["1ms", "2h", "999999999999"] {
            assert!(window(text).is_err(), "{text}");
        }
    }

    /// The page's address is one that a browser opens.
    #[test]
    fn a_base_is_a_web_address() {
        for good in ["http://localhost:8000", "https://prof.example/path/", "http://[::1]:7117/"] {
            assert_eq!(base(good).as_deref(), Ok(good));
        }
        for bad in ["", "localhost:8000", "ftp://x/", "/path", "http://x/?a=b", "javascript:alert(1)"] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }

    /// What follows `--` belongs to the command, options included.
    #[test]
    fn a_commands_own_options_are_left_alone() {
        let args = Args::try_parse_from(["profiler", "record", "-F", "199", "-o", "x.svg", "--", "ls", "-la"]).unwrap();
        let Command::Record(record) = args.command else { panic!("not record") };
        assert_eq!(record.command, ["ls", "-la"]);
        assert_eq!(record.sampling.frequency, Some(199));
    }

    /// Two answers to "whom?" are a mistake.
    #[test]
    fn targets_exclude_each_other() {
        assert!(Args::try_parse_from(["profiler", "record", "-a", "-p", "1"]).is_err());
        assert!(Args::try_parse_from(["profiler", "run", "-p", "1", "--cgroup", "/x"]).is_err());
    }
}
