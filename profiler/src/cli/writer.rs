//! The writer thread: windows and names into the store, questions to the symbolizer, old windows out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::window_queue::{Ledger, WindowQueue, Work};
use crate::profile::{LossCause, Window};
use crate::server::SharedLive;
use crate::store::{LocationId, Store, StoreError};
use crate::symbolizer::{Request, Symbolizer};
use crate::sys::clock::wall_now;

/// How often to look at the age and size of the database.
const RETENTION_PERIOD: Duration = Duration::from_secs(60);
/// How long to wait before a window that the store refused (disk full) is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How long names under way may take at the end.
const LAST_NAMES: Duration = Duration::from_secs(30);
/// Locations asked for and not answered yet, kept so as not to ask twice.
const MOST_ASKED: usize = 1 << 18;

/// What to keep.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Oldest window.
    pub age: Duration,
    /// Largest database, in bytes.
    pub bytes: u64,
}

/// Works until the queue is closed and empty.
///
/// # Errors
/// The symbolizer cannot start; the database is broken for good.
pub fn run(
    store: Store,
    queue: &Arc<WindowQueue>,
    live: &SharedLive,
    retention: Option<Retention>,
) -> anyhow::Result<()> {
    let answers = Arc::clone(queue);
    let symbolizer = Symbolizer::start(move |names| answers.push_names(names))?;
    let mut writer = Writer { store, symbolizer, asked: HashSet::new(), live, given_up: Ledger::default() };
    let mut retained = Instant::now();
    loop {
        match queue.take(Duration::from_secs(1)) {
            Work::Names(names) => writer.names(&names),
            Work::Window(window) => {
                if let Some(window) = writer.window(window) {
                    // Held in the queue, bounded, and tried again: sampling goes on meanwhile.
                    queue.put_back(window);
                    std::thread::sleep(RETRY);
                }
            }
            Work::Nothing => {}
            Work::Closed => break,
        }
        if let Some(Retention { age, bytes }) = retention
            && retained.elapsed() > RETENTION_PERIOD
        {
            retained = Instant::now();
            if let Err(error) = writer.store.retain(wall_now(), age, bytes) {
                tracing::warn!(error = &error as &dyn std::error::Error, "failed to delete old windows");
            }
        }
    }
    let unanswered = writer.symbolizer.finish(LAST_NAMES);
    if unanswered > 0 {
        tracing::warn!(
            unanswered,
            "some locations have no name yet; they are asked for again when they are next sampled"
        );
    }
    while let Work::Names(names) = queue.take(Duration::ZERO) {
        writer.store.write_names(&names)?;
    }
    Ok(writer.store.close()?)
}

struct Writer<'a> {
    store: Store,
    symbolizer: Symbolizer,
    asked: HashSet<LocationId>,
    live: &'a SharedLive,
    /// Windows that the store refused for good.
    given_up: Ledger,
}

impl Writer<'_> {
    fn names(&mut self, names: &[(LocationId, crate::profile::Symbolized)]) {
        // On failure they stay unnamed in the database, and are asked for again when they are sampled again.
        if let Err(error) = self.store.write_names(names) {
            tracing::warn!(error = &error as &dyn std::error::Error, names = names.len(), "failed to store names");
        }
        for (location, _) in names {
            self.asked.remove(location);
        }
    }

    /// Stores a window; returns it when it should be tried again.
    fn window(&mut self, mut window: Box<Window>) -> Option<Box<Window>> {
        self.given_up.charge(&mut window);
        match self.store.write_window(&window) {
            Ok(unnamed) => {
                self.ask(&window, &unnamed);
                self.stored(&window);
                None
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "failed to store a window, will try again");
                self.notice(&error);
                Some(window)
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "failed to store a window");
                self.given_up.give_up(&window, LossCause::StoreFailed);
                self.notice(&error);
                None
            }
        }
    }

    fn ask(&mut self, window: &Window, unnamed: &[crate::store::Unnamed]) {
        if self.asked.len() > MOST_ASKED {
            self.asked.clear();
        }
        let mut requests: Vec<Request> = unnamed
            .iter()
            .filter(|unnamed| !self.asked.contains(&unnamed.location))
            .filter_map(|unnamed| {
                let (_, binary) = window.binaries.iter().find(|(id, _)| *id == unnamed.place.binary)?;
                Some(Request {
                    location: unnamed.location,
                    binary: Arc::clone(binary),
                    offset: unnamed.place.offset,
                    weight: unnamed.weight,
                })
            })
            .collect();
        // Heaviest first: what does not fit is the end.
        requests.sort_by_key(|request| std::cmp::Reverse(request.weight));
        let asked: Vec<LocationId> = requests.iter().map(|request| request.location).collect();
        let refused = self.symbolizer.request(requests);
        // It stays out of `asked` and comes again with the next window.
        self.asked.extend(&asked[..asked.len() - refused.min(asked.len())]);
    }

    fn stored(&self, window: &Window) {
        self.live.update(|live| {
            live.stored_until = Some(window.wall_end);
            live.stored += window.samples();
            live.losses.merge(&window.losses);
            for row in window.processes.iter().flat_map(|process| &process.stacks) {
                *live.stacks.entry(row.end).or_default() += row.count;
            }
            live.notices.retain(|notice| !notice.starts_with(STORE_NOTICE));
        });
    }

    fn notice(&self, error: &StoreError) {
        let notice = format!("{STORE_NOTICE}: {error}");
        self.live.update(|live| {
            live.notices.retain(|notice| !notice.starts_with(STORE_NOTICE));
            live.notices.push(notice);
        });
    }
}

const STORE_NOTICE: &str = "windows are not being stored";
