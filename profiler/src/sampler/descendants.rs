//! Which processes descend from which: `-p` takes in the children that a process has already.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The parent of every process there is now, from `/proc/PID/status`; empty when `/proc` cannot be read.
pub fn parents() -> BTreeMap<u32, u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let parent = |pid: u32| -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

/// Those who descend from one of `roots`, without the roots.
pub fn descendants(roots: &BTreeSet<u32>, parents: &BTreeMap<u32, u32>) -> BTreeSet<u32> {
    let descends = |pid: &u32| {
        // No line of ancestors is longer than there are processes, whatever a changing `/proc` told.
        let ancestors = std::iter::successors(parents.get(pid), |pid| parents.get(pid)).take(parents.len());
        !roots.contains(pid) && ancestors.into_iter().any(|pid| roots.contains(pid))
    };
    parents.keys().copied().filter(descends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Children and grandchildren of each root, nobody else; a circle ends.
    #[test]
    fn descendants_are_found_at_any_depth() {
        let parents = BTreeMap::from([(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (7, 8), (8, 7)]);
        let of = |roots: &[u32]| Vec::from_iter(descendants(&roots.iter().copied().collect(), &parents));
        assert_eq!(of(&[2]), [3, 4]);
        assert_eq!(of(&[3, 5]), [4, 6]);
        assert_eq!(of(&[4]), Vec::<u32>::new());
        assert_eq!(of(&[9]), Vec::<u32>::new());
    }

    /// Our own parent is in the list.
    #[test]
    fn we_have_our_parent() {
        assert_eq!(parents().get(&std::process::id()), Some(&std::os::unix::process::parent_id()));
    }
}
