//! The line with the most samples of each frame that is shown.
//!
//! A frame is a function, its samples are at several places in it, and a place on the way to a sample counts like one that a sample ended
//! in. So this is a walk over all stacks of a question, from the callees to their callers, a quarter of what a flame graph takes; it needs
//! nothing of the tree that is drawn, and is done on another thread meanwhile.

use super::QueryError;
use super::grow::Ids;
use super::merge::Counts;
use crate::profile::Frame;
use crate::store::{CachedFrame, Loaded, RowMap, Snapshot, StackId, StoreError};

/// Stacks walked between two questions whether to go on.
const CHECK: usize = 4096;
/// A tree of fewer nodes is drawn before a thread has begun. Those of tests are small, and shall be drawn both ways.
const WORTH_A_THREAD: usize = if cfg!(test) { 8 } else { 1 << 13 };

/// Samples by frame and line.
#[derive(Debug, Default)]
pub(super) struct BusyLines {
    sums: RowMap<(CachedFrame, u32), u64>,
    /// Places whose frames were not loaded, with their samples.
    left: Vec<(u32, u64)>,
}

/// Does `work`, and adds the lines up meanwhile where there are many `nodes`. To be called when the tree is grown: all stacks are
/// loaded then.
pub(super) fn beside<const N: usize, T>(
    loaded: Loaded<'_>,
    counts: [&Counts; N],
    nodes: usize,
    work: impl FnOnce() -> T,
) -> Result<(T, BusyLines), StoreError> {
    if nodes < WORTH_A_THREAD {
        return Ok((work(), BusyLines::of(loaded, counts)?));
    }
    std::thread::scope(|scope| {
        let lines = scope.spawn(|| BusyLines::of(loaded, counts));
        let done = work();
        Ok((done, lines.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?))
    })
}

impl BusyLines {
    /// Of all samples of a question whose tree is grown.
    pub(super) fn of<const N: usize>(loaded: Loaded<'_>, counts: [&Counts; N]) -> Result<Self, StoreError> {
        let mut lines = Self::default();
        for (location, samples) in (0_u32..).zip(by_location(loaded, counts)?).filter(|(_, samples)| *samples > 0) {
            match loaded.frames_at(location) {
                Some(frames) => frames.for_each(|placed| lines.add(placed.frame, placed.line, samples)),
                None => lines.left.push((location, samples)),
            }
        }
        Ok(lines)
    }

    fn add(&mut self, frame: CachedFrame, line: u32, samples: u64) {
        if line > 0 {
            let sum = self.sums.entry((frame, line)).or_default();
            *sum = sum.saturating_add(samples);
        }
    }

    /// Gives each frame that is shown its line, the first of equals.
    pub(super) fn give(
        mut self,
        snapshot: &mut Snapshot<'_>,
        ids: &Ids,
        frames: &mut [Frame],
    ) -> Result<(), QueryError> {
        for (location, samples) in std::mem::take(&mut self.left) {
            for placed in snapshot.frames_at(location)? {
                self.add(placed.frame, placed.line, samples);
            }
        }
        let mut best = vec![(0, 0); frames.len()];
        for ((frame, line), samples) in self.sums {
            let Some(id) = ids.of_frame(frame) else { continue };
            let (most, first) = &mut best[id.0 as usize];
            if samples > *most || (samples == *most && line < *first) {
                (*most, *first) = (samples, line);
            }
        }
        for (frame, (samples, line)) in frames.iter_mut().zip(best) {
            if samples > 0 {
                frame.line = Some(line);
            }
        }
        Ok(())
    }
}

/// Samples that had each location on their stack; of a location twice on one stack, twice.
fn by_location<const N: usize>(loaded: Loaded<'_>, counts: [&Counts; N]) -> Result<Vec<u64>, StoreError> {
    let last = counts.iter().flat_map(|counts| counts.tops().filter_map(|top| Some(counts.stacks(top).next_back()?.0)));
    let mut totals = vec![0_u64; last.max().map_or(0, |last| last as usize + 1)];
    for counts in counts {
        for top in counts.tops() {
            for (stack, samples) in counts.stacks(top) {
                totals[stack as usize] = totals[stack as usize].saturating_add(samples);
            }
        }
    }
    let mut by_location = Vec::new();
    // Callees before their callers, which have smaller numbers. Number 0 is the empty stack.
    for at in (1..totals.len()).rev() {
        if at % CHECK == 0 {
            loaded.check()?;
        }
        let samples = totals[at];
        if samples == 0 {
            continue;
        }
        let node = loaded.stack(StackId(at as u32))?;
        let location = node.location as usize;
        if by_location.len() <= location {
            by_location.resize(location + 1, 0_u64);
        }
        by_location[location] = by_location[location].saturating_add(samples);
        // Of the empty stack it is never asked.
        let total = &mut totals[node.parent.0 as usize];
        *total = total.saturating_add(samples);
    }
    Ok(by_location)
}
