//! Root directories of processes that have another one than ours (containers, `chroot`), one descriptor for each.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Weak};

use super::proc_dir::ProcRoot;

/// The roots that binaries refer to.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// By device and inode.
    known: HashMap<(u64, u64), Weak<File>>,
}

impl Roots {
    /// The root directory of a process; `None` when it is ours or the process is gone.
    pub fn of(&mut self, proc: &ProcRoot, pid: u32) -> Option<Arc<File>> {
        let root = File::from(proc.process(pid).ok()?.root().ok()?);
        let place = |stat: std::fs::Metadata| (stat.dev(), stat.ino());
        let (theirs, ours) = (place(root.metadata().ok()?), place(std::fs::metadata("/").ok()?));
        if theirs == ours {
            return None;
        }
        if let Some(known) = self.known.get(&theirs).and_then(Weak::upgrade) {
            return Some(known);
        }
        self.known.retain(|_, root| root.strong_count() > 0);
        let root = Arc::new(root);
        self.known.insert(theirs, Arc::downgrade(&root));
        Some(root)
    }
}
