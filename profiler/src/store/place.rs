//! What a stack is made of, for those who carry it elsewhere: binaries and offsets, and the names as they were answered.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::{Snapshot, StackId, StoreError};
use crate::profile::{
    Binary, BinaryKey, BinaryKind, BuildId, CodeSegment, FileIdentity, SourceLine, StartTicks, Symbol, Symbolized,
    UnknownReason,
};

/// A place in code.
#[derive(Clone, Debug)]
pub(crate) struct StoredPlace {
    /// Row of its binary.
    pub(crate) binary: i64,
    /// Where in it.
    pub(crate) offset: u64,
    /// Its names, or why it has none; nothing when it was never asked about.
    pub(crate) names: Option<Symbolized>,
}

impl Snapshot<'_> {
    /// The locations of a stack, root first.
    pub(crate) fn locations(&mut self, stack: StackId) -> Result<Vec<u32>, StoreError> {
        let mut locations = Vec::new();
        let mut at = stack;
        while at != StackId(0) {
            // Callers have smaller numbers: this ends.
            let node = self.stack(at)?;
            locations.push(node.location);
            at = node.parent;
        }
        locations.reverse();
        Ok(locations)
    }

    /// A location with its names.
    pub(crate) fn place(&self, location: u32) -> Result<StoredPlace, StoreError> {
        let found: Option<(i64, i64, u8, Option<i64>)> = self
            .tx
            .prepare_cached("SELECT binary, offset, state, begin FROM location WHERE id = ?1")?
            .query_row([location], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let (binary, offset, state, begin) =
            found.ok_or(StoreError::BadRow("a stack names a location that is not there"))?;
        let names = match state {
            0 => None,
            1 => Some(Symbolized::Named(self.symbols(location)?)),
            n => UnknownReason::from_u8(n).map(|reason| match begin {
                Some(begin) => Symbolized::Nameless(reason, begin.cast_unsigned()),
                None => Symbolized::Unknown(reason),
            }),
        };
        Ok(StoredPlace { binary, offset: offset.cast_unsigned(), names })
    }

    fn symbols(&self, location: u32) -> Result<Vec<Symbol>, StoreError> {
        let mut select = self.tx.prepare_cached(
            "SELECT name.text, file.text, line, inlined, raw.text, declared FROM location_frame
             JOIN function ON function.id = location_frame.function
             JOIN string AS name ON name.id = function.name JOIN string AS file ON file.id = function.file
             LEFT JOIN string AS raw ON raw.id = function.raw
             WHERE location = ?1 ORDER BY position",
        )?;
        let rows = select.query_map([location], |row| {
            let (file, line): (String, u32) = (row.get(1)?, row.get(2)?);
            let source =
                (!file.is_empty()).then_some(SourceLine { file: file.into(), line: (line > 0).then_some(line) });
            Ok(Symbol { name: row.get(0)?, raw: row.get(4)?, source, declared: row.get(5)?, inlined: row.get(3)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Where the text of a boot's kernel lay, if that was kept.
    pub(crate) fn kernel_text(&self, boot_id: &str) -> Result<Option<std::ops::Range<u64>>, StoreError> {
        super::kernel_text::kept(&self.tx, boot_id)
    }

    /// A binary, by its row.
    pub(crate) fn binary(&self, id: i64) -> Result<Arc<Binary>, StoreError> {
        binary(&self.tx, id)
    }
}

/// A binary, by its row.
pub(super) fn binary(conn: &Connection, id: i64) -> Result<Arc<Binary>, StoreError> {
    type Row = (String, u8, String, Option<Vec<u8>>, [Option<i64>; 3]);
    let found: Option<Row> = conn
        .prepare_cached(
            "SELECT identity, kind, text, build_id, code_offset, code_address, code_len FROM binary
             JOIN string ON string.id = path WHERE binary.id = ?1",
        )?
        .query_row([id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, [row.get(4)?, row.get(5)?, row.get(6)?]))
        })
        .optional()?;
    let (identity, kind, path, build_id, code) =
        found.ok_or(StoreError::BadRow("a location names a binary that is not there"))?;
    let kind = BinaryKind::from_u8(kind).ok_or(StoreError::BadRow("an unknown kind of binary"))?;
    let build_id = build_id.as_deref().and_then(BuildId::new);
    let key = key(&identity, kind, build_id, &path).ok_or(StoreError::BadRow("a binary without an identity"))?;
    let code = match code.map(|number| number.map(i64::cast_unsigned)) {
        [Some(offset), Some(address), Some(len)] => Some(CodeSegment { offset, address, len }),
        _ => None,
    };
    Ok(Arc::new(Binary { key, kind, path, build_id, code, file: None, unopened: None, root: None, jit: None }))
}

/// From the text that `intern::identity` writes.
fn key(identity: &str, kind: BinaryKind, build_id: Option<BuildId>, path: &str) -> Option<BinaryKey> {
    let (sort, rest) = identity.split_once(':').unwrap_or((identity, ""));
    Some(match sort {
        "kernel" => BinaryKey::Kernel { boot_id: rest.to_owned() },
        // Databases from before name a file by kind and build id alone.
        "build-id" => match rest.splitn(3, ':').nth(2) {
            None => BinaryKey::BuildId(kind, build_id?),
            Some(rest) if rest.starts_with("claimed:") => {
                BinaryKey::Claimed { build_id: build_id?, path: path.to_owned(), inode: None }
            }
            Some(identity) => BinaryKey::File(build_id?, FileIdentity::parse(identity)?),
        },
        // The path comes last, for it may hold anything; without what the file was found to be in databases from before.
        "inode" | "file" => {
            let mut parts = rest.splitn(4, ':');
            let (dev, inode) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let mtime = parts.next()?.parse().ok()?;
            let identity = match sort {
                "file" => {
                    let rest = parts.next()?;
                    let (end, _) = rest.match_indices(':').nth(2)?;
                    Some(FileIdentity::parse(&rest[..end])?)
                }
                _ => None,
            };
            BinaryKey::Inode { path: path.to_owned(), dev, inode, mtime, identity }
        }
        "anonymous" => BinaryKey::Anonymous,
        "jit" => {
            let mut parts = rest.splitn(3, ':');
            let boot_id = parts.next()?.to_owned();
            let (pid, start) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            // What only the live process was asked for is not kept, nor does it tell processes apart.
            BinaryKey::Jit { boot_id, pid, start: StartTicks(start), inside: 0, user: 0 }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Owner;
    use crate::store::intern::identity;

    /// A binary carried to another database is the same one there.
    #[test]
    fn identities_survive_their_text() {
        let id = BuildId::new(&[7; 20]);
        let path = "/usr/bin/x:y";
        let file = |owner| FileIdentity { len: 7, owner, hash: u64::MAX - 1 };
        let of = |owner| (BinaryKey::File(id.expect("20 bytes are an id"), file(owner)), BinaryKind::File, id);
        let without = |owner| {
            let identity = Some(file(owner));
            (BinaryKey::Inode { path: path.into(), dev: 8, inode: 3, mtime: 4, identity }, BinaryKind::File, None)
        };
        let owners = [
            Owner::System,
            Owner::User(0),
            Owner::User(1000),
            Owner::Group { uid: 0, gid: 50 },
            Owner::Everybody(0),
            Owner::Mount { dev: u64::MAX, uid: 0 },
        ];
        let keys = owners.into_iter().flat_map(|owner| [of(owner), without(owner)]).chain([
            (
                BinaryKey::Claimed { build_id: id.expect("20 bytes are an id"), path: path.into(), inode: None },
                BinaryKind::File,
                id,
            ),
            (BinaryKey::Kernel { boot_id: "b-1".into() }, BinaryKind::Kernel, None),
            (BinaryKey::BuildId(BinaryKind::File, id.expect("20 bytes are an id")), BinaryKind::File, id),
            (
                BinaryKey::Inode { path: path.into(), dev: u64::MAX, inode: 3, mtime: -4, identity: None },
                BinaryKind::File,
                None,
            ),
            (BinaryKey::Anonymous, BinaryKind::Anonymous, None),
            (
                BinaryKey::Jit { boot_id: "b-1".into(), pid: 50, start: StartTicks(77), inside: 0, user: 0 },
                BinaryKind::Anonymous,
                None,
            ),
        ]);
        let mut texts = std::collections::HashSet::new();
        for (expected, kind, build_id) in keys {
            assert!(texts.insert(identity(&expected)), "{expected:?} has the text of another");
            assert_eq!(key(&identity(&expected), kind, build_id, path), Some(expected));
        }
    }
}
