//! How much of a function's name is shown: all of it, without what is in brackets, or as the linker has it.
//!
//! The full name is what the symbolizer's child made of the linker's name: demanglers are fed by whoever writes a file, so
//! they run there. From here on names are only shortened, in one pass over the text.

use std::borrow::Cow;

/// What to show of a function's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Demangle {
    /// `std::vector<int, std::allocator<int> >::push_back(int const&)`.
    #[default]
    Full,
    /// `std::vector::push_back`: no parameters, no generic arguments.
    Simple,
    /// `_ZNSt6vectorIiSaIiEE9push_backERKi`, where the linker's name is another one.
    None,
}

impl Demangle {
    /// The words for them.
    pub const NAMES: [(&'static str, Self); 3] = [("full", Self::Full), ("simple", Self::Simple), ("none", Self::None)];

    /// What a word means.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(name, _)| *name == word).map(|(_, demangle)| demangle)
    }
}

/// A name without parameters and generic arguments. What is no such thing in brackets stays: `<T as Trait>`, `(anonymous
/// namespace)`, Go's `(*T)`, `operator()`. Never longer than the name.
#[must_use]
pub fn simple(name: &str) -> Cow<'_, str> {
    if !name.contains(['<', '(']) {
        return Cow::Borrowed(name);
    }
    let mut shorter =
        Shorter { text: name, at: 0, out: String::with_capacity(name.len()), parameters: false, operator: 0, depth: 0 };
    shorter.pass(None);
    let Shorter { mut out, parameters, .. } = shorter;
    if parameters {
        let (start, end) = own_part(&out);
        out.truncate(end);
        out.drain(..start);
    }
    if out.is_empty() { Cow::Borrowed(name) } else { Cow::Owned(out) }
}

/// C++'s operators, longer ones before what they begin with.
const OPERATORS: [&str; 38] = [
    "<=>", "<<=", ">>=", "->*", "()", "[]", "<<", ">>", "==", "!=", "<=", ">=", "&&", "||", "++", "--", "->", "+=",
    "-=", "*=", "/=", "%=", "^=", "&=", "|=", "<", ">", "=", "!", "+", "-", "*", "/", "%", "^", "&", "|", "~",
];

/// Deepest nesting that is followed; what is deeper stays as it is.
const MAX_DEPTH: u32 = 64;

struct Shorter<'a> {
    text: &'a str,
    at: usize,
    out: String,
    /// A list of parameters was left out at the outermost level: it is a C++ function, and a type may stand before its name.
    parameters: bool,
    /// Where an operator's signs end in `out`.
    operator: usize,
    depth: u32,
}

impl Shorter<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.text[self.at..].chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Copies what is shown, up to the bracket that ends this level.
    fn pass(&mut self, end: Option<char>) {
        while let Some(c) = self.next() {
            match c {
                '-' if self.text[self.at..].starts_with('>') => {
                    self.at += 1;
                    self.out.push_str("->");
                }
                '<' | '(' => self.bracket(c),
                _ if Some(c) == end => return self.out.push(c),
                c => {
                    self.out.push(c);
                    if c == 'r' && self.out.ends_with("operator") {
                        self.operator();
                    }
                }
            }
        }
    }

    /// An operator's own signs are part of its name.
    fn operator(&mut self) {
        let begins_word = self.out.len() == "operator".len()
            || self.out[..self.out.len() - "operator".len()].ends_with([':', ' ', '&', '*']);
        if !begins_word {
            return;
        }
        let rest = &self.text[self.at..];
        let Some(signs) = OPERATORS.into_iter().find(|signs| rest.starts_with(signs)) else { return };
        self.out.push_str(signs);
        self.at += signs.len();
        // `operator< <int>`
        self.at += usize::from(self.text[self.at..].starts_with(" <"));
        self.operator = self.out.len();
    }

    fn bracket(&mut self, open: char) {
        let close = if open == '<' { '>' } else { ')' };
        let rest = &self.text[self.at..];
        let before = self.out.chars().next_back();
        let name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '}' | '>' | ')' | ']' | '$');
        let after_name = before.is_some_and(name) || (self.operator > 0 && self.operator == self.out.len());
        let stays = match open {
            // Rust: `<T as Trait>::f`, `module::<impl Trait for T>::f`; but `f::<T>` are arguments.
            '<' => !after_name && (before != Some(':') || rest.starts_with("impl ")),
            _ => !after_name,
        };
        if stays || self.depth >= MAX_DEPTH {
            self.out.push(open);
            self.depth += 1;
            self.pass(Some(close));
            self.depth -= 1;
            return;
        }
        if open == '<' && before == Some(':') {
            self.out.truncate(self.out.trim_end_matches(':').len());
        }
        self.parameters |= open == '(' && self.depth == 0;
        self.skip(close);
    }

    /// Leaves out everything up to the bracket that closes this one; everything there is when none does.
    fn skip(&mut self, close: char) {
        let mut open = vec![close];
        while let Some(c) = self.next() {
            match c {
                '-' if self.text[self.at..].starts_with('>') => self.at += 1,
                '<' => open.push('>'),
                '(' => open.push(')'),
                c if open.last() == Some(&c) => {
                    open.pop();
                    if open.is_empty() {
                        return;
                    }
                }
                _ => {}
            }
        }
    }
}

/// Where the name stands between the type it returns and what follows its parameters (`const`, `[clone .cold]`).
fn own_part(text: &str) -> (usize, usize) {
    let end = text.find(" [clone").unwrap_or(text.len());
    let end = text[..end].trim_end_matches(" const").trim_end_matches(" volatile").trim_end_matches([' ', '&']).len();
    // `operator bool`, `operator new`: the word belongs to the name.
    let operator = text[..end].find("operator ").filter(|at| *at == 0 || text[..*at].ends_with(':'));
    let upto = operator.unwrap_or(end);
    let mut depth = 0_i32;
    let mut start = 0;
    for (at, c) in text[..upto].char_indices() {
        match c {
            '(' | '<' | '{' => depth += 1,
            ')' | '>' | '}' => depth -= 1,
            ' ' if depth <= 0 => start = at + 1,
            _ => {}
        }
    }
    let after_type = text[start..upto].trim_start_matches(['*', '&']);
    (upto - after_type.len(), end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is left of names of each language; what has nothing to leave out stays.
    #[test]
    fn parameters_and_arguments_are_left_out() {
        let table = [
            ("std::vector<int, std::allocator<int> >::push_back(int const&)", "std::vector::push_back"),
            ("void foo<int>(int)", "foo"),
            ("char const* ns::name<a::B<1> >(c::D*)", "ns::name"),
            ("(anonymous namespace)::f(int) const", "(anonymous namespace)::f"),
            ("a::operator<<(std::ostream&, a::T const&)", "a::operator<<"),
            ("A::operator()(int) const", "A::operator()"),
            ("A::operator bool() const", "A::operator bool"),
            ("operator new(unsigned long)", "operator new"),
            ("f(int)::{lambda(char)#1}::operator()(char) const", "f::{lambda#1}::operator()"),
            ("bool operator==<char>(A<char> const&, B)", "operator=="),
            ("bool operator< <char>(A<char> const&, B)", "operator<"),
            ("A::operator->() const", "A::operator->"),
            ("my_operator(int)", "my_operator"),
            ("f(void (*)(int)) [clone .cold]", "f"),
            ("core::ptr::drop_in_place<alloc::vec::Vec<u8>>", "core::ptr::drop_in_place"),
            (
                "<alloc::vec::Vec<u8> as core::ops::drop::Drop>::drop",
                "<alloc::vec::Vec as core::ops::drop::Drop>::drop",
            ),
            (
                "core::fmt::num::<impl core::fmt::Debug for Foo<u32>>::fmt",
                "core::fmt::num::<impl core::fmt::Debug for Foo>::fmt",
            ),
            ("foo::bar::<u8, fn(i32) -> i64>::baz", "foo::bar::baz"),
            ("<fn(u8) -> Vec<u8> as Call>::call", "<fn -> Vec as Call>::call"),
            ("main::{closure#0}", "main::{closure#0}"),
            ("net/http.(*conn).serve", "net/http.(*conn).serve"),
            ("(anonymous)", "(anonymous)"),
            ("main", "main"),
            ("open<", "open"),
            ("<", "<"),
        ];
        for (name, expected) in table {
            assert_eq!(simple(name), expected, "{name}");
        }
    }

    proptest! {
        /// Whatever stands in a file, a name becomes no longer and never nothing.
        #[test]
        fn any_text_is_survived(name in "[a-c:<>() {}*&.#é~=-]{0,40}|(operator|::|<|\\(|->| const|impl )*") {
            let short = simple(&name);
            prop_assert!(short.len() <= name.len());
            prop_assert_eq!(short.is_empty(), name.is_empty());
        }
    }
}
