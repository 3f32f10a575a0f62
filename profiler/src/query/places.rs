//! Where in a function the samples are: by its instructions, or by its source lines.
//!
//! Only stacks with the function on them are walked, each node of the stack tree once. What a node has above itself is a list that it
//! shares with its siblings, each place on it once, so recursion counts once for each place.
//!
//! Invariant: no place's total is larger than the function's, and the selfs add up to at most that.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use super::heat_map::Within;
use super::merge::Counts;
use super::{QueryError, Selector};
use crate::profile::{Binary, Frame, Measure};
use crate::store::{CachedFrame, FunctionId, Reader, RowMap, Snapshot, StackId, StoreError};

/// Stacks looked up between two questions whether to go on.
const CHECK: usize = 4096;

/// Which function is meant: by its name as it is shown, and by where it is if several have that name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionIs {
    /// Name.
    pub name: String,
    /// Path of the binary.
    pub binary: Option<String>,
    /// Source file.
    pub file: Option<String>,
}

impl FunctionIs {
    fn fits(&self, frame: &Frame) -> bool {
        let same = |wanted: &Option<String>, found: &Option<Arc<str>>| match wanted {
            Some(wanted) => found.as_deref() == Some(wanted),
            None => true,
        };
        *frame.name == *self.name && same(&self.binary, &frame.binary) && same(&self.file, &frame.file)
    }
}

/// Samples at one place of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// A file offset (an address in memory without a file), or a line.
    pub at: u64,
    /// Samples that were taken there.
    pub self_: u64,
    /// Samples taken there or in something called from there.
    pub total: u64,
}

/// A function by its instructions.
#[derive(Clone, Debug)]
pub struct Code {
    /// The binary with the most of its samples, as it is known from history.
    pub binary: Arc<Binary>,
    /// Samples with this binary's function on the stack.
    pub total: u64,
    /// What the numbers stand for.
    pub measure: Measure,
    /// By rising offset. An instruction's self is all of its samples, those of functions inlined there too.
    pub places: Vec<Weight>,
}

/// A function by its source lines.
#[derive(Clone, Debug)]
pub struct Lines {
    /// The file with the most of its samples, as the compiler wrote it; `None` where no debug information tells.
    pub file: Option<Arc<str>>,
    /// The binaries that name it, each once.
    pub binaries: Vec<Arc<Binary>>,
    /// Samples with the function on the stack.
    pub total: u64,
    /// What the numbers stand for.
    pub measure: Measure,
    /// By rising line; samples without a line are in the total only.
    pub places: Vec<Weight>,
}

/// Samples of a function by instruction; `None` when no sample has the function.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn code(
    reader: &mut Reader,
    within: impl Into<Within>,
    selector: &Selector,
    function: &FunctionIs,
) -> Result<Option<Code>, QueryError> {
    let mut snapshot = reader.snapshot()?;
    let counts = within.into().counts(&mut snapshot, selector, None)?;
    let here = |snapshot: &mut Snapshot<'_>, location: u32, frames: &[(CachedFrame, u32)]| {
        let found = frames.iter().any(|(frame, _)| function.fits(snapshot.frame(*frame)));
        let place = if found { Some(snapshot.place(location)?) } else { None };
        Ok(place.into_iter().map(|place| ((place.binary, place.offset), true)).collect())
    };
    let everywhere = weigh(&mut snapshot, &counts, function, here)?;
    let Some(binary) = heaviest(everywhere.rows.iter().map(|((binary, _), weight)| (*binary, weight))) else {
        return Ok(None);
    };
    let only = |snapshot: &mut Snapshot<'_>, location: u32, frames: &[(CachedFrame, u32)]| {
        let mut places = here(snapshot, location, frames)?;
        places.retain(|((of, _), _)| *of == binary);
        Ok(places)
    };
    let Found { total, rows } = weigh(&mut snapshot, &counts, function, only)?;
    let places = rows.into_iter().map(|((_, at), weight)| Weight { at, ..weight }).collect();
    Ok(Some(Code { binary: snapshot.binary(binary)?, total, measure: counts.measure, places: sorted(places) }))
}

/// Samples of a function by line; `None` when no sample has the function.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn lines(
    reader: &mut Reader,
    within: impl Into<Within>,
    selector: &Selector,
    function: &FunctionIs,
) -> Result<Option<Lines>, QueryError> {
    let mut snapshot = reader.snapshot()?;
    let counts = within.into().counts(&mut snapshot, selector, None)?;
    let here = |snapshot: &mut Snapshot<'_>, _: u32, frames: &[(CachedFrame, u32)]| {
        let mut places = Vec::new();
        for (nth, (frame, line)) in frames.iter().enumerate() {
            let frame = snapshot.frame(*frame);
            if function.fits(frame) {
                // The innermost comes last.
                places.push(((frame.file.clone(), *line), nth + 1 == frames.len()));
            }
        }
        Ok(places)
    };
    let everywhere = weigh(&mut snapshot, &counts, function, here)?;
    let by_file = everywhere.rows.iter().map(|((file, _), weight)| (file.clone(), weight));
    let Some(file) = heaviest(by_file) else { return Ok(None) };
    let binaries = RefCell::new(BTreeSet::new());
    let only = |snapshot: &mut Snapshot<'_>, location: u32, frames: &[(CachedFrame, u32)]| {
        let mut places = here(snapshot, location, frames)?;
        places.retain(|((of, _), _)| *of == file);
        if !places.is_empty() {
            binaries.borrow_mut().insert(snapshot.place(location)?.binary);
        }
        Ok(places)
    };
    let Found { total, rows } = weigh(&mut snapshot, &counts, function, only)?;
    let with_line = rows.into_iter().filter(|((_, line), _)| *line > 0);
    let places = with_line.map(|((_, line), weight)| Weight { at: line.into(), ..weight }).collect();
    let binaries = binaries.into_inner().into_iter().map(|binary| snapshot.binary(binary));
    let binaries = binaries.collect::<Result<_, StoreError>>()?;
    Ok(Some(Lines { file, binaries, total, measure: counts.measure, places: sorted(places) }))
}

fn sorted(mut places: Vec<Weight>) -> Vec<Weight> {
    places.sort_unstable_by_key(|place| place.at);
    places
}

/// The key with the most samples; of equal ones the smallest, so that an answer is always the same.
fn heaviest<'a, K: Ord + Hash + Clone>(weights: impl Iterator<Item = (K, &'a Weight)>) -> Option<K> {
    let mut sums: HashMap<K, (u64, u64)> = HashMap::new();
    for (key, weight) in weights {
        let sum = sums.entry(key).or_default();
        *sum = (sum.0.saturating_add(weight.self_), sum.1.saturating_add(weight.total));
    }
    let order = |(key, (own, total)): &(K, (u64, u64))| (*own, *total, std::cmp::Reverse(key.clone()));
    sums.into_iter().max_by_key(order).map(|(key, _)| key)
}

struct Found<K> {
    total: u64,
    /// `at` is not set.
    rows: Vec<(K, Weight)>,
}

/// Places on the way from the root to a stack: the list of its parent and one more.
#[derive(Clone, Copy)]
struct Link {
    before: u32,
    key: u32,
}

/// Adds up samples by the places that `places` finds at each location, given the frames there, outer first; with each place whether
/// samples taken there are its own.
fn weigh<K: Eq + Hash + Clone>(
    snapshot: &mut Snapshot<'_>,
    counts: &Counts,
    function: &FunctionIs,
    places: impl Fn(&mut Snapshot<'_>, u32, &[(CachedFrame, u32)]) -> Result<Vec<(K, bool)>, StoreError>,
) -> Result<Found<K>, QueryError> {
    let mut on_stack = OnStack::default();
    let mut keys: HashMap<K, u32> = HashMap::new();
    let mut rows: Vec<(K, Weight)> = Vec::new();
    let mut of_location: RowMap<u32, Vec<(u32, bool)>> = RowMap::default();
    // List 0 is empty. Lists come after those that they go on from.
    let mut links = vec![Link { before: 0, key: u32::MAX }];
    let mut own = vec![0_u64];
    let mut list_of: RowMap<u32, u32> = RowMap::default();
    list_of.insert(0, 0);
    for top in counts.tops() {
        for (nth, (stack, samples)) in counts.stacks(top).enumerate() {
            if nth % CHECK == 0 {
                snapshot.check()?;
            }
            let at = snapshot.function(StackId(stack))?;
            if !on_stack.is(snapshot, function, at) {
                continue;
            }
            // Up to where the list is known, then down again.
            let (mut at, mut way) = (stack, Vec::new());
            while !list_of.contains_key(&at) {
                let node = snapshot.stack(StackId(at))?;
                way.push((at, node.location));
                at = node.parent.0;
            }
            let mut list = list_of[&at];
            for (stack, location) in way.into_iter().rev() {
                if let Entry::Vacant(entry) = of_location.entry(location) {
                    let frames: Vec<_> =
                        snapshot.frames_at(location)?.map(|placed| (placed.frame, placed.line)).collect();
                    let found = places(snapshot, location, &frames)?.into_iter().map(|(key, inner)| {
                        let id = *keys.entry(key.clone()).or_insert_with(|| {
                            rows.push((key, Weight { at: 0, self_: 0, total: 0 }));
                            rows.len() as u32 - 1
                        });
                        (id, inner)
                    });
                    entry.insert(found.collect());
                }
                for (key, _) in &of_location[&location] {
                    if !is_on(&links, list, *key) {
                        links.push(Link { before: list, key: *key });
                        own.push(0);
                        list = links.len() as u32 - 1;
                    }
                }
                list_of.insert(stack, list);
            }
            own[list as usize] = own[list as usize].saturating_add(samples);
            let leaf = if stack == 0 { 0 } else { snapshot.stack(StackId(stack))?.location };
            for (key, inner) in of_location.get(&leaf).into_iter().flatten() {
                if *inner {
                    let weight = &mut rows[*key as usize].1;
                    weight.self_ = weight.self_.saturating_add(samples);
                }
            }
        }
    }
    let mut total = 0_u64;
    for list in (1..links.len()).rev() {
        let Link { before, key } = links[list];
        let samples = own[list];
        let weight = &mut rows[key as usize].1;
        weight.total = weight.total.saturating_add(samples);
        if before == 0 {
            total = total.saturating_add(samples);
        } else {
            own[before as usize] = own[before as usize].saturating_add(samples);
        }
    }
    Ok(Found { total, rows })
}

/// Whether a list has a place. As long as a stack at most, and mostly empty.
fn is_on(links: &[Link], mut list: u32, key: u32) -> bool {
    while list != 0 {
        let link = links[list as usize];
        if link.key == key {
            return true;
        }
        list = link.before;
    }
    false
}

/// Which nodes of the tree of frames have the function on the way to them.
#[derive(Default)]
struct OnStack {
    known: Vec<Option<bool>>,
}

impl OnStack {
    fn is(&mut self, snapshot: &Snapshot<'_>, function: &FunctionIs, at: FunctionId) -> bool {
        self.known.resize(self.known.len().max(snapshot.functions()), None);
        let (mut at, mut way) = (at, Vec::new());
        let found = loop {
            if at.0 == 0 {
                break false;
            }
            if let Some(known) = self.known[at.0 as usize] {
                break known;
            }
            way.push(at);
            let (caller, frame) = snapshot.caller(at);
            if function.fits(snapshot.frame(frame)) {
                break true;
            }
            at = caller;
        };
        way.into_iter().for_each(|node| self.known[node.0 as usize] = Some(found));
        found
    }
}

#[cfg(test)]
mod tests;
