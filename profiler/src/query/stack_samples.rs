//! Samples of a range by thread and stack, with the places of each stack: what pprof files are made of.
//!
//! In: a range, or a box of its heat map, and a selector. Out: [`StackSamples`], plain tables. Everything is kept, so the
//! question is refused when there are more than [`MOST_ENTRIES`] different (thread, stack) pairs or [`MOST_NODES`] frames.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

use super::heat_map::Within;
use super::rows::holder;
use super::sieve::Sieve;
use super::{QueryError, Selector, heat_map, note, note_in};
use crate::profile::{
    CodeFile, CodePlace, FrameKind, FunctionNames, PlaceLine, StackEnd, StackSamples, Symbolized, ThreadLabels,
    ThreadStack, period,
};
use crate::store::{GroupKey, Reader, RowMap, Snapshot, StackId};

/// Most different (thread, stack end, stack) of an answer: about 100 MiB of sums.
const MOST_ENTRIES: usize = 2_000_000;
/// Most nodes of the tree of stacks in an answer: 8 bytes each in the answer, 24 while it is made.
const MOST_NODES: usize = 8_000_000;

/// The samples of a range by thread and stack.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn stack_samples(
    reader: &mut Reader,
    within: impl Into<Within>,
    selector: &Selector,
) -> Result<StackSamples, QueryError> {
    let mut snapshot = reader.snapshot()?;
    let mut sums = Sums::default();
    match within.into() {
        Within::Range(range) => {
            let mut sieve = Sieve::new(selector);
            for piece in snapshot.pieces(range, i64::MAX)? {
                sums.recorded_nanos = sums.recorded_nanos.saturating_add(piece.numbers.length);
                let stacks = snapshot.stacks(&piece)?;
                let mut passing = Vec::with_capacity(stacks.groups().len());
                for group in stacks.groups() {
                    passing.push(sieve.passes(&mut snapshot, group)?);
                }
                let groups = stacks.groups();
                stacks.each(
                    |at, _| passing[at],
                    |at, stack, samples| sums.add(piece.series.hz, groups[at].key, stack, samples),
                )?;
                sums.check()?;
            }
        }
        Within::Box(grid, area) => {
            sums.recorded_nanos = heat_map::nanos_of(grid, area);
            heat_map::each_in_area(&mut snapshot, grid, area, selector, |_, sampled| {
                sums.add(sampled.hz, sampled.group.key, sampled.stack, sampled.samples);
                sums.check()
            })?;
        }
    }
    let mut entries: Vec<_> = sums.by_stack.into_iter().collect();
    // The same answer for the same question: a map has no order.
    entries.sort_unstable_by_key(|(key, _)| *key);
    let mut tables =
        Tables { found: StackSamples { nodes: vec![(0, 0)], ..StackSamples::default() }, ..Tables::default() };
    tables.found.recorded_nanos = sums.recorded_nanos;
    for ((key, stack), (samples, nanos)) in entries {
        let thread = tables.thread(&mut snapshot, key)?;
        let node = tables.node(&mut snapshot, stack)?;
        let note = tables.note(key.end, node);
        tables.found.samples.push(ThreadStack { thread, node, note, samples, nanos });
    }
    Ok(tables.found)
}

/// Samples and CPU time by whose they are and where.
#[derive(Default)]
struct Sums {
    by_stack: HashMap<(GroupKey, StackId), (u64, u64)>,
    recorded_nanos: u64,
}

impl Sums {
    fn add(&mut self, hz: u32, key: GroupKey, stack: StackId, samples: u64) {
        let sum = self.by_stack.entry((key, stack)).or_default();
        sum.0 = sum.0.saturating_add(samples);
        sum.1 = sum.1.saturating_add(samples.saturating_mul(period(hz)));
    }

    fn check(&self) -> Result<(), QueryError> {
        if self.by_stack.len() > MOST_ENTRIES { Err(QueryError::TooLarge) } else { Ok(()) }
    }
}

/// The answer, and where its rows are by the store's numbers.
#[derive(Default)]
struct Tables {
    found: StackSamples,
    binaries: RowMap<i64, u32>,
    functions: HashMap<FunctionNames, u32>,
    places: RowMap<u32, u32>,
    nodes: RowMap<u32, u32>,
    threads: HashMap<(u32, u32), u32>,
    notes: HashMap<String, u32>,
}

/// Enters a row once.
fn row<K: Hash + Eq, T>(known: &mut HashMap<K, u32>, table: &mut Vec<T>, key: K, new: impl FnOnce(&K) -> T) -> u32 {
    match known.entry(key) {
        Entry::Occupied(known) => *known.get(),
        Entry::Vacant(free) => {
            table.push(new(free.key()));
            *free.insert(table.len() as u32 - 1)
        }
    }
}

impl Tables {
    fn thread(&mut self, snapshot: &mut Snapshot<'_>, key: GroupKey) -> Result<u32, QueryError> {
        if let Some(known) = self.threads.get(&(key.process, key.thread)) {
            return Ok(*known);
        }
        let process = holder(snapshot, key.process)?;
        let thread = snapshot.text(key.thread)?;
        Ok(row(&mut self.threads, &mut self.found.threads, (key.process, key.thread), |_| ThreadLabels {
            pid: process.pid,
            comm: process.comm,
            thread,
            exe: process.exe,
            cgroup: process.cgroup,
            container: process.container,
            unit: process.unit,
        }))
    }

    /// The node of a stack: its callers are entered before it.
    fn node(&mut self, snapshot: &mut Snapshot<'_>, stack: StackId) -> Result<u32, QueryError> {
        let (mut missing, mut at) = (Vec::new(), stack);
        let mut parent = loop {
            if at == StackId(0) {
                break 0;
            }
            if let Some(known) = self.nodes.get(&at.0) {
                break *known;
            }
            let node = snapshot.stack(at)?;
            missing.push((at, node.location));
            at = node.parent;
        };
        for (stack, location) in missing.into_iter().rev() {
            let place = self.place(snapshot, location)?;
            if self.found.nodes.len() >= MOST_NODES {
                return Err(QueryError::TooLarge);
            }
            self.found.nodes.push((parent, place));
            parent = self.found.nodes.len() as u32 - 1;
            self.nodes.insert(stack.0, parent);
        }
        Ok(parent)
    }

    fn place(&mut self, snapshot: &mut Snapshot<'_>, location: u32) -> Result<u32, QueryError> {
        if let Some(known) = self.places.get(&location) {
            return Ok(*known);
        }
        snapshot.check()?;
        let stored = snapshot.place(location)?;
        let binary = self.binary(snapshot, stored.binary)?;
        // The innermost first; the cache has the outermost first.
        let mut shown: Vec<_> = snapshot.frames_at(location)?.collect();
        shown.reverse();
        let symbols = match &stored.names {
            Some(Symbolized::Named(symbols)) => symbols.as_slice(),
            _ => &[],
        };
        let mut lines = Vec::with_capacity(shown.len());
        for (nth, placed) in shown.into_iter().enumerate() {
            let frame = snapshot.frame(placed.frame);
            let symbol = symbols.get(nth);
            let linker_name = symbol.map(|symbol| Arc::clone(symbol.raw.as_ref().unwrap_or(&symbol.name)));
            let names = FunctionNames {
                name: Arc::clone(&frame.name),
                linker_name: linker_name.unwrap_or_else(|| Arc::clone(&frame.name)),
                file: frame.file.clone(),
                declared: symbol.and_then(|symbol| symbol.declared).unwrap_or(0),
            };
            let kind = frame.kind;
            let function = row(&mut self.functions, &mut self.found.functions, names, FunctionNames::clone);
            lines.push(PlaceLine { function, line: placed.line, kind });
        }
        let named = !symbols.is_empty();
        self.found.places.push(CodePlace { binary: Some(binary), offset: stored.offset, named, lines });
        let at = self.found.places.len() as u32 - 1;
        self.places.insert(location, at);
        Ok(at)
    }

    fn binary(&mut self, snapshot: &Snapshot<'_>, id: i64) -> Result<u32, QueryError> {
        if let Some(known) = self.binaries.get(&id) {
            return Ok(*known);
        }
        let binary = snapshot.binary(id)?;
        self.found.binaries.push(CodeFile {
            kind: binary.kind,
            path: binary.path.as_str().into(),
            build_id: binary.build_id,
            code: binary.code,
        });
        let at = self.found.binaries.len() as u32 - 1;
        self.binaries.insert(id, at);
        Ok(at)
    }

    /// The note at the root of a stack that is cut short, as the flame graph has it.
    fn note(&mut self, end: StackEnd, leaf: u32) -> Option<u32> {
        note(end)?;
        let mut outermost = None;
        let mut at = leaf;
        while let Some((parent, place)) = self.found.nodes.get(at as usize).filter(|_| at > 0) {
            outermost = Some(*place);
            at = *parent;
        }
        let place = outermost.map(|place| &self.found.places[place as usize]);
        let is_kernel = place.and_then(|place| place.lines.last()).is_none_or(|line| line.kind == FrameKind::Kernel);
        let file = place.filter(|_| !is_kernel).and_then(|place| place.binary);
        let text = note_in(end, file.map(|file| &*self.found.binaries[file as usize].path))?;
        let StackSamples { functions, places, .. } = &mut self.found;
        let known = &mut self.functions;
        Some(row(&mut self.notes, places, text, |text| {
            let name: Arc<str> = text.as_str().into();
            let names = FunctionNames { name: Arc::clone(&name), linker_name: name, file: None, declared: 0 };
            let function = row(known, functions, names, FunctionNames::clone);
            let lines = vec![PlaceLine { function, line: 0, kind: FrameKind::Note }];
            CodePlace { binary: None, offset: 0, named: false, lines }
        }))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use super::*;
    use crate::profile::{TimeRange, WallNanos};
    use crate::query::{flame_graph, parse_selector};
    use crate::store::Store;
    use crate::store::drawing::{EPOCH, name_all, window};

    const ALL_TIME: TimeRange = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };

    /// Windows of two processes and two threads, some of them packed, with a stack that is cut short.
    fn database() -> (tempfile::TempDir, Reader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        for n in 0..40 {
            let drawing = "web/7  main;serve x5\nweb/7~io  main;serve;k:read x2\nweb/8  main;serve x1\ndb/9  !serve x3";
            let unnamed = store.write_window(&window(n, drawing)).unwrap();
            name_all(&mut store, &unnamed);
            while store.tend().unwrap() {}
        }
        (folder, Reader::open(&path).unwrap())
    }

    /// Stacks as `comm;outermost;...;leaf`, as folded lines are, added up.
    fn folded(found: &StackSamples) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for sample in &found.samples {
            let mut names: Vec<_> = found
                .places_of(sample)
                .flat_map(|place| &found.places[place as usize].lines)
                .map(|line| &*found.functions[line.function as usize].name)
                .collect();
            names.push(&found.threads[sample.thread as usize].comm);
            names.reverse();
            *sums.entry(names.join(";")).or_default() += sample.samples;
        }
        sums
    }

    /// Each process and thread by itself, and together what the flame graph has: the same stacks, notes and sums.
    #[test]
    fn samples_by_thread_and_stack_add_up_to_the_flame_graph() {
        let (_folder, mut reader) = database();
        for (range, filter) in [
            (ALL_TIME, ""),
            (ALL_TIME, r#"{comm="web"}"#),
            (TimeRange { from: WallNanos((EPOCH + 35) * 1_000_000_000), to: WallNanos(i64::MAX) }, ""),
        ] {
            let selector = parse_selector(filter).unwrap();
            let found = stack_samples(&mut reader, range, &selector).unwrap();
            let tree = flame_graph(&mut reader, range, &selector, usize::MAX).unwrap().tree;
            let mut expected = Vec::new();
            crate::export::folded::write(&tree, &mut expected).unwrap();
            let expected: BTreeMap<String, u64> = String::from_utf8(expected)
                .unwrap()
                .lines()
                .filter_map(|line| line.rsplit_once(' '))
                .map(|(stack, count)| (stack.to_owned(), count.parse().unwrap()))
                .collect();
            assert_eq!(folded(&found), expected, "{filter} {range:?}");
            let (samples, nanos) = found.totals();
            assert_eq!(nanos, samples * 10_000_000, "100 Hz");
        }
        let found = stack_samples(&mut reader, ALL_TIME, &Selector::default()).unwrap();
        let threads: Vec<_> = found.threads.iter().map(|at| format!("{}/{}~{}", at.comm, at.pid, at.thread)).collect();
        assert_eq!(threads.len(), 4, "{threads:?}");
        assert_eq!(found.recorded_nanos, 400 * 1_000_000_000, "forty windows of ten seconds");
    }
}
