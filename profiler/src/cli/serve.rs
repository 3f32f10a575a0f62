//! `profiler serve DB`: browse what was recorded, without privileges.

use std::path::PathBuf;
use std::process::ExitCode;

use super::args::{ListenArgs, ServeArgs};
use super::stop::Stop;
use crate::server::{self, Recording, ServerOptions};
use crate::sys::clock::wall_now;

/// Runs the command.
///
/// # Errors
/// The database or the address cannot be had.
pub fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let bound = server::bind(server_options(&args.listen, args.db.clone()))?;
    eprintln!("serving {}\nopen {}  (Ctrl-C stops)", args.db.display(), bound.url());
    bound.run(Recording::None, stop.reached(|| true))?;
    Ok(ExitCode::SUCCESS)
}

/// What `--listen` and its companions say.
pub fn server_options(args: &ListenArgs, database: PathBuf) -> ServerOptions {
    ServerOptions {
        listen: args.listen,
        allow_remote: args.insecure_no_auth,
        allow_hosts: args.allow_hosts.clone(),
        source_roots: args.source_map.clone(),
        ..ServerOptions::new(database, wall_now)
    }
}
