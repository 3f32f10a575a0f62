//! `profiler serve DB`: browse what was recorded, without privileges.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use super::args::{ListenArgs, ServeArgs};
use super::open::open;
use super::owner;
use super::stop::{Hangup, Stop};
use crate::server::{self, Login, LoginMode, LoginOptions, MetricsAccess, Recording, ServerOptions};
use crate::sys::clock::wall_now;

/// Runs the command.
///
/// # Errors
/// The database or the address cannot be had.
pub fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals(Hangup::GoesOn)?;
    let bound = server::bind(server_options(&args.listen, args.db.clone()))?;
    eprintln!("serving {}", args.db.display());
    say_where(&bound.url(), &bound.login(), args.listen.open);
    bound.run(Recording::None, stop.reached(|| true))?;
    Ok(ExitCode::SUCCESS)
}

/// What `--listen` and its companions say.
pub fn server_options(args: &ListenArgs, database: PathBuf) -> ServerOptions {
    ServerOptions {
        listen: args.listen,
        login: login_options(args),
        allow_hosts: args.allow_hosts.clone(),
        source_roots: args.source_map.clone(),
        peer_of: server::key_of,
        ..ServerOptions::new(database, wall_now)
    }
}

fn login_options(args: &ListenArgs) -> LoginOptions {
    let mode = match (args.no_login, args.always_login) {
        (true, _) => LoginMode::Nobody,
        (false, true) => LoginMode::Everyone,
        (false, false) => LoginMode::Others,
    };
    let metrics = match &args.metrics_token_file {
        Some(path) => MetricsAccess::TokenFile(path.clone()),
        None if args.open_metrics => MetricsAccess::Open,
        None => MetricsAccess::Login,
    };
    LoginOptions { mode, starters: owner::starters(), metrics }
}

/// Says where the page is, in the line that begins with `open`, and who may read what should not be readable.
pub fn say_where(url: &str, login: &Login, opens: bool) {
    for notice in login.notices() {
        tracing::warn!("{notice}");
    }
    // More people may read the journal than may read profiles, and it keeps what it was told.
    let link = if is_journal(std::io::stderr()) { url.to_owned() } else { login.link(url) };
    eprintln!("open {link}  (Ctrl-C stops)");
    if opens {
        open(&login.link(url));
    }
}

/// Whether it is the system's journal, which says so itself (`man 5 systemd.exec`, JOURNAL_STREAM).
fn is_journal(stream: impl AsFd) -> bool {
    let told = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(stream).is_ok_and(|about| told == format!("{}:{}", about.st_dev, about.st_ino))
}
