//! A folder of files that make the next start quicker, and nothing else: none of them is needed.
//!
//! What cannot be read, is damaged or of another version is as if it were not there; who decodes says so, and it is removed. Files are
//! written beside and renamed. Above its limit the cache forgets what was not used for longest; "used" is the file's time of
//! change, set by the kernel's clock. The folder is ours alone (0700, files 0600): whoever can write there decides what we show.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

/// Beginning of the name of a file that is being written.
const UNFINISHED: &str = ".new-";
/// Most files looked at when room is made.
const MAX_FILES: usize = 100_000;
/// Files written between two looks at the folder, when it seems to have room: another profiler may write to it too.
const WRITES_PER_LOOK: u64 = 256;

/// Numbers for unfinished files of this process: several caches may share a folder.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// A folder of files whose names end alike.
#[derive(Debug)]
pub struct CacheFolder {
    folder: PathBuf,
    suffix: &'static str,
    max_bytes: u64,
    /// Bytes of all files at the last look, and what has been written since.
    bytes: AtomicU64,
}

impl CacheFolder {
    /// Opens a folder, made if need be, for files of this many bytes in all.
    ///
    /// # Errors
    /// It is somebody else's, or cannot be made.
    pub fn open(folder: &Path, suffix: &'static str, max_bytes: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let found = fs::symlink_metadata(folder)?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
            let message = format!("{} is not a folder of ours; remove it or name another", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        if found.mode() & 0o077 != 0 {
            fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        }
        // What an earlier run left half written.
        for entry in fs::read_dir(folder)?.take(MAX_FILES).flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let cache = Self { folder: folder.to_owned(), suffix, max_bytes, bytes: AtomicU64::new(0) };
        cache.make_room()?;
        Ok(cache)
    }

    /// What `decode` makes of a file, if it is here and no longer than `max_len`; what nothing can be made of is removed.
    pub fn get<T>(&self, name: &str, max_len: u64, decode: impl FnOnce(Vec<u8>) -> Option<T>) -> Option<T> {
        self.open_file(name, max_len, |file| read(file, max_len).and_then(decode))
    }

    /// The same of the open file, for who does not need all of it.
    pub fn open_file<T>(&self, name: &str, max_len: u64, decode: impl FnOnce(File) -> Option<T>) -> Option<T> {
        let path = self.path_of(name);
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path).ok()?;
        // A cache that cannot note what is used forgets something else; no more.
        let _ = rustix::fs::futimens(&file, &USED_NOW);
        let fits = file.metadata().is_ok_and(|found| found.is_file() && found.len() <= max_len);
        let found = fits.then_some(file).and_then(decode);
        if found.is_none() {
            let _ = fs::remove_file(&path);
        }
        found
    }

    /// Keeps a file, and forgets others if that makes too many. One that is larger than all of them may be is not kept.
    ///
    /// # Errors
    /// It could not be written; the cache is as before.
    pub fn put(&self, name: &str, content: &[u8]) -> io::Result<()> {
        if content.len() as u64 > self.max_bytes {
            return Ok(());
        }
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.folder.join(format!("{UNFINISHED}{}-{number}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let done = file.write_all(content).and_then(|()| fs::rename(&unfinished, self.path_of(name)));
        if done.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        done?;
        // Asking after thousands of files costs more than writing one.
        let len = content.len() as u64;
        if self.bytes.fetch_add(len, Ordering::Relaxed) + len > self.max_bytes || number.is_multiple_of(WRITES_PER_LOOK)
        {
            self.make_room()?;
        }
        Ok(())
    }

    /// Where a file lies.
    #[must_use]
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{}", self.suffix))
    }

    /// Bytes of all files, and what was used longest ago is removed until they are few enough.
    fn make_room(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)?.take(MAX_FILES).flatten() {
            // Somebody else may remove files meanwhile: another profiler.
            let Ok(found) = entry.metadata() else { continue };
            if entry.file_name().to_string_lossy().ends_with(self.suffix) && found.is_file() {
                files.push((found.modified()?, found.len(), entry.path()));
            }
        }
        let mut bytes: u64 = files.iter().map(|(_, len, _)| len).sum();
        files.sort_unstable();
        for (_, len, path) in files {
            if bytes <= self.max_bytes {
                break;
            }
            fs::remove_file(path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            bytes -= len;
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

const USED_NOW: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
};

/// The whole file.
fn read(file: File, max_len: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(file.metadata().ok()?.len().min(max_len) as usize);
    file.take(max_len).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
