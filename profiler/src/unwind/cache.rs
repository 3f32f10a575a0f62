//! Images on disk, so that the next start need not compile them: one file each, named by the build id of what it was compiled from
//! and by what tells that from other files which claim this id.

use std::io;
use std::path::Path;

use super::Image;
use crate::profile::{BuildId, FileIdentity};
use crate::sys::cache_folder::CacheFolder;

/// End of an image's name.
const SUFFIX: &str = ".rows";

/// The file that an image was compiled from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheKey {
    /// Its build id, or what stands for one ([`super::stand_in`]).
    pub id: BuildId,
    /// What else it is.
    pub file: FileIdentity,
}

impl CacheKey {
    fn name(&self) -> String {
        format!("{}-{}", self.id, self.file.to_string().replace(':', "-"))
    }
}

/// A folder of images.
#[derive(Debug)]
pub struct Cache {
    folder: CacheFolder,
}

impl Cache {
    /// Opens a folder, made if need be, for images of this many bytes in all.
    ///
    /// # Errors
    /// It is somebody else's, or cannot be made.
    pub fn open(folder: &Path, max_bytes: u64) -> io::Result<Self> {
        Ok(Self { folder: CacheFolder::open(folder, SUFFIX, max_bytes)? })
    }

    /// The image of this file, if it is here.
    pub fn get(&self, key: &CacheKey) -> Option<Image> {
        self.folder.get(&key.name(), Image::MAX_ENCODED as u64, |bytes| Image::decode(&bytes).ok())
    }

    /// Keeps an encoded image, and forgets others if that makes too many.
    ///
    /// # Errors
    /// It could not be written; the cache is as before.
    pub fn put(&self, key: &CacheKey, encoded: &[u8]) -> io::Result<()> {
        self.folder.put(&key.name(), encoded)
    }

    #[cfg(test)]
    fn path_of(&self, key: &CacheKey) -> std::path::PathBuf {
        self.folder.path_of(&key.name())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use tempfile::TempDir;

    use super::super::compile;
    use super::*;
    use crate::profile::Owner;

    fn key(n: u8) -> CacheKey {
        CacheKey { id: BuildId::new(&[n; 20]).unwrap(), file: FileIdentity { len: 5, owner: Owner::System, hash: 3 } }
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
        Cache::open(&path, 1 << 30).unwrap().put(&key(1), &bytes).unwrap();
        let cache = Cache::open(&path, 1 << 30).unwrap();
        assert!(cache.get(&key(1)) == Some(image));
        for change in [
            |file: &mut FileIdentity| file.len = 6,
            |file: &mut FileIdentity| file.owner = Owner::User(0),
            |file: &mut FileIdentity| file.hash = 4,
        ] {
            let mut other = key(1);
            change(&mut other.file);
            assert!(cache.get(&other).is_none());
        }
        assert!(cache.get(&key(2)).is_none());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&cache.path_of(&key(1)))), (0o700, 0o600));
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
            fs::write(cache.path_of(&key(1)), content).unwrap();
            assert!(cache.get(&key(1)).is_none());
            assert!(names(&folder).is_empty(), "it is still there");
        }
        fs::write(folder.path().join("elsewhere"), &bytes).unwrap();
        std::os::unix::fs::symlink("elsewhere", cache.path_of(&key(1))).unwrap();
        assert!(cache.get(&key(1)).is_none());
        cache.put(&key(1), &bytes).unwrap();
        assert!(cache.get(&key(1)).is_some());
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
            cache.put(&key(n), &bytes).unwrap();
            // Older than what comes, by more than a tick of the file system's clock.
            let before = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(n));
            File::options().append(true).open(cache.path_of(&key(n))).unwrap().set_modified(before).unwrap();
        }
        assert!(cache.get(&key(1)).is_some());
        cache.put(&key(4), &bytes).unwrap();
        let kept = [1, 2, 3, 4].map(|n| cache.get(&key(n)).is_some());
        assert_eq!(kept, [true, false, true, true]);
        let too_small = Cache::open(folder.path(), 10).unwrap();
        assert!(names(&folder).is_empty());
        too_small.put(&key(1), &bytes).unwrap();
        assert!(too_small.get(&key(1)).is_none());
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
