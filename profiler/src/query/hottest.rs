//! What a person looks for first: which process took the most, and where most of its samples ended; and what the profiler itself took.
//!
//! Counted over all samples, whatever an answer shows of them. The profiler's own work is no answer to "what is hot": its processes are
//! those whose executable is this program's file. A name alone is no proof, for any process may be called so: names are listed only if
//! every sample under them is the profiler's own.

use std::collections::HashMap;
use std::sync::Arc;

use super::grow::frame_of;
use super::heat_map::Within;
use super::labels::each_group;
use super::tree::{Labels, Shown, Tree};
use super::{QueryError, Selector};
use crate::profile::Frame;
use crate::store::{RowMap, Snapshot};

/// The profiler's own samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Names of processes that are all the profiler's own, by falling samples.
    pub names: Vec<Arc<str>>,
    /// All samples of the profiler's processes.
    pub total: u64,
}

/// The process with the most samples that is not the profiler itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hottest {
    /// Name of the processes.
    pub process: Arc<str>,
    /// Samples of them.
    pub total: u64,
    /// The function that most of these ended in; `None` where none ended in code.
    pub function: Option<Frame>,
    /// Samples that ended in it.
    pub self_: u64,
}

/// What processes of the executable `exe` took.
pub(super) fn own(
    snapshot: &mut Snapshot<'_>,
    within: Within,
    selector: &Selector,
    exe: &str,
) -> Result<Own, QueryError> {
    // By the row of the name: the profiler's, all.
    let mut sums = RowMap::<u32, [u64; 2]>::default();
    let mut is_own = RowMap::<u32, bool>::default();
    each_group(snapshot, within, selector, |snapshot, group, samples| {
        let process = snapshot.process(group.key.process)?;
        let own = match is_own.get(&process.exe) {
            Some(known) => *known,
            None => {
                let own = *snapshot.text(process.exe)? == *exe;
                is_own.insert(process.exe, own);
                own
            }
        };
        let [ours, all] = sums.entry(process.comm).or_default();
        *ours = ours.saturating_add(if own { samples } else { 0 });
        *all = all.saturating_add(samples);
        Ok(())
    })?;
    let mut found = Own::default();
    let mut names: Vec<(u64, Arc<str>)> = Vec::new();
    for (comm, [ours, all]) in sums {
        found.total = found.total.saturating_add(ours);
        if ours > 0 && ours == all {
            names.push((all, snapshot.text(comm)?));
        }
    }
    names.sort_unstable_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.cmp(y)));
    found.names = names.into_iter().map(|(_, name)| name).collect();
    Ok(found)
}

/// The hottest process of a whole tree, and its hottest function. `grouped`: whether values of a label stand above the processes.
pub(super) fn hottest(
    snapshot: &Snapshot<'_>,
    labels: &Labels,
    tree: &Tree<1>,
    totals: &[[u64; 1]],
    own: &Own,
    grouped: bool,
) -> Option<Hottest> {
    let parent = |at: usize| tree.parents[at] as usize;
    let is_process =
        |at: usize| at > 0 && if grouped { parent(at) > 0 && parent(parent(at)) == 0 } else { parent(at) == 0 };
    let name = |shown: Shown| &frame_of(snapshot, labels, shown).name;
    let mut processes: HashMap<Shown, u64> = HashMap::new();
    for at in (1..tree.len()).filter(|at| is_process(*at)) {
        *processes.entry(tree.shown[at]).or_default() += totals[at][0];
    }
    processes.retain(|shown, samples| *samples > 0 && !own.names.contains(name(*shown)));
    let (process, total) = heaviest(processes, |a, b| name(a).cmp(name(b)))?;
    // Whether a node is below the process: callers come first.
    let mut inside = vec![false; tree.len()];
    let mut functions: HashMap<Shown, u64> = HashMap::new();
    for at in 1..tree.len() {
        inside[at] = if is_process(at) { tree.shown[at] == process } else { inside[parent(at)] };
        let samples = tree.selves[at][0];
        if inside[at] && samples > 0 && tree.shown[at].get().is_ok() {
            *functions.entry(tree.shown[at]).or_default() += samples;
        }
    }
    let function = heaviest(functions, |a, b| name(a).cmp(name(b)));
    Some(Hottest {
        process: Arc::clone(name(process)),
        total,
        function: function.map(|(shown, _)| frame_of(snapshot, labels, shown).clone()),
        self_: function.map_or(0, |(_, samples)| samples),
    })
}

/// What has the most samples; of equals the first in order.
fn heaviest(sums: HashMap<Shown, u64>, order: impl Fn(Shown, Shown) -> std::cmp::Ordering) -> Option<(Shown, u64)> {
    sums.into_iter().max_by(|(a, n), (b, m)| n.cmp(m).then_with(|| order(*b, *a)).then_with(|| b.cmp(a)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::{TimeRange, WallNanos};
    use crate::query::{Merged, Shape, flame_graph_from, parse_selector};
    use crate::store::drawing::{facts, name_all, window};
    use crate::store::{Reader, Store};

    const ALL_TIME: TimeRange = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };

    fn asked(max_nodes: usize, group: Option<&str>, selector: &str) -> Merged {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        let mut drawn = window(
            0,
            "profiler/1  main;run x90\nprofiler-names/2  main x30\nweb/7  main;a x20\nweb/8  main;b x15\nweb/8  main;a;b x15\n\
             db/9  main;c x40\nnames/3  main x5",
        );
        // A child has the executable of its parent; a namesake has not.
        for process in &mut drawn.processes {
            if &*process.facts.comm == "profiler-names" {
                let mut of_child = (*process.facts).clone();
                of_child.exe = facts("profiler", 1).exe.clone();
                process.facts = Arc::new(of_child);
            }
        }
        let unnamed = store.write_window(&drawn).unwrap();
        name_all(&mut store, &unnamed);
        let shape = Shape {
            max_nodes,
            group: group.map(str::to_owned),
            own_exe: Some("/usr/bin/profiler".into()),
            ..Shape::default()
        };
        flame_graph_from(&mut Reader::open(&path).unwrap(), ALL_TIME, &parse_selector(selector).unwrap(), &shape)
            .unwrap()
    }

    /// The busiest process is not the profiler, whose children count as it does; its function is the one most of its samples ended in,
    /// wherever it was called, also where the answer is cut to almost nothing.
    #[test]
    fn the_hottest_process_and_its_function_are_counted_over_all_samples() {
        for (nodes, group) in [(100, None), (3, None), (100, Some("pid"))] {
            let found = asked(nodes, group, "");
            let own: Vec<&str> = found.own.names.iter().map(|name| &**name).collect();
            assert_eq!((own, found.own.total), (vec!["profiler", "profiler-names"], 120), "{nodes} {group:?}");
            let hottest = found.hottest.unwrap();
            assert_eq!((&*hottest.process, hottest.total, hottest.self_), ("web", 50, 30), "{nodes} {group:?}");
            assert_eq!(&*hottest.function.unwrap().name, "b");
        }
        let db = asked(100, None, r#"comm=~"db|names""#);
        assert_eq!(db.hottest.map(|hottest| hottest.process.to_string()).as_deref(), Some("db"));
        assert_eq!(db.own, Own::default());
        assert_eq!(db.recorded_nanos, 10_000_000_000);
        assert_eq!(asked(100, None, r#"comm="profiler""#).hottest, None, "the profiler itself is no answer");
    }

    /// A process that only shares the name is not hidden among the profiler's own.
    #[test]
    fn a_namesake_is_not_the_profiler() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        let mut drawn = window(0, "profiler/1  main x10\nprofiler/2  main x50");
        let mut other = (*drawn.processes[1].facts).clone();
        other.exe = Some("/home/x/profiler".into());
        drawn.processes[1].facts = Arc::new(other);
        let unnamed = store.write_window(&drawn).unwrap();
        name_all(&mut store, &unnamed);
        let shape = Shape { max_nodes: 100, own_exe: Some("/usr/bin/profiler".into()), ..Shape::default() };
        let selector = Selector::default();
        let found = flame_graph_from(&mut Reader::open(&path).unwrap(), ALL_TIME, &selector, &shape).unwrap();
        assert_eq!(found.own, Own { names: Vec::new(), total: 10 });
        assert_eq!(found.hottest.map(|hottest| hottest.total), Some(60));
    }
}
