use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Numbers of frames from the root to a node.
type Path = Vec<Shown>;

fn build(stacks: &[(Vec<u8>, [u64; 2])]) -> Tree<2> {
    let mut tree = Tree::new();
    let mut known = HashMap::new();
    for (stack, samples) in stacks {
        let mut node = 0;
        for frame in stack {
            let shown = Shown::frame(CachedFrame(u32::from(*frame)));
            node = *known.entry((node, shown)).or_insert_with(|| tree.push(node, shown, [0; 2]));
        }
        add(&mut tree.selves[node as usize], *samples);
    }
    tree
}

const EVEN: Scale<2> = Scale([1.0, 1.0]);

fn place(tree: Tree<2>, max_nodes: usize) -> (Vec<(Path, Placed<2>)>, u64) {
    let totals = tree.totals();
    let kept = tree.cut_below(None, totals, EVEN, max_nodes);
    (with_paths(&kept), kept.hidden_nodes)
}

/// The nodes in their order, each with its path.
fn with_paths(kept: &Kept<2>) -> Vec<(Path, Placed<2>)> {
    let mut path = Path::new();
    let walk = |node: Placed<2>| {
        path.truncate(node.depth as usize);
        path.push(node.shown);
        (path.clone(), node)
    };
    kept.place(EVEN, |a, b| a.cmp(&b)).into_iter().map(walk).collect()
}

/// What a placed tree promises, checked the slow way.
fn check(nodes: &[(Path, Placed<2>)]) {
    let mut sums: BTreeMap<&Path, [u64; 2]> = nodes.iter().map(|(path, node)| (path, node.selves)).collect();
    for (path, node) in nodes.iter().skip(1) {
        add(sums.get_mut(&path[..path.len() - 1].to_vec()).expect("a parent that is there"), node.total);
    }
    let mut last = BTreeMap::new();
    for (path, node) in nodes {
        assert_eq!((path.len() as u32, sums[path]), (node.depth + 1, node.total));
        let key = (Reverse(EVEN.weigh(&node.total)), node.shown);
        if let Some(before) = last.insert(&path[..path.len() - 1], key) {
            assert!(before < key, "siblings out of order: {before:?} {key:?}");
        }
    }
}

fn stacks() -> impl Strategy<Value = Vec<(Vec<u8>, [u64; 2])>> {
    vec((vec(0..5_u8, 0..7), [1..50_u64, 0..50_u64]), 0..60)
}

proptest! {
    /// What stays is what a sort by weight, taken as far as there is room, would keep.
    #[test]
    fn the_heaviest_stay(nodes in vec((any::<proptest::sample::Index>(), prop_oneof![0..9_u64, 100..300_u64, any::<u64>()]), 0..80),
                         wanted in proptest::option::of(vec(any::<bool>(), 80)), max in 0..90_usize) {
        let mut parents = vec![0_u32];
        let mut totals = vec![[u64::MAX]];
        for (parent, weight) in nodes {
            let parent = parent.index(parents.len());
            totals.push([weight.min(totals[parent][0])]);
            parents.push(parent as u32);
        }
        // What is wanted hangs from the root.
        let wanted = wanted.map(|some| {
            let mut wanted = vec![true; parents.len()];
            (1..parents.len()).for_each(|at| wanted[at] = some[at - 1] && wanted[parents[at] as usize]);
            wanted
        });
        let mut order: Vec<_> = (0..parents.len()).filter(|at| wanted.as_ref().is_none_or(|wanted| wanted[*at])).collect();
        order.sort_by_key(|at| Reverse(totals[*at][0]));
        let mut left = vec![0_u32; parents.len()];
        parents.iter().skip(1).for_each(|parent| left[*parent as usize] += 1);
        let (mut want, mut budget) = (vec![false; parents.len()], Budget::new(max));
        for at in order {
            let parent = parents[at] as usize;
            if !budget.take(left[at] > 0, at > 0 && left[parent] == 1) {
                break;
            }
            left[parent] -= u32::from(at > 0);
            want[at] = true;
        }
        prop_assert_eq!(heaviest(&parents, &totals, wanted.as_deref(), Scale::ONE, max), want);
    }

    /// Every path of the tree holds exactly the samples that a plain sum over the stacks gives it, of both profiles.
    #[test]
    fn the_tree_is_the_sum_of_its_stacks(stacks in stacks()) {
        let (nodes, hidden) = place(build(&stacks), usize::MAX);
        check(&nodes);
        prop_assert_eq!(hidden, 0);
        let mut model = BTreeMap::<Path, ([u64; 2], [u64; 2])>::new();
        model.insert(vec![Labels::ROOT], Default::default());
        for (stack, samples) in &stacks {
            let mut path = vec![Labels::ROOT];
            path.extend(stack.iter().map(|frame| Shown::frame(CachedFrame(u32::from(*frame)))));
            for depth in 1..=path.len() {
                add(&mut model.entry(path[..depth].to_vec()).or_default().0, *samples);
            }
            add(&mut model.entry(path).or_default().1, *samples);
        }
        let found: BTreeMap<_, _> = nodes.into_iter().map(|(path, node)| (path, (node.total, node.selves))).collect();
        prop_assert_eq!(found, model);
    }

    /// Cutting keeps the root's total and every kept node's, fits the size, and counts what it hid.
    #[test]
    fn a_pruned_tree_still_adds_up(stacks in stacks(), max in 0..40_usize) {
        let ((whole, _), (cut, hidden)) = (place(build(&stacks), usize::MAX), place(build(&stacks), max));
        check(&cut);
        prop_assert!(cut.len() <= max.max(2));
        prop_assert_eq!(cut[0].1.total, whole[0].1.total);
        let nodes = whole.len();
        let originals: BTreeMap<_, _> = whole.into_iter().collect();
        let (mut kept, mut lightest) = (0, u64::MAX);
        for (path, node) in cut.iter().filter(|(_, node)| node.shown != Labels::REMAINDER) {
            prop_assert_eq!(originals[path], *node);
            kept += 1;
            lightest = lightest.min(EVEN.weigh(&node.total));
        }
        prop_assert_eq!(hidden as usize, nodes - kept);
        // Nothing heavier was left out.
        let heavier = originals.values().filter(|node| EVEN.weigh(&node.total) > lightest).count();
        prop_assert!(heavier <= kept);
    }
}

proptest! {
    /// What is spent on one node: itself, its callers, and the heaviest below it, with the totals that they have in the whole.
    #[test]
    fn a_cut_below_a_node_adds_up_and_keeps_to_it(stacks in stacks(), at in any::<proptest::sample::Index>(), max in 0..40_usize) {
        let tree = build(&stacks);
        let (whole, _) = place(tree.clone(), usize::MAX);
        let originals: BTreeMap<_, _> = whole.into_iter().collect();
        let node = at.index(tree.len()) as u32;
        let path_to = |mut at: u32| {
            let mut path = vec![tree.shown[at as usize]];
            while at != 0 {
                at = tree.parents[at as usize];
                path.insert(0, tree.shown[at as usize]);
            }
            path
        };
        let chosen = path_to(node);
        let kept = tree.clone().cut_below(Some(node), tree.totals(), EVEN, max);
        let nodes = with_paths(&kept);
        check(&nodes);
        prop_assert!(nodes.len() <= max.max(2).max(tree.len().min(max)));
        if tree.len() > max {
            for (path, placed) in nodes.iter().filter(|(_, node)| node.shown != Labels::REMAINDER) {
                prop_assert_eq!(originals[path], *placed);
                prop_assert!(path.starts_with(&chosen) || chosen.starts_with(path));
            }
        }
    }
}

proptest! {
    /// What is spent on a function, checked by the stacks themselves: its samples above and below it as far as there is room, the most
    /// first, with the totals that they have in the whole; nothing else.
    #[test]
    fn a_cut_around_a_function_is_of_the_stacks_with_it(stacks in stacks(), function in 0..6_u8, max in 0..60_usize) {
        let tree = build(&stacks);
        let is_it = |shown| shown == Shown::frame(CachedFrame(u32::from(function)));
        let (whole, _) = place(tree.clone(), usize::MAX);
        let originals: BTreeMap<_, _> = whole.into_iter().collect();
        // Every path of a stack with the function, with that stack's samples; and what ended in the function.
        let mut with_it = BTreeMap::from([(vec![Labels::ROOT], [0; 2])]);
        let mut ended = [0; 2];
        for (stack, samples) in stacks.iter().filter(|(stack, _)| stack.contains(&function)) {
            let mut path = vec![Labels::ROOT];
            path.extend(stack.iter().map(|frame| Shown::frame(CachedFrame(u32::from(*frame)))));
            for depth in 1..=path.len() {
                add(with_it.entry(path[..depth].to_vec()).or_default(), *samples);
            }
            if stack.last() == Some(&function) {
                add(&mut ended, *samples);
            }
        }
        let totals = tree.totals();
        let through = tree.through(&totals, is_it);
        prop_assert_eq!(through[0], with_it[&vec![Labels::ROOT]]);
        prop_assert_eq!(tree.own(is_it), ended);
        let all = tree.len();
        let kept = tree.cut_around(&through, totals, EVEN, max);
        let nodes = with_paths(&kept);
        check(&nodes);
        let kept: Vec<_> = nodes.iter().filter(|(_, node)| node.shown != Labels::REMAINDER).collect();
        prop_assert!(kept.iter().all(|(path, placed)| originals[path] == *placed));
        prop_assert!(nodes.len() <= max.max(2).max(all.min(max)));
        if all > max {
            let weight = |path: &Path| with_it.get(path).map(|samples| EVEN.weigh(samples));
            prop_assert!(kept.iter().all(|(path, _)| weight(path).is_some()));
            let lightest = kept.iter().filter_map(|(path, _)| weight(path)).min();
            let heavier = with_it.keys().filter(|path| weight(path) > lightest).count();
            prop_assert!(heavier <= kept.len(), "something heavier was left out");
        }
    }
}

/// The drawing of a cut: the small ones of each parent become one.
#[test]
fn small_siblings_become_one_remainder() {
    let stack = |frames: &[u8], n| (frames.to_vec(), [n, 0]);
    let (cut, hidden) = place(build(&[stack(&[0, 1], 10), stack(&[0, 2], 2), stack(&[0, 3], 1), stack(&[4], 5)]), 5);
    let drawn: Vec<_> = cut
        .iter()
        .map(|(_, node)| match node.shown {
            Labels::REMAINDER => format!("{} rest {}", node.depth, node.total[0]),
            shown => format!("{} {:?} {}", node.depth, shown.get().map(|frame| frame.0).ok(), node.total[0]),
        })
        .collect();
    assert_eq!(drawn, ["0 None 18", "1 Some(0) 13", "2 Some(1) 10", "2 rest 3", "1 Some(4) 5"]);
    assert_eq!(hidden, 2);
}

/// A label is one frame, however often it is asked for; labels and frames never meet.
#[test]
fn labels_are_shared_and_are_no_frames() {
    let mut labels = Labels::new();
    let web = labels.get("web", FrameKind::Process);
    assert_eq!(labels.get("web", FrameKind::Process), web);
    assert_ne!(labels.get("web", FrameKind::Note), web);
    assert_eq!(web.get().map_err(|at| &*labels.frame(at).name), Err("web"));
    assert_eq!(Shown::frame(CachedFrame(7)).get(), Ok(CachedFrame(7)));
}
