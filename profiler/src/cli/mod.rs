//! The command line: words become options, rooms are wired together, errors become exit codes.
//!
//! One file a command. Nothing here samples, stores or draws; everything here says what the others should do.

mod args;
mod completions;
mod db;
mod doctor;
mod exit;
mod export;
mod host;
mod keep;
mod name_again;
mod names;
mod notice;
mod open;
mod open_range;
mod output;
mod outputs;
mod owner;
mod pace;
mod pauses;
mod record;
mod recorder;
mod run;
mod sampling;
mod select;
mod serve;
mod slice;
mod sql;
mod stop;
mod summary;
mod symbolize;
mod unwinding;
mod upkeep;
mod url;
mod voice;
mod waiting;
mod window_queue;
mod words;
mod writer;

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

pub use args::Args;
use args::Command;
pub use exit::exit_code;

/// Does what `args` say.
///
/// # Errors
/// Anything that kept the command from its work; [`exit_code`] says what to exit with.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.quiet {
        voice::be_quiet();
    }
    let other = |command| Err(exit::Usage(words::other(command)).into());
    match args.command {
        Command::Run(args) => run::run(&args),
        Command::Record(args) => record::record(args),
        Command::Serve(args) => serve::serve(&args),
        Command::Url(args) => url::url(&args),
        Command::Export(args) => export::export(&args),
        Command::Sql(args) => sql::sql(&args),
        Command::Names(args) => names::names(&args),
        Command::Symbolize(args) => symbolize::symbolize(&args),
        Command::Db(args) => db::db(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
        Command::Report(_) => other("report"),
        Command::Top(_) => other("top"),
        Command::Script(_) => other("script"),
        Command::Flamegraph(_) => other("flamegraph"),
        Command::Diff(_) => other("diff"),
        Command::Import(_) => other("import"),
        Command::Version(_) => other("version"),
        Command::SymbolizerWorker => Ok(crate::symbolizer::worker_main(compile_rows).map(|()| ExitCode::SUCCESS)?),
    }
}

/// What the child does with a file whose unwind rows are wanted.
fn compile_rows(file: &File, out: &mut dyn Write) -> Result<(), u8> {
    crate::unwind::compile_file(file, out).map(drop).map_err(|error| error.code())
}
