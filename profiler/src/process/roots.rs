//! Root directories of processes that see other files than we do (containers, `chroot`, `PrivateTmp`), one descriptor for each.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Weak};

use rustix::fs::{AtFlags, StatxFlags};

use super::proc_dir::{ProcRoot, ProcessDir};

/// What makes two roots the same: mount namespace, device, inode.
pub(super) type Place = (u64, u64, u64);

/// Most roots kept, a descriptor each, and most of one user but root. A binary in another one has no root: its debug files there are
/// not found.
const MAX_ROOTS: usize = 1024;
const MAX_ROOTS_OF_USER: usize = 128;

/// The roots that binaries refer to.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// With the user whose process showed it first.
    known: HashMap<Place, (Weak<File>, u32)>,
    ours: Option<Place>,
    /// Roots for which there was no room.
    pub refused: u64,
}

impl Roots {
    /// The root directory of a process; `None` when it is ours or the process is gone.
    pub fn of(&mut self, proc: &ProcRoot, pid: u32, user: u32) -> Option<Arc<File>> {
        let root = root_of(&proc.process(pid).ok()?)?;
        self.share(proc, root, user)
    }

    /// The one descriptor for this root; `None` when it is ours.
    pub fn share(&mut self, proc: &ProcRoot, (root, theirs): Root, user: u32) -> Option<Arc<File>> {
        if self.ours.is_none() {
            self.ours = proc.process(std::process::id()).ok().and_then(|dir| root_of(&dir)).map(|(_, place)| place);
        }
        if self.ours == Some(theirs) {
            return None;
        }
        if let Some(known) = self.known.get(&theirs).and_then(|(root, _)| root.upgrade()) {
            return Some(known);
        }
        self.known.retain(|_, (root, _)| root.strong_count() > 0);
        let of_user = self.known.values().filter(|(_, first)| *first == user).count();
        if self.known.len() >= MAX_ROOTS || (user != 0 && of_user >= MAX_ROOTS_OF_USER) {
            self.refused += 1;
            return None;
        }
        let root = Arc::new(root);
        self.known.insert(theirs, (Arc::downgrade(&root), user));
        Some(root)
    }

    /// Roots that are kept.
    pub fn len(&self) -> usize {
        self.known.values().filter(|(root, _)| root.strong_count() > 0).count()
    }
}

/// A root directory and which one it is.
pub(super) type Root = (File, Place);

/// The root directory of a process.
pub(super) fn root_of(dir: &ProcessDir) -> Option<Root> {
    let root = File::from(dir.root().ok()?);
    // Without asking the file system, which may be the process's own.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = rustix::fs::statx(&root, "", flags, StatxFlags::INO).ok()?;
    let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
    Some((root, (dir.mount_namespace(), device, stat.stx_ino)))
}
