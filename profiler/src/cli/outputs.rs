//! Where `record` and `export` write: formats by extension, and one rule for what exists already.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use super::args::Format;
use super::exit::Usage;

/// Extensions, as messages name them.
const EXTENSIONS: &str = ".folded, .svg, .html, .pb.gz or .db";

/// One `-o`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A database.
    Database(PathBuf),
    /// A file of another format.
    File(PathBuf, Format),
    /// Standard output.
    Stdout(Format),
}

impl Output {
    /// Reads what was typed, with the format that was asked for, if any.
    ///
    /// # Errors
    /// A name that says nothing of its format; what cannot go to standard output.
    pub fn parse(path: &Path, format: Option<Format>) -> Result<Self, Usage> {
        if path == Path::new("-") {
            let format = format.unwrap_or(Format::Folded);
            if format == Format::Db {
                return Err(Usage("a database cannot be written to standard output: name a file with -o".into()));
            }
            if format == Format::Pprof && io::stdout().is_terminal() {
                return Err(Usage(
                    "a pprof file is binary, which a terminal cannot show: name a file with -o, or use > FILE".into(),
                ));
            }
            return Ok(Self::Stdout(format));
        }
        let format = format.or_else(|| format_of(path)).ok_or_else(|| {
            let name = path.display();
            Usage(format!("{name}: name the output {EXTENSIONS}, the extension chooses the format"))
        })?;
        Ok(if format == Format::Db { Self::Database(path.to_owned()) } else { Self::File(path.to_owned(), format) })
    }

    /// Refuses what would be found out only after the work: no folder, or a file that exists and is not to be replaced.
    ///
    /// # Errors
    /// These.
    pub fn check(&self, force: bool) -> Result<(), Usage> {
        let (Self::Database(path) | Self::File(path, _)) = self else { return Ok(()) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(Usage(format!("no folder {} to write {} into", folder.display(), path.display())));
        }
        // A pipe or a device is there to be written to.
        if !force && fs::metadata(path).is_ok_and(|there| there.is_file()) {
            return Err(Usage(format!(
                "{} exists: name another one with -o, or replace it with --force",
                path.display()
            )));
        }
        Ok(())
    }
}

/// The format that a file name asks for.
fn format_of(path: &Path) -> Option<Format> {
    if path.file_name()?.to_str()?.ends_with(".pb.gz") {
        return Some(Format::Pprof);
    }
    match path.extension()?.to_str()? {
        "folded" | "txt" => Some(Format::Folded),
        "svg" => Some(Format::Svg),
        "html" => Some(Format::Html),
        "db" => Some(Format::Db),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The extension chooses, or `--format` does; nothing else is written as something else.
    #[test]
    fn a_name_says_its_format() {
        let parsed = |name: &str, format| Output::parse(Path::new(name), format);
        let file = |name: &str, format| Output::File(name.into(), format);
        assert_eq!(parsed("a.pb.gz", None).unwrap(), file("a.pb.gz", Format::Pprof));
        assert_eq!(parsed("a.db", None).unwrap(), Output::Database("a.db".into()));
        assert_eq!(parsed("-", None).unwrap(), Output::Stdout(Format::Folded));
        assert_eq!(parsed("a.json", Some(Format::Html)).unwrap(), file("a.json", Format::Html));
        for name in ["a.json", "a.pprof", "a.pb", "a.gz", "a.pprof.gz", "a.speedscope.json", "a.perf", "a"] {
            assert!(parsed(name, None).unwrap_err().0.contains(EXTENSIONS), "{name}");
        }
        assert!(parsed("-", Some(Format::Db)).is_err());
    }

    /// What exists is replaced by who says so, whatever its format.
    #[test]
    fn what_exists_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.folded", "a.svg", "a.html", "a.pb.gz", "a.db"] {
            let path = folder.path().join(name);
            let output = Output::parse(&path, None).unwrap();
            output.check(false).unwrap();
            fs::write(&path, "mine").unwrap();
            assert!(output.check(false).unwrap_err().0.contains("--force"), "{name}");
            output.check(true).unwrap();
        }
        Output::File("/dev/null".into(), Format::Svg).check(false).unwrap();
        assert!(Output::File("/nonexistent/a.svg".into(), Format::Svg).check(true).is_err());
    }
}
