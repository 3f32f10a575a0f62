//! Ctrl-C and SIGTERM: once ends the work and keeps what there is, twice ends the program.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

/// Exit code after the second signal: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Set by the first signal.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Begins to listen.
    ///
    /// # Errors
    /// The handler cannot be installed.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Order matters: the second signal finds the flag set and exits, the first sets it.
            signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop))?;
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        Ok(Self(stop))
    }

    /// Whether a signal has come.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Ends when a signal has come, or when the condition is no longer met.
    pub async fn reached(self, unless: impl Fn() -> bool) {
        while !self.is_set() && unless() {
            actix_web::rt::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
