//! A part of a history as windows of its own, for a small database to send to somebody: [`slice`].
//!
//! What is left of time is kept: each of the finest pieces there are becomes a window. Boot clocks and process start times stay
//! behind, so pieces lie on a clock of the slice's own, and two pieces of the same time (sampled in different ways) on two.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::rows::holder;
use super::sieve::Sieve;
use super::{QueryError, Selector};
use crate::profile::{
    Binary, BinaryId, BinaryKey, BinaryKind, BootNanos, ContainerId, CpuTicks, Location, Losses, ProcessFacts,
    ProcessKey, ProcessWindow, StackCount, StartTicks, Symbolized, TimeRange, WallNanos, Window,
};
use crate::store::kernel_text::{RELATIVE, Told};
use crate::store::{Reader, RowMap, Snapshot, StackId, StoreError};

/// A stack as windows have it, and the binaries it names.
type Carried = (Arc<[Location]>, Vec<BinaryId>);

/// Hands out windows with what passes, and the names that are known of places in them.
///
/// # Errors
/// Those of the database and of `each`.
pub fn slice<E: From<QueryError>>(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    mut each: impl FnMut(Window, &HashMap<Location, Symbolized>) -> Result<(), E>,
) -> Result<(), E> {
    let lift = |error: StoreError| E::from(QueryError::from(error));
    let mut snapshot = reader.snapshot().map_err(lift)?;
    let mut sieve = Sieve::new(selector);
    let mut carrier = Carrier::default();
    // Where each clock of the slice has got to.
    let mut clocks = Vec::<i64>::new();
    for piece in snapshot.pieces(range, 0).map_err(lift)? {
        let stacks = snapshot.stacks(&piece).map_err(lift)?;
        let mut passing = Vec::with_capacity(stacks.groups().len());
        for group in stacks.groups() {
            passing.push(sieve.passes(&mut snapshot, group).map_err(lift)?);
        }
        let mut entries = Vec::new();
        stacks.each(|at, _| passing[at], |at, stack, n| entries.push((at, stack, n))).map_err(lift)?;
        let mut processes = BTreeMap::<u32, ProcessWindow>::new();
        let mut used = BTreeMap::new();
        for (at, stack, count) in entries {
            let key = stacks.groups()[at].key;
            let (stack, binaries) = carrier.stack(&mut snapshot, stack).map_err(lift)?;
            for id in binaries {
                used.insert(id, carrier.binary(&snapshot, id).map_err(lift)?);
            }
            let facts = carrier.facts(&mut snapshot, key.process).map_err(lift)?;
            let thread = snapshot.text(key.thread).map_err(lift)?;
            let process = processes.entry(key.process).or_insert_with(|| ProcessWindow { facts, stacks: Vec::new() });
            process.stacks.push(StackCount {
                tid: process.facts.key.pid,
                thread,
                stack,
                end: key.end,
                count,
                times: Vec::new(),
            });
        }
        // By the boot clock: of a roll-up, that of its windows only.
        let span = i64::try_from(piece.numbers.length).unwrap_or(i64::MAX).max(1);
        let clock = clocks.iter().position(|end| *end <= piece.start).unwrap_or_else(|| {
            clocks.push(i64::MIN);
            clocks.len() - 1
        });
        clocks[clock] = piece.start.saturating_add(span);
        let start = piece.start.max(0).cast_unsigned();
        let mut window = Window {
            host: Arc::new(snapshot.host(&piece).map_err(lift)?),
            boot_id: format!("slice-{clock}").into(),
            start: BootNanos(start),
            end: BootNanos(start.saturating_add(span.cast_unsigned())),
            wall_start: WallNanos(piece.start),
            wall_end: WallNanos(piece.start.saturating_add(span)),
            event: piece.series.event,
            hz: piece.series.hz,
            cpus: piece.numbers.cpus,
            ticks: CpuTicks {
                busy: piece.numbers.busy,
                idle: piece.numbers.idle,
                filtered: piece.numbers.filtered,
                missed: piece.numbers.missed,
            },
            taken: 0,
            losses: Losses::default(),
            binaries: used.into_iter().collect(),
            processes: processes.into_values().collect(),
        };
        // What was left out was not lost; what was lost belongs to nobody, so only a whole slice tells of it.
        if sieve.is_open() {
            window.losses = piece.numbers.losses.clone();
        }
        window.taken = window.samples().saturating_add(window.losses.total());
        each(window, &carrier.names)?;
    }
    Ok(())
}

/// What was carried over already.
#[derive(Default)]
struct Carrier {
    stacks: RowMap<u32, Carried>,
    binaries: RowMap<u32, Arc<Binary>>,
    facts: RowMap<u32, Arc<ProcessFacts>>,
    names: HashMap<Location, Symbolized>,
    kernels: RowMap<u32, Kernel>,
}

/// A kernel whose addresses are made relative: the part is for somebody else.
#[derive(Default)]
struct Kernel {
    text: Option<std::ops::Range<u64>>,
    /// Pages outside its text, numbered as they are met.
    pages: HashMap<u64, u64>,
}

impl Kernel {
    /// An address of the text as its distance from the beginning; another one within a page that has a number only. Different
    /// addresses stay different.
    fn relative(&mut self, address: u64) -> u64 {
        match Told::of(address, self.text.as_ref()) {
            Told::Text(offset) => offset,
            Told::Page(offset) => {
                let next = self.pages.len() as u64;
                let page = *self.pages.entry(address - offset).or_insert(next);
                1 << 62 | page << 12 | offset
            }
        }
    }
}

impl Carrier {
    fn stack(&mut self, snapshot: &mut Snapshot<'_>, stack: StackId) -> Result<Carried, StoreError> {
        if let Some(known) = self.stacks.get(&stack.0) {
            return Ok(known.clone());
        }
        let mut places = Vec::new();
        for location in snapshot.locations(stack)? {
            let place = snapshot.place(location)?;
            let binary =
                u32::try_from(place.binary).map_err(|_| StoreError::BadRow("an impossible row of a binary"))?;
            let offset = self.offset(snapshot, BinaryId(binary), place.offset)?;
            let at = Location { binary: BinaryId(binary), offset };
            if let Some(names) = place.names {
                self.names.insert(at, names);
            }
            places.push(at);
        }
        let mut binaries: Vec<_> = places.iter().map(|place| place.binary).collect();
        binaries.sort_unstable();
        binaries.dedup();
        let carried = (places.into(), binaries);
        self.stacks.insert(stack.0, carried.clone());
        Ok(carried)
    }

    /// An offset as the part has it.
    fn offset(&mut self, snapshot: &Snapshot<'_>, binary: BinaryId, offset: u64) -> Result<u64, StoreError> {
        if self.binary(snapshot, binary)?.kind != BinaryKind::Kernel {
            return Ok(offset);
        }
        Ok(self.kernels.entry(binary.0).or_default().relative(offset))
    }

    fn binary(&mut self, snapshot: &Snapshot<'_>, id: BinaryId) -> Result<Arc<Binary>, StoreError> {
        if let Some(known) = self.binaries.get(&id.0) {
            return Ok(Arc::clone(known));
        }
        let mut binary = snapshot.binary(id.0.into())?;
        if let BinaryKey::Kernel { boot_id } = &binary.key {
            self.kernels.insert(id.0, Kernel { text: snapshot.kernel_text(boot_id)?, pages: HashMap::new() });
            let key = BinaryKey::Kernel { boot_id: format!("{RELATIVE}{}", id.0) };
            let Binary { kind, ref path, build_id, unopened, .. } = *binary;
            binary = Arc::new(Binary {
                key,
                kind,
                path: path.clone(),
                build_id,
                code: None,
                file: None,
                unopened,
                root: None,
                jit: None,
            });
        }
        self.binaries.insert(id.0, Arc::clone(&binary));
        Ok(binary)
    }

    fn facts(&mut self, snapshot: &mut Snapshot<'_>, process: u32) -> Result<Arc<ProcessFacts>, StoreError> {
        if let Some(known) = self.facts.get(&process) {
            return Ok(Arc::clone(known));
        }
        let holder = holder(snapshot, process)?;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let facts = Arc::new(ProcessFacts {
            // The row tells processes apart as the start time would.
            key: ProcessKey { pid: holder.pid, start: StartTicks(process.into()) },
            comm: holder.comm.to_string(),
            exe: text(&holder.exe),
            cgroup: holder.cgroup.to_string(),
            container: text(&holder.container).map(ContainerId),
            unit: text(&holder.unit),
        });
        self.facts.insert(process, Arc::clone(&facts));
        Ok(facts)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::path::Path;

    use super::*;
    use crate::query::{flame_graph, parse_selector, totals};
    use crate::store::Store;
    use crate::store::drawing::{EPOCH, SECONDS, name_all, window};

    fn carry(from: &Path, to: &Path, range: TimeRange, selector: &Selector) {
        let (mut store, _) = Store::open(to).unwrap();
        slice::<QueryError>(&mut Reader::open(from).unwrap(), range, selector, |window, names| {
            let unnamed = store.write_window(&window)?;
            let answers: Vec<_> =
                unnamed.iter().filter_map(|at| Some((at.location, names.get(&at.place)?.clone()))).collect();
            store.write_names(&answers)?;
            Ok(())
        })
        .unwrap();
        store.close().unwrap();
    }

    /// The slice's flame graph is the same as the range's, names and labels included, from packed and fresh windows alike, and its
    /// books balance.
    #[test]
    fn a_slice_shows_what_its_range_showed() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, part) = (folder.path().join("whole.db"), folder.path().join("part.db"));
        let (mut store, _) = Store::open(&whole).unwrap();
        for n in 0..70 {
            let drawing = format!("web/7  main;serve x5\nweb/8~io  !main;k:read x{}\ndb/9  main x1\nidle/3  x2", n + 1);
            let unnamed = store.write_window(&window(n, &drawing)).unwrap();
            name_all(&mut store, &unnamed);
            while store.tend().unwrap() {}
        }
        let at = |n: u64| WallNanos((EPOCH + (n * SECONDS) as i64) * 1_000_000_000);
        let range = TimeRange { from: at(7), to: at(66) };
        for (name, selector) in [("part", ""), ("web", r#"{comm="web"}"#), ("io", r#"{thread="io"}"#)] {
            let part = part.with_file_name(format!("{name}.db"));
            let selector = parse_selector(selector).unwrap();
            carry(&whole, &part, range, &selector);
            let want = flame_graph(&mut Reader::open(&whole).unwrap(), range, &selector, usize::MAX).unwrap();
            let mut reader = Reader::open(&part).unwrap();
            let everything = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
            let got = flame_graph(&mut reader, everything, &Selector::default(), usize::MAX).unwrap();
            assert_eq!(got.tree, want.tree, "{name}");
            assert_eq!(got.measure, want.measure);
            let totals = totals(&mut reader).unwrap();
            assert_eq!((totals.windows, totals.taken), (59, totals.stored + totals.losses.total()));
            assert_eq!(totals.stored, want.tree.nodes[0].total);
        }
    }
}
