//! Labels: what a selector can name, and the values they take in a range.

use std::sync::Arc;

use super::heat_map::{Within, each_in_area};
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

/// Values of a label with their samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelValues {
    /// By falling samples, then value; the empty value is "has none". At most as many as were asked for.
    pub values: Vec<(String, u64)>,
    /// Values left out.
    pub hidden_values: u64,
    /// Samples of all values, the ones left out too.
    pub samples: u64,
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
    match within {
        // Who has samples in a piece is known without its stacks.
        Within::Range(range) => {
            let mut sieve = Sieve::new(selector);
            for piece in snapshot.pieces(range, i64::MAX)? {
                snapshot.check()?;
                for group in snapshot.groups(&piece)? {
                    if sieve.passes(&mut snapshot, &group)? {
                        let sum = rows.entry(label.of(&mut snapshot, &group)?).or_default();
                        *sum = sum.saturating_add(group.samples);
                    }
                }
            }
        }
        Within::Box(grid, area) => {
            each_in_area(&mut snapshot, grid, area, selector, |snapshot, _, group, _, samples| {
                let sum = rows.entry(label.of(snapshot, group)?).or_default();
                *sum = sum.saturating_add(samples);
                Ok(())
            })?;
        }
    }
    let samples = rows.values().fold(0, |sum: u64, samples| sum.saturating_add(*samples));
    let mut values = Vec::with_capacity(rows.len());
    for (row, samples) in rows {
        values.push((label.text(&mut snapshot, row)?.as_ref().to_owned(), samples));
    }
    values.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    let hidden_values = values.len().saturating_sub(max_values) as u64;
    values.truncate(max_values);
    Ok(LabelValues { values, hidden_values, samples })
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
