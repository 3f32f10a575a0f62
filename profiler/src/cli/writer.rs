//! The writer thread: windows and names into the store, questions to the symbolizer, old windows out.
//!
//! Nothing that happens to the database ends it. While the database cannot be written, or opened, windows wait in the queue, which
//! is bounded and counts what it drops; a damaged database is set aside, one that is gone from its path is left, and a new one begun.
//!
//! Invariant: a window counts as stored only when the files at the path are, after its commit, those that it was written into.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::name_again::{NameAgain, failed_to_name_again};
use super::notice::{self, set_aside_notice};
use super::upkeep::{Retention, Upkeep, count_set_aside, watch_log};
use super::window_queue::{Ledger, WindowQueue, Work};
use crate::profile::{Binary, LossCause, Window};
use crate::server::SharedLive;
use crate::store::{Gone, Left, Store, StoreError, Unnamed};
use crate::symbolizer::{Answers, ChildCounts, NamesWorker, Request, Symbolizer};

/// How long to wait before a window that the store refused (disk full) is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How soon after a database was set aside the next one may be.
const SET_ASIDE_PERIOD: Duration = Duration::from_secs(60);
/// Failed reads after which the database is opened anew: a connection cannot tell later damage from a read that failed once.
const FAILED_READS: u32 = 5;
/// How long names under way may take at the end.
const LAST_NAMES: Duration = Duration::from_secs(30);
/// How long a store that refuses windows may keep us from ending.
const LAST_WINDOWS: Duration = Duration::from_secs(10);

/// Works until the queue is closed and empty, or the store goes on refusing for [`LAST_WINDOWS`] after that.
///
/// # Errors
/// The symbolizer cannot start; the last windows could not be stored; what was stored is gone.
pub fn run(
    store: Store,
    queue: &Arc<WindowQueue>,
    live: &SharedLive,
    retention: Option<Retention>,
    names: &dyn Fn() -> NamesWorker,
) -> anyhow::Result<()> {
    let mut writer = Writer::new(store, queue, live, names)?;
    let mut upkeep = Upkeep::new(retention);
    loop {
        if writer.open.is_none() && !writer.open_again() {
            if writer.is_late() {
                break;
            }
            queue.pause(RETRY);
            continue;
        }
        match queue.take(upkeep.patience()) {
            Work::Names(names) => writer.names(&names),
            Work::Window(window) => {
                if let Some(window) = writer.window(window) {
                    // Held in the queue, bounded, and tried again: sampling goes on meanwhile.
                    queue.put_back(window);
                    if writer.is_late() {
                        break;
                    }
                    if writer.open.is_some() && !writer.must_set_aside() {
                        queue.pause(RETRY);
                    }
                }
            }
            // Only while nobody waits: a step takes a few ms, that of a whole day a fraction of a second.
            Work::Nothing => {
                if writer.look()
                    && let Some(open) = &mut writer.open
                {
                    upkeep.step(&mut open.store, live);
                }
            }
            Work::Closed => break,
        }
        writer.set_aside_if_damaged();
        if !queue.is_closed() {
            writer.name_again();
            tell_of_children(live);
        }
    }
    writer.finish()
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

/// A database in use, and what belongs to its rows.
struct Open {
    store: Store,
    symbolizer: Symbolizer,
    again: NameAgain,
}

struct Writer<'a> {
    /// `None` while there is no database to be had at the path.
    open: Option<Open>,
    /// As it was asked for.
    database: PathBuf,
    queue: &'a Arc<WindowQueue>,
    /// What the symbolizer asks.
    names: &'a dyn Fn() -> NamesWorker,
    live: &'a SharedLive,
    /// Windows that the store refused for good.
    given_up: Ledger,
    /// Why it refused the last one.
    refused: Option<StoreError>,
    /// When a damaged database was last set aside.
    set_aside: Option<Instant>,
    /// Failed reads since the database was opened.
    failed_reads: u32,
    /// Samples of this process that are in the database in use.
    stored: u64,
    /// Samples that were stored and are gone with a database that was deleted or cut short.
    gone: u64,
    /// Databases that were left or set aside.
    left: u64,
    /// When the store first refused a window after the queue was closed.
    late: Option<Instant>,
}

impl<'a> Writer<'a> {
    fn new(
        store: Store,
        queue: &'a Arc<WindowQueue>,
        live: &'a SharedLive,
        names: &'a dyn Fn() -> NamesWorker,
    ) -> anyhow::Result<Self> {
        let database = store.asked().to_owned();
        count_set_aside(store.path(), live);
        let open = Open { store, symbolizer: symbolizer(queue, names)?, again: NameAgain::default() };
        Ok(Self {
            open: Some(open),
            database,
            queue,
            names,
            live,
            given_up: Ledger::default(),
            refused: None,
            set_aside: None,
            failed_reads: 0,
            stored: 0,
            gone: 0,
            left: 0,
            late: None,
        })
    }

    /// Whether the queue is closed and the store has refused windows for too long since.
    fn is_late(&mut self) -> bool {
        self.queue.is_closed() && self.late.get_or_insert_with(Instant::now).elapsed() > LAST_WINDOWS
    }

    /// Opens the database at the path, or begins one there.
    fn open_again(&mut self) -> bool {
        let (store, aside) = match Store::open(&self.database) {
            Ok(opened) => opened,
            Err(error) => {
                self.say(error);
                return false;
            }
        };
        if let Some(aside) = aside {
            self.set_aside = Some(Instant::now());
            self.tell(set_aside_notice(&self.database, &aside));
        }
        match symbolizer(self.queue, self.names) {
            Ok(symbolizer) => {
                self.open = Some(Open { store, symbolizer, again: NameAgain::default() });
                self.failed_reads = 0;
                true
            }
            Err(error) => {
                if notice::give(self.live, STORE_NOTICE, error.as_ref()) {
                    tracing::warn!(error = error.as_ref() as &dyn std::error::Error, "failed to start the symbolizer");
                }
                false
            }
        }
    }

    /// Takes the database out of use. Names that are under way are for its rows; how many they are does not matter any more.
    fn shut(&mut self) -> Option<Store> {
        let Open { store, symbolizer, .. } = self.open.take()?;
        let _ = symbolizer.finish(Duration::ZERO);
        self.queue.forget_names();
        Some(store)
    }

    /// Whether the database is open, and at its path with all its files. If it is gone, it is left.
    fn look(&mut self) -> bool {
        let Some(open) = &mut self.open else { return false };
        match open.store.look() {
            Ok(None) => true,
            Ok(Some(gone)) => {
                if let Some(store) = self.shut() {
                    self.leave(store, &gone);
                }
                false
            }
            Err(error) => {
                self.say(error);
                false
            }
        }
    }

    fn leave(&mut self, store: Store, gone: &Gone) {
        let samples = std::mem::take(&mut self.stored);
        let Left { aside, whole } = store.leave(gone);
        // What questions and windows met was of this one, or of what had taken its place with its log.
        self.live.update(|live| live.damage_met = false);
        self.refused = None;
        let lost = if whole { 0 } else { samples };
        self.gone += lost;
        self.live.update(|live| live.gone += lost);
        let mut text = format!("the database {} {gone}: ", self.database.display());
        text += &match lost {
            0 if whole => "what was stored in it is there".to_owned(),
            0 => "nothing that was stored since the start is gone with it".to_owned(),
            n => format!("up to {n} samples that were stored since the start are gone with it"),
        };
        match aside {
            Some(Ok(aside)) => text += &format!(", and what is left is {}", aside.display()),
            Some(Err(error)) => self.say(error),
            None => {}
        }
        if !self.queue.is_closed() {
            text += "; windows go on into a new one";
        }
        // Until one of them is stored.
        self.live.update(|live| live.unstored = Some(text.clone()));
        self.tell(text);
    }

    /// Shows what became of a database, in place of what was said of the one before.
    fn tell(&mut self, mut text: String) {
        tracing::warn!("{text}");
        self.left += 1;
        if self.left > 1 {
            text += &format!(" ({} databases were left or set aside since the start)", self.left);
        }
        notice::replace(self.live, &format!("the database {} ", self.database.display()), text);
        count_set_aside(&self.database, self.live);
    }

    /// Shows why nothing is stored: once, not every two seconds.
    fn say(&mut self, error: StoreError) {
        if notice::give(self.live, STORE_NOTICE, &error) {
            tracing::warn!(error = &error as &dyn std::error::Error, "{STORE_NOTICE}");
        }
        // A lock is let go of again; if not, no window is stored for long, and that says so.
        if !matches!(error, StoreError::Busy(_)) {
            self.live.update(|live| live.unstored = Some(notice::text(STORE_NOTICE, &error)));
        }
        self.refused = Some(error);
    }

    /// Whether the database is damaged. Not twice in a minute: then it is not the file that is bad but the disk, and a folder
    /// full of files would not help.
    fn must_set_aside(&self) -> bool {
        (self.refused.as_ref().is_some_and(StoreError::is_damage) || self.live.update(|live| live.damage_met))
            && self.set_aside.is_none_or(|at| at.elapsed() > SET_ASIDE_PERIOD)
    }

    /// Sets a damaged database aside; the next turn begins a new one. Windows wait in the queue meanwhile.
    ///
    /// A question may meet what somebody did to the file (cut it short, put another in its place) before [`Self::look`] does: it
    /// is looked at first, because what was stored is gone then, and not in the file that is set aside.
    fn set_aside_if_damaged(&mut self) {
        if !self.must_set_aside() || !self.look() {
            return;
        }
        self.live.update(|live| live.damage_met = false);
        let Some(store) = self.shut() else { return };
        self.refused = None;
        match store.set_aside() {
            Ok(aside) => {
                self.set_aside = Some(Instant::now());
                self.stored = 0;
                self.tell(set_aside_notice(&self.database, &aside));
            }
            // What is at the path is looked at anew until it can be opened, or set aside.
            Err(error) => self.say(error),
        }
    }

    /// Stores a window; returns it when it should be tried again.
    fn window(&mut self, mut window: Box<Window>) -> Option<Box<Window>> {
        self.given_up.charge(&mut window);
        if !self.look() {
            return Some(window);
        }
        let Some(open) = &mut self.open else { return Some(window) };
        match open.store.write_window(&window) {
            // Written into what is gone, it is not stored.
            Ok(_) if !self.look() => Some(window),
            Ok(unnamed) => {
                self.ask(&window, &unnamed);
                self.count(&window);
                None
            }
            Err(error) => {
                self.failed_reads += u32::from(error.is_failed_read());
                let transient = error.is_transient();
                self.say(error);
                if self.failed_reads >= FAILED_READS {
                    if self.look() {
                        drop(self.shut());
                    }
                    return Some(window);
                }
                let again = transient || self.must_set_aside();
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
        let Some(open) = &self.open else { return };
        let refused = open.symbolizer.request(requests.collect());
        if refused > 0 {
            tracing::debug!(refused, "the symbolizer is busy");
        }
    }

    fn names(&mut self, answers: &Answers) {
        match &mut self.open {
            Some(open) if answers.tells_more => open.ask_of(&answers.binary),
            Some(open) => write_names(&mut open.store, answers),
            None => {}
        }
    }

    fn name_again(&mut self) {
        if let Some(Open { store, symbolizer, again }) = &mut self.open {
            again.step(store, symbolizer, self.live);
        }
    }

    fn count(&mut self, window: &Window) {
        self.stored += window.samples();
        self.live.update(|live| {
            live.unstored = None;
            live.stored_until = Some(window.wall_end);
            live.stored += window.samples();
            live.losses.merge(&window.losses);
            for row in window.processes.iter().flat_map(|process| &process.stacks) {
                *live.stacks.entry(row.end).or_default() += row.count;
            }
        });
        notice::take_back(self.live, STORE_NOTICE);
        if let Some(open) = &self.open {
            watch_log(&open.store, self.live);
        }
    }

    /// Stores the last names, closes the database, and says what is not in it.
    fn finish(mut self) -> anyhow::Result<()> {
        let mut closed = Ok(());
        if let Some(Open { mut store, symbolizer, .. }) = self.open.take() {
            let unanswered = symbolizer.finish(LAST_NAMES);
            if unanswered > 0 {
                tracing::warn!(
                    unanswered,
                    "some locations have no name yet; they are asked for again when they are next sampled"
                );
            }
            self.drain(Some(&mut store));
            closed = match store.look() {
                Ok(Some(gone)) => {
                    self.leave(store, &gone);
                    Ok(())
                }
                Ok(None) => store.close(),
                Err(error) => Err(error),
            };
        } else {
            self.drain(None);
        }
        // What no later window can tell of any more.
        self.given_up.merge(self.queue.given_up());
        let Self { given_up, refused, gone, database, live, .. } = self;
        live.update(|live| live.losses.merge(&given_up.losses));
        if let Some(error) = refused
            && given_up.taken > 0
        {
            return Err(error).with_context(|| format!("the last {} samples are not in the database", given_up.taken));
        }
        if gone > 0 {
            return Err(StoreError::Gone { path: database, samples: gone }.into());
        }
        Ok(closed?)
    }

    /// Empties the closed queue: names go into the store, windows that it would not take are counted.
    fn drain(&mut self, mut store: Option<&mut Store>) {
        loop {
            match (self.queue.take(Duration::ZERO), &mut store) {
                (Work::Names(names), Some(store)) => write_names(store, &names),
                (Work::Window(window), _) => self.given_up.give_up(&window, LossCause::StoreFailed),
                (Work::Names(_), None) => {}
                (Work::Nothing | Work::Closed, _) => return,
            }
        }
    }
}

impl Open {
    /// Asks again for all that a binary's places had no answer to.
    fn ask_of(&self, binary: &Arc<Binary>) {
        match self.store.unnamed_in(&binary.key) {
            Ok(places) => {
                let request = |(location, offset)| Request { location, binary: Arc::clone(binary), offset, weight: 1 };
                // What finds no room is asked for when it is next sampled in another run, or by `profiler symbolize`.
                self.symbolizer.request(places.into_iter().map(request).collect());
            }
            Err(error) => failed_to_name_again(&error),
        }
    }
}

/// Keeps the figures of the children that parse files, and says so while something ends them again and again.
fn tell_of_children(live: &SharedLive) {
    let parsers = ChildCounts::now();
    match &parsers.held_up {
        Some(why) => drop(notice::give(live, CHILDREN_NOTICE, &ChildrenEnd(why.clone()))),
        None => notice::take_back(live, CHILDREN_NOTICE),
    }
    live.update(|live| live.parsers = parsers);
}

#[derive(Debug, thiserror::Error)]
#[error(
    "{0}; no file is blamed, names and unwind rows come once this is over: find what kills processes named profiler-names"
)]
struct ChildrenEnd(String);

const STORE_NOTICE: &str = "windows are not being stored";
const CHILDREN_NOTICE: &str = "the symbolizer's child keeps being ended";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use rusqlite::Connection;

    use super::*;
    use crate::symbolizer::WorkerCommand;

    /// A question that meets the damage before the writer looks does not hide that stored samples are gone.
    #[test]
    fn a_database_that_was_cut_short_is_not_called_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        Connection::open(&path).unwrap().pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
        store.rest().unwrap();
        let (queue, live) = (Arc::new(WindowQueue::default()), SharedLive::default());
        let names = || NamesWorker::new(WorkerCommand { program: "/bin/false".into(), ..WorkerCommand::default() });
        let mut writer = Writer::new(store, &queue, &live, &names).unwrap();
        writer.stored = 7;
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(8192).unwrap();
        live.update(|live| live.damage_met = true);
        writer.set_aside_if_damaged();
        let said = live.snapshot().unstored.unwrap();
        assert!(said.contains("was cut short while in use: up to 7 samples"), "{said}");
        assert_eq!((writer.gone, writer.must_set_aside()), (7, false));
    }
}
