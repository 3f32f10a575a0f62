//! What the daemon and its symbolizer child say to each other.
//!
//! A frame is its length (4 bytes, little endian) and a body; a question's descriptors travel with the length, in the order that
//! its [`Kind`] says. The child parses
//! hostile files and may be taken over by one, so an answer is decoded as hostile itself: every length is checked, everything is
//! capped, text is made printable again.
//!
//! ```text
//! question  id:4 kind:1 sources:2 offset:8 ..         id is not 0
//! answer    id:4 leaving:1 reply
//! reply     1 texts:4 text .. result ..  (packed.rs)   or   2 bytes:8   or   3 code:1   or   4 user:4 landlock:1 seccomp:1   or   5 attempt:1 ..
//!           or   6 flags:1 checksum:4 link:2+n path:2+n build-id:2+n   or   7 machine:2 piece ..
//!           or   8 covered:4 unit ..
//! unit      folder:2+n path:2+n
//! piece     offset:8 address:8 bytes:4+n
//! ```

use std::sync::Arc;

use super::code::{CodeBytes, MAX_BYTES, MAX_PIECES, Piece};
use super::contents::Facts;
use super::dwarf::{MAX_UNITS, Units};
use super::packed::{Cursor, MAX_TEXT, Texts, put_result, take_result};
use super::sandbox::{Confinement, Layer};
use super::self_test::Attempt;
use crate::profile::{NameSources, Symbolized};

/// Most offsets of one question: all that a start finds in one binary, as a rule, since each question goes through its debug information.
pub(super) const MAX_OFFSETS: usize = 16 * 1024;
/// Longest body of a frame. 10,000 places of six functions each, with names as long as Rust's, take 6 MiB; what does not fit is asked again,
/// which goes through the debug information again.
pub(super) const MAX_FRAME: usize = 24 << 20;
/// Most functions of one answer: what a child that lies can make of few bytes has a bound, too.
const MAX_ANSWER_SYMBOLS: usize = 96 * 1024;
/// Most texts: a function has a name, a linker's name and a file.
const MAX_ANSWER_TEXTS: usize = 3 * MAX_ANSWER_SYMBOLS;
const NAMES: u8 = 1;
const WRITTEN: u8 = 2;
const REFUSED: u8 = 3;
const HELLO: u8 = 4;
const ESCAPED: u8 = 5;
const FACTS: u8 = 6;
const CODE: u8 = 7;
const UNITS: u8 = 8;

/// Most descriptors of one question.
pub(super) const MAX_FILES: usize = 3 + MAX_UNITS;

/// What is to be parsed, and with which descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The file, with its debug information. Descriptors: the file, a memfd for a copy, and one for a table that is unpacked; its
    /// debug file and a memfd for a copy of that; what that shares with others and a memfd for a copy of that. Answered by names.
    Elf = 1,
    /// The file, its symbol tables only: its debug information has crashed a child before. As [`Self::Elf`].
    ElfSymbolsOnly = 2,
    /// The kernel; offsets are addresses. Descriptors: `/proc/kallsyms`, opened by who may see addresses. Answered by names.
    Kernel = 3,
    /// The file's unwind rows. Descriptors: the file, and a memfd for the rows. Answered by the bytes written, or a refusal.
    UnwindRows = 4,
    /// What the sandbox lets through. No descriptors. Answered by what escaped.
    SelfTest = 5,
    /// What a file has to name its code with. Descriptors: the file. Answered by facts.
    Inspect = 6,
    /// Code that a program wrote; offsets are addresses. Descriptors: the file that tells of it. Answered by names.
    Jit = 7,
    /// The file, with split debug information. Descriptors: as [`Self::Elf`] without a debug file, then the package and a memfd for a copy
    /// of that. Answered by names.
    ElfWithPackage = 8,
    /// The code of functions. Descriptors: the file. Answered by code.
    Code = 9,
    /// Where the split debug information of some offsets lies. Descriptors: the file. Answered by units.
    Units = 10,
    /// The file, with split debug information of some units. Descriptors: as [`Self::Elf`] without a debug file, then a file for each unit.
    /// Answered by names.
    ElfWithUnits = 11,
    /// Where functions of the kernel begin and end; offsets are addresses. Descriptors: as [`Self::Kernel`]. Answered by code that is blank.
    KernelCode = 12,
    /// The code of functions that a program wrote; offsets are addresses. Descriptors: as [`Self::Jit`]. Answered by code, blank without a
    /// machine.
    JitCode = 13,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Elf,
        Self::ElfSymbolsOnly,
        Self::Kernel,
        Self::UnwindRows,
        Self::SelfTest,
        Self::Inspect,
        Self::Jit,
        Self::ElfWithPackage,
        Self::Code,
        Self::Units,
        Self::ElfWithUnits,
        Self::KernelCode,
        Self::JitCode,
    ];
}

impl Kind {
    /// Whether it is answered by names.
    pub fn asks_for_names(self) -> bool {
        !matches!(self, Self::UnwindRows | Self::SelfTest | Self::Inspect | Self::Units) && !self.asks_for_code()
    }

    /// Whether less can be asked about a file that has harmed a child: its symbol tables.
    pub fn has_less_to_ask(self) -> bool {
        matches!(self, Self::Elf | Self::ElfWithPackage | Self::ElfWithUnits | Self::Inspect | Self::Units)
    }

    /// Whether an answer clears a file: what harms a child does so then.
    pub fn tries_all(self) -> bool {
        !matches!(self, Self::ElfSymbolsOnly | Self::Inspect | Self::Units | Self::SelfTest)
    }

    /// Whether it is answered by code.
    pub fn asks_for_code(self) -> bool {
        matches!(self, Self::Code | Self::KernelCode | Self::JitCode)
    }
}

/// A question to the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Comes back in the answer.
    pub id: u32,
    /// What is to be parsed.
    pub kind: Kind,
    /// What names may come from.
    pub sources: NameSources,
    /// Where names are wanted.
    pub offsets: Vec<u64>,
}

impl Question {
    /// The body of its frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(7 + self.offsets.len() * 8);
        body.extend(self.id.to_le_bytes());
        body.push(self.kind as u8);
        body.extend(self.sources.bits().to_le_bytes());
        self.offsets.iter().for_each(|offset| body.extend(offset.to_le_bytes()));
        body
    }

    /// `None` when it is no question.
    pub fn decode(mut body: &[u8]) -> Option<Self> {
        let id = take_u32(&mut body)?;
        let kind = take(&mut body, 1)?[0];
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind)?;
        let sources = NameSources::from_bits(u16::from_le_bytes(take(&mut body, 2)?.try_into().ok()?));
        let (offsets, []) = body.as_chunks::<8>() else { return None };
        (offsets.len() <= MAX_OFFSETS).then(|| Self {
            id,
            kind,
            sources,
            offsets: offsets.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect(),
        })
    }
}

/// What a child has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// In the order of the offsets. May be fewer, when the frame was full; the rest is to be asked again.
    Names(Vec<Symbolized>),
    /// So many bytes stand in the memfd.
    Written(u64),
    /// Nothing could be made of the file, for a reason that only those who asked know.
    Refused(u8),
    /// What a child says before the first question: it has started and given everything up, so what goes wrong later is a
    /// file's doing.
    Hello(Confinement),
    /// What a child could do although it must not.
    Escaped(Vec<Attempt>),
    /// What a file has to name its code with.
    Facts(Facts),
    /// The code of functions.
    Code(CodeBytes),
    /// Where split debug information lies.
    Units(Units),
}

/// The child's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The question's.
    pub id: u32,
    /// The child has grown large and exits after this answer.
    pub leaving: bool,
    /// What was asked for.
    pub reply: Reply,
}

impl Answer {
    /// The body of its frame; results that do not fit are left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.id.to_le_bytes());
        body.push(u8::from(self.leaving));
        match &self.reply {
            Reply::Names(results) => {
                body.push(NAMES);
                encode_names(&mut body, results);
            }
            Reply::Written(bytes) => {
                body.push(WRITTEN);
                body.extend(bytes.to_le_bytes());
            }
            Reply::Refused(code) => body.extend([REFUSED, *code]),
            Reply::Hello(Confinement { user, landlock, seccomp }) => {
                body.push(HELLO);
                // Root is nobody's user of his own.
                body.extend(user.unwrap_or(0).to_le_bytes());
                body.extend([*landlock as u8, u8::from(*seccomp)]);
            }
            Reply::Escaped(attempts) => {
                body.push(ESCAPED);
                body.extend(attempts.iter().map(|attempt| *attempt as u8));
            }
            Reply::Facts(facts) => {
                body.push(FACTS);
                encode_facts(&mut body, facts);
            }
            Reply::Code(code) => {
                body.push(CODE);
                encode_code(&mut body, code);
            }
            Reply::Units(units) => {
                body.push(UNITS);
                body.extend(units.covered.to_le_bytes());
                units.files.iter().for_each(|(folder, path)| {
                    encode_path(&mut body, folder.as_bytes());
                    encode_path(&mut body, path.as_bytes());
                });
            }
        }
        body
    }

    /// `None` when it is no answer.
    pub fn decode(mut body: &[u8]) -> Option<Self> {
        let id = take_u32(&mut body)?;
        let leaving = take(&mut body, 1)?[0] != 0;
        let reply = match take(&mut body, 1)?[0] {
            NAMES => Reply::Names(decode_names(&mut body)?),
            WRITTEN => Reply::Written(take_u64(&mut body)?),
            REFUSED => Reply::Refused(take(&mut body, 1)?[0]),
            HELLO => {
                let user = Some(take_u32(&mut body)?).filter(|user| *user != 0);
                let layers = take(&mut body, 2)?;
                let landlock = [Layer::None, Layer::Partial, Layer::Full].into_iter();
                let landlock = landlock.into_iter().find(|layer| *layer as u8 == layers[0])?;
                Reply::Hello(Confinement { user, landlock, seccomp: layers[1] != 0 })
            }
            ESCAPED => {
                let attempts = std::mem::take(&mut body).iter().take(Attempt::ALL.len());
                let known = |n: &u8| Attempt::ALL.into_iter().find(|attempt| *attempt as u8 == *n);
                Reply::Escaped(attempts.map(known).collect::<Option<_>>()?)
            }
            FACTS => Reply::Facts(decode_facts(&mut body)?),
            CODE => Reply::Code(decode_code(&mut body)?),
            UNITS => Reply::Units(decode_units(&mut body)?),
            _ => return None,
        };
        body.is_empty().then_some(Self { id, leaving, reply })
    }
}

/// As many of the results, from the first on, as fit.
fn encode_names(body: &mut Vec<u8>, results: &[Symbolized]) {
    let (mut texts, mut packed) = (Texts::default(), Vec::new());
    // The texts of one that does not fit stand at the end of the list.
    let (mut left, mut listed, mut bytes) = (MAX_ANSWER_SYMBOLS, 0, 0);
    for result in results {
        let before = packed.len();
        let fits = left.checked_sub(put_result(&mut packed, &mut texts, result));
        let Some(fits) = fits.filter(|_| body.len() + 4 + texts.bytes.len() + packed.len() <= MAX_FRAME) else {
            packed.truncate(before);
            break;
        };
        (left, listed, bytes) = (fits, texts.begins.len(), texts.bytes.len());
    }
    body.extend((listed as u32).to_le_bytes());
    body.extend(&texts.bytes[..bytes]);
    body.extend(packed);
}

fn decode_names(body: &mut &[u8]) -> Option<Vec<Symbolized>> {
    let mut at = Cursor(std::mem::take(body));
    let count = at.u32()? as usize;
    if count > MAX_ANSWER_TEXTS {
        return None;
    }
    let texts = (0..count).map(|_| at.printable()).collect::<Option<Vec<Arc<str>>>>()?;
    let (mut results, mut left) = (Vec::new(), MAX_ANSWER_SYMBOLS);
    while !at.0.is_empty() {
        if results.len() == MAX_OFFSETS {
            return None;
        }
        results.push(take_result(&mut at, &mut left, |number| texts.get(number as usize).cloned())?);
    }
    Some(results)
}

fn decode_units(body: &mut &[u8]) -> Option<Units> {
    let mut units = Units { covered: take_u32(body)?, files: Vec::new() };
    while !body.is_empty() {
        if units.files.len() == MAX_UNITS {
            return None;
        }
        let [folder, path] = [decode_path(body)?, decode_path(body)?];
        units.files.push((String::from_utf8(folder.to_vec()).ok()?, String::from_utf8(path.to_vec()).ok()?));
    }
    Some(units)
}

/// A path to be opened, not to be shown: it stays as it is.
fn encode_path(body: &mut Vec<u8>, path: &[u8]) {
    let path = &path[..path.len().min(MAX_TEXT)];
    body.extend((path.len() as u16).to_le_bytes());
    body.extend(path);
}

fn decode_path<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u16::from_le_bytes(take(body, 2)?.try_into().ok()?);
    take(body, usize::from(len))
}

fn encode_code(body: &mut Vec<u8>, code: &CodeBytes) {
    body.extend(code.machine.to_le_bytes());
    for piece in &code.pieces {
        body.extend(piece.offset.to_le_bytes());
        body.extend(piece.address.to_le_bytes());
        body.extend((piece.bytes.len() as u32).to_le_bytes());
        body.extend(&piece.bytes);
    }
}

fn decode_code(body: &mut &[u8]) -> Option<CodeBytes> {
    let mut code = CodeBytes { machine: u16::from_le_bytes(take(body, 2)?.try_into().ok()?), pieces: Vec::new() };
    let mut left = MAX_BYTES;
    while !body.is_empty() {
        if code.pieces.len() == MAX_PIECES {
            return None;
        }
        let (offset, address) = (take_u64(body)?, take_u64(body)?);
        let bytes = usize::try_from(take_u32(body)?).ok()?;
        left = left.checked_sub(bytes)?;
        // What is decoded later counts up from here.
        address.checked_add(bytes as u64)?;
        offset.checked_add(bytes as u64)?;
        code.pieces.push(Piece { offset, address, bytes: take(body, bytes)?.to_vec() });
    }
    Some(code)
}

fn encode_facts(body: &mut Vec<u8>, facts: &Facts) {
    let checksum = facts.link_checksum;
    let flags =
        [facts.debug_info, facts.symtab, facts.dynsym, facts.debug_data, facts.go, facts.split, checksum.is_some()];
    body.push(flags.iter().enumerate().fold(0, |bits, (n, flag)| bits | u8::from(*flag) << n));
    body.extend(checksum.unwrap_or(0).to_le_bytes());
    let (path, build_id) = facts.shared.clone().unwrap_or_default();
    for bytes in [facts.link.as_deref().unwrap_or_default().as_bytes(), path.as_bytes(), &build_id] {
        encode_path(body, bytes);
    }
}

fn decode_facts(body: &mut &[u8]) -> Option<Facts> {
    let flags = take(body, 1)?[0];
    let checksum = take_u32(body)?;
    let [link, path, build_id] = [decode_path(body)?, decode_path(body)?, decode_path(body)?];
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(Facts {
        debug_info: flags & 1 != 0,
        symtab: flags & 2 != 0,
        dynsym: flags & 4 != 0,
        debug_data: flags & 8 != 0,
        go: flags & 16 != 0,
        split: flags & 32 != 0,
        link: text(link).filter(|name| !name.contains('/')),
        link_checksum: (flags & 64 != 0).then_some(checksum),
        shared: text(path).map(|path| (path, build_id.to_vec())),
    })
}

fn take<'a>(body: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, rest) = body.split_at_checked(n)?;
    *body = rest;
    Some(taken)
}

fn take_u64(body: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(body, 8)?.try_into().ok()?))
}

fn take_u32(body: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(body, 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packed::MAX_SYMBOLS;
    use super::*;
    use crate::profile::{SourceLine, Symbol, UnknownReason};

    fn any_symbolized() -> impl Strategy<Value = Symbolized> {
        let source =
            ("[a-z/.]{0,30}", any::<Option<u32>>()).prop_map(|(file, line)| SourceLine { file: file.into(), line });
        let raw = proptest::option::of("_[ZR][a-zA-Z]{0,40}");
        let symbol = ("[a-zA-Z:<>_]{0,40}", raw, proptest::option::of(source), any::<(Option<u32>, bool)>()).prop_map(
            |(name, raw, source, (declared, inlined))| Symbol {
                name: name.into(),
                raw: raw.map(Into::into),
                source,
                declared,
                inlined,
            },
        );
        prop_oneof![
            proptest::collection::vec(symbol, 1..5).prop_map(Symbolized::Named),
            (0..UnknownReason::ALL.len()).prop_map(|n| Symbolized::Unknown(UnknownReason::ALL[n])),
            (0..UnknownReason::ALL.len(), any::<u64>())
                .prop_map(|(n, begin)| Symbolized::Nameless(UnknownReason::ALL[n], begin)),
        ]
    }

    fn any_reply() -> impl Strategy<Value = Reply> {
        prop_oneof![
            proptest::collection::vec(any_symbolized(), 0..20).prop_map(Reply::Names),
            any::<u64>().prop_map(Reply::Written),
            any::<u8>().prop_map(Reply::Refused),
            (any::<u32>(), any::<bool>()).prop_map(|(user, seccomp)| {
                let user = Some(user).filter(|user| *user != 0);
                Reply::Hello(Confinement { user, landlock: Layer::Partial, seccomp })
            }),
            (any::<u16>(), proptest::collection::vec((any::<u32>(), any::<u32>(), any::<[u8; 3]>()), 0..MAX_PIECES))
                .prop_map(|(machine, pieces)| {
                    let piece = |(offset, address, bytes): (u32, u32, [u8; 3])| Piece {
                        offset: offset.into(),
                        address: address.into(),
                        bytes: bytes.to_vec(),
                    };
                    Reply::Code(CodeBytes { machine, pieces: pieces.into_iter().map(piece).collect() })
                }),
            (any::<u32>(), proptest::collection::vec(("[a-z/]{0,9}", "[a-z/.]{0,9}"), 0..MAX_UNITS))
                .prop_map(|(covered, files)| Reply::Units(Units { covered, files })),
            (0..Attempt::ALL.len()).prop_map(|n| Reply::Escaped(Attempt::ALL[n..].to_vec())),
            (
                any::<[bool; 6]>(),
                any::<Option<u32>>(),
                proptest::option::of("[a-z.]{1,20}"),
                proptest::option::of(("[a-z/]{1,20}", any::<[u8; 20]>()))
            )
                .prop_map(
                    |([debug_info, symtab, dynsym, debug_data, go, split], link_checksum, link, shared)| {
                        let shared = shared.map(|(path, id)| (path, id.to_vec()));
                        Reply::Facts(Facts {
                            debug_info,
                            symtab,
                            dynsym,
                            debug_data,
                            go,
                            split,
                            link,
                            link_checksum,
                            shared,
                        })
                    }
                ),
        ]
    }

    proptest! {
        /// What one side says the other one hears.
        #[test]
        fn frames_survive_the_journey(
            id in any::<u32>(), kind in 0..Kind::ALL.len(), offsets in proptest::collection::vec(any::<u64>(), 0..50),
            leaving in any::<bool>(), reply in any_reply()
        ) {
            let question = Question { id, kind: Kind::ALL[kind], sources: NameSources::from_bits(id as u16), offsets };
            prop_assert_eq!(Question::decode(&question.encode()), Some(question));
            let answer = Answer { id, leaving, reply };
            prop_assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }

        /// A child taken over by its file can say anything: it is refused or it is printable and capped.
        #[test]
        fn any_bytes_are_survived(body in proptest::collection::vec(prop_oneof![0_u8..12, any::<u8>()], 0..300)) {
            Question::decode(&body);
            let Some(Answer { reply: Reply::Names(results), .. }) = Answer::decode(&body) else { return Ok(()) };
            for result in results {
                let Symbolized::Named(symbols) = result else { continue };
                prop_assert!(!symbols.is_empty() && symbols.len() <= MAX_SYMBOLS);
                prop_assert!(symbols.iter().all(|symbol| symbol.name.chars().all(crate::profile::is_printable)));
            }
        }
    }

    /// Names without end fill the frame; what fits is answered and the rest asked again.
    #[test]
    fn a_full_frame_holds_the_first_results() {
        let symbol = |n: usize| Symbol { name: format!("{n:x<5000}").into(), ..Symbol::default() };
        let result = |n: usize| Symbolized::Named((0..70).map(|m| symbol(n * 70 + m)).collect());
        let results: Vec<_> = (0..120).map(result).collect();
        let body = Answer { id: 1, leaving: false, reply: Reply::Names(results) }.encode();
        assert!(body.len() <= MAX_FRAME);
        let Some(Reply::Names(kept)) = Answer::decode(&body).map(|answer| answer.reply) else { panic!("no names") };
        assert!(matches!(&kept[..], [Symbolized::Named(symbols), ..] if symbols.len() == MAX_SYMBOLS));
        assert!((50..120).contains(&kept.len()), "{}", kept.len());
    }

    /// Of names beyond the limit only the beginning travels; those that differ later are still two functions.
    #[test]
    fn names_beyond_the_limit_stay_distinct() {
        let named = |tail: &str| {
            let name = format!("{}{tail}", "long_".repeat(20_000)).into();
            Symbolized::Named(vec![Symbol { name, ..Symbol::default() }])
        };
        let results = vec![named("first"), named("second"), named("first")];
        let body = Answer { id: 1, leaving: false, reply: Reply::Names(results) }.encode();
        let Some(Reply::Names(names)) = Answer::decode(&body).map(|answer| answer.reply) else { panic!("no names") };
        assert!(names[0] != names[1] && names[0] == names[2]);
        assert!(body.len() < 4 * MAX_TEXT, "{}", body.len());
    }

    /// A few bytes for each function are many functions: an answer has no more than it may, and one that has is none.
    #[test]
    fn an_answer_has_a_bounded_number_of_functions() {
        let result = Symbolized::Named(vec![Symbol { name: "x".into(), ..Symbol::default() }; MAX_SYMBOLS]);
        let body = Answer { id: 1, leaving: false, reply: Reply::Names(vec![result.clone(); 2000]) }.encode();
        let Some(Reply::Names(kept)) = Answer::decode(&body).map(|answer| answer.reply) else { panic!("no names") };
        assert_eq!(kept.len(), MAX_ANSWER_SYMBOLS / MAX_SYMBOLS);
        let mut more = body;
        put_result(&mut more, &mut Texts::default(), &result);
        assert_eq!(Answer::decode(&more), None);
    }
}
