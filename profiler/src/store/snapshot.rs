//! One question's view of the database: the rows that `query` asks for, all of one moment.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rusqlite::{OptionalExtension, Row, Transaction};

use super::codec::{Group, Packed, Profile, decode_directory};
use super::cover::{Piece, Place, cover, windows};
use super::edge::{self, Edge};
use super::function_tree::{FunctionId, FunctionTree};
use super::kept_sums::{KeptSums, RowSums, SumsKey};
use super::level::Level;
use super::name_cache::{CachedFrame, NameCache, PlacedFrame};
use super::numbers::Numbers;
use super::process_cache::{ProcessCache, ProcessRow};
use super::rollup_row::{LastRows, RollupRow};
use super::series::{self, SeriesId};
use super::split::Share;
use super::stack_page::StackNode;
use super::{StackId, StoreError, times};
use crate::profile::{Demangle, Frame, Host, LossCause, Losses, StackEnd, TimeRange, WallNanos};

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

/// What a reader keeps from one question to the next.
#[derive(Debug, Default)]
pub(super) struct Caches {
    pub(super) tree: FunctionTree,
    pub(super) names: NameCache,
    pub(super) processes: ProcessCache,
    pub(super) sums: Arc<KeptSums>,
    /// Device and inode of the database.
    pub(super) file: (u64, u64),
}

/// One question's view of the database.
pub(crate) struct Snapshot<'a> {
    pub(super) tx: Transaction<'a>,
    caches: &'a mut Caches,
    stop: &'a AtomicBool,
    /// The rows that parts were taken out of last.
    opened: LastRows,
    /// All windows of the row with this number, once one of them was asked for.
    windows: Option<(i64, Vec<(i64, Share)>)>,
}

/// What a question has loaded so far of both trees and of names: plain data, which another thread may look at.
#[derive(Clone, Copy)]
pub(crate) struct Loaded<'a> {
    tree: &'a FunctionTree,
    names: &'a NameCache,
    stop: &'a AtomicBool,
}

impl<'a> Loaded<'a> {
    /// As [`Snapshot::check`].
    pub(crate) fn check(self) -> Result<(), StoreError> {
        if self.stop.load(Relaxed) { Err(StoreError::Interrupted) } else { Ok(()) }
    }

    /// A node of the stack tree. What [`Snapshot::function`] was asked about is loaded, with all its callers.
    #[inline]
    pub(crate) fn stack(self, id: StackId) -> Result<StackNode, StoreError> {
        self.tree.loaded(id).ok_or(StoreError::BadRow("a profile names a stack that is not there"))
    }

    /// The frames at a location, outer function first, if they are loaded.
    pub(crate) fn frames_at(self, location: u32) -> Option<impl Iterator<Item = PlacedFrame> + 'a> {
        self.names.loaded(location).map(|span| span.map(|at| self.names.placed(at)))
    }
}

/// The stacks of a piece.
pub(crate) enum Stacks {
    /// As they are stored.
    Packed(Packed),
    /// Of one window of a roll-up.
    Listed(Profile),
}

impl Stacks {
    /// Whose.
    pub(crate) fn groups(&self) -> &[Group] {
        match self {
            Self::Packed(packed) => &packed.groups,
            Self::Listed(profile) => &profile.groups,
        }
    }

    /// Every entry of every group that `wanted` wants (given the group and its index), in order: group's index, stack, samples.
    pub(crate) fn each(
        &self,
        mut wanted: impl FnMut(usize, &Group) -> bool,
        mut each: impl FnMut(usize, StackId, u64),
    ) -> Result<(), StoreError> {
        match self {
            Self::Packed(packed) => Ok(packed.each(wanted, each)?),
            Self::Listed(profile) => {
                for (at, (group, span)) in profile.spans().enumerate() {
                    if wanted(at, group) {
                        span.for_each(|entry| each(at, profile.stacks[entry], profile.counts[entry]));
                    }
                }
                Ok(())
            }
        }
    }
}

impl<'a> Snapshot<'a> {
    pub(super) fn new(
        tx: Transaction<'a>,
        caches: &'a mut Caches,
        demangle: Demangle,
        stop: &'a AtomicBool,
    ) -> Result<Self, StoreError> {
        caches.tree.begin(&tx, &mut caches.names, demangle)?;
        Ok(Self { tx, caches, stop, opened: LastRows::default(), windows: None })
    }

    /// Fails once the question was interrupted; for loops that do not ask the database.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.stop.load(Relaxed) { Err(StoreError::Interrupted) } else { Ok(()) }
    }

    /// The fewest windows and roll-ups that make up the range, in order of time; none longer than `longest` nanoseconds where
    /// there is something finer.
    pub(crate) fn pieces(&self, range: TimeRange, longest: i64) -> Result<Vec<Piece>, StoreError> {
        cover(&self.tx, range, longest)
    }

    /// The host of a piece.
    pub(crate) fn host(&self, piece: &Piece) -> Result<Host, StoreError> {
        series::host_of(&self.tx, piece.series.host)
    }

    /// Who has samples in a piece.
    pub(crate) fn groups(&mut self, piece: &Piece) -> Result<Vec<Group>, StoreError> {
        let sql = match piece.place {
            Place::Rollup(_) | Place::Part(_) => "SELECT directory FROM rollup WHERE id = ?1",
            Place::Fresh(_) => "SELECT directory FROM fresh WHERE window = ?1",
            Place::Packed(window) => return Ok(self.window(piece, window)?.groups),
        };
        let blob = |row: &Row<'_>| Ok(decode_directory(row.get_ref(0)?.as_blob()?));
        let groups = self.tx.prepare_cached(sql)?.query_row([piece.place.id()], blob).optional()?;
        Ok(groups.ok_or(StoreError::BadRow("a window without its samples"))??)
    }

    /// Takes the pieces out that are parts of rows, which are read apart.
    pub(crate) fn edges(&self, pieces: &mut Vec<Piece>) -> Result<Vec<Edge>, StoreError> {
        edge::take(&self.tx, pieces)
    }

    /// The stacks of a piece.
    pub(crate) fn stacks(&mut self, piece: &Piece) -> Result<Stacks, StoreError> {
        self.check()?;
        let sql = match piece.place {
            Place::Rollup(_) => "SELECT directory, stacks FROM rollup WHERE id = ?1",
            Place::Fresh(_) => "SELECT directory, stacks FROM fresh WHERE window = ?1",
            Place::Part(_) => {
                let row = self.open(Level::Minutes, piece.start, piece.series.id)?;
                return Ok(Stacks::Listed(row.whole.clone()));
            }
            Place::Packed(window) => return Ok(Stacks::Listed(self.window(piece, window)?)),
        };
        let blobs = |row: &Row<'_>| {
            let directory = decode_directory(row.get_ref(0)?.as_blob()?);
            let stacks = row.get_ref(1)?.as_blob()?;
            Ok(directory.and_then(|groups| Packed::unpack(groups, stacks)))
        };
        let packed = self.tx.prepare_cached(sql)?.query_row([piece.place.id()], blobs).optional()?;
        Ok(Stacks::Packed(packed.ok_or(StoreError::BadRow("a window without its samples"))??))
    }

    /// What `question` made of a piece, if that is kept; where it is not, under which key it may be ([`Self::keep`]).
    pub(crate) fn kept(&self, piece: &Piece, question: &Arc<str>) -> Result<Arc<RowSums>, Option<SumsKey>> {
        // Windows are small, and will be packed soon.
        let Place::Rollup(row) = piece.place else { return Err(None) };
        let Numbers { windows, stored, .. } = piece.numbers;
        let key = SumsKey::new(self.caches.file, row, (windows, stored), question);
        self.caches.sums.find(&key).ok_or(Some(key))
    }

    /// Keeps it for the next question.
    pub(crate) fn keep(&self, key: SumsKey, sums: &Arc<RowSums>) {
        self.caches.sums.keep(key, sums);
    }

    /// The windows that any instant of the range lies in, where they are told apart.
    pub(crate) fn windows_in(&self, range: TimeRange) -> Result<Vec<Piece>, StoreError> {
        windows(&self.tx, range)
    }

    /// Every sample of a window with the index of its group, its stack and its wall-clock time; `false` when times are not known.
    pub(crate) fn times(
        &mut self,
        piece: &Piece,
        mut each: impl FnMut(usize, StackId, i64),
    ) -> Result<bool, StoreError> {
        let (Place::Fresh(window) | Place::Packed(window)) = piece.place else { return Ok(false) };
        let blob: Option<Vec<u8>> = self
            .tx
            .prepare_cached("SELECT times FROM sample_time WHERE window = ?1")?
            .query_row([window], |row| row.get(0))
            .optional()?;
        let Some(blob) = blob else { return Ok(false) };
        let (mut entries, mut counts) = (Vec::new(), Vec::new());
        self.stacks(piece)?.each(
            |_, _| true,
            |group, stack, count| {
                entries.push((group, stack));
                counts.push(count);
            },
        )?;
        times::decode(&blob, &counts, |entry, tick| {
            let (group, stack) = entries[entry];
            let after = i64::try_from(u64::from(tick) * times::TICK).unwrap_or(i64::MAX);
            each(group, stack, piece.start.saturating_add(after));
        })?;
        Ok(true)
    }

    /// One window out of a roll-up. Who asks for one will ask for the next one too.
    fn window(&mut self, piece: &Piece, window: i64) -> Result<Profile, StoreError> {
        let row = self.open(Level::Minutes, Level::Minutes.start_of(piece.start), piece.series.id)?;
        let shares = match self.windows.take() {
            Some((id, shares)) if id == row.id => shares,
            _ => row.split.as_ref().map(|split| split.shares(&row.whole)).unwrap_or_default(),
        };
        let found = shares.iter().find(|(id, _)| *id == window);
        let profile = found.map(|(_, share)| row.whole.at(&share.places, &share.counts));
        self.windows = Some((row.id, shares));
        profile.ok_or(StoreError::BadRow("a packed window is not in its roll-up"))
    }

    fn open(&mut self, level: Level, start: i64, series: SeriesId) -> Result<Rc<RollupRow>, StoreError> {
        let row = self.opened.find(&self.tx, level, start, series)?;
        row.ok_or(StoreError::BadRow("a packed window without its roll-up"))
    }

    /// The labels of a process, as texts for [`Self::text`].
    pub(crate) fn process(&mut self, id: u32) -> Result<ProcessRow, StoreError> {
        self.caches.processes.row(&self.tx, id)
    }

    /// A label's or a thread's text.
    pub(crate) fn text(&mut self, id: u32) -> Result<Arc<str>, StoreError> {
        self.caches.processes.text(&self.tx, id)
    }

    /// A node of the stack tree.
    pub(crate) fn stack(&mut self, id: StackId) -> Result<StackNode, StoreError> {
        self.caches.tree.node(&self.tx, id)
    }

    /// Where a stack is in the tree of frames.
    #[inline]
    pub(crate) fn function(&mut self, id: StackId) -> Result<FunctionId, StoreError> {
        let Caches { tree, names, .. } = &mut *self.caches;
        tree.find(&self.tx, names, id)
    }

    /// Nodes of the tree of frames so far: all [`FunctionId`]s are below.
    pub(crate) fn functions(&self) -> usize {
        self.caches.tree.len()
    }

    /// A function's caller, which is smaller than itself, and its frame.
    #[inline]
    pub(crate) fn caller(&self, id: FunctionId) -> (FunctionId, CachedFrame) {
        (self.caches.tree.parent(id), self.caches.tree.frame(id))
    }

    /// The frames at a location, outer function first; at least one.
    pub(crate) fn frames_at(&mut self, location: u32) -> Result<impl Iterator<Item = PlacedFrame>, StoreError> {
        let (frames, _) = self.caches.names.at(&self.tx, location)?;
        let names = &self.caches.names;
        Ok(frames.map(|at| names.placed(at)))
    }

    /// What is loaded by now.
    pub(crate) fn loaded(&self) -> Loaded<'_> {
        Loaded { tree: &self.caches.tree, names: &self.caches.names, stop: self.stop }
    }

    /// What to show of a frame.
    #[inline]
    pub(crate) fn frame(&self, frame: CachedFrame) -> &Frame {
        self.caches.names.frame(frame)
    }

    /// Frames so far: all [`CachedFrame`]s are below.
    pub(crate) fn frames(&self) -> usize {
        self.caches.names.frames()
    }

    /// The boot id of the newest window.
    pub(crate) fn newest_boot(&self) -> Result<Option<String>, StoreError> {
        let sql = "SELECT text FROM window JOIN string ON string.id = boot ORDER BY wall_start DESC LIMIT 1";
        Ok(self.tx.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
    }

    /// Sums over all windows, and the time they span.
    pub(crate) fn sums(&self) -> Result<(Sums, Option<TimeRange>), StoreError> {
        let mut sums = Sums::default();
        let mut select = self.tx.prepare_cached("SELECT name, number, count FROM tally ORDER BY name, number")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            // What the cells hold is checked before it is read: an error of reading would not say what is damaged.
            let bad =
                StoreError::BadRow("a sum over all windows (table tally) has a name, number or count that none has");
            let (Ok(name), Ok(number), Ok(n)) = (row.get_ref(0)?.as_str(), row.get::<_, u32>(1), row.get::<_, i64>(2))
            else {
                return Err(bad);
            };
            let n = count(n);
            match name {
                "windows" => sums.windows = n,
                "taken" => sums.taken = n,
                "stored" => sums.stored = n,
                "lost" => {
                    let cause = u8::try_from(number).ok().and_then(LossCause::from_u8);
                    sums.losses.add(cause.ok_or(bad)?, n);
                }
                "ending" if n > 0 => {
                    let end = StackEnd::from_u32(number).ok_or(bad)?;
                    sums.endings.push((end, n));
                }
                _ => {}
            }
        }
        // One statement each: SQLite answers min and max from an index one at a time only.
        let edge = |sql| -> Result<Option<i64>, StoreError> {
            Ok(self.tx.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
        };
        let from = [
            edge("SELECT wall_start FROM window ORDER BY wall_start LIMIT 1")?,
            edge("SELECT start FROM rollup WHERE finest = 1 ORDER BY start LIMIT 1")?,
        ];
        let to = [
            edge("SELECT wall_end FROM window ORDER BY wall_start DESC LIMIT 1")?,
            edge("SELECT wall_end FROM rollup WHERE finest = 1 ORDER BY start DESC LIMIT 1")?,
        ];
        let (from, to) = (from.into_iter().flatten().min(), to.into_iter().flatten().max());
        let span = from.zip(to).map(|(from, to)| TimeRange { from: WallNanos(from), to: WallNanos(to) });
        Ok((sums, span))
    }
}

/// Counts are never negative; a damaged row may be.
fn count(n: i64) -> u64 {
    n.max(0).cast_unsigned()
}
