//! Source text with samples: which file it is, and its lines.
//!
//! Compilers write paths of the machine they ran on. `--source-map FROM=TO` says that what was below FROM there is below TO here. Paths
//! come out of debug information, which is foreign: they are walked inside TO only, and neither `..` nor a link leads out of it. Without
//! such a word a file is read only as far as [`Viewer`] says.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Annotator, Viewer};
use crate::process::{lies_here, open_file_in_root};
use crate::profile::{Binary, BinaryKind, Owner, printable};
use crate::query::{Lines, Weight};
use crate::sys::time_share::ROOT;

/// Largest source file.
const MAX_SOURCE: u64 = 4 << 20;
/// Most binaries that are looked at for whether they may name a file.
const MOST_BINARIES: usize = 16;
/// Longest line shown, in bytes.
const MAX_LINE: usize = 500;
/// Lines shown around one with samples.
const NEAR: u64 = 15;
/// Most lines shown between the first one with samples and the last; beyond that, those near samples.
const MAX_SPAN: u64 = 2_000;
/// Most lines in all.
const MAX_LINES: usize = 5_000;

/// What was below one folder where programs were compiled is below another one here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRoot {
    /// As the compiler wrote it, without a slash at its end; empty for the root, or for paths that are relative.
    from: String,
    relative: bool,
    to: PathBuf,
}

impl FromStr for SourceRoot {
    type Err = String;

    /// `FROM=TO`; `FOLDER` for one that is the same here; `=TO` for relative paths.
    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once('=').unwrap_or((text, text));
        if !to.starts_with('/') || !(from.is_empty() || from.starts_with('/')) {
            return Err(format!("{text:?} is no source map: write FROM=TO or FOLDER, with absolute paths"));
        }
        let relative = from.is_empty();
        Ok(Self { from: from.trim_end_matches('/').to_owned(), relative, to: to.into() })
    }
}

impl SourceRoot {
    /// The rest of a path that lies below.
    fn rest<'a>(&self, file: &'a str) -> Option<&'a str> {
        if self.relative {
            return (!file.starts_with('/')).then_some(file);
        }
        file.strip_prefix(&self.from)?.strip_prefix('/')
    }
}

/// A line with its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub line: u64,
    /// What stands there; `None` when the file was not found or has no such line.
    pub text: Option<String>,
    /// Samples taken in it.
    pub self_: u64,
    /// Samples taken in it or in what it calls.
    pub total: u64,
}

/// A function's source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The file that was read.
    pub found: Option<String>,
    /// Why none was.
    pub reason: Option<String>,
    /// By rising number; only those with samples when there is no text.
    pub lines: Vec<Line>,
}

impl Annotator {
    /// The source of a function that was sampled, as far as a viewer may see it.
    pub fn source(&mut self, lines: &Lines, viewer: &Viewer) -> Source {
        let (read, reason) = match self.read_source(lines, viewer) {
            Ok((path, text)) => (Some((path, text)), None),
            Err(reason) => (None, Some(reason)),
        };
        let text: Vec<&str> = read.as_ref().map_or(Vec::new(), |(_, text)| text.lines().collect());
        Source { lines: shown(&lines.places, &text), found: read.map(|(path, _)| path), reason }
    }

    /// Who can have written a binary that names a file, if a viewer trusts it: one that lies at its path on this host. A container's names files
    /// of the container, and whoever made its image would have those of the host read.
    fn trusted(&self, binary: &Binary, viewer: &Viewer) -> Option<Owner> {
        let of_kernel = (binary.kind == BinaryKind::Kernel).then_some(Owner::System);
        let owner = of_kernel.or(binary.key.identity().map(|identity| identity.owner))?;
        let of = binary.without_files();
        let is_here = || self.opener.run(ROOT, move || lies_here(&of)).unwrap_or(false);
        (viewer.trusts(owner) && (of_kernel.is_some() || is_here())).then_some(owner)
    }

    fn read_source(&mut self, lines: &Lines, viewer: &Viewer) -> Result<(String, String), String> {
        let Some(file) = lines.file.as_deref().filter(|_| !lines.places.is_empty()) else {
            return Err("no debug information tells the function's source file and lines".to_owned());
        };
        // The longest folder knows best; what was given at the start before what the page adds.
        let given = self.roots.iter().map(|root| (root, Grant::Start));
        let added = viewer.folders().iter().map(|root| (root, Grant::Viewer));
        let mut below: Vec<(&SourceRoot, Grant, &str)> =
            given.chain(added).filter_map(|(root, grant)| Some((root, grant, root.rest(file)?))).collect();
        below.sort_by_key(|(root, ..)| std::cmp::Reverse(root.from.len()));
        let mut places: Vec<(PathBuf, Grant, PathBuf)> =
            below.into_iter().map(|(root, grant, rest)| (root.to.clone(), grant, rest.into())).collect();
        if file.starts_with('/') {
            let named_by = lines.binaries.iter().take(MOST_BINARIES);
            let trusted: Vec<Owner> = named_by.filter_map(|binary| self.trusted(binary, viewer)).collect();
            let grant = Grant::Binary { of_root: trusted.contains(&Owner::System) };
            places.extend((!trusted.is_empty()).then(|| ("/".into(), grant, file.into())));
        }
        if places.is_empty() {
            let folder = Path::new(file).parent().unwrap_or(Path::new(""));
            return Err(format!(
                "no folder is given for it: add one on the page, or start the profiler with --source-map {}=FOLDER, to see its text",
                folder.display()
            ));
        }
        let mut looked_at = Vec::new();
        for (folder, grant, rest) in places {
            let path = folder.join(rest.strip_prefix("/").unwrap_or(&rest));
            let viewer = viewer.clone();
            match self.opener.run(ROOT, move || read_below(&folder, &rest, grant, &viewer)) {
                Ok(Ok(text)) => return Ok((path.display().to_string(), text)),
                Ok(Err(reason)) => looked_at.push(format!("{}: {reason}", path.display())),
                Err(_) => looked_at.push(format!("{}: the file system does not answer", path.display())),
            }
        }
        Err(looked_at.join("; "))
    }
}

/// By whose grant a file is read.
#[derive(Clone, Copy, Debug)]
enum Grant {
    /// `--source-map`.
    Start,
    /// The viewer, on the page.
    Viewer,
    /// A binary that is trusted, root's or the viewer's.
    Binary { of_root: bool },
}

/// The text of a regular file below a folder.
fn read_below(folder: &Path, path: &Path, grant: Grant, viewer: &Viewer) -> Result<String, &'static str> {
    let file = match grant {
        Grant::Start => {
            let folder =
                File::open(folder).map_err(|_| "the folder is not there, or may not be read by the profiler")?;
            open_file_in_root(folder, path)
                .map_err(|_| "no such file below the folder, or it may not be read by the profiler")?
        }
        Grant::Viewer => viewer.open(folder, path, false)?,
        Grant::Binary { of_root } => viewer.open(folder, path, of_root)?,
    };
    let mut bytes = Vec::new();
    let read = file.take(MAX_SOURCE + 1).read_to_end(&mut bytes);
    match read {
        Ok(len) if len as u64 > MAX_SOURCE => Err("the file is larger than 4 MiB"),
        Ok(_) if bytes.contains(&0) => Err("the file is not text"),
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(_) => Err("the file could not be read"),
    }
}

/// Lines with samples, and those of the text near them.
fn shown(places: &[Weight], text: &[&str]) -> Vec<Line> {
    let (Some(first), Some(last)) = (places.first(), places.last()) else { return Vec::new() };
    let len = text.len() as u64;
    let whole = last.at - first.at <= MAX_SPAN;
    let mut lines: Vec<Line> = Vec::new();
    for (nth, place) in places.iter().enumerate() {
        // Up to the next one with samples, or as far as is near.
        let next = places.get(nth + 1).map_or(u64::MAX, |next| next.at);
        let after = match next {
            u64::MAX => place.at.saturating_add(NEAR),
            next if whole => next - 1,
            next => place.at.saturating_add(NEAR).min(next - 1),
        };
        let known = lines.last().map_or(0, |line| line.line);
        let before = place.at.saturating_sub(NEAR).max(known + 1).min(place.at);
        let numbers = (before..=after.min(len.max(place.at))).filter(|line| *line <= len || *line == place.at);
        lines.extend(numbers.take(MAX_SPAN as usize).map(|line| {
            let (self_, total) = if line == place.at { (place.self_, place.total) } else { (0, 0) };
            let text = usize::try_from(line - 1).ok().and_then(|at| text.get(at)).map(|text| readable(text));
            Line { line, text, self_, total }
        }));
    }
    // Of very many, the ones without samples go first.
    if lines.len() > MAX_LINES {
        lines.retain(|line| line.total > 0);
        lines.truncate(MAX_LINES);
    }
    lines
}

/// Tabs are indentation; other control characters are not for a page.
fn readable(line: &str) -> String {
    printable(line.trim_end().replace('\t', "    ").as_bytes(), MAX_LINE)
}

#[cfg(test)]
mod tests;
