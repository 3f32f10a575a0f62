//! What is said on standard error for people, unless they said `-q`. Errors are said in any case.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

static QUIET: AtomicBool = AtomicBool::new(false);

/// Says nothing from now on.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether nothing is to be said.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Says something.
pub fn say(text: impl Display) {
    if !is_quiet() {
        eprintln!("{text}");
    }
}
