//! A flame graph as one SVG file that stands alone: no request leaves it, names are text only.
//!
//! Drawn by inferno, and this is the only file that names it. inferno is under CDDL-1.0, a licence of files: nothing of
//! its source is here, and NOTICE at the root of the repository says where its source is. Everything else that draws
//! (the page, HTML exports) is our own.
//!
//! The same tree gives the same bytes. inferno leaves out frames narrower than 0.01 % and its search counts what is
//! drawn; the subtitle says so.

use std::io::{self, Write};

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{Direction, Options, TextTruncateDirection, from_lines};

use super::folded::{Marks, field, write_marked};
use super::palette;
use crate::profile::{CallTree, FrameKind, Measure};

/// What the picture says about itself.
#[derive(Clone, Debug, Default)]
pub struct Caption {
    /// Large, on top.
    pub title: String,
    /// Below it: the range and the filter, say.
    pub subtitle: String,
}

/// Draws `tree`, whose numbers stand for `measure`; one without samples becomes a picture that says so.
///
/// # Errors
/// Those of `out`.
pub fn write(tree: &CallTree, measure: Measure, caption: &Caption, mut out: impl Write) -> io::Result<()> {
    let mut text = Vec::new();
    write_marked(tree, Marks::KernelAndInlined, &mut text)?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    if text.is_empty() {
        return out.write_all(NO_SAMPLES.as_bytes());
    }
    let mut colors = colors(tree);
    let mut options = Options::default();
    options.title = plain(&caption.title);
    let about = "Under 0.01 % is not drawn or searched.";
    options.subtitle = Some(format!("{} {} {about}", plain(&caption.subtitle), palette::LEGEND));
    options.text_truncate_direction = TextTruncateDirection::Right;
    if measure.counts_samples() {
        "samples".clone_into(&mut options.count_name);
    } else {
        // It writes whole numbers; a sample of the highest rate is 0.1 ms.
        "us".clone_into(&mut options.count_name);
        options.factor = 1e-3;
    }
    "Function:".clone_into(&mut options.name_type);
    "monospace".clone_into(&mut options.font_type);
    options.palette_map = Some(&mut colors);
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 255, g: 255, b: 255 }));
    // As on the page: stacks of a hundred frames begin in sight.
    options.direction = Direction::Inverted;
    options.deterministic = true;
    // inferno sorts lines as bytes, and a space sorts before `;`: frames whose name begins with a sibling's would split
    // that sibling in two. A flame chart takes lines in the order given, last first.
    options.flame_chart = true;
    from_lines(&mut options, text.lines().rev(), out)
}

/// The colour of each name, marks and all, by its kind. Of frames of one name without a mark, code goes first.
fn colors(tree: &CallTree) -> PaletteMap {
    let mut colors = PaletteMap::default();
    // The root has no name there.
    let [r, g, b] = palette::light(FrameKind::Root, "");
    colors.insert("", Color { r, g, b });
    let mut frames: Vec<_> = tree.frames.iter().collect();
    frames.sort_by_key(|frame| frame.kind == FrameKind::User);
    for frame in frames {
        let [r, g, b] = palette::light(frame.kind, &frame.name);
        colors.insert(field(frame, Marks::KernelAndInlined), Color { r, g, b });
    }
    colors
}

const NO_SAMPLES: &str = "<?xml version=\"1.0\" standalone=\"no\"?>\n\
    <svg version=\"1.1\" width=\"1200\" height=\"60\" xmlns=\"http://www.w3.org/2000/svg\">\
    <text x=\"600\" y=\"36\" text-anchor=\"middle\" font-family=\"monospace\" font-size=\"14\">\
    No samples in this range.</text></svg>\n";

/// Text that XML 1.0 can hold: its escapes are inferno's, but control characters have none.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::export::drawing::tree;

    fn svg(tree: &CallTree) -> String {
        svg_of(tree, Measure::of([97]))
    }

    fn svg_of(tree: &CallTree, measure: Measure) -> String {
        let mut out = Vec::new();
        let caption = Caption { title: "CPU".into(), subtitle: "one <minute>.".into() };
        write(tree, measure, &caption, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// What a reader sees on each frame: the titles, in order.
    fn titles(svg: &str) -> Vec<&str> {
        svg.split("<title>").skip(1).map(|rest| rest.split("</title>").next().unwrap()).collect()
    }

    /// Nanoseconds of samples of several rates are no samples.
    #[test]
    fn samples_of_several_rates_are_drawn_as_time() {
        let svg = svg_of(&tree("sh 0\n  main 1500000\n  wait 500000"), Measure::of([97, 19]));
        let mut titles = titles(&svg);
        titles.sort_unstable();
        assert_eq!(titles[0], "all (2,000 us, 100%)");
        assert_eq!(titles[1], "main (1,500 us, 75.00%)");
    }

    /// Counts, shares and names are those of the tree; marks colour and do not show.
    #[test]
    fn a_drawn_tree_becomes_rectangles_with_its_counts() {
        let tree = tree(
            "
sh 0
  main 6
    i:inl 2
  k:vfs_read 2",
        );
        let svg = svg(&tree);
        let mut titles = titles(&svg);
        titles.sort_unstable();
        assert_eq!(
            titles,
            [
                "all (10 samples, 100%)",
                "inl (2 samples, 20.00%)",
                "main (8 samples, 80.00%)",
                "sh (10 samples, 100.00%)",
                "vfs_read (2 samples, 20.00%)"
            ]
        );
    }

    /// Each kind has its colour of the page, the root is on top, and the caption says what is what.
    #[test]
    fn frames_wear_the_colours_of_the_page() {
        let svg = svg(&tree("sh 0\n  main 6\n    i:inl 2\n  k:vfs_read 2\n  j:JS 1"));
        let fill_of = |name: &str| {
            let rest = svg.split_once(&format!("<title>{name} (")).unwrap().1;
            rest.split_once("fill=\"").unwrap().1.split_once('"').unwrap().0.to_owned()
        };
        for (name, kind) in [
            ("main", FrameKind::User),
            ("inl", FrameKind::Inlined),
            ("vfs_read", FrameKind::Kernel),
            ("JS", FrameKind::Jit),
            ("sh", FrameKind::Process),
        ] {
            let [r, g, b] = palette::light(kind, name);
            assert_eq!(fill_of(name), format!("rgb({r},{g},{b})"), "{name}");
        }
        let top_of = |name: &str| -> u32 {
            let rest = svg.split_once(&format!("<title>{name} (")).unwrap().1;
            rest.split_once(" y=\"").unwrap().1.split_once('"').unwrap().0.parse().unwrap()
        };
        assert!(top_of("sh") < top_of("main") && top_of("main") < top_of("inl"));
        assert!(svg.contains("orange kernel"));
    }

    /// The file can be compared and cached.
    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        let tree = tree("sh 0\n  std::vector 3\n  read 5");
        assert_eq!(svg(&tree), svg(&tree));
    }

    /// A child whose name begins like its sibling's does not split the sibling.
    #[test]
    fn equal_frames_stay_whole() {
        let tree = tree("sh 0\n  f 1\n    h 4\n  f a 2");
        assert_eq!(titles(&svg(&tree)).iter().filter(|title| title.starts_with("f (")).count(), 1);
    }

    /// Names and captions from other processes are text, and nothing is loaded from outside.
    #[test]
    fn hostile_names_are_text_and_nothing_is_fetched() {
        let tree = tree("sh 0\n  <script>alert(1)</script> 3\n  x\"onload=\"alert(2) 3\n  ]]> 2");
        let svg = svg(&tree);
        assert!(!svg.contains("<script>alert"), "a name became an element");
        assert!(svg.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(svg.contains("one &lt;minute&gt;."));
        for attribute in ["href=\"http", "src=\"http", "@import", "url(http"] {
            assert!(!svg.contains(attribute), "{attribute} loads from outside");
        }
    }

    /// No samples is an answer, not an error.
    #[test]
    fn nothing_recorded_is_a_picture_that_says_so() {
        assert!(svg(&CallTree::default()).contains("No samples in this range."));
    }
}
