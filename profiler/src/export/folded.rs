//! Folded stacks: one line for each node where samples ended, `process;frame;frame count`, the root left out.
//!
//! The format has no escapes, so names give way: `;` becomes `:`, control characters and line ends become spaces, and
//! two shapes that readers of folded stacks take for something else are bent with a `_` (see [`clean`]). The counts add
//! up to the root's total. Depth first, as the tree: lines with a common beginning are neighbours.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::profile::{CallTree, Frame, FrameKind, Node};

/// Whether names say what their frame is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Marks {
    /// Names alone.
    #[default]
    None,
    /// `_[k]` after kernel frames, `_[i]` after inlined and `_[j]` after JIT-compiled ones: flame graph tools colour by them and hide them.
    KernelAndInlined,
}

/// Writes every line of `tree`, without marks.
///
/// # Errors
/// Those of `out`.
pub fn write(tree: &CallTree, out: impl Write) -> io::Result<()> {
    write_marked(tree, Marks::None, out)
}

/// Writes every line of `tree`.
///
/// # Errors
/// Those of `out`.
pub fn write_marked(tree: &CallTree, marks: Marks, mut out: impl Write) -> io::Result<()> {
    let mut lines = Lines::new(marks);
    let mut line = String::new();
    while lines.next(tree, &mut line) {
        out.write_all(line.as_bytes())?;
        line.clear();
    }
    out.flush()
}

/// A walk over the lines of one tree that can pause after each: what an HTTP answer of unknown length needs.
#[derive(Debug, Default)]
pub struct Lines {
    marks: Marks,
    /// The node to look at next.
    node: usize,
    /// Names from the process down to the node before, joined with `;`.
    path: String,
    /// Where each depth's name ends in `path`; depth 1 first.
    ends: Vec<usize>,
}

impl Lines {
    /// At the beginning.
    #[must_use]
    pub fn new(marks: Marks) -> Self {
        Self { marks, ..Self::default() }
    }

    /// Appends the next line, newline included; false when there is none. Call it with the same tree each time.
    pub fn next(&mut self, tree: &CallTree, out: &mut String) -> bool {
        while let Some(node) = tree.nodes.get(self.node) {
            self.node += 1;
            self.enter(tree, node);
            if node.self_ > 0 {
                // Samples of the root itself belong to no process; they are written rather than lost.
                let path = if self.path.is_empty() { "all" } else { &self.path };
                out.push_str(path);
                out.push(' ');
                out.push_str(&node.self_.to_string());
                out.push('\n');
                return true;
            }
        }
        false
    }

    fn enter(&mut self, tree: &CallTree, node: &Node) {
        self.ends.truncate((node.depth as usize).saturating_sub(1));
        self.path.truncate(self.ends.last().copied().unwrap_or(0));
        if node.depth == 0 {
            return;
        }
        if !self.path.is_empty() {
            self.path.push(';');
        }
        match tree.frames.get(node.frame.0 as usize) {
            Some(frame) => {
                self.path.push_str(&clean(&frame.name));
                self.path.push_str(mark(frame, self.marks));
            }
            None => self.path.push_str(NO_NAME),
        }
        self.ends.push(self.path.len());
    }
}

/// A frame's name as lines have it.
pub(super) fn field(frame: &Frame, marks: Marks) -> String {
    format!("{}{}", clean(&frame.name), mark(frame, marks))
}

/// Shown for an empty name: an empty field would vanish from the stack in some readers.
const NO_NAME: &str = "[no name]";

fn mark(frame: &Frame, marks: Marks) -> &'static str {
    match (marks, frame.kind) {
        (Marks::KernelAndInlined, FrameKind::Kernel) => "_[k]",
        (Marks::KernelAndInlined, FrameKind::Inlined) => "_[i]",
        (Marks::KernelAndInlined, FrameKind::Jit) => "_[j]",
        _ => "",
    }
}

/// `name` as one field of a folded line.
///
/// A last word of digits is joined with `_`: `worker 5` with 10 samples would read as a differential line, 5 before and
/// 10 after. A first word `#` is joined too: inferno skips such lines as comments, so a process could hide by its name.
fn clean(name: &str) -> Cow<'_, str> {
    let trimmed = name.trim();
    if trimmed.is_empty() {
        return Cow::Borrowed(NO_NAME);
    }
    let number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let ends_in_number = trimmed.rsplit_once(is_break).is_some_and(|(_, word)| number(word));
    if !ends_in_number && !trimmed.starts_with('#') && !trimmed.contains(|c| c == ';' || (c != ' ' && is_break(c))) {
        return Cow::Borrowed(trimmed);
    }
    let mut text: String =
        trimmed.chars().map(|c| if is_break(c) { ' ' } else { c }).collect::<String>().replace(';', ":");
    text = text.trim().to_owned();
    if text.is_empty() {
        return Cow::Borrowed(NO_NAME);
    }
    if text.starts_with("# ") {
        text.replace_range(1..2, "_");
    }
    if let Some(space) = text.rfind(' ').filter(|space| number(&text[space + 1..])) {
        text.replace_range(space..=space, "_");
    }
    Cow::Owned(text)
}

/// Characters that a reader may take for the end of a word or line, and those that reorder text on a terminal.
fn is_break(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::export::drawing::{frame, push, sum, tree};

    fn folded(tree: &CallTree, marks: Marks) -> String {
        let mut out = Vec::new();
        write_marked(tree, marks, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Lines as (names, count), the way every reader of the format splits them.
    fn parse(text: &str) -> Vec<(Vec<&str>, u64)> {
        text.lines()
            .map(|line| {
                let (stack, count) = line.rsplit_once(' ').unwrap();
                (stack.split(';').collect(), count.parse().unwrap())
            })
            .collect()
    }

    /// One line for each node with samples of its own, in the tree's order, the root left out.
    #[test]
    fn a_drawn_tree_becomes_one_line_a_leaf() {
        let tree = tree(
            "
postgres 2
  main 0
    exec 5
      i:cmp 3
    k:sys_read 7
bash 1",
        );
        insta::assert_snapshot!(folded(&tree, Marks::None), @r"
        postgres 2
        postgres;main;exec 5
        postgres;main;exec;cmp 3
        postgres;main;sys_read 7
        bash 1
        ");
    }

    /// Marks are for flame graph tools, and only where asked for.
    #[test]
    fn kernel_and_inlined_frames_are_marked_on_request() {
        let tree = tree(
            "
sh 0
  main 1
    i:inl 2
  j:eval 4
  k:vfs_read 3",
        );
        insta::assert_snapshot!(folded(&tree, Marks::KernelAndInlined), @r"
        sh;main 1
        sh;main;inl_[i] 2
        sh;eval_[j] 4
        sh;vfs_read_[k] 3
        ");
    }

    /// No name can split a line, add a field, pass for a comment or for a differential count.
    #[test]
    fn hostile_names_stay_one_field_of_one_line() {
        for (name, field) in [
            ("a;b", "a:b"),
            ("a\nb 7", "a b_7"),
            ("\u{1b}[31mred", "[31mred"),
            ("worker 5", "worker_5"),
            ("worker 1.5", "worker_1.5"),
            ("5", "5"),
            ("# note", "#_note"),
            ("#note", "#note"),
            ("", "[no name]"),
            (" \n", "[no name]"),
            ("\u{1}", "[no name]"),
            ("operator new(unsigned long)", "operator new(unsigned long)"),
            ("evil\u{202e}txt", "evil txt"),
        ] {
            assert_eq!(clean(name), field, "{name:?}");
            assert_eq!(clean(field), field, "cleaning twice changes nothing: {name:?}");
        }
    }

    /// An empty tree is an empty file.
    #[test]
    fn nothing_recorded_is_no_lines() {
        assert_eq!(folded(&CallTree::default(), Marks::None), "");
        assert_eq!(folded(&tree(""), Marks::None), "");
    }

    /// Samples of the root itself are written, so that counts add up.
    #[test]
    fn samples_of_the_root_itself_are_not_lost() {
        let mut tree = tree("sh 1");
        tree.nodes[0].self_ = 4;
        assert_eq!(folded(&tree, Marks::None), "all 4\nsh 1\n");
    }

    proptest! {
        /// Written and read back, every tree with any names gives its stacks and counts again.
        #[test]
        fn folded_lines_round_trip(nodes in proptest::collection::vec((1usize..8, any::<String>(), 0u64..1000), 0..40)) {
            let mut tree = tree("");
            let mut deepest = 0;
            for (depth, name, self_) in nodes {
                let depth = depth.min(deepest + 1);
                deepest = depth;
                push(&mut tree, depth, frame(&name, FrameKind::User), self_);
            }
            sum(&mut tree);
            let text = folded(&tree, Marks::None);
            let lines = parse(&text);
            prop_assert_eq!(lines.iter().map(|(_, count)| count).sum::<u64>(), tree.nodes[0].total);
            let mut path: Vec<String> = Vec::new();
            let mut expected = Vec::new();
            for node in &tree.nodes[1..] {
                path.truncate(node.depth as usize - 1);
                path.push(clean(&tree.frames[node.frame.0 as usize].name).into_owned());
                if node.self_ > 0 {
                    expected.push((path.clone(), node.self_));
                }
            }
            let found: Vec<(Vec<String>, u64)> =
                lines.iter().map(|(names, count)| (names.iter().map(ToString::to_string).collect(), *count)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
