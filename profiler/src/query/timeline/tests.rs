//! Buckets, gaps and shares of drawn histories.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::profile::LossCause;
use crate::query::parse_selector;
use crate::store::Store;
use crate::store::drawing::{EPOCH, SECONDS, window};

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange { from: WallNanos((EPOCH + from) * SECOND), to: WallNanos((EPOCH + to) * SECOND) }
}

/// Buckets lie on multiples of the step and are as fine as the points allow, but never finer than a window.
#[test]
fn steps_are_human_and_aligned() {
    let hour = 3_600;
    for (from, to, window, points, step) in [
        (0, 600, 10, 600, 10),
        (0, 600, 30, 600, 30),
        (0, 600, 7, 20, 30),
        (0, hour, 10, 600, 10),
        (0, 24 * hour, 10, 600, 300),
        (0, 24 * hour, 10, 100, 900),
        (0, 30 * 24 * hour, 10, 600, 6 * hour),
        (0, 900 * 24 * hour, 10, 600, 48 * hour),
        (5, 595, 10, 600, 10),
    ] {
        let grid = Grid::new(range(from, to), window * SECOND as u64, points);
        assert_eq!(grid.step, step * SECOND, "{from}..{to}");
        assert_eq!(grid.start, EPOCH * SECOND + from * SECOND / grid.step * grid.step);
        let end = grid.start + grid.step * grid.buckets as i64;
        assert!((0..grid.step).contains(&(end - range(from, to).to.0)));
    }
}

/// Writes a drawn window of `seconds`, `at` seconds after the epoch.
fn write(store: &mut Store, at: i64, seconds: i64, drawing: &str) {
    let mut window = window(at.cast_unsigned() / SECONDS, drawing);
    let shift = at - at / SECONDS.cast_signed() * SECONDS.cast_signed();
    window.wall_start.0 += shift * SECOND;
    window.start.0 += (shift * SECOND).cast_unsigned();
    window.wall_end.0 = window.wall_start.0 + seconds * SECOND;
    window.end.0 = window.start.0 + (seconds * SECOND).cast_unsigned();
    store.write_window(&window).unwrap();
}

/// The history of these windows (start and length in seconds), 100 samples a second each, asked about.
fn asked(windows: &[(i64, i64)], about: TimeRange) -> Timeline {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let (mut store, _) = Store::open(&path).unwrap();
    for (at, seconds) in windows {
        write(&mut store, *at, *seconds, &format!("web/7  main x{}", seconds * 100));
    }
    timeline(&mut Reader::open(&path).unwrap(), about, &Selector::default(), 600).unwrap()
}

fn columns(timeline: &Timeline) -> Vec<(u64, Option<f64>)> {
    timeline.buckets.iter().map(|bucket| (bucket.samples, bucket.busy_cores)).collect()
}

/// A range that begins inside the history: the window before it reaches into its first bucket, which is recorded and counts none
/// of that window's samples, for these are not the range's. There is no gap, and nothing began.
#[test]
fn a_bucket_that_an_earlier_window_overlaps_is_recorded() {
    let found = asked(&[(3, 10), (13, 10), (23, 10)], range(8, 33));
    assert_eq!(columns(&found), [(0, Some(1.0)), (1000, Some(1.0)), (1000, Some(1.0)), (0, Some(1.0))]);
    assert_eq!((found.gaps, found.resumed), (vec![], vec![]));
    assert_eq!(found.cpus, 2);
}

/// A stalled collector closes one window after 35 s: each bucket under it has its share, and all of them every sample.
#[test]
fn a_long_window_is_spread_over_the_buckets_it_covers() {
    let found = asked(&[(0, 10), (10, 35), (45, 10), (55, 10)], range(0, 60));
    let expected = [1000, 1000, 1000, 1000, 1500, 1000].map(|samples| (samples, Some(1.0)));
    assert_eq!(columns(&found), expected);
    assert_eq!((found.gaps, found.resumed), (vec![], vec![]));
}

/// What lies beyond the range of a window that begins in it still counts, in the range's last buckets.
#[test]
fn every_sample_of_a_window_over_the_end_counts() {
    let found = asked(&[(0, 10), (10, 1000)], range(0, 40));
    let samples: u64 = found.buckets.iter().map(|bucket| bucket.samples).sum();
    assert_eq!(samples, 101_000, "{:?}", columns(&found));
}

/// Gaps are where no window was open, to the second; recording went on after one that something was recorded before.
#[test]
fn gaps_lie_between_the_end_of_a_window_and_the_start_of_the_next() {
    let found = asked(&[(10, 10), (20, 10), (47, 10)], range(0, 80));
    let at = |second: i64| WallNanos((EPOCH + second) * SECOND);
    let gap = |from, to| TimeRange { from: at(from), to: at(to) };
    assert_eq!(found.gaps, [gap(0, 10), gap(30, 47), gap(57, 80)]);
    assert_eq!(found.resumed, [at(47)], "the oldest window may have had others before it");
    assert_eq!(found.known_until, Some(at(57)));
    let recorded: Vec<bool> = found.buckets.iter().map(|bucket| bucket.busy_cores.is_some()).collect();
    assert_eq!(recorded, [false, true, true, false, true, true, false, false]);
}

/// The values of a label add up to the whole in each bucket, spread windows too.
#[test]
fn series_are_spread_as_the_whole_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let (mut store, _) = Store::open(&path).unwrap();
    write(&mut store, 0, 10, "web/7  main x10");
    write(&mut store, 10, 10, "web/7  main x10");
    write(&mut store, 20, 40, "web/7  main x40\ndb/8  main x80");
    let mut reader = Reader::open(&path).unwrap();
    let found = series(&mut reader, range(0, 60), &Selector::default(), 600, "comm", 1).unwrap();
    assert_eq!(found.values, [("db".to_owned(), vec![0, 0, 20, 20, 20, 20])]);
    assert_eq!(found.others, [10, 10, 10, 10, 10, 10]);
}

/// Samples, cores, utilisation and losses of each bucket; nothing recorded is `None`, not zero.
#[test]
fn buckets_tell_recorded_from_idle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let (mut store, _) = Store::open(&path).unwrap();
    // 100 Hz: 500 samples in ten seconds are half a core.
    store.write_window(&window(0, "web/7  main x500\nweb/7  !main x100\ndb/8~io  main x400")).unwrap();
    let mut lossy = window(1, "");
    lossy.losses.add(LossCause::RingFull, 3);
    store.write_window(&lossy).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    let mut ask = |selector: &str| {
        let selector = parse_selector(selector).unwrap();
        timeline(&mut reader, range(0, 30), &selector, 600).unwrap()
    };
    let recorded = |samples, incomplete, cores, lost| Bucket {
        samples,
        incomplete,
        busy_cores: Some(cores),
        utilisation: Some(0.25),
        lost,
        missed: MissedTicks::default(),
        missed_share: Some(0.0),
    };
    let all = ask("");
    assert_eq!((all.start.0, all.step), (EPOCH * SECOND, 10 * SECOND));
    assert_eq!(all.buckets, [recorded(1000, 100, 1.0, 0), recorded(0, 0, 0.0, 3), Bucket::default()]);
    assert_eq!(ask("pid=7").buckets[0], recorded(600, 100, 0.6, 0));
    assert_eq!(ask(r#"thread="io""#).buckets[0], recorded(400, 0, 0.4, 0));
    assert_eq!(ask(r#"thread="main""#).buckets[0], recorded(600, 100, 0.6, 0));
}

proptest! {
    /// Any range gives a bounded number of buckets, and each of its instants has one.
    #[test]
    fn any_range_has_bounded_buckets(
        a in any::<i64>(), b in any::<i64>(), at in any::<i64>(), window in any::<u64>(), points in 0..30_000_usize,
    ) {
        let range = TimeRange { from: WallNanos(a.min(b)), to: WallNanos(a.max(b)) };
        let grid = Grid::new(range, window, points);
        prop_assert!((1..=MAX_POINTS).contains(&grid.buckets));
        prop_assert!(grid.step > 0 && grid.start <= range.from.0);
        prop_assert!(grid.bucket(at.clamp(range.from.0, range.to.0)) < grid.buckets);
    }

    /// Whatever part of a chart a window covers, its shares are disjoint and make up every number exactly.
    #[test]
    fn shares_add_up(from in 0..100_i64, length in 1..100_i64, start in -50..150_i64, window in 1..200_i64, n in any::<u64>()) {
        let grid = Grid::new(range(from, from + length), 0, 600);
        let shares = grid.spread((EPOCH + start) * SECOND, (EPOCH + start + window) * SECOND);
        prop_assert!(shares.windows(2).all(|two| two[0].to == two[1].from && two[0].bucket + 1 == two[1].bucket));
        if !shares.is_empty() {
            prop_assert_eq!(shares.iter().map(|share| share.of(n)).sum::<u64>(), n);
        }
    }
}
