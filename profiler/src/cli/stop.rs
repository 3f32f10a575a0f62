//! Ctrl-C and SIGTERM: once ends the work and keeps what there is, twice ends the program. A closed terminal ends a
//! recording in the same way; `run` and `serve` go on, as daemons do, for which SIGHUP means "read the configuration again".

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit code after the second signal: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// What SIGHUP means to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// The terminal is gone: end as by Ctrl-C, and write what there is.
    Ends,
    /// Nothing to read again, so far: noted in the log.
    GoesOn,
}

/// Set by the first signal.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    set: Arc<AtomicBool>,
    scratch: Arc<Mutex<Option<PathBuf>>>,
}

impl Stop {
    /// Begins to listen, on a thread of its own.
    ///
    /// # Errors
    /// The handlers cannot be installed, or there is no thread to be had.
    pub fn on_signals(hangup: Hangup) -> io::Result<Self> {
        let stop = Self::default();
        let heard = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| *signal != SIGHUP || !is_ignored(SIGHUP));
        let mut signals = Signals::new(heard)?;
        let listener = stop.clone();
        let listen = move || {
            for signal in signals.forever() {
                if signal == SIGHUP && hangup == Hangup::GoesOn {
                    tracing::info!("SIGHUP: nothing to read again, going on (SIGTERM ends)");
                    continue;
                }
                if listener.set.swap(true, Ordering::Relaxed) {
                    listener.remove_scratch();
                    std::process::exit(INTERRUPTED);
                }
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen)?;
        Ok(stop)
    }

    /// Has this folder removed if a second signal ends the program.
    pub fn discards(&self, folder: &Path) {
        *self.scratch.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.to_owned());
    }

    fn remove_scratch(&self) {
        if let Some(folder) = &*self.scratch.lock().unwrap_or_else(PoisonError::into_inner) {
            // Nobody is left to be told of a failure.
            let _ = std::fs::remove_dir_all(folder);
        }
    }

    /// Whether a signal has come.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }

    /// Ends when a signal has come, or when the condition is no longer met.
    pub async fn reached(self, unless: impl Fn() -> bool) {
        while !self.is_set() && unless() {
            actix_web::rt::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Whether we were started with this signal ignored, as `nohup` does: then it stays ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
