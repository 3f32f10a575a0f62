//! Two ranges, or two selectors, against each other: one tree with both sides' samples, and how sure a difference is.
//!
//! Normalised, a side is its share of that side's samples: what changed in what the CPUs did. Absolute, it is CPU time by recorded
//! time: what changed in how much they did. Either way a difference says something only next to its noise, so each node has
//! a *z*: the difference in standard errors, if samples were independent (samples of one long call are not: it is
//! a lower bound of the noise). Below 2 either way a difference is what chance makes of equal sides one time in 20.
//!
//! ```text
//! share      z = (b/B - a/A) / sqrt(p (1 - p) (1/A + 1/B))     p = (a + b) / (A + B)       two binomial shares, pooled
//! absolute   z = (b t - a s) / sqrt(a s^2 + b t^2)             s, t = CPU time of a sample / recorded time   two Poisson rates
//! ```
//!
//! A side with samples of several rates is measured in nanoseconds ([`Measure`]): it has at most the noise of as many samples as there
//! would be if all were of the slowest rate.

use super::busy_lines::beside;
use super::grow::{Named, frame_of, grow, name};
use super::merge::{Counts, merge};
use super::path_hash::{PathHash, find};
use super::tree::{Labels, Scale};
use super::{QueryError, Selector};
use crate::profile::{Frame, FrameId, Measure, TimeRange};
use crate::store::Reader;

/// How two sides are made comparable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Each side's share of its own samples.
    #[default]
    Share,
    /// CPU time by recorded time: cores kept busy.
    Time,
}

/// One side of a [`Diff`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// All of it.
    pub total: u64,
    /// Those whose user stack is cut short.
    pub incomplete: u64,
    /// What its numbers stand for.
    pub measure: Measure,
    /// Time that windows cover, in nanoseconds.
    pub recorded_nanos: u64,
}

/// A node of both sides; order and sums as in [`crate::profile::CallTree`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiffNode {
    /// 0 for the root.
    pub depth: u32,
    /// Which frame.
    pub frame: FrameId,
    /// Samples here and below: before, after.
    pub total: [u64; 2],
    /// Samples that ended here: before, after.
    pub self_: [u64; 2],
    /// How sure the difference of the totals is, in standard errors; positive when there is more after.
    pub z: f64,
}

/// Two profiles as one tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    /// Before, after.
    pub sides: [Side; 2],
    /// The nodes, depth first, siblings by falling weight of both sides together.
    pub nodes: Vec<DiffNode>,
    /// The distinct frames.
    pub frames: Vec<Frame>,
    /// Nodes that remainders stand for.
    pub hidden_nodes: u64,
}

/// The difference of two questions, in at most `max_nodes` nodes: the heaviest of both sides together; with `below`, of those above and
/// below that node.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn diff(
    reader: &mut Reader,
    [before, after]: [(TimeRange, &Selector); 2],
    by: By,
    below: Option<PathHash>,
    max_nodes: usize,
) -> Result<Diff, QueryError> {
    let mut snapshot = reader.snapshot()?;
    let counts = [merge(&mut snapshot, before.0, before.1)?, merge(&mut snapshot, after.0, after.1)?];
    let counts = counts.each_ref();
    let sides = counts.map(side);
    let mut labels = Labels::new();
    let tree = grow(&mut snapshot, &mut labels, counts)?;
    let scale = Scale(sides.map(|side| unit(&side, by) * WEIGHT));
    let nodes = tree.len();
    let cut = || {
        let below = below.and_then(|path| find(&tree, path, |shown| frame_of(&snapshot, &labels, shown)));
        let totals = tree.totals();
        let kept = tree.cut_below(below, totals, scale, max_nodes);
        (name(&snapshot, &labels, &kept, scale), kept.hidden_nodes)
    };
    let ((named, hidden_nodes), lines) = beside(snapshot.loaded(), counts, nodes, cut)?;
    let Named { nodes, used, mut frames, ids } = named;
    lines.give(&mut snapshot, &ids, &mut frames)?;
    let nodes = nodes.iter().zip(used).map(|(node, frame)| DiffNode {
        depth: node.depth,
        frame,
        total: node.total,
        self_: node.selves,
        z: z(node.total, &sides, by),
    });
    Ok(Diff { sides, nodes: nodes.collect(), frames, hidden_nodes })
}

/// What a whole side, or one busy core, weighs: large, because weights are whole numbers.
const WEIGHT: f64 = (1_u64 << 48) as f64;

fn side(counts: &Counts) -> Side {
    let Counts { total, incomplete, measure, length, .. } = *counts;
    Side { total, incomplete, measure, recorded_nanos: length }
}

/// What each of a side's numbers is worth.
fn unit(side: &Side, by: By) -> f64 {
    match by {
        By::Share => 1.0 / side.total.max(1) as f64,
        By::Time => side.measure.scale() as f64 / side.recorded_nanos.max(1) as f64,
    }
}

/// How sure a difference is: see the top of this file. 0 where there is nothing to compare.
fn z([a, b]: [u64; 2], sides: &[Side; 2], by: By) -> f64 {
    let [s, t] = sides.map(|side| unit(&side, by));
    let (a, b) = (a as f64, b as f64);
    // Where samples weigh differently their numbers are as noisy as if all were the heaviest, at most.
    let [heavy_a, heavy_b] = sides.map(|side| side.measure.heaviest() as f64);
    let error = match by {
        By::Share => {
            let samples = sides[0].total as f64 / heavy_a + sides[1].total as f64 / heavy_b;
            let p = (a / heavy_a + b / heavy_b) / samples.max(1.0);
            (p * (1.0 - p) * (s * heavy_a + t * heavy_b)).sqrt()
        }
        By::Time => (a * heavy_a * s * s + b * heavy_b * t * t).sqrt(),
    };
    // A side without samples has no shares.
    let comparable = by == By::Time || sides.iter().all(|side| side.total > 0);
    if comparable && error > 0.0 { (b * t - a * s) / error } else { 0.0 }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::profile::WallNanos;
    use crate::query::{flame_graph, parse_selector};
    use crate::store::Store;
    use crate::store::drawing::{EPOCH, SECONDS, name_all, window};

    fn range(from: u64, to: u64) -> TimeRange {
        let wall = |n: u64| WallNanos((EPOCH + (n * SECONDS) as i64) * 1_000_000_000);
        TimeRange { from: wall(from), to: wall(to) }
    }

    fn reader(drawings: &[&str]) -> (tempfile::TempDir, Reader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        for (n, drawing) in (0..).zip(drawings) {
            let unnamed = store.write_window(&window(n, drawing)).unwrap();
            name_all(&mut store, &unnamed);
        }
        let reader = Reader::open(&path).unwrap();
        (folder, reader)
    }

    const BEFORE: &str = "web/7  main;serve x50\nweb/7  main;poll x50\nold/9  main x100";
    const AFTER: &str = "web/7  main;serve x200\nweb/7  main;poll x50\nnew/9  main x150";

    /// A profile does not differ from itself; sides have the flame graphs' own totals.
    #[test]
    fn a_profile_does_not_differ_from_itself() {
        let (_folder, mut reader) = reader(&[BEFORE, AFTER]);
        let all = Selector::default();
        for by in [By::Share, By::Time] {
            let same = diff(&mut reader, [(range(0, 2), &all), (range(0, 2), &all)], by, None, 1000).unwrap();
            assert!(same.nodes.iter().all(|node| node.z == 0.0 && node.total[0] == node.total[1]));
            let both = diff(&mut reader, [(range(0, 1), &all), (range(1, 2), &all)], by, None, 1000).unwrap();
            for (side, at) in [(0, range(0, 1)), (1, range(1, 2))] {
                let own = flame_graph(&mut reader, at, &all, 1000).unwrap().tree;
                let found = both.nodes.iter().filter(|node| node.total[side] > 0).count();
                assert_eq!((found, both.nodes[0].total[side]), (own.nodes.len(), own.nodes[0].total));
                assert_eq!(both.sides[side].total, own.nodes[0].total);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Whatever was sampled, and whatever is shown of it, nothing differs from itself.
        #[test]
        fn the_difference_of_a_thing_and_itself_is_none(rows in vec((0..3_u8, vec(0..4_u8, 0..5), 1..500_u64), 0..12), max in 2..40_usize) {
            let line = |(comm, stack, n): &(u8, Vec<u8>, u64)| {
                let stack: Vec<_> = stack.iter().map(|name| format!("f{name}")).collect();
                format!("c{comm}/{}  {} x{n}", comm + 1, stack.join(";"))
            };
            let (_folder, mut reader) = reader(&[&rows.iter().map(line).collect::<Vec<_>>().join("\n")]);
            let all = Selector::default();
            for by in [By::Share, By::Time] {
                let same = diff(&mut reader, [(range(0, 1), &all), (range(0, 1), &all)], by, None, max).unwrap();
                for node in &same.nodes {
                    prop_assert!(node.z == 0.0 && node.total[0] == node.total[1] && node.self_[0] == node.self_[1], "{node:?}");
                }
            }
        }
    }

    /// Half of a side at another rate does not change what it is compared to, only makes it noisier.
    #[test]
    fn sides_of_several_rates_compare_by_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        for (n, hz, drawing) in [
            (0, 100, "web/7  main;a x500\nweb/7  main;b x500"),
            (1, 100, "web/7  main;a x500\nweb/7  main;b x500"),
            (2, 20, "web/7  main;a x100\nweb/7  main;b x100"),
            (3, 20, "web/7  main;a x200"),
        ] {
            let mut window = window(n, drawing);
            window.hz = hz;
            let unnamed = store.write_window(&window).unwrap();
            name_all(&mut store, &unnamed);
        }
        let mut reader = Reader::open(&path).unwrap();
        let all = Selector::default();
        let mut z_of = |before, after, by| {
            let found = diff(&mut reader, [(before, &all), (after, &all)], by, None, 100).unwrap();
            let at = found.frames.iter().position(|frame| &*frame.name == "a").unwrap();
            found.nodes.iter().find(|node| node.frame.0 as usize == at).unwrap().z
        };
        for by in [By::Share, By::Time] {
            assert_eq!(z_of(range(0, 1), range(1, 3), by), 0.0);
            let (mixed, slow) = (z_of(range(0, 1), range(1, 4), by), z_of(range(0, 1), range(2, 4), by));
            assert!(mixed > 2.0 && slow > mixed, "{mixed} {slow}");
        }
    }

    /// Twice the load alike is no change of shares, and a change of time; what is only on one side is there with a zero.
    #[test]
    fn shares_and_times_differ() {
        let (_folder, mut reader) = reader(&[BEFORE, AFTER]);
        let all = Selector::default();
        let node = |diff: &Diff, name: &str| {
            let frame = diff.frames.iter().position(|frame| &*frame.name == name).unwrap();
            *diff.nodes.iter().find(|node| node.frame.0 as usize == frame).unwrap()
        };
        let sides = [(range(0, 1), &all), (range(1, 2), &all)];
        let share = diff(&mut reader, sides, By::Share, None, 1000).unwrap();
        assert_eq!(node(&share, "old").total, [100, 0]);
        assert!(node(&share, "old").z < -10.0 && node(&share, "new").z > 5.0);
        // 100 of 200 and 250 of 400: 0.125 / sqrt(350/600 * 250/600 * (1/200 + 1/400)).
        assert!((node(&share, "web").z - 2.928).abs() < 0.001, "{}", node(&share, "web").z);
        let time = diff(&mut reader, sides, By::Time, None, 1000).unwrap();
        // (250 - 100) / sqrt(250 + 100)
        assert!((node(&time, "web").z - 8.018).abs() < 0.001);
        assert!(time.nodes[0].z > 8.0 && share.nodes[0].z == 0.0, "the whole: more load, the same share");
        let web = parse_selector(r#"comm="web""#).unwrap();
        let selectors = diff(&mut reader, [(range(0, 2), &all), (range(0, 2), &web)], By::Share, None, 3).unwrap();
        assert_eq!(selectors.sides.map(|side| side.total), [600, 350]);
        assert!(selectors.nodes.len() <= 3 && selectors.hidden_nodes > 0);
    }

    /// Asked for what is below a node, it is the same comparison cut elsewhere: figures and noise are those of the whole.
    #[test]
    fn a_cut_below_a_node_has_the_figures_of_the_whole() {
        let (_folder, mut reader) = reader(&[BEFORE, AFTER]);
        let all = Selector::default();
        let sides = [(range(0, 1), &all), (range(1, 2), &all)];
        let whole = diff(&mut reader, sides, By::Share, None, 1000).unwrap();
        let name = |diff: &Diff, node: &DiffNode| diff.frames[node.frame.0 as usize].name.to_string();
        let old = whole.nodes.iter().position(|node| name(&whole, node) == "old").unwrap();
        let path = path_of(&whole, old);
        let cut = diff(&mut reader, sides, By::Share, Some(path), 5).unwrap();
        let rows = |diff: &Diff| -> Vec<_> {
            diff.nodes.iter().map(|node| (node.depth, name(diff, node), node.total)).collect()
        };
        let (shown, all_rows) = (rows(&cut), rows(&whole));
        // Alone the heaviest would be `web`; what is asked for is there with all below it.
        assert!(
            shown.contains(&(1, "old".into(), [100, 0])) && shown.contains(&(2, "main".into(), [100, 0])),
            "{shown:?}"
        );
        assert!(shown.len() <= 5 && cut.hidden_nodes > 0, "{shown:?}");
        let known = |row: &&(u32, String, [u64; 2])| all_rows.contains(row);
        assert_eq!(shown.iter().filter(known).count(), shown.len() - 1, "all but the remainder: {shown:?}");
    }

    /// The path of a node at depth 1.
    fn path_of(diff: &Diff, node: usize) -> PathHash {
        let frame = |node: &DiffNode| &diff.frames[node.frame.0 as usize];
        PathHash::of([frame(&diff.nodes[0]), frame(&diff.nodes[node])])
    }
}
