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
mod name_again;
mod names;
mod notice;
mod open_range;
mod output;
mod owner;
mod pace;
mod pauses;
mod record;
mod recorder;
mod run;
mod sampling;
mod serve;
mod slice;
mod sql;
mod stop;
mod symbolize;
mod unwinding;
mod upkeep;
mod url;
mod waiting;
mod window_queue;
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
        Command::SymbolizerWorker => Ok(crate::symbolizer::worker_main(compile_rows).map(|()| ExitCode::SUCCESS)?),
    }
}

/// What the child does with a file whose unwind rows are wanted.
fn compile_rows(file: &File, out: &mut dyn Write) -> Result<(), u8> {
    crate::unwind::compile_file(file, out).map(drop).map_err(|error| error.code())
}
