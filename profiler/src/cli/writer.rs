//! The writer thread: windows and names into the store, questions to the symbolizer, old windows out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::notice::{self, set_aside_notice};
use super::window_queue::{Ledger, WindowQueue, Work};
use crate::profile::{Binary, LossCause, Window};
use crate::server::SharedLive;
use crate::store::{Keep, LOG_ALARM_BYTES, Store, StoreError, Unnamed};
use crate::symbolizer::{Answers, FileFinder, NamesWorker, Request, Symbolizer};
use crate::sys::clock::wall_now;

/// How often to look at the age and size of the database.
const RETENTION_PERIOD: Duration = Duration::from_secs(60);
/// How long to wait before a window that the store refused (disk full) is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How soon after a database was set aside the next one may be.
const BEGIN_ANEW_PERIOD: Duration = Duration::from_secs(60);
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
    names: &dyn Fn() -> NamesWorker,
) -> anyhow::Result<()> {
    let symbolizer = symbolizer(queue, names)?;
    let mut writer =
        Writer { store, symbolizer, names, live, given_up: Ledger::default(), refused: None, begun_anew: None };
    let mut upkeep = Upkeep::new(retention);
    let mut again = NameAgain::default();
    let mut last_windows: Option<Instant> = None;
    loop {
        match queue.take(upkeep.patience()) {
            Work::Names(names) if names.tells_more => writer.ask_of(&names.binary),
            Work::Names(names) => write_names(&mut writer.store, &names),
            Work::Window(window) => {
                let Some(window) = writer.window(window) else { continue };
                if queue.is_closed() && last_windows.get_or_insert_with(Instant::now).elapsed() > LAST_WINDOWS {
                    writer.given_up.give_up(&window, LossCause::StoreFailed);
                } else if writer.must_begin_anew() {
                    queue.put_back(window);
                } else {
                    // Held in the queue, bounded, and tried again: sampling goes on meanwhile.
                    queue.put_back(window);
                    std::thread::sleep(RETRY);
                }
            }
            // Only while nobody waits: a step takes a few ms, that of a whole day a fraction of a second.
            Work::Nothing => upkeep.step(&mut writer.store, live),
            Work::Closed => break,
        }
        if writer.must_begin_anew() {
            writer = writer.begin_anew(queue)?;
            again = NameAgain::default();
        }
        if !queue.is_closed() {
            again.step(&writer);
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

/// Asking again about places that were stored without a name, when somebody wants it: one binary at a time, so that few files
/// are open, and only while the symbolizer has nothing else to do.
#[derive(Default)]
struct NameAgain {
    binaries: VecDeque<i64>,
    finder: FileFinder,
}

/// Binaries looked at in one step: most have no file any more.
const BINARIES_A_STEP: usize = 16;

impl NameAgain {
    fn step(&mut self, writer: &Writer<'_>) {
        if writer.live.update(|live| std::mem::take(&mut live.name_again)) {
            match writer.store.unnamed_binaries(false) {
                Ok(binaries) => self.binaries = binaries.into(),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "failed to name again"),
            }
        }
        for _ in 0..BINARIES_A_STEP {
            if writer.symbolizer.waiting() > 0 {
                return;
            }
            let Some(id) = self.binaries.pop_front() else { return };
            let Ok(unnamed) = writer.store.unnamed_of(id, false) else { continue };
            let Some(binary) = self.finder.find(&unnamed.binary).map(Arc::new) else { continue };
            let request = |(location, offset)| Request {
                location,
                binary: Arc::clone(&binary),
                offset,
                weight: Request::AT_ONCE,
            };
            // What finds no room has its turn when somebody asks again.
            let refused = writer.symbolizer.request(unnamed.places.into_iter().map(request).collect());
            tracing::debug!(path = binary.path, refused, "named again");
        }
    }
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

    fn step(&mut self, store: &mut Store, live: &SharedLive) {
        self.more = false;
        if Instant::now() < self.rest {
            return;
        }
        let done = match self.retention {
            Some(Retention { age, bytes }) if self.retained.elapsed() > RETENTION_PERIOD => {
                self.retained = Instant::now();
                store.retain(wall_now(), &Keep { age, bytes, ..Keep::default() }).map(|_| true)
            }
            _ => store.tend().and_then(|more| if more { Ok(true) } else { store.rest().map(|()| false) }),
        };
        for row in store.take_set_aside() {
            tracing::warn!("{row}");
            live.update(|live| {
                live.notices.retain(|notice| !notice.starts_with(DAMAGE_NOTICE));
                live.notices.push(format!(
                    "{DAMAGE_NOTICE}: {row}. Everything else is kept; `profiler db check` lists what is not"
                ));
            });
        }
        match done {
            Ok(more) => self.more = more,
            Err(error) => {
                if error.is_damage() {
                    live.update(|live| live.damage_met = true);
                }
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "failed to tidy the database up, trying again in a minute"
                );
                self.rest = Instant::now() + RETENTION_PERIOD;
            }
        }
    }
}

fn symbolizer(queue: &Arc<WindowQueue>, names: &dyn Fn() -> NamesWorker) -> anyhow::Result<Symbolizer> {
    let answers = Arc::clone(queue);
    Ok(Symbolizer::start(names(), move |names| answers.push_names(names))?)
}

/// On failure they stay unnamed in the database, and are asked for again when they are sampled again.
fn write_names(store: &mut Store, answers: &Answers) {
    let Answers { binary, status, names, .. } = answers;
    if let Err(error) = store.write_names_of(&binary.key, status, names) {
        tracing::warn!(error = &error as &dyn std::error::Error, names = names.len(), "failed to store names");
    }
}

struct Writer<'a> {
    store: Store,
    symbolizer: Symbolizer,
    /// What the symbolizer asks.
    names: &'a dyn Fn() -> NamesWorker,
    live: &'a SharedLive,
    /// Windows that the store refused for good.
    given_up: Ledger,
    /// Why it refused the last one.
    refused: Option<StoreError>,
    /// When a damaged database was last set aside.
    begun_anew: Option<Instant>,
}

impl Writer<'_> {
    /// Whether the database is damaged. Not twice in a minute: then it is not the file that is bad but the disk, and a folder
    /// full of files would not help.
    fn must_begin_anew(&self) -> bool {
        (self.refused.as_ref().is_some_and(StoreError::is_damage) || self.live.snapshot().damage_met)
            && self.begun_anew.is_none_or(|at| at.elapsed() > BEGIN_ANEW_PERIOD)
    }

    /// Sets the damaged database aside and goes on with a new one. Windows wait in the queue meanwhile.
    fn begin_anew(self, queue: &Arc<WindowQueue>) -> anyhow::Result<Self> {
        let Writer { store, symbolizer: old, names, live, given_up, .. } = self;
        let database = store.path().to_owned();
        let aside = store.set_aside()?;
        // Names that are under way are for rows of the old database; how many they are does not matter any more.
        let _ = old.finish(Duration::ZERO);
        queue.forget_names();
        let notice = set_aside_notice(&database, &aside);
        tracing::warn!("{notice}");
        live.update(|live| {
            live.notices.push(notice);
            live.damage_met = false;
        });
        let store = loop {
            match Store::open(&database) {
                Ok((store, _)) => break store,
                Err(error) if queue.is_closed() => return Err(error.into()),
                Err(error) => {
                    notice::give(live, STORE_NOTICE, &error);
                    std::thread::sleep(RETRY);
                }
            }
        };
        let symbolizer = symbolizer(queue, names)?;
        Ok(Writer { store, symbolizer, names, live, given_up, refused: None, begun_anew: Some(Instant::now()) })
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
            Err(error) => {
                // Told once, not every two seconds.
                if notice::give(self.live, STORE_NOTICE, &error) {
                    tracing::warn!(error = &error as &dyn std::error::Error, "failed to store a window");
                }
                let transient = error.is_transient();
                self.refused = Some(error);
                let again = transient || self.must_begin_anew();
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

    /// Asks again for all that a binary's places had no answer to.
    fn ask_of(&self, binary: &Arc<Binary>) {
        match self.store.unnamed_in(&binary.key) {
            Ok(places) => {
                let request = |(location, offset)| Request { location, binary: Arc::clone(binary), offset, weight: 1 };
                // What finds no room is asked for when it is next sampled in another run, or by `profiler symbolize`.
                self.symbolizer.request(places.into_iter().map(request).collect());
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "failed to name again"),
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
        watch_log(&self.store, self.live);
    }
}

/// Says so while the log grows because some reader will not let go of it, and when it is over.
fn watch_log(store: &Store, live: &SharedLive) {
    let bytes = store.log_bytes();
    if bytes > LOG_ALARM_BYTES {
        notice::give(live, LOG_NOTICE, &LongReader(bytes));
    } else {
        notice::take_back(live, LOG_NOTICE);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it has {} MiB because another program has been reading the database for long; end that program", .0 >> 20)]
struct LongReader(u64);

const STORE_NOTICE: &str = "windows are not being stored";
const DAMAGE_NOTICE: &str = "the database is damaged in a place";
const LOG_NOTICE: &str = "the database's write-ahead log grows";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use rusqlite::Connection;

    use super::*;

    /// A reader that never ends keeps the log from being emptied: people are told, and told no more once it has ended.
    #[test]
    fn a_long_reader_is_noticed_and_the_log_shrinks_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        let live = SharedLive::default();
        let open = |path| Connection::open(path).unwrap();
        let (reader, other) = (open(&path), open(&path));
        reader.execute_batch("BEGIN; SELECT count(*) FROM window").unwrap();
        // Stands for days of windows.
        other
            .execute_batch(
                "CREATE TABLE bulk (x); INSERT INTO bulk VALUES (zeroblob(70000000)); DROP TABLE bulk; PRAGMA user_version",
            )
            .unwrap();
        store.rest().unwrap();
        watch_log(&store, &live);
        let notices = live.snapshot().notices;
        assert!(notices[0].starts_with(LOG_NOTICE) && notices[0].contains("end that program"), "{notices:?}");
        reader.execute_batch("COMMIT").unwrap();
        store.rest().unwrap();
        watch_log(&store, &live);
        assert_eq!((store.log_bytes(), live.snapshot().notices), (0, vec![]));
    }
}
