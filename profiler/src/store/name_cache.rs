//! What a reader knows of locations: their frames, outer function first, ready to be merged by index.
//!
//! A frame is interned by what people see of it (name, kind, binary, file), so two builds of one program meet. Locations not
//! asked for a name yet are forgotten after each question; the others until `meta.renames` moves.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::{RowMap, StoreError};
use crate::profile::{BinaryKind, Frame, FrameKind, UnknownReason};

/// Bytes of names and spans held from one question to the next.
const MAX_BYTES: usize = 24 << 20;

/// Index of a frame in a reader's cache; means nothing after the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CachedFrame(pub(crate) u32);

/// One frame at a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlacedFrame {
    /// Which.
    pub(crate) frame: CachedFrame,
    /// Source line, 0 when not known.
    pub(crate) line: u32,
}

#[derive(Debug)]
struct BinaryRow {
    kind: BinaryKind,
    path: String,
}

/// Cache of locations, frames and binaries; emptied between questions when it is over its bound.
#[derive(Debug, Default)]
pub(super) struct NameCache {
    /// Where a location's frames lie in `placed`.
    spans: RowMap<u32, (u32, u32)>,
    placed: Vec<PlacedFrame>,
    frames: Vec<Arc<Frame>>,
    by_content: HashMap<Arc<Frame>, CachedFrame>,
    by_function: RowMap<(i64, i64, bool), CachedFrame>,
    binaries: RowMap<i64, BinaryRow>,
    /// Locations without an answer yet.
    unasked: Vec<u32>,
    renames: i64,
    bytes: usize,
}

impl NameCache {
    /// Forgets what may have changed since the last question.
    pub(super) fn begin(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let renames =
            conn.prepare_cached("SELECT value FROM meta WHERE key = 'renames'")?.query_row([], |row| row.get(0))?;
        if renames != self.renames || self.bytes > MAX_BYTES {
            *self = Self { renames, ..Self::default() };
        }
        for location in self.unasked.drain(..) {
            self.spans.remove(&location);
        }
        Ok(())
    }

    /// Where the frames at a location are, outer function first; at least one.
    pub(super) fn at(&mut self, conn: &Connection, location: u32) -> Result<Range<u32>, StoreError> {
        let (start, end) = match self.spans.get(&location) {
            Some(span) => *span,
            None => self.load(conn, location)?,
        };
        Ok(start..end)
    }

    /// One frame of [`Self::at`].
    pub(super) fn placed(&self, at: u32) -> PlacedFrame {
        self.placed[at as usize]
    }

    /// What to show of a frame.
    pub(super) fn frame(&self, frame: CachedFrame) -> &Frame {
        &self.frames[frame.0 as usize]
    }

    fn load(&mut self, conn: &Connection, location: u32) -> Result<(u32, u32), StoreError> {
        let found: Option<(i64, i64, u8)> = conn
            .prepare_cached("SELECT binary, offset, state FROM location WHERE id = ?1")?
            .query_row([location], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let (binary, offset, state) = found.ok_or(StoreError::BadRow("a stack names a location that is not there"))?;
        let start = self.placed.len() as u32;
        // Innermost first in the table, outer first in a stack.
        let mut select = conn.prepare_cached(
            "SELECT function, line, inlined FROM location_frame WHERE location = ?1 ORDER BY position DESC",
        )?;
        let mut rows = select.query([location])?;
        while let Some(row) = rows.next()? {
            let (function, line, inlined): (i64, u32, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let frame = match self.by_function.get(&(function, binary, inlined)) {
                Some(frame) => *frame,
                None => {
                    let frame = self.function(conn, function, binary, inlined)?;
                    self.by_function.insert((function, binary, inlined), frame);
                    frame
                }
            };
            self.placed.push(PlacedFrame { frame, line });
        }
        if self.placed.len() as u32 == start {
            let frame = self.unknown(conn, binary, offset.cast_unsigned(), state)?;
            self.placed.push(PlacedFrame { frame, line: 0 });
        }
        if state == 0 {
            self.unasked.push(location);
        }
        let span = (start, self.placed.len() as u32);
        self.spans.insert(location, span);
        self.bytes += 48 + size_of::<PlacedFrame>() * (span.1 - span.0) as usize;
        Ok(span)
    }

    fn function(
        &mut self,
        conn: &Connection,
        function: i64,
        binary: i64,
        inlined: bool,
    ) -> Result<CachedFrame, StoreError> {
        let (name, file): (String, String) = conn
            .prepare_cached(
                "SELECT name.text, file.text FROM function
                 JOIN string AS name ON name.id = function.name JOIN string AS file ON file.id = function.file
                 WHERE function.id = ?1",
            )?
            .query_row([function], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let binary = self.binary(conn, binary)?;
        let kind = match binary.kind {
            _ if inlined => FrameKind::Inlined,
            BinaryKind::Kernel => FrameKind::Kernel,
            _ => FrameKind::User,
        };
        let file = (!file.is_empty()).then_some(file);
        let path = binary.path.clone();
        Ok(self.intern(Frame { name, kind, binary: Some(path), file, line: None, reason: None }))
    }

    fn unknown(&mut self, conn: &Connection, binary: i64, offset: u64, state: u8) -> Result<CachedFrame, StoreError> {
        let path = self.binary(conn, binary)?.path.clone();
        let base = path.rsplit('/').next().unwrap_or(&path).trim_matches(['[', ']']);
        let reason = UnknownReason::from_u8(state).map_or("no name was looked up yet", UnknownReason::describe);
        Ok(self.intern(Frame {
            name: format!("[{base}+{offset:#x}]"),
            kind: FrameKind::Unknown,
            binary: Some(path),
            file: None,
            line: None,
            reason: Some(reason),
        }))
    }

    fn binary(&mut self, conn: &Connection, id: i64) -> Result<&BinaryRow, StoreError> {
        if !self.binaries.contains_key(&id) {
            let (kind, path): (u8, String) = conn
                .prepare_cached("SELECT kind, text FROM binary JOIN string ON string.id = path WHERE binary.id = ?1")?
                .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let kind = BinaryKind::from_u8(kind).ok_or(StoreError::BadRow("a binary of an unknown kind"))?;
            self.bytes += 96 + path.len();
            self.binaries.insert(id, BinaryRow { kind, path });
        }
        Ok(&self.binaries[&id])
    }

    fn intern(&mut self, frame: Frame) -> CachedFrame {
        if let Some(known) = self.by_content.get(&frame) {
            return *known;
        }
        let text = frame.name.len()
            + frame.binary.as_ref().map_or(0, String::len)
            + frame.file.as_ref().map_or(0, String::len);
        self.bytes += size_of::<Frame>() + 96 + text;
        let id = CachedFrame(self.frames.len() as u32);
        let frame = Arc::new(frame);
        self.frames.push(Arc::clone(&frame));
        self.by_content.insert(frame, id);
        id
    }
}
