//! Names for file offsets of an ELF file. Runs in the child only.
//!
//! Debug information is read by `debug_info.rs`, that of several files by `dwarf.rs`, symbol tables by blazesym. The files themselves are
//! read, never mapped: libraries that map see copies of what names code (`copy.rs`). The copies lead to no other file but each other,
//! and the sandbox opens none.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Reason, Sym, Symbolized as Found, Symbolizer};

use super::code::begins;
use super::contents::{Contents, Facts};
use super::copy::{copy_naming_parts, unpack_debug_data};
use super::debug_info::{Described, Sections, describe};
use super::demangle::function;
use super::dwarf::{self, Second};
use super::plt::stubs;
use crate::profile::{NameSource, NameSources, SourceLine, Symbol, Symbolized, UnknownReason};
use crate::unwind::{GoFunction, go_functions};

/// A file and an empty memfd for its copy.
pub(super) type Pair<'a> = (&'a File, &'a File);

/// Where names may come from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    /// The file that is mapped.
    pub main: Pair<'a>,
    /// An empty memfd, for a symbol table that is unpacked.
    pub spare: &'a File,
    /// The file with its debug information.
    pub debug: Option<Pair<'a>>,
    /// The file with what that has in common with others.
    pub shared: Option<Pair<'a>>,
    /// The package of its split debug information.
    pub package: Option<Pair<'a>>,
    /// Files of its split debug information.
    pub units: &'a [File],
    /// False when debug information has harmed a child before.
    pub debug_info: bool,
    /// What names may come from.
    pub allowed: NameSources,
}

/// Names for each offset, in order.
pub(super) fn symbolize_file(sources: &Sources<'_>, offsets: &[u64]) -> Vec<Symbolized> {
    let bad = || vec![Symbolized::Unknown(UnknownReason::BadFile); offsets.len()];
    let Some(mut main) = Contents::of(sources.main.0) else { return bad() };
    let stripped = !main.facts.has_functions();
    main.facts = main.facts.only(sources.allowed);
    let mut names = Names::new(offsets.iter().map(|offset| main.address_of(*offset)).collect());
    if sources.allowed.has(NameSource::Dynsym) {
        // What no symbol covers, and the one before must not name.
        names.take_stubs(stubs(sources.main.0, &main, &names.addresses));
    }
    let read = |pair: Pair<'_>| Contents::of(pair.0);
    let copied = |pair: Pair<'_>, debug_info| copy(sources, pair, &read(pair)?, debug_info);
    let with_lines = sources.debug_info;
    let shared = sources.shared.filter(|_| with_lines);
    let debug = sources.debug.and_then(|pair| {
        let mut contents = read(pair)?;
        contents.facts = contents.facts.only(sources.allowed);
        let copied = if shared.is_some() { Some(copy(sources, pair, &contents, true)?) } else { None };
        Some((pair, copied, contents))
    });
    let split = with_lines && (sources.package.is_some() || !sources.units.is_empty());
    // Symbol tables are copied when something has no name after debug information.
    let copied_main = if split { copy(sources, sources.main, &main, true) } else { None };
    if split && copied_main.is_none() {
        return bad();
    }
    // From the one that tells most to the one that tells least.
    if let Some((pair, _, contents)) = debug.as_ref().filter(|(_, _, debug)| with_lines && debug.facts.debug_info) {
        match shared.filter(|shared| contents.facts.shared.is_some() && copied(*shared, true).is_some()) {
            Some(shared) => names.fill(|addresses| dwarf::symbolize(pair.1, Second::Shared(shared.1), addresses)),
            None => names.describe(pair.0, contents),
        };
    }
    if main.facts.debug_info && with_lines {
        if let Some(package) = sources.package.filter(|pair| copied(*pair, true).is_some()) {
            names.fill(|addresses| dwarf::symbolize(sources.main.1, Second::Package(package.1), addresses));
        }
        if !sources.units.is_empty() {
            names.fill(|addresses| dwarf::symbolize(sources.main.1, Second::Units(sources.units), addresses));
        }
        names.describe(sources.main.0, &main);
    }
    let main_copy = || copied_main.or_else(|| copy(sources, sources.main, &main, false));
    let readable = names.fill(|addresses| symbolize(&main_copy()?, &main, addresses));
    if let Some((pair, copied, contents)) = &debug {
        let debug_copy = || copied.clone().or_else(|| copy(sources, *pair, contents, false));
        names.fill(|addresses| symbolize(&debug_copy()?, &main, addresses));
    }
    if main.facts.go && with_lines {
        names.fill(|addresses| go_names(sources.main.0, addresses));
    }
    if main.facts.debug_data && with_lines && unpack_debug_data(sources.main.0, &main, sources.spare).is_some() {
        names.fill(|addresses| symbolize(&memfd_path(sources.spare), &main, addresses));
    }
    // A file without `.symtab` exports a few of its functions at most: the rest have no symbol at all.
    let known = [Some(&main.facts), debug.as_ref().map(|(_, _, debug)| &debug.facts)];
    let complete = known.into_iter().flatten().any(Facts::has_functions);
    let why = match (readable, complete) {
        (false, _) => UnknownReason::BadFile,
        (true, true) => UnknownReason::NotFound,
        (true, false) if stripped => UnknownReason::NoSymbols,
        (true, false) => UnknownReason::SwitchedOff,
    };
    if readable && with_lines {
        names.find_begins(sources.main.0);
    }
    names.or_unknown(why, offsets)
}

/// What has been found so far.
struct Names {
    addresses: Vec<Option<u64>>,
    found: Vec<Option<Vec<Symbol>>>,
    /// What debug information says of places whose function only a symbol names.
    described: HashMap<usize, Described>,
    /// Where the functions of places without a name begin.
    begins: HashMap<usize, u64>,
}

impl Names {
    fn new(addresses: Vec<Option<u64>>) -> Self {
        let found = vec![None; addresses.len()];
        Self { addresses, found, described: HashMap::new(), begins: HashMap::new() }
    }

    fn take_stubs(&mut self, stubs: Vec<Option<String>>) {
        for (found, name) in self.found.iter_mut().zip(stubs).filter(|(_, name)| name.is_some()) {
            *found = name.map(|name| vec![Symbol { name: name.into(), ..Symbol::default() }]);
        }
    }

    /// What has no name: its place and address.
    fn unnamed(&self) -> (Vec<usize>, Vec<u64>) {
        let all = self.addresses.iter().zip(&self.found).enumerate();
        all.filter_map(|(at, (address, found))| Some((at, (*address).filter(|_| found.is_none())?))).unzip()
    }

    /// Asks a source for what no better one has named; says whether it could be read.
    fn fill(&mut self, source: impl FnOnce(&[u64]) -> Option<Vec<Symbolized>>) -> bool {
        let (places, asked) = self.unnamed();
        let Some(names) = (if asked.is_empty() { Some(Vec::new()) } else { source(&asked) }) else { return false };
        for (at, name) in places.into_iter().zip(names) {
            let Symbolized::Named(mut symbols) = name else { continue };
            let described = if symbols.len() == 1 { self.described.remove(&at) } else { None };
            self.found[at] = match described {
                Some(described) => described.symbols(symbols.pop()),
                None => Some(symbols),
            };
        }
        true
    }

    /// Asks a file's debug information. A panic costs no more than that: the symbol table still names the code.
    fn describe(&mut self, file: &File, contents: &Contents) -> bool {
        let (places, asked) = self.unnamed();
        if asked.is_empty() {
            return true;
        }
        let attempt = || Some(describe(&Sections::read(file, contents)?, &asked));
        let Some(found) = catch_unwind(AssertUnwindSafe(attempt)).ok().flatten() else { return false };
        for (at, described) in places.into_iter().zip(found) {
            if described.function.is_some() {
                self.found[at] = described.symbols(None);
            } else if described.source.is_some() {
                self.described.entry(at).or_insert(described);
            }
        }
        true
    }

    /// Asks the unwind table for functions that nothing names, so that their places are at least one frame each.
    fn find_begins(&mut self, file: &File) {
        let (places, asked) = self.unnamed();
        if asked.is_empty() {
            return;
        }
        let found = catch_unwind(AssertUnwindSafe(|| begins(file, &asked))).ok().flatten().unwrap_or_default();
        self.begins = places.into_iter().zip(found).filter_map(|(at, begin)| Some((at, begin?))).collect();
    }

    fn or_unknown(self, why: UnknownReason, offsets: &[u64]) -> Vec<Symbolized> {
        let Self { addresses, found, begins, .. } = self;
        let nameless = |at: usize| {
            // As far before the place in the file as in memory.
            let before = addresses[at]?.checked_sub(*begins.get(&at)?)?;
            Some(Symbolized::Nameless(why, offsets[at].checked_sub(before)?))
        };
        let unknown = |at| nameless(at).unwrap_or(Symbolized::Unknown(why));
        let name = |(at, found): (usize, Option<Vec<Symbol>>)| found.map_or_else(|| unknown(at), Symbolized::Named);
        found.into_iter().enumerate().map(name).collect()
    }
}

/// Copies a file; gives the copy's path.
fn copy(sources: &Sources<'_>, (file, copy): Pair<'_>, contents: &Contents, debug_info: bool) -> Option<PathBuf> {
    copy_naming_parts(file, contents, copy, debug_info, sources.allowed)?;
    Some(memfd_path(copy))
}

/// From Go's own table, which programs stripped of all else still have.
fn go_names(file: &File, addresses: &[u64]) -> Option<Vec<Symbolized>> {
    let symbol = |GoFunction { name, file, line }: GoFunction| {
        let source = file.map(|file| SourceLine { file: file.into(), line });
        Symbol { name: name.into(), source, inlined: true, ..Symbol::default() }
    };
    let name = |functions: Vec<GoFunction>| {
        let mut symbols: Vec<Symbol> = functions.into_iter().map(symbol).collect();
        let Some(last) = symbols.last_mut() else { return Symbolized::Unknown(UnknownReason::NotFound) };
        last.inlined = false;
        Symbolized::Named(symbols)
    };
    Some(go_functions(file, addresses)?.into_iter().map(name).collect())
}

fn memfd_path(memfd: &File) -> PathBuf {
    format!("/proc/self/fd/{}", memfd.as_raw_fd()).into()
}

/// From the symbol tables. `None` when blazesym cannot make anything of the file. A panic of its parser is caught here; what cannot be
/// caught ends the child.
fn symbolize(path: &Path, main: &Contents, addresses: &[u64]) -> Option<Vec<Symbolized>> {
    let attempt = AssertUnwindSafe(|| {
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false)
            .enable_code_info(false)
            .enable_inlined_fns(false)
            .enable_demangling(false)
            .set_debug_dirs(Some::<[&Path; 0]>([]))
            .build();
        let mut elf = Elf::new(path);
        elf.debug_syms = false;
        let found = symbolizer.symbolize(&Source::Elf(elf), Input::VirtOffset(addresses)).ok()?;
        Some(found.iter().map(|found| named(found, main)).collect())
    });
    catch_unwind(attempt).ok().flatten()
}

/// blazesym's answer in our words.
fn named(found: &Found<'_>, main: &Contents) -> Symbolized {
    match found {
        Found::Sym(sym) if !reaches(sym, main) => Symbolized::Unknown(UnknownReason::NotFound),
        Found::Sym(sym) if sym.name.is_empty() => Symbolized::Unknown(UnknownReason::NotFound),
        Found::Sym(sym) => Symbolized::Named(vec![function(&sym.name)]),
        Found::Unknown(Reason::MissingSyms) => Symbolized::Unknown(UnknownReason::NoSymbols),
        Found::Unknown(Reason::IgnoredError) => Symbolized::Unknown(UnknownReason::BadFile),
        Found::Unknown(_) => Symbolized::Unknown(UnknownReason::NotFound),
    }
}

/// Whether a symbol reaches as far as the address that it was found for. One without a size reaches to the end of its section at most:
/// `_init` must not name what the linker put behind it.
fn reaches(sym: &Sym<'_>, main: &Contents) -> bool {
    match sym.size {
        Some(size) if size > 0 => sym.offset < size,
        _ => match (main.section_at(sym.addr), main.section_at(sym.addr.saturating_add(sym.offset as u64))) {
            (Some(begin), Some(here)) => begin.address == here.address,
            (begin, here) => begin.is_none() && here.is_none(),
        },
    }
}

#[cfg(test)]
mod tests;
