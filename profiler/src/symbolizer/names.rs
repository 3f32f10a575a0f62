//! Names for one file or the kernel, asked of a child: with debug information first, and without it when that harmed the child.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::child::WorkerCommand;
use super::code::CodeBytes;
use super::contents::Facts;
use super::debug_files::{debug_file, package, shared_file, unit_files};
use super::debuginfod::Debuginfod;
use super::found::{self, path_of};
use super::kept_names::{KeptNames, Key};
use super::lane::{FileContent, Lane, LaneError, Trust};
use super::memfd::fixed_memfd;
use super::own_programs::{mark, own_tags};
use super::wire::{Kind, MAX_OFFSETS, Reply};
use super::worker::MAX_FILE;
use crate::profile::{Binary, BuildId, FileIdentity, FoundSource, NameSource, Owner, Symbolized, UnknownReason};
use crate::sys::timeout_pool::TimeoutPool;

/// Memory for an unpacked symbol table.
const SPARE: u64 = 64 << 20;
/// How long looking for a debug file may take: it may lie on a file system that does not answer.
const OPENING: Duration = Duration::from_secs(1);
/// The kernel's symbols.
pub(super) const KALLSYMS: &str = "/proc/kallsyms";
/// Most files whose facts are remembered.
const MAX_FACTS: usize = 4096;

/// A file that is or was mapped, and what leads to its debug information.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<'a> {
    /// The file.
    pub file: &'a File,
    /// Its path, as the process saw it.
    pub path: &'a str,
    /// Its build id.
    pub build_id: Option<BuildId>,
    /// What else it was found to be; its names are not kept on disk when that is not known.
    pub identity: Option<FileIdentity>,
    /// The root directory of the process; ours if `None`.
    pub root: Option<&'a File>,
    /// A file with its debug information that somebody named; looked for when `None`.
    pub debug: Option<&'a File>,
}

impl<'a> Mapped<'a> {
    /// A binary with its file.
    pub(super) fn of(binary: &'a Binary, file: &'a File) -> Self {
        let (path, root, identity) = (&binary.path, binary.root.as_deref(), binary.key.identity());
        Self { file, path, build_id: binary.build_id, identity, root, debug: None }
    }

    /// Its content, if that is not too large.
    fn content(&self) -> Option<FileContent> {
        let content = FileContent::of(self.file).filter(|content| content.size() <= MAX_FILE)?;
        Some(content.owned_by(self.identity.map(|identity| identity.owner.user())))
    }

    /// Who can have written it; where that was not found out, as its file system says.
    fn owner(&self, content: &FileContent) -> Owner {
        let said = if content.owner() == 0 { Owner::System } else { Owner::User(content.owner()) };
        self.identity.map_or(said, |identity| identity.owner)
    }

    /// The root for another thread.
    fn root_again(&self) -> Option<File> {
        self.root.and_then(|root| root.try_clone().ok())
    }
}

/// The debug information of a file that lies in others.
struct Elsewhere {
    /// How to ask for names with it.
    kind: Kind,
    /// Debug files and packages, each with memory for a copy; or files of units, without.
    files: Vec<File>,
    /// For so many of the offsets, from the first on.
    covered: usize,
}

/// Asks a child of its own.
#[derive(Debug)]
pub struct NamesWorker {
    pub(super) lane: Lane,
    facts: HashMap<FileContent, Arc<Facts>>,
    pub(super) opener: TimeoutPool,
    debuginfod: Option<Arc<Debuginfod>>,
    /// Names of earlier runs.
    kept: Option<KeptNames>,
    /// What the last question found where.
    pub(super) found: Vec<FoundSource>,
    /// When the file of the last question is tried again, if it is set aside.
    pub(super) again_at: Option<Instant>,
}

impl NamesWorker {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(command: WorkerCommand) -> Self {
        let opener = TimeoutPool::new("debug-opener", OPENING);
        Self {
            lane: Lane::new(command),
            facts: HashMap::new(),
            opener,
            debuginfod: None,
            kept: None,
            found: Vec::new(),
            again_at: None,
        }
    }

    /// Uses what servers give, too.
    #[must_use]
    pub fn with_debuginfod(mut self, debuginfod: Option<Arc<Debuginfod>>) -> Self {
        self.debuginfod = debuginfod.filter(|_| self.allows(NameSource::Debuginfod));
        self
    }

    /// Whether a file's debug information is not here and may come from a server soon; it is asked for.
    pub fn is_coming(&mut self, mapped: &Mapped<'_>) -> bool {
        let (Some(debuginfod), Some(build_id)) = (self.debuginfod.clone(), mapped.build_id) else { return false };
        let Some(content) = mapped.content() else {
            return false;
        };
        if self.lane.distrust(&content).is_some() {
            return false;
        }
        let Ok(facts) = self.facts(mapped.file, &content, None) else { return false };
        let (path, root, owner) = (mapped.path.to_owned(), mapped.root_again(), mapped.owner(&content));
        let here_too = self.allows(NameSource::DebugFile);
        let here = move || {
            debuginfod.file(&build_id).is_some()
                || (here_too && debug_file(root.as_ref(), &path, Some(build_id), owner, &facts).is_some())
                || facts.debug_info
                || !debuginfod.ask(&build_id)
        };
        matches!(self.opener.run(content.owner(), here), Ok(false))
    }

    /// Keeps names in a folder for the next start, if there is one; goes without where that cannot be.
    #[must_use]
    pub fn keeping_in(mut self, folder: Option<&Path>) -> Self {
        self.kept = folder.and_then(|folder| {
            let opened = KeptNames::open(folder, self.lane.command.sources);
            opened.inspect_err(|error| tracing::info!(folder = %folder.display(), %error, "names are not kept")).ok()
        });
        self
    }

    /// Lets an idle child go, and its memory with it.
    pub fn let_go(&mut self) {
        self.kept.iter_mut().for_each(KeptNames::write_down);
        self.lane.let_go();
    }

    /// Whether names may come from a source.
    #[must_use]
    pub fn allows(&self, source: NameSource) -> bool {
        self.lane.command.sources.has(source)
    }

    /// What the last question has found where; nothing when it could not look.
    pub fn take_found(&mut self) -> Vec<FoundSource> {
        let allowed = self.lane.command.sources;
        self.found.retain(|found| allowed.has(found.source));
        std::mem::take(&mut self.found)
    }

    /// Names for offsets of a file, one for each. `None` when there is no child to ask, or the deadline has come: worth another
    /// try.
    pub fn of_file(
        &mut self,
        mapped: &Mapped<'_>,
        offsets: &[u64],
        deadline: Option<Instant>,
    ) -> Option<Vec<Symbolized>> {
        self.found.clear();
        self.again_at = None;
        let Some(content) = mapped.content() else {
            return Some(vec![Symbolized::Unknown(UnknownReason::FileRefused); offsets.len()]);
        };
        let file = mapped.identity.filter(|file| mapped.debug.is_none() && !file.owner.is_passing());
        let key = mapped.build_id.zip(file).map(|(build_id, file)| Key { build_id, file });
        let Some(key) = key.filter(|_| self.kept.is_some()) else {
            return self.ask(mapped, content, offsets, deadline);
        };
        let is_good = self.is_kept_good(&key, mapped, &content, offsets, deadline);
        let mut kept = self.kept.as_mut().filter(|_| is_good);
        let mut names: Vec<_> =
            offsets.iter().map(|offset| kept.as_mut().and_then(|kept| kept.name(*offset))).collect();
        let missing: Vec<u64> =
            offsets.iter().zip(&names).filter(|(_, name)| name.is_none()).map(|(offset, _)| *offset).collect();
        if !missing.is_empty() {
            let answers = self.ask(mapped, content, &missing, deadline)?;
            // Names of a file that has harmed its child are not all it has, and may be had another time.
            if let Some(kept) = &mut self.kept
                && self.lane.distrust(&content).is_none()
            {
                kept.put(&key, &self.found, missing.into_iter().zip(answers.iter().cloned()));
            }
            let unnamed = names.iter_mut().filter(|name| name.is_none());
            unnamed.zip(answers).for_each(|(name, answer)| *name = Some(answer));
        }
        names.into_iter().collect()
    }

    /// Whether what is kept of a file is as good as what would be found now. With debug information nothing better can come; without,
    /// it may have come since.
    fn is_kept_good(
        &mut self,
        key: &Key,
        mapped: &Mapped<'_>,
        content: &FileContent,
        offsets: &[u64],
        deadline: Option<Instant>,
    ) -> bool {
        let Some(found) = self.kept.as_mut().and_then(|kept| kept.found(key)).map(<[_]>::to_vec) else { return false };
        let has =
            |source, here: bool| found.iter().any(|found| found.source == source && found.found.is_some() == here);
        if has(NameSource::Dwarf, true) && !has(NameSource::Dwo, false) {
            self.found = found;
            return true;
        }
        self.elsewhere(mapped, content, offsets, deadline).is_ok() && self.found == found
    }

    /// The same of a child.
    fn ask(
        &mut self,
        mapped: &Mapped<'_>,
        content: FileContent,
        offsets: &[u64],
        deadline: Option<Instant>,
    ) -> Option<Vec<Symbolized>> {
        let mut results = Vec::with_capacity(offsets.len());
        while results.len() < offsets.len() {
            let rest = &offsets[results.len()..];
            let asked = self.elsewhere(mapped, &content, rest, deadline).and_then(|elsewhere| {
                let kind = match self.lane.distrust(&content) {
                    None => elsewhere.kind,
                    Some(Trust::SymbolsOnly) => Kind::ElfSymbolsOnly,
                    Some(Trust::Nothing) => return Ok(None),
                };
                let rest = &rest[..rest.len().min(elsewhere.covered).min(MAX_OFFSETS)];
                let memory = [content.size(), SPARE].map(fixed_memfd);
                let [copy, spare] = memory.map(|memory| memory.map_err(LaneError::NoChild));
                let (copy, spare) = (copy?, spare?);
                let mut files = vec![mapped.file.as_fd(), copy.as_fd(), spare.as_fd()];
                // Split debug information is of no use for symbols only.
                let of_use = elsewhere.files.iter().filter(|_| kind == elsewhere.kind || elsewhere.kind == Kind::Elf);
                files.extend(of_use.map(AsFd::as_fd));
                Ok(Some(self.lane.ask(kind, Some(&content), &files, rest, deadline)?))
            });
            match asked {
                Ok(Some(Reply::Names(names))) => results.extend(names),
                // Set aside.
                Ok(None) => break,
                // `WorkerChild::ask` lets no other reply through.
                Ok(Some(_)) => return None,
                Err(error) if self.asks_again(&error, deadline) => {}
                Err(_) => return None,
            }
        }
        self.again_at = self.lane.set_aside_until(&content);
        results.resize(offsets.len(), Symbolized::Unknown(UnknownReason::SymbolizerFailed));
        Some(results)
    }

    /// Whether a question that had no answer is asked again at once. It ends: a file that fails is set aside, and children that are
    /// ended by others have to wait.
    pub(super) fn asks_again(&self, error: &LaneError, deadline: Option<Instant>) -> bool {
        let in_time = deadline.is_none_or(|deadline| deadline > Instant::now());
        in_time && matches!(error, LaneError::Failed(_) | LaneError::Interrupted(_)) && self.lane.is_ready()
    }

    /// When a child is started again, after children were ended again and again.
    pub fn not_before(&self) -> Option<Instant> {
        self.lane.not_before()
    }

    /// When the last file asked about is tried again, if it is set aside.
    pub fn again_at(&self) -> Option<Instant> {
        self.again_at
    }

    /// The code of the functions that cover these offsets of a file of this user (`None`: as its file system says), at most [`MAX_OFFSETS`] of them. Blocks until it is there or the
    /// deadline has come.
    ///
    /// # Errors
    /// Why there is none.
    pub fn code_of(
        &mut self,
        file: &File,
        user: Option<u32>,
        offsets: &[u64],
        deadline: Instant,
    ) -> Result<CodeBytes, UnknownReason> {
        let content = FileContent::of(file).filter(|content| content.size() <= MAX_FILE);
        let content = content.ok_or(UnknownReason::FileRefused)?.owned_by(user);
        let offsets = first(offsets);
        while self.lane.distrust(&content) != Some(Trust::Nothing) {
            match self.lane.ask(Kind::Code, Some(&content), &[file.as_fd()], offsets, Some(deadline)) {
                Ok(Reply::Code(code)) if code.machine != 0 => return Ok(code),
                Ok(_) => return Err(UnknownReason::BadFile),
                Err(error) if self.asks_again(&error, Some(deadline)) => {}
                Err(_) => break,
            }
        }
        Err(UnknownReason::SymbolizerFailed)
    }

    /// What stands in a file.
    fn facts(
        &mut self,
        file: &File,
        content: &FileContent,
        deadline: Option<Instant>,
    ) -> Result<Arc<Facts>, LaneError> {
        if let Some(facts) = self.facts.get(content) {
            return Ok(Arc::clone(facts));
        }
        let reply = self.lane.ask(Kind::Inspect, Some(content), &[file.as_fd()], &[], deadline)?;
        let facts = if let Reply::Facts(facts) = reply { facts } else { Facts::default() };
        let facts = Arc::new(facts.only(self.lane.command.sources));
        if self.facts.len() >= MAX_FACTS {
            self.facts.clear();
        }
        self.facts.insert(*content, Arc::clone(&facts));
        Ok(facts)
    }

    /// The debug information that lies in other files. A debug file that harms the child when it is looked at is left out, as if it were
    /// not there.
    fn elsewhere(
        &mut self,
        mapped: &Mapped<'_>,
        content: &FileContent,
        offsets: &[u64],
        deadline: Option<Instant>,
    ) -> Result<Elsewhere, LaneError> {
        let all = |kind, files| Ok(Elsewhere { kind, files, covered: offsets.len() });
        let nothing = all(Kind::Elf, Vec::new());
        if self.lane.distrust(content) == Some(Trust::Nothing) {
            return nothing;
        }
        let facts = self.facts(mapped.file, content, deadline)?;
        let (owner, user) = (mapped.owner(content), content.owner());
        let with_memory = |file: File| {
            let len = FileContent::of(&file)?.size();
            let memory = (len <= MAX_FILE).then(|| fixed_memfd(len).ok()).flatten()?;
            Some([file, memory])
        };
        let (path, build_id, root) = (mapped.path.to_owned(), mapped.build_id, mapped.root_again());
        let main = Arc::clone(&facts);
        self.found = found::of_file((mapped.path, &main), None, None, None);
        let allowed = self.lane.command.sources;
        if facts.debug_info && facts.split && allowed.has(NameSource::Dwo) {
            let find = move || package(root.as_ref(), &path, owner);
            let found = self.opener.run(user, find).ok().flatten().and_then(with_memory);
            if let Some(found) = found {
                self.found = found::of_file((mapped.path, &main), None, None, path_of(&found[0]));
                return all(Kind::ElfWithPackage, found.into());
            }
            if self.lane.distrust(content).is_some() {
                return nothing;
            }
            let offsets = first(offsets);
            let reply = self.lane.ask(Kind::Units, Some(content), &[mapped.file.as_fd()], offsets, deadline)?;
            let Reply::Units(units) = reply else { return nothing };
            let covered = units.covered.max(1) as usize;
            let (path, root) = (mapped.path.to_owned(), mapped.root_again());
            let find = move || unit_files(root.as_ref(), &path, owner, &units.files);
            let files = self.opener.run(user, find).unwrap_or_default();
            self.found = found::of_file((mapped.path, &main), None, None, files.first().and_then(path_of));
            let kind = if files.is_empty() { Kind::Elf } else { Kind::ElfWithUnits };
            return Ok(Elsewhere { kind, files, covered });
        }
        let here_too = allowed.has(NameSource::DebugFile);
        let downloads = self.debuginfod.clone();
        let find = move || {
            let here = here_too.then(|| debug_file(root.as_ref(), &path, build_id, owner, &facts)).flatten();
            let downloaded = || downloads?.file(&build_id?).filter(|_| !facts.debug_info);
            here.map(|file| (file, false)).or_else(|| Some((downloaded()?, true)))
        };
        let found = match mapped.debug {
            Some(debug) => debug.try_clone().ok().map(|file| (file, false)),
            None => self.opener.run(user, find).ok().flatten(),
        };
        let downloaded = found.as_ref().is_some_and(|(_, downloaded)| *downloaded);
        if self.debuginfod.is_some() && mapped.debug.is_none() && !downloaded {
            self.found.push(FoundSource { source: NameSource::Debuginfod, found: None });
        }
        let Some([debug, memory]) = found.and_then(|(file, _)| with_memory(file)) else { return nothing };
        let debug_content = FileContent::of(&debug).map(|debug| debug.owned_by(Some(user)));
        let trusted = debug_content.filter(|content| self.lane.distrust(content).is_none());
        let Some(debug_content) = trusted else { return nothing };
        let facts = self.facts(&debug, &debug_content, deadline)?;
        let (root, theirs) = (mapped.root_again(), Arc::clone(&facts));
        let shared = self.opener.run(user, move || shared_file(root.as_ref(), &theirs, owner)).ok().flatten();
        let shared = shared.and_then(with_memory);
        let path = path_of(&debug).unwrap_or_default();
        let shared_path = shared.as_ref().and_then(|[shared, _]| path_of(shared));
        self.found = found::of_file((mapped.path, &main), Some((&path, &facts)), shared_path, None);
        if downloaded {
            let debug_files = self.found.iter_mut().filter(|found| found.source == NameSource::DebugFile);
            debug_files.for_each(|found| found.found = None);
            self.found.push(FoundSource { source: NameSource::Debuginfod, found: Some(path) });
        }
        all(Kind::Elf, [debug, memory].into_iter().chain(shared.into_iter().flatten()).collect())
    }

    /// Names for kernel addresses, one for each. `None` when there is no child to ask or it failed, which no file of others can
    /// have done: worth another try.
    pub fn of_kernel(&mut self, addresses: &[u64], deadline: Option<Instant>) -> Option<Vec<Symbolized>> {
        self.again_at = None;
        // Whoever opens it decides whether addresses are shown: we, who may.
        self.found.clear();
        if !self.lane.command.sources.has(NameSource::Kallsyms) {
            return Some(vec![Symbolized::Unknown(UnknownReason::SwitchedOff); addresses.len()]);
        }
        self.found = found::one(NameSource::Kallsyms, None);
        let Ok(kallsyms) = File::open(KALLSYMS) else {
            return Some(vec![Symbolized::Unknown(UnknownReason::KernelHidden); addresses.len()]);
        };
        let mut results = Vec::with_capacity(addresses.len());
        while results.len() < addresses.len() {
            let rest = first(&addresses[results.len()..]);
            match self.lane.ask(Kind::Kernel, None, &[kallsyms.as_fd()], rest, deadline) {
                Ok(Reply::Names(names)) => results.extend(names),
                Err(error) if self.asks_again(&error, deadline) => {}
                Ok(_) | Err(_) => return None,
            }
        }
        let own = own_tags();
        results.iter_mut().for_each(|name| mark(name, &own));
        let hidden = |name: &Symbolized| *name == Symbolized::Unknown(UnknownReason::KernelHidden);
        let shown = !results.first().is_some_and(hidden);
        self.found = found::one(NameSource::Kallsyms, shown.then(|| KALLSYMS.to_owned()));
        Some(results)
    }
}

/// As many as one question holds.
pub(super) fn first(offsets: &[u64]) -> &[u64] {
    &offsets[..offsets.len().min(MAX_OFFSETS)]
}
