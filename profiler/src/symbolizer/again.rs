//! Finding the file of a binary that was sampled earlier, to name it again: on this host, if it is still the one it was, or given
//! by hand; and where a program tells of the code it wrote.

use std::sync::Arc;
use std::time::Duration;

use crate::process::{ProcRoot, jit_sources_of, open_same};
use crate::profile::{Binary, BinaryKey, BinaryKind, ProcessKey};
use crate::sys::time_share::ROOT;
use crate::sys::timeout_pool::TimeoutPool;

/// How long opening a file may take: it may lie on a file system that does not answer.
const OPENING: Duration = Duration::from_secs(1);

/// Finds files of binaries.
#[derive(Debug)]
pub struct FileFinder {
    opener: TimeoutPool,
    /// Whose files are believed to tell of the code of a program that has ended, beside root's: whose it was is not known any more.
    user: u32,
}

impl Default for FileFinder {
    fn default() -> Self {
        Self { opener: TimeoutPool::new("file-opener", OPENING), user: ROOT }
    }
}

impl FileFinder {
    /// One that serves this user.
    #[must_use]
    pub fn for_user(user: u32) -> Self {
        Self { user, ..Self::default() }
    }

    /// The binary with its file; `None` when the host has it no more, or another one in its place.
    pub fn find(&mut self, binary: &Binary) -> Option<Binary> {
        match binary.kind {
            // Another boot's addresses are others.
            BinaryKind::Kernel => (Some(&binary.key) == this_kernel().as_ref()).then(|| binary.without_files()),
            BinaryKind::File => {
                let wanted = binary.without_files();
                // Asked for by whoever may use the profiler; whose the file is, is not known before it is open.
                let found = self.opener.run(ROOT, move || open_same(&wanted)).ok()?.ok()?;
                let (file, root) = (Some(Arc::new(found.file)), found.root.map(Arc::new));
                Some(Binary { file, root, ..binary.without_files() })
            }
            // Found by pid and start time, in the same boot.
            BinaryKind::Anonymous => {
                let BinaryKey::Jit { boot_id, pid, start, .. } = binary.key.clone() else { return None };
                let (process, user) = (ProcessKey { pid, start }, self.user);
                let find = move || jit_sources_of(&ProcRoot::host(), &boot_id, process, user);
                let jit = self.opener.run(ROOT, find).ok()??;
                Some(Binary { jit: Some(Arc::new(jit)), ..binary.without_files() })
            }
            // Every process has the same.
            BinaryKind::Vdso => None,
        }
    }
}

fn this_kernel() -> Option<BinaryKey> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(BinaryKey::Kernel { boot_id: boot_id.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn binary(kind: BinaryKind, key: BinaryKey) -> Binary {
        Binary::new(kind, key, "/bin/sh")
    }

    /// A file is found as long as it is the same one; the kernel as long as it is this boot's; what a program wrote is gone.
    #[test]
    fn what_is_still_the_same_is_found_again() {
        let mut finder = FileFinder::default();
        let id = crate::process::build_id_of(&std::fs::File::open("/bin/sh").unwrap()).unwrap();
        let mut find = |kind, key| finder.find(&binary(kind, key)).map(|found| found.file.is_some());
        assert_eq!(find(BinaryKind::File, BinaryKey::BuildId(BinaryKind::File, id)), Some(true));
        let other = crate::profile::BuildId::new(&[1; 20]).unwrap();
        assert_eq!(find(BinaryKind::File, BinaryKey::BuildId(BinaryKind::File, other)), None);
        assert_eq!(find(BinaryKind::Kernel, this_kernel().unwrap()), Some(false));
        assert_eq!(find(BinaryKind::Kernel, BinaryKey::Kernel { boot_id: "another".into() }), None);
        assert_eq!(find(BinaryKind::Anonymous, BinaryKey::Anonymous), None);
    }
}
