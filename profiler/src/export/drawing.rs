//! Call trees drawn as indented text, for tests: `name self`, two spaces a level; `k:`, `i:`, `u:`, `n:` and `r:` before
//! a name make it a kernel, inlined, unknown, note or remainder frame.

use crate::profile::{CallTree, Frame, FrameId, FrameKind, Node};

/// The tree that `text` draws. Level 0 holds processes; totals are summed, siblings stay in the order drawn.
pub fn tree(text: &str) -> CallTree {
    let mut tree = CallTree::default();
    push(&mut tree, 0, frame("all", FrameKind::Root), 0);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let level = (line.len() - line.trim_start().len()) / 2;
        let (name, samples) = line.trim().rsplit_once(' ').expect("a line is `name self`");
        let (kind, name) = match name.split_once(':') {
            Some(("k", name)) => (FrameKind::Kernel, name),
            Some(("i", name)) => (FrameKind::Inlined, name),
            Some(("j", name)) => (FrameKind::Jit, name),
            Some(("u", name)) => (FrameKind::Unknown, name),
            Some(("n", name)) => (FrameKind::Note, name),
            Some(("r", name)) => (FrameKind::Remainder, name),
            _ if level == 0 => (FrameKind::Process, name),
            _ => (FrameKind::User, name),
        };
        push(&mut tree, level + 1, frame(name, kind), samples.parse().expect("self is a number"));
    }
    sum(&mut tree);
    tree
}

/// A frame without binary or source.
pub fn frame(name: &str, kind: FrameKind) -> Frame {
    Frame { name: name.into(), kind, binary: None, file: None, line: None, reason: None }
}

/// Appends a node; equal frames share an index. Totals are wrong until [`sum`].
pub fn push(tree: &mut CallTree, depth: usize, frame: Frame, self_: u64) {
    let index = tree.frames.iter().position(|known| *known == frame).unwrap_or_else(|| {
        tree.frames.push(frame);
        tree.frames.len() - 1
    });
    let frame = FrameId(u32::try_from(index).expect("tests draw few frames"));
    tree.nodes.push(Node { depth: u32::try_from(depth).expect("tests draw low trees"), frame, total: 0, self_ });
}

/// Makes each total the node's self plus everything below it.
pub fn sum(tree: &mut CallTree) {
    for i in 0..tree.nodes.len() {
        let depth = tree.nodes[i].depth;
        let below = tree.nodes[i + 1..].iter().take_while(|node| node.depth > depth);
        tree.nodes[i].total = tree.nodes[i].self_ + below.map(|node| node.self_).sum::<u64>();
    }
}
