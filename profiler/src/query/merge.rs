//! Adding up the shares of a range: samples by (comm, stack end, stack).
//!
//! Reads packed stacks as they come and keeps only sums, so its memory is the number of distinct stacks, however long the
//! range. No names here: see [`super::flame_graph`].

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

use super::Selector;
use crate::profile::{StackEnd, TimeRange};
use crate::store::{ProcessRow, RowMap, Snapshot, StackId, StoreError, ThreadId, decode};

/// Samples by stack, for one process name and one way of ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) comm: String,
    pub(super) end: StackEnd,
    pub(super) stacks: RowMap<StackId, u64>,
}

/// What a range and a selector come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) groups: Vec<Group>,
    /// All samples.
    pub(super) samples: u64,
    /// CPU time they stand for, in nanoseconds.
    nanos: u128,
}

impl Counts {
    /// CPU time one sample stands for: the mean over the samples; 0 without samples.
    pub(super) fn nanos_per_sample(&self) -> u64 {
        let samples = u128::from(self.samples.max(1));
        u64::try_from((self.nanos + samples / 2) / samples).unwrap_or(u64::MAX)
    }

    /// Samples whose user stack is cut short.
    pub(super) fn incomplete(&self) -> u64 {
        let cut = self.groups.iter().filter(|group| !group.end.is_complete());
        cut.flat_map(|group| group.stacks.values()).fold(0, |sum, n| sum.saturating_add(*n))
    }
}

/// CPU time one sample stands for at `hz`.
pub(super) fn nanos_at(hz: u32) -> u64 {
    1_000_000_000 / u64::from(hz.max(1))
}

/// Answers a selector once per process and thread, not once per row.
pub(super) struct Sieve<'a> {
    selector: &'a Selector,
    names_thread: bool,
    processes: RowMap<i64, Option<ProcessRow>>,
    threads: RowMap<ThreadId, bool>,
}

impl<'a> Sieve<'a> {
    pub(super) fn new(selector: &'a Selector) -> Self {
        Self {
            selector,
            names_thread: selector.names_thread(),
            processes: RowMap::default(),
            threads: RowMap::default(),
        }
    }

    /// The process, unless the selector leaves it out.
    pub(super) fn process(&mut self, snapshot: &Snapshot<'_>, id: i64) -> Result<Option<&ProcessRow>, StoreError> {
        Ok(match self.processes.entry(id) {
            Occupied(known) => known.into_mut(),
            Vacant(new) => new.insert(Some(snapshot.process(id)?).filter(|row| self.selector.passes_process(row))),
        }
        .as_ref())
    }

    /// Whether the selector names threads at all.
    pub(super) fn names_thread(&self) -> bool {
        self.names_thread
    }

    /// Whether the selector lets the thread pass (its process has passed already).
    pub(super) fn thread(&mut self, snapshot: &Snapshot<'_>, id: ThreadId) -> Result<bool, StoreError> {
        if !self.names_thread {
            return Ok(true);
        }
        Ok(match self.threads.entry(id) {
            Occupied(known) => *known.get(),
            Vacant(new) => *new.insert(self.selector.passes_thread(&snapshot.thread(id)?)),
        })
    }
}

/// Adds up everything in the range that passes the selector.
pub(super) fn merge(snapshot: &Snapshot<'_>, range: TimeRange, selector: &Selector) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    let mut sieve = Sieve::new(selector);
    let mut by_comm = HashMap::<String, usize>::new();
    // Where a process's samples go: its name's place in the next table.
    let mut places = RowMap::<i64, usize>::default();
    let mut groups = Vec::<[Option<usize>; StackEnd::ALL.len()]>::new();
    snapshot.shares(range, |share| -> Result<(), StoreError> {
        let Some(process) = sieve.process(snapshot, share.process)? else { return Ok(()) };
        let place = *places.entry(share.process).or_insert_with(|| {
            *by_comm.entry(process.comm.clone()).or_insert_with(|| {
                groups.push([None; StackEnd::ALL.len()]);
                groups.len() - 1
            })
        });
        let mut samples = 0_u64;
        for entry in decode(share.stacks) {
            let entry = entry.map_err(|bad| StoreError::BadRow(bad.0))?;
            if !sieve.thread(snapshot, entry.thread)? {
                continue;
            }
            let group = *groups[place][entry.end as usize].get_or_insert_with(|| {
                let comm =
                    by_comm.iter().find(|(_, at)| **at == place).map(|(comm, _)| comm.clone()).unwrap_or_default();
                counts.groups.push(Group { comm, end: entry.end, stacks: RowMap::default() });
                counts.groups.len() - 1
            });
            let sum = counts.groups[group].stacks.entry(entry.stack).or_default();
            *sum = sum.saturating_add(entry.count);
            samples = samples.saturating_add(entry.count);
        }
        counts.samples = counts.samples.saturating_add(samples);
        counts.nanos = counts.nanos.saturating_add(u128::from(samples) * u128::from(nanos_at(share.hz)));
        Ok(())
    })?;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::profile::WallNanos;
    use crate::query::{flame_graph, note, parse_selector};
    use crate::store::drawing::{EPOCH, SECONDS, name_all, window};
    use crate::store::{Reader, Store};

    /// One line of a drawn window.
    #[derive(Clone, Debug)]
    struct Line {
        comm: u8,
        pid: u8,
        thread: u8,
        cut: bool,
        stack: Vec<u8>,
        count: u64,
    }

    type Passes = fn(&Line) -> bool;

    impl Line {
        fn draw(&self) -> String {
            let stack: Vec<_> = self.stack.iter().map(|name| format!("f{name}")).collect();
            let cut = if self.cut { "!" } else { "" };
            format!("c{}/{}~t{}  {cut}{} x{}", self.comm, self.pid, self.thread, stack.join(";"), self.count)
        }

        fn path(&self) -> String {
            let mut path = vec![format!("c{}", self.comm)];
            if self.cut {
                path.push(note(StackEnd::FramePointerLost).unwrap().into());
            }
            path.extend(self.stack.iter().map(|name| format!("f{name}")));
            path.join(";")
        }
    }

    fn line() -> impl Strategy<Value = Line> {
        (0..3_u8, 1..5_u8, 0..2_u8, any::<bool>(), vec(0..4_u8, 0..6), 1..100_u64)
            .prop_map(|(comm, pid, thread, cut, stack, count)| Line { comm, pid, thread, cut, stack, count })
    }

    /// What the tree holds: samples by the names above the root.
    fn selves(reader: &mut Reader, range: TimeRange, selector: &str) -> BTreeMap<String, u64> {
        let tree = flame_graph(reader, range, &parse_selector(selector).unwrap(), usize::MAX).unwrap().tree;
        let mut path = Vec::new();
        let walk = |node: &crate::profile::Node| {
            path.truncate(node.depth as usize);
            path.push(tree.frames[node.frame.0 as usize].name.to_string());
            (path[1..].join(";"), node.self_)
        };
        tree.nodes.iter().map(walk).filter(|(_, samples)| *samples > 0).collect()
    }

    proptest! {
        // Each case writes a database.
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Written, packed, read, filtered and merged, every sample is where adding up the lines by hand puts it.
        #[test]
        fn merging_equals_a_plain_sum(windows in vec(vec(line(), 0..12), 1..5), from in 0..4_u64, to in 1..5_u64) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.db");
            let (mut store, _) = Store::open(&path).unwrap();
            for (n, lines) in (0..).zip(&windows) {
                let drawing: Vec<_> = lines.iter().map(Line::draw).collect();
                let unnamed = store.write_window(&window(n, &drawing.join("\n"))).unwrap();
                name_all(&mut store, &unnamed);
            }
            let mut reader = Reader::open(&path).unwrap();
            let wall = |n: u64| WallNanos((EPOCH + (n * SECONDS) as i64) * 1_000_000_000);
            let range = TimeRange { from: wall(from), to: wall(to) };
            let selectors: [(&str, Passes); 4] = [
                ("", |_| true),
                (r#"comm="c1""#, |line| line.comm == 1),
                (r#"thread!="t0""#, |line| line.thread != 0),
                (r#"pid=~"[12]", thread="t1""#, |line| line.pid <= 2 && line.thread == 1),
            ];
            for (selector, passes) in selectors {
                let mut model = BTreeMap::new();
                let inside = (0..).zip(&windows).filter(|(n, _)| (from..to).contains(n));
                for line in inside.flat_map(|(_, lines)| lines).filter(|line| passes(line)) {
                    *model.entry(line.path()).or_default() += line.count;
                }
                prop_assert_eq!(selves(&mut reader, range, selector), model, "{}", selector);
            }
        }
    }

    /// Windows of different rates weigh by their samples.
    #[test]
    fn the_time_of_a_sample_is_the_mean_over_the_samples() {
        let counts = Counts { samples: 4, nanos: 3 * 10_000_000 + 1_000_000, ..Counts::default() };
        assert_eq!(counts.nanos_per_sample(), 7_750_000);
        assert_eq!(Counts::default().nanos_per_sample(), 0);
    }
}
