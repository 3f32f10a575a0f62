//! Text that came from other processes, made safe to show. The one place that decides what "safe" means.

use siphasher::sip::SipHasher13;

/// `bytes` as text of at most `max` bytes: invalid UTF-8, control characters, line separators and characters that change
/// the direction of text or have no width become U+FFFD, so that a name cannot pose as another or break a terminal.
#[must_use]
pub fn printable(bytes: &[u8], max: usize) -> String {
    // A character takes at most four bytes and becomes at least one, so more input than this is never looked at.
    let bytes = &bytes[..bytes.len().min(max.saturating_mul(4))];
    // Nearly all are: a tenth of the time of looking at each character.
    if bytes.len() <= max && bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut text = String::with_capacity(bytes.len().min(max));
    for c in String::from_utf8_lossy(bytes).chars() {
        let c = if is_printable(c) { c } else { char::REPLACEMENT_CHARACTER };
        if text.len() + c.len_utf8() > max {
            break;
        }
        text.push(c);
    }
    text
}

/// The same for a name, of which only equal ones may look equal: what is cut off is replaced by a hash of the whole.
#[must_use]
pub fn printable_name(bytes: &[u8], max: usize) -> String {
    const MARK: char = '…';
    // A character of one byte becomes one of three at most.
    if bytes.len() <= max / 3 || printable(bytes, bytes.len().saturating_mul(3)).len() <= max {
        return printable(bytes, max);
    }
    let hash = SipHasher13::new().hash(bytes);
    let end = format!("{MARK}#{hash:016x}");
    printable(bytes, max.saturating_sub(end.len())) + &end
}

/// Whether [`printable`] would leave this character as it is.
#[must_use]
pub fn is_printable(c: char) -> bool {
    !matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' // C0, DEL, C1
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // direction
        | '\u{200b}' | '\u{2060}' | '\u{feff}' // no width
        | '\u{2028}' | '\u{2029}' // line and paragraph separators
        | '\u{e0000}'..='\u{e007f}') // invisible tags
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Escape sequences, right-to-left overrides and broken UTF-8 cannot reach a terminal or a page.
    #[test]
    fn control_and_direction_characters_are_replaced() {
        assert_eq!(printable(b"a\x1b[31mb\nc", 64), "a\u{fffd}[31mb\u{fffd}c");
        assert_eq!(printable("exe\u{202e}gpj".as_bytes(), 64), "exe\u{fffd}gpj");
        assert_eq!(printable(b"\xff\xfeok", 64), "\u{fffd}\u{fffd}ok");
        assert_eq!(printable("naïve 名前".as_bytes(), 64), "naïve 名前");
    }

    /// The cap counts bytes and never splits a character.
    #[test]
    fn the_cap_keeps_whole_characters() {
        assert_eq!(printable("名前".as_bytes(), 5), "名");
        assert_eq!(printable(b"abcdef", 3), "abc");
        assert_eq!(printable(b"abc", 0), "");
    }

    /// Names that differ only beyond the limit stay different, and equal ones equal; one that fits is left alone.
    #[test]
    fn names_that_are_cut_stay_distinct() {
        let name = |tail: &str| printable_name(("long_".repeat(1000) + tail).as_bytes(), 200);
        assert_eq!(name("first"), name("first"));
        assert_ne!(name("first"), name("second"));
        assert!(name("first").starts_with("long_long_") && name("first").len() <= 200, "{}", name("first"));
        assert_eq!(printable_name(name("first").as_bytes(), 200), name("first"), "twice is once");
        assert_eq!(printable_name("n".repeat(200).as_bytes(), 200), "n".repeat(200));
        assert_ne!(printable_name(&[0xff; 100], 200), printable_name(&[0xfe; 100], 200));
    }

    proptest! {
        /// Whatever the bytes, the text is short enough and made of printable characters; doing it twice changes nothing.
        #[test]
        fn any_bytes_become_printable(bytes in proptest::collection::vec(any::<u8>(), 0..200), max in 0_usize..100) {
            let text = printable(&bytes, max);
            prop_assert!(text.len() <= max);
            prop_assert!(text.chars().all(is_printable));
            prop_assert_eq!(printable(text.as_bytes(), max), text);
        }
    }
}
