//! The words of the command line, as clap reads them. What they mean is checked where they are used.

mod sampling;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Parser, Subcommand, ValueEnum};

pub use self::sampling::{EventArg, NamingArgs, SamplingArgs, UnwindArg, UnwindArgs, WhoArgs};
pub use self::values::{FrequencyArg, PidList};
use self::values::{base, duration, listen, pid_list};
use super::exit::Usage;
use super::{host, words};
use crate::annotate::SourceRoot;
use crate::profile::Demangle;

/// Where the page is, unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7117";

const EXIT_CODES: &str = "\
Exit codes:
  0    done; `record COMMAND` exits with the command's own code, 128 + n when signal n ended it
  1    something failed, an output of `record COMMAND` was lost, say; the message says what
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
  profiler serve saved.db --open                  browse a recording, no privileges needed
  profiler export --from now-15m --filter '{comm=\"postgres\"}' -o pg.folded
  profiler db backup -o copy.db                   a copy of one moment, while the profiler goes on
  profiler doctor                                 what this host lacks, and how to fix it";

const ENVIRONMENT: &str = "\
Environment:
  PROFILER_LOG     what is logged, as `warn` or `profiler::store=debug`; -v and -q are shorter
  PROFILER_DB, PROFILER_LISTEN, PROFILER_CACHE and others stand beside their options";

/// A continuous profiler: samples every process and the kernel by eBPF, keeps the history, shows flame graphs.
#[derive(Debug, Parser)]
#[command(name = "profiler", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}\n\n{ENVIRONMENT}"))]
pub struct Args {
    /// Log more of what happens; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Messages")]
    pub verbose: u8,
    /// Say nothing but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Messages")]
    pub quiet: bool,
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
    /// Not here: perf has it.
    #[command(hide = true)]
    Report(OtherArgs),
    /// Not here: perf and pprof have it.
    #[command(hide = true)]
    Top(OtherArgs),
    /// Not here: perf has it.
    #[command(hide = true)]
    Script(OtherArgs),
    /// Not here: cargo has it.
    #[command(hide = true)]
    Flamegraph(OtherArgs),
    /// Not here: perf has it.
    #[command(hide = true)]
    Diff(OtherArgs),
    /// Not here: samply and others have it.
    #[command(hide = true)]
    Import(OtherArgs),
    /// Not here: git and others have it.
    #[command(hide = true)]
    Version(OtherArgs),
    /// The child process that reads foreign files.
    #[command(name = "symbolizer-worker", hide = true)]
    SymbolizerWorker,
}

impl Args {
    /// Reads the command line; ends the program where it makes no sense.
    #[must_use]
    pub fn of(typed: Vec<OsString>) -> Self {
        Self::try_of(typed).unwrap_or_else(|error| error.exit())
    }

    fn try_of(typed: Vec<OsString>) -> Result<Self, clap::Error> {
        let joined = words::join_pids(typed.iter().cloned());
        match Self::try_parse_from(&typed) {
            // The shell made several words of the process ids: the second one is no command.
            Ok(Self { command: Command::Record(record), .. }) if joined != typed && record.begins_with_pid() => {
                Self::try_parse_from(joined)
            }
            Ok(Self { command: Command::Run(_), .. }) | Err(_) if joined != typed => Self::try_parse_from(joined),
            parsed => parsed,
        }
    }
}

/// Words behind a command that other profilers have.
#[derive(Clone, Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct OtherArgs {
    /// What stands behind it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub words: Vec<OsString>,
}

/// A database that is read.
#[derive(Clone, Debug, clap::Args)]
pub struct DbFileArgs {
    /// The database [default: where `run` keeps it].
    #[arg(value_name = "DB")]
    pub file: Option<PathBuf>,
    /// The same as an option.
    #[arg(long, value_name = "FILE", env = "PROFILER_DB")]
    pub db: Option<PathBuf>,
}

impl DbFileArgs {
    /// Which it is.
    ///
    /// # Errors
    /// Two are named.
    pub fn path(&self) -> Result<PathBuf, Usage> {
        database(self.file.as_deref(), self.db.as_deref())
    }
}

/// The database that is meant: by its place on the command line, by `--db` or `PROFILER_DB`, or the one that `run` keeps.
///
/// # Errors
/// Two are named.
pub fn database(file: Option<&Path>, option: Option<&Path>) -> Result<PathBuf, Usage> {
    let environment = std::env::var_os("PROFILER_DB").map(PathBuf::from);
    match (file, option) {
        (Some(file), Some(option)) if file != option && Some(option) != environment.as_deref() => {
            Err(Usage(format!("two databases, {} and {}: name one", file.display(), option.display())))
        }
        (Some(named), _) | (None, Some(named)) => Ok(named.to_owned()),
        (None, None) => Ok(host::default_database()),
    }
}

/// Which samples of a database.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Which samples")]
pub struct RangeArgs {
    /// Start: now-1h, 2026-11-22T10:00:00Z, or Unix time.
    #[arg(long, value_name = "TIME", default_value = "now-1h")]
    pub from: String,
    /// End, in the same forms.
    #[arg(long, value_name = "TIME", default_value = "now")]
    pub to: String,
    /// Label selector, such as '{comm="postgres", container=~"web-.*"}'.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    pub filter: String,
    /// Processes of this name. May be repeated, as those below.
    #[arg(long = "comm", value_name = "NAME")]
    pub comms: Vec<String>,
    /// Processes of this systemd unit.
    #[arg(long = "unit", value_name = "UNIT")]
    pub units: Vec<String>,
    /// Processes of this container: its id, or the beginning of it.
    #[arg(long = "container", value_name = "ID")]
    pub containers: Vec<String>,
    /// Process with this id.
    #[arg(short, long = "pid", value_name = "PID", value_parser = pid_list)]
    pub pids: Vec<PidList>,
}

/// `run`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example: sudo profiler run -F 49 --keep 30d --keep-size 5GiB --listen 0.0.0.0:7117")]
pub struct RunArgs {
    /// The database [default: /var/lib/profiler/profiler.db as root, else below $XDG_DATA_HOME].
    #[arg(value_name = "DB")]
    pub file: Option<PathBuf>,
    /// The same as an option.
    #[arg(long, value_name = "FILE", env = "PROFILER_DB")]
    pub db: Option<PathBuf>,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Keep no history older than this; ten-second detail goes after 30 days, five minutes after 90.
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = duration, env = "PROFILER_KEEP", help_heading = "Memory and disk")]
    pub keep: Duration,
    /// When the database, with those that were set aside, is larger than this, forget those first, then the oldest detail; sample times (24 h, at most 1 GiB) are counted apart.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "10GiB",
        env = "PROFILER_KEEP_SIZE",
        help_heading = "Memory and disk"
    )]
    pub keep_size: ByteSize,
}

/// Where to serve.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The page")]
pub struct ListenArgs {
    /// Address and port of the page. A port alone (7117, :7117) is one of this host only; 0.0.0.0:7117 is one of all its addresses.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN, env = "PROFILER_LISTEN", value_parser = listen)]
    pub listen: SocketAddr,
    /// Open the page in a browser.
    #[arg(long)]
    pub open: bool,
    /// Also answer requests for this host name, besides localhost (behind a proxy, say). May be repeated.
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allow_hosts: Vec<String>,
    /// Where the source text of functions is: what was compiled below FROM is below TO here. May be repeated; everybody on the page sees
    /// the files below TO that samples name. Without it the page shows what its viewer could read.
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
#[command(after_help = "\
The file's extension chooses the format: .folded (stacks, for flame graph tools), .svg (flame graph), .html (a page to look \
around in), .pb.gz (pprof), .db (everything, for `profiler serve`). `-o -` writes folded stacks to standard output.

Example: sudo profiler record -F 499 -d 10 -o cpu.html -o cpu.db -- make -j8")]
pub struct RecordArgs {
    /// Sample the whole host (the default without a command).
    #[arg(short, long, conflicts_with_all = ["pids", "tids", "cgroup"], help_heading = "Whom to sample")]
    pub all: bool,
    #[command(flatten)]
    pub who: WhoArgs,
    /// Stop after this long (30, 1.5, 30s, 5m) [default: when the command ends, or at Ctrl-C].
    #[arg(short, long, value_name = "TIME", value_parser = duration, help_heading = "How to sample")]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Where to write: FILE.folded, FILE.svg, FILE.html, FILE.pb.gz, FILE.db, or - for folded stacks on standard output. May be repeated.
    #[arg(short, long, value_name = "FILE", default_value = "profile.db", help_heading = "Output")]
    pub output: Vec<PathBuf>,
    #[command(flatten)]
    pub form: FormArgs,
    /// Open the .html or .svg that was written.
    #[arg(long, help_heading = "Output")]
    pub open: bool,
    /// Write what was recorded as JSON, into FILE or to standard error.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// The command to run and sample, with its children, from its first instruction. Everything behind it is its own.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl RecordArgs {
    /// Whether what looks like the command is a process id that belongs to `-p`.
    fn begins_with_pid(&self) -> bool {
        let first = self.command.first().and_then(|word| word.to_str());
        !self.who.pids.is_empty() && first.is_some_and(|word| word.parse::<u32>().is_ok())
    }
}

/// How outputs are written.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct FormArgs {
    /// Replace files that exist.
    #[arg(short = 'f', long)]
    pub force: bool,
    /// What of functions' names goes into the outputs; a .db keeps all of it.
    #[arg(long, value_enum, default_value_t = DemangleArg::Full)]
    pub demangle: DemangleArg,
    /// In pprof files, begin each stack with a frame that names its process (folded stacks do anyway).
    #[arg(long)]
    pub process_frames: bool,
}

/// `serve`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example: profiler serve host.db --listen 7503 --open")]
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
    after_help = "The link is made from the token in DB.token, which whoever runs this must be allowed to read.\n\n\
                        Programs send the token itself: curl -H \"Authorization: Bearer $(sudo cat DB.token)\" ...\n\n\
                        Example: sudo profiler url --base http://localhost:8000"
)]
pub struct UrlArgs {
    #[command(flatten)]
    pub database: DbFileArgs,
    /// Where the page is, as the profiler was told.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN, env = "PROFILER_LISTEN", value_parser = listen)]
    pub listen: SocketAddr,
    /// Where the browser finds the page, such as http://localhost:8000 (by ssh -L) or https://prof.example/path/ (by a proxy)
    /// [default: http:// and the address of --listen].
    #[arg(long, value_name = "URL", value_parser = base)]
    pub base: Option<String>,
    /// Make another token first: all sessions and links end, and programs need the new one.
    #[arg(long)]
    pub rotate: bool,
}

/// `export`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example: profiler export host.db --from now-15m --comm postgres -o postgres.svg")]
pub struct ExportArgs {
    #[command(flatten)]
    pub database: DbFileArgs,
    #[command(flatten)]
    pub range: RangeArgs,
    /// The format [default: by the output's extension; folded stacks to standard output].
    #[arg(long, value_enum, help_heading = "Output")]
    pub format: Option<Format>,
    /// Where to write: FILE.folded, FILE.svg, FILE.html, FILE.pb.gz, FILE.db, or - for standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-", help_heading = "Output")]
    pub output: PathBuf,
    #[command(flatten)]
    pub form: FormArgs,
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
    after_help = "Tables: samples and frames (of the range and filter), v_samples, v_functions, v_locations, v_processes, v_binaries, \
                        v_windows, v_history (of the whole database, in any SQLite shell too).\n\n\
                        Example: profiler sql host.db 'SELECT comm, sum(cpu_seconds) FROM samples GROUP BY 1' --from now-1d"
)]
pub struct SqlArgs {
    /// One question, such as 'SELECT * FROM v_windows', and the database [default: where `run` keeps it], in any order.
    #[arg(value_name = "DB or SELECT", num_args = 1..=2, required = true)]
    pub words: Vec<String>,
    /// The database as an option.
    #[arg(long, value_name = "FILE", env = "PROFILER_DB")]
    pub db: Option<PathBuf>,
    #[command(flatten)]
    pub range: RangeArgs,
    /// The shape of the answer.
    #[arg(long, value_enum, default_value_t = SqlFormat::Table, help_heading = "Output")]
    pub format: SqlFormat,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    pub json: bool,
    /// Most rows of the answer.
    #[arg(long, value_name = "N", default_value_t = 10_000, help_heading = "Output")]
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
#[command(after_help = "Example: profiler names host.db --limit 5")]
pub struct NamesArgs {
    #[command(flatten)]
    pub database: DbFileArgs,
    #[command(flatten)]
    pub range: RangeArgs,
    /// Most binaries, those with the most frames without a name first.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub limit: usize,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `symbolize`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Samples are not touched; a name becomes better or stays. A running profiler does it by itself when asked, by \
                        another user with the token (see `profiler url --help`): curl -X POST localhost:7117/api/v1/symbolize\n\n\
                        Example: sudo profiler symbolize host.db --file ./server.debug"
)]
pub struct SymbolizeArgs {
    #[command(flatten)]
    pub database: DbFileArgs,
    /// What was done as JSON.
    #[arg(long)]
    pub json: bool,
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
#[command(after_help = "Example: profiler db stats host.db --json")]
pub struct DbArgs {
    /// The database [default: where `run` keeps it].
    #[arg(long, value_name = "FILE", env = "PROFILER_DB", global = true)]
    pub db: Option<PathBuf>,
    /// What was found or done as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do with it.
    #[command(subcommand)]
    pub command: DbCommand,
}

/// The database, by its place on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct FileArgs {
    /// The database [default: where `run` keeps it].
    #[arg(value_name = "DB")]
    pub file: Option<PathBuf>,
}

/// What can be done with a database.
#[derive(Clone, Debug, Subcommand)]
pub enum DbCommand {
    /// What it holds and what that costs: samples, bytes a sample, MB for each CPU and day, tables.
    Stats(FileArgs),
    /// Whether it is sound: SQLite's checks and our own, blob by blob. Exits with 7 when it is not.
    Check(FileArgs),
    /// Copy it as it is at one moment into a new file.
    Backup {
        #[command(flatten)]
        file: FileArgs,
        /// The copy; must not exist.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Give free space back to the file system. At rest the whole file is written anew, which needs as much room again.
    Compact(FileArgs),
}

impl DbCommand {
    /// The database that it names.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        let (Self::Stats(file) | Self::Check(file) | Self::Compact(file) | Self::Backup { file, .. }) = self;
        file.file.as_deref()
    }
}

/// `doctor`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example: sudo profiler doctor --json")]
pub struct DoctorArgs {
    #[command(flatten)]
    pub unwind: UnwindArgs,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `completions`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example: profiler completions bash > ~/.local/share/bash-completion/completions/profiler
         profiler completions zsh > ~/.zfunc/_profiler          (a folder of $fpath)
         profiler completions fish > ~/.config/fish/completions/profiler.fish")]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example: sudo profiler man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// An existing folder.
    pub folder: PathBuf,
}

#[cfg(test)]
mod tests;
