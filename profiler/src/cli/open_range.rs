//! A merged profile out of a database, for `export` and `record`.

use std::path::Path;

use super::args::Format;
use super::exit::NoSamples;
use crate::export::{folded, html, pprof, svg};
use crate::profile::{Demangle, TimeRange, WallNanos};
use crate::query::{self, Merged, Selector};
use crate::store::Reader;

/// All time: what `record` exports.
pub const EVERYTHING: TimeRange = TimeRange { from: WallNanos(i64::MIN), to: WallNanos(i64::MAX) };

/// What a range holds, and the time it really spans: the part of what was asked for that the database knows of.
#[derive(Debug)]
pub struct Part {
    merged: Merged,
    span: TimeRange,
}

impl Format {
    /// Nodes that an output of this format has at most.
    pub const fn max_nodes(self) -> usize {
        match self {
            Self::Html => html::MAX_NODES,
            _ => usize::MAX,
        }
    }
}

/// Merges a range; at most so many nodes are kept, the others stand in remainder nodes.
///
/// # Errors
/// The database cannot be read; [`NoSamples`] when nothing matches.
pub fn merge(
    database: &Path,
    range: TimeRange,
    selector: &Selector,
    demangle: Demangle,
    max_nodes: usize,
) -> anyhow::Result<Part> {
    let mut reader = Reader::open(database)?;
    reader.set_demangle(demangle);
    let merged = query::flame_graph(&mut reader, range, selector, max_nodes)?;
    let span = query::totals(&mut reader)?.span;
    if merged.tree.nodes.first().is_none_or(|root| root.total == 0) {
        let kept = span.map_or_else(
            || "the database is empty".to_owned(),
            |span| format!("the database holds {} to {}", time(span.from), time(span.to)),
        );
        anyhow::bail!(NoSamples(format!("no samples match; {kept}")));
    }
    let span = span.map_or(range, |span| TimeRange { from: range.from.max(span.from), to: range.to.min(span.to) });
    Ok(Part { merged, span })
}

fn time(at: WallNanos) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).map_or_else(|_| at.0.to_string(), |time| time.to_string())
}

/// Writes a merged profile.
///
/// # Errors
/// The output cannot be written.
pub fn write(part: &Part, format: Format, out: impl std::io::Write) -> std::io::Result<()> {
    let Part { merged, span } = part;
    match format {
        Format::Folded => folded::write(&merged.tree, out),
        Format::Db => Err(std::io::Error::other("a database is no stream: see cli/slice.rs")),
        Format::Svg => svg::write(&merged.tree, &svg::Caption::default(), out),
        Format::Html => {
            let caption = html::Caption {
                title: "CPU flame graph".into(),
                about: format!("{} to {}", time(span.from), time(span.to)),
            };
            html::write(&merged.tree, merged.nanos_per_sample, &caption, out)
        }
        Format::Pprof => {
            pprof::write(&merged.tree, span.from.0, span.to.0.saturating_sub(span.from.0), merged.nanos_per_sample, out)
        }
    }
}
