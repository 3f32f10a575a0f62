//! Sums of whole roll-ups that questions have made, kept for the questions after them; shared by the readers of one database.
//!
//! Who drags a range asks about the same hours again and again, each time with a few more or less. What a question makes of an hour (its
//! samples by process name and stack) is a fifth of what the hour holds, and needs no unpacking.
//!
//! Invariant: what is found is what reading the row would give. A roll-up only ever grows: its number, its windows and its samples say
//! which state of it is meant, and the question says what was made of it. One state of a row is kept, the last that was asked about: the
//! others are not asked about again. Bounded in bytes; what was not used longest goes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::profile::StackEnd;

/// Larger ones are not kept: they would push everything else out.
const MAX_ROW_BYTES: usize = KeptSums::MAX_BYTES / 8;

/// What was asked of which row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    /// Device and inode of the database.
    file: (u64, u64),
    /// Row of `rollup`.
    row: i64,
    /// Selector and label.
    question: Arc<str>,
}

/// How far a row has grown: windows, samples stored.
type State = (u64, u64);

/// Which sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SumsKey {
    asked: Asked,
    state: State,
}

impl SumsKey {
    /// Those that `question` (selector and label) makes of a row of `rollup`, in the file of this device and inode, that has so many
    /// windows and samples.
    pub(super) fn new(file: (u64, u64), row: i64, (windows, stored): (u64, u64), question: &Arc<str>) -> Self {
        Self { asked: Asked { file, row, question: Arc::clone(question) }, state: (windows, stored) }
    }
}

/// What a question makes of a roll-up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RowSums {
    /// All samples.
    pub(crate) samples: u64,
    /// Those whose stack is cut short.
    pub(crate) incomplete: u64,
    /// By what hangs from the root.
    pub(crate) tops: Vec<TopSums>,
}

/// A part of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TopSums {
    /// Row of the value of the label asked for.
    pub(crate) value: Option<u32>,
    /// Row of the process name.
    pub(crate) comm: u32,
    /// How the stacks end, where that is shown.
    pub(crate) end: Option<StackEnd>,
    /// Stacks, the smallest first, with their samples.
    pub(crate) stacks: Vec<(u32, u32)>,
}

impl RowSums {
    fn bytes(&self) -> usize {
        let stacks: usize = self.tops.iter().map(|top| size_of_val(&top.stacks[..])).sum();
        stacks + self.tops.len() * size_of::<TopSums>() + size_of::<(Asked, Kept)>() * 2
    }
}

#[derive(Debug)]
struct Kept {
    state: State,
    sums: Arc<RowSums>,
    /// When it was used last.
    used: u64,
}

#[derive(Debug, Default)]
struct Inner {
    kept: HashMap<Asked, Kept>,
    bytes: usize,
    uses: u64,
}

/// The sums, for any number of readers.
#[derive(Debug, Default)]
pub struct KeptSums(Mutex<Inner>);

impl KeptSums {
    /// Most bytes kept: the hours of a day of a busy host with 64 CPUs under four selectors, or of a month without one.
    pub const MAX_BYTES: usize = 64 << 20;

    /// Forgets all.
    pub fn forget(&self) {
        *self.inner() = Inner::default();
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner().bytes
    }

    /// What is kept under this key.
    pub(super) fn find(&self, key: &SumsKey) -> Option<Arc<RowSums>> {
        let mut inner = self.inner();
        inner.uses += 1;
        let now = inner.uses;
        let kept = inner.kept.get_mut(&key.asked).filter(|kept| kept.state == key.state)?;
        kept.used = now;
        Some(Arc::clone(&kept.sums))
    }

    /// Keeps sums, and forgets others if there are too many.
    pub(super) fn keep(&self, key: SumsKey, sums: &Arc<RowSums>) {
        let bytes = sums.bytes();
        if bytes > MAX_ROW_BYTES {
            return;
        }
        let mut inner = self.inner();
        inner.uses += 1;
        let kept = Kept { state: key.state, sums: Arc::clone(sums), used: inner.uses };
        if let Some(before) = inner.kept.insert(key.asked, kept) {
            inner.bytes -= before.sums.bytes();
        }
        inner.bytes += bytes;
        if inner.bytes > KeptSums::MAX_BYTES {
            inner.shrink();
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A quarter at once: finding the oldest means looking at all.
    fn shrink(&mut self) {
        let mut oldest: Vec<_> =
            self.kept.iter().map(|(key, kept)| (kept.used, kept.sums.bytes(), key.clone())).collect();
        oldest.sort_unstable_by_key(|(used, ..)| *used);
        for (_, bytes, key) in oldest {
            if self.bytes <= KeptSums::MAX_BYTES / 4 * 3 {
                break;
            }
            self.kept.remove(&key);
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(row: i64, question: &str) -> SumsKey {
        SumsKey::new((1, 2), row, (30, 7), &question.into())
    }

    fn sums(stacks: u32) -> Arc<RowSums> {
        let top = TopSums { stacks: (0..stacks).map(|at| (at, 1)).collect(), ..TopSums::default() };
        Arc::new(RowSums { samples: stacks.into(), incomplete: 0, tops: vec![top] })
    }

    /// Found is what was kept under the very key, and after forgetting nothing.
    #[test]
    fn what_was_kept_is_found_under_its_key_alone() {
        let kept = KeptSums::default();
        kept.keep(key(1, "a"), &sums(3));
        assert_eq!(kept.find(&key(1, "a")), Some(sums(3)));
        let grown = SumsKey { state: (31, 7), ..key(1, "a") };
        for other in [key(2, "a"), key(1, "b"), grown] {
            assert_eq!(kept.find(&other), None);
        }
        kept.keep(key(1, "a"), &sums(4));
        assert_eq!((kept.find(&key(1, "a")), kept.bytes()), (Some(sums(4)), sums(4).bytes()));
        kept.forget();
        assert_eq!(kept.find(&key(1, "a")), None);
    }

    /// A row that grows with every window takes no more room than it has.
    #[test]
    fn one_state_of_a_row_is_kept() {
        let kept = KeptSums::default();
        let grown = |windows| SumsKey { state: (windows, 7 * windows), ..key(1, "a") };
        (1..100).for_each(|windows| kept.keep(grown(windows), &sums(3)));
        assert_eq!(kept.bytes(), sums(3).bytes());
        assert_eq!((kept.find(&grown(99)), kept.find(&grown(98))), (Some(sums(3)), None));
    }

    /// However much is kept, bytes are bounded; what is used stays, what is huge does not come in.
    #[test]
    fn what_is_kept_is_bounded() {
        let kept = KeptSums::default();
        kept.keep(key(-1, ""), &sums(MAX_ROW_BYTES as u32 / 8 + 1));
        assert_eq!(kept.find(&key(-1, "")), None);
        for row in 0..400 {
            kept.keep(key(row, ""), &sums(50_000));
            assert!(kept.find(&key(0, "")).is_some());
            assert!(kept.inner().bytes <= KeptSums::MAX_BYTES);
        }
        assert!(kept.find(&key(399, "")).is_some() && kept.find(&key(1, "")).is_none());
        let inner = kept.inner();
        assert_eq!(inner.bytes, inner.kept.values().map(|kept| kept.sums.bytes()).sum::<usize>());
    }
}
