//! Things that are stored once: strings, binaries, locations, stacks, control groups, processes, functions.
//!
//! Look up in a bounded cache, then in the table, then insert. A cache only saves look-ups: it is emptied when it is full,
//! and after a failed transaction, when its row numbers may never have existed.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::Arc;

use rusqlite::{OptionalExtension, Params, Transaction};
use siphasher::sip::SipHasher13;

use super::kernel_text;
use super::row_map::RowHasher;
use super::stack_writer::StackWriter;
use super::{LocationId, StoreError};
use crate::profile::{Binary, BinaryKey, BinaryKind, CodeSegment, ProcessFacts, ProcessKey, Symbol, UnknownReason};

/// Locations that a cache holds before it starts over, just under the step where a hash table doubles: 7 MiB. A busy two-core
/// host's day has 60,000 (simulated).
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
    /// `meta.seed`, once it is known.
    seed: Option<i64>,
    binaries: Cache<BinaryKey, i64>,
    locations: RowCache<(i64, u64), u32>,
    /// Which of the cached locations were not asked for a name yet.
    unasked: HashSet<u32>,
    /// The stack tree.
    pub(super) stacks: StackWriter,
    cgroups: Cache<i64, i64>,
    processes: Cache<(i64, ProcessKey), (Arc<ProcessFacts>, u32)>,
    functions: Cache<(i64, i64, i64), i64>,
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
            seed: None,
            binaries: Cache::new(few),
            locations: Cache::new(cap.min(CACHED_LOCATIONS)),
            unasked: HashSet::new(),
            stacks: StackWriter::new(cap),
            cgroups: Cache::new(few),
            processes: Cache::new(few),
            functions: Cache::new(few),
        }
    }

    /// The row of `text`, cut at [`MAX_STRING`] bytes.
    pub(super) fn string(&mut self, tx: &Transaction<'_>, text: &str) -> Result<i64, StoreError> {
        let text = &text[..text.floor_char_boundary(MAX_STRING)];
        if let Some(&id) = self.strings.map.get(text) {
            return Ok(id);
        }
        let seed = match self.seed {
            Some(seed) => seed,
            None => *self.seed.insert(tx.query_row("SELECT value FROM meta WHERE key = 'seed'", [], |row| row.get(0))?),
        };
        let id = row(
            tx,
            ["SELECT id FROM string WHERE hash = ?1 AND text = ?2", "INSERT INTO string (hash, text) VALUES (?1, ?2)"],
            (hash(seed, text), text),
        )?;
        Ok(self.strings.put(text.into(), id))
    }

    /// The row of `text` as blobs hold it.
    pub(super) fn name(&mut self, tx: &Transaction<'_>, text: &str) -> Result<u32, StoreError> {
        number(self.string(tx, text)?, "more than 2^32 strings")
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
                tx.prepare_cached("INSERT INTO binary (identity, kind, path, build_id) VALUES (?1, ?2, ?3, ?4)")?
                    .insert((&identity, binary.kind as u8, path, build_id))?
            }
        };
        if let Some(CodeSegment { offset, address, len }) = binary.code {
            tx.prepare_cached(
                "UPDATE binary SET code_offset = ?2, code_address = ?3, code_len = ?4 WHERE id = ?1 AND code_len IS NULL",
            )?
            .execute((id, offset.cast_signed(), address.cast_signed(), len.cast_signed()))?;
        }
        if let BinaryKey::Kernel { boot_id } = &binary.key {
            kernel_text::keep(tx, boot_id)?;
        }
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
            None => {
                let id = tx.prepare_cached("INSERT INTO location (binary, offset) VALUES (?1, ?2)")?.insert(key)?;
                (number(id, "more than 2^32 locations")?, 0)
            }
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

    pub(super) fn process(
        &mut self,
        tx: &Transaction<'_>,
        boot: i64,
        facts: &Arc<ProcessFacts>,
    ) -> Result<u32, StoreError> {
        // Facts are compared by value: one (pid, start) has a row for each state it was seen in.
        if let Some((cached, id)) = self.processes.map.get(&(boot, facts.key))
            && (Arc::ptr_eq(cached, facts) || cached == facts)
        {
            return Ok(*id);
        }
        let comm = self.string(tx, &facts.comm)?;
        let exe = self.string(tx, facts.exe.as_deref().unwrap_or_default())?;
        let cgroup = self.cgroup(tx, facts)?;
        let id = row(
            tx,
            [
                "SELECT id FROM process WHERE start_ticks = ?3 AND pid = ?2 AND boot = ?1 AND comm = ?4 AND exe = ?5 AND cgroup = ?6",
                "INSERT INTO process (boot, pid, start_ticks, comm, exe, cgroup) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            ],
            (boot, facts.key.pid, int(facts.key.start.0), comm, exe, cgroup),
        )?;
        let id = number(id, "more than 2^32 processes")?;
        Ok(self.processes.put((boot, facts.key), (Arc::clone(facts), id)).1)
    }

    /// Container and unit are read off the path: one row says all three.
    fn cgroup(&mut self, tx: &Transaction<'_>, facts: &ProcessFacts) -> Result<i64, StoreError> {
        let path = self.string(tx, &facts.cgroup)?;
        if let Some(&id) = self.cgroups.map.get(&path) {
            return Ok(id);
        }
        let known = tx
            .prepare_cached("SELECT id FROM cgroup WHERE path = ?1")?
            .query_row([path], |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => {
                let container = self.string(tx, facts.container.as_ref().map_or("", |id| &id.0))?;
                let unit = self.string(tx, facts.unit.as_deref().unwrap_or_default())?;
                tx.prepare_cached("INSERT INTO cgroup (path, container, unit) VALUES (?1, ?2, ?3)")?
                    .insert((path, container, unit))?
            }
        };
        Ok(self.cgroups.put(path, id))
    }

    /// The row of a function; an unknown file is the empty string, a linker's name that is no other one row 0.
    pub(super) fn function(&mut self, tx: &Transaction<'_>, symbol: &Symbol, file: &str) -> Result<i64, StoreError> {
        let raw = match &symbol.raw {
            Some(raw) => self.string(tx, raw)?,
            None => 0,
        };
        let key = (self.string(tx, &symbol.name)?, self.string(tx, file)?, raw);
        if let Some(&id) = self.functions.map.get(&key) {
            return Ok(id);
        }
        let id = row(
            tx,
            [
                "SELECT id FROM function WHERE name = ?1 AND file = ?2 AND raw = ?3",
                "INSERT INTO function (name, file, raw) VALUES (?1, ?2, ?3)",
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

/// Selects the one row, or inserts it. (`RETURNING` would make a table for its one row each time.)
fn row(tx: &Transaction<'_>, [select, add]: [&str; 2], key: impl Params + Clone) -> Result<i64, StoreError> {
    match tx.prepare_cached(select)?.query_row(key.clone(), |row| row.get(0)).optional()? {
        Some(id) => Ok(id),
        None => Ok(tx.prepare_cached(add)?.insert(key)?),
    }
}

/// A row's number as blobs hold it.
fn number(id: i64, too_many: &'static str) -> Result<u32, StoreError> {
    u32::try_from(id).map_err(|_| StoreError::BadRow(too_many))
}

/// 32 bits that nobody can aim at who does not know the seed.
fn hash(seed: i64, text: &str) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(seed.cast_unsigned(), 0);
    hasher.write(text.as_bytes());
    hasher.finish() as u32
}

/// A binary's identity as text: equal exactly when the keys are.
pub(super) fn identity(key: &BinaryKey) -> String {
    match key {
        BinaryKey::Kernel { boot_id } => format!("kernel:{boot_id}"),
        BinaryKey::BuildId(kind, id) => format!("build-id:{}:{id}", *kind as u8),
        BinaryKey::File(id, file) => format!("build-id:{}:{id}:{file}", BinaryKind::File as u8),
        BinaryKey::Claimed { build_id, path, .. } => {
            format!("build-id:{}:{build_id}:claimed:{path}", BinaryKind::File as u8)
        }
        BinaryKey::Inode { path, dev, inode, mtime, identity: None } => format!("inode:{dev}:{inode}:{mtime}:{path}"),
        BinaryKey::Inode { path, dev, inode, mtime, identity: Some(file) } => {
            format!("file:{dev}:{inode}:{mtime}:{file}:{path}")
        }
        BinaryKey::Anonymous => "anonymous".into(),
        // A process is known by when it began; the rest says where its files are.
        BinaryKey::Jit { boot_id, pid, start, .. } => format!("jit:{boot_id}:{pid}:{}", start.0),
    }
}
