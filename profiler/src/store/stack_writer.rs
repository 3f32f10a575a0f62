//! The writer's side of the stack tree: which node a caller and a location are, and new nodes at the tree's end.
//!
//! What was seen lately is remembered, in two generations: when the younger is full it becomes the older, and what is not asked
//! for again is forgotten. A stack that comes back after that gets new nodes: two numbers for one stack, which readers add up as
//! they go by functions anyhow. Invariant: a number is given out once.

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::StoreError;
use super::codec::StackId;
use super::row_map::RowMap;
use super::stack_page::{self, NODES, StackNode};

/// Nodes remembered in each generation, just under the step where a hash table doubles: 7 MiB each. A busy two-core host's day
/// has 400,000 nodes (simulated).
const REMEMBERED: usize = (1 << 19) / 8 * 7;

/// The end of the tree, and what was seen lately.
#[derive(Debug)]
pub(super) struct StackWriter {
    young: RowMap<(u32, u32), u32>,
    old: RowMap<(u32, u32), u32>,
    most: usize,
    /// The page that grows, once it is known.
    last: Option<Page>,
}

#[derive(Debug)]
struct Page {
    number: u32,
    nodes: Vec<StackNode>,
    changed: bool,
}

impl StackWriter {
    /// Remembers at most `most` nodes a generation, and no more than usual.
    pub(super) fn new(most: usize) -> Self {
        Self { young: RowMap::default(), old: RowMap::default(), most: most.min(REMEMBERED), last: None }
    }

    /// The node below `parent` at `location`.
    pub(super) fn node(&mut self, tx: &Transaction<'_>, parent: StackId, location: u32) -> Result<StackId, StoreError> {
        let key = (parent.0, location);
        if let Some(id) = self.young.get(&key) {
            return Ok(StackId(*id));
        }
        // The first look at the file fills the memory.
        if self.last.is_none() {
            self.load(tx)?;
            return self.node(tx, parent, location);
        }
        let id = match self.old.get(&key) {
            Some(id) => *id,
            None => self.append(tx, StackNode { parent, location })?,
        };
        self.remember(key, id);
        Ok(StackId(id))
    }

    /// Writes what has been added. To be called before the transaction ends.
    pub(super) fn save(&mut self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let Some(page) = self.last.as_mut().filter(|page| page.changed) else { return Ok(()) };
        tx.prepare_cached("INSERT INTO stack_page (page, nodes) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET nodes = ?2")?
            .execute((page.number, stack_page::encode(page.number, &page.nodes)))?;
        page.changed = false;
        Ok(())
    }

    fn append(&mut self, tx: &Transaction<'_>, node: StackNode) -> Result<u32, StoreError> {
        if self.last.as_ref().is_some_and(|page| page.nodes.len() == NODES as usize) {
            self.save(tx)?;
            let next =
                self.last.as_ref().and_then(|page| page.number.checked_add(1)).filter(|next| *next < u32::MAX / NODES);
            let number = next.ok_or(StoreError::BadRow("the stack tree has no numbers left"))?;
            self.last = Some(Page { number, nodes: Vec::new(), changed: true });
        }
        let page = self.last.get_or_insert(Page { number: 0, nodes: Vec::new(), changed: true });
        page.nodes.push(node);
        page.changed = true;
        Ok(page.number * NODES + page.nodes.len() as u32 - 1)
    }

    fn remember(&mut self, key: (u32, u32), id: u32) {
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, id);
    }

    /// The newest pages, as many as one generation remembers.
    fn load(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let last: Option<u32> =
            conn.query_row("SELECT max(page) FROM stack_page", [], |row| row.get(0)).optional()?.flatten();
        let Some(last) = last else {
            // Number 0 is the empty stack.
            self.last = Some(Page { number: 0, nodes: vec![StackNode::default()], changed: true });
            return Ok(());
        };
        let pages = u32::try_from(self.most / NODES as usize).unwrap_or(u32::MAX);
        let mut select = conn.prepare("SELECT page, nodes FROM stack_page WHERE page >= ?1 ORDER BY page")?;
        let mut rows = select.query([last.saturating_sub(pages)])?;
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            let nodes = stack_page::decode(number, row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
            for (id, node) in (number * NODES..).zip(&nodes).filter(|(_, node)| node.location != 0) {
                self.remember((node.parent.0, node.location), id);
            }
            if number == last {
                self.last = Some(Page { number, nodes, changed: false });
            }
        }
        Ok(())
    }
}
