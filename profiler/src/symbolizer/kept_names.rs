//! Names on disk, by build id and what else the file is, so that the next start need not parse debug information again: one file for each binary
//! (`kept_names/file.rs`), of which only what is asked for is read.
//!
//! Names of one user's files never name another's, nor those of one file another one with its build id: length, owner and a hash are part
//! of the key. Kept with other sources than those allowed now, or by
//! another version of this program, they are as if they were not there.

mod file;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use self::file::{MAX_FILE, NamesFile, encode};
use crate::profile::{BuildId, FileIdentity, FoundSource, NameSources, Symbolized, UnknownReason};
use crate::sys::cache_folder::CacheFolder;

/// End of a file's name.
const SUFFIX: &str = ".names";
/// All files together: 10,000 places with their inlined functions take 1 to 6 MB.
const MAX_BYTES: u64 = 128 << 20;
/// What is written down at the latest.
const MAX_NEW: usize = 16 << 10;

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The build that it claims to be.
    pub build_id: BuildId,
    /// What else it is.
    pub file: FileIdentity,
}

impl Key {
    fn name(&self) -> String {
        format!("{}-{}", self.build_id, self.file.to_string().replace(':', "-"))
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
    kept: Option<NamesFile>,
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
            let read = self.folder.open_file(&key.name(), MAX_FILE, |file| NamesFile::open(file, allowed));
            self.open = read.map(|(kept, found)| Open { key: *key, found, kept: Some(kept), new: HashMap::new() });
        }
        self.open.as_ref().map(|open| &*open.found)
    }

    /// The answer for a place of the binary that was last asked about by [`Self::found`].
    pub fn name(&mut self, offset: u64) -> Option<Symbolized> {
        let open = self.open.as_mut()?;
        open.new.get(&offset).cloned().or_else(|| open.kept.as_mut()?.name(offset))
    }

    /// Keeps answers that will not change. Those of a binary that was found otherwise before are forgotten.
    pub fn put(&mut self, key: &Key, found: &[FoundSource], names: impl Iterator<Item = (u64, Symbolized)>) {
        if self.open.as_ref().is_none_or(|open| open.key != *key || open.found != found) {
            self.write_down();
            self.open = Some(Open { key: *key, found: found.to_vec(), kept: None, new: HashMap::new() });
        }
        let Some(open) = &mut self.open else { return };
        let lasting = |name: &Symbolized| match name {
            Symbolized::Named(_) => true,
            Symbolized::Unknown(reason) | Symbolized::Nameless(reason, _) => *reason == UnknownReason::NotFound,
        };
        open.new.extend(names.filter(|(_, name)| lasting(name)));
        if open.new.len() >= MAX_NEW {
            self.write_down();
        }
    }

    /// Writes what is new, and lets go of all that is in memory. What cannot be written is asked for again one day.
    pub fn write_down(&mut self) {
        let Some(Open { key, found, kept, mut new }) = self.open.take() else { return };
        if new.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        if let Some(mut kept) = kept {
            let mut all = kept.all();
            all.extend(new.iter().map(|(offset, name)| (*offset, name.clone())));
            bytes = encode(self.allowed, &found, all);
        }
        if bytes.is_empty() || bytes.len() as u64 > MAX_FILE {
            bytes = encode(self.allowed, &found, new.drain().collect());
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::profile::{NameSource, Owner, SourceLine, Symbol};

    fn key(n: u8) -> Key {
        Key { build_id: BuildId::new(&[n; 20]).unwrap(), file: FileIdentity { len: 7, owner: Owner::System, hash: 3 } }
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
        let source =
            ("[a-c/]{0,9}", any::<Option<u32>>()).prop_map(|(file, line)| SourceLine { file: file.into(), line });
        let symbol = ("[a-cé]{0,9}", proptest::option::of("_Z[a-c]{0,5}"), proptest::option::of(source), any::<bool>())
            .prop_map(|(name, raw, source, inlined)| Symbol {
                name: name.into(),
                raw: raw.map(Into::into),
                source,
                declared: None,
                inlined,
            });
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

        /// Damage costs what it hit: every name that is still given is the one that was put in, and whatever bytes a file is made of, they end
        /// nothing.
        #[test]
        fn damage_is_survived(
            names in proptest::collection::hash_map(0..400_u64, any_name(), 1..300),
            body in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..200), flips in any::<[u16; 2]>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut kept = KeptNames::open(folder.path(), NameSources::ALL).unwrap();
            kept.put(&key(1), &found("/x"), names.clone().into_iter());
            kept.write_down();
            let path = kept.folder.path_of(&key(1).name());
            let mut bytes = std::fs::read(&path).unwrap();
            let at = usize::from(flips[0]) % bytes.len();
            bytes[at] ^= (flips[1] as u8).max(1);
            std::fs::write(&path, &bytes).unwrap();
            if kept.found(&key(1)).is_some() {
                for offset in 0..400 {
                    let name = kept.name(offset);
                    prop_assert!(name.is_none() || name.as_ref() == names.get(&offset));
                }
            }
            for body in [file::with_head(&body, &[]), file::with_head(&[], &body), body] {
                kept.write_down();
                std::fs::write(&path, body).unwrap();
                kept.found(&key(1));
                (0..9).for_each(|offset| drop(kept.name(offset)));
            }
        }
    }

    /// Of a large file only the parts are read that were asked for.
    #[test]
    fn only_what_is_asked_for_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = KeptNames::open(folder.path(), NameSources::ALL).unwrap();
        let name = |n: u64| named(&format!("a_function_with_a_name_of_some_length_{n}"));
        kept.put(&key(1), &found("/x"), (0..10_000).map(|n| (n * 16, name(n))));
        kept.write_down();
        let len = std::fs::metadata(kept.folder.path_of(&key(1).name())).unwrap().len();
        assert!(kept.found(&key(1)).is_some());
        assert_eq!((kept.name(5000 * 16), kept.name(5000 * 16 + 1)), (Some(name(5000)), None));
        let read = kept.open.as_ref().and_then(|open| open.kept.as_ref()).unwrap().read();
        assert!(read < len / 20, "{read} of {len}");
    }

    /// Other builds, owners, sources and findings have names of their own; what may pass is not kept.
    #[test]
    fn names_belong_to_what_they_were_found_in() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = KeptNames::open(folder.path(), NameSources::ALL).unwrap();
        let passing = Symbolized::Unknown(UnknownReason::NoSymbols);
        kept.put(&key(1), &found("/x"), [(1, named("a")), (2, passing)].into_iter());
        kept.write_down();
        let with = |change: fn(&mut FileIdentity)| {
            let mut key = key(1);
            change(&mut key.file);
            key
        };
        for other in
            [key(2), with(|file| file.len = 8), with(|file| file.owner = Owner::User(0)), with(|file| file.hash = 4)]
        {
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
