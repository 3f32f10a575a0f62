//! Names as bytes: as a child answers them (`wire.rs`) and as they are kept on disk (`kept_names.rs`). A text stands once, in a list, and each
//! name has its number there: ten thousand places of one binary have a tenth as many texts as functions.
//!
//! ```text
//! text    len:2 bytes
//! result  1 symbols:1 symbol ..   or   reason:1 (2 and up, the numbers of UnknownReason), or   128 + reason:1 begin:8
//! symbol  flags:1 name:4 [raw:4] [file:4] [line:4] [declared:4]      numbers of texts, and lines
//! flags   1 inlined, 2 has a file, 4 a line, 8 a linker's name, 16 a line that declares it
//! ```
//!
//! Who decodes trusts nothing: numbers are looked up, lengths are held against what is there, texts are made printable again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::profile::{SourceLine, Symbol, Symbolized, UnknownReason, printable, printable_name};

/// Longest name and path, in bytes. Longer ones are cut, and stay distinct.
pub(super) const MAX_TEXT: usize = 4096;
/// Most functions at one location; inlining goes tens deep at most.
pub(super) const MAX_SYMBOLS: usize = 64;

const NAMED: u8 = 1;
/// Added to a reason: where the function begins comes next.
const BEGINS: u8 = 128;
const INLINED: u8 = 1;
const HAS_FILE: u8 = 2;
const HAS_LINE: u8 = 4;
const HAS_RAW: u8 = 8;
const HAS_DECLARED: u8 = 16;

/// Texts with their numbers, in the order in which they were first asked for.
#[derive(Default)]
pub(super) struct Texts {
    /// Shared texts are known by where they are, which takes a tenth of the time of reading them. They are held, so that no other comes there.
    held: HashMap<usize, (Arc<str>, u32)>,
    numbers: HashMap<String, u32>,
    /// Their bytes, and where each begins.
    pub bytes: Vec<u8>,
    pub begins: Vec<u32>,
}

impl Texts {
    fn number(&mut self, text: &Arc<str>) -> u32 {
        let place = Arc::as_ptr(text).cast::<u8>() as usize;
        if let Some((_, number)) = self.held.get(&place) {
            return *number;
        }
        let printed = printable_name(text.as_bytes(), MAX_TEXT);
        let next = self.begins.len() as u32;
        let number = match self.numbers.get(&printed) {
            Some(number) => *number,
            None => {
                self.begins.push(self.bytes.len() as u32);
                put_text(&mut self.bytes, &printed);
                self.numbers.insert(printed, next);
                next
            }
        };
        self.held.insert(place, (Arc::clone(text), number));
        number
    }
}

/// A text of at most 65,535 bytes.
pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(u16::MAX.into())];
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// Says how many functions it holds.
pub(super) fn put_result(body: &mut Vec<u8>, texts: &mut Texts, result: &Symbolized) -> usize {
    let symbols = match result {
        Symbolized::Named(symbols) => &symbols[..],
        Symbolized::Unknown(_) | Symbolized::Nameless(..) => &[],
    };
    // The last is the function that stands in the file: it is kept, the outermost of the inlined ones go.
    let Some((last, inlined)) = symbols.split_last() else {
        let reason = result.reason().unwrap_or(UnknownReason::NotFound) as u8;
        match result {
            Symbolized::Nameless(_, begin) => {
                body.push(BEGINS + reason);
                body.extend(begin.to_le_bytes());
            }
            _ => body.push(reason),
        }
        return 0;
    };
    let inlined = &inlined[..inlined.len().min(MAX_SYMBOLS - 1)];
    body.extend([NAMED, inlined.len() as u8 + 1]);
    for symbol in inlined.iter().chain([last]) {
        let line = symbol.source.as_ref().and_then(|source| source.line);
        let flag = |has: bool, flag: u8| if has { flag } else { 0 };
        body.push(
            flag(symbol.inlined, INLINED)
                | flag(symbol.source.is_some(), HAS_FILE)
                | flag(line.is_some(), HAS_LINE)
                | flag(symbol.raw.is_some(), HAS_RAW)
                | flag(symbol.declared.is_some(), HAS_DECLARED),
        );
        let words = [Some(&symbol.name), symbol.raw.as_ref(), symbol.source.as_ref().map(|source| &source.file)];
        for word in words.into_iter().flatten() {
            body.extend(texts.number(word).to_le_bytes());
        }
        [line, symbol.declared].iter().flatten().for_each(|line| body.extend(line.to_le_bytes()));
    }
    inlined.len() + 1
}

/// `left` is how many functions there may be, and becomes less. `None` when it makes no sense.
pub(super) fn take_result(
    body: &mut Cursor<'_>,
    left: &mut usize,
    mut text: impl FnMut(u32) -> Option<Arc<str>>,
) -> Option<Symbolized> {
    let tag = body.u8()?;
    if tag > BEGINS {
        let reason = UnknownReason::from_u8(tag - BEGINS)?;
        return Some(Symbolized::Nameless(reason, body.u64()?));
    }
    if tag != NAMED {
        return UnknownReason::from_u8(tag).map(Symbolized::Unknown);
    }
    let count = usize::from(body.u8()?);
    if count == 0 || count > MAX_SYMBOLS {
        return None;
    }
    *left = left.checked_sub(count)?;
    let mut symbols = Vec::with_capacity(count);
    for _ in 0..count {
        let flags = body.u8()?;
        let name = text(body.u32()?)?;
        let raw = if flags & HAS_RAW != 0 { Some(text(body.u32()?)?) } else { None };
        let file = if flags & HAS_FILE != 0 { Some(text(body.u32()?)?) } else { None };
        let line = if flags & HAS_LINE != 0 { Some(body.u32()?) } else { None };
        let declared = if flags & HAS_DECLARED != 0 { Some(body.u32()?) } else { None };
        let source = file.map(|file| SourceLine { file, line });
        symbols.push(Symbol { name, raw, source, declared, inlined: flags & INLINED != 0 });
    }
    Some(Symbolized::Named(symbols))
}

/// Takes bytes from their beginning.
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// As it stands; `None` when it is no UTF-8.
    pub fn text(&mut self) -> Option<&'a str> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(len.into())?).ok()
    }

    /// Whatever it is, made printable.
    pub fn printable(&mut self) -> Option<Arc<str>> {
        let len = self.u16()?;
        Some(printable(self.take(len.into())?, MAX_TEXT).into())
    }
}
