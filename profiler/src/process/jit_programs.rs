//! The programs that write code, and when their files are looked for: at the first sample, while there is none, when a jitdump is mapped, at
//! exec and at exit.
//!
//! Looks are jobs of the pool that opens files. Each program takes a few descriptors; their number is bounded, with a share for each user.
//! The code of a program without a place has its names from the path alone, at the time when it is named.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Weak};

use super::jit_files::{booted, look};
use super::proc_dir::ProcRoot;
use crate::profile::{BootNanos, JitProgram, JitSources, ProcessKey};
use crate::sys::fair_pool::FairPool;

/// Most programs whose files are held, three descriptors each and two for each one that it was forked from; and most of one user but root.
const MAX_PROGRAMS: usize = 1024;
const MAX_OF_USER: usize = 128;
/// A program without a file is looked at again after this long, and then after twice as long each time, up to the longest.
const FIRST_WAIT: u64 = 1_000_000_000;
const LONGEST_WAIT: u64 = 10_000_000_000;

/// The programs.
#[derive(Debug, Default)]
pub(super) struct JitPrograms {
    known: HashMap<ProcessKey, Known>,
    /// Programs for which there was no room.
    pub refused: u64,
}

#[derive(Debug)]
struct Known {
    sources: Weak<JitSources>,
    /// Whose share of programs and threads it takes.
    user: u32,
    /// When it is looked at next, while it has no file.
    due: BootNanos,
    wait: u64,
}

impl JitPrograms {
    /// A program has written code. `None` if there is no room for it.
    pub fn add(
        &mut self,
        process: ProcessKey,
        program: JitProgram,
        root: Option<Arc<File>>,
        now: BootNanos,
    ) -> Option<Arc<JitSources>> {
        self.known.retain(|_, known| known.sources.strong_count() > 0);
        let user = program.user;
        let of_user = self.known.values().filter(|known| known.user == user).count();
        if self.known.len() >= MAX_PROGRAMS || (user != 0 && of_user >= MAX_OF_USER) {
            self.refused += 1;
            return None;
        }
        let sources = Arc::new(JitSources::new(program, root, booted()));
        let due = BootNanos(now.0.saturating_add(FIRST_WAIT));
        self.known.insert(process, Known { sources: Arc::downgrade(&sources), user, due, wait: FIRST_WAIT });
        Some(sources)
    }

    /// Has the files of a program looked for; `left` when it has ended.
    pub fn look(&self, proc: &ProcRoot, pool: &FairPool, process: ProcessKey, left: bool) {
        let Some((sources, user)) =
            self.known.get(&process).and_then(|known| Some((known.sources.upgrade()?, known.user)))
        else {
            return;
        };
        let proc = proc.clone();
        // Where the pool has no room, it is looked when the code is named.
        let _ = pool.submit(user, move || look(&proc, &sources, left));
    }

    /// A program was sampled: it is looked for its files, if none has been found and that is a while ago.
    pub fn sampled(&mut self, proc: &ProcRoot, pool: &FairPool, process: ProcessKey, now: BootNanos) {
        let Some(known) = self.known.get_mut(&process).filter(|known| now >= known.due) else { return };
        known.wait = (known.wait * 2).min(LONGEST_WAIT);
        known.due = BootNanos(now.0.saturating_add(known.wait));
        if known.sources.upgrade().is_some_and(|sources| !sources.has_file()) {
            self.look(proc, pool, process, false);
        }
    }

    /// Programs whose files are held.
    pub fn len(&self) -> usize {
        self.known.values().filter(|known| known.sources.strong_count() > 0).count()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::jit_files::program;
    use super::*;
    use crate::profile::StartTicks;

    /// Programs of one user, and all together, are bounded; those that are gone leave their place.
    #[test]
    fn programs_are_bounded_with_a_share_for_each_user() {
        let mut programs = JitPrograms::default();
        let mut add = |pid: u32, user| {
            let process = ProcessKey { pid, start: StartTicks(1) };
            programs.add(process, program(process, (pid, user)), None, BootNanos(0))
        };
        let mut held: Vec<_> = (0..MAX_OF_USER as u32).map(|pid| add(pid, 1000).unwrap()).collect();
        assert!(add(500, 1000).is_none(), "the user's share is used up");
        held.extend((1000..1000 + (MAX_PROGRAMS - MAX_OF_USER) as u32).map(|pid| add(pid, 0).unwrap()));
        assert!(add(500, 1001).is_none(), "all are used up");
        held.pop();
        assert!(add(500, 1001).is_some());
        assert_eq!((programs.len(), programs.refused), (MAX_PROGRAMS - 1, 2), "the last one was not kept");
    }
}
