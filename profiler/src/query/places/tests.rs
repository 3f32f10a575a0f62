//! Places of functions against stacks drawn by hand, and against a plain sum.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::profile::{SourceLine, Symbol, Symbolized, TimeRange, WallNanos};
use crate::store::Store;
use crate::store::drawing::{drawn_name, window};

const ALL_TIME: TimeRange = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };

/// A store in which the place `f1` is line 1 of function `f`, and `g_f2` line 2 of `f` inlined into `g`.
fn reader(drawing: &str) -> (tempfile::TempDir, Reader) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let (mut store, _) = Store::open(&path).unwrap();
    let unnamed = store.write_window(&window(0, drawing)).unwrap();
    let names = unnamed.iter().map(|unnamed| {
        let place = drawn_name(unnamed.place);
        let mut symbols: Vec<Symbol> = place
            .split('_')
            .rev()
            .map(|part| {
                let (name, line) = part.split_at(1);
                let source = Some(SourceLine { file: format!("{name}.c").into(), line: line.parse().ok() });
                Symbol { name: name.into(), raw: None, source, declared: None, inlined: true }
            })
            .collect();
        symbols.last_mut().unwrap().inlined = false;
        (unnamed.location, Symbolized::Named(symbols))
    });
    store.write_names(&names.collect::<Vec<_>>()).unwrap();
    (folder, Reader::open(&path).unwrap())
}

fn named(name: &str) -> FunctionIs {
    FunctionIs { name: name.into(), ..FunctionIs::default() }
}

fn by_line(reader: &mut Reader, name: &str) -> (u64, Vec<(u64, u64, u64)>) {
    let found = lines(reader, ALL_TIME, &Selector::default(), &named(name)).unwrap().unwrap();
    (found.total, found.places.iter().map(|place| (place.at, place.self_, place.total)).collect())
}

/// A line's self is what was taken in it, its total what it or its callees took; recursion and inlining count once.
#[test]
fn lines_have_what_was_taken_in_them_and_below() {
    let drawing = "web/7  m1;f1 x5\nweb/7  m1;f2;g1 x3\nweb/7  m1;f2;f2;f1 x2\nweb/8  m1;g9_f1 x1\nweb/8  m1 x9";
    let (_folder, mut reader) = reader(drawing);
    assert_eq!(by_line(&mut reader, "f"), (11, vec![(1, 8, 8), (2, 0, 5)]));
    assert_eq!(by_line(&mut reader, "g"), (4, vec![(1, 3, 3), (9, 0, 1)]));
    assert_eq!(by_line(&mut reader, "m"), (20, vec![(1, 9, 20)]));
    let nobody = lines(&mut reader, ALL_TIME, &Selector::default(), &named("x")).unwrap();
    assert!(nobody.is_none());
}

/// An instruction has all samples taken at it, whatever was inlined there; only those where the function is are its own.
#[test]
fn instructions_are_the_places_of_the_function() {
    let (_folder, mut reader) = reader("web/7  m1;f1 x5\nweb/7  m1;g9_f1 x2\nweb/7  m1;g9_f1;h1 x4\nweb/7  m1;g2 x1");
    let found = code(&mut reader, ALL_TIME, &Selector::default(), &named("g")).unwrap().unwrap();
    assert_eq!((found.binary.path.as_str(), found.total), ("/usr/bin/app", 7));
    let weights: Vec<_> = found.places.iter().map(|place| (place.self_, place.total)).collect();
    assert_eq!(weights, [(1, 1), (2, 6)], "by rising offset: g2 before g9_f1");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Whatever the stacks are, each line has what counting stack by stack gives it.
    #[test]
    fn lines_equal_a_plain_sum(
        stacks in proptest::collection::vec((proptest::collection::vec((0..3_usize, 1..4_u32), 1..6), 1..9_u64), 1..12)
    ) {
        let name = |(function, line): &(usize, u32)| format!("{}{line}", ["f", "g", "h"][*function]);
        let line = |(stack, samples): &(Vec<(usize, u32)>, u64)| {
            format!("web/7  {} x{samples}", stack.iter().map(name).collect::<Vec<_>>().join(";"))
        };
        let (_folder, mut reader) = reader(&stacks.iter().map(line).collect::<Vec<_>>().join("\n"));
        let (mut own, mut below, mut total) = (BTreeMap::<u64, u64>::new(), BTreeMap::<u64, u64>::new(), 0);
        for (stack, samples) in &stacks {
            let lines: BTreeSet<u64> =
                stack.iter().filter(|(function, _)| *function == 0).map(|(_, line)| u64::from(*line)).collect();
            lines.iter().for_each(|line| *below.entry(*line).or_default() += samples);
            total += if lines.is_empty() { 0 } else { *samples };
            if let Some((0, line)) = stack.last() {
                *own.entry(u64::from(*line)).or_default() += samples;
            }
        }
        if total > 0 {
            let model = below.iter().map(|(at, sum)| (*at, own.get(at).copied().unwrap_or(0), *sum)).collect();
            prop_assert_eq!(by_line(&mut reader, "f"), (total, model));
        }
    }
}
