//! The stack tree as a reader keeps it: pages of neighbouring rows, as flat vectors, loaded when first asked for.
//!
//! Rows never change and ids never come back, so a loaded row stays true; only the newest page can grow. Whoever asks for a
//! node asks for its ancestors next, and these were mostly written together: a page is few reads and many hits.

use rusqlite::Connection;

use super::{RowMap, StackId, StoreError};

/// A node of the stack tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StackNode {
    /// Its caller; always a smaller id. 0 at the root.
    pub(crate) parent: StackId,
    /// Row of the location; 0 marks a hole in the cache.
    pub(crate) location: u32,
}

/// Rows of a page: 32 KiB.
const PAGE: u32 = 4096;
/// Pages held before starting over: 16 MiB, two million nodes.
const MAX_PAGES: usize = 512;

/// Bounded cache of the table `stack`.
#[derive(Debug, Default)]
pub(super) struct StackCache {
    pages: RowMap<u32, Vec<StackNode>>,
}

impl StackCache {
    /// The node `id`, from the cache or the table.
    pub(super) fn node(&mut self, conn: &Connection, id: StackId) -> Result<StackNode, StoreError> {
        let (page, slot) = (id.0 / PAGE, (id.0 % PAGE) as usize);
        let cached = |pages: &RowMap<u32, Vec<StackNode>>| {
            pages.get(&page).and_then(|nodes| nodes.get(slot)).copied().filter(|node| node.location != 0)
        };
        if let Some(node) = cached(&self.pages) {
            return Ok(node);
        }
        if self.pages.len() >= MAX_PAGES {
            self.pages.clear();
        }
        self.pages.insert(page, load(conn, page)?);
        cached(&self.pages).ok_or(StoreError::BadRow("a profile names a stack that is not there"))
    }
}

fn load(conn: &Connection, page: u32) -> Result<Vec<StackNode>, StoreError> {
    let first = page * PAGE;
    let mut select =
        conn.prepare_cached("SELECT id, parent, location FROM stack WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
    let mut rows = select.query((first, first.saturating_add(PAGE - 1)))?;
    let mut nodes = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, parent, location): (u32, u32, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if parent >= id {
            return Err(StoreError::BadRow("a stack node comes before its parent"));
        }
        nodes.resize((id - first) as usize, StackNode::default());
        nodes.push(StackNode { parent: StackId(parent), location });
    }
    Ok(nodes)
}
