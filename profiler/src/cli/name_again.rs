//! Asking again about places that were stored without a name, when somebody wants it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::server::SharedLive;
use crate::store::{Store, StoreError};
use crate::symbolizer::{FileFinder, Request, Symbolizer};

/// One binary at a time, so that few files are open, and only while the symbolizer has nothing else to do.
#[derive(Default)]
pub(super) struct NameAgain {
    binaries: VecDeque<i64>,
    finder: FileFinder,
}

/// Binaries looked at in one step: most have no file any more.
const BINARIES_A_STEP: usize = 16;

impl NameAgain {
    /// Asks about the next binaries, if somebody wanted it.
    pub fn step(&mut self, store: &Store, symbolizer: &Symbolizer, live: &SharedLive) {
        if live.update(|live| std::mem::take(&mut live.name_again)) {
            match store.unnamed_binaries(false) {
                Ok(binaries) => self.binaries = binaries.into(),
                Err(error) => failed_to_name_again(&error),
            }
        }
        for _ in 0..BINARIES_A_STEP {
            if symbolizer.waiting() > 0 {
                return;
            }
            let Some(id) = self.binaries.pop_front() else { return };
            let unnamed = match store.unnamed_of(id, false) {
                Ok(unnamed) => unnamed,
                Err(error) => {
                    failed_to_name_again(&error);
                    // What fails for one binary fails for all of them: asked for again by the next one who wants it.
                    self.binaries.clear();
                    return;
                }
            };
            let Some(binary) = self.finder.find(&unnamed.binary).map(Arc::new) else { continue };
            let request = |(location, offset)| Request {
                location,
                binary: Arc::clone(&binary),
                offset,
                weight: Request::AT_ONCE,
            };
            // What finds no room has its turn when somebody asks again.
            let refused = symbolizer.request(unnamed.places.into_iter().map(request).collect());
            tracing::debug!(path = binary.path, refused, "named again");
        }
    }
}

/// Says so: it is asked for again by the next one who wants it.
pub(super) fn failed_to_name_again(error: &StoreError) {
    tracing::warn!(error = error as &dyn std::error::Error, "failed to name again");
}
