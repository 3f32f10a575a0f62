//! The stack tree by function, as a reader keeps it: each stack's node in a tree of frames.
//!
//! Many places in code are one function, and a place may be several, inlined into one another. Which node of the tree of frames a
//! stack is does not depend on the question, so it is found once, and a question is sums over flat lists.
//!
//! When a place gets its name, the stacks through it are found anew. Invariant: callers come before their callees, in both trees.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault};

use hashbrown::HashTable;
use rusqlite::{Connection, OptionalExtension};

use super::name_cache::{CachedFrame, NameCache};
use super::row_map::RowHasher;
use super::stack_page::{self, NODES, StackNode};
use super::{StackId, StoreError};
use crate::profile::Demangle;

/// Index of a node of the tree of frames; means nothing after the question. 0 is the empty stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FunctionId(pub(crate) u32);

/// Not found yet.
const UNKNOWN: FunctionId = FunctionId(u32::MAX);

/// Pages of stacks held from one question to the next: 24 MiB, two million nodes.
const MAX_PAGES: usize = 1024;
/// Nodes of the tree of frames held from one question to the next: 32 MiB.
const MAX_FUNCTIONS: usize = 2 << 20;

/// Neighbouring stacks.
#[derive(Debug)]
struct Page {
    nodes: Vec<StackNode>,
    functions: Vec<FunctionId>,
}

/// Both trees, as far as they were asked for.
#[derive(Debug)]
pub(super) struct FunctionTree {
    pages: Vec<Option<Page>>,
    loaded: usize,
    parents: Vec<FunctionId>,
    frames: Vec<CachedFrame>,
    children: HashTable<u32>,
    /// Locations on known stacks that had no answer yet.
    unasked: HashSet<u32>,
}

impl Default for FunctionTree {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            loaded: 0,
            parents: vec![FunctionId(0)],
            frames: vec![CachedFrame(u32::MAX)],
            children: HashTable::new(),
            unasked: HashSet::new(),
        }
    }
}

impl FunctionTree {
    /// Forgets what may have changed since the last question.
    pub(super) fn begin(
        &mut self,
        conn: &Connection,
        names: &mut NameCache,
        demangle: Demangle,
    ) -> Result<(), StoreError> {
        let renamed = names.begin(conn, demangle)?;
        if renamed || self.loaded > MAX_PAGES || self.parents.len() > MAX_FUNCTIONS {
            *self = Self::default();
        }
        if self.unasked.is_empty() {
            return Ok(());
        }
        let mut answered = self.unasked.clone();
        let mut select = conn.prepare_cached("SELECT id FROM location WHERE state = 0")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            answered.remove(&row.get(0)?);
        }
        if !answered.is_empty() {
            self.unasked.retain(|location| !answered.contains(location));
            self.forget(&answered);
        }
        Ok(())
    }

    /// Stacks through these locations, and all their callees, are to be found anew.
    fn forget(&mut self, locations: &HashSet<u32>) {
        for number in 0..self.pages.len() {
            let Some(page) = &self.pages[number] else { continue };
            let mut functions = page.functions.clone();
            for (slot, node) in page.nodes.iter().enumerate().filter(|(_, node)| node.location != 0) {
                let parent = match (node.parent.0 / NODES, (node.parent.0 % NODES) as usize) {
                    _ if node.parent.0 == 0 => FunctionId(0),
                    (other, slot) if other as usize == number => functions[slot],
                    _ => self.known(node.parent),
                };
                if parent == UNKNOWN || locations.contains(&node.location) {
                    functions[slot] = UNKNOWN;
                }
            }
            if let Some(page) = &mut self.pages[number] {
                page.functions = functions;
            }
        }
    }

    fn known(&self, id: StackId) -> FunctionId {
        if id.0 == 0 {
            return FunctionId(0);
        }
        let page = self.pages.get((id.0 / NODES) as usize).and_then(Option::as_ref);
        page.and_then(|page| page.functions.get((id.0 % NODES) as usize)).copied().unwrap_or(UNKNOWN)
    }

    /// Bytes held, about: a page has as many nodes as any, and a child's number stands in the table besides.
    pub(super) fn bytes(&self) -> usize {
        let page = NODES as usize * (size_of::<StackNode>() + size_of::<FunctionId>());
        self.loaded * page + self.len() * (size_of::<(FunctionId, CachedFrame)>() + 2 * size_of::<u32>())
    }

    /// Nodes of the tree of frames: all [`FunctionId`]s are below.
    pub(super) fn len(&self) -> usize {
        self.parents.len()
    }

    /// A function's caller; smaller than itself. The empty stack is its own.
    pub(super) fn parent(&self, id: FunctionId) -> FunctionId {
        self.parents[id.0 as usize]
    }

    /// A function's frame. The empty stack has none.
    pub(super) fn frame(&self, id: FunctionId) -> CachedFrame {
        self.frames[id.0 as usize]
    }

    /// A node of the stack tree, from the cache or the table.
    #[inline]
    pub(super) fn node(&mut self, conn: &Connection, id: StackId) -> Result<StackNode, StoreError> {
        if let Some(node) = self.loaded(id) {
            return Ok(node);
        }
        self.load(conn, id.0 / NODES)?;
        self.loaded(id).ok_or(StoreError::BadRow("a profile names a stack that is not there"))
    }

    /// A node of the stack tree, from the cache.
    #[inline]
    pub(super) fn loaded(&self, id: StackId) -> Option<StackNode> {
        let page = self.pages.get((id.0 / NODES) as usize)?.as_ref()?;
        page.nodes.get((id.0 % NODES) as usize).filter(|node| node.location != 0).copied()
    }

    fn load(&mut self, conn: &Connection, number: u32) -> Result<(), StoreError> {
        let mut select = conn.prepare_cached("SELECT nodes FROM stack_page WHERE page = ?1")?;
        let nodes = select
            .query_row([number], |row| Ok(stack_page::decode(number, row.get_ref(0)?.as_blob()?)))
            .optional()?
            .ok_or(StoreError::BadRow("a profile names a stack that is not there"))??;
        let at = number as usize;
        if at >= self.pages.len() {
            self.pages.resize_with(at + 1, || None);
        }
        // Only the newest page grows, and what it had stays.
        let mut functions = self.pages[at].take().map(|page| page.functions).unwrap_or_default();
        self.loaded += usize::from(functions.is_empty());
        functions.resize(nodes.len(), UNKNOWN);
        self.pages[at] = Some(Page { nodes, functions });
        Ok(())
    }

    /// Where a stack is in the tree of frames.
    #[inline]
    pub(super) fn find(
        &mut self,
        conn: &Connection,
        names: &mut NameCache,
        id: StackId,
    ) -> Result<FunctionId, StoreError> {
        match self.known(id) {
            UNKNOWN => self.find_new(conn, names, id),
            known => Ok(known),
        }
    }

    fn find_new(&mut self, conn: &Connection, names: &mut NameCache, id: StackId) -> Result<FunctionId, StoreError> {
        let (mut path, mut at) = (Vec::new(), id);
        let mut function = loop {
            match self.known(at) {
                UNKNOWN => {}
                known => break known,
            }
            // Callers have smaller numbers: this ends.
            let node = self.node(conn, at)?;
            path.push((at, node.location));
            at = node.parent;
        };
        for (id, location) in path.into_iter().rev() {
            let (frames, asked) = names.at(conn, location)?;
            if !asked {
                self.unasked.insert(location);
            }
            for frame in frames {
                function = self.child(function, names.placed(frame).frame);
            }
            if let Some(Some(page)) = self.pages.get_mut((id.0 / NODES) as usize) {
                page.functions[(id.0 % NODES) as usize] = function;
            }
        }
        Ok(function)
    }

    fn child(&mut self, parent: FunctionId, frame: CachedFrame) -> FunctionId {
        let hash = |parent: FunctionId, frame: CachedFrame| {
            BuildHasherDefault::<RowHasher>::default().hash_one((parent.0, frame.0))
        };
        let Self { parents, frames, children, .. } = self;
        let found = children.entry(
            hash(parent, frame),
            |at| (parents[*at as usize], frames[*at as usize]) == (parent, frame),
            |at| hash(parents[*at as usize], frames[*at as usize]),
        );
        let at = *found.or_insert(parents.len() as u32).get();
        if at as usize == parents.len() {
            parents.push(parent);
            frames.push(frame);
        }
        FunctionId(at)
    }
}
