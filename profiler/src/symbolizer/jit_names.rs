//! Names for code that programs wrote, from the files in which their runtimes tell of it: those of the program itself first, then of the
//! programs it was forked from.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Instant;

use super::found::{self, path_of};
use super::lane::FileContent;
use super::names::{NamesWorker, first};
use super::silent::{Looked, Stamp};
use super::wire::{Kind, Reply};
use crate::process::{JitLook, ProcRoot, jit_sources, look_for_jit_files};
use crate::profile::{Binary, FoundSource, JitSources, NameSource, Symbolized, UnknownReason};

/// Where the code of a binary is told of: what is held open of its program, else what its identity leads to. `None` of what is no such code.
pub(super) fn sources_of(binary: &Binary) -> Option<Arc<JitSources>> {
    binary.jit.clone().or_else(|| jit_sources(&binary.key, binary.root.clone()).map(Arc::new))
}

impl NamesWorker {
    /// What a program tells by of the code it wrote; `None` where nothing may be used of that, or it does not answer.
    pub(super) fn look_at(&mut self, program: &Binary) -> Option<Looked> {
        let JitLook { files, ended, .. } = self.look_for(&sources_of(program)?, self.allowed_jit()?)?;
        let stats = files.iter().filter_map(|(_, file)| file.metadata().ok());
        let stamp = stats.fold(Stamp::None, |sum, stat| {
            let (len, seconds, nanos) = sum.unwrap_or_default();
            let (later, nanos) = (seconds, nanos).max((stat.mtime(), stat.mtime_nsec()));
            Some((len + stat.len(), later, nanos))
        });
        Some(Looked { stamp, ended })
    }

    /// Which of a program's files may be used: its map, its dump.
    fn allowed_jit(&self) -> Option<[bool; 2]> {
        let allowed = [NameSource::PerfMap, NameSource::Jitdump].map(|source| self.allows(source));
        (allowed != [false; 2]).then_some(allowed)
    }

    /// `None` when the file system does not answer.
    fn look_for(&self, sources: &Arc<JitSources>, allowed: [bool; 2]) -> Option<JitLook> {
        let (theirs, user) = (Arc::clone(sources), sources.user());
        self.opener.run(user, move || look_for_jit_files(&ProcRoot::host(), &theirs, allowed)).ok()
    }

    /// The files that tell of a program's code.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) fn jit_files(
        &self,
        sources: Option<&Arc<JitSources>>,
    ) -> Result<Vec<(NameSource, Arc<File>)>, UnknownReason> {
        let allowed = self.allowed_jit().ok_or(UnknownReason::SwitchedOff)?;
        let look = self.look_for(sources.ok_or(UnknownReason::NoFile)?, allowed);
        let look = look.ok_or(UnknownReason::NotOpenedInTime)?;
        match look.files.is_empty() {
            false => Ok(look.files),
            true if look.refused => Err(UnknownReason::FileRefused),
            true => Err(UnknownReason::NoFile),
        }
    }

    /// Names for code that a program wrote, one for each address, from the files in which its runtime tells of it. `None` when there is no
    /// child to ask, or the deadline has come: worth another try.
    pub fn of_jit(
        &mut self,
        sources: Option<&Arc<JitSources>>,
        addresses: &[u64],
        deadline: Option<Instant>,
    ) -> Option<Vec<Symbolized>> {
        self.again_at = None;
        self.found = found::one(NameSource::PerfMap, None);
        let files = match self.jit_files(sources) {
            Ok(files) => files,
            Err(reason) => return Some(vec![Symbolized::Unknown(reason); addresses.len()]),
        };
        self.found.clear();
        let mut names = vec![Symbolized::Unknown(UnknownReason::NotFound); addresses.len()];
        for (source, file) in files {
            let has_name = |at: &usize| matches!(names[*at], Symbolized::Named(_));
            let missing: Vec<usize> = (0..addresses.len()).filter(|at| !has_name(at)).collect();
            if missing.is_empty() {
                break;
            }
            let asked: Vec<u64> = missing.iter().map(|at| addresses[*at]).collect();
            let answers = self.ask_jit(&file, &asked, deadline)?;
            if !self.found.iter().any(|found| found.source == source) {
                self.found.push(FoundSource { source, found: path_of(&file) });
            }
            for (at, answer) in missing.into_iter().zip(answers) {
                if names[at] == Symbolized::Unknown(UnknownReason::NotFound) || matches!(answer, Symbolized::Named(_)) {
                    names[at] = answer;
                }
            }
        }
        Some(names)
    }

    /// The same of one file.
    fn ask_jit(&mut self, file: &File, addresses: &[u64], deadline: Option<Instant>) -> Option<Vec<Symbolized>> {
        let mut results = Vec::with_capacity(addresses.len());
        if let Some(content) = FileContent::of(file) {
            while results.len() < addresses.len() && self.lane.distrust(&content).is_none() {
                let rest = first(&addresses[results.len()..]);
                match self.lane.ask(Kind::Jit, Some(&content), &[file.as_fd()], rest, deadline) {
                    Ok(Reply::Names(names)) => results.extend(names),
                    Err(error) if self.asks_again(&error, deadline) => {}
                    Ok(_) | Err(_) => return None,
                }
            }
            self.again_at = self.again_at.or(self.lane.set_aside_until(&content));
        }
        results.resize(addresses.len(), Symbolized::Unknown(UnknownReason::SymbolizerFailed));
        Some(results)
    }
}
