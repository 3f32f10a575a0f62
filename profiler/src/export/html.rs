//! A flame graph as one page that stands alone: it opens from a file, without a network and without a server.
//!
//! The page (`page.html`) is ours; the profile goes into it as JSON in a `script` element that is not run. Its policy lets nothing in
//! or out. Names are foreign: they are escaped so that none can end that element, and the page sets them as text only.

use std::io::{self, Write};

use serde::Serialize;

use super::palette;
use crate::profile::{CallTree, Frame, FrameKind, Measure, Reason};

const PAGE: &str = include_str!("page.html");
const PLACE: &str = "@PROFILE@";

/// Nodes of a page: what is smaller is in remainder frames. With names that makes a page of 4 MiB at most for usual ones.
pub const MAX_NODES: usize = 50_000;
/// Letters of a name; C++ has names of a megabyte.
const MAX_NAME: usize = 400;

/// What the page says about itself.
#[derive(Clone, Debug, Default)]
pub struct Caption {
    /// On top, and the window's title.
    pub title: String,
    /// Beside it: the range and the filter.
    pub about: String,
}

/// The tree as the page reads it: flat, nodes depth-first.
#[derive(Serialize)]
struct Profile<'a> {
    title: &'a str,
    about: &'a str,
    names: Vec<&'a str>,
    kinds: Vec<u8>,
    /// Binary and source.
    places: Vec<String>,
    depth: Vec<u32>,
    frame: Vec<u32>,
    #[serde(rename = "self")]
    self_: Vec<u64>,
    /// CPU time of each number, in nanoseconds.
    scale: u64,
    /// Whether the numbers are samples.
    counts: bool,
    /// Colours by kind: light, dark.
    fills: [[&'static str; 2]; FrameKind::COUNT],
}

/// Writes a page with `tree`, whose numbers stand for `measure`.
///
/// # Errors
/// Those of `out`.
pub fn write(tree: &CallTree, measure: Measure, caption: &Caption, mut out: impl Write) -> io::Result<()> {
    let profile = Profile {
        title: &caption.title,
        about: &caption.about,
        names: tree.frames.iter().map(|frame| short(&frame.name)).collect(),
        kinds: tree.frames.iter().map(|frame| frame.kind as u8).collect(),
        places: tree.frames.iter().map(place).collect(),
        depth: tree.nodes.iter().map(|node| node.depth).collect(),
        frame: tree.nodes.iter().map(|node| node.frame.0).collect(),
        self_: tree.nodes.iter().map(|node| node.self_).collect(),
        scale: measure.scale(),
        counts: measure.counts_samples(),
        fills: palette::FILLS,
    };
    let (before, after) =
        PAGE.split_once(PLACE).ok_or_else(|| io::Error::other("the page has no place for a profile"))?;
    out.write_all(before.as_bytes())?;
    // Only texts have `<`, and in them it may be written so.
    let json = serde_json::to_string(&profile)?.replace('<', "\\u003c");
    out.write_all(json.as_bytes())?;
    out.write_all(after.as_bytes())
}

fn short(name: &str) -> &str {
    name.char_indices().nth(MAX_NAME).map_or(name, |(end, _)| &name[..end])
}

fn place(frame: &Frame) -> String {
    let source = frame.file.as_deref().map(|file| match frame.line {
        Some(line) => format!("{}:{line}", short(file)),
        None => short(file).to_owned(),
    });
    // A note says it itself.
    let reason = frame.reason.filter(|reason| matches!(reason, Reason::Unnamed(_)));
    let reason = reason.map(|reason| reason.describe().to_owned());
    let parts = [frame.binary.as_deref().map(|path| short(path).to_owned()), source, reason];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::export::drawing::tree;

    fn page(tree: &CallTree) -> String {
        let mut out = Vec::new();
        let caption = Caption { title: "CPU".into(), about: "one minute".into() };
        write(tree, Measure::of([100]), &caption, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn profile(page: &str) -> serde_json::Value {
        let json = page.split_once("type=\"application/json\">").unwrap().1.split_once("</script>").unwrap().0;
        serde_json::from_str(json).unwrap()
    }

    /// The tree is in the page as it is, and a name that looks like the end of a script is a name.
    #[test]
    fn the_page_holds_the_tree_and_names_cannot_break_out() {
        let evil = "</script><script>alert(1)</script>";
        let page = page(&tree(&format!("sh 0\n  main 3\n    k:read 2\n  {evil} 1")));
        let profile = profile(&page);
        assert_eq!(profile["depth"], serde_json::json!([0, 1, 2, 3, 2]));
        assert_eq!(profile["self"], serde_json::json!([0, 0, 3, 2, 1]));
        assert_eq!(profile["names"][4], evil);
        assert_eq!(profile["kinds"], serde_json::json!([0, 1, 2, 3, 2]));
        assert_eq!(profile["fills"], serde_json::json!(palette::FILLS), "the colours of the page");
        assert_eq!(page.matches("<script").count(), 2, "the profile and the page's own");
    }

    /// Nothing in it asks for anything: no address at all, and a policy that would refuse it.
    #[test]
    fn the_page_names_no_other_place() {
        let page = page(&tree("sh 1"));
        assert!(!page.contains("://") && !page.contains("src=") && page.contains("default-src 'none'"));
    }

    /// Names of a megabyte do not make pages of a gigabyte.
    #[test]
    fn names_are_cut() {
        let page = page(&tree(&format!("sh 0\n  {} 1", "é".repeat(100_000))));
        assert!(page.len() < PAGE.len() + 2_000, "{}", page.len());
    }
}
