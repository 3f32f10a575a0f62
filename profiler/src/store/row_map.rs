//! Maps keyed by row numbers.
//!
//! The writer numbers rows itself, one after the other, so nobody outside chooses the keys and the standard library's
//! guarded hash is not needed. Measured on a simulated day whose tree has 1.24 million nodes: the flame
//! graph takes 0.8 s with it and 1.8 s without.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys are row numbers, or made of them.
pub(crate) type RowMap<K, V> = HashMap<K, V, BuildHasherDefault<RowHasher>>;

/// Multiplies and rotates: neighbouring numbers land far apart, in the high bits and in the low ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowHasher(u64);

/// 2^64 divided by the golden ratio, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for RowHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(23) ^ n).wrapping_mul(STEP);
    }

    fn write_i64(&mut self, n: i64) {
        self.write_u64(n.cast_unsigned());
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, BuildHasherDefault};

    use super::*;

    /// Neighbouring keys spread over the low bits (the slot) and the top seven (the tag) that the map goes by.
    #[test]
    fn neighbours_spread() {
        let hash = |key: (u32, u32)| BuildHasherDefault::<RowHasher>::default().hash_one(key);
        for keys in [(0..1024).map(|n| (7, n)).collect::<Vec<_>>(), (0..1024).map(|n| (n, 7)).collect()] {
            let slots: HashSet<_> = keys.iter().map(|key| hash(*key) % 4096).collect();
            let tags: HashSet<_> = keys.iter().map(|key| hash(*key) >> 57).collect();
            // 1,024 random keys would fill 905 of 4,096 slots.
            assert!(slots.len() > 850 && tags.len() > 120, "{} slots, {} tags", slots.len(), tags.len());
        }
    }
}
