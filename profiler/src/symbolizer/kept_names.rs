//! Names on disk, by build id, so that the next start need not parse debug information again: one file for each binary, read as a
//! whole, and only what is asked for made into text.
//!
//! ```text
//! file    magic:4 version:4 crc:4 body                       crc of the body; all numbers little-endian
//! body    profiler:text allowed:2 found:1 source ..  texts:4 text ..  places:4 place ..
//! source  source:1 has:1 [path:text]
//! place   offset:8 functions:1 function ..                   sorted by offset; no function: nothing covers it
//! function  flags:1 name:4 [raw:4] [file:4] [line:4]         flags as in wire.rs; numbers of texts
//! text    len:2 bytes
//! ```
//!
//! Names of one user's files never name another's: the owner is part of the key. Kept with other sources than those allowed now, or by
//! another version of this program, they are as if they were not there.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::wire::MAX_SYMBOLS;
use crate::profile::{BuildId, FoundSource, NameSource, NameSources, SourceLine, Symbol, Symbolized, UnknownReason};
use crate::sys::cache_folder::CacheFolder;

/// End of a file's name.
const SUFFIX: &str = ".names";
/// All files together: 10,000 places with their inlined functions take 1 MB.
const MAX_BYTES: u64 = 128 << 20;
/// Longest file; a binary with more places than fit begins anew.
const MAX_FILE: u64 = 16 << 20;
/// "prfn".
const MAGIC: [u8; 4] = *b"prfn";
/// Another number for whatever names otherwise, or is laid out otherwise.
const VERSION: u32 = 2;
/// What is written down at the latest.
const MAX_NEW: usize = 16 << 10;

const INLINED: u8 = 1;
const HAS_FILE: u8 = 2;
const HAS_LINE: u8 = 4;
const HAS_RAW: u8 = 8;

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The build.
    pub build_id: BuildId,
    /// Length: a stripped copy has the same id.
    pub len: u64,
    /// Whose file it is.
    pub owner: u32,
}

impl Key {
    fn name(&self) -> String {
        format!("{}-{:x}-{}", self.build_id, self.len, self.owner)
    }
}

/// Names of many binaries, those of one at hand.
#[derive(Debug)]
pub(super) struct KeptNames {
    folder: CacheFolder,
    allowed: NameSources,
    open: Option<Open>,
}

/// The binary that was asked about last.
#[derive(Debug)]
struct Open {
    key: Key,
    found: Vec<FoundSource>,
    kept: Kept,
    /// Not written yet.
    new: HashMap<u64, Symbolized>,
}

impl KeptNames {
    /// Opens a folder, made if need be.
    ///
    /// # Errors
    /// It is somebody else's, or cannot be made.
    pub fn open(folder: &Path, allowed: NameSources) -> io::Result<Self> {
        Ok(Self { folder: CacheFolder::open(folder, SUFFIX, MAX_BYTES)?, allowed, open: None })
    }

    /// What was found where when a binary was last named; nothing when it was not.
    pub fn found(&mut self, key: &Key) -> Option<&[FoundSource]> {
        if self.open.as_ref().is_none_or(|open| open.key != *key) {
            self.write_down();
            let allowed = self.allowed;
            let read = self.folder.get(&key.name(), MAX_FILE, |bytes| Kept::decode(bytes, allowed));
            self.open = read.map(|(kept, found)| Open { key: *key, found, kept, new: HashMap::new() });
        }
        self.open.as_ref().map(|open| &*open.found)
    }

    /// The answer for a place of the binary that was last asked about by [`Self::found`].
    pub fn name(&self, offset: u64) -> Option<Symbolized> {
        let open = self.open.as_ref()?;
        open.new.get(&offset).cloned().or_else(|| open.kept.name(offset))
    }

    /// Keeps answers that will not change. Those of a binary that was found otherwise before are forgotten.
    pub fn put(&mut self, key: &Key, found: &[FoundSource], names: impl Iterator<Item = (u64, Symbolized)>) {
        if self.open.as_ref().is_none_or(|open| open.key != *key || open.found != found) {
            self.write_down();
            self.open = Some(Open { key: *key, found: found.to_vec(), kept: Kept::default(), new: HashMap::new() });
        }
        let Some(open) = &mut self.open else { return };
        let lasting = |name: &Symbolized| match name {
            Symbolized::Named(_) => true,
            Symbolized::Unknown(reason) => *reason == UnknownReason::NotFound,
        };
        open.new.extend(names.filter(|(_, name)| lasting(name)));
        if open.new.len() >= MAX_NEW {
            self.write_down();
        }
    }

    /// Writes what is new, and lets go of all that is in memory. What cannot be written is asked for again one day.
    pub fn write_down(&mut self) {
        let Some(Open { key, found, kept, new }) = self.open.take() else { return };
        if new.is_empty() {
            return;
        }
        let mut bytes = encode(self.allowed, &found, &kept, &new);
        if bytes.len() as u64 > MAX_FILE {
            bytes = encode(self.allowed, &found, &Kept::default(), &new);
        }
        if bytes.len() as u64 <= MAX_FILE
            && let Err(error) = self.folder.put(&key.name(), &bytes)
        {
            tracing::debug!(%error, "names are not kept");
        }
    }
}

impl Drop for KeptNames {
    fn drop(&mut self) {
        self.write_down();
    }
}

/// A file that was checked, and where its parts lie.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Where each text's bytes lie.
    texts: Vec<(u32, u16)>,
    /// Each place, and where its functions lie; sorted.
    places: Vec<(u64, u32)>,
}

impl Kept {
    /// `None` when it is damaged, of another version, or made from other sources than `allowed`.
    fn decode(bytes: Vec<u8>, allowed: NameSources) -> Option<(Self, Vec<FoundSource>)> {
        let mut at = Cursor { bytes: &bytes, at: 0 };
        if at.take(4)? != MAGIC || at.u32()? != VERSION || at.u32()? != crc32fast::hash(bytes.get(12..)?) {
            return None;
        }
        if at.text()? != env!("CARGO_PKG_VERSION") || at.u16()? != allowed.bits() {
            return None;
        }
        let mut found = Vec::new();
        for _ in 0..at.u8()? {
            let source = NameSource::from_u8(at.u8()?)?;
            let path = if at.u8()? != 0 { Some(at.text()?.to_owned()) } else { None };
            found.push(FoundSource { source, found: path });
        }
        // Lengths are bounded by what is there: a text has two bytes at least, a place nine.
        let mut texts = Vec::new();
        for _ in 0..at.u32()? {
            let len = at.u16()?;
            texts.push((u32::try_from(at.at).ok()?, len));
            std::str::from_utf8(at.take(len.into())?).ok()?;
        }
        let mut places: Vec<(u64, u32)> = Vec::new();
        for _ in 0..at.u32()? {
            let offset = at.u64()?;
            if places.last().is_some_and(|(before, _)| *before >= offset) {
                return None;
            }
            places.push((offset, u32::try_from(at.at).ok()?));
            for _ in 0..at.u8()? {
                let flags = at.u8()?;
                let numbers = [true, flags & HAS_RAW != 0, flags & HAS_FILE != 0].into_iter().filter(|has| *has);
                for _ in numbers {
                    (at.u32()? as usize).lt(&texts.len()).then_some(())?;
                }
                at.take(if flags & HAS_LINE != 0 { 4 } else { 0 })?;
            }
        }
        (at.at == bytes.len()).then_some(())?;
        Some((Self { bytes, texts, places }, found))
    }

    fn name(&self, offset: u64) -> Option<Symbolized> {
        let place = self.places.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        self.name_at(self.places[place].1)
    }

    fn name_at(&self, at: u32) -> Option<Symbolized> {
        let mut at = Cursor { bytes: &self.bytes, at: at as usize };
        let functions = at.u8()?;
        if functions == 0 {
            return Some(Symbolized::Unknown(UnknownReason::NotFound));
        }
        let mut symbols = Vec::with_capacity(functions.into());
        for _ in 0..functions {
            let flags = at.u8()?;
            let name = self.text(at.u32()?)?;
            let raw = if flags & HAS_RAW != 0 { Some(self.text(at.u32()?)?) } else { None };
            let file = if flags & HAS_FILE != 0 { Some(self.text(at.u32()?)?) } else { None };
            let line = if flags & HAS_LINE != 0 { Some(at.u32()?) } else { None };
            let source = file.map(|file| SourceLine { file, line });
            symbols.push(Symbol { name, raw, source, inlined: flags & INLINED != 0 });
        }
        Some(Symbolized::Named(symbols))
    }

    fn text(&self, number: u32) -> Option<String> {
        let (start, len) = *self.texts.get(number as usize)?;
        let bytes = self.bytes.get(start as usize..start as usize + usize::from(len))?;
        Some(std::str::from_utf8(bytes).ok()?.to_owned())
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(len.into())?).ok()
    }
}

/// Texts by number, each once.
#[derive(Default)]
struct Texts {
    numbers: HashMap<String, u32>,
    bytes: Vec<u8>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        let text = &text[..text.floor_char_boundary(u16::MAX.into())];
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        put_text(&mut self.bytes, text);
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn encode(allowed: NameSources, found: &[FoundSource], kept: &Kept, new: &HashMap<u64, Symbolized>) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, env!("CARGO_PKG_VERSION"));
    body.extend(allowed.bits().to_le_bytes());
    body.push(found.len() as u8);
    for FoundSource { source, found } in found {
        body.extend([*source as u8, u8::from(found.is_some())]);
        found.iter().for_each(|path| put_text(&mut body, &path[..path.floor_char_boundary(4096)]));
    }
    let old = kept.places.iter().filter(|(offset, _)| !new.contains_key(offset));
    let old = old.filter_map(|(offset, at)| Some((*offset, kept.name_at(*at)?)));
    let mut all: Vec<(u64, Symbolized)> = old.chain(new.iter().map(|(offset, name)| (*offset, name.clone()))).collect();
    all.sort_unstable_by_key(|(offset, _)| *offset);
    let (mut texts, mut places) = (Texts::default(), Vec::new());
    for (offset, name) in &all {
        places.extend(offset.to_le_bytes());
        let symbols: &[Symbol] = if let Symbolized::Named(symbols) = name { symbols } else { &[] };
        let symbols = &symbols[symbols.len().saturating_sub(MAX_SYMBOLS)..];
        places.push(symbols.len() as u8);
        for symbol in symbols {
            let line = symbol.source.as_ref().and_then(|source| source.line);
            let flag = |has: bool, flag: u8| if has { flag } else { 0 };
            places.push(
                flag(symbol.inlined, INLINED)
                    | flag(symbol.source.is_some(), HAS_FILE)
                    | flag(line.is_some(), HAS_LINE)
                    | flag(symbol.raw.is_some(), HAS_RAW),
            );
            let words = [Some(&symbol.name), symbol.raw.as_ref(), symbol.source.as_ref().map(|source| &source.file)];
            for word in words.into_iter().flatten() {
                places.extend(texts.number(word).to_le_bytes());
            }
            line.iter().for_each(|line| places.extend(line.to_le_bytes()));
        }
    }
    body.extend((texts.numbers.len() as u32).to_le_bytes());
    body.extend(texts.bytes);
    body.extend((all.len() as u32).to_le_bytes());
    body.extend(places);
    let mut file = [MAGIC, VERSION.to_le_bytes(), crc32fast::hash(&body).to_le_bytes()].concat();
    file.extend(body);
    file
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> Key {
        Key { build_id: BuildId::new(&[n; 20]).unwrap(), len: 7, owner: 0 }
    }

    fn found(path: &str) -> Vec<FoundSource> {
        vec![
            FoundSource { source: NameSource::Dwarf, found: Some(path.into()) },
            FoundSource { source: NameSource::Dwz, found: None },
        ]
    }

    fn named(name: &str) -> Symbolized {
        Symbolized::Named(vec![Symbol { name: name.into(), ..Symbol::default() }])
    }

    fn any_name() -> impl Strategy<Value = Symbolized> {
        let source = ("[a-c/]{0,9}", any::<Option<u32>>()).prop_map(|(file, line)| SourceLine { file, line });
        let symbol = ("[a-cé]{0,9}", proptest::option::of("_Z[a-c]{0,5}"), proptest::option::of(source), any::<bool>())
            .prop_map(|(name, raw, source, inlined)| Symbol { name, raw, source, inlined });
        prop_oneof![
            proptest::collection::vec(symbol, 1..4).prop_map(Symbolized::Named),
            Just(Symbolized::Unknown(UnknownReason::NotFound)),
        ]
    }

    proptest! {
        /// What was put in comes out after a new start, from one or several writings; nothing else does.
        #[test]
        fn names_are_kept(names in proptest::collection::hash_map(0..200_u64, any_name(), 0..60), cut in 0..60_usize) {
            let folder = tempfile::tempdir().unwrap();
            let mut kept = KeptNames::open(folder.path(), NameSources::ALL).unwrap();
            let all: Vec<_> = names.clone().into_iter().collect();
            let (first, second) = all.split_at(cut.min(all.len()));
            for part in [first, second] {
                kept.put(&key(1), &found("/x"), part.iter().cloned());
                kept.write_down();
                kept.found(&key(1));
            }
            drop(kept);
            let mut kept = KeptNames::open(folder.path(), NameSources::ALL).unwrap();
            prop_assert_eq!(kept.found(&key(1)).map(<[_]>::to_vec), (!all.is_empty()).then(|| found("/x")));
            for offset in 0..200 {
                prop_assert_eq!(kept.name(offset), names.get(&offset).cloned());
            }
        }

        /// Damaged files are no files, whatever bytes they are made of.
        #[test]
        fn damage_is_survived(body in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..200), flips in any::<[u16; 3]>()) {
            let sum = crc32fast::hash(&body);
            let file = [&MAGIC[..], &VERSION.to_le_bytes(), &sum.to_le_bytes(), &body].concat();
            if let Some((kept, _)) = Kept::decode(file, NameSources::ALL) {
                (0..9).for_each(|offset| drop(kept.name(offset)));
            }
            let names = HashMap::from([(1, named("a")), (9, named("b"))]);
            let mut file = encode(NameSources::ALL, &found("/x"), &Kept::default(), &names);
            prop_assert!(Kept::decode(file.clone(), NameSources::ALL).is_some());
            let at = usize::from(flips[0]) % file.len();
            file[at] ^= (flips[1] as u8).max(1);
            prop_assert!(Kept::decode(file, NameSources::ALL).is_none());
        }
    }

    /// Other builds, owners, sources and findings have names of their own; what may pass is not kept.
    #[test]
    fn names_belong_to_what_they_were_found_in() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = KeptNames::open(folder.path(), NameSources::ALL).unwrap();
        let passing = Symbolized::Unknown(UnknownReason::NoSymbols);
        kept.put(&key(1), &found("/x"), [(1, named("a")), (2, passing)].into_iter());
        kept.write_down();
        for other in [key(2), Key { len: 8, ..key(1) }, Key { owner: 1000, ..key(1) }] {
            assert!(kept.found(&other).is_none());
            assert!(kept.name(1).is_none());
        }
        assert!(kept.found(&key(1)).is_some());
        assert_eq!((kept.name(1), kept.name(2)), (Some(named("a")), None));
        // A debug file has come: what was known without it goes.
        kept.put(&key(1), &found("/debug"), [(3, named("c"))].into_iter());
        kept.write_down();
        assert_eq!(kept.found(&key(1)), Some(&*found("/debug")));
        assert_eq!((kept.name(1), kept.name(3)), (None, Some(named("c"))));
        drop(kept);
        let only = NameSources::parse("symtab").unwrap();
        assert!(KeptNames::open(folder.path(), only).unwrap().found(&key(1)).is_none(), "other sources");
    }
}
