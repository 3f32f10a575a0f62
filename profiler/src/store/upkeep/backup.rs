//! A copy of one moment, made while the profiler goes on.
//!
//! `VACUUM INTO` rather than the backup interface: that one begins again whenever the writer commits, which may be for ever.
//! The copy is written beside its name and renamed when it is whole and on the disk.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::Progress;
use crate::store::StoreError;
use crate::store::file::beside;
use crate::store::reader::open_as_it_is;

/// How often the copy's size is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Copies the database at `path` to `copy`, which must not exist; returns the copy's size.
///
/// # Errors
/// Those of opening; the copy exists or cannot be written.
pub fn backup(path: &Path, copy: &Path, progress: Progress<'_>) -> Result<u64, StoreError> {
    let failed = |doing| move |source| StoreError::File { doing, path: copy.into(), source };
    if copy.symlink_metadata().is_ok() {
        return Err(failed("create")(std::io::ErrorKind::AlreadyExists.into()));
    }
    let (_tidy, conn) = open_as_it_is(path)?;
    let pages = |name| -> Result<u64, StoreError> {
        Ok(conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0))?.max(0).unsigned_abs())
    };
    let whole = (pages("page_count")?.saturating_sub(pages("freelist_count")?)).saturating_mul(pages("page_size")?);
    let part = beside(copy, ".part");
    // What a copy that was cut short left behind is ours, and goes. A new file, for whatever else stands there may be a link to the
    // database itself; SQLite takes an empty one. The owner's alone, as the original.
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("replace")(error)),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(failed("create"))?;
    let name = part.to_str().ok_or(StoreError::NotAFile(part.clone()))?;
    let done = AtomicBool::new(false);
    let copied = std::thread::scope(|scope| {
        let done = &done;
        let worker = scope.spawn(move || {
            let copied = conn.execute("VACUUM INTO ?1", [name]);
            done.store(true, Relaxed);
            copied
        });
        while !done.load(Relaxed) {
            progress(part.metadata().map_or(0, |meta| meta.len()).min(whole), whole);
            std::thread::sleep(LOOK);
        }
        worker.join().unwrap_or(Ok(0))
    });
    let finish = || -> Result<u64, StoreError> {
        copied?;
        let file = File::open(&part).map_err(failed("read"))?;
        file.sync_all().map_err(failed("write"))?;
        std::fs::rename(&part, copy).map_err(failed("rename"))?;
        let folder = copy.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write"))?;
        Ok(file.metadata().map_or(0, |meta| meta.len()))
    };
    let finished = finish();
    if finished.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    finished
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::query::totals;
    use crate::store::drawing::window;
    use crate::store::upkeep::check;
    use crate::store::{Reader, Store};

    /// The copy is a database of ours, sound, of the moment it was begun; the writer goes on meanwhile and after.
    #[test]
    fn a_backup_beside_a_writer_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("x.db"), folder.path().join("copy.db"));
        let (mut store, _) = Store::open(&path).unwrap();
        store.write_window(&window(0, "web/7  main;serve x5")).unwrap();
        let bytes = backup(&path, &copy, &mut |_, _| {}).unwrap();
        store.write_window(&window(1, "web/7  main;serve x5")).unwrap();
        assert_eq!(bytes, copy.metadata().unwrap().len());
        assert_eq!(totals(&mut Reader::open(&copy).unwrap()).unwrap().windows, 1);
        assert_eq!(check(&copy, &mut |_, _| {}).unwrap(), Vec::<String>::new());
        // It can be gone on with.
        let (mut copied, damaged) = Store::open(&copy).unwrap();
        assert_eq!(damaged, None);
        copied.write_window(&window(1, "web/7  main x1")).unwrap();
        let vacuum: i64 = copied.conn.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap();
        assert_eq!(vacuum, 2, "its space can be given back as the original's");
    }

    /// A file that is there is somebody's: it is left alone.
    #[test]
    fn a_backup_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("x.db"), folder.path().join("copy.db"));
        drop(Store::open(&path).unwrap());
        std::fs::write(&copy, "mine").unwrap();
        let error = backup(&path, &copy, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("copy.db"), "{error}");
        assert_eq!(std::fs::read(&copy).unwrap(), b"mine");
        assert!(!beside(&copy, ".part").exists());
    }
}
