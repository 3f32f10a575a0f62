//! One function, told from all others as the page's addresses do it: `kind|binary|file|name` (`web/src/model/function.ts`; both check the
//! same examples). Pure.
//!
//! A name alone is not one function: two programs have a `main` each, and one that is inlined here and called there is two rows of a table.
//! Paths lose their bars, on both sides of a comparison; the name comes last because it may hold anything.

use std::str::FromStr;
use std::sync::Arc;

use crate::profile::Frame;

/// Such as `2|/usr/bin/app|src/main.c|main`: the number of the kind, then binary and file, empty where the frame has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneFunction {
    kind: u8,
    binary: String,
    file: String,
    name: String,
}

impl FromStr for OneFunction {
    /// What is wrong with the text.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.splitn(4, '|').collect::<Vec<_>>();
        let parsed = match parts[..] {
            [kind, binary, file, name] if !name.is_empty() && kind.bytes().all(|digit| digit.is_ascii_digit()) => {
                kind.parse().ok().map(|kind| Self { kind, binary: binary.into(), file: file.into(), name: name.into() })
            }
            _ => None,
        };
        let cut: String = text.chars().take(64).collect();
        parsed.ok_or_else(|| {
            format!("{cut:?} names no function: kind|binary|file|name does, such as 2|/usr/bin/app||main")
        })
    }
}

impl OneFunction {
    /// Whether a frame is of it.
    pub(super) fn fits(&self, frame: &Frame) -> bool {
        let same = |wanted: &str, found: &Option<Arc<str>>| {
            let found = found.as_deref().unwrap_or_default();
            wanted.bytes().eq(found.bytes().filter(|byte| *byte != b'|'))
        };
        *frame.name == *self.name
            && frame.kind as u8 == self.kind
            && same(&self.binary, &frame.binary)
            && same(&self.file, &frame.file)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::FrameKind;

    fn frame(name: &str, kind: FrameKind, binary: Option<&str>, file: Option<&str>) -> Frame {
        let [binary, file] = [binary, file].map(|path| path.map(Into::into));
        Frame { name: name.into(), kind, binary, file, line: Some(7), reason: None }
    }

    /// The page asks with what stands in its addresses: `web/src/model/function.test.ts` has the same.
    #[test]
    fn a_function_is_what_the_page_calls_it_and_no_other() {
        let app = "/usr/bin/app";
        let frames = [
            frame("a|b<日本>", FrameKind::User, Some("/opt/x|y"), Some("a.c")),
            frame("main", FrameKind::User, Some(app), None),
            frame("main", FrameKind::Inlined, Some(app), None),
            frame("main", FrameKind::User, Some(app), Some("a.c")),
            frame("main", FrameKind::User, None, None),
        ];
        let texts = [
            "2|/opt/xy|a.c|a|b<日本>",
            "2|/usr/bin/app||main",
            "4|/usr/bin/app||main",
            "2|/usr/bin/app|a.c|main",
            "2|||main",
        ];
        for (at, text) in texts.iter().enumerate() {
            let wanted: OneFunction = text.parse().unwrap();
            let found: Vec<_> = (0..frames.len()).filter(|at| wanted.fits(&frames[*at])).collect();
            assert_eq!(found, [at], "{text}");
        }
    }

    /// What people type is refused in words, not guessed at.
    #[test]
    fn what_is_no_function_is_refused() {
        for text in ["", "main", "2|||", "x|||main", "|||main", "+2|||main", "256|||main", "2||main"] {
            assert!(text.parse::<OneFunction>().is_err(), "{text}");
        }
    }
}
