//! Which package of the distribution a file belongs to, by dpkg's own lists: it leads to the package with the file's symbols.
//!
//! Only the host's lists are read, which root wrote: a container's would be foreign. Reading all of them takes some
//! 20 ms for 1,000 packages, so it is done once, and only when a file without symbols was met.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Where dpkg keeps a list of files for each package (`man 1 dpkg`, "FILES").
const LISTS: &str = "/var/lib/dpkg/info";
/// Most bytes read of one list; that of the kernel's headers has 2 MB.
const MAX_LIST: u64 = 16 << 20;
/// Most lists read.
const MAX_LISTS: usize = 20_000;
/// Shortest time between two readings of the lists, while packages are being installed.
const LEAST_AGE: Duration = Duration::from_secs(10);

/// Packages by file. The lists are read when the first file is asked for, and again when they have changed and a file is in none of them.
#[derive(Debug)]
pub(super) struct Packages {
    lists: PathBuf,
    index: Option<Index>,
}

/// What the lists say, in ten bytes a file: 1.3 MB for 800 packages.
#[derive(Debug)]
struct Index {
    /// Hashes of the paths, in order.
    hashes: Vec<u64>,
    /// The package of each, by its place in `names`.
    packages: Vec<u16>,
    names: Vec<String>,
    hasher: RandomState,
    /// Of the folder, when it was read.
    changed: Option<SystemTime>,
    read: Instant,
}

impl Default for Packages {
    fn default() -> Self {
        Self { lists: LISTS.into(), index: None }
    }
}

impl Packages {
    /// The package that a file of this host belongs to.
    pub fn owner(&mut self, path: &str) -> Option<String> {
        if let Some(found) = self.index.as_ref().and_then(|index| index.owner(path)) {
            return Some(found.to_owned());
        }
        let is_new = |index: &Index| index.read.elapsed() < LEAST_AGE || index.changed == changed(&self.lists);
        if self.index.as_ref().is_some_and(is_new) {
            return None;
        }
        self.index.insert(Index::read(&self.lists)).owner(path).map(str::to_owned)
    }
}

/// When a package came or went last.
fn changed(lists: &Path) -> Option<SystemTime> {
    fs::metadata(lists).and_then(|folder| folder.modified()).ok()
}

impl Index {
    fn read(lists: &Path) -> Self {
        let (changed, hasher) = (changed(lists), RandomState::new());
        let (mut names, mut files) = (Vec::new(), Vec::new());
        let mut text = Vec::new();
        for entry in fs::read_dir(lists).into_iter().flatten().take(MAX_LISTS).flatten() {
            let name = entry.file_name();
            let Some(package) = name.to_str().and_then(|name| name.strip_suffix(".list")) else { continue };
            text.clear();
            if File::open(entry.path()).and_then(|list| list.take(MAX_LIST).read_to_end(&mut text)).is_ok() {
                let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                files.extend(lines.map(|line| (hasher.hash_one(line), names.len() as u16)));
                // `libc6:amd64`: the architecture does not matter.
                names.push(package.split(':').next().unwrap_or(package).to_owned());
            }
        }
        files.sort_unstable();
        let (hashes, packages) = files.into_iter().unzip();
        Self { hashes, packages, names, hasher, changed, read: Instant::now() }
    }

    fn owner(&self, path: &str) -> Option<&str> {
        // Where `/lib` is a link to `/usr/lib`, packages may list either.
        let other = path.strip_prefix("/usr").filter(|rest| rest.starts_with("/lib") || rest.starts_with("/bin"));
        [Some(path), other].into_iter().flatten().find_map(|path| {
            let place = self.hashes.binary_search(&self.hasher.hash_one(path.as_bytes())).ok()?;
            self.names.get(usize::from(self.packages[place])).map(String::as_str)
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A file is found by its whole path, in either spelling of a merged `/usr`; what is of no package has none. A package that comes
    /// later is found, if a while has passed.
    #[test]
    fn a_file_leads_to_its_package() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libfoo1:amd64.list"), "/.\n/lib/libfoo.so.1\n/usr/bin/foo\n").unwrap();
        fs::write(folder.path().join("bar.list"), "/usr/bin/bar\n").unwrap();
        fs::write(folder.path().join("bar.md5sums"), "/usr/bin/other\n").unwrap();
        let mut packages = Packages { lists: folder.path().to_owned(), index: None };
        let mut owner = |path| packages.owner(path);
        assert_eq!(owner("/usr/lib/libfoo.so.1").as_deref(), Some("libfoo1"));
        assert_eq!(owner("/usr/bin/foo").as_deref(), Some("libfoo1"));
        assert_eq!(owner("/usr/bin/bar").as_deref(), Some("bar"));
        assert_eq!((owner("/usr/bin/other"), owner("/usr/bin/ba")), (None, None));
        fs::remove_file(folder.path().join("bar.list")).unwrap();
        fs::write(folder.path().join("new.list"), "/usr/bin/new\n").unwrap();
        assert_eq!(owner("/usr/bin/bar").as_deref(), Some("bar"), "remembered");
        assert_eq!(owner("/usr/bin/new"), None, "not at once");
        let index = packages.index.as_mut().unwrap();
        (index.read, index.changed) = (index.read.checked_sub(LEAST_AGE).unwrap(), None);
        assert_eq!(packages.owner("/usr/bin/new").as_deref(), Some("new"));
        assert_eq!(packages.owner("/usr/bin/bar"), None, "gone by now");
    }
}
