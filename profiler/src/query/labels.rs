//! Labels: what a selector can name, and the values they take in a range.

use std::sync::Arc;

use super::sieve::Sieve;
use super::{QueryError, Selector};
use crate::profile::TimeRange;
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

/// Values of a label in a range with their samples, by falling samples, then value; the empty value is "has none".
///
/// # Errors
/// [`QueryError::UnknownLabel`], [`QueryError::Store`].
pub fn label_values(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    label: &str,
) -> Result<Vec<(String, u64)>, QueryError> {
    let label = Label::parse(label)?;
    let mut snapshot = reader.snapshot()?;
    let mut sieve = Sieve::new(selector);
    let mut rows = RowMap::<u32, u64>::default();
    for piece in snapshot.pieces(range, i64::MAX)? {
        snapshot.check()?;
        for group in snapshot.groups(&piece)? {
            if sieve.passes(&mut snapshot, &group)? {
                let sum = rows.entry(label.of(&mut snapshot, &group)?).or_default();
                *sum = sum.saturating_add(group.samples);
            }
        }
    }
    let mut values = Vec::with_capacity(rows.len());
    for (row, samples) in rows {
        values.push((label.text(&mut snapshot, row)?.as_ref().to_owned(), samples));
    }
    values.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    Ok(values)
}

/// Samples of a range that pass, whoever they are of.
pub(super) fn samples_of(
    snapshot: &mut Snapshot<'_>,
    sieve: &mut Sieve<'_>,
    range: TimeRange,
) -> Result<u64, QueryError> {
    let mut sum = 0_u64;
    for piece in snapshot.pieces(range, i64::MAX)? {
        snapshot.check()?;
        for group in snapshot.groups(&piece)? {
            if sieve.passes(snapshot, &group)? {
                sum = sum.saturating_add(group.samples);
            }
        }
    }
    Ok(sum)
}
