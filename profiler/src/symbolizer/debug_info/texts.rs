//! Names and paths of a file's debug information, each made once: a function that is inlined in a thousand places has its name in one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gimli::{AttributeValue, SectionId};

use super::Reader;
use super::sections::Sections;
use super::units::Unit;
use crate::profile::Symbol;
use crate::symbolizer::demangle;

/// Most that are remembered of a sort.
const MAX: usize = 32 << 10;

/// A text, or where it stands.
enum Text<'a> {
    Here(&'a [u8]),
    At(SectionId, u64),
}

impl<'a> Text<'a> {
    fn of(unit: &Unit<'_>, value: AttributeValue<Reader<'a>>) -> Option<Self> {
        Some(match value {
            AttributeValue::String(text) => Text::Here(text.slice()),
            AttributeValue::DebugStrRef(at) => Text::At(SectionId::DebugStr, at.0 as u64),
            AttributeValue::DebugLineStrRef(at) => Text::At(SectionId::DebugLineStr, at.0 as u64),
            AttributeValue::DebugStrOffsetsIndex(index) => {
                Text::At(SectionId::DebugStr, unit.dwarf.string_offset(&unit.unit, index).ok()?.0 as u64)
            }
            // In another file, which we have not got.
            _ => return None,
        })
    }
}

/// What was made before.
#[derive(Default)]
pub(super) struct Texts {
    /// Functions by where their linker's names stand, and by these names.
    at: HashMap<u64, Symbol>,
    here: HashMap<Vec<u8>, Symbol>,
    paths: HashSet<Arc<str>>,
}

impl Texts {
    /// A function by its linker's name.
    pub fn symbol(
        &mut self,
        sections: &Sections<'_>,
        unit: &Unit<'_>,
        value: AttributeValue<Reader<'_>>,
    ) -> Option<Symbol> {
        let function = |name: &[u8]| demangle::function(&String::from_utf8_lossy(name));
        match Text::of(unit, value)? {
            Text::Here(name) => {
                if let Some(known) = self.here.get(name) {
                    return Some(known.clone());
                }
                let symbol = function(name);
                remember(&mut self.here, name.to_vec(), symbol.clone());
                Some(symbol)
            }
            Text::At(SectionId::DebugStr, at) => {
                if let Some(known) = self.at.get(&at) {
                    return Some(known.clone());
                }
                let symbol = function(&sections.text(SectionId::DebugStr, at)?);
                remember(&mut self.at, at, symbol.clone());
                Some(symbol)
            }
            Text::At(id, at) => Some(function(&sections.text(id, at)?)),
        }
    }

    /// A path that other units have as well.
    pub fn path(&mut self, path: String) -> Arc<str> {
        if let Some(known) = self.paths.get(&*path) {
            return Arc::clone(known);
        }
        let path: Arc<str> = path.into();
        if self.paths.len() < MAX {
            self.paths.insert(Arc::clone(&path));
        }
        path
    }
}

/// Any text.
pub(super) fn text(sections: &Sections<'_>, unit: &Unit<'_>, value: AttributeValue<Reader<'_>>) -> Option<String> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match Text::of(unit, value)? {
        Text::Here(text) => Some(lossy(text)),
        Text::At(id, at) => Some(lossy(&sections.text(id, at)?)),
    }
}

fn remember<K: Eq + std::hash::Hash, V>(known: &mut HashMap<K, V>, key: K, value: V) {
    if known.len() >= MAX {
        known.clear();
    }
    known.insert(key, value);
}
