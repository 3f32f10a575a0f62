//! A blob of columns: streams of bytes, each packed by zstd where that makes it smaller.
//!
//! ```text
//! version=3   { bytes   packed bytes, or 0 when it is as it was   the column } *   check
//! ```
//!
//! The check is CRC-32 of what is before it, four bytes, the lowest first: SQLite has none, and a bit that a disk has turned would give
//! other numbers, not an error. Version 2 had none either; it is still read.
//!
//! A column holds one kind of number, so that its bytes have statistics of their own: together they pack 0 to 2 % worse. There is no
//! dictionary: columns of a packed window are a few KiB and those of roll-ups tens of KiB, where zstd's tables (60 bytes) are
//! nothing, and a dictionary would be one more thing to keep for as long as the file lives.
//!
//! Invariant: unpacking takes no more memory than [`MAX_COLUMN`] a column, whatever the blob says.

use std::cell::RefCell;

use super::codec::BadBlob;
use super::varint;

/// The first byte. Goes up when the layout changes; old versions stay readable. 1 was the first schema's, which nobody released.
const VERSION: u8 = 3;
/// Without a check at its end.
const UNCHECKED: u8 = 2;

/// Most bytes of a column. The largest real one, a day of a busy host with 64 CPUs, has 1 MiB.
const MAX_COLUMN: usize = 64 << 20;

/// Below this, zstd's header eats what its tables save.
const WORTH_PACKING: usize = 64;

/// How hard to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// For what is replaced in minutes.
    Little,
    /// For what stays. Level 9 packs columns 2 % smaller than level 3 at a fifth of the speed, 40 MB/s; level 19 would pack 2 % more, at
    /// 5 MB/s (an hour and six of two simulated hosts).
    Much,
}

impl Effort {
    const fn level(self) -> i32 {
        match self {
            Self::Little => 1,
            Self::Much => 9,
        }
    }
}

/// Packs columns into a blob.
#[must_use]
pub(super) fn pack(columns: &[Vec<u8>], effort: Effort) -> Vec<u8> {
    let mut blob = vec![VERSION];
    for column in columns {
        varint::put(&mut blob, column.len() as u64);
        let packed =
            if column.len() < WORTH_PACKING { None } else { zstd::bulk::compress(column, effort.level()).ok() };
        match packed.filter(|packed| packed.len() < column.len()) {
            Some(packed) => {
                varint::put(&mut blob, packed.len() as u64);
                blob.extend_from_slice(&packed);
            }
            None => {
                blob.push(0);
                blob.extend_from_slice(column);
            }
        }
    }
    seal(&mut blob);
    blob
}

/// Ends a blob with the check.
pub(super) fn seal(blob: &mut Vec<u8>) {
    let check = crc32fast::hash(blob);
    blob.extend_from_slice(&check.to_le_bytes());
}

/// What is between the version and the check of a sealed blob.
pub(super) fn unseal(blob: &[u8], version: u8) -> Result<&[u8], BadBlob> {
    let (found, _) = blob.split_first().ok_or(BadBlob("empty"))?;
    if *found != version {
        return Err(BadBlob("unknown version"));
    }
    let (sealed, check) = blob.split_last_chunk::<4>().ok_or(BadBlob("cut short"))?;
    if crc32fast::hash(sealed) != u32::from_le_bytes(*check) {
        return Err(BadBlob("not what was written"));
    }
    sealed.get(1..).ok_or(BadBlob("cut short"))
}

thread_local! {
    /// Its tables take 100 KiB; making them anew for each column took longer than unpacking.
    static UNPACKER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Unpacks a blob of exactly `N` columns.
pub(super) fn unpack<const N: usize>(blob: &[u8]) -> Result<[Vec<u8>; N], BadBlob> {
    let mut rest = match blob.split_first() {
        Some((&UNCHECKED, rest)) => rest,
        _ => unseal(blob, VERSION)?,
    };
    let mut columns = [const { Vec::new() }; N];
    for column in &mut columns {
        *column = take_column(&mut rest)?;
    }
    if rest.is_empty() { Ok(columns) } else { Err(BadBlob("more columns than there should be")) }
}

fn take_column(rest: &mut &[u8]) -> Result<Vec<u8>, BadBlob> {
    let length = |rest: &mut &[u8]| {
        let n = usize::try_from(varint::take(rest)?).ok().filter(|n| *n <= MAX_COLUMN);
        n.ok_or(BadBlob("column too large"))
    };
    let (bytes, packed) = (length(rest)?, length(rest)?);
    let stored = if packed == 0 { bytes } else { packed };
    let (column, tail) = rest.split_at_checked(stored).ok_or(BadBlob("cut short"))?;
    *rest = tail;
    if packed == 0 {
        return Ok(column.to_vec());
    }
    let unpacked = UNPACKER.with_borrow_mut(|unpacker| {
        let unpacker = match unpacker {
            Some(unpacker) => unpacker,
            None => unpacker.insert(zstd::bulk::Decompressor::new().map_err(|_| BadBlob("no memory to unpack it"))?),
        };
        unpacker.decompress(column, bytes).map_err(|_| BadBlob("not packed by zstd"))
    })?;
    if unpacked.len() == bytes { Ok(unpacked) } else { Err(BadBlob("not as long as it says")) }
}

/// What version 2 was. Its columns may be packed or not; here they are not.
#[cfg(test)]
pub(super) fn pack_v2(columns: &[Vec<u8>]) -> Vec<u8> {
    let mut blob = vec![UNCHECKED];
    for column in columns {
        varint::put(&mut blob, column.len() as u64);
        blob.push(0);
        blob.extend_from_slice(column);
    }
    blob
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The layout in the file's header is the real one; it is on disk, so it may not drift.
    #[test]
    fn the_documented_layout_is_the_layout() {
        assert_eq!(pack(&[vec![9, 8], vec![]], Effort::Much), [3, 2, 0, 9, 8, 0, 0, 218, 122, 87, 146]);
        assert_eq!(pack_v2(&[vec![9, 8], vec![]]), [2, 2, 0, 9, 8, 0, 0]);
        assert_eq!(unpack::<2>(&[2, 2, 0, 9, 8, 0, 0]).unwrap(), [vec![9, 8], vec![]]);
        let blob = pack(&[vec![7; 1000]], Effort::Much);
        assert!(blob.len() < 40, "{}", blob.len());
        assert_eq!(unpack::<1>(&blob).unwrap(), [vec![7; 1000]]);
    }

    /// A blob that says it is larger than any is refused before memory is taken for it.
    #[test]
    fn wrong_blobs_say_what_is_wrong() {
        let mut huge = vec![UNCHECKED];
        varint::put(&mut huge, 1 << 40);
        let packed = pack(&[vec![7; 1000]], Effort::Little);
        let mut short = packed[..packed.len() - 4].to_vec();
        (short[0], short[1], short[2]) = (UNCHECKED, 0xe7, 7);
        let mut turned = packed.clone();
        turned[9] ^= 1;
        for (blob, bad) in [
            (&[][..], "empty"),
            (&[1, 0, 0], "unknown version"),
            (&[2, 1, 0], "cut short"),
            (&[2, 0, 0, 0], "more columns than there should be"),
            (&[2, 1, 1, 77], "not packed by zstd"),
            (&huge, "column too large"),
            (&short, "not packed by zstd"),
            (&turned, "not what was written"),
            (&packed[..3], "cut short"),
        ] {
            assert_eq!(unpack::<1>(blob), Err(BadBlob(bad)), "{blob:?}");
        }
    }

    proptest! {
        /// What was packed comes back.
        #[test]
        fn columns_round_trip(a in vec(0..9_u8, 0..2000), b in vec(any::<u8>(), 0..200), much in any::<bool>()) {
            let effort = if much { Effort::Much } else { Effort::Little };
            prop_assert_eq!(unpack::<2>(&pack(&[a.clone(), b.clone()], effort)).unwrap(), [a, b]);
        }

        /// Arbitrary bytes, and a good blob with a wrong byte, are an error at worst.
        #[test]
        fn hostile_bytes_are_an_error_at_worst(column in vec(0..5_u8, 0..400), at in any::<prop::sample::Index>(), to in any::<u8>(),
                                               noise in vec(any::<u8>(), 0..80)) {
            let mut blob = pack(&[column], Effort::Little);
            let at = at.index(blob.len());
            let changed = blob[at] != to;
            blob[at] = to;
            // A byte more or less is always noticed, but for one that says there is no check.
            prop_assert!(!changed || unpack::<1>(&blob).is_err() || blob[0] == UNCHECKED);
            let _ = unpack::<3>(&noise);
        }
    }
}
