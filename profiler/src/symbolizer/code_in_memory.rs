//! Where functions begin and end that are in no file: the kernel's, and those that a program wrote. A dump of the latter has their code
//! itself; of the others it is blank (`machine` is 0), and whoever may read the memory fills it in.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Instant;

use super::code::CodeBytes;
use super::jit_files::{self, JitFile};
use super::lane::FileContent;
use super::names::{KALLSYMS, NamesWorker, user_of};
use super::wire::{Kind, MAX_OFFSETS, Reply};
use crate::profile::{BinaryKey, NameSource, UnknownReason};

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
        key: &BinaryKey,
        root: Option<&File>,
        addresses: &[u64],
        deadline: Instant,
    ) -> Result<CodeBytes, UnknownReason> {
        let allowed = [NameSource::PerfMap, NameSource::Jitdump].map(|source| self.allows(source));
        let (theirs, root) = (key.clone(), root.and_then(|root| root.try_clone().ok()));
        let file = match self.opener.run(user_of(key), move || jit_files::open(&theirs, root.as_ref(), allowed)) {
            _ if allowed == [false; 2] => return Err(UnknownReason::SwitchedOff),
            Ok(JitFile::Found(file)) => file,
            Ok(JitFile::Missing) => return Err(UnknownReason::NoFile),
            Ok(JitFile::Refused) | Err(_) => return Err(UnknownReason::FileRefused),
        };
        let content = FileContent::of(&file).ok_or(UnknownReason::FileRefused)?;
        self.code_told_by(Kind::JitCode, &file, Some(content), addresses, deadline)
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
