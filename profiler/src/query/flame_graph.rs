//! The flame graph of a range, seen from its roots, its leaves, or one function.

use super::busy_lines::beside;
use super::grow::{Named, frame_of, grow, name};
use super::heat_map::Within;
use super::hottest::{Hottest, Own, hottest, own};
use super::labels::Label;
use super::lazy::Whole;
use super::merge::Counts;
use super::one_function::OneFunction;
use super::path_hash::{PathHash, find};
use super::tree::{Labels, Placed, Scale, Shown, Tree};
use super::{QueryError, Selector};
use crate::profile::{CallTree, Frame, FrameKind, Measure, Node, TimeRange};
use crate::store::{CachedFrame, Reader, RowMap, Snapshot};

/// A merged profile.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// The tree; the root's total is all of the range (with the function on their stacks, where one is asked for).
    pub tree: CallTree,
    /// What its numbers stand for.
    pub measure: Measure,
    /// Of the function that was asked for by [`Shape::around`].
    pub around: Option<Around>,
    /// All samples by the kind of the frame they ended in, whatever the limit and the view.
    pub kinds: Kinds,
    /// Time that was recorded, in nanoseconds.
    pub recorded_nanos: u64,
    /// What the profiler itself took; nothing where [`Shape::own_exe`] is not given.
    pub own: Own,
    /// The process that took the most besides; `None` without samples.
    pub hottest: Option<Hottest>,
}

/// Samples by the kind of the frame they ended in, indexed by [`FrameKind`]; their sum is the samples.
pub type Kinds = [u64; FrameKind::COUNT];

/// All samples of a function, those of nodes that were cut off too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// With it on their stack, each once.
    pub total: u64,
    /// That ended in it.
    pub self_: u64,
}

/// Where a flame graph is seen from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Processes at the root, leaves at the tips.
    #[default]
    TopDown,
    /// The functions that samples ended in at the root, below each its callers.
    BottomUp,
    /// The functions of this name at the root, below them their callers.
    Callers(String),
    /// The functions of this name at the root, below them their callees.
    Callees(String),
}

/// What of a tree is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Where it is seen from.
    pub view: View,
    /// A label whose values stand between the root and the processes.
    pub group: Option<String>,
    /// The node that what is sent is spent on: it, what is above it, and the heaviest below it.
    pub below: Option<PathHash>,
    /// Instead: the function that it is spent on, wherever it is: what calls it and what it calls, the most of its samples first.
    pub around: Option<OneFunction>,
    /// Path of the profiler's executable, to tell its own work from other programs'.
    pub own_exe: Option<String>,
    /// Most nodes; the smallest are left out behind remainder nodes.
    pub max_nodes: usize,
}

/// The call tree of a range, cut to `max_nodes` by leaving the smallest out behind remainder nodes.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`].
pub fn flame_graph(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    max_nodes: usize,
) -> Result<Merged, QueryError> {
    flame_graph_from(reader, range, selector, &Shape { max_nodes, ..Shape::default() })
}

/// The same, in another shape.
///
/// # Errors
/// [`QueryError::Store`], [`QueryError::TooLarge`], [`QueryError::UnknownLabel`].
pub fn flame_graph_from(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    shape: &Shape,
) -> Result<Merged, QueryError> {
    draw(&mut reader.snapshot()?, range.into(), selector, shape)
}

/// The flame graph of a range, or of a box of its heat map.
pub(super) fn draw(
    snapshot: &mut Snapshot<'_>,
    within: Within,
    selector: &Selector,
    shape: &Shape,
) -> Result<Merged, QueryError> {
    let counts = within.counts(snapshot, selector, shape.label()?)?;
    let counts: &Counts = &counts;
    let own = match &shape.own_exe {
        Some(exe) => own(snapshot, within, selector, exe)?,
        None => Own::default(),
    };
    let mut labels = Labels::new();
    let tree = grow(snapshot, &mut labels, [counts])?;
    let kinds = kinds(snapshot, &labels, &tree);
    let size = tree.len();
    let totals = tree.totals();
    let hottest = hottest(snapshot, &labels, &tree, &totals, &own, shape.group.is_some());
    let cut = || {
        let max_nodes = shape.max_nodes;
        let whole = Whole { tree: &tree, totals: &totals, scale: Scale::ONE, max_nodes };
        let mut around = None;
        let kept = match (&shape.view, &shape.around) {
            (View::TopDown, Some(function)) => {
                let is_it = frames_that(snapshot, |frame| function.fits(frame));
                let through = tree.through(&totals, &is_it);
                around = Some(Around { total: through[0][0], self_: tree.own(&is_it)[0] });
                tree.cut_around(&through, totals, Scale::ONE, max_nodes)
            }
            (View::TopDown, None) => {
                let below = shape.below.and_then(|path| find(&tree, path, |shown| frame_of(snapshot, &labels, shown)));
                tree.cut_below(below, totals, Scale::ONE, max_nodes)
            }
            (View::BottomUp, _) => whole.bottom_up(),
            (View::Callers(function), _) => whole.callers(named(snapshot, function)),
            (View::Callees(function), _) => whole.callees(named(snapshot, function)),
        };
        (name(snapshot, &labels, &kept, Scale::ONE), kept.hidden_nodes, around)
    };
    let ((named, hidden_nodes, around), lines) = beside(snapshot.loaded(), [counts], size, cut)?;
    let Named { nodes, used, mut frames, ids } = named;
    lines.give(snapshot, &ids, &mut frames)?;
    let nodes = nodes.iter().zip(used);
    let node =
        |(node, frame): (&Placed<1>, _)| Node { depth: node.depth, frame, total: node.total[0], self_: node.selves[0] };
    let tree = CallTree { nodes: nodes.map(node).collect(), frames, incomplete: counts.incomplete, hidden_nodes };
    let (measure, recorded_nanos) = (counts.measure, counts.length);
    Ok(Merged { tree, measure, around, kinds, recorded_nanos, own, hottest })
}

/// The samples of a whole tree by the kind of the frame they ended in.
pub(super) fn kinds(snapshot: &Snapshot<'_>, labels: &Labels, tree: &Tree<1>) -> Kinds {
    let mut kinds = Kinds::default();
    for (shown, [samples]) in tree.shown.iter().zip(&tree.selves) {
        let sum = &mut kinds[frame_of(snapshot, labels, *shown).kind as usize];
        *sum = sum.saturating_add(*samples);
    }
    kinds
}

impl Shape {
    /// Of `group`.
    pub(super) fn label(&self) -> Result<Option<Label>, QueryError> {
        self.group.as_deref().map(Label::parse).transpose()
    }
}

/// Whether what a node shows is code of this name.
fn named(snapshot: &Snapshot<'_>, function: &str) -> impl Fn(Shown) -> bool {
    frames_that(snapshot, |frame| *frame.name == *function)
}

/// Whether what a node shows is code that fits.
fn frames_that(snapshot: &Snapshot<'_>, fits: impl Fn(&Frame) -> bool) -> impl Fn(Shown) -> bool {
    let known: RowMap<u32, ()> =
        (0..snapshot.frames() as u32).filter(|at| fits(snapshot.frame(CachedFrame(*at)))).map(|at| (at, ())).collect();
    move |shown| shown.get().is_ok_and(|frame| known.contains_key(&frame.0))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tempfile::TempDir;

    use super::*;
    use crate::profile::{Reason, SourceLine, Symbol, Symbolized, UnknownReason, WallNanos};
    use crate::query::parse_selector;
    use crate::store::Store;
    use crate::store::drawing::{drawn_name, name_all, window};

    const ALL_TIME: TimeRange = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };

    /// A tree as indented lines: name, total/self, kind where it is not plain.
    fn draw(tree: &CallTree) -> String {
        let line = |node: &Node| {
            let frame = &tree.frames[node.frame.0 as usize];
            let indent = "  ".repeat(node.depth as usize);
            format!("{indent}{} {}/{} {:?}\n", frame.name, node.total, node.self_, frame.kind)
        };
        tree.nodes.iter().map(line).collect()
    }

    fn database(drawings: &[&str]) -> (TempDir, Store, Reader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        for (n, drawing) in (0..).zip(drawings) {
            let unnamed = store.write_window(&window(n, drawing)).unwrap();
            name_all(&mut store, &unnamed);
        }
        let reader = Reader::open(&path).unwrap();
        (folder, store, reader)
    }

    fn graph(reader: &mut Reader, selector: &str) -> Merged {
        flame_graph(reader, ALL_TIME, &parse_selector(selector).unwrap(), usize::MAX).unwrap()
    }

    /// Windows add up; processes of one name are one; kernel frames follow user frames; a cut short stack hangs from a note.
    #[test]
    fn the_tree_has_process_note_user_and_kernel_frames() {
        let (_folder, _store, mut reader) = database(&[
            "web/7  main;serve;parse x5
             web/7  main;serve;k:read x2
             web/8  main;serve x1
             idle/9  x3",
            "web/7~io  main;serve;parse x1
             web/7  !serve x4",
        ]);
        let merged = graph(&mut reader, "");
        insta::assert_snapshot!(draw(&merged.tree), @"
        all 16/0 Root
          web 13/0 Process
            main 9/0 User
              serve 9/1 User
                parse 6/6 User
                read 2/2 Kernel
            [stack cut short: caller keeps no frame pointer: app] 4/0 Note
              serve 4/4 User
          idle 3/3 Process
        ");
        assert_eq!((merged.tree.incomplete, merged.measure.scale()), (4, 10_000_000));
    }

    /// A selector leaves out whole processes, or threads of those that stay.
    #[test]
    fn a_selector_narrows_the_tree() {
        let (_folder, _store, mut reader) = database(&["web/7  main x5
             web/7~io  main;poll x2
             db/8~io  main x1"]);
        for (selector, samples) in [
            ("", 8),
            ("comm=web", 7),
            (r#"thread="io""#, 3),
            (r#"thread="io", pid!=8"#, 2),
            (r#"container=~"web-.*", unit="db.service""#, 1),
            ("pid=9", 0),
        ] {
            let selector = selector.replace("comm=web", r#"comm="web""#);
            let merged = graph(&mut reader, &selector);
            assert_eq!(merged.tree.nodes[0].total, samples, "{selector}");
            assert_eq!(merged.measure.scale(), 10_000_000);
        }
    }

    /// The values of a label stand between the root and the processes; what has none is together; nothing is lost.
    #[test]
    fn the_root_is_grouped_by_a_label() {
        let (_folder, _store, mut reader) = database(&["web/7  main x5
             web/7~io  main;poll x2
             web/8~io  !main x1"]);
        let mut grouped = |label: &str| {
            let shape = Shape { group: Some(label.into()), max_nodes: 100, ..Shape::default() };
            flame_graph_from(&mut reader, ALL_TIME, &Selector::default(), &shape).map(|merged| draw(&merged.tree))
        };
        insta::assert_snapshot!(grouped("thread").unwrap(), @"
        all 8/0 Root
          main 5/0 Process
            web 5/0 Process
              main 5/5 User
          io 3/0 Process
            web 3/0 Process
              main 2/0 User
                poll 2/2 User
              [stack cut short: caller keeps no frame pointer: app] 1/0 Note
                main 1/1 User
        ");
        insta::assert_snapshot!(grouped("pid").unwrap(), @"
        all 8/0 Root
          7 7/0 Process
            web 7/0 Process
              main 7/5 User
                poll 2/2 User
          8 1/0 Process
            web 1/0 Process
              [stack cut short: caller keeps no frame pointer: app] 1/0 Note
                main 1/1 User
        ");
        assert!(matches!(grouped("nothing"), Err(QueryError::UnknownLabel(_))));
    }

    /// A function that a small answer leaves out is in the one that is spent on it, everywhere it is, with the figures of the table; the
    /// others' samples stay, in remainders.
    #[test]
    fn a_small_answer_spent_on_a_function_has_all_of_it() {
        let (_folder, _store, mut reader) = database(&["web/7  main;serve;parse x50
             web/7  main;serve;rare;parse x2
             web/7  main;serve;rare;rare x1
             db/8   rare;leaf x1
             idle/9  a;b;c;d x30"]);
        let mut graph = |around: Option<&str>, max_nodes| {
            let around = around.map(|text| text.parse().unwrap());
            let shape = Shape { around, max_nodes, ..Shape::default() };
            flame_graph_from(&mut reader, ALL_TIME, &Selector::default(), &shape).unwrap()
        };
        assert!(!draw(&graph(None, 8).tree).contains("rare"));
        let rare = graph(Some("2|/usr/bin/app|rare.c|rare"), 12);
        assert_eq!(rare.around, Some(Around { total: 4, self_: 1 }));
        insta::assert_snapshot!(draw(&rare.tree), @"
        all 84/0 Root
          web 53/0 Process
            main 53/0 User
              serve 53/0 User
                [smaller frames] 50/50 Remainder
                rare 3/0 User
                  parse 2/2 User
                  rare 1/1 User
          [smaller frames] 30/30 Remainder
          db 1/0 Process
            rare 1/0 User
              leaf 1/1 User
        ");
        let nowhere = graph(Some("3|/usr/bin/app|rare.c|rare"), 10);
        assert_eq!(nowhere.around, Some(Around::default()));
        insta::assert_snapshot!(draw(&nowhere.tree), @"
        all 84/0 Root
          [smaller frames] 84/84 Remainder
        ");
    }

    /// Inlined functions stand between the function they are in and its callee, and carry the line with the most samples.
    #[test]
    fn inlined_functions_become_frames_of_their_own() {
        let (_folder, mut store, mut reader) = database(&[]);
        let unnamed = store.write_window(&window(0, "web/7  outer;leaf x5\nweb/7  other x2\nweb/7  third x1")).unwrap();
        let symbol = |name: &str, line, inlined| Symbol {
            name: name.into(),
            raw: None,
            source: Some(SourceLine { file: "a.c".into(), line: Some(line) }),
            declared: None,
            inlined,
        };
        let names: Vec<_> = unnamed
            .iter()
            .map(|unnamed| {
                let symbols = match drawn_name(unnamed.place).as_str() {
                    "outer" => vec![symbol("inner", 3, true), symbol("middle", 2, true), symbol("outer", 10, false)],
                    "other" => vec![symbol("outer", 11, false)],
                    "third" => vec![symbol("outer", 12, false)],
                    name => vec![symbol(name, 1, false)],
                };
                (unnamed.location, Symbolized::Named(symbols))
            })
            .collect();
        store.write_names(&names).unwrap();
        let tree = graph(&mut reader, "").tree;
        insta::assert_snapshot!(draw(&tree), @"
        all 8/0 Root
          web 8/0 Process
            outer 8/3 User
              middle 5/0 Inlined
                inner 5/0 Inlined
                  leaf 5/5 User
        ");
        let outer = tree.frames.iter().find(|frame| &*frame.name == "outer").unwrap();
        assert_eq!(
            (outer.line, outer.file.as_deref(), outer.binary.as_deref()),
            (Some(10), Some("a.c"), Some("/usr/bin/app"))
        );
    }

    /// The kinds are those of all samples, also where the answer is cut to a few nodes or seen from elsewhere.
    #[test]
    fn kinds_are_counted_before_the_cut() {
        let (_folder, mut store, mut reader) = database(&["web/7  main;serve;k:read x5
             web/7  main x3
             web/7  !serve x2
             idle/9  x1"]);
        let unnamed = store.write_window(&window(1, "web/7  main;lost x4\nweb/7  main;k:none x6")).unwrap();
        let known = unnamed.into_iter().filter(|at| !["lost", "none"].contains(&drawn_name(at.place).as_str()));
        name_all(&mut store, &known.collect::<Vec<_>>());
        let mut of = |view: View, max_nodes| {
            let shape = Shape { view, max_nodes, ..Shape::default() };
            flame_graph_from(&mut reader, ALL_TIME, &Selector::default(), &shape).unwrap()
        };
        let whole = of(View::TopDown, 1000);
        // Root, process, user, kernel, inlined, unknown, note, remainder, JIT.
        assert_eq!(whole.kinds, [0, 1, 5, 5, 0, 10, 0, 0, 0]);
        let cut = of(View::TopDown, 3);
        assert!(cut.tree.hidden_nodes > 0 && cut.tree.nodes.len() <= 3);
        assert_eq!((cut.kinds, of(View::BottomUp, 1000).kinds), (whole.kinds, whole.kinds));
        assert_eq!(whole.kinds.iter().sum::<u64>(), whole.tree.nodes[0].total);
    }

    /// A location without a name keeps its place and says why; names that come later replace it, in an open reader too.
    #[test]
    fn unnamed_locations_say_why_until_they_are_named() {
        let (_folder, mut store, mut reader) = database(&[]);
        let unnamed = store.write_window(&window(0, "web/7  a;k:b x1")).unwrap();
        let reasons = |reader: &mut Reader| {
            let tree = graph(reader, "").tree;
            let frames = tree.frames.iter().skip(2);
            let reason = |frame: &Frame| frame.reason.map(Reason::name);
            frames.map(|frame| format!("{} {:?} {:?}", frame.name, frame.kind, reason(frame))).collect::<Vec<_>>()
        };
        let first = r#"[app+0x6100000000000000] Unknown Some("not_asked")"#;
        assert_eq!(reasons(&mut reader)[0], first);
        let gone = Symbolized::Unknown(UnknownReason::FileGone);
        let names: Vec<_> = unnamed.iter().map(|unnamed| (unnamed.location, gone.clone())).collect();
        store.write_names(&names).unwrap();
        assert_eq!(
            reasons(&mut reader),
            [r#"[app+0x6100000000000000] Unknown Some("file_gone")"#, r#"[kernel+0x..000] Unknown Some("file_gone")"#,]
        );
        name_all(&mut store, &unnamed);
        assert_eq!(reasons(&mut reader), ["a User None", "b Kernel None"]);
    }
}
