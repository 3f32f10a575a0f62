//! `profiler export -o slice.db`: a part of a database as a small one of its own.

use std::path::Path;

use super::exit::{NoSamples, Usage};
use super::owner;
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
pub fn write(database: &Path, range: TimeRange, selector: &Selector, output: &Path) -> anyhow::Result<()> {
    if output.exists() {
        anyhow::bail!(Usage(format!(
            "{} exists, and a slice goes into a new file: name another one",
            output.display()
        )));
    }
    let mut reader = Reader::open(database)?;
    let (mut store, _) = Store::open(output)?;
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
        let mut name = output.as_os_str().to_owned();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
    done?;
    closed?;
    owner::give_database_to_caller(output);
    eprintln!("wrote {0} ({samples} samples); `profiler serve {0}` shows it", output.display());
    Ok(())
}
