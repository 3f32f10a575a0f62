//! Things that are stored once: strings, binaries, locations, stacks, processes, threads, functions.
//!
//! Look up in a bounded cache, then in the table, then insert. A cache only saves look-ups: it is emptied when it is full,
//! and after a failed transaction, when its row numbers may never have existed.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, RandomState};
use std::sync::Arc;

use rusqlite::{CachedStatement, OptionalExtension, Params, Transaction};

use super::codec::{StackId, ThreadId};
use super::row_map::RowHasher;
use super::{LocationId, StoreError};
use crate::profile::{Binary, BinaryKey, ProcessFacts, ProcessKey, StackCount, UnknownReason};

/// Entries a cache holds before it starts over, just under the step where a hash table doubles. Stacks take 7 MiB and
/// locations as much; a busy two-core host's day has 400,000 stack nodes and 60,000 locations (simulated).
const CACHED_STACKS: usize = (1 << 19) / 8 * 7;
/// The same for locations.
const CACHED_LOCATIONS: usize = (1 << 18) / 8 * 7;
/// Entries of the caches whose keys are strings.
const CACHED_STRINGS: usize = 1 << 14;

/// Longest string kept, in bytes. Names come from other people's files; C++ ones reach a few KiB.
const MAX_STRING: usize = 16 << 10;

/// A map that empties itself rather than grow past its bound.
#[derive(Debug)]
struct Cache<K, V, S = RandomState> {
    map: HashMap<K, V, S>,
    cap: usize,
}

/// Keyed by row numbers.
type RowCache<K, V> = Cache<K, V, BuildHasherDefault<RowHasher>>;

impl<K: Eq + Hash, V: Clone, S: BuildHasher + Default> Cache<K, V, S> {
    fn new(cap: usize) -> Self {
        Self { map: HashMap::default(), cap }
    }

    fn put(&mut self, key: K, value: V) -> V {
        if self.map.len() >= self.cap {
            self.map.clear();
        }
        self.map.insert(key, value.clone());
        value
    }
}

/// The writer's caches. Row numbers as `i64`, except where millions are held.
#[derive(Debug)]
pub(super) struct Interned {
    strings: Cache<Box<str>, i64>,
    binaries: Cache<BinaryKey, i64>,
    locations: RowCache<(i64, u64), u32>,
    /// Which of the cached locations were not asked for a name yet.
    unasked: HashSet<u32>,
    stacks: RowCache<(u32, u32), u32>,
    processes: Cache<(i64, ProcessKey), (Arc<ProcessFacts>, i64)>,
    threads: Cache<(i64, u32, i64), u32>,
    functions: Cache<(i64, i64), i64>,
}

impl Interned {
    pub(super) fn new() -> Self {
        Self::with_capacity(usize::MAX)
    }

    /// Caches of at most `cap` entries each, and no more than usual.
    pub(super) fn with_capacity(cap: usize) -> Self {
        let few = cap.min(CACHED_STRINGS);
        Self {
            strings: Cache::new(few),
            binaries: Cache::new(few),
            locations: Cache::new(cap.min(CACHED_LOCATIONS)),
            unasked: HashSet::new(),
            stacks: Cache::new(cap.min(CACHED_STACKS)),
            processes: Cache::new(few),
            threads: Cache::new(few),
            functions: Cache::new(few),
        }
    }

    /// The row of `text`, cut at [`MAX_STRING`] bytes.
    pub(super) fn string(&mut self, tx: &Transaction<'_>, text: &str) -> Result<i64, StoreError> {
        let text = &text[..text.floor_char_boundary(MAX_STRING)];
        if let Some(&id) = self.strings.map.get(text) {
            return Ok(id);
        }
        let id = row(
            tx,
            ["SELECT id FROM string WHERE text = ?1", "INSERT INTO string (text) VALUES (?1) RETURNING id"],
            [text],
        )?;
        Ok(self.strings.put(text.into(), id))
    }

    pub(super) fn binary(&mut self, tx: &Transaction<'_>, binary: &Binary) -> Result<i64, StoreError> {
        if let Some(&id) = self.binaries.map.get(&binary.key) {
            return Ok(id);
        }
        let identity = identity(&binary.key);
        let known = tx
            .prepare_cached("SELECT id FROM binary WHERE identity = ?1")?
            .query_row([&identity], |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => {
                let path = self.string(tx, &binary.path)?;
                let build_id = binary.build_id.as_ref().map(|id| id.as_bytes());
                tx.prepare_cached(
                    "INSERT INTO binary (identity, kind, path, build_id) VALUES (?1, ?2, ?3, ?4) RETURNING id",
                )?
                .query_row((&identity, binary.kind as u8, path, build_id), |row| row.get(0))?
            }
        };
        Ok(self.binaries.put(binary.key.clone(), id))
    }

    /// The row of a place in code, and whether it still waits for a name, or for another try in this run.
    pub(super) fn location(
        &mut self,
        tx: &Transaction<'_>,
        binary: i64,
        offset: u64,
    ) -> Result<(u32, bool), StoreError> {
        if let Some(&id) = self.locations.map.get(&(binary, offset)) {
            return Ok((id, self.unasked.contains(&id)));
        }
        let key = (binary, offset.cast_signed());
        let known: Option<(u32, u8)> = tx
            .prepare_cached("SELECT id, state FROM location WHERE binary = ?1 AND offset = ?2")?
            .query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (id, state) = match known {
            Some(found) => found,
            None => (
                insert(tx.prepare_cached("INSERT INTO location (binary, offset) VALUES (?1, ?2) RETURNING id")?, key)?,
                0,
            ),
        };
        if self.locations.map.len() >= self.locations.cap {
            self.unasked.clear();
        }
        let ask = state == 0 || UnknownReason::from_u8(state).is_some_and(UnknownReason::may_pass);
        if ask {
            self.unasked.insert(id);
        }
        self.locations.put((binary, offset), id);
        Ok((id, ask))
    }

    /// Remembers that a location has its answer.
    pub(super) fn answered(&mut self, location: LocationId) {
        if let Ok(id) = u32::try_from(location.0) {
            self.unasked.remove(&id);
        }
    }

    /// The node below `parent` at `location`.
    pub(super) fn stack(
        &mut self,
        tx: &Transaction<'_>,
        parent: StackId,
        location: u32,
    ) -> Result<StackId, StoreError> {
        let key = (parent.0, location);
        if let Some(&id) = self.stacks.map.get(&key) {
            return Ok(StackId(id));
        }
        let id = row(
            tx,
            [
                "SELECT id FROM stack WHERE parent = ?1 AND location = ?2",
                "INSERT INTO stack (parent, location) VALUES (?1, ?2) RETURNING id",
            ],
            key,
        )?;
        Ok(StackId(self.stacks.put(key, id)))
    }

    pub(super) fn process(
        &mut self,
        tx: &Transaction<'_>,
        boot: i64,
        facts: &Arc<ProcessFacts>,
    ) -> Result<i64, StoreError> {
        // Facts are compared by value: one (pid, start) has a row for each state it was seen in.
        if let Some((cached, id)) = self.processes.map.get(&(boot, facts.key))
            && (Arc::ptr_eq(cached, facts) || cached == facts)
        {
            return Ok(*id);
        }
        let comm = self.string(tx, &facts.comm)?;
        let exe = self.string(tx, facts.exe.as_deref().unwrap_or_default())?;
        let cgroup = self.string(tx, &facts.cgroup)?;
        let container = self.string(tx, facts.container.as_ref().map_or("", |id| &id.0))?;
        let unit = self.string(tx, facts.unit.as_deref().unwrap_or_default())?;
        let start = int(facts.key.start.0);
        let known = tx
            .prepare_cached(
                "SELECT id FROM process WHERE boot = ?1 AND pid = ?2 AND start_ticks = ?3 AND comm = ?4 AND exe = ?5 AND cgroup = ?6",
            )?
            .query_row((boot, facts.key.pid, start, comm, exe, cgroup), |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => insert(
                tx.prepare_cached(
                    "INSERT INTO process (boot, pid, start_ticks, comm, exe, cgroup, container, unit)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id",
                )?,
                (boot, facts.key.pid, start, comm, exe, cgroup, container, unit),
            )?,
        };
        Ok(self.processes.put((boot, facts.key), (Arc::clone(facts), id)).1)
    }

    pub(super) fn thread(
        &mut self,
        tx: &Transaction<'_>,
        process: i64,
        stack: &StackCount,
    ) -> Result<ThreadId, StoreError> {
        let name = self.string(tx, &stack.thread)?;
        let key = (process, stack.tid, name);
        if let Some(&id) = self.threads.map.get(&key) {
            return Ok(ThreadId(id));
        }
        let id = row(
            tx,
            [
                "SELECT id FROM thread WHERE process = ?1 AND tid = ?2 AND name = ?3",
                "INSERT INTO thread (process, tid, name) VALUES (?1, ?2, ?3) RETURNING id",
            ],
            key,
        )?;
        Ok(ThreadId(self.threads.put(key, id)))
    }

    /// The row of a function; an unknown file is the empty string.
    pub(super) fn function(&mut self, tx: &Transaction<'_>, name: &str, file: &str) -> Result<i64, StoreError> {
        let key = (self.string(tx, name)?, self.string(tx, file)?);
        if let Some(&id) = self.functions.map.get(&key) {
            return Ok(id);
        }
        let id = row(
            tx,
            [
                "SELECT id FROM function WHERE name = ?1 AND file = ?2",
                "INSERT INTO function (name, file) VALUES (?1, ?2) RETURNING id",
            ],
            key,
        )?;
        Ok(self.functions.put(key, id))
    }
}

/// SQLite has no unsigned 64-bit integers; counts and times never come near the bound.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Selects the one row, or inserts it.
fn row<T: rusqlite::types::FromSql>(
    tx: &Transaction<'_>,
    [select, add]: [&str; 2],
    key: impl Params + Clone,
) -> Result<T, StoreError> {
    match tx.prepare_cached(select)?.query_row(key.clone(), |row| row.get(0)).optional()? {
        Some(id) => Ok(id),
        None => insert(tx.prepare_cached(add)?, key),
    }
}

fn insert<T: rusqlite::types::FromSql>(mut statement: CachedStatement<'_>, key: impl Params) -> Result<T, StoreError> {
    Ok(statement.query_row(key, |row| row.get(0))?)
}

/// A binary's identity as text: equal exactly when the keys are.
fn identity(key: &BinaryKey) -> String {
    match key {
        BinaryKey::Kernel { boot_id } => format!("kernel:{boot_id}"),
        BinaryKey::BuildId(kind, id) => format!("build-id:{}:{id}", *kind as u8),
        BinaryKey::Inode { path, dev, inode, mtime } => format!("inode:{dev}:{inode}:{mtime}:{path}"),
        BinaryKey::Anonymous => "anonymous".into(),
        // A process is known by when it began; the rest says where its files are.
        BinaryKey::Jit { boot_id, pid, start, .. } => format!("jit:{boot_id}:{pid}:{}", start.0),
    }
}
