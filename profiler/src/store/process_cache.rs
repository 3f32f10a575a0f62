//! What a reader knows of processes: the rows of their texts, a page of neighbours at a time, and the texts.
//!
//! Rows never change and their numbers never come back, so what was read stays true. A busy day has tens of thousands of short
//! processes: reading them one by one took longer than the flame graph.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::{RowMap, StoreError};

/// Rows of a page.
const PAGE: u32 = 256;
/// Pages held before starting over: 7 MiB, a quarter of a million processes.
const MAX_PAGES: usize = 1024;
/// Bytes of texts held before starting over.
const MAX_TEXT: usize = 4 << 20;

/// What a process's labels are, as rows of `string`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessRow {
    /// Host pid.
    pub(crate) pid: u32,
    /// Name of its main thread.
    pub(crate) comm: u32,
    /// Path of its executable; the empty text where there is none.
    pub(crate) exe: u32,
    /// Control group.
    pub(crate) cgroup: u32,
    /// Container id.
    pub(crate) container: u32,
    /// systemd unit.
    pub(crate) unit: u32,
}

/// Bounded cache of the tables `process`, `cgroup` and `string`.
#[derive(Debug, Default)]
pub(super) struct ProcessCache {
    pages: RowMap<u32, Vec<Option<ProcessRow>>>,
    texts: RowMap<u32, Arc<str>>,
    text_bytes: usize,
}

impl ProcessCache {
    /// Bytes held, about.
    pub(super) fn bytes(&self) -> usize {
        self.pages.len() * PAGE as usize * size_of::<Option<ProcessRow>>() + self.text_bytes
    }

    /// The process `id`, from the cache or the table.
    pub(super) fn row(&mut self, conn: &Connection, id: u32) -> Result<ProcessRow, StoreError> {
        let (page, slot) = (id / PAGE, (id % PAGE) as usize);
        let cached =
            |pages: &RowMap<u32, Vec<Option<ProcessRow>>>| pages.get(&page).and_then(|rows| *rows.get(slot)?);
        if let Some(row) = cached(&self.pages) {
            return Ok(row);
        }
        if self.pages.len() >= MAX_PAGES {
            self.pages.clear();
        }
        self.pages.insert(page, load(conn, page * PAGE)?);
        cached(&self.pages).ok_or(StoreError::BadRow("a profile names a process that is not there"))
    }

    /// A text.
    pub(super) fn text(&mut self, conn: &Connection, id: u32) -> Result<Arc<str>, StoreError> {
        if let Some(text) = self.texts.get(&id) {
            return Ok(Arc::clone(text));
        }
        let text: Option<Arc<str>> = conn
            .prepare_cached("SELECT text FROM string WHERE id = ?1")?
            .query_row([id], |row| Ok(row.get_ref(0)?.as_str()?.into()))
            .optional()?;
        let text = text.ok_or(StoreError::BadRow("a label is a string that is not there"))?;
        if self.text_bytes > MAX_TEXT {
            (self.texts, self.text_bytes) = (RowMap::default(), 0);
        }
        self.text_bytes += text.len() + 64;
        self.texts.insert(id, Arc::clone(&text));
        Ok(text)
    }
}

fn load(conn: &Connection, first: u32) -> Result<Vec<Option<ProcessRow>>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT process.id, pid, comm, exe, path, container, unit FROM process JOIN cgroup ON cgroup.id = process.cgroup
         WHERE process.id BETWEEN ?1 AND ?2",
    )?;
    let mut rows = select.query((first, first.saturating_add(PAGE - 1)))?;
    let mut page = vec![None; PAGE as usize];
    while let Some(row) = rows.next()? {
        let id: u32 = row.get(0)?;
        page[(id - first) as usize] = Some(ProcessRow {
            pid: row.get(1)?,
            comm: row.get(2)?,
            exe: row.get(3)?,
            cgroup: row.get(4)?,
            container: row.get(5)?,
            unit: row.get(6)?,
        });
    }
    Ok(page)
}
