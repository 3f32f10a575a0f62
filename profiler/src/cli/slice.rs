//! `profiler export -o slice.db`: a part of a database as a small one of its own.

use std::path::Path;

use anyhow::Context as _;

use super::exit::{NoSamples, Usage};
use super::output::{beside, with_suffix};
use super::owner;
use super::voice::say;
use crate::profile::TimeRange;
use crate::query::{self, QueryError, Selector};
use crate::store::{Reader, Store, StoreError};

/// What can go wrong on the way from one database to the other.
#[derive(Debug, thiserror::Error)]
enum SliceError {
    #[error(transparent)]
    From(#[from] QueryError),
    #[error("failed to write the slice")]
    To(#[from] StoreError),
}

/// Writes a new database with what the range and the selector let through.
///
/// # Errors
/// The output exists or cannot be written; nothing matches.
pub fn write(database: &Path, range: TimeRange, selector: &Selector, output: &Path, force: bool) -> anyhow::Result<()> {
    let replaced = force && output.exists();
    if replaced && same_file(database, output) {
        anyhow::bail!(Usage(format!("{} cannot be replaced by a part of itself: name another one", output.display())));
    }
    let mut reader = Reader::open(database)?;
    if replaced {
        // It is one of ours, and nobody writes into it: what it says otherwise is the answer.
        Store::open(output)?.0.close()?;
    }
    let place = if replaced { beside(output)? } else { output.to_owned() };
    let (mut store, _) = Store::open(&place)?;
    let mut samples = 0;
    let sliced = query::slice::<SliceError>(&mut reader, range, selector, |window, names| {
        samples += window.samples();
        let unnamed = store.write_window(&window)?;
        let known = |place| Some((place, names.get(&place)?.clone()));
        let answers: Vec<_> =
            unnamed.iter().filter_map(|unnamed| Some((unnamed.location, known(unnamed.place)?.1))).collect();
        store.write_names(&answers)?;
        while store.tend()? {}
        Ok(())
    });
    let done = sliced.map_err(anyhow::Error::from).and_then(|()| {
        if samples == 0 {
            anyhow::bail!(NoSamples("no samples match".into()));
        }
        Ok(store.write_statuses(&reader.name_statuses()?)?)
    });
    let closed = store.close();
    // The lock is for writers, of which there are none any more; half a slice is none.
    let mut leftovers = vec![".lock"];
    if done.is_err() || closed.is_err() {
        leftovers.extend(["", "-wal", "-shm"]);
    }
    for suffix in leftovers {
        let _ = std::fs::remove_file(with_suffix(&place, suffix));
    }
    done?;
    closed?;
    if replaced {
        ["-wal", "-shm", ".lock"].iter().for_each(|suffix| drop(std::fs::remove_file(with_suffix(output, suffix))));
        std::fs::rename(&place, output).with_context(|| format!("failed to replace {}", output.display()))?;
    }
    owner::give_database_to_caller(output);
    say(format_args!("wrote {0} ({samples} samples); `profiler serve {0}` shows it", output.display()));
    Ok(())
}

fn same_file(one: &Path, other: &Path) -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    canonical(one).is_some_and(|one| Some(one) == canonical(other))
}
