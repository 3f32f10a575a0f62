//! The writer thread: windows and names into the store, questions to the symbolizer, old windows out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::notice;
use super::window_queue::{Ledger, WindowQueue, Work};
use crate::profile::{LossCause, Symbolized, Window};
use crate::server::SharedLive;
use crate::store::{Keep, LocationId, Store, StoreError, Unnamed};
use crate::symbolizer::{Request, Symbolizer};
use crate::sys::clock::wall_now;

/// How often to look at the age and size of the database.
const RETENTION_PERIOD: Duration = Duration::from_secs(60);
/// How long to wait before a window that the store refused (disk full) is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How long names under way may take at the end.
const LAST_NAMES: Duration = Duration::from_secs(30);
/// How long a store that refuses windows may keep us from ending.
const LAST_WINDOWS: Duration = Duration::from_secs(10);

/// What to keep.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Oldest window.
    pub age: Duration,
    /// Largest database, in bytes.
    pub bytes: u64,
}

/// Works until the queue is closed and empty, or the store goes on refusing for [`LAST_WINDOWS`] after that.
///
/// # Errors
/// The symbolizer cannot start; the last windows could not be stored.
pub fn run(
    store: Store,
    queue: &Arc<WindowQueue>,
    live: &SharedLive,
    retention: Option<Retention>,
) -> anyhow::Result<()> {
    let answers = Arc::clone(queue);
    let symbolizer = Symbolizer::start(move |names| answers.push_names(names))?;
    let mut writer = Writer { store, symbolizer, live, given_up: Ledger::default(), refused: None };
    let mut upkeep = Upkeep::new(retention);
    let mut last_windows: Option<Instant> = None;
    loop {
        match queue.take(upkeep.patience()) {
            Work::Names(names) => write_names(&mut writer.store, &names),
            Work::Window(window) => {
                let Some(window) = writer.window(window) else { continue };
                if queue.is_closed() && last_windows.get_or_insert_with(Instant::now).elapsed() > LAST_WINDOWS {
                    writer.given_up.give_up(&window, LossCause::StoreFailed);
                } else {
                    // Held in the queue, bounded, and tried again: sampling goes on meanwhile.
                    queue.put_back(window);
                    std::thread::sleep(RETRY);
                }
            }
            // Only while nobody waits: a step takes a few ms, that of a whole day a fraction of a second.
            Work::Nothing => upkeep.step(&mut writer.store),
            Work::Closed => break,
        }
    }
    let Writer { mut store, symbolizer, mut given_up, refused, .. } = writer;
    let unanswered = symbolizer.finish(LAST_NAMES);
    if unanswered > 0 {
        tracing::warn!(
            unanswered,
            "some locations have no name yet; they are asked for again when they are next sampled"
        );
    }
    while let Work::Names(names) = queue.take(Duration::ZERO) {
        write_names(&mut store, &names);
    }
    let closed = store.close();
    // What no later window can tell of any more.
    given_up.merge(queue.given_up());
    live.update(|live| live.losses.merge(&given_up.losses));
    if let Some(error) = refused
        && given_up.taken > 0
    {
        return Err(error).with_context(|| format!("the last {} samples are not in the database", given_up.taken));
    }
    Ok(closed?)
}

/// What the store does between windows: packing and rolling up, and forgetting now and then.
struct Upkeep {
    retention: Option<Retention>,
    retained: Instant,
    /// The last step left more to do.
    more: bool,
    /// Not before this, after a failure.
    rest: Instant,
}

impl Upkeep {
    fn new(retention: Option<Retention>) -> Self {
        Self { retention, retained: Instant::now(), more: false, rest: Instant::now() }
    }

    /// How long to wait for windows and names.
    fn patience(&self) -> Duration {
        if self.more { Duration::ZERO } else { Duration::from_secs(1) }
    }

    fn step(&mut self, store: &mut Store) {
        self.more = false;
        if Instant::now() < self.rest {
            return;
        }
        let done = match self.retention {
            Some(Retention { age, bytes }) if self.retained.elapsed() > RETENTION_PERIOD => {
                self.retained = Instant::now();
                store.retain(wall_now(), &Keep { age, bytes, ..Keep::default() }).map(|_| true)
            }
            _ => store.tend(),
        };
        match done {
            Ok(more) => self.more = more,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "failed to tidy the database up, trying again in a minute"
                );
                self.rest = Instant::now() + RETENTION_PERIOD;
            }
        }
    }
}

/// On failure they stay unnamed in the database, and are asked for again when they are sampled again.
fn write_names(store: &mut Store, names: &[(LocationId, Symbolized)]) {
    if let Err(error) = store.write_names(names) {
        tracing::warn!(error = &error as &dyn std::error::Error, names = names.len(), "failed to store names");
    }
}

struct Writer<'a> {
    store: Store,
    symbolizer: Symbolizer,
    live: &'a SharedLive,
    /// Windows that the store refused for good.
    given_up: Ledger,
    /// Why it refused the last one.
    refused: Option<StoreError>,
}

impl Writer<'_> {
    /// Stores a window; returns it when it should be tried again.
    fn window(&mut self, mut window: Box<Window>) -> Option<Box<Window>> {
        self.given_up.charge(&mut window);
        match self.store.write_window(&window) {
            Ok(unnamed) => {
                self.ask(&window, &unnamed);
                self.stored(&window);
                None
            }
            Err(error) => {
                let again = error.is_transient();
                // Told once, not every two seconds.
                if notice::give(self.live, STORE_NOTICE, &error) {
                    tracing::warn!(error = &error as &dyn std::error::Error, again, "failed to store a window");
                }
                self.refused = Some(error);
                if !again {
                    self.given_up.give_up(&window, LossCause::StoreFailed);
                }
                again.then_some(window)
            }
        }
    }

    /// Asks for names. What waits already is asked for once; what finds no room, or is dropped, comes again with the next
    /// window it is in.
    fn ask(&self, window: &Window, unnamed: &[Unnamed]) {
        let requests = unnamed.iter().filter_map(|unnamed| {
            let (_, binary) = window.binaries.iter().find(|(id, _)| *id == unnamed.place.binary)?;
            Some(Request {
                location: unnamed.location,
                binary: Arc::clone(binary),
                offset: unnamed.place.offset,
                weight: unnamed.weight,
            })
        });
        let refused = self.symbolizer.request(requests.collect());
        if refused > 0 {
            tracing::debug!(refused, "the symbolizer is busy");
        }
    }

    fn stored(&self, window: &Window) {
        self.live.update(|live| {
            live.stored_until = Some(window.wall_end);
            live.stored += window.samples();
            live.losses.merge(&window.losses);
            for row in window.processes.iter().flat_map(|process| &process.stacks) {
                *live.stacks.entry(row.end).or_default() += row.count;
            }
        });
        notice::take_back(self.live, STORE_NOTICE);
    }
}

const STORE_NOTICE: &str = "windows are not being stored";
