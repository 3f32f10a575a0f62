//! Labels: what a selector can name, and the values they take in a range.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::heat_map::{Within, each_in_area, measure_in};
use super::merge::measure_of;
use super::sieve::Sieve;
use super::{QueryError, Selector};
use crate::profile::{Measure, TimeRange};
use crate::store::{Group, ProcessRow, Reader, RowMap, Snapshot, StoreError};

/// Labels a selector can name, in the order shown to people.
pub const LABELS: [&str; 7] = ["comm", "pid", "exe", "thread", "cgroup", "container", "unit"];

/// One of [`LABELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Comm,
    Pid,
    Exe,
    Thread,
    Cgroup,
    Container,
    Unit,
}

impl Label {
    /// The label called `name`.
    pub(super) fn parse(name: &str) -> Result<Self, QueryError> {
        let all = [Self::Comm, Self::Pid, Self::Exe, Self::Thread, Self::Cgroup, Self::Container, Self::Unit];
        let at = LABELS.iter().position(|label| *label == name);
        at.map(|at| all[at]).ok_or_else(|| QueryError::UnknownLabel(name.chars().take(64).collect()))
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Comm => "comm",
            Self::Pid => "pid",
            Self::Exe => "exe",
            Self::Thread => "thread",
            Self::Cgroup => "cgroup",
            Self::Container => "container",
            Self::Unit => "unit",
        }
    }

    /// The row of its text for a process, and a pid for itself; `None` for `thread`, which is not the process's.
    pub(super) fn row(self, process: &ProcessRow) -> Option<u32> {
        match self {
            Self::Comm => Some(process.comm),
            Self::Pid => Some(process.pid),
            Self::Exe => Some(process.exe),
            Self::Thread => None,
            Self::Cgroup => Some(process.cgroup),
            Self::Container => Some(process.container),
            Self::Unit => Some(process.unit),
        }
    }

    /// The same for a group of samples: any label has one.
    pub(super) fn of(self, snapshot: &mut Snapshot<'_>, group: &Group) -> Result<u32, StoreError> {
        if self == Self::Thread {
            return Ok(group.key.thread);
        }
        Ok(self.row(&snapshot.process(group.key.process)?).unwrap_or_default())
    }

    /// The text that a row stands for; empty where there is nothing.
    pub(super) fn text(self, snapshot: &mut Snapshot<'_>, row: u32) -> Result<Arc<str>, StoreError> {
        if self == Self::Pid { Ok(row.to_string().into()) } else { snapshot.text(row) }
    }
}

/// Values of a label with what they have of the samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelValues {
    /// What the numbers stand for.
    pub measure: Measure,
    /// By falling number, then value; the empty value is "has none". At most as many as were asked for.
    pub values: Vec<(String, u64)>,
    /// Values left out.
    pub hidden_values: u64,
    /// Of all values, the ones left out too.
    pub total: u64,
    /// Of process ids: what the process is called that has most of the samples.
    pub names: BTreeMap<String, String>,
}

/// Values of a label in a range, or a box of its heat map.
///
/// # Errors
/// [`QueryError::UnknownLabel`], [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn label_values(
    reader: &mut Reader,
    within: Within,
    selector: &Selector,
    label: &str,
    max_values: usize,
) -> Result<LabelValues, QueryError> {
    let label = Label::parse(label)?;
    let mut snapshot = reader.snapshot()?;
    let mut rows = RowMap::<u32, u64>::default();
    // By pid and the row of the name.
    let mut called = BTreeMap::<(u32, u32), u64>::new();
    let measure = each_group(&mut snapshot, within, selector, |snapshot, group, value| {
        if label == Label::Pid {
            let process = snapshot.process(group.key.process)?;
            let sum = called.entry((process.pid, process.comm)).or_default();
            *sum = sum.saturating_add(value);
        }
        let sum = rows.entry(label.of(snapshot, group)?).or_default();
        *sum = sum.saturating_add(value);
        Ok(())
    })?;
    let total = rows.values().fold(0, |sum: u64, value| sum.saturating_add(*value));
    let mut values = Vec::with_capacity(rows.len());
    for (row, value) in rows {
        values.push((label.text(&mut snapshot, row)?.as_ref().to_owned(), value));
    }
    values.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    let hidden_values = values.len().saturating_sub(max_values) as u64;
    values.truncate(max_values);
    let mut most = BTreeMap::<u32, (u64, u32)>::new();
    for ((pid, comm), value) in called {
        let name = most.entry(pid).or_default();
        *name = (*name).max((value, comm));
    }
    let mut names = BTreeMap::new();
    for (value, _) in &values {
        if let Some((_, comm)) = value.parse().ok().and_then(|pid: u32| most.get(&pid)) {
            names.insert(value.clone(), snapshot.text(*comm)?.as_ref().to_owned());
        }
    }
    Ok(LabelValues { measure, values, hidden_values, total, names })
}

/// Calls `each` for the samples that pass: the group they are of, and what they come to in the measure that is returned. A group may come
/// several times.
pub(super) fn each_group(
    snapshot: &mut Snapshot<'_>,
    within: Within,
    selector: &Selector,
    mut each: impl FnMut(&mut Snapshot<'_>, &Group, u64) -> Result<(), QueryError>,
) -> Result<Measure, QueryError> {
    match within {
        // Who has samples in a piece is known without its stacks.
        Within::Range(range) => {
            let mut sieve = Sieve::new(selector);
            let pieces = snapshot.pieces(range, i64::MAX)?;
            let measure = measure_of(&pieces);
            for piece in pieces {
                snapshot.check()?;
                let weight = measure.weight(piece.series.hz);
                for group in snapshot.groups(&piece)? {
                    if sieve.passes(snapshot, &group)? {
                        each(snapshot, &group, group.samples.saturating_mul(weight))?;
                    }
                }
            }
            Ok(measure)
        }
        Within::Box(grid, area) => {
            let measure = measure_in(snapshot, grid.range)?;
            each_in_area(snapshot, grid, area, selector, |snapshot, sampled| {
                each(snapshot, sampled.group, sampled.samples.saturating_mul(measure.weight(sampled.hz)))
            })?;
            Ok(measure)
        }
    }
}

/// All of a range that passes, whoever it is of.
pub(super) fn total_of(
    snapshot: &mut Snapshot<'_>,
    sieve: &mut Sieve<'_>,
    range: TimeRange,
    measure: Measure,
) -> Result<u64, QueryError> {
    let mut sum = 0_u64;
    for piece in snapshot.pieces(range, i64::MAX)? {
        snapshot.check()?;
        for group in snapshot.groups(&piece)? {
            if sieve.passes(snapshot, &group)? {
                sum = sum.saturating_add(group.samples.saturating_mul(measure.weight(piece.series.hz)));
            }
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::WallNanos;
    use crate::store::Store;
    use crate::store::drawing::window;

    /// A process id has the name that most of its samples have; other labels' values have none.
    #[test]
    fn process_ids_have_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        store.write_window(&window(0, "sh/7  main x2\nweb/7  main x5\ndb/8  main x1")).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let range = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
        let mut ask = |label, most| label_values(&mut reader, range.into(), &Selector::default(), label, most).unwrap();
        let names =
            |of: LabelValues| of.names.into_iter().map(|(pid, name)| format!("{pid} {name}")).collect::<Vec<_>>();
        assert_eq!(names(ask("pid", 10)), ["7 web", "8 db"]);
        assert_eq!(names(ask("pid", 1)), ["7 web"]);
        assert_eq!(names(ask("comm", 10)), [""; 0]);
    }
}
