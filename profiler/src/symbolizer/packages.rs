//! Which package of the distribution a file belongs to, by dpkg's own lists: it leads to the package with the file's symbols.
//!
//! Only the host's lists are read, which root wrote: a container's would be foreign. A look through all of them takes some
//! 20 ms for 1,000 packages, so it is taken for files without symbols only, once each.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where dpkg keeps a list of files for each package (`man 1 dpkg`, "FILES").
const LISTS: &str = "/var/lib/dpkg/info";
/// Most bytes read of one list; that of the kernel's headers has 2 MB.
const MAX_LIST: u64 = 16 << 20;
/// Most lists read.
const MAX_LISTS: usize = 20_000;
/// Most files remembered.
const MAX_KNOWN: usize = 4096;

/// Packages by file, as far as they were asked for.
#[derive(Debug)]
pub(super) struct Packages {
    lists: PathBuf,
    known: HashMap<String, Option<String>>,
}

impl Default for Packages {
    fn default() -> Self {
        Self { lists: LISTS.into(), known: HashMap::new() }
    }
}

impl Packages {
    /// The package that a file of this host belongs to.
    pub fn owner(&mut self, path: &str) -> Option<String> {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        let found = search(&self.lists, path);
        self.known.insert(path.to_owned(), found.clone());
        found
    }
}

fn search(lists: &Path, path: &str) -> Option<String> {
    // Where `/lib` is a link to `/usr/lib`, packages may list either.
    let other = path.strip_prefix("/usr").filter(|rest| rest.starts_with("/lib") || rest.starts_with("/bin"));
    let wanted: Vec<&[u8]> = [Some(path), other].into_iter().flatten().map(str::as_bytes).collect();
    let mut text = Vec::new();
    for entry in fs::read_dir(lists).ok()?.take(MAX_LISTS).flatten() {
        let name = entry.file_name();
        let Some(package) = name.to_str().and_then(|name| name.strip_suffix(".list")) else { continue };
        text.clear();
        let read = File::open(entry.path()).and_then(|list| list.take(MAX_LIST).read_to_end(&mut text));
        if read.is_ok() && text.split(|byte| *byte == b'\n').any(|line| wanted.contains(&line)) {
            // `libc6:amd64`: the architecture does not matter.
            return Some(package.split(':').next().unwrap_or(package).to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A file is found by its whole path, in either spelling of a merged `/usr`; what is of no package has none.
    #[test]
    fn a_file_leads_to_its_package() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libfoo1:amd64.list"), "/.\n/lib/libfoo.so.1\n/usr/bin/foo\n").unwrap();
        fs::write(folder.path().join("bar.list"), "/usr/bin/bar\n").unwrap();
        fs::write(folder.path().join("bar.md5sums"), "/usr/bin/other\n").unwrap();
        let mut packages = Packages { lists: folder.path().to_owned(), known: HashMap::new() };
        let mut owner = |path| packages.owner(path);
        assert_eq!(owner("/usr/lib/libfoo.so.1").as_deref(), Some("libfoo1"));
        assert_eq!(owner("/usr/bin/foo").as_deref(), Some("libfoo1"));
        assert_eq!(owner("/usr/bin/bar").as_deref(), Some("bar"));
        assert_eq!((owner("/usr/bin/other"), owner("/usr/bin/ba")), (None, None));
        fs::remove_file(folder.path().join("bar.list")).unwrap();
        assert_eq!(owner("/usr/bin/bar").as_deref(), Some("bar"), "remembered");
    }
}
