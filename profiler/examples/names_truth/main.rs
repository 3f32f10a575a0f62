//! Names against gdb: the same functions, at the same addresses? The comparing half of `scripts/names-truth.sh`.
//!
//! `names_truth PROFILER FOLDER` reads what `scripts/names-truth.py` wrote (a `PROGRAM.jsonl` each: file, offset, gdb's functions), asks
//! PROFILER's child at the same places as the profiler asks, and compares, inlined functions and their order included. Two symbols of one
//! address are one function: gdb shows the one whose name its symbol table has last (`stpcpy`, `__stpcpy`); they are counted. Prints a
//! table and every difference. Fails when more than one address in a hundred differs.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on may stop")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use object::{Object, ObjectSymbol};
use profiler::process::build_id_of;
use profiler::profile::{Symbol, Symbolized};
use profiler::symbolizer::{Mapped, NamesWorker, WorkerCommand};
use serde::Deserialize;

/// Share of addresses whose names must be the same.
const GOAL: f64 = 0.99;
/// Fewer are no comparison.
const LEAST: usize = 10;

/// What gdb said.
#[derive(Deserialize)]
struct Place {
    path: String,
    offset: u64,
    /// The linker's name and the one that gdb shows, innermost inlined function first.
    names: Vec<(String, String)>,
}

#[derive(Default)]
struct Count {
    addresses: usize,
    inlined: usize,
    same: usize,
    /// Of these: by another name of the same address.
    alias: usize,
}

fn main() -> ExitCode {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [program, folder] = &args[..] else { panic!("names_truth PROFILER FOLDER") };
    // The child is started in another folder.
    let program = program.canonicalize().unwrap();
    let mut worker = NamesWorker::new(WorkerCommand { program, ..WorkerCommand::default() });
    let mut all = Count::default();
    println!("{:<14} {:>9} {:>9} {:>9} {:>9}", "program", "addresses", "inlined", "the same", "by alias");
    for path in recordings(folder) {
        let count = compare(&mut worker, &path);
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        println!("{name:<14} {:>9} {:>9} {:>9} {:>9}", count.addresses, count.inlined, count.same, count.alias);
        all.addresses += count.addresses;
        all.inlined += count.inlined;
        all.same += count.same;
        all.alias += count.alias;
    }
    let share = all.same as f64 / all.addresses as f64;
    let Count { addresses, inlined, same, alias } = all;
    println!("{:<14} {addresses:>9} {inlined:>9} {same:>9} {alias:>9}  {:.2} %", "all", share * 100.0);
    ExitCode::from(u8::from(all.addresses < LEAST || share < GOAL))
}

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
    files.sort();
    files
}

fn compare(worker: &mut NamesWorker, recording: &Path) -> Count {
    let mut files: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for line in std::fs::read_to_string(recording).unwrap().lines() {
        let place: Place = serde_json::from_str(line).unwrap();
        files.entry(place.path.clone()).or_default().push(place);
    }
    let mut count = Count::default();
    for (path, places) in files {
        let file = File::open(&path).unwrap();
        let mapped =
            Mapped { file: &file, path: &path, build_id: build_id_of(&file), identity: None, root: None, debug: None };
        let offsets: Vec<u64> = places.iter().map(|place| place.offset).collect();
        let found = worker.of_file(&mapped, &offsets, None).unwrap();
        let mut symbols = None;
        for (place, found) in places.iter().zip(found) {
            count.addresses += 1;
            count.inlined += usize::from(place.names.len() > 1);
            if is_same(&place.names, &found) {
                count.same += 1;
            } else if is_alias(symbols.get_or_insert_with(|| Symbols::of(&file)), &place.names, &found) {
                count.same += 1;
                count.alias += 1;
            } else {
                let gdb: Vec<&str> = place.names.iter().map(|(_, shown)| shown.as_str()).collect();
                println!("  {path}+{:#x}: gdb {gdb:?}, we {}", place.offset, describe(&found));
            }
        }
    }
    count
}

/// The same functions in the same order, by the linker's name or by the one that is shown.
fn is_same(gdb: &[(String, String)], found: &Symbolized) -> bool {
    let Symbolized::Named(symbols) = found else { return false };
    let same = |(linker, shown): &(String, String), symbol: &Symbol| {
        symbol.raw.as_deref() == Some(linker) || bare(&symbol.name) == bare(shown)
    };
    gdb.len() == symbols.len() && gdb.iter().zip(symbols).all(|(gdb, symbol)| same(gdb, symbol))
}

/// Addresses by symbol, of a file and of its debug file.
struct Symbols(HashMap<String, HashSet<u64>>);

impl Symbols {
    fn of(file: &File) -> Self {
        let id = build_id_of(file).map(|id| id.to_string());
        let debug = id.map(|id| format!("/usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]));
        let files = [Some(file.try_clone().unwrap()), debug.and_then(|path| File::open(path).ok())];
        let mut symbols: HashMap<String, HashSet<u64>> = HashMap::new();
        for file in files.into_iter().flatten() {
            let cache = object::ReadCache::new(file);
            let elf = object::File::parse(&cache).unwrap();
            for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
                let name = symbol.name().unwrap_or_default().split('@').next().unwrap_or_default();
                symbols.entry(name.to_owned()).or_default().insert(symbol.address());
            }
        }
        Self(symbols)
    }
}

/// Another name of the same address; of a function in which nothing is inlined.
fn is_alias(symbols: &Symbols, gdb: &[(String, String)], found: &Symbolized) -> bool {
    let (Symbolized::Named(found), [(linker, _)]) = (found, gdb) else { return false };
    let [found] = &found[..] else { return false };
    let ours = symbols.0.get(found.raw.as_deref().unwrap_or(&found.name));
    ours.zip(symbols.0.get(linker)).is_some_and(|(ours, theirs)| !ours.is_disjoint(theirs))
}

fn describe(found: &Symbolized) -> String {
    match found {
        Symbolized::Named(symbols) => {
            format!("{:?}", symbols.iter().map(|symbol| &*symbol.name).collect::<Vec<_>>())
        }
        Symbolized::Unknown(reason) | Symbolized::Nameless(reason, _) => reason.describe().to_owned(),
    }
}

/// A name without what demanglers write differently (parameters, template arguments, versions), and without the part of the function
/// that the compiler split off, which gdb leaves out.
fn bare(name: &str) -> &str {
    let name = name.split(['(', '<', '@']).next().unwrap_or(name);
    [".part.", ".constprop.", ".isra.", ".cold"].iter().fold(name, |name, part| name.split(part).next().unwrap_or(name))
}
