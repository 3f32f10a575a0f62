//! What a person types into a search box, as a test of frames: the same words as on the page (`web/src/model/search.ts`). Pure.
//!
//! `text` anywhere in the name (any case), `"text"` the whole name, `/text/` a regular expression (`/text/i`: any case), and
//! `kind:kernel`, `binary:libc`, `package:tokio`, `file:main.rs`. A regular expression is bounded in size, and takes time in proportion
//! to the text: look-around and back references do not exist.

use std::str::FromStr;
use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};

use crate::profile::{Frame, FrameKind};

/// A parsed search.
#[derive(Clone, Debug)]
pub enum Search {
    /// A part of the name, in lower case.
    Part(String),
    /// The whole name.
    Whole(String),
    /// A regular expression for the name.
    Pattern(Regex),
    /// The whole kind, by its name on the page.
    Kind(String),
    /// A part of the binary's path.
    Binary(String),
    /// The whole package.
    Package(String),
    /// A part of the source file's path.
    File(String),
}

/// Memory of a compiled regular expression.
const MOST_BYTES: usize = 1 << 20;

impl FromStr for Search {
    /// What is wrong with the text.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((pattern, flags)) = text.strip_prefix('/').and_then(|text| text.rsplit_once('/'))
            && !pattern.is_empty()
            && flags.bytes().all(|flag| flag == b'i' || flag == b'u')
        {
            let mut builder = RegexBuilder::new(pattern);
            builder.case_insensitive(flags.contains('i')).size_limit(MOST_BYTES).dfa_size_limit(MOST_BYTES);
            let compiled = builder.build();
            return compiled.map(Self::Pattern).map_err(|error| {
                // The last line of the crate's drawing says what is wrong.
                let text = error.to_string();
                format!(
                    "search is no regular expression: {}",
                    text.lines().last().unwrap_or("").trim_start_matches("error: ")
                )
            });
        }
        if let Some(name) =
            text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).filter(|name| !name.is_empty())
        {
            return Ok(Self::Whole(name.to_owned()));
        }
        // Two colons are a path in a name.
        let field = text.split_once(':').filter(|(_, value)| !value.is_empty() && !value.starts_with(':'));
        Ok(match field.map(|(field, value)| (field, value.trim().to_owned())) {
            Some(("kind", value)) => Self::Kind(value.to_lowercase()),
            Some(("binary", value)) => Self::Binary(value),
            Some(("package", value)) => Self::Package(value),
            Some(("file", value)) => Self::File(value),
            _ => Self::Part(text.to_lowercase()),
        })
    }
}

impl Search {
    /// Whether a frame is one that is looked for.
    pub(super) fn fits(&self, frame: &Frame) -> bool {
        let within =
            |path: &Option<std::sync::Arc<str>>, part: &str| path.as_deref().is_some_and(|path| path.contains(part));
        match self {
            Self::Part(part) => frame.name.to_lowercase().contains(part),
            Self::Whole(name) => *frame.name == **name,
            Self::Pattern(regex) => regex.is_match(&frame.name),
            Self::Kind(kind) => kind_name(frame.kind) == *kind,
            Self::Binary(part) => within(&frame.binary, part),
            Self::File(part) => within(&frame.file, part),
            Self::Package(package) => package_of(frame) == *package,
        }
    }
}

/// What the page calls a kind, in lower case.
const fn kind_name(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Root => "all",
        FrameKind::Process => "process",
        FrameKind::User => "native",
        FrameKind::Kernel => "kernel",
        FrameKind::Inlined => "inlined",
        FrameKind::Unknown => "no symbol",
        FrameKind::Note => "cut short",
        FrameKind::Remainder => "collapsed",
        FrameKind::Jit => "jit",
    }
}

/// The package of a function, guessed from its name: a crate or namespace, a Go import path; the kernel; else the binary's file name.
fn package_of(frame: &Frame) -> &str {
    static PATH: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^[<&({* ]*(?:dyn |mut |const )*([A-Za-z_][A-Za-z0-9_]*)(?:\[[0-9a-f]+\])?::").ok()
    });
    static GO: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^((?:[A-Za-z0-9_.~-]+/)*[A-Za-z0-9_~-]+)\.[A-Z_a-z(]\S*$").ok());
    static CLONE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\.(?:part|isra|constprop|cold|lto_priv)(?:[^A-Za-z0-9_]|$)").ok());
    let captured = |regex: &LazyLock<Option<Regex>>| {
        let found = regex.as_ref().and_then(|regex| regex.captures(&frame.name))?;
        found.get(1).map(|part| part.range())
    };
    if frame.kind == FrameKind::Kernel {
        return "kernel";
    }
    if let Some(range) = captured(&PATH) {
        return &frame.name[range];
    }
    let clone = CLONE.as_ref().is_some_and(|clone| clone.is_match(&frame.name));
    if let Some(range) = captured(&GO).filter(|_| !frame.name.starts_with('[') && !clone) {
        return &frame.name[range];
    }
    frame.binary.as_deref().map_or("other", |path| path.rsplit('/').next().unwrap_or(path))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn frame(name: &str, kind: FrameKind, binary: Option<&str>, file: Option<&str>) -> Frame {
        let [binary, file] = [binary, file].map(|path| path.map(Into::into));
        Frame { name: name.into(), kind, binary, file, line: None, reason: None }
    }

    /// Each form finds what the page's finds (`web/src/model/search.test.ts`), and no more.
    #[test]
    fn each_form_of_a_search_finds_its_frames() {
        let frame = frame("tokio::Runtime::Park", FrameKind::User, Some("/usr/bin/app"), Some("src/park.rs"));
        for (search, found) in [
            ("runtime::p", true),
            ("tokio::Runtime", true),
            ("parks", false),
            (r#""tokio::Runtime::Park""#, true),
            (r#""Park""#, false),
            ("/^tokio::.*Park$/", true),
            ("/park$/", false),
            ("/park$/i", true),
            ("kind:Native", true),
            ("kind:kernel", false),
            ("binary:bin/app", true),
            ("file:park.rs", true),
            ("package:tokio", true),
            ("package:tok", false),
        ] {
            assert_eq!(search.parse::<Search>().unwrap().fits(&frame), found, "{search}");
        }
        for bad in ["/(/", "/a{9999}{9999}/", "/(?=x)/"] {
            assert!(bad.parse::<Search>().unwrap_err().starts_with("search is no regular expression: "), "{bad}");
        }
    }

    /// The examples of `web/src/model/package.test.ts`.
    #[test]
    fn packages_are_those_of_the_page() {
        for (name, binary, package) in [
            ("tokio::runtime::park", None, "tokio"),
            ("<alloc::vec::Vec<T> as core::ops::Drop>::drop", None, "alloc"),
            ("<&str as core::fmt::Display>::fmt", Some("/usr/bin/a"), "a"),
            ("github.com/jackc/pgx/v5.(*Conn).Query", None, "github.com/jackc/pgx/v5"),
            ("runtime.mallocgc", Some("/usr/bin/server"), "runtime"),
            ("memcpy.part.0", Some("/lib/libc.so.6"), "libc.so.6"),
            ("[node+0x12]", Some("/usr/bin/node"), "node"),
            ("x", None, "other"),
        ] {
            assert_eq!(package_of(&frame(name, FrameKind::User, binary, None)), package, "{name}");
        }
        assert_eq!(package_of(&frame("schedule", FrameKind::Kernel, Some("[kernel]"), None)), "kernel");
    }
}
