//! The numbers of a window or a roll-up beside its stacks: what the timeline and the ledger add up.

use std::collections::BTreeMap;

use rusqlite::Row;

use super::StoreError;
use super::intern::int;
use crate::profile::{LossCause, Losses, MissCause, MissedTicks, Window};

/// Sums over one or more windows of one series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Windows.
    pub(crate) windows: u64,
    /// Wall clock at the end of the last one.
    pub(crate) wall_end: i64,
    /// Time covered, by the boot clock, in nanoseconds.
    pub(crate) length: u64,
    /// The most CPUs of a window.
    pub(crate) cpus: u32,
    /// Ticks that hit a task.
    pub(crate) busy: u64,
    /// Ticks that hit idle.
    pub(crate) idle: u64,
    /// Busy ticks that the filter left out.
    pub(crate) filtered: u64,
    /// Samples taken.
    pub(crate) taken: u64,
    /// Samples stored.
    pub(crate) stored: u64,
    /// Of these, cut short.
    pub(crate) incomplete: u64,
    /// Samples lost, by cause.
    pub(crate) losses: Losses,
    /// Ticks missed, by cause; none in what was stored before they were counted.
    pub(crate) missed: MissedTicks,
}

/// The columns of [`Numbers::read`], of both tables but for `windows`.
pub(super) const COLUMNS: &str =
    "wall_end, length, cpus, busy, idle, filtered, taken, stored, incomplete, losses, misses";

impl Numbers {
    /// Those of a window; how many of its samples are cut short is known only once they are sorted.
    pub(super) fn of(window: &Window, incomplete: u64) -> Self {
        Self {
            windows: 1,
            wall_end: window.wall_end.0,
            length: window.end.0.saturating_sub(window.start.0),
            cpus: window.cpus,
            busy: window.ticks.busy,
            idle: window.ticks.idle,
            filtered: window.ticks.filtered,
            taken: window.taken,
            stored: window.samples(),
            incomplete,
            losses: window.losses.clone(),
            missed: window.ticks.missed,
        }
    }

    /// Adds others.
    pub(super) fn add(&mut self, other: &Self) {
        let sum = |a: &mut u64, b: u64| *a = a.saturating_add(b);
        self.wall_end = if self.windows == 0 { other.wall_end } else { self.wall_end.max(other.wall_end) };
        sum(&mut self.windows, other.windows);
        sum(&mut self.length, other.length);
        self.cpus = self.cpus.max(other.cpus);
        sum(&mut self.busy, other.busy);
        sum(&mut self.idle, other.idle);
        sum(&mut self.filtered, other.filtered);
        sum(&mut self.taken, other.taken);
        sum(&mut self.stored, other.stored);
        sum(&mut self.incomplete, other.incomplete);
        self.losses.merge(&other.losses);
        self.missed.merge(&other.missed);
    }

    /// From [`COLUMNS`], which begin at column `first` of `row`.
    pub(super) fn read(row: &Row<'_>, first: usize, windows: i64) -> Result<Self, StoreError> {
        let number = |at: usize| row.get::<_, i64>(first + at).map(|n| n.max(0).cast_unsigned());
        let (mut losses, mut missed) = (Losses::default(), MissedTicks::default());
        let text = |at: usize| row.get_ref(first + at)?.as_str_or_null().map_err(rusqlite::Error::from);
        for (cause, n) in parse(text(9)?)? {
            losses.add(LossCause::from_u8(cause).ok_or(StoreError::BadRow("an unknown cause of loss"))?, n);
        }
        for (cause, n) in parse(text(10)?)? {
            missed.add(MissCause::from_u8(cause).ok_or(StoreError::BadRow("an unknown cause of missed ticks"))?, n);
        }
        Ok(Self {
            windows: windows.max(0).cast_unsigned(),
            wall_end: row.get(first)?,
            length: number(1)?,
            cpus: row.get(first + 2)?,
            busy: number(3)?,
            idle: number(4)?,
            filtered: number(5)?,
            taken: number(6)?,
            stored: number(7)?,
            incomplete: number(8)?,
            losses,
            missed,
        })
    }

    /// The values of [`ALL_COLUMNS`], for writing.
    pub(super) fn values(&self) -> [rusqlite::types::Value; 13] {
        let losses = write(self.losses.0.iter().map(|(cause, n)| (*cause as u8, *n)));
        let misses = write(self.missed.iter().map(|(cause, n)| (cause as u8, n)));
        [
            self.wall_end.into(),
            int(self.length).into(),
            self.cpus.into(),
            int(self.busy).into(),
            int(self.idle).into(),
            int(self.filtered).into(),
            int(self.taken).into(),
            int(self.stored).into(),
            int(self.losses.total()).into(),
            int(self.incomplete).into(),
            losses,
            int(self.missed.total()).into(),
            misses,
        ]
    }
}

/// The columns of [`Numbers::values`].
pub(super) const ALL_COLUMNS: &str =
    "wall_end, length, cpus, busy, idle, filtered, taken, stored, lost, incomplete, losses, missed, misses";

/// `{"0":3,"4":1}`: cause and count; NULL for none.
fn write(counts: impl Iterator<Item = (u8, u64)>) -> rusqlite::types::Value {
    let causes: Vec<_> = counts.filter(|(_, n)| *n > 0).map(|(cause, n)| format!("\"{cause}\":{n}")).collect();
    if causes.is_empty() { rusqlite::types::Value::Null } else { format!("{{{}}}", causes.join(",")).into() }
}

fn parse(text: Option<&str>) -> Result<BTreeMap<u8, u64>, StoreError> {
    let Some(text) = text else { return Ok(BTreeMap::new()) };
    serde_json::from_str(text).map_err(|_| StoreError::BadRow("counts by cause that are no JSON"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use rusqlite::types::Value;

    use super::*;

    /// Counts by cause are text that SQLite's JSON functions read, and come back; none are NULL.
    #[test]
    fn counts_by_cause_round_trip() {
        let text = write([(0, 3), (2, 0), (4, 1)].into_iter());
        assert_eq!(text, Value::Text(r#"{"0":3,"4":1}"#.into()));
        assert_eq!(parse(Some(r#"{"0":3,"4":1}"#)).unwrap(), [(0, 3), (4, 1)].into());
        assert_eq!(write([(1, 0)].into_iter()), Value::Null);
        assert_eq!(parse(None).unwrap(), BTreeMap::new());
        assert!(parse(Some("nonsense")).is_err());
    }
}
