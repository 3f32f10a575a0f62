//! Label selectors: `{comm="postgres", container=~"web-.*", pid!="7"}`.
//!
//! The grammar is PromQL's, so that habits carry over: `=`, `!=`, `=~`, `!~`; values quoted as in Go (`"a\tb"`, `'a'`, or raw
//! in backquotes) or, for numbers, bare; regular expressions match the whole value; a label that a process lacks is the empty
//! string; a comma may end the list. The braces may be left out, and nothing at all selects everything.

use regex::{Regex, RegexBuilder};

use super::QueryError;
use super::labels::Label;

/// Longest selector, in bytes.
const MAX_BYTES: usize = 8 << 10;
/// Most matchers in one.
const MAX_MATCHERS: usize = 32;
/// Most memory a compiled expression may take, in bytes, and as much again for its cache.
const MAX_REGEX: usize = 1 << 20;

/// What a right one looks like.
const EXAMPLE: &str = r#"{comm="postgres", container=~"web-.*"}"#;

/// A parsed label selector, such as `{comm="postgres", container=~"web-.*"}`. Passes what passes every matcher.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

/// One condition.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    label: Label,
    /// Passes when the test says so: `=` and `=~`; or when it does not: `!=` and `!~`.
    wanted: bool,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Equals(String),
    Matches(Regex),
}

impl Matcher {
    /// What it asks about.
    pub(super) fn label(&self) -> Label {
        self.label
    }

    /// Whether it lets a value pass.
    pub(super) fn passes(&self, value: &str) -> bool {
        let found = match &self.test {
            Test::Equals(text) => text == value,
            Test::Matches(regex) => regex.is_match(value),
        };
        found == self.wanted
    }
}

impl Selector {
    /// Says which selector it is: two that pass different samples have different texts.
    pub(super) fn key(&self) -> String {
        format!("{:?}", self.matchers)
    }

    /// Lets pass what passes both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.matchers.extend(other.matchers);
        self
    }

    /// Whether it lets everything pass.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.matchers.is_empty()
    }

    /// All its conditions.
    pub(super) fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }
}

/// Parses `{label="v", label!="v", label=~"re", label!~"re"}`; the braces may be left out; empty selects everything.
///
/// # Errors
/// [`QueryError::BadSelector`] with the column and what was expected, [`QueryError::UnknownLabel`].
pub fn parse_selector(text: &str) -> Result<Selector, QueryError> {
    if text.len() > MAX_BYTES {
        return Err(QueryError::BadSelector(format!("it is longer than {MAX_BYTES} bytes")));
    }
    let mut parser = Parser { text, rest: text };
    parser.skip_spaces();
    let close = parser.take("{").then_some('}');
    let mut matchers = Vec::new();
    loop {
        parser.skip_spaces();
        if parser.at_end(close) {
            break;
        }
        if matchers.len() == MAX_MATCHERS {
            return Err(QueryError::BadSelector(format!("it has more than {MAX_MATCHERS} matchers")));
        }
        matchers.push(parser.matcher()?);
        parser.skip_spaces();
        if !parser.take(",") && !parser.at_end(close) {
            return Err(parser.expected(if close.is_some() { "`,` or `}`" } else { "`,` or the end" }));
        }
    }
    if close.is_some() && !parser.take("}") {
        return Err(parser.expected("`}`"));
    }
    parser.skip_spaces();
    if !parser.rest.is_empty() {
        return Err(parser.expected("the end"));
    }
    Ok(Selector { matchers })
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let (word, rest) = self.rest.split_at(self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn at_end(&self, close: Option<char>) -> bool {
        self.rest.is_empty() || close.is_some_and(|close| self.rest.starts_with(close))
    }

    /// Column, from 1, of the place where `rest` begins.
    fn column(&self, rest: &str) -> usize {
        self.text[..self.text.len() - rest.len()].chars().count() + 1
    }

    fn bad(&self, rest: &str, what: impl std::fmt::Display) -> QueryError {
        QueryError::BadSelector(format!("column {}: {what}", self.column(rest)))
    }

    fn expected(&self, what: &str) -> QueryError {
        let word: String = self.rest.chars().take_while(|c| c.is_alphanumeric()).take(32).collect();
        let found = match self.rest.chars().next() {
            None => "the end".to_owned(),
            Some(c) if word.is_empty() => format!("`{}`", c.escape_debug()),
            Some(_) => format!("`{word}`"),
        };
        self.bad(self.rest, format_args!("found {found}, expected {what}, as in {EXAMPLE}"))
    }

    fn matcher(&mut self) -> Result<Matcher, QueryError> {
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() {
            return Err(self.expected("a label"));
        }
        let label = Label::parse(name)?;
        self.skip_spaces();
        // The longer ones first: `=` begins `=~`.
        let operators = [("=~", true, true), ("!~", false, true), ("!=", false, false), ("=", true, false)];
        let Some((_, wanted, regex)) = operators.into_iter().find(|(token, ..)| self.take(token)) else {
            return Err(self.expected("`=`, `!=`, `=~` or `!~`"));
        };
        self.skip_spaces();
        let before = self.rest;
        let value = self.value()?;
        let test = if regex { Test::Matches(self.regex(before, &value)?) } else { Test::Equals(value) };
        Ok(Matcher { label, wanted, test })
    }

    fn value(&mut self) -> Result<String, QueryError> {
        let digits = self.take_while(|c| c.is_ascii_digit());
        if !digits.is_empty() {
            return Ok(digits.into());
        }
        let start = self.rest;
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
            return Err(self.expected("a quoted value"));
        };
        self.rest = &self.rest[1..];
        let mut value = Vec::new();
        loop {
            let Some(c) = self.rest.chars().next() else {
                return Err(self.bad(start, format_args!("the quote {quote} is never closed")));
            };
            if c == '\\' && quote != '`' {
                self.escape(&mut value)?;
                continue;
            }
            self.rest = &self.rest[c.len_utf8()..];
            if c == quote {
                break;
            }
            value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        // `\xff` and `\377` are bytes, as in Go.
        String::from_utf8(value).map_err(|_| self.bad(start, "the value is not valid UTF-8"))
    }

    /// One escape of an interpreted Go string (<https://go.dev/ref/spec#Rune_literals>).
    fn escape(&mut self, value: &mut Vec<u8>) -> Result<(), QueryError> {
        let start = self.rest;
        let unknown =
            |parser: &Self| parser.bad(start, r#"unknown escape, expected one such as \" \\ \n \t \x41 \u00e9"#);
        let mut rest = self.rest.chars().skip(1);
        let kind = rest.next().ok_or_else(|| unknown(self))?;
        let plain = match kind {
            'a' => 7,
            'b' => 8,
            't' => 9,
            'n' => 10,
            'v' => 11,
            'f' => 12,
            'r' => 13,
            '\\' | '"' | '\'' => kind as u8,
            'x' | 'u' | 'U' | '0'..='7' => 0,
            _ => return Err(unknown(self)),
        };
        let (skipped, digits, base) = match kind {
            'x' => (2, 2, 16),
            'u' => (2, 4, 16),
            'U' => (2, 8, 16),
            '0'..='7' => (1, 3, 8),
            _ => {
                value.push(plain);
                self.rest = &start[2..];
                return Ok(());
            }
        };
        let digits = start.get(skipped..skipped + digits).filter(|text| text.chars().all(|c| c.is_digit(base)));
        let number = digits.and_then(|text| u32::from_str_radix(text, base).ok()).ok_or_else(|| unknown(self))?;
        if matches!(kind, 'u' | 'U') {
            let c = char::from_u32(number).ok_or_else(|| unknown(self))?;
            value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            value.push(u8::try_from(number).map_err(|_| unknown(self))?);
        }
        self.rest = &start[skipped + digits.map_or(0, str::len)..];
        Ok(())
    }

    fn regex(&self, at: &str, pattern: &str) -> Result<Regex, QueryError> {
        let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(MAX_REGEX).dfa_size_limit(MAX_REGEX).build();
        // Alone first: `a)|(b` must not escape from the anchors.
        build(pattern).and_then(|_| build(&format!("^(?s:{pattern})$"))).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => self.bad(at, "the regular expression is too large"),
            error => {
                // The last line of the regex crate's drawing says what is wrong.
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                self.bad(at, format_args!("bad regular expression: {reason}"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    /// Whether a process called `comm`, 42, of a unit and of no container passes.
    fn passes_as(selector: &str, comm: &str) -> bool {
        let value = |label| match label {
            Label::Comm => comm,
            Label::Pid => "42",
            Label::Unit => "db.service",
            _ => "",
        };
        parse_selector(selector).unwrap().matchers().iter().all(|matcher| matcher.passes(value(matcher.label())))
    }

    fn passes(selector: &str) -> bool {
        passes_as(selector, "postgres")
    }

    fn error(selector: &str) -> String {
        parse_selector(selector).unwrap_err().to_string()
    }

    /// Each operator does what it does in PromQL, braces or not.
    #[test]
    fn operators_match_as_in_promql() {
        for (selector, passed) in [
            ("", true),
            ("  {  } ", true),
            (r#"{comm="postgres"}"#, true),
            (r#"comm = "postgres" ,"#, true),
            (r#"{comm!="postgres"}"#, false),
            (r#"{comm=~"post.*"}"#, true),
            (r#"{comm!~"post.*"}"#, false),
            (r#"{comm="postgres",pid="43"}"#, false),
            ("{pid=42}", true),
            ("{pid!=42}", false),
            ("comm=`postgres`", true),
            ("comm='postgres'", true),
        ] {
            assert_eq!(passes(selector), passed, "{selector}");
        }
    }

    /// An expression has to match the whole value, whatever alternatives it is made of.
    #[test]
    fn expressions_are_anchored_at_both_ends() {
        assert!(!passes(r#"{comm=~"post"}"#));
        assert!(!passes(r#"{comm=~"gres"}"#));
        assert!(!passes(r#"{comm=~"post|gres"}"#));
        assert!(passes(r#"{comm=~"post|postgres"}"#));
        assert!(error(r#"{comm=~"x)|(.*"}"#).contains("bad regular expression"));
    }

    /// A label that a process lacks is the empty string.
    #[test]
    fn a_missing_label_is_empty() {
        assert!(passes(r#"{container=""}"#));
        assert!(passes(r#"{container!="web"}"#));
        assert!(!passes(r#"{unit=""}"#));
        assert!(!passes(r#"{container=~".+"}"#));
    }

    /// Escapes are Go's, bytes included.
    #[test]
    fn escapes_are_those_of_go() {
        for (text, value) in [
            (r#""a\tb\n\"\\""#, "a\tb\n\"\\"),
            (r#""\x41\101\u00e9\U0001F600""#, "AA\u{e9}\u{1f600}"),
            (r#""\xc3\xa9""#, "\u{e9}"),
            (r"`a\tb`", r"a\tb"),
        ] {
            let mut parser = Parser { text, rest: text };
            assert_eq!(parser.value().unwrap(), value, "{text}");
        }
    }

    /// A message says where, what was found, what was expected, and shows a right one.
    #[test]
    fn errors_point_at_the_place() {
        insta::assert_snapshot!(
            [
                "{comm=postgres}",
                "{comm}",
                "{comm=\"a\" pid=7}",
                "{comm=\"a\"",
                "{comm=\"a\"}}",
                "{comm=\"a",
                r#"{comm="\q"}"#,
                r#"{comm="\xff"}"#,
                r#"{comm="\777"}"#,
                "{host=\"a\"}",
                "{=\"a\"}",
                "{,}",
                "\u{e9}",
                r#"{comm=~"("}"#,
                r#"{comm=~"(a{900}){900}"}"#,
            ]
            .map(|text| format!("{text:24} -> {}", error(text)))
            .join("\n"),
            @r#"
        {comm=postgres}          -> bad selector: column 7: found `postgres`, expected a quoted value, as in {comm="postgres", container=~"web-.*"}
        {comm}                   -> bad selector: column 6: found `}`, expected `=`, `!=`, `=~` or `!~`, as in {comm="postgres", container=~"web-.*"}
        {comm="a" pid=7}         -> bad selector: column 11: found `pid`, expected `,` or `}`, as in {comm="postgres", container=~"web-.*"}
        {comm="a"                -> bad selector: column 10: found the end, expected `}`, as in {comm="postgres", container=~"web-.*"}
        {comm="a"}}              -> bad selector: column 11: found `}`, expected the end, as in {comm="postgres", container=~"web-.*"}
        {comm="a                 -> bad selector: column 7: the quote " is never closed
        {comm="\q"}              -> bad selector: column 8: unknown escape, expected one such as \" \\ \n \t \x41 \u00e9
        {comm="\xff"}            -> bad selector: column 7: the value is not valid UTF-8
        {comm="\777"}            -> bad selector: column 8: unknown escape, expected one such as \" \\ \n \t \x41 \u00e9
        {host="a"}               -> unknown label "host": the labels are comm, pid, exe, thread, cgroup, container, unit
        {="a"}                   -> bad selector: column 2: found `=`, expected a label, as in {comm="postgres", container=~"web-.*"}
        {,}                      -> bad selector: column 2: found `,`, expected a label, as in {comm="postgres", container=~"web-.*"}
        é                        -> bad selector: column 1: found `é`, expected a label, as in {comm="postgres", container=~"web-.*"}
        {comm=~"("}              -> bad selector: column 8: bad regular expression: unclosed group
        {comm=~"(a{900}){900}"}  -> bad selector: column 8: the regular expression is too large
        "#
        );
    }

    /// Long selectors are refused before any work is done on them.
    #[test]
    fn a_selector_is_bounded() {
        assert!(error(&" ".repeat(MAX_BYTES + 1)).contains("longer than"));
        assert!(error(&"pid=1,".repeat(MAX_MATCHERS + 1)).contains("more than"));
        assert!(parse_selector(&"pid=1,".repeat(MAX_MATCHERS)).is_ok());
    }

    fn quoted(value: &str) -> String {
        let escaped: String = value.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
        format!("\"{escaped}\"")
    }

    proptest! {
        /// No text makes the parser panic.
        #[test]
        fn arbitrary_text_is_an_error_at_worst(text in r#"[{}=!~,"'`\\a-z0-9 \PC]{0,60}"#) {
            let _ = parse_selector(&text);
        }

        /// Near-selectors reach deeper than noise does.
        #[test]
        fn mangled_selectors_are_an_error_at_worst(cut in 0..60_usize, c in any::<char>()) {
            let mut text: Vec<char> = r#"{comm="po\x41\101\u00e9", pid=7, thread!~"a|b", unit=~`x.*`}"#.chars().collect();
            let at = cut.min(text.len() - 1);
            text[at] = c;
            let _ = parse_selector(&text.iter().collect::<String>());
        }

        /// Any value can be selected, exactly.
        #[test]
        fn any_value_can_be_quoted(value in any::<String>(), other in any::<String>()) {
            let passes = passes_as(&format!("comm={}", quoted(&value)), &value);
            prop_assert!(passes);
            let other_passes = passes_as(&format!("comm={}", quoted(&other)), &value);
            prop_assert_eq!(other_passes, value == other);
        }
    }
}
