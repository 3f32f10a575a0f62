//! `profiler url`: a link into the page for whoever may read the token file.

use std::process::ExitCode;

use super::args::UrlArgs;
use crate::server::{link_with, page_url, read_token, rotate_token, token_path};
use crate::sys::clock::wall_now;

/// Runs the command. The profiler that serves is not asked: the link is made from the token, and it knows its own.
///
/// # Errors
/// The token file cannot be read, or not written.
pub fn url(args: &UrlArgs) -> anyhow::Result<ExitCode> {
    let database = args.database.path()?;
    let token = if args.rotate { rotate_token(&database)? } else { read_token(&database)? };
    if args.rotate {
        eprintln!(
            "sessions and links have ended; programs need the token that is now in {}",
            token_path(&database).display()
        );
    }
    let base = args.base.clone().unwrap_or_else(|| page_url(args.listen));
    let between = if base.ends_with('/') { "" } else { "/" };
    println!("{base}{between}{}", link_with(&token, wall_now()));
    Ok(ExitCode::SUCCESS)
}
