//! What a viewer sees of source files that nobody gave a word for at the start.
//!
//! - Where a binary that is trusted names an absolute path, the file at that path. Trusted is what lies on this host and root alone can
//!   write, or the viewer's own user alone: anybody else's binary, and a container's, may name any file.
//! - Files below folders that the viewer added on the page, written as for `--source-map`.
//!
//! The profiler may read more than its viewer. So a file is shown only if it is regular, of one name, reached without any link, and
//! one that the viewer could read without the profiler: everybody's, its user's own, or any for root. Root's own files that root's
//! own binary names are shown to whoever is logged in, as their samples are. Without a login nothing of this holds.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::SourceRoot;
use crate::process::{open_exactly, owner_of};
use crate::profile::Owner;

/// Most folders that a viewer adds.
const MOST_FOLDERS: usize = 16;

/// Who looks at source text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Viewer {
    is_logged_in: bool,
    /// The user on this host, where that is certain.
    uid: Option<u32>,
    folders: Vec<SourceRoot>,
}

impl Viewer {
    /// Somebody with a login; with the user on this host, where that is certain. The default is somebody without one.
    #[must_use]
    pub fn logged_in(uid: Option<u32>) -> Self {
        Self { is_logged_in: true, uid, folders: Vec::new() }
    }

    /// With folders that were added on the page: `FROM=TO`, one a line.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn adding(mut self, folders: &str) -> Result<Self, String> {
        let lines: Vec<&str> = folders.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.len() > MOST_FOLDERS {
            return Err(format!("at most {MOST_FOLDERS} folders can be added, these are {}", lines.len()));
        }
        self.folders = lines.into_iter().map(str::parse).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The folders, which nobody without a login can add.
    pub(super) fn folders(&self) -> &[SourceRoot] {
        if self.is_logged_in { &self.folders } else { &[] }
    }

    /// Whether what a file of these owners names may be shown.
    pub(super) fn trusts(&self, owner: Owner) -> bool {
        let own = matches!(owner, Owner::User(uid) if Some(uid) == self.uid);
        self.is_logged_in && (owner == Owner::System || own)
    }

    /// Opens a file below a folder, if it may be shown. `root_named_it`: whether a binary of root's names it.
    pub(super) fn open(&self, folder: &Path, rest: &Path, root_named_it: bool) -> Result<File, &'static str> {
        let (folder, rest) = (inside(folder), inside(rest));
        let (Some(folder), Some(rest)) = (folder, rest) else { return Err("its path leads out of the folder") };
        let path = Path::new("/").join(folder).join(rest);
        let no_root = "the root folder may not be read by the profiler";
        let file = open_exactly(File::open("/").map_err(|_| no_root)?, &path)
            .map_err(|_| "no such file without a link in its path, or it may not be read by the profiler")?;
        let stat = rustix::fs::fstat(&file).map_err(|_| "the file could not be read")?;
        // Whoever may write a folder can give another user's file a second name in it (`fs.protected_hardlinks` off).
        if stat.st_nlink != 1 {
            return Err("the file has several names (hard links)");
        }
        let owner = owner_of(&file, &stat).map_err(|_| "the file system does not say whose it is")?;
        let is_own = |uid: u32| match owner {
            Owner::User(owner) | Owner::Everybody(owner) | Owner::Group { uid: owner, .. } => owner == uid,
            Owner::System => uid == 0,
            Owner::Mount { .. } => false,
        };
        let shown = self.uid == Some(0)
            || self.uid.is_some_and(is_own)
            || (root_named_it && owner == Owner::System)
            || (stat.st_mode & 0o004 != 0 && is_open_to_all(&path));
        if shown { Ok(file) } else { Err("the file is neither yours nor everybody's to read") }
    }
}

/// A path without `.`, `..` and a slash at its beginning; `None` if it leads upwards out of where it begins. Exact where no link is followed.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => clean.pop().then_some(())?,
            Component::RootDir | Component::CurDir => {}
            Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// Whether everybody may go through every folder above.
fn is_open_to_all(path: &Path) -> bool {
    let mut folders = path.ancestors().skip(1);
    folders
        .all(|folder| std::fs::symlink_metadata(folder).is_ok_and(|about| about.is_dir() && about.mode() & 0o001 != 0))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    /// Binaries of root and of the viewer are trusted, of nobody else; without a login none is, and no folder counts.
    #[test]
    fn whose_word_counts() {
        let viewer = Viewer::logged_in(Some(1000));
        let owners = [
            Owner::System,
            Owner::User(1000),
            Owner::User(1001),
            Owner::User(0),
            Owner::Group { uid: 0, gid: 50 },
            Owner::Everybody(1000),
            Owner::Mount { dev: 9, uid: 0 },
        ];
        assert_eq!(owners.map(|owner| viewer.trusts(owner)), [true, true, false, false, false, false, false]);
        assert_eq!(owners.map(|owner| Viewer::logged_in(None).trusts(owner))[..2], [true, false]);
        let nobody = Viewer::default().adding("/a=/b").unwrap();
        assert!(!owners.iter().any(|owner| nobody.trusts(*owner)) && nobody.folders().is_empty());
        assert_eq!(viewer.clone().adding("/a=/b\n\n=/c\n").unwrap().folders().len(), 2);
        assert!(viewer.clone().adding("src").unwrap_err().contains("FROM=TO"));
        assert!(viewer.adding(&"/a\n".repeat(17)).unwrap_err().contains("16"));
    }

    /// A file that the viewer could not read is not read for them: by its mode, a folder's above it, a link, a second name, a way out.
    #[test]
    fn a_file_that_the_viewer_could_not_read_is_not_shown() {
        let folder = tempfile::Builder::new().prefix("viewer").tempdir_in("/tmp").unwrap();
        let folder = folder.path();
        let mode = |name: &str, mode| {
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("", 0o755);
        std::fs::create_dir(folder.join("closed")).unwrap();
        for name in ["open.c", "secret.c", "closed/open.c", "theirs.c", "twice.c"] {
            std::fs::write(folder.join(name), "int x;\n").unwrap();
        }
        mode("secret.c", 0o600);
        mode("theirs.c", 0o600);
        mode("closed", 0o700);
        std::fs::hard_link(folder.join("twice.c"), folder.join("again.c")).unwrap();
        symlink("open.c", folder.join("link.c")).unwrap();
        symlink(folder, folder.join("out")).unwrap();
        let shown = |uid, name: &str| Viewer::logged_in(uid).open(folder, Path::new(name), false).is_ok();
        assert!(shown(None, "open.c") && shown(None, "./closed/../open.c") && shown(None, "/open.c"));
        for hidden in
            ["secret.c", "closed/open.c", "twice.c", "again.c", "link.c", "out/open.c", "../viewer/open.c", ""]
        {
            assert!(!shown(Some(65_534), hidden), "{hidden}");
        }
        assert!(shown(Some(0), "secret.c") && !shown(Some(0), "link.c") && !shown(Some(0), "twice.c"));
        // Root's file that root's binary names is shown to all who are logged in; only where root runs the tests is it root's.
        let file = File::open(folder.join("open.c")).unwrap();
        let owner = owner_of(&file, &rustix::fs::fstat(&file).unwrap()).unwrap();
        if owner == Owner::System {
            let named = |name: &str| Viewer::logged_in(None).open(folder, Path::new(name), true).is_ok();
            assert!(named("secret.c") && named("closed/open.c") && !named("link.c"));
            chown(folder.join("theirs.c"), Some(65_534), None).unwrap();
            assert!(shown(Some(65_534), "theirs.c") && !shown(Some(1), "theirs.c") && !named("theirs.c"));
        }
    }
}
