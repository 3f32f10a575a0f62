//! One question's view of the database: the rows that `query` asks for, all of one moment.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rusqlite::{OptionalExtension, Transaction};

use super::codec::ThreadId;
use super::name_cache::{CachedFrame, NameCache, PlacedFrame};
use super::stack_cache::{StackCache, StackNode};
use super::{StackId, StoreError};
use crate::profile::{Frame, LossCause, Losses, StackEnd, TimeRange, WallNanos};

/// A window's own numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WindowRow {
    /// Wall clock at its start.
    pub(crate) start: i64,
    /// Length, by the boot clock, in nanoseconds.
    pub(crate) length: u64,
    /// Samples per second and CPU.
    pub(crate) hz: u32,
    /// Ticks that hit a task.
    pub(crate) busy: u64,
    /// Ticks that hit idle.
    pub(crate) idle: u64,
    /// Samples stored.
    pub(crate) stored: u64,
    /// Of these, cut short.
    pub(crate) incomplete: u64,
    /// Samples lost.
    pub(crate) lost: u64,
}

/// A process's share of a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share<'a> {
    /// Wall clock at the window's start.
    pub(crate) start: i64,
    /// Samples per second and CPU.
    pub(crate) hz: u32,
    /// Row of the process.
    pub(crate) process: i64,
    /// Samples.
    pub(crate) samples: u64,
    /// Of these, cut short.
    pub(crate) incomplete: u64,
    /// Packed stacks: see [`super::decode`].
    pub(crate) stacks: &'a [u8],
}

/// What the labels of a process say; empty where there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessRow {
    /// Name of its main thread.
    pub(crate) comm: String,
    /// Host pid.
    pub(crate) pid: u32,
    /// Path of its executable.
    pub(crate) exe: String,
    /// Control group.
    pub(crate) cgroup: String,
    /// Container id.
    pub(crate) container: String,
    /// systemd unit.
    pub(crate) unit: String,
}

/// Sums over all stored windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Windows.
    pub(crate) windows: u64,
    /// Samples taken.
    pub(crate) taken: u64,
    /// Samples stored.
    pub(crate) stored: u64,
    /// Samples lost.
    pub(crate) losses: Losses,
    /// Stored samples by stack end.
    pub(crate) endings: Vec<(StackEnd, u64)>,
}

/// One question's view of the database.
pub(crate) struct Snapshot<'a> {
    tx: Transaction<'a>,
    stacks: &'a mut StackCache,
    names: &'a mut NameCache,
    stop: &'a AtomicBool,
}

impl<'a> Snapshot<'a> {
    pub(super) fn new(
        tx: Transaction<'a>,
        stacks: &'a mut StackCache,
        names: &'a mut NameCache,
        stop: &'a AtomicBool,
    ) -> Self {
        Self { tx, stacks, names, stop }
    }

    /// Fails once the question was interrupted; for loops that do not ask the database.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.stop.load(Relaxed) { Err(StoreError::Interrupted) } else { Ok(()) }
    }

    /// Every window whose wall-clock start lies in the range, by that start.
    pub(crate) fn windows(&self, range: TimeRange, mut each: impl FnMut(WindowRow)) -> Result<(), StoreError> {
        let mut select = self.tx.prepare_cached(
            "SELECT wall_start, boot_end - boot_start, hz, busy, idle, stored, incomplete, lost FROM window
             WHERE wall_start >= ?1 AND wall_start < ?2 ORDER BY wall_start",
        )?;
        let mut rows = select.query([range.from.0, range.to.0])?;
        while let Some(row) = rows.next()? {
            self.check()?;
            each(WindowRow {
                start: row.get(0)?,
                length: count(row.get(1)?),
                hz: row.get(2)?,
                busy: count(row.get(3)?),
                idle: count(row.get(4)?),
                stored: count(row.get(5)?),
                incomplete: count(row.get(6)?),
                lost: count(row.get(7)?),
            });
        }
        Ok(())
    }

    /// Lengths in nanoseconds of the newest windows in the range, at most `most`.
    pub(crate) fn window_lengths(&self, range: TimeRange, most: u32) -> Result<Vec<u64>, StoreError> {
        let mut select = self.tx.prepare_cached(
            "SELECT boot_end - boot_start FROM window WHERE wall_start >= ?1 AND wall_start < ?2
             ORDER BY wall_start DESC LIMIT ?3",
        )?;
        let rows = select.query_map((range.from.0, range.to.0, most), |row| row.get(0))?;
        rows.map(|length| Ok(count(length?))).collect()
    }

    /// Every process's share of every window whose wall-clock start lies in the range.
    pub(crate) fn shares<E: From<StoreError>>(
        &self,
        range: TimeRange,
        mut each: impl FnMut(Share<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let lift = |error: rusqlite::Error| E::from(error.into());
        // CROSS JOIN: windows outside, each a range of the inner table's key.
        let mut select = self
            .tx
            .prepare_cached(
                "SELECT wall_start, hz, process, samples, profile.incomplete, stacks
                 FROM window CROSS JOIN profile ON profile.window = window.id
                 WHERE wall_start >= ?1 AND wall_start < ?2",
            )
            .map_err(lift)?;
        let mut rows = select.query([range.from.0, range.to.0]).map_err(lift)?;
        while let Some(row) = rows.next().map_err(lift)? {
            self.check()?;
            let share = || -> Result<Share<'_>, rusqlite::Error> {
                Ok(Share {
                    start: row.get(0)?,
                    hz: row.get(1)?,
                    process: row.get(2)?,
                    samples: count(row.get(3)?),
                    incomplete: count(row.get(4)?),
                    stacks: row.get_ref(5)?.as_blob()?,
                })
            };
            each(share().map_err(lift)?)?;
        }
        Ok(())
    }

    /// The process of a share.
    pub(crate) fn process(&self, id: i64) -> Result<ProcessRow, StoreError> {
        self.tx
            .prepare_cached(
                "SELECT comm.text, pid, exe.text, cgroup.text, container.text, unit.text FROM process
                 JOIN string AS comm ON comm.id = process.comm
                 JOIN string AS exe ON exe.id = process.exe
                 JOIN string AS cgroup ON cgroup.id = process.cgroup
                 JOIN string AS container ON container.id = process.container
                 JOIN string AS unit ON unit.id = process.unit
                 WHERE process.id = ?1",
            )?
            .query_row([id], |row| {
                Ok(ProcessRow {
                    comm: row.get(0)?,
                    pid: row.get(1)?,
                    exe: row.get(2)?,
                    cgroup: row.get(3)?,
                    container: row.get(4)?,
                    unit: row.get(5)?,
                })
            })
            .optional()?
            .ok_or(StoreError::BadRow("a profile names a process that is not there"))
    }

    /// The name of a thread.
    pub(crate) fn thread(&self, ThreadId(id): ThreadId) -> Result<String, StoreError> {
        self.tx
            .prepare_cached("SELECT text FROM thread JOIN string ON string.id = thread.name WHERE thread.id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?
            .ok_or(StoreError::BadRow("a profile names a thread that is not there"))
    }

    /// A node of the stack tree.
    pub(crate) fn stack(&mut self, id: StackId) -> Result<StackNode, StoreError> {
        self.stacks.node(&self.tx, id)
    }

    /// The frames at a location, outer function first, for [`Self::placed`]; at least one.
    pub(crate) fn frames(&mut self, location: u32) -> Result<Range<u32>, StoreError> {
        self.names.at(&self.tx, location)
    }

    /// One of [`Self::frames`].
    pub(crate) fn placed(&self, at: u32) -> PlacedFrame {
        self.names.placed(at)
    }

    /// What to show of a frame.
    pub(crate) fn frame(&self, frame: CachedFrame) -> &Frame {
        self.names.frame(frame)
    }

    /// Sums over all windows, and the time they span.
    pub(crate) fn sums(&self) -> Result<(Sums, Option<TimeRange>), StoreError> {
        let mut sums = Sums::default();
        let mut select = self.tx.prepare_cached("SELECT name, number, count FROM tally ORDER BY name, number")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (number, n): (u32, u64) = (row.get(1)?, count(row.get(2)?));
            match row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)? {
                "windows" => sums.windows = n,
                "taken" => sums.taken = n,
                "stored" => sums.stored = n,
                "lost" => {
                    let cause = u8::try_from(number).ok().and_then(LossCause::from_u8);
                    sums.losses.add(cause.ok_or(StoreError::BadRow("an unknown cause of loss"))?, n);
                }
                "ending" if n > 0 => {
                    let end = StackEnd::from_u32(number).ok_or(StoreError::BadRow("an unknown stack end"))?;
                    sums.endings.push((end, n));
                }
                _ => {}
            }
        }
        // Two statements: SQLite answers min and max from an index one at a time only.
        let edge = |sql| self.tx.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional();
        let from = edge("SELECT wall_start FROM window ORDER BY wall_start LIMIT 1")?;
        let to = edge("SELECT wall_end FROM window ORDER BY wall_start DESC LIMIT 1")?;
        let span = from.zip(to).map(|(from, to)| TimeRange { from: WallNanos(from), to: WallNanos(to) });
        Ok((sums, span))
    }
}

/// Counts are never negative; a damaged row may be.
fn count(n: i64) -> u64 {
    n.max(0).cast_unsigned()
}
