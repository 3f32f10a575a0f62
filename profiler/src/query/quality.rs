//! How good the samples of a range are: how many stacks are whole, where and why the others end, and how many end in a function with
//! a name. Counted over all samples, whatever an answer shows of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::flame_graph::{Kinds, kinds};
use super::grow::grow;
use super::heat_map::Within;
use super::interpreters::{Interpreted, interpreters};
use super::note::remedy_of;
use super::runtime::Runtime;
use super::tree::Labels;
use super::{QueryError, Selector};
use crate::profile::{CpuTicks, FrameKind, Measure, MissedTicks, Reason, StackEnd};
use crate::store::{Reader, RowMap, Snapshot, StackId};

/// Stacks looked up between two questions whether to go on.
const CHECK: usize = 4096;

/// Samples whose user stack is cut short, of one cause, in one file, of processes of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// How the walk ended.
    pub end: StackEnd,
    /// Path of the file of the outermost frame there is: its caller is what is missing. `None` without any user frame.
    pub binary: Option<Arc<str>>,
    /// Name of the processes.
    pub comm: Arc<str>,
    /// Samples.
    pub samples: u64,
    /// What can be done about it.
    pub remedy: Option<&'static str>,
}

/// Samples that ended in a function without a name, of one file and one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// Why there is no name.
    pub reason: Option<Reason>,
    /// Path of the file.
    pub binary: Option<Arc<str>>,
    /// Samples.
    pub samples: u64,
}

/// The quality of what a range, or a box of its heat map, and a selector come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// What the numbers of samples stand for.
    pub measure: Measure,
    /// All samples.
    pub total: u64,
    /// Those whose user stack is whole, or that have none.
    pub complete: u64,
    /// The others, by falling samples; at most as many rows as were asked for.
    pub incomplete: Vec<Incomplete>,
    /// Rows of `incomplete` left out.
    pub hidden_rows: u64,
    /// All samples by the kind of the frame they ended in.
    pub kinds: Kinds,
    /// Those that ended in a function without a name, by falling samples; at most as many rows as were asked for.
    pub unnamed: Vec<Unnamed>,
    /// Rows of `unnamed` left out.
    pub hidden_unnamed: u64,
    /// Processes of interpreters and other runtimes, by falling samples without a function of the script; at most as many as were asked
    /// for.
    pub interpreters: Vec<Interpreted>,
    /// Rows of `interpreters` left out.
    pub hidden_interpreters: u64,
    /// Samples of all these rows, and those with a function of the script.
    pub scripts: [u64; 2],
    /// Ticks of the range that were due and not seen, whole host.
    pub missed: MissedTicks,
    /// Their share of all ticks due, 0 to 1.
    pub missed_share: f64,
}

/// The quality of what a range, or a box of its heat map, and a selector come to; missed ticks are those of the whole range.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn quality(
    reader: &mut Reader,
    within: Within,
    selector: &Selector,
    max_rows: usize,
) -> Result<Quality, QueryError> {
    let mut snapshot = reader.snapshot()?;
    let counts = within.counts(&mut snapshot, selector, None)?;
    let mut ticks = CpuTicks::default();
    for piece in snapshot.pieces(within.range(), i64::MAX)? {
        ticks.busy = ticks.busy.saturating_add(piece.numbers.busy);
        ticks.idle = ticks.idle.saturating_add(piece.numbers.idle);
        ticks.missed.merge(&piece.numbers.missed);
    }
    let mut sums: HashMap<(StackEnd, u32, u32), u64> = HashMap::new();
    let mut roots = RowMap::default();
    for top in counts.tops() {
        let Some(end) = top.end else { continue };
        for (nth, (stack, samples)) in counts.stacks(top).enumerate() {
            if nth % CHECK == 0 {
                snapshot.check()?;
            }
            let root = outermost(&mut snapshot, &mut roots, stack)?;
            let sum = sums.entry((end, top.comm, root)).or_default();
            *sum = sum.saturating_add(samples);
        }
    }
    // Several places of one file are one row.
    type Shown = (StackEnd, Arc<str>, Option<Arc<str>>, Option<Runtime>);
    let mut rows: HashMap<Shown, u64> = HashMap::new();
    for ((end, comm, location), samples) in sums {
        let runtime = match location {
            0 => None,
            location if end == StackEnd::JitFramePointerLost => runtime_of(&mut snapshot, location)?,
            _ => None,
        };
        let binary = match location {
            0 => None,
            location => {
                let outermost = snapshot.frames_at(location)?.last().map(|placed| placed.frame);
                let frame = outermost.map(|frame| snapshot.frame(frame));
                frame.filter(|frame| frame.kind != FrameKind::Kernel).and_then(|frame| frame.binary.clone())
            }
        };
        let sum = rows.entry((end, snapshot.text(comm)?, binary, runtime)).or_default();
        *sum = sum.saturating_add(samples);
    }
    let row = |((end, comm, binary, runtime), samples): (Shown, u64)| Incomplete {
        end,
        binary,
        comm,
        samples,
        remedy: remedy_of(end, runtime),
    };
    let mut incomplete: Vec<Incomplete> = rows.into_iter().map(row).collect();
    incomplete.sort_by(|a, b| {
        b.samples.cmp(&a.samples).then_with(|| (a.end, &a.comm, &a.binary).cmp(&(b.end, &b.comm, &b.binary)))
    });
    let hidden_rows = incomplete.len().saturating_sub(max_rows) as u64;
    incomplete.truncate(max_rows);
    let complete = counts.total.saturating_sub(counts.incomplete);
    let (missed, missed_share) = (ticks.missed, ticks.missed_share());
    let mut labels = Labels::new();
    let tree = grow(&mut snapshot, &mut labels, [&counts])?;
    let kinds = kinds(&snapshot, &labels, &tree);
    let totals = tree.totals();
    let mut interpreters = interpreters(&mut snapshot, &labels, &tree, &totals, within, selector)?;
    // Where history has forgotten which program wrote the code, the frames of its other stacks say what runs it.
    for row in incomplete.iter_mut().filter(|row| row.end == StackEnd::JitFramePointerLost) {
        let known = interpreters.iter().find(|of| of.comm == row.comm).map(|of| of.runtime);
        if row.remedy == remedy_of(row.end, None) {
            row.remedy = remedy_of(row.end, known);
        }
    }
    let scripts = interpreters
        .iter()
        .fold([0_u64; 2], |[total, named], row| [total.saturating_add(row.total), named.saturating_add(row.named)]);
    let hidden_interpreters = interpreters.len().saturating_sub(max_rows) as u64;
    interpreters.truncate(max_rows);
    let mut sums: HashMap<(Option<Reason>, Option<Arc<str>>), u64> = HashMap::new();
    for (shown, [samples]) in tree.shown.iter().zip(&tree.selves).filter(|(_, [samples])| *samples > 0) {
        let Ok(frame) = shown.get() else { continue };
        let frame = snapshot.frame(frame);
        if frame.kind == FrameKind::Unknown {
            let sum = sums.entry((frame.reason, frame.binary.clone())).or_default();
            *sum = sum.saturating_add(*samples);
        }
    }
    let row = |((reason, binary), samples)| Unnamed { reason, binary, samples };
    let mut unnamed: Vec<Unnamed> = sums.into_iter().map(row).collect();
    unnamed.sort_by(|a, b| b.samples.cmp(&a.samples).then_with(|| (&a.binary, a.reason).cmp(&(&b.binary, b.reason))));
    let hidden_unnamed = unnamed.len().saturating_sub(max_rows) as u64;
    unnamed.truncate(max_rows);
    let (measure, total) = (counts.measure, counts.total);
    Ok(Quality {
        measure,
        total,
        complete,
        incomplete,
        hidden_rows,
        kinds,
        unnamed,
        hidden_unnamed,
        interpreters,
        hidden_interpreters,
        scripts,
        missed,
        missed_share,
    })
}

/// The runtime of the program that wrote the code at a location.
fn runtime_of(snapshot: &mut Snapshot<'_>, location: u32) -> Result<Option<Runtime>, QueryError> {
    let binary = snapshot.place(location)?.binary;
    let key = snapshot.binary(binary)?.key.clone();
    Ok(snapshot.program_of(&key)?.and_then(|program| Runtime::of_file(&program)))
}

/// The location of a stack's outermost frame; 0 of the empty stack.
fn outermost(snapshot: &mut Snapshot<'_>, known: &mut RowMap<u32, u32>, stack: u32) -> Result<u32, QueryError> {
    let (mut at, mut location) = (stack, 0);
    let mut way = Vec::new();
    while at != 0 {
        if let Some(found) = known.get(&at) {
            location = *found;
            break;
        }
        way.push(at);
        let node = snapshot.stack(StackId(at))?;
        (at, location) = (node.parent.0, node.location);
    }
    known.extend(way.into_iter().map(|stack| (stack, location)));
    Ok(location)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::{Symbolized, TimeRange, UnknownReason, WallNanos};
    use crate::store::Store;
    use crate::store::drawing::{drawn_name, name_all, window};

    /// A function without a name counts where samples end in it, by reason and file, also where the limit leaves its row out; what
    /// has names above it does not.
    #[test]
    fn samples_without_a_name_are_counted_by_file_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        let unnamed =
            store.write_window(&window(0, "web/7  main;gone x5\nweb/8  gone;leaf x3\nweb/9  main;k:new x2")).unwrap();
        let (gone, others): (Vec<_>, Vec<_>) = unnamed.into_iter().partition(|at| drawn_name(at.place) == "gone");
        let gone: Vec<_> = gone.iter().map(|at| (at.location, Symbolized::Unknown(UnknownReason::FileGone))).collect();
        store.write_names(&gone).unwrap();
        name_all(&mut store, &others.into_iter().filter(|at| drawn_name(at.place) != "new").collect::<Vec<_>>());
        let ask = |rows| {
            let range = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
            quality(&mut Reader::open(&path).unwrap(), range.into(), &Selector::default(), rows).unwrap()
        };
        let row = |reason, binary: &str, samples| Unnamed {
            reason: Some(Reason::Unnamed(reason)),
            binary: Some(binary.into()),
            samples,
        };
        let all = ask(10);
        assert_eq!(all.unnamed, [row(Some(UnknownReason::FileGone), "/usr/bin/app", 5), row(None, "[kernel]", 2)]);
        assert_eq!((all.total, all.kinds[FrameKind::Unknown as usize], all.hidden_unnamed), (10, 7, 0));
        let one = ask(1);
        assert_eq!((one.unnamed.len(), one.hidden_unnamed, one.kinds), (1, 1, all.kinds));
    }
}
