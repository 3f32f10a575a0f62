//! Whether a symbolic link can have been put at a name by another user than the one who wrote it down: root
//! would overwrite what such a link leads to. `fs.protected_symlinks` asks the same, where it is on.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Whether `path` is a link in a folder in which others can make or swap names: one that belongs to neither
/// us nor root, or that its group or everybody may write into. `/dev/stdout` and `/dev/fd/N` are none.
#[must_use]
pub fn is_planted_link(path: &Path) -> bool {
    if !fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink()) {
        return false;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let us = rustix::process::geteuid().as_raw();
    !fs::metadata(folder).is_ok_and(|folder| [0, us].contains(&folder.uid()) && folder.mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// Who may write into the folder decides, not where the link leads.
    #[test]
    fn a_link_in_a_folder_that_others_write_into_is_planted() {
        let folder = tempfile::tempdir().unwrap();
        let (link, file) = (folder.path().join("link"), folder.path().join("file"));
        symlink("file", &link).unwrap();
        fs::write(&file, "").unwrap();
        for (mode, planted) in [(0o700, false), (0o755, false), (0o775, true), (0o1777, true)] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_planted_link(&link), planted, "{mode:o}");
            assert!(!is_planted_link(&file), "a file is no link");
        }
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            std::os::unix::fs::chown(folder.path(), Some(65_534), None).unwrap();
            assert!(is_planted_link(&link), "the folder is another user's");
        }
        assert!(!is_planted_link(Path::new("/dev/stdout")) && !is_planted_link(Path::new("/dev/fd/0")));
    }
}
