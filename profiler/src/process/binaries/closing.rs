//! What is closed and forgotten: the file hit longest ago where there are too many, and what nobody has used for a while.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{ANONYMOUS, Binaries, Entry, KEEP_BINARY, KEEP_BINARY_BRIEFLY, KEEP_PINNED, UNRECORDED, VDSO, is_claimed};
use crate::profile::{Binary, BinaryId, BootNanos};

impl Binaries {
    pub(super) fn unpin_oldest(&mut self, but: BinaryId, of: impl Fn(&Entry) -> bool) {
        let may_go = |(id, entry): &(&BinaryId, &Entry)| {
            **id != VDSO && **id != but && entry.binary.file.is_some() && !is_claimed(&entry.binary) && of(entry)
        };
        let open = self.entries.iter().filter(may_go);
        if let Some(id) = open.min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id) {
            self.unpin(id);
        }
    }

    fn unpin(&mut self, id: BinaryId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.binary.file.is_some()
        {
            let own = !is_claimed(&entry.binary);
            entry.binary = Arc::new(without_files(&entry.binary));
            if !own {
                return;
            }
            self.pinned -= 1;
            let user = entry.user;
            if let Some(of_user) = self.pinned_of.get_mut(&user) {
                *of_user -= 1;
                if *of_user == 0 {
                    self.pinned_of.remove(&user);
                }
            }
        }
    }

    /// Forgets what no mapping needs any more: first the name and identity, after a while the file, at last the binary.
    pub fn end_window(&mut self, now: BootNanos) {
        self.backings.retain(|_, backing| Arc::strong_count(&backing.0) > 1);
        let mapped: HashSet<u32> = self.backings.values().map(|backing| backing.0.binary().0).collect();
        let unused = |id: &BinaryId| id.0 > UNRECORDED.0 && !mapped.contains(&id.0);
        let keep_binary = if self.binaries_budget.is_half_full() { KEEP_BINARY_BRIEFLY } else { KEEP_BINARY };
        let idle = |entry: &Entry| now.0.saturating_sub(entry.used.0);
        let closing = self.entries.iter().filter(|(id, entry)| {
            unused(id)
                && idle(entry) > KEEP_PINNED
                && entry.binary.file.is_some()
                && Arc::strong_count(&entry.binary) == 1
        });
        for id in closing.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.unpin(id);
        }
        let lives = |entry: &Entry| entry.binary.jit.as_ref().is_some_and(|jit| !jit.has_ended());
        for entry in self.entries.values_mut() {
            let is_idle = now.0.saturating_sub(entry.used.0) > KEEP_PINNED;
            if is_idle && entry.binary.jit.is_some() && !lives(entry) && Arc::strong_count(&entry.binary) == 1 {
                entry.binary = Arc::new(without_files(&entry.binary));
            }
        }
        let by_key = &mut self.by_key;
        self.entries.retain(|id, entry| {
            let keep = !unused(id) || idle(entry) <= keep_binary || entry.binary.file.is_some() || lives(entry);
            if !keep {
                by_key.remove(&entry.binary.key);
            }
            keep
        });
        let entries = &self.entries;
        self.by_inode.retain(|_, id| entries.get(id).is_some_and(|entry| entry.binary.file.is_some()));
        self.claims.retain(|id| entries.contains_key(&id));
        self.jits.retain(|_, id| *id != ANONYMOUS && entries.contains_key(id));
        shrink(&mut self.backings);
        shrink(&mut self.entries);
        shrink(&mut self.by_key);
        shrink(&mut self.by_inode);
        shrink(&mut self.jits);
    }
}

/// Gives back what a map took when it was much larger.
pub(in crate::process) fn shrink<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 1024 && map.capacity() > 4 * map.len() {
        map.shrink_to(2 * map.len());
    }
}

/// The same with nothing of it held open.
fn without_files(binary: &Binary) -> Binary {
    let Binary { key, kind, path, build_id, code, .. } = binary;
    let (key, path) = (key.clone(), path.clone());
    let (kind, build_id, code) = (*kind, *build_id, *code);
    Binary { key, kind, path, build_id, code, file: None, root: None, jit: None, unopened: None }
}
