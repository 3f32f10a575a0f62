//! A merged profile out of a database, for `export` and `record`.

use std::path::Path;

use super::args::Format;
use super::exit::NoSamples;
use crate::export::{folded, svg};
use crate::profile::{TimeRange, WallNanos};
use crate::query::{self, Merged, Selector};
use crate::store::Reader;

/// All time: what `record` exports.
pub const EVERYTHING: TimeRange = TimeRange { from: WallNanos(i64::MIN), to: WallNanos(i64::MAX) };

/// Merges a range; every node is kept.
///
/// # Errors
/// The database cannot be read; [`NoSamples`] when nothing matches.
pub fn merge(database: &Path, range: TimeRange, selector: &Selector) -> anyhow::Result<Merged> {
    let mut reader = Reader::open(database)?;
    let merged = query::flame_graph(&mut reader, range, selector, usize::MAX)?;
    if merged.tree.nodes.first().is_none_or(|root| root.total == 0) {
        let kept = query::totals(&mut reader)?.span.map_or_else(
            || "the database is empty".to_owned(),
            |span| format!("the database holds {} to {}", time(span.from), time(span.to)),
        );
        anyhow::bail!(NoSamples(format!("no samples match; {kept}")));
    }
    Ok(merged)
}

fn time(at: WallNanos) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).map_or_else(|_| at.0.to_string(), |time| time.to_string())
}

/// Writes a merged profile.
///
/// # Errors
/// The output cannot be written.
pub fn write(merged: &Merged, format: Format, out: impl std::io::Write) -> std::io::Result<()> {
    match format {
        Format::Folded => folded::write(&merged.tree, out),
        Format::Svg => svg::write(&merged.tree, &svg::Caption::default(), out),
    }
}
