//! `--open`: a browser of the user who called us, by `xdg-open`.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use super::owner;
use super::voice::say;

/// Opens a file or an address; says so where that fails, for what was asked for is there all the same.
pub fn open(what: &str) {
    let mut command = Command::new("xdg-open");
    command.arg(what).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A browser is not run as root for who called us by sudo.
    if let Some((user, group)) = owner::caller() {
        command.uid(user.as_raw()).gid(group.as_raw());
    }
    if let Err(error) = command.spawn() {
        say(format_args!("no browser was opened (xdg-open: {error}): open {what}"));
    }
}
