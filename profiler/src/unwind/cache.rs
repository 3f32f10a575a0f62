//! Images on disk, so that the next start need not compile them: one file each, named by build id and length of what it was
//! compiled from (a stripped copy has the same id, and other tables).
//!
//! Nothing here is needed: what cannot be read, is damaged or of another version is as if it were not there, and removed. Files are
//! written beside and renamed. Above its limit the cache forgets what was not used for longest; "used" is the file's time of
//! change, set by the kernel's clock. The folder is ours alone (0700, files 0600): whoever can write there decides our stacks.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::Image;
use crate::profile::BuildId;

/// End of an image's name.
const SUFFIX: &str = ".rows";
/// Beginning of the name of a file that is being written.
const UNFINISHED: &str = ".new-";
/// Most files looked at when room is made.
const MAX_FILES: usize = 100_000;

/// A folder of images.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    max_bytes: u64,
    written: AtomicU64,
}

impl Cache {
    /// Opens a folder, made if need be, for images of this many bytes in all.
    ///
    /// # Errors
    /// It is somebody else's, or cannot be made.
    pub fn open(folder: &Path, max_bytes: u64) -> io::Result<Self> {
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
        let cache = Self { folder: folder.to_owned(), max_bytes, written: AtomicU64::new(0) };
        cache.make_room()?;
        Ok(cache)
    }

    /// The image of a file with this build id and length, if it is here.
    pub fn get(&self, id: &BuildId, file_len: u64) -> Option<Image> {
        let path = self.path_of(id, file_len);
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path).ok()?;
        let image = read(&mut file).and_then(|bytes| Image::decode(&bytes).ok());
        match image {
            // A cache that cannot note what is used forgets something else; no more.
            Some(_) => drop(rustix::fs::futimens(&file, &USED_NOW)),
            None => drop(fs::remove_file(&path)),
        }
        image
    }

    /// Keeps an encoded image, and forgets others if that makes too many.
    ///
    /// # Errors
    /// It could not be written; the cache is as before.
    pub fn put(&self, id: &BuildId, file_len: u64, encoded: &[u8]) -> io::Result<()> {
        if encoded.len() as u64 > self.max_bytes {
            return Ok(());
        }
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.folder.join(format!("{UNFINISHED}{}-{number}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let done = file.write_all(encoded).and_then(|()| fs::rename(&unfinished, self.path_of(id, file_len)));
        if done.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        done?;
        self.make_room()
    }

    fn path_of(&self, id: &BuildId, file_len: u64) -> PathBuf {
        self.folder.join(format!("{id}-{file_len:x}{SUFFIX}"))
    }

    /// Bytes of all images, and what was used longest ago is removed until they are few enough.
    fn make_room(&self) -> io::Result<()> {
        let mut images: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)?.take(MAX_FILES).flatten() {
            // Somebody else may remove files meanwhile: another profiler.
            let Ok(found) = entry.metadata() else { continue };
            if entry.file_name().to_string_lossy().ends_with(SUFFIX) && found.is_file() {
                images.push((found.modified()?, found.len(), entry.path()));
            }
        }
        let mut bytes: u64 = images.iter().map(|(_, len, _)| len).sum();
        images.sort_unstable();
        for (_, len, path) in images {
            if bytes <= self.max_bytes {
                break;
            }
            fs::remove_file(path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            bytes -= len;
        }
        Ok(())
    }
}

const USED_NOW: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
};

/// The whole file, if an image can be so long.
fn read(file: &mut File) -> Option<Vec<u8>> {
    let found = file.metadata().ok()?;
    if !found.is_file() || found.len() > Image::MAX_ENCODED as u64 {
        return None;
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    file.take(Image::MAX_ENCODED as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tempfile::TempDir;

    use super::super::compile;
    use super::*;

    fn id(n: u8) -> BuildId {
        BuildId::new(&[n; 20]).unwrap()
    }

    /// A shell, compiled.
    fn image() -> (Image, Vec<u8>) {
        let image = compile(&File::open("/bin/sh").unwrap()).unwrap();
        let bytes = image.encode();
        (image, bytes)
    }

    fn names(folder: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What was put in comes out, for the same file only, also after a new start; nobody else can read it.
    #[test]
    fn images_are_kept_for_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let (image, bytes) = image();
        Cache::open(&path, 1 << 30).unwrap().put(&id(1), 5, &bytes).unwrap();
        let cache = Cache::open(&path, 1 << 30).unwrap();
        assert!(cache.get(&id(1), 5) == Some(image));
        assert!(cache.get(&id(1), 6).is_none());
        assert!(cache.get(&id(2), 5).is_none());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&cache.path_of(&id(1), 5))), (0o700, 0o600));
    }

    /// Damaged, foreign and linked files are as if they were not there, and make room for good ones.
    #[test]
    fn damaged_images_are_compiled_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), 1 << 30).unwrap();
        let (_, bytes) = image();
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        for content in [&damaged[..], b"", b"something else", &bytes[..bytes.len() - 1]] {
            fs::write(cache.path_of(&id(1), 5), content).unwrap();
            assert!(cache.get(&id(1), 5).is_none());
            assert!(names(&folder).is_empty(), "it is still there");
        }
        fs::write(folder.path().join("elsewhere"), &bytes).unwrap();
        std::os::unix::fs::symlink("elsewhere", cache.path_of(&id(1), 5)).unwrap();
        assert!(cache.get(&id(1), 5).is_none());
        cache.put(&id(1), 5, &bytes).unwrap();
        assert!(cache.get(&id(1), 5).is_some());
    }

    /// The limit holds; what was used last stays. Leftovers of a run that ended while writing go away.
    #[test]
    fn the_least_recently_used_image_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".new-1-1"), b"half").unwrap();
        let (_, bytes) = image();
        let cache = Cache::open(folder.path(), 3 * bytes.len() as u64).unwrap();
        assert!(names(&folder).is_empty());
        for n in 1..=3 {
            cache.put(&id(n), 5, &bytes).unwrap();
            // Older than what comes, by more than a tick of the file system's clock.
            let before = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(n));
            File::options().append(true).open(cache.path_of(&id(n), 5)).unwrap().set_modified(before).unwrap();
        }
        assert!(cache.get(&id(1), 5).is_some());
        cache.put(&id(4), 5, &bytes).unwrap();
        let kept = [1, 2, 3, 4].map(|n| cache.get(&id(n), 5).is_some());
        assert_eq!(kept, [true, false, true, true]);
        let too_small = Cache::open(folder.path(), 10).unwrap();
        assert!(names(&folder).is_empty());
        too_small.put(&id(1), 5, &bytes).unwrap();
        assert!(too_small.get(&id(1), 5).is_none());
    }

    /// A folder that others can write is closed to them; what is no folder is refused with its name.
    #[test]
    fn the_folder_is_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        Cache::open(folder.path(), 1).unwrap();
        assert_eq!(folder.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(Cache::open(&link, 1).unwrap_err().to_string().contains("link"));
    }
}
