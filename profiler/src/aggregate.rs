//! Equal stacks of one thread within one window become one row with a count. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::profile::{BootNanos, Location, ProcessKey, Sample, StackCount, StackEnd, ThreadName};

/// Everything that must be equal for two samples to be one row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Row {
    process: ProcessKey,
    revision: u32,
    tid: u32,
    thread: ThreadName,
    stack: Arc<[Location]>,
    end: StackEnd,
}

/// What a row costs beside its stack, in frames.
const ROW_FRAMES: usize = 8;

/// When a row's samples were taken.
#[derive(Debug, Default)]
struct Times {
    count: u64,
    times: Vec<BootNanos>,
}

/// The open window's rows. Holds at most one row a sample: F x CPUs x window length.
#[derive(Debug, Default)]
pub struct Aggregate {
    rows: HashMap<Row, Times>,
    samples: u64,
    frames: usize,
    times: usize,
}

impl Aggregate {
    /// Counts a sample.
    pub fn add(&mut self, sample: Sample) {
        let Sample { process, revision, tid, thread, stack, end, weight, time } = sample;
        self.samples += weight;
        let frames = stack.len() + ROW_FRAMES;
        let row = self.rows.entry(Row { process, revision, tid, thread, stack, end }).or_insert_with(|| {
            self.frames += frames;
            Times::default()
        });
        row.count += weight;
        row.times.push(time);
        self.times += 1;
    }

    /// What the rows take in memory, in frames of 16 bytes: whoever runs ever new deep stacks makes it large. A sample's time takes
    /// half a frame.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames + self.times / 2
    }

    /// Samples since the last [`Self::close`].
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Ends the window: its rows by process and number of its facts, in no order. `like` says which number stands for facts that are
    /// equal: those become one.
    pub fn close(&mut self, like: impl Fn(ProcessKey, u32) -> u32) -> HashMap<(ProcessKey, u32), Vec<StackCount>> {
        let renamed: Vec<_> = self.rows.extract_if(|row, _| like(row.process, row.revision) != row.revision).collect();
        for (row, Times { count, mut times }) in renamed {
            let known = self.rows.entry(Row { revision: like(row.process, row.revision), ..row }).or_default();
            known.count += count;
            known.times.append(&mut times);
        }
        let mut processes: HashMap<(ProcessKey, u32), Vec<StackCount>> = HashMap::new();
        for (Row { process, revision, tid, thread, stack, end }, Times { count, times }) in self.rows.drain() {
            let stack = StackCount { tid, thread, stack, end, count, times };
            processes.entry((process, revision)).or_default().push(stack);
        }
        (self.samples, self.frames, self.times) = (0, 0, 0);
        processes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{BinaryId, BootNanos, StartTicks};

    /// One sample drawn as `pid/tid stack`, each letter of the stack a location.
    fn sample(drawing: &str) -> Sample {
        let (ids, stack) = drawing.split_once(' ').expect("a stack");
        let (pid, tid) = ids.split_once('/').expect("a thread");
        let number = |text: &str| text.parse().expect("a number");
        Sample {
            time: BootNanos(0),
            process: ProcessKey { pid: number(pid), start: StartTicks(0) },
            revision: 0,
            tid: number(tid),
            thread: "main".into(),
            stack: stack.bytes().map(|b| Location { binary: BinaryId(0), offset: b.into() }).collect(),
            end: StackEnd::Complete,
            weight: 1,
        }
    }

    fn counts(drawings: &[&str]) -> Vec<(u32, u32, String, u64)> {
        let mut aggregate = Aggregate::default();
        drawings.iter().for_each(|drawing| aggregate.add(sample(drawing)));
        assert_eq!(aggregate.samples(), drawings.len() as u64);
        let mut rows: Vec<_> = aggregate
            .close(|_, revision| revision)
            .into_iter()
            .flat_map(|((process, _), stacks)| stacks.into_iter().map(move |stack| (process.pid, stack)))
            .map(|(pid, row)| {
                let stack = row.stack.iter().map(|location| location.offset as u8 as char).collect();
                (pid, row.tid, stack, row.count)
            })
            .collect();
        assert_eq!(aggregate.close(|_, revision| revision).len(), 0, "a closed window starts empty");
        rows.sort();
        rows
    }

    /// The same thread with the same stack is one row; anything else is another.
    #[test]
    fn equal_stacks_of_one_thread_become_one_row() {
        let rows = counts(&["1/1 abc", "1/1 abc", "1/2 abc", "2/2 abc", "1/1 ab"]);
        let expected = [(1, 1, "ab", 1), (1, 1, "abc", 2), (1, 2, "abc", 1), (2, 2, "abc", 1)];
        assert_eq!(rows, expected.map(|(pid, tid, stack, count)| (pid, tid, stack.to_owned(), count)));
    }

    /// Rows are paid for once; a sample of theirs costs its time only.
    #[test]
    fn size_grows_with_rows_and_little_with_samples() {
        let mut aggregate = Aggregate::default();
        (0..10).for_each(|_| aggregate.add(sample("1/1 abc")));
        assert_eq!(aggregate.frames(), 3 + ROW_FRAMES + 5);
        (0..2).for_each(|_| aggregate.add(sample("1/1 abcd")));
        assert_eq!(aggregate.frames(), 7 + 2 * ROW_FRAMES + 6);
        aggregate.close(|_, revision| revision);
        assert_eq!(aggregate.frames(), 0);
    }

    /// What ran before an exec is another row than what ran after it; a name that was given back is the same one.
    #[test]
    fn samples_of_different_facts_are_different_rows_and_of_equal_ones_the_same() {
        let mut aggregate = Aggregate::default();
        for revision in [0, 1, 2, 0] {
            aggregate.add(Sample { revision, ..sample("1/1 abc") });
        }
        let closed = aggregate.close(|_, revision| if revision == 2 { 0 } else { revision });
        let mut rows: Vec<_> = closed
            .iter()
            .map(|((_, revision), rows)| {
                (*revision, rows.iter().map(|row| (row.count, row.times.len())).collect::<Vec<_>>())
            })
            .collect();
        rows.sort_unstable();
        assert_eq!(rows, [(0, vec![(3, 3)]), (1, vec![(1, 1)])]);
    }

    proptest::proptest! {
        /// No sample is counted twice or dropped.
        #[test]
        fn counts_add_up_to_the_samples(stacks in proptest::collection::vec("[12]/[123] [ab]{0,3}", 0..50)) {
            let drawings: Vec<&str> = stacks.iter().map(String::as_str).collect();
            let total: u64 = counts(&drawings).iter().map(|row| row.3).sum();
            proptest::prop_assert_eq!(total, drawings.len() as u64);
        }
    }
}
