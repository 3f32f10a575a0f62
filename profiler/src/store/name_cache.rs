//! What a reader knows of locations: their frames, outer function first, ready to be merged by index.
//!
//! A frame is interned by what people see of it (name, kind, binary, file), so two builds of one program meet; equal texts
//! have equal rows, so rows are compared. Locations are loaded a page of neighbouring rows at a time: they were mostly
//! written together. Pages with locations not asked for a name yet are forgotten after each question; the others until
//! `meta.renames` moves.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;
use super::kernel_text::{self, Told};
use super::row_map::RowMap;
use crate::profile::{BinaryKind, Demangle, Frame, FrameKind, Reason, UnknownReason, simple};

/// Bytes held from one question to the next. A simulated day with 150,000 locations and 64,000 frames takes 16 MiB.
const MAX_BYTES: usize = 24 << 20;

/// Rows of a page.
const PAGE: u32 = 256;

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
    path: u32,
    /// Of a kernel, where its text was.
    text: Option<Range<u64>>,
}

/// What makes two functions one frame, as rows of `string`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Function {
    name: u32,
    file: u32,
    path: u32,
    kind: FrameKind,
}

/// A place without a name, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// Of a file or of memory.
    Offset(u64),
    /// Of the kernel.
    Kernel(Told),
}

/// Neighbouring locations.
#[derive(Debug, Default)]
struct Page {
    /// Where the frames of each lie in [`NameCache::placed`]; empty for a row that is not there.
    spans: Vec<(u32, u32)>,
    /// Those that have no answer yet.
    unasked: Vec<u32>,
}

/// Cache of locations, frames and binaries; emptied between questions when it is over its bound.
#[derive(Debug, Default)]
pub(super) struct NameCache {
    pages: RowMap<u32, Page>,
    placed: Vec<PlacedFrame>,
    frames: Vec<Frame>,
    functions: RowMap<Function, CachedFrame>,
    /// The same by what is shown of the name, where that is only a part of it.
    shortened: HashMap<(Arc<str>, u32, u32, FrameKind), CachedFrame>,
    /// Places without a name, by path, offset (that of their function, where it is known) and state. The offset is foreign: the hash is guarded.
    places: HashMap<(u32, Place, u8), CachedFrame>,
    binaries: RowMap<i64, BinaryRow>,
    /// Texts of paths and files, which many frames share.
    texts: RowMap<u32, Arc<str>>,
    renames: i64,
    bytes: usize,
    /// What is shown of names.
    demangle: Demangle,
}

impl NameCache {
    /// Forgets what may have changed since the last question: `true` when that is everything.
    pub(super) fn begin(&mut self, conn: &Connection, demangle: Demangle) -> Result<bool, StoreError> {
        let renames =
            conn.prepare_cached("SELECT value FROM meta WHERE key = 'renames'")?.query_row([], |row| row.get(0))?;
        let everything = renames != self.renames || demangle != self.demangle || self.bytes > MAX_BYTES;
        if everything {
            *self = Self { renames, demangle, ..Self::default() };
        }
        self.pages.retain(|_, page| page.unasked.is_empty());
        Ok(everything)
    }

    /// Bytes held, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the frames at a location are, outer function first, at least one; and whether it has its answer.
    pub(super) fn at(&mut self, conn: &Connection, location: u32) -> Result<(Range<u32>, bool), StoreError> {
        if let Some(span) = self.loaded(location) {
            return Ok((span, self.is_asked(location)));
        }
        let page = location / PAGE;
        let loaded = self.load(conn, page * PAGE)?;
        self.pages.insert(page, loaded);
        let span = self.loaded(location).ok_or(StoreError::BadRow("a stack names a location that is not there"))?;
        Ok((span, self.is_asked(location)))
    }

    /// Where the frames at a location are, if they were loaded.
    #[inline]
    pub(super) fn loaded(&self, location: u32) -> Option<Range<u32>> {
        let (start, end) = *self.pages.get(&(location / PAGE))?.spans.get((location % PAGE) as usize)?;
        (start < end).then_some(start..end)
    }

    fn is_asked(&self, location: u32) -> bool {
        !self.pages.get(&(location / PAGE)).is_some_and(|page| page.unasked.contains(&location))
    }

    /// One of [`Self::at`].
    pub(super) fn placed(&self, at: u32) -> PlacedFrame {
        self.placed[at as usize]
    }

    /// What to show of a frame.
    pub(super) fn frame(&self, frame: CachedFrame) -> &Frame {
        &self.frames[frame.0 as usize]
    }

    /// Frames so far.
    pub(super) fn frames(&self) -> usize {
        self.frames.len()
    }

    fn load(&mut self, conn: &Connection, first: u32) -> Result<Page, StoreError> {
        // Innermost first in the table, outer first in a stack.
        let mut select = conn.prepare_cached(
            "SELECT location.id, binary, coalesce(begin, offset), state, name, file, line, inlined, raw FROM location
             LEFT JOIN location_frame ON location_frame.location = location.id
             LEFT JOIN function ON function.id = location_frame.function
             WHERE location.id BETWEEN ?1 AND ?2 ORDER BY location.id, position DESC",
        )?;
        let mut rows = select.query((first, first.saturating_add(PAGE - 1)))?;
        let (mut page, before) = (Page::default(), self.placed.len());
        while let Some(row) = rows.next()? {
            let (location, binary, state): (u32, i64, u8) = (row.get(0)?, row.get(1)?, row.get(3)?);
            let (kind, path) = self.binary(conn, binary)?;
            let placed = match row.get(6)? {
                Some(line) => {
                    let name: Option<u32> = row.get(4)?;
                    let name = name.ok_or(StoreError::BadRow("a location is in a function that is not there"))?;
                    let kind = match kind {
                        _ if row.get(7)? => FrameKind::Inlined,
                        BinaryKind::Kernel => FrameKind::Kernel,
                        BinaryKind::Anonymous => FrameKind::Jit,
                        _ => FrameKind::User,
                    };
                    let raw: u32 = row.get(8)?;
                    let name = if self.demangle == Demangle::None && raw != 0 { raw } else { name };
                    let function = Function { name, file: row.get(5)?, path, kind };
                    PlacedFrame { frame: self.function(conn, function)?, line }
                }
                None => {
                    let offset = row.get::<_, i64>(2)?.cast_unsigned();
                    let text = self.binaries.get(&binary).and_then(|binary| binary.text.as_ref());
                    let place = match kind {
                        BinaryKind::Kernel => Place::Kernel(Told::of(offset, text)),
                        _ => Place::Offset(offset),
                    };
                    PlacedFrame { frame: self.unknown(conn, path, place, state)?, line: 0 }
                }
            };
            let start = self.placed.len() as u32;
            self.placed.push(placed);
            if state == 0 {
                page.unasked.push(location);
            }
            page.spans.resize(page.spans.len().max((location - first) as usize + 1), (start, start));
            page.spans.last_mut().expect("resized to at least one").1 = start + 1;
        }
        self.bytes += size_of::<(u32, u32)>() * page.spans.len();
        self.bytes += size_of::<PlacedFrame>() * (self.placed.len() - before);
        Ok(page)
    }

    fn function(&mut self, conn: &Connection, function: Function) -> Result<CachedFrame, StoreError> {
        if let Some(known) = self.functions.get(&function) {
            return Ok(*known);
        }
        let mut name = text(conn, function.name)?;
        if self.demangle == Demangle::Simple {
            if let Cow::Owned(short) = simple(&name) {
                name = short.into();
            }
            let shown = (Arc::clone(&name), function.file, function.path, function.kind);
            if let Some(known) = self.shortened.get(&shown).copied() {
                self.functions.insert(function, known);
                return Ok(known);
            }
            self.bytes += size_of::<((Arc<str>, u32, u32, FrameKind), CachedFrame)>() * 2;
            self.shortened.insert(shown, CachedFrame(self.frames.len() as u32));
        }
        let (path, file) = (self.text(conn, function.path)?, self.text(conn, function.file)?);
        let file = (!file.is_empty()).then_some(file);
        self.bytes += size_of::<(Function, CachedFrame)>() * 2;
        let frame = Frame { name, kind: function.kind, binary: Some(path), file, line: None, reason: None };
        let id = self.push(frame);
        self.functions.insert(function, id);
        Ok(id)
    }

    fn unknown(&mut self, conn: &Connection, path: u32, place: Place, state: u8) -> Result<CachedFrame, StoreError> {
        if let Some(known) = self.places.get(&(path, place, state)) {
            return Ok(*known);
        }
        let binary = self.text(conn, path)?;
        let base = binary.rsplit('/').next().unwrap_or(&binary).trim_matches(['[', ']']);
        let reason = Reason::Unnamed(UnknownReason::from_u8(state));
        self.bytes += size_of::<((u32, Place, u8), CachedFrame)>() * 2;
        let name = match place {
            Place::Offset(offset) | Place::Kernel(Told::Text(offset)) => format!("[{base}+{offset:#x}]"),
            Place::Kernel(Told::Page(offset)) => format!("[{base}+0x..{offset:03x}]"),
        };
        let id = self.push(Frame {
            name: name.into(),
            kind: FrameKind::Unknown,
            binary: Some(Arc::clone(&binary)),
            file: None,
            line: None,
            reason: Some(reason),
        });
        self.places.insert((path, place, state), id);
        Ok(id)
    }

    fn binary(&mut self, conn: &Connection, id: i64) -> Result<(BinaryKind, u32), StoreError> {
        if let Some(BinaryRow { kind, path, .. }) = self.binaries.get(&id) {
            return Ok((*kind, *path));
        }
        let (kind, path, identity): (u8, u32, String) = conn
            .prepare_cached("SELECT kind, path, identity FROM binary WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let kind = BinaryKind::from_u8(kind).ok_or(StoreError::BadRow("a binary of an unknown kind"))?;
        self.bytes += size_of::<(i64, BinaryRow)>() * 2;
        let text = match identity.strip_prefix("kernel:") {
            Some(boot_id) => kernel_text::kept(conn, boot_id)?,
            None => None,
        };
        self.binaries.insert(id, BinaryRow { kind, path, text });
        Ok((kind, path))
    }

    /// A text that more frames will want.
    fn text(&mut self, conn: &Connection, id: u32) -> Result<Arc<str>, StoreError> {
        if let Some(known) = self.texts.get(&id) {
            return Ok(Arc::clone(known));
        }
        let text = text(conn, id)?;
        self.bytes += size_of::<(u32, Arc<str>)>() * 2 + HEAP + text.len();
        self.texts.insert(id, Arc::clone(&text));
        Ok(text)
    }

    fn push(&mut self, frame: Frame) -> CachedFrame {
        self.bytes += size_of::<Frame>() + HEAP + frame.name.len();
        self.frames.push(frame);
        CachedFrame(self.frames.len() as u32 - 1)
    }
}

/// What a shared text takes besides its letters: two counts and the allocator's own.
const HEAP: usize = 32;

fn text(conn: &Connection, id: u32) -> Result<Arc<str>, StoreError> {
    let found = conn
        .prepare_cached("SELECT text FROM string WHERE id = ?1")?
        .query_row([id], |row| Ok(row.get_ref(0)?.as_str()?.into()))
        .optional()?;
    found.ok_or(StoreError::BadRow("a name is a string that is not there"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::{Symbol, Symbolized};
    use crate::store::{LocationId, Store};

    /// A store with locations `1..=n` of one binary; every third is named (by two functions), every third has a reason.
    fn locations(n: i64) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&folder.path().join("x.db")).unwrap();
        store
            .conn
            .execute_batch(
                "INSERT INTO string VALUES (1, 1, '/bin/app'); INSERT INTO binary (id, identity, kind, path) VALUES (1, 'x', 1, 1)",
            )
            .unwrap();
        let rows = "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?1)
                    INSERT INTO location (id, binary, offset) SELECT id, 1, id * 16 FROM n";
        store.conn.execute(rows, [n]).unwrap();
        let symbol =
            |name: String, inlined| Symbol { name: name.into(), raw: None, source: None, declared: None, inlined };
        let name = |id: i64| match id % 3 {
            1 => {
                Symbolized::Named(vec![symbol(format!("inner{}", id % 10), true), symbol(format!("outer{id}"), false)])
            }
            _ => Symbolized::Unknown(UnknownReason::NoSymbols),
        };
        let answered = (1..=n).filter(|id| id % 3 != 0);
        store.write_names(&answered.map(|id| (LocationId(id), name(id))).collect::<Vec<_>>()).unwrap();
        (folder, store)
    }

    fn names(cache: &mut NameCache, conn: &Connection, location: u32) -> Vec<String> {
        let span = cache.at(conn, location).unwrap();
        span.0.map(|at| cache.frame(cache.placed(at).frame).name.to_string()).collect()
    }

    /// Every location has its own frames, outer first, whatever page it lies on and whichever was asked for before.
    #[test]
    fn locations_of_many_pages_keep_their_frames() {
        let (_folder, store) = locations(600);
        let mut cache = NameCache::default();
        cache.begin(&store.conn, Demangle::Full).unwrap();
        for id in (1..=600).rev().chain([1, 255, 256, 257, 511, 512]) {
            let want = match id % 3 {
                1 => vec![format!("outer{id}"), format!("inner{}", id % 10)],
                _ => vec![format!("[app+{:#x}]", id * 16)],
            };
            assert_eq!(names(&mut cache, &store.conn, id), want);
        }
        assert!(matches!(cache.at(&store.conn, 601), Err(StoreError::BadRow(_))));
        assert!(matches!(cache.at(&store.conn, u32::MAX), Err(StoreError::BadRow(_))));
    }

    /// A function inlined at many places is one frame, and texts that frames share are there once.
    #[test]
    fn equal_frames_are_one() {
        let (_folder, store) = locations(60);
        let mut cache = NameCache::default();
        let inner = |cache: &mut NameCache, location| {
            let last = cache.at(&store.conn, location).unwrap().0.last().unwrap();
            cache.placed(last).frame
        };
        let (one, same, other) = (inner(&mut cache, 1), inner(&mut cache, 31), inner(&mut cache, 4));
        assert_eq!(one, same);
        assert_ne!(one, other);
        let path = |frame| Arc::clone(cache.frame(frame).binary.as_ref().unwrap());
        assert!(Arc::ptr_eq(&path(one), &path(other)));
    }

    /// Places in the kernel are told from the beginning of its text, where that is known; else, and outside it, within their page.
    #[test]
    fn kernel_places_do_not_say_where_the_kernel_is() {
        let (_folder, store) = locations(1);
        let rows = "INSERT INTO string VALUES (50, 50, '[kernel]');
            INSERT INTO binary (id, identity, kind, path) VALUES (2, 'kernel:a', 0, 50), (3, 'kernel:b', 0, 50);
            INSERT INTO location (id, binary, offset) VALUES (2, 2, -2128464235), (3, 2, -1072693248), (4, 3, -2128464235);
            INSERT INTO meta VALUES ('kernel-text-begin:a', -2128609280), ('kernel-text-end:a', -2100000000)";
        store.conn.execute_batch(rows).unwrap();
        let mut cache = NameCache::default();
        cache.begin(&store.conn, Demangle::Full).unwrap();
        let mut name = |location| names(&mut cache, &store.conn, location);
        assert_eq!([name(2), name(3), name(4)], [["[kernel+0x23695]"], ["[kernel+0x..000]"], ["[kernel+0x..695]"]]);
    }

    /// So are the places of a function that has no name: it is called by where it begins.
    #[test]
    fn places_of_a_nameless_function_are_one_frame() {
        let (_folder, mut store) = locations(5);
        let nameless = |id| (LocationId(id), Symbolized::Nameless(UnknownReason::NoSymbols, 0x18));
        store.write_names(&[nameless(2), nameless(3)]).unwrap();
        let mut cache = NameCache::default();
        cache.begin(&store.conn, Demangle::Full).unwrap();
        let mut frame = |location| {
            let at = cache.at(&store.conn, location).unwrap().0.start;
            (cache.placed(at).frame, cache.frame(cache.placed(at).frame).name.to_string())
        };
        assert_eq!(frame(2), frame(3));
        assert_eq!((frame(2).1, frame(5).1), ("[app+0x18]".to_owned(), "[app+0x50]".to_owned()));
    }

    /// A page grows with the table; a row on it that had no answer may have one at the next question.
    #[test]
    fn what_can_change_is_read_again() {
        let (_folder, mut store) = locations(3);
        let mut cache = NameCache::default();
        assert!(cache.at(&store.conn, 4).is_err());
        store.conn.execute("INSERT INTO location (id, binary, offset) VALUES (4, 1, 64)", []).unwrap();
        assert_eq!(names(&mut cache, &store.conn, 4), ["[app+0x40]"]);
        let name = Symbolized::Named(vec![Symbol {
            name: "late".into(),
            raw: None,
            source: None,
            declared: None,
            inlined: false,
        }]);
        store.write_names(&[(LocationId(4), name)]).unwrap();
        cache.begin(&store.conn, Demangle::Full).unwrap();
        assert_eq!(names(&mut cache, &store.conn, 4), ["late"]);
    }

    /// One name can be shown in three ways; what looks the same is one frame, whatever else the linker calls it.
    #[test]
    fn names_are_shown_as_asked() {
        let (_folder, mut store) = locations(6);
        let function = |raw: &str, name: &str| {
            Symbolized::Named(vec![Symbol { name: name.into(), raw: Some(raw.into()), ..Symbol::default() }])
        };
        let named = [("_Z1fIiEvi", "void f<int>(int)"), ("_Z1fIcEvc", "void f<char>(char)"), ("_1", "g"), ("_2", "g")];
        let names_of = (2..).map(LocationId).zip(named.map(|(raw, name)| function(raw, name)));
        store.write_names(&names_of.collect::<Vec<_>>()).unwrap();
        let shown = |demangle| {
            let mut cache = NameCache::default();
            cache.begin(&store.conn, demangle).unwrap();
            let frame = |at| {
                let placed = cache.at(&store.conn, at).unwrap().0.map(|at| cache.placed(at).frame).next().unwrap();
                (cache.frame(placed).name.to_string(), placed)
            };
            let frames: Vec<_> = (2..6).map(frame).collect();
            let same = |a: usize, b: usize| frames[a].1 == frames[b].1;
            let same = (same(0, 1), same(2, 3));
            (frames.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), same)
        };
        let texts = |texts: [&str; 4]| texts.map(str::to_owned).to_vec();
        assert_eq!(shown(Demangle::Full), (texts(["void f<int>(int)", "void f<char>(char)", "g", "g"]), (false, true)));
        assert_eq!(shown(Demangle::Simple), (texts(["f", "f", "g", "g"]), (true, true)));
        assert_eq!(shown(Demangle::None), (texts(["_Z1fIiEvi", "_Z1fIcEvc", "_1", "_2"]), (false, false)));
    }
}
