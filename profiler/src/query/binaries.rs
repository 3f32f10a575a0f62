//! How well each binary of a range is named: the share of its frames with a name, where names were found, why others have none,
//! and what helps.

use std::collections::{BTreeMap, HashMap};

use super::merge::{Counts, merge};
use super::name_remedy::{self, Remedy, name_remedies, packages_remedy};
use super::{QueryError, Selector};
use crate::profile::{
    BinaryKey, BinaryKind, FoundSource, Measure, NameSource, NameStatus, Reason, TimeRange, UnknownReason,
};
use crate::store::{Reader, RowMap, Snapshot, StackId};
use crate::sys::distribution::Distribution;

/// Stacks looked up between two questions whether to go on.
const CHECK: usize = 4096;

/// One binary. Frames are counted as a flame graph shows them: a stack of ten samples with two frames in it counts twenty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBinary {
    /// Path as its processes saw it, `[kernel]`, `[vdso]` or `[anon]`.
    pub path: String,
    /// Its build id.
    pub build_id: Option<String>,
    /// Of memory without a file: the program that wrote the code.
    pub program: Option<String>,
    /// Samples that ended in it.
    pub samples_self: u64,
    /// Frames in it, inlined functions not counted.
    pub frames: u64,
    /// Those with a name.
    pub named: u64,
    /// Functions inlined into them.
    pub inlined_frames: u64,
    /// What was looked for, and where it was found.
    pub sources: Vec<FoundSource>,
    /// Why most of the others have none.
    pub reason: Option<Reason>,
    /// What helps, the best first.
    pub remedies: Vec<Remedy>,
}

/// The binaries of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedBinaries {
    /// What the numbers stand for.
    pub measure: Measure,
    /// By falling frames without a name, then samples; at most as many as were asked for.
    pub rows: Vec<NamedBinary>,
    /// Rows left out.
    pub hidden_rows: u64,
    /// Frames of all rows, those left out too.
    pub frames: u64,
    /// Those with a name.
    pub named: u64,
    /// One command for the packages with the symbols of the [`TOGETHER`] heaviest rows that want some.
    pub together: Option<Remedy>,
}

/// Rows whose packages are installed by one command.
const TOGETHER: usize = 10;

/// What people take for one binary: boots of one kernel are one, programs that write code are several.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Shown {
    path: String,
    build_id: Option<String>,
    program: Option<String>,
}

#[derive(Default)]
struct Sum {
    samples_self: u64,
    frames: u64,
    named: u64,
    inlined: u64,
    /// Frames by the reason for having no name; the key of "not asked yet" is `None`.
    unknown: HashMap<Option<UnknownReason>, u64>,
    status: NameStatus,
    kind: Option<BinaryKind>,
    /// Frames without a name by the process that wrote the code.
    pids: BTreeMap<u32, u64>,
}

/// The binaries of a range.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn binaries(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    max_rows: usize,
    host: &Distribution,
) -> Result<NamedBinaries, QueryError> {
    let mut snapshot = reader.snapshot()?;
    let counts = merge(&mut snapshot, range, selector)?;
    let weights = weights(&mut snapshot, &counts)?;
    let mut rows: RowMap<i64, Sum> = RowMap::default();
    for (nth, (location, weight)) in weights.into_iter().enumerate() {
        if nth.is_multiple_of(CHECK) {
            snapshot.check()?;
        }
        let status = snapshot.location_status(location)?;
        let sum = rows.entry(status.binary).or_default();
        sum.samples_self = sum.samples_self.saturating_add(weight.own);
        sum.frames = sum.frames.saturating_add(weight.frames);
        sum.inlined = sum.inlined.saturating_add(weight.frames.saturating_mul(status.inlined));
        match status.named {
            Ok(()) => sum.named = sum.named.saturating_add(weight.frames),
            Err(reason) => add_to(sum.unknown.entry(reason).or_default(), weight.frames),
        }
    }
    let mut shown: BTreeMap<Shown, Sum> = BTreeMap::new();
    for (id, sum) in rows {
        let binary = snapshot.binary(id)?;
        let key = Shown {
            path: binary.path.clone(),
            build_id: binary.build_id.map(|id| id.to_string()),
            program: snapshot.program_of(&binary.key)?,
        };
        let (status, unnamed) = (snapshot.name_status(id)?, sum.frames - sum.named);
        let of_key = shown.entry(key).or_default();
        add(of_key, sum, status, binary.kind);
        if let BinaryKey::Jit { pid, .. } = binary.key {
            add_to(of_key.pids.entry(pid).or_default(), unnamed);
        }
    }
    let mut packages: Vec<(u64, String)> = Vec::new();
    let mut rows: Vec<NamedBinary> = shown
        .into_iter()
        .map(|(shown, sum)| {
            if let (Some(UnknownReason::NoSymbols), Some(package)) = (sum.reason().flatten(), &sum.status.package) {
                packages.push((sum.frames - sum.named, package.clone()));
            }
            row(shown, sum, host)
        })
        .collect();
    packages.sort_by(|a, b| b.cmp(a));
    let heaviest: Vec<&str> = packages.iter().take(TOGETHER).map(|(_, package)| package.as_str()).collect();
    let distinct: Vec<&str> = heaviest
        .iter()
        .enumerate()
        .filter(|(at, package)| !heaviest[..*at].contains(package))
        .map(|(_, one)| *one)
        .collect();
    let together = packages_remedy(&distinct, host).filter(|_| distinct.len() > 1);
    let unnamed = |row: &NamedBinary| row.frames - row.named;
    rows.sort_by(|a, b| {
        (unnamed(b), b.samples_self, b.frames)
            .cmp(&(unnamed(a), a.samples_self, a.frames))
            .then_with(|| a.path.cmp(&b.path))
    });
    let sum = |of: fn(&NamedBinary) -> u64| rows.iter().map(of).fold(0, u64::saturating_add);
    let (frames, named) = (sum(|row| row.frames), sum(|row| row.named));
    let hidden_rows = rows.len().saturating_sub(max_rows) as u64;
    rows.truncate(max_rows);
    Ok(NamedBinaries { measure: counts.measure, rows, hidden_rows, frames, named, together })
}

/// Samples of a place in code.
#[derive(Clone, Copy, Default)]
struct Weight {
    /// That ended there.
    own: u64,
    /// Frames there.
    frames: u64,
}

/// Every location's frames. A stack's callers have smaller numbers, so the largest is always complete.
fn weights(snapshot: &mut Snapshot<'_>, counts: &Counts) -> Result<RowMap<u32, Weight>, QueryError> {
    let mut left: BTreeMap<u32, Weight> = BTreeMap::new();
    for top in counts.tops() {
        for (stack, samples) in counts.stacks(top).filter(|(stack, _)| *stack != 0) {
            let weight = left.entry(stack).or_default();
            weight.own = weight.own.saturating_add(samples);
            weight.frames = weight.frames.saturating_add(samples);
        }
    }
    let mut weights: RowMap<u32, Weight> = RowMap::default();
    let mut nth = 0_usize;
    while let Some((stack, weight)) = left.pop_last() {
        nth += 1;
        if nth.is_multiple_of(CHECK) {
            snapshot.check()?;
        }
        let node = snapshot.stack(StackId(stack))?;
        let sum = weights.entry(node.location).or_default();
        sum.own = sum.own.saturating_add(weight.own);
        sum.frames = sum.frames.saturating_add(weight.frames);
        if node.parent.0 != 0 {
            let caller = left.entry(node.parent.0).or_default();
            caller.frames = caller.frames.saturating_add(weight.frames);
        }
    }
    Ok(weights)
}

/// Frames of a long time, in nanoseconds, are many.
fn add_to(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

fn add(sum: &mut Sum, other: Sum, status: NameStatus, kind: BinaryKind) {
    sum.samples_self = sum.samples_self.saturating_add(other.samples_self);
    sum.frames = sum.frames.saturating_add(other.frames);
    sum.named = sum.named.saturating_add(other.named);
    sum.inlined = sum.inlined.saturating_add(other.inlined);
    for (reason, frames) in other.unknown {
        add_to(sum.unknown.entry(reason).or_default(), frames);
    }
    sum.status.package = sum.status.package.take().or(status.package);
    for found in status.sources {
        match sum.status.sources.iter_mut().find(|known| known.source == found.source) {
            Some(known) => known.found = known.found.take().or(found.found),
            None => sum.status.sources.push(found),
        }
    }
    sum.status.sources.sort_by_key(|found| found.source);
    sum.kind = Some(kind);
}

impl Sum {
    /// Why most of the frames without a name have none; the inner `None` is "not asked yet".
    fn reason(&self) -> Option<Option<UnknownReason>> {
        self.unknown.iter().max_by_key(|(reason, frames)| (**frames, **reason)).map(|(reason, _)| *reason)
    }
}

fn row(Shown { path, build_id, program }: Shown, sum: Sum, host: &Distribution) -> NamedBinary {
    let most = sum.reason();
    let reason = most.map(Reason::Unnamed);
    let mut pids: Vec<(u64, u32)> = sum.pids.iter().map(|(pid, frames)| (*frames, *pid)).collect();
    pids.sort_unstable_by(|a, b| b.cmp(a));
    let pids: Vec<u32> = pids.into_iter().filter(|(frames, _)| *frames > 0).map(|(_, pid)| pid).collect();
    let remedies = most.flatten().map_or_else(Vec::new, |reason| {
        let unnamed = name_remedy::Unnamed {
            reason,
            path: &path,
            program: program.as_deref(),
            pids: &pids,
            package: sum.status.package.as_deref(),
            servers_asked: sum.status.sources.iter().any(|found| found.source == NameSource::Debuginfod),
        };
        name_remedies(&unnamed, host)
    });
    NamedBinary {
        path,
        build_id,
        program,
        samples_self: sum.samples_self,
        frames: sum.frames,
        named: sum.named,
        inlined_frames: sum.inlined,
        sources: sum.status.sources,
        reason,
        remedies,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::{Symbol, Symbolized, WallNanos};
    use crate::query::totals;
    use crate::store::drawing::{drawn_name, window};
    use crate::store::{LocationId, Store};

    const ALL_TIME: TimeRange = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };

    fn asked(path: &std::path::Path, max_rows: usize) -> NamedBinaries {
        binaries(&mut Reader::open(path).unwrap(), ALL_TIME, &Selector::default(), max_rows, &Distribution::default())
            .unwrap()
    }

    /// Frames are counted by samples, with and without a name; the reason is that of most frames, and the status of the newest look
    /// goes with it. Recursion counts each frame.
    #[test]
    fn frames_are_counted_by_binary_with_the_reason_of_most() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        let window = window(0, "web/7  main;f;f;k:read x5\nweb/8  main;gone x2\ndb/9  main;inl x1");
        let unnamed = store.write_window(&window).unwrap();
        let symbol =
            |name: &str, inlined| Symbol { name: name.into(), raw: None, source: None, declared: None, inlined };
        let answer = |name: &str| match name {
            "f" => Symbolized::Unknown(UnknownReason::NoSymbols),
            "gone" => Symbolized::Unknown(UnknownReason::NotFound),
            "inl" => Symbolized::Named(vec![symbol("a", true), symbol("b", true), symbol("inl", false)]),
            name => Symbolized::Named(vec![symbol(name, false)]),
        };
        let names: Vec<(LocationId, Symbolized)> =
            unnamed.iter().map(|at| (at.location, answer(&drawn_name(at.place)))).collect();
        let app = window.binaries.iter().find(|(_, binary)| binary.kind == BinaryKind::File).unwrap().1.key.clone();
        let found = |at: Option<&str>| NameStatus {
            sources: vec![FoundSource { source: NameSource::Symtab, found: at.map(Into::into) }],
            package: Some("app1".into()),
        };
        store.write_names_of(&app, &found(Some("/usr/bin/app")), &names).unwrap();
        store.write_names_of(&app, &NameStatus::default(), &[]).unwrap();
        let rows = asked(&path, 10).rows;
        let [app_row, kernel] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((app_row.path.as_str(), app_row.build_id.as_deref()), ("/usr/bin/app", Some("617070")));
        // main 8, f 10, gone 2, inl 1.
        assert_eq!((app_row.samples_self, app_row.frames, app_row.named, app_row.inlined_frames), (3, 21, 9, 2));
        assert_eq!(app_row.reason, Some(Reason::Unnamed(Some(UnknownReason::NoSymbols))));
        assert_eq!(app_row.remedies[0].command.as_deref(), Some("apt install app1-dbgsym"));
        assert_eq!(app_row.sources, found(Some("/usr/bin/app")).sources, "a look that saw nothing changes nothing");
        assert_eq!((kernel.path.as_str(), kernel.frames, kernel.named), ("[kernel]", 5, 5));
        assert_eq!((kernel.reason, &*kernel.remedies), (None, &[][..]));
        assert_eq!(
            rows.iter().map(|row| row.samples_self).sum::<u64>(),
            totals(&mut Reader::open(&path).unwrap()).unwrap().stored
        );
        let one = asked(&path, 1);
        assert_eq!((one.rows.len(), one.hidden_rows, one.frames, one.named), (1, 1, 26, 14), "of all rows");
    }
}
