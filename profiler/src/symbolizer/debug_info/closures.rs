//! What a function without a linker's name is a member of. GCC gives the call of a lambda the source's name alone, `operator()`: in a flame
//! graph all lambdas were one. Here it is `run::{lambda#2}::operator()`, as a demangler has it: the function around it, and which of the
//! classes without a name that stand there.
//!
//! Entries do not say in which others they stand, so a unit is gone through once and its calls are remembered.

use std::collections::HashMap;

use gimli::{Abbreviation, Result, UnitOffset};

use super::units::Unit;

/// The source's name of a call.
pub(super) const CALL: &str = "operator()";
/// Most remembered of a unit.
const MAX: usize = 64 << 10;

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// In a class with a name.
    Named(UnitOffset),
    /// In the so-manyth class without a name (from 1) of this function, or of the unit.
    Lambda(Option<UnitOffset>, u32),
}

/// The members of classes in a unit, each with its class. What stands after a damaged entry is not among them.
pub(super) fn members(unit: &Unit<'_>) -> HashMap<UnitOffset, Class> {
    let mut found = HashMap::new();
    // What was found before a damaged entry holds.
    let _ = find(unit, &mut found);
    found
}

/// An entry that has others in it.
struct Scope {
    depth: isize,
    /// The class, of a class.
    class: Option<Class>,
    /// Itself, of a function.
    function: Option<UnitOffset>,
    /// Classes without a name in it so far.
    lambdas: u32,
}

fn find(unit: &Unit<'_>, found: &mut HashMap<UnitOffset, Class>) -> Result<()> {
    let mut entries = unit.reference().entries_raw(None)?;
    let mut scopes: Vec<Scope> = vec![Scope { depth: -1, class: None, function: None, lambdas: 0 }];
    while !entries.is_empty() && found.len() < MAX {
        let (depth, at) = (entries.next_depth(), entries.next_offset());
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        entries.skip_attributes(abbreviation.attributes())?;
        while scopes.len() > 1 && scopes.last().is_some_and(|scope| depth <= scope.depth) {
            scopes.pop();
        }
        let mut scope = Scope { depth, class: None, function: None, lambdas: 0 };
        match abbreviation.tag() {
            gimli::DW_TAG_subprogram => {
                if let Some(class) = scopes.last().and_then(|scope| scope.class) {
                    found.insert(at, class);
                }
                scope.function = Some(at);
            }
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type if has_name(abbreviation) => {
                scope.class = Some(Class::Named(at));
            }
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => {
                let around = scopes.iter().rposition(|scope| scope.function.is_some()).unwrap_or(0);
                let around = &mut scopes[around];
                around.lambdas += 1;
                scope.class = Some(Class::Lambda(around.function, around.lambdas));
            }
            _ => {}
        }
        if abbreviation.has_children() {
            scopes.push(scope);
        }
    }
    Ok(())
}

fn has_name(abbreviation: &Abbreviation) -> bool {
    abbreviation.attributes().iter().any(|attribute| attribute.name() == gimli::DW_AT_name)
}
