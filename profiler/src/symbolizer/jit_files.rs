//! Opening the files in which a program's runtime tells of the code it wrote. Runs in the parent: it opens and does not read.
//!
//! They lie in `/tmp` of the program's own mount namespace, where anybody may put anything. A file is believed only when it is a
//! regular one with one name, reached without a single link, that belongs to the program's user or to root, and was written after the
//! program began: pids come again.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::jit_map::MAX_MAP;
use crate::process::open_exactly;
use crate::profile::{BinaryKey, StartTicks};
use crate::sys::clock::{boot_now, wall_now};

/// Largest dump: most of it is code, which is not read.
const MAX_DUMP: u64 = 1 << 30;
/// A start time is this inexact, and clocks of file systems lag, in nanoseconds.
const SLACK: u64 = 1_000_000_000;

/// What became of the search.
#[derive(Debug)]
pub(super) enum JitFile {
    /// To be read.
    Found(File),
    /// Nothing there.
    Missing,
    /// There is one that is not to be believed.
    Refused,
}

/// Opens the map of a program, or its dump; `allowed` says which may be used. `root` is its root directory.
pub(super) fn open(key: &BinaryKey, root: Option<&File>, allowed: [bool; 2]) -> JitFile {
    let BinaryKey::Jit { start, inside, user, .. } = key else { return JitFile::Missing };
    let mut refused = false;
    let files = [(format!("perf-{inside}.map"), MAX_MAP), (format!("jit-{inside}.dump"), MAX_DUMP)];
    for ((name, largest), _) in files.into_iter().zip(allowed).filter(|(_, allowed)| *allowed) {
        let path = Path::new("/tmp").join(name);
        let opened = match root {
            Some(root) => open_exactly(root, &path),
            None => File::open("/").and_then(|root| open_exactly(root, &path)),
        };
        match opened {
            Ok(file) if is_theirs(&file, *user, *start, largest) => return JitFile::Found(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) | Err(_) => refused = true,
        }
    }
    if refused { JitFile::Refused } else { JitFile::Missing }
}

fn is_theirs(file: &File, user: u32, start: StartTicks, largest: u64) -> bool {
    let Ok(stat) = file.metadata() else { return false };
    let booted = wall_now().0.cast_unsigned().saturating_sub(boot_now().0);
    let started = booted + start.0 * 10_000_000;
    let written = stat.mtime().unsigned_abs() * 1_000_000_000 + stat.mtime_nsec().unsigned_abs();
    let theirs = stat.uid() == user || stat.uid() == 0;
    theirs && stat.nlink() == 1 && stat.len() <= largest && written + SLACK >= started
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::{chown, symlink};
    use std::time::{Duration, Instant, SystemTime};

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::TempDir;

    use super::*;

    fn key(user: u32) -> BinaryKey {
        let start = StartTicks(boot_now().0 / 10_000_000);
        BinaryKey::Jit { boot_id: "boot".to_owned(), pid: 4711, start, inside: 7, user }
    }

    fn root() -> TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("tmp")).unwrap();
        root
    }

    fn opened(root: &TempDir, user: u32) -> JitFile {
        let begin = Instant::now();
        let found = open(&key(user), Some(&File::open(root.path()).unwrap()), [true; 2]);
        assert!(begin.elapsed() < Duration::from_secs(1), "blocked");
        found
    }

    /// The program's own and root's files are believed, by the pid that the program knows itself by; somebody else's is not.
    #[test]
    fn only_the_programs_user_and_root_are_believed() {
        let root = root();
        assert!(matches!(opened(&root, 1000), JitFile::Missing));
        let map = root.path().join("tmp/perf-7.map");
        std::fs::write(&map, "1000 10 f\n").unwrap();
        assert!(matches!(opened(&root, 1000), JitFile::Found(_)), "root's");
        chown(&map, Some(1000), None).unwrap();
        assert!(matches!(opened(&root, 1000), JitFile::Found(_)), "theirs");
        assert!(matches!(opened(&root, 1001), JitFile::Refused), "somebody else's");
        assert!(matches!(opened(&root, 0), JitFile::Refused), "nobody names root's frames but root");
        std::fs::remove_file(&map).unwrap();
        std::fs::write(root.path().join("tmp/jit-7.dump"), "x").unwrap();
        assert!(matches!(opened(&root, 1000), JitFile::Found(_)), "a dump");
    }

    /// FIFOs, devices, directories, links of both sorts, huge files and files from before the program are refused, at once.
    #[test]
    fn traps_are_refused() {
        let root = root();
        let map = root.path().join("tmp/perf-7.map");
        let secret = root.path().join("secret");
        std::fs::write(&secret, "CANARY 10 f\n").unwrap();
        let set_old = |path: &Path| {
            let long_ago = SystemTime::now() - Duration::from_secs(3600);
            File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        };
        let traps: [(&str, &dyn Fn()); 8] = [
            ("fifo", &|| mknodat(CWD, &map, FileType::Fifo, Mode::RUSR, 0).unwrap()),
            ("directory", &|| std::fs::create_dir(&map).unwrap()),
            ("link", &|| symlink("../secret", &map).unwrap()),
            ("link outside", &|| symlink("/etc/shadow", &map).unwrap()),
            ("device", &|| symlink("/dev/zero", &map).unwrap()),
            ("hard link", &|| std::fs::hard_link(&secret, &map).unwrap()),
            ("8 GiB of nothing", &|| File::create(&map).unwrap().set_len(8 << 30).unwrap()),
            ("old", &|| {
                std::fs::write(&map, "1000 10 f\n").unwrap();
                set_old(&map);
            }),
        ];
        for (name, make) in traps {
            make();
            assert!(matches!(opened(&root, 0), JitFile::Refused), "{name}");
            let _ = std::fs::remove_file(&map).or_else(|_| std::fs::remove_dir(&map));
        }
        // `/tmp` itself may be a link.
        std::fs::remove_dir(root.path().join("tmp")).unwrap();
        symlink("/", root.path().join("tmp")).unwrap();
        std::fs::write(root.path().join("perf-7.map"), "1000 10 f\n").unwrap();
        assert!(matches!(opened(&root, 0), JitFile::Refused));
    }
}
