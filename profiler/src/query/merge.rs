//! Adding up the shares of a range: samples by (comm, stack end, stack).
//!
//! Reads packed stacks as they come and keeps only sums, so its memory is the number of distinct stacks, however long the
//! range. No names here: see [`super::flame_graph`].

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

use super::Selector;
use crate::profile::{StackEnd, TimeRange};
use crate::store::{ProcessRow, Snapshot, StackId, StoreError, ThreadId, decode};

/// Samples by stack, for one process name and one way of ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) comm: String,
    pub(super) end: StackEnd,
    pub(super) stacks: HashMap<StackId, u64>,
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
    processes: HashMap<i64, Option<ProcessRow>>,
    threads: HashMap<ThreadId, bool>,
}

impl<'a> Sieve<'a> {
    pub(super) fn new(selector: &'a Selector) -> Self {
        Self { selector, processes: HashMap::new(), threads: HashMap::new() }
    }

    /// The process, unless the selector leaves it out.
    pub(super) fn process(&mut self, snapshot: &Snapshot<'_>, id: i64) -> Result<Option<&ProcessRow>, StoreError> {
        Ok(match self.processes.entry(id) {
            Occupied(known) => known.into_mut(),
            Vacant(new) => new.insert(Some(snapshot.process(id)?).filter(|row| self.selector.passes_process(row))),
        }
        .as_ref())
    }

    /// Whether the selector lets the thread pass (its process has passed already).
    pub(super) fn thread(&mut self, snapshot: &Snapshot<'_>, id: ThreadId) -> Result<bool, StoreError> {
        if !self.selector.names_thread() {
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
    let mut places = HashMap::<i64, usize>::new();
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
                counts.groups.push(Group { comm, end: entry.end, stacks: HashMap::new() });
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
