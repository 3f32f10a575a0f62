//! Samples by stack -> tree of frames: root, process, note, user frames, kernel frames.
//!
//! Each stack of the store is a path of a tree already; walking it once per (comm, end) and remembering where each node went
//! costs as much as there are distinct nodes, however many stacks share them.

use super::merge::{Counts, merge};
use super::tree::{Builder, NodeId};
use super::{QueryError, Selector, note};
use crate::profile::{CallTree, FrameId, FrameKind, TimeRange};
use crate::store::{CachedFrame, PlacedFrame, Reader, RowMap, Snapshot, StackId, StoreError};

/// A merged profile.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// The tree; the root's total is the number of samples.
    pub tree: CallTree,
    /// CPU time one sample stands for (weighted mean over the windows); 0 without samples.
    pub nanos_per_sample: u64,
}

/// The call tree of a range, cut to `max_nodes` by leaving the smallest out behind remainder nodes.
///
/// # Errors
/// [`QueryError::Store`].
pub fn flame_graph(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    max_nodes: usize,
) -> Result<Merged, QueryError> {
    let mut snapshot = reader.snapshot()?;
    let counts = merge(&snapshot, range, selector)?;
    let tree = grow(&mut snapshot, &counts)?.finish(max_nodes);
    let tree = CallTree { incomplete: counts.incomplete(), ..tree };
    Ok(Merged { tree, nanos_per_sample: counts.nanos_per_sample() })
}

/// From the reader's frames to the builder's.
#[derive(Default)]
struct FrameIds(Vec<Option<FrameId>>);

impl FrameIds {
    fn get(&mut self, snapshot: &Snapshot<'_>, frame: CachedFrame, builder: &mut Builder) -> FrameId {
        let at = frame.0 as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, None);
        }
        *self.0[at].get_or_insert_with(|| builder.frame(snapshot.frame(frame).clone()))
    }
}

/// A node of the store's stack tree, and where it went.
struct Walked {
    /// Its caller's place in the list; its own for the first, which stands for the empty stack.
    parent: usize,
    location: u32,
    node: NodeId,
    samples: u64,
}

/// Every node of the tree.
fn grow(snapshot: &mut Snapshot<'_>, counts: &Counts) -> Result<Builder, StoreError> {
    let mut builder = Builder::new();
    let mut frames = FrameIds::default();
    let mut by_location = RowMap::<u32, u64>::default();
    for group in &counts.groups {
        let frame = builder.label(&group.comm, FrameKind::Process);
        let mut top = builder.child(NodeId::ROOT, frame);
        if let Some(note) = note(group.end) {
            let frame = builder.label(note, FrameKind::Note);
            top = builder.child(top, frame);
        }
        let mut walked = vec![Walked { parent: 0, location: 0, node: top, samples: 0 }];
        let mut places = RowMap::<StackId, usize>::default();
        places.insert(StackId(0), 0);
        let mut path = Vec::new();
        for (&leaf, &samples) in &group.stacks {
            snapshot.check()?;
            let mut id = leaf;
            let mut place = loop {
                if let Some(place) = places.get(&id) {
                    break *place;
                }
                // Parents have smaller ids: this ends.
                let node = snapshot.stack(id)?;
                path.push((id, node.location));
                id = node.parent;
            };
            for (id, location) in path.drain(..).rev() {
                let mut node = walked[place].node;
                for at in snapshot.frames(location)? {
                    let frame = frames.get(snapshot, snapshot.placed(at).frame, &mut builder);
                    node = builder.child(node, frame);
                }
                walked.push(Walked { parent: place, location, node, samples: 0 });
                place = walked.len() - 1;
                places.insert(id, place);
            }
            builder.add(walked[place].node, samples);
            walked[place].samples += samples;
        }
        for at in (1..walked.len()).rev() {
            let Walked { parent, location, samples, .. } = walked[at];
            walked[parent].samples = walked[parent].samples.saturating_add(samples);
            let sum = by_location.entry(location).or_default();
            *sum = sum.saturating_add(samples);
        }
    }
    for (location, samples) in by_location {
        for at in snapshot.frames(location)? {
            let PlacedFrame { frame, line } = snapshot.placed(at);
            if line > 0 {
                let frame = frames.get(snapshot, frame, &mut builder);
                builder.weigh_line(frame, line, samples);
            }
        }
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tempfile::TempDir;

    use super::*;
    use crate::profile::{SourceLine, Symbol, Symbolized, UnknownReason, WallNanos};
    use crate::query::parse_selector;
    use crate::store::Store;
    use crate::store::drawing::{drawn_name, name_all, window};

    const ALL_TIME: TimeRange = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };

    /// A tree as indented lines: name, total/self, kind where it is not plain.
    fn draw(tree: &CallTree) -> String {
        let line = |node: &crate::profile::Node| {
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
            [stack cut short: caller keeps no frame pointer] 4/0 Note
              serve 4/4 User
          idle 3/3 Process
        ");
        assert_eq!((merged.tree.incomplete, merged.nanos_per_sample), (4, 10_000_000));
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
            assert_eq!(merged.nanos_per_sample, if samples == 0 { 0 } else { 10_000_000 });
        }
    }

    /// Inlined functions stand between the function they are in and its callee, and carry the line with the most samples.
    #[test]
    fn inlined_functions_become_frames_of_their_own() {
        let (_folder, mut store, mut reader) = database(&[]);
        let unnamed = store.write_window(&window(0, "web/7  outer;leaf x5\nweb/7  other x2\nweb/7  third x1")).unwrap();
        let symbol = |name: &str, line, inlined| Symbol {
            name: name.into(),
            source: Some(SourceLine { file: "a.c".into(), line: Some(line) }),
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

    /// A location without a name keeps its place and says why; names that come later replace it, in an open reader too.
    #[test]
    fn unnamed_locations_say_why_until_they_are_named() {
        let (_folder, mut store, mut reader) = database(&[]);
        let unnamed = store.write_window(&window(0, "web/7  a;k:b x1")).unwrap();
        let reasons = |reader: &mut Reader| {
            let tree = graph(reader, "").tree;
            let frames = tree.frames.iter().skip(2);
            frames.map(|frame| format!("{} {:?} {:?}", frame.name, frame.kind, frame.reason)).collect::<Vec<_>>()
        };
        let first = r#"[app+0x6100000000000000] Unknown Some("no name was looked up yet")"#;
        assert_eq!(reasons(&mut reader)[0], first);
        let gone = Symbolized::Unknown(UnknownReason::FileGone);
        let names: Vec<_> = unnamed.iter().map(|unnamed| (unnamed.location, gone.clone())).collect();
        store.write_names(&names).unwrap();
        assert_eq!(
            reasons(&mut reader),
            [
                r#"[app+0x6100000000000000] Unknown Some("the file was gone before it could be opened")"#,
                r#"[kernel+0x6200000000000000] Unknown Some("the file was gone before it could be opened")"#,
            ]
        );
        name_all(&mut store, &unnamed);
        assert_eq!(reasons(&mut reader), ["a User None", "b Kernel None"]);
    }
}
