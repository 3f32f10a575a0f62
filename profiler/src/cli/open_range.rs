//! A range of a database as a file, for `export` and `record`.

use std::io;
use std::path::Path;

use super::args::Format;
use crate::export::{caption, folded, html, pprof, svg};
use crate::profile::{Demangle, StackSamples, TimeRange, WallNanos};
use crate::query::{self, Merged, Selector};
use crate::store::Reader;
use crate::sys::host::name_in_boot;

/// All time: what `record` exports.
pub const EVERYTHING: TimeRange = TimeRange { from: WallNanos(i64::MIN), to: WallNanos(i64::MAX) };

/// What a range holds, as its format wants it, and the time it really spans: the part of what was asked for that the database knows of.
#[derive(Debug)]
pub struct Part {
    content: Content,
    format: Format,
    span: TimeRange,
    /// What the database holds in all; `None` without windows.
    kept: Option<TimeRange>,
    about: pprof::About,
    /// What stands on top of pictures and pages.
    title: String,
    filter: &'static str,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// When.
    pub range: TimeRange,
    /// Whose.
    pub selector: Selector,
    /// What of names.
    pub demangle: Demangle,
    /// In which format.
    pub format: Format,
    /// Whether stacks of formats that have labels begin with their process.
    pub process_frames: bool,
}

impl Part {
    /// Whether nothing matched.
    pub fn is_empty(&self) -> bool {
        match &self.content {
            Content::Tree(merged) => merged.tree.nodes.first().is_none_or(|root| root.total == 0),
            Content::Samples(samples) => samples.samples.is_empty(),
        }
    }

    /// What the database holds, in words.
    pub fn kept(&self) -> String {
        self.kept.map_or_else(
            || "the database is empty".to_owned(),
            |span| format!("the database holds {} to {}", time(span.from), time(span.to)),
        )
    }
}

#[derive(Debug)]
enum Content {
    Tree(Merged),
    Samples(StackSamples),
}

impl Format {
    /// Nodes that an output of this format has at most.
    const fn max_nodes(self) -> usize {
        match self {
            Self::Html => html::MAX_NODES,
            _ => usize::MAX,
        }
    }
}

/// Reads what a format needs of a range; what it does not take stands in remainder nodes.
///
/// # Errors
/// The database cannot be read.
pub fn read(database: &Path, ask: &Ask) -> anyhow::Result<Part> {
    let Ask { range, format, process_frames, .. } = *ask;
    let mut reader = Reader::open(database)?;
    reader.set_demangle(ask.demangle);
    let content = match format {
        Format::Pprof => Content::Samples(query::stack_samples(&mut reader, range, &ask.selector)?),
        _ => Content::Tree(query::flame_graph(&mut reader, range, &ask.selector, format.max_nodes())?),
    };
    let kept = query::totals(&mut reader)?.span;
    let span = kept.map_or(range, |span| TimeRange { from: range.from.max(span.from), to: range.to.min(span.to) });
    let host = query::newest_boot(&mut reader)?.as_deref().and_then(name_in_boot);
    let title = caption::title(host.as_deref());
    let comments = pprof::comments(host);
    let about = pprof::About { start: span.from.0, comments, process_frames };
    let filter = if ask.selector.is_empty() { "" } else { "filtered" };
    Ok(Part { content, format, span, kept, about, title, filter })
}

fn time(at: WallNanos) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).map_or_else(|_| at.0.to_string(), |time| time.to_string())
}

/// Writes what was read.
///
/// # Errors
/// The output cannot be written.
pub fn write(part: &Part, out: impl io::Write) -> io::Result<()> {
    let Part { content, format, span, about, title, filter, .. } = part;
    let total = |merged: &Merged| merged.tree.nodes.first().map_or(0, |root| root.total);
    let caption = |merged: &Merged| (title.clone(), caption::about(*span, filter, total(merged), merged.measure));
    match (content, format) {
        (Content::Samples(samples), _) => pprof::write(samples, about, out),
        (Content::Tree(merged), Format::Svg) => {
            // A line holds no more than 160 letters.
            let title = format!("{title}, {}", caption::range(*span));
            let subtitle = caption::amount(filter, total(merged), merged.measure);
            svg::write(&merged.tree, merged.measure, &svg::Caption { title, subtitle }, out)
        }
        (Content::Tree(merged), Format::Html) => {
            let (title, about) = caption(merged);
            html::write(&merged.tree, merged.measure, &html::Caption { title, about }, out)
        }
        (Content::Tree(merged), Format::Folded) => folded::write(&merged.tree, out),
        (Content::Tree(_), Format::Db | Format::Pprof) => Err(io::Error::other("not written from a tree")),
    }
}
