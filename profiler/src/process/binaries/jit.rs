//! Code that processes wrote: one binary for each of them, with the files in which its runtime tells of it.

use super::super::jit_files::program;
use super::{ANONYMOUS, ANONYMOUS_PATH, Binaries, KERNEL};
use crate::profile::{Binary, BinaryId, BinaryKey, BinaryKind, BootNanos, ProcessKey};

impl Binaries {
    /// Programs whose files of names are held open, and refused since the start.
    pub fn jit_programs(&self) -> (usize, u64) {
        (self.jit_programs.len(), self.jit_programs.refused)
    }

    /// A program that may have written code has executed another, mapped a jitdump or ended: its files are looked for.
    pub fn look_for_jit_files(&self, process: ProcessKey, left: bool) {
        self.jit_programs.look(&self.proc, &self.pool, process, left);
    }

    /// The code that a process wrote; all such code together when the process is gone.
    pub fn jit(&mut self, process: ProcessKey, user: u32, now: BootNanos) -> BinaryId {
        if let Some(id) = self.jits.get(&process).copied()
            && (id == ANONYMOUS || self.touch(id, now))
        {
            self.jit_programs.sampled(&self.proc, &self.pool, process, now);
            return id;
        }
        let id = self.jit_binary(process, now).map_or(ANONYMOUS, |binary| self.add(binary, None, user, now));
        self.jits.insert(process, id);
        self.look_for_jit_files(process, false);
        id
    }

    fn jit_binary(&mut self, process: ProcessKey, now: BootNanos) -> Option<Binary> {
        let ProcessKey { pid, start } = process;
        let dir = self.proc.process(pid).ok()?;
        let (inside, user) = dir.identity_inside()?;
        // Read first, then made sure that it was this process.
        dir.stat().filter(|stat| stat.start == start)?;
        let root = self.roots.of(&self.proc, pid, user);
        let BinaryKey::Kernel { boot_id } = &self.entries.get(&KERNEL)?.binary.key else { return None };
        let key = BinaryKey::Jit { boot_id: boot_id.clone(), pid, start, inside, user };
        let path = ANONYMOUS_PATH.to_owned();
        let jit = self.jit_programs.add(process, program(process, (inside, user)), root.clone(), now);
        let kind = BinaryKind::Anonymous;
        Some(Binary { key, kind, path, build_id: None, code: None, file: None, root, jit, unopened: None })
    }
}
