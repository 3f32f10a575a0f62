//! Resolved stacks of the last windows: a hot stack costs one hash look-up.
//!
//! The key is what resolving depends on: the generation of the mappings (a number no two different sets of mappings share) and
//! the addresses themselves, compared in full. Two generations of entries, the younger one bounded; when it is full, or a
//! window ends, it becomes the older one, and what is hit there moves back: so what is in use stays and the rest goes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::profile::{Location, StackEnd};

/// Most frames of the stacks in one generation: about 3 MB with their locations, 4,000 stacks of 32 frames.
const MAX_FRAMES: usize = 128 * 1024;
/// What an entry costs beside its frames, in frames.
const ENTRY_FRAMES: usize = 8;

/// What a resolved stack depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct StackKey {
    /// Generation of the mappings.
    pub mappings: u64,
    /// User addresses, leaf first.
    pub user: Arc<[u64]>,
    /// Kernel addresses, leaf first.
    pub kernel: Arc<[u64]>,
    /// How the walk ended in the kernel.
    pub end: StackEnd,
}

/// A resolved stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Root first.
    pub stack: Arc<[Location]>,
    /// How the walk ended, now that the mappings were asked.
    pub end: StackEnd,
}

/// An answer of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cached {
    /// Used in this generation already.
    Fresh(Resolved),
    /// Not used since the generations changed; it has left the cache, and is to be put back if it is still right.
    Old(Resolved),
    /// Unknown.
    Miss,
}

/// The stacks of the last two generations.
#[derive(Debug, Default)]
pub(super) struct StackCache {
    young: HashMap<StackKey, Resolved>,
    old: HashMap<StackKey, Resolved>,
    young_frames: usize,
}

impl StackCache {
    pub fn get(&mut self, key: &StackKey) -> Cached {
        if let Some(known) = self.young.get(key) {
            return Cached::Fresh(known.clone());
        }
        self.old.remove(key).map_or(Cached::Miss, Cached::Old)
    }

    pub fn put(&mut self, key: StackKey, resolved: Resolved) {
        let frames = key.user.len() + key.kernel.len() + ENTRY_FRAMES;
        if self.young_frames + frames > MAX_FRAMES {
            self.age();
        }
        self.young_frames += frames;
        self.young.insert(key, resolved);
    }

    /// The younger generation becomes the older one.
    pub fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.young_frames = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(mappings: u64, user: &[u64]) -> StackKey {
        StackKey { mappings, user: user.into(), kernel: [].into(), end: StackEnd::Complete }
    }

    fn resolved() -> Resolved {
        Resolved { stack: [].into(), end: StackEnd::Complete }
    }

    /// A stack in use is kept from window to window; one that is not is gone after two.
    #[test]
    fn what_is_hit_stays_and_the_rest_goes() {
        let mut cache = StackCache::default();
        cache.put(key(1, &[1]), resolved());
        cache.put(key(1, &[2]), resolved());
        assert_eq!(cache.get(&key(1, &[1])), Cached::Fresh(resolved()));
        for _ in 0..3 {
            cache.age();
            assert_eq!(cache.get(&key(1, &[1])), Cached::Old(resolved()));
            cache.put(key(1, &[1]), resolved());
        }
        assert_eq!(cache.get(&key(1, &[2])), Cached::Miss);
    }

    /// Other mappings, or another walk, are another stack.
    #[test]
    fn the_mappings_are_part_of_the_key() {
        let mut cache = StackCache::default();
        cache.put(key(1, &[1]), resolved());
        assert_eq!(cache.get(&key(2, &[1])), Cached::Miss);
    }

    /// However many distinct stacks come, no more than two generations are held.
    #[test]
    fn distinct_stacks_are_bounded() {
        let mut cache = StackCache::default();
        for n in 0..40_000 {
            cache.put(key(1, &[n; 32]), resolved());
        }
        let held = cache.young.len() + cache.old.len();
        assert!(held <= 2 * MAX_FRAMES / 32, "{held}");
    }
}
