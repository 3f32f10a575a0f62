//! The numbers of a window or a roll-up beside its stacks: what the timeline and the ledger add up.

use rusqlite::Row;

use super::StoreError;
use super::intern::int;
use crate::profile::{LossCause, Losses, Window};

/// Sums over one or more windows of one way of sampling.
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
}

/// The columns of [`Numbers::read`], of both tables but for `windows`.
pub(super) const COLUMNS: &str = "wall_end, length, cpus, busy, idle, filtered, taken, stored, incomplete, losses";

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
    }

    /// From [`COLUMNS`], which begin at column `first` of `row`.
    pub(super) fn read(row: &Row<'_>, first: usize, windows: i64) -> Result<Self, StoreError> {
        let number = |at: usize| row.get::<_, i64>(first + at).map(|n| n.max(0).cast_unsigned());
        let losses = match row.get_ref(first + 9)?.as_str_or_null().map_err(rusqlite::Error::from)? {
            Some(text) => parse(text)?,
            None => Losses::default(),
        };
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
        })
    }

    /// The values of [`COLUMNS`] with `lost` after `stored`, for writing.
    pub(super) fn values(&self) -> [rusqlite::types::Value; 11] {
        let losses = if self.losses.0.is_empty() { rusqlite::types::Value::Null } else { write(&self.losses).into() };
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
        ]
    }
}

/// The columns of [`Numbers::values`].
pub(super) const ALL_COLUMNS: &str =
    "wall_end, length, cpus, busy, idle, filtered, taken, stored, lost, incomplete, losses";

/// `{"0":3,"4":1}`: cause and samples.
fn write(losses: &Losses) -> String {
    let causes: Vec<_> = losses.0.iter().map(|(cause, n)| format!("\"{}\":{n}", *cause as u8)).collect();
    format!("{{{}}}", causes.join(","))
}

fn parse(text: &str) -> Result<Losses, StoreError> {
    let mut losses = Losses::default();
    let causes: std::collections::BTreeMap<u8, u64> =
        serde_json::from_str(text).map_err(|_| StoreError::BadRow("losses that are no JSON"))?;
    for (cause, n) in causes {
        losses.add(LossCause::from_u8(cause).ok_or(StoreError::BadRow("an unknown cause of loss"))?, n);
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Losses are text that SQLite's JSON functions read, and come back.
    #[test]
    fn losses_round_trip() {
        let mut losses = Losses::default();
        losses.add(LossCause::RingFull, 3);
        losses.add(LossCause::QueueFull, 1);
        assert_eq!(write(&losses), r#"{"0":3,"4":1}"#);
        assert_eq!(parse(&write(&losses)).unwrap(), losses);
        assert!(parse("{\"77\":1}").is_err() && parse("nonsense").is_err());
    }
}
