//! Where functions begin and end that are in no file: the kernel's, and those that a program wrote. A dump of the latter has their code
//! itself; of the others it is blank (`machine` is 0), and whoever may read the memory fills it in.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use super::code::CodeBytes;
use super::lane::FileContent;
use super::names::{KALLSYMS, NamesWorker};
use super::wire::{Kind, MAX_OFFSETS, Reply};
use crate::profile::{JitSources, NameSource, UnknownReason};

impl NamesWorker {
    /// The functions of the kernel that cover these addresses.
    ///
    /// # Errors
    /// Why there are none.
    pub fn kernel_code(&mut self, addresses: &[u64], deadline: Instant) -> Result<CodeBytes, UnknownReason> {
        if !self.allows(NameSource::Kallsyms) {
            return Err(UnknownReason::SwitchedOff);
        }
        let kallsyms = File::open(KALLSYMS).map_err(|_| UnknownReason::KernelHidden)?;
        self.code_told_by(Kind::KernelCode, &kallsyms, None, addresses, deadline)
    }

    /// The functions that a program wrote at these addresses, as its runtime tells of them now.
    ///
    /// # Errors
    /// Why there are none.
    pub fn jit_code(
        &mut self,
        sources: &Arc<JitSources>,
        addresses: &[u64],
        deadline: Instant,
    ) -> Result<CodeBytes, UnknownReason> {
        let mut files = self.jit_files(Some(sources))?;
        // A dump has the code itself.
        files.sort_by_key(|(source, _)| *source != NameSource::Jitdump);
        let mut answer = Err(UnknownReason::NotFound);
        for (_, file) in files {
            let content = FileContent::of(&file).ok_or(UnknownReason::FileRefused)?;
            answer = self.code_told_by(Kind::JitCode, &file, Some(content), addresses, deadline);
            if answer.as_ref().is_ok_and(|code| !code.pieces.is_empty()) {
                break;
            }
        }
        answer
    }

    fn code_told_by(
        &mut self,
        kind: Kind,
        file: &File,
        content: Option<FileContent>,
        addresses: &[u64],
        deadline: Instant,
    ) -> Result<CodeBytes, UnknownReason> {
        let addresses = &addresses[..addresses.len().min(MAX_OFFSETS)];
        while content.is_none_or(|content| self.lane.distrust(&content).is_none()) {
            match self.lane.ask(kind, content.as_ref(), &[file.as_fd()], addresses, Some(deadline)) {
                Ok(Reply::Code(code)) => return Ok(code),
                Err(error) if self.asks_again(&error, Some(deadline)) => {}
                Ok(_) | Err(_) => break,
            }
        }
        Err(UnknownReason::SymbolizerFailed)
    }
}
