//! What the writer does to the database between windows: packing, rolling up, forgetting, and looking at its log.

use std::path::Path;
use std::time::{Duration, Instant};

use super::notice;
use crate::server::SharedLive;
use crate::store::{Keep, LOG_ALARM_BYTES, Store, StoreError};
use crate::sys::clock::wall_now;

/// How often to look at the age and size of the database.
const RETENTION_PERIOD: Duration = Duration::from_secs(60);

const DAMAGE_NOTICE: &str = "the database is damaged in a place";
const LOG_NOTICE: &str = "the database's write-ahead log grows";

/// What to keep.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Oldest window.
    pub age: Duration,
    /// Largest database, in bytes.
    pub bytes: u64,
}

/// What the store does between windows: packing and rolling up, and forgetting now and then.
pub(super) struct Upkeep {
    retention: Option<Retention>,
    retained: Instant,
    /// The last step left more to do.
    more: bool,
    /// Not before this, after a failure.
    rest: Instant,
}

impl Upkeep {
    /// The first look at age and size comes a period from now.
    pub fn new(retention: Option<Retention>) -> Self {
        Self { retention, retained: Instant::now(), more: false, rest: Instant::now() }
    }

    /// How long to wait for windows and names.
    pub fn patience(&self) -> Duration {
        if self.more { Duration::ZERO } else { Duration::from_secs(1) }
    }

    /// A step of it.
    pub fn step(&mut self, store: &mut Store, live: &SharedLive) {
        self.more = false;
        if Instant::now() < self.rest {
            return;
        }
        let done = match self.retention {
            Some(Retention { age, bytes }) if self.retained.elapsed() > RETENTION_PERIOD => {
                self.retained = Instant::now();
                let kept = store.retain(wall_now(), &Keep { age, bytes, ..Keep::default() });
                kept.and_then(|_| drop_set_aside(store, live, bytes)).map(|()| true)
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

/// Deletes the oldest databases that were set aside, where they and the one in use are larger than they may be, and counts the rest.
fn drop_set_aside(store: &Store, live: &SharedLive, most: u64) -> Result<(), StoreError> {
    for dropped in store.drop_set_aside(most)? {
        tracing::warn!(
            path = %dropped.path.display(),
            bytes = dropped.bytes,
            "deleted a database that was set aside: with it, more would be kept than --keep-size allows"
        );
    }
    count_set_aside(store.path(), live);
    Ok(())
}

/// For the figures: databases beside this one that were set aside.
pub(super) fn count_set_aside(database: &Path, live: &SharedLive) {
    let aside = crate::store::set_aside_beside(database);
    let (count, bytes) = (aside.len() as u64, aside.iter().map(|aside| aside.bytes).sum());
    live.update(|live| live.set_aside = (count, bytes));
}

/// Says so while the log grows because some reader will not let go of it, and when it is over.
pub(super) fn watch_log(store: &Store, live: &SharedLive) {
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
