//! Adding up the pieces of a range: samples by (process name, note, stack).
//!
//! Reads packed stacks as they come and keeps only sums, so its memory is the number of distinct stacks, however long the
//! range, and bounded. Numbers only, no names: see [`super::grow`].

use std::collections::HashMap;
use std::sync::Arc;

use super::labels::Label;
use super::sieve::Sieve;
use super::sparse::Sparse;
use super::{QueryError, Selector, note};
use crate::profile::{Measure, StackEnd, TimeRange};
use crate::store::{Edge, Group, Piece, RowSums, Snapshot, Stacks, StoreError, TopSums};

/// Most memory of the sums of one question: ten million distinct stacks in a row, or half a million far apart.
const MOST_BYTES: usize = 192 << 20;

/// What hangs from the root: a process name, and the note where a stack is cut short; by the value of a label, if one is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Top {
    /// Row of the label's value.
    pub(super) value: Option<u32>,
    /// Row of the name in `string`.
    pub(super) comm: u32,
    /// How the stacks end, where that is worth a note.
    pub(super) end: Option<StackEnd>,
}

impl Top {
    fn of(snapshot: &mut Snapshot<'_>, group: &Group, by: Option<Label>) -> Result<Self, QueryError> {
        let value = by.map(|label| label.of(snapshot, group)).transpose()?;
        let end = Some(group.key.end).filter(|end| note(*end).is_some());
        Ok(Self { value, comm: snapshot.process(group.key.process)?.comm, end })
    }
}

/// What a range and a selector come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Whose values what hangs from the root is grouped by.
    pub(super) by: Option<Label>,
    tops: HashMap<Top, usize>,
    stacks: Sparse,
    /// What all these numbers stand for.
    pub(super) measure: Measure,
    /// All of them.
    pub(super) total: u64,
    /// Those whose user stack is cut short.
    pub(super) incomplete: u64,
    /// Time that windows cover, in nanoseconds.
    pub(super) length: u64,
}

impl Counts {
    /// Nothing yet.
    pub(super) fn by(by: Option<Label>, measure: Measure) -> Self {
        Self { by, measure, ..Self::default() }
    }

    /// Everything that hangs from the root.
    pub(super) fn tops(&self) -> impl Iterator<Item = Top> {
        self.tops.keys().copied()
    }

    /// What is below one of [`Self::tops`] by stack, the smallest first; nothing below others.
    pub(super) fn stacks(&self, top: Top) -> impl DoubleEndedIterator<Item = (u32, u64)> {
        self.tops.get(&top).into_iter().flat_map(|group| self.stacks.iter(*group))
    }

    /// Adds the samples of a group, which passed.
    fn group(&mut self, snapshot: &mut Snapshot<'_>, hz: u32, group: &Group) -> Result<usize, QueryError> {
        self.count(hz, group.key.end, group.samples);
        let top = Top::of(snapshot, group, self.by)?;
        let stacks = &mut self.stacks;
        Ok(*self.tops.entry(top).or_insert_with(|| stacks.group()))
    }

    fn count(&mut self, hz: u32, end: StackEnd, samples: u64) -> u64 {
        let value = samples.saturating_mul(self.measure.weight(hz));
        self.total = self.total.saturating_add(value);
        if !end.is_complete() {
            self.incomplete = self.incomplete.saturating_add(value);
        }
        value
    }

    /// Adds samples of one stack.
    pub(super) fn add(
        &mut self,
        snapshot: &mut Snapshot<'_>,
        hz: u32,
        group: &Group,
        stack: u32,
        samples: u64,
    ) -> Result<(), QueryError> {
        let value = self.count(hz, group.key.end, samples);
        let top = Top::of(snapshot, group, self.by)?;
        let stacks = &mut self.stacks;
        let at = *self.tops.entry(top).or_insert_with(|| stacks.group());
        self.stacks.add(at, stack, value);
        self.check()
    }

    /// Adds what passes of a piece: from what an earlier question made of it, or else for later ones too.
    fn piece(
        &mut self,
        snapshot: &mut Snapshot<'_>,
        sieve: &mut Sieve<'_>,
        piece: &Piece,
        question: &Arc<str>,
    ) -> Result<(), QueryError> {
        let sums = match snapshot.kept(piece, question) {
            Ok(kept) => kept,
            Err(None) => return self.read(snapshot, sieve, piece),
            Err(Some(key)) => {
                // Samples are kept: another range may have other rates beside them.
                let mut own = Self::by(self.by, Measure::default());
                own.read(snapshot, sieve, piece)?;
                let sums = Arc::new(own.into_sums());
                snapshot.keep(key, &sums);
                sums
            }
        };
        self.add_sums(piece.series.hz, &sums);
        self.check()
    }

    /// As they are kept. More samples of a stack than are countable there are several entries.
    fn into_sums(self) -> RowSums {
        let top = |top: Top| {
            let mut stacks = Vec::new();
            self.stacks(top).for_each(|(stack, mut samples)| {
                while samples > 0 {
                    let some = u32::try_from(samples).unwrap_or(u32::MAX);
                    stacks.push((stack, some));
                    samples -= u64::from(some);
                }
            });
            stacks.shrink_to_fit();
            TopSums { value: top.value, comm: top.comm, end: top.end, stacks }
        };
        RowSums { samples: self.total, incomplete: self.incomplete, tops: self.tops().map(top).collect() }
    }

    fn add_sums(&mut self, hz: u32, row: &RowSums) {
        let weight = self.measure.weight(hz);
        self.total = self.total.saturating_add(row.samples.saturating_mul(weight));
        self.incomplete = self.incomplete.saturating_add(row.incomplete.saturating_mul(weight));
        for TopSums { value, comm, end, stacks } in &row.tops {
            let sums = &mut self.stacks;
            let at = *self.tops.entry(Top { value: *value, comm: *comm, end: *end }).or_insert_with(|| sums.group());
            let (mut near, mut leaf) = (u32::MAX, 0);
            for (stack, samples) in stacks {
                if near != stack >> 6 {
                    (near, leaf) = (stack >> 6, sums.leaf(at, *stack));
                }
                sums.add_at(leaf, *stack, u64::from(*samples).saturating_mul(weight));
            }
        }
    }

    fn read(&mut self, snapshot: &mut Snapshot<'_>, sieve: &mut Sieve<'_>, piece: &Piece) -> Result<(), QueryError> {
        // Most pieces have nothing of a rare process: who is in one is read first.
        if !sieve.is_open() {
            let groups = snapshot.groups(piece)?;
            if !some_pass(snapshot, sieve, groups)? {
                return Ok(());
            }
        }
        let stacks = snapshot.stacks(piece)?;
        self.take(snapshot, sieve, piece.series.hz, &stacks)
    }

    /// Adds what passes of some stacks.
    fn take(
        &mut self,
        snapshot: &mut Snapshot<'_>,
        sieve: &mut Sieve<'_>,
        hz: u32,
        stacks: &Stacks,
    ) -> Result<(), QueryError> {
        let mut places = vec![None; stacks.groups().len()];
        for (place, group) in places.iter_mut().zip(stacks.groups()) {
            if sieve.passes(snapshot, group)? {
                *place = Some(self.group(snapshot, hz, group)?);
            }
        }
        let weight = self.measure.weight(hz);
        // The leaf of the entry before: the next one is often beside it.
        let (mut near, mut leaf) = ((usize::MAX, 0), 0);
        let sums = &mut self.stacks;
        stacks.each(
            |at, _| places[at].is_some(),
            |at, stack, count| {
                if near != (at, stack.0 >> 6) {
                    (near, leaf) = ((at, stack.0 >> 6), sums.leaf(places[at].unwrap_or_default(), stack.0));
                }
                sums.add_at(leaf, stack.0, count.saturating_mul(weight));
            },
        )?;
        self.check()
    }

    fn check(&self) -> Result<(), QueryError> {
        if self.stacks.bytes() > MOST_BYTES { Err(QueryError::TooLarge) } else { Ok(()) }
    }
}

/// What numbers of samples that are stored in these pieces stand for.
pub(super) fn measure_of(pieces: &[Piece]) -> Measure {
    Measure::of(pieces.iter().map(|piece| piece.series.hz))
}

/// Whether some group passes.
fn some_pass(
    snapshot: &mut Snapshot<'_>,
    sieve: &mut Sieve<'_>,
    groups: impl IntoIterator<Item = Group>,
) -> Result<bool, QueryError> {
    for group in groups {
        if sieve.passes(snapshot, &group)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds up everything in the range that passes the selector. What is only a part of an hour takes the longest to read: another
/// thread does one of two.
pub(super) fn merge(snapshot: &mut Snapshot<'_>, range: TimeRange, selector: &Selector) -> Result<Counts, QueryError> {
    merge_by(snapshot, range, selector, None)
}

/// The same, by the values of a label.
pub(super) fn merge_by(
    snapshot: &mut Snapshot<'_>,
    range: TimeRange,
    selector: &Selector,
    by: Option<Label>,
) -> Result<Counts, QueryError> {
    let mut sieve = Sieve::new(selector);
    let question = format!("{by:?} {}", selector.key()).into();
    let mut pieces = snapshot.pieces(range, i64::MAX)?;
    let mut counts = Counts::by(by, measure_of(&pieces));
    counts.length = pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.numbers.length));
    let mut edges = snapshot.edges(&mut pieces)?;
    if !sieve.is_open() {
        let mut some = Vec::new();
        for edge in edges {
            if some_pass(snapshot, &mut sieve, edge.candidates()?)? {
                some.push(edge);
            }
        }
        edges = some;
    }
    // Alone, an edge is worth a thread if there is something else to do meanwhile.
    let there = edges.split_off(if pieces.is_empty() { edges.len().div_ceil(2) } else { edges.len() / 2 });
    let read = |edges: Vec<Edge>| -> Result<Vec<(u32, Vec<_>)>, StoreError> {
        edges.into_iter().map(|edge| Ok((edge.hz, edge.profiles()?))).collect()
    };
    std::thread::scope(|scope| -> Result<Counts, QueryError> {
        let there = (!there.is_empty()).then(|| scope.spawn(move || read(there)));
        for piece in &pieces {
            counts.piece(snapshot, &mut sieve, piece, &question)?;
        }
        let mut profiles = read(edges)?;
        if let Some(there) = there {
            profiles.extend(there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        for (hz, profiles) in profiles {
            for profile in profiles {
                counts.take(snapshot, &mut sieve, hz, &Stacks::Listed(profile))?;
            }
        }
        Ok(counts)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::profile::{WallNanos, period};
    use crate::query::{
        FunctionIs, Shape, TopRows, code, flame_graph, flame_graph_from, label_values, note_in, parse_selector, series,
        top,
    };
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

    /// The file that all drawn user frames are in.
    const FILE: &str = "/usr/bin/app";

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
                let file = self.stack.first().map(|_| FILE);
                path.push(note_in(StackEnd::FramePointerLost, file).unwrap());
            }
            path.extend(self.stack.iter().map(|name| format!("f{name}")));
            path.join(";")
        }
    }

    fn line() -> impl Strategy<Value = Line> {
        (0..3_u8, 1..5_u8, 0..2_u8, any::<bool>(), vec(0..4_u8, 0..6), 1..100_u64)
            .prop_map(|(comm, pid, thread, cut, stack, count)| Line { comm, pid, thread, cut, stack, count })
    }

    /// What the tree holds: CPU time by the names above the root.
    fn selves(reader: &mut Reader, range: TimeRange, selector: &str) -> BTreeMap<String, u64> {
        let merged = flame_graph(reader, range, &parse_selector(selector).unwrap(), usize::MAX).unwrap();
        let (tree, nanos) = (merged.tree, merged.measure.scale());
        let mut path = Vec::new();
        let walk = |node: &crate::profile::Node| {
            path.truncate(node.depth as usize);
            path.push(tree.frames[node.frame.0 as usize].name.to_string());
            (path[1..].join(";"), node.self_ * nanos)
        };
        tree.nodes.iter().map(walk).filter(|(_, samples)| *samples > 0).collect()
    }

    /// Windows here and there over three days, of two rates, some of them when the clock had stepped back; tended now and then.
    fn history() -> impl Strategy<Value = Vec<(u64, bool, bool, Vec<Line>)>> {
        let place = prop_oneof![0..40_u64, 0..800_u64, 0..26_000_u64];
        vec((place, any::<bool>(), any::<bool>(), vec(line(), 1..6)), 1..14)
    }

    proptest! {
        // Each case writes a database.
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// However windows were packed and rolled up, in whatever order they came: any range has what its windows have, and any
        /// split of a range adds up to the whole.
        #[test]
        fn roll_ups_change_no_answer(history in history(), cuts in vec(0..26_000_u64, 1..4)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.db");
            let (mut store, _) = Store::open(&path).unwrap();
            let mut windows = BTreeMap::new();
            for (nth, (place, slow, tend, lines)) in (0..).zip(history) {
                let drawing: Vec<_> = lines.iter().map(Line::draw).collect();
                let mut window = window(place, &drawing.join("\n"));
                // Always later by the boot clock, whatever the wall clock says.
                let length = window.end.0 - window.start.0;
                window.start.0 = 1_000_000_000_000_000 + nth * length;
                window.end.0 = window.start.0 + length;
                window.hz = if slow { 19 } else { 97 };
                let unnamed = store.write_window(&window).unwrap();
                name_all(&mut store, &unnamed);
                while tend && store.tend().unwrap() {}
                let nanos = period(window.hz);
                windows.entry(place).or_insert_with(Vec::new).extend(lines.into_iter().map(|line| (line, nanos)));
            }
            let wall = |n: u64| WallNanos((EPOCH + (n * SECONDS) as i64) * 1_000_000_000);
            let mut reader = Reader::open(&path).unwrap();
            let mut edges = cuts;
            edges.extend([0, 26_000]);
            edges.sort_unstable();
            for tended in [false, true] {
                while tended && store.tend().unwrap() {}
                let mut whole = BTreeMap::new();
                for pair in edges.windows(2) {
                    let range = TimeRange { from: wall(pair[0]), to: wall(pair[1]) };
                    let mut model = BTreeMap::new();
                    for (line, nanos) in windows.range(pair[0]..pair[1]).flat_map(|(_, lines)| lines) {
                        *model.entry(line.path()).or_default() += line.count * nanos;
                        *whole.entry(line.path()).or_default() += line.count * nanos;
                    }
                    prop_assert_eq!(selves(&mut reader, range, ""), model);
                }
                let all = TimeRange { from: WallNanos(i64::MIN), to: WallNanos(i64::MAX) };
                prop_assert_eq!(selves(&mut reader, all, ""), whole);
            }
        }

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
                    *model.entry(line.path()).or_default() += line.count * 10_000_000;
                }
                prop_assert_eq!(selves(&mut reader, range, selector), model, "{}", selector);
            }
        }
    }

    /// What another question has made of a roll-up answers as the row itself does, by selector and label, also once the row has grown.
    #[test]
    fn what_is_kept_of_roll_ups_answers_as_they_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        let write = |store: &mut Store, n: u64, late: u64| {
            let mut window =
                window(n, &format!("a/1~t{}  f;g x{}\na/2  !f x{}\nb/3  g x{late}", n % 3, n % 7 + 1, n % 5 + 1));
            window.start.0 += late * 1_000_000_000_000_000;
            window.end.0 += late * 1_000_000_000_000_000;
            let unnamed = store.write_window(&window).unwrap();
            name_all(store, &unnamed);
        };
        let sums = Arc::default();
        let mut readers = [0; 2].map(|_| Reader::sharing(&path, Arc::clone(&sums)).unwrap());
        let all = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
        let hours = |n: i64| WallNanos((EPOCH + n * 3600) * 1_000_000_000);
        for late in 1..3 {
            (0..900).step_by(20).for_each(|n| write(&mut store, n, late));
            while store.tend().unwrap() {}
            for range in [all, TimeRange { from: hours(0), to: hours(1) }] {
                for selector in ["", r#"comm="a""#, r#"thread!="t1""#, r#"comm!="a""#] {
                    let selector = parse_selector(selector).unwrap();
                    for group in [None, Some("pid".to_owned()), Some("thread".to_owned())] {
                        let shape = Shape { group, max_nodes: 1000, ..Shape::default() };
                        let ask = |reader: &mut Reader| {
                            let merged = flame_graph_from(reader, range, &selector, &shape).unwrap();
                            (format!("{:?}", merged.tree), merged.measure)
                        };
                        let want = ask(&mut Reader::open(&path).unwrap());
                        assert!(readers.iter_mut().all(|reader| ask(reader) == want), "{shape:?}");
                    }
                }
            }
        }
    }

    /// Ten seconds at 97 Hz in which one function takes nine tenths, and ten at 19 Hz in which it takes one: half of the range each,
    /// however they are asked for, in whatever order they come and however they are kept. Samples are 892 to 268.
    #[test]
    fn shares_weigh_time_not_samples() {
        let fast = (97, "web/7  main;fast x873\nweb/7  main;slow x97");
        let slow = (19, "web/7  main;fast x19\nweb/7  main;slow x171");
        for order in [[fast, slow], [slow, fast]] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.db");
            let (mut store, _) = Store::open(&path).unwrap();
            for (n, (hz, drawing)) in (0..).zip(order) {
                let mut window = window(n, drawing);
                window.hz = hz;
                let unnamed = store.write_window(&window).unwrap();
                name_all(&mut store, &unnamed);
            }
            for packed in [false, true] {
                while packed && store.tend().unwrap() {}
                half_each(&mut Reader::open(&path).unwrap(), order.map(|(hz, _)| hz));
            }
        }
    }

    /// To the millisecond: a period is rounded to nanoseconds.
    fn half_each(reader: &mut Reader, rates: [u32; 2]) {
        let everything = Selector::default();
        let all = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
        let millis = |nanos: u64| (nanos + 500_000) / 1_000_000;
        let merged = flame_graph(reader, all, &everything, 100).unwrap();
        assert_eq!((merged.measure.scale(), merged.measure.counts_samples()), (1, false));
        let found: Vec<_> = merged.tree.nodes.iter().map(|node| millis(node.total)).collect();
        assert_eq!(found, [20_000, 20_000, 20_000, 10_000, 10_000]);
        assert_eq!(millis(merged.kinds.iter().sum()), 20_000);
        assert_eq!(
            merged.hottest.map(|hottest| (millis(hottest.total), millis(hottest.self_))),
            Some((20_000, 10_000))
        );
        let values = label_values(reader, all.into(), &everything, "comm", 10).unwrap();
        assert_eq!(
            (millis(values.values[0].1), millis(values.total), values.measure),
            (20_000, 20_000, merged.measure)
        );
        let wanted = TopRows { max_rows: 9, ..TopRows::default() };
        let rows = top(reader, all.into(), &everything, &wanted).unwrap().rows;
        assert_eq!(rows.iter().map(|row| millis(row.self_)).collect::<Vec<_>>(), [10_000, 10_000, 0]);
        let is = FunctionIs { name: "fast".into(), ..FunctionIs::default() };
        assert_eq!(millis(code(reader, all, &everything, &is).unwrap().unwrap().total), 10_000);
        let both = flame_graph(reader, all, &parse_selector("pid=7").unwrap(), 100).unwrap();
        assert_eq!(both.tree.nodes[0].total, merged.tree.nodes[0].total);
        let bands = series(reader, all, &everything, 100, "comm", 5).unwrap();
        assert_eq!(millis(bands.values[0].1.iter().sum()), 20_000);
        // Of one rate they are samples.
        let wall = |n: u64| WallNanos((EPOCH + (n * SECONDS) as i64) * 1_000_000_000);
        for (n, hz) in (0..).zip(rates) {
            let merged = flame_graph(reader, TimeRange { from: wall(n), to: wall(n + 1) }, &everything, 100).unwrap();
            assert_eq!((merged.tree.nodes[0].total, merged.measure), (10 * u64::from(hz), Measure::of([hz])));
        }
    }
}
