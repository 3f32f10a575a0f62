//! Names as the source has them, made of the linker's. Runs in the child only: what a demangler is fed with is foreign, and a few
//! hundred letters can ask it for gigabytes.

use crate::profile::Symbol;

/// A function by its linker's name. What is no such name (C, debug information that has the source's) stays.
pub(super) fn function(raw: &str) -> Symbol {
    let name = demangled(raw).filter(|name| name != raw);
    match name {
        Some(name) => Symbol { name: name.into(), raw: Some(raw.into()), ..Symbol::default() },
        None => Symbol { name: raw.into(), ..Symbol::default() },
    }
}

/// Rust first: its older names look like C++'s.
fn demangled(raw: &str) -> Option<String> {
    // The fuzzer looks for what is wrong with us; what is wrong with these is known.
    if cfg!(fuzzing) || !raw.starts_with(['_', '?']) {
        return None;
    }
    if let Ok(name) = rustc_demangle::try_demangle(raw) {
        // Without the hash.
        return Some(format!("{name:#}"));
    }
    let cpp = |raw: &str| cpp_demangle::Symbol::new(raw).ok()?.demangle().ok();
    cpp(raw).or_else(|| cpp(&members_of_objects(raw)?).and_then(|name| members_of_classes(&name)))
}

/// Most members of classes of `std` in one name.
const MOST_MEMBERS: usize = 8;

/// GCC writes a member of a class of `std` in an expression as `sr St 1C I..E 1m` (`std::C<..>::m`), which `cpp_demangle` reads as `C` in
/// `std` with something left over. A member of an object, `dt tl St 1C I..E E 1m` (`(std::C<..>{}).m`), has the class as a type, so what
/// later parts refer to has the same numbers. `None` when the name has no such member, or one of an object already.
fn members_of_objects(raw: &str) -> Option<String> {
    let mut name = raw.to_owned();
    for _ in 0..MOST_MEMBERS {
        let Some(at) = name.find("srSt").filter(|_| !raw.contains("dttl")) else { break };
        let class = source_name(&name, at + "srSt".len())?;
        let end = if name[class..].starts_with('I') { end_of_list(&name, class)? } else { class };
        name.insert(end, 'E');
        name.replace_range(at..at + "sr".len(), "dttl");
    }
    (name != raw).then_some(name)
}

/// `(std::C<..>{}).m` becomes `std::C<..>::m`.
fn members_of_classes(name: &str) -> Option<String> {
    let mut name = name.to_owned();
    while let Some(end) = name.find("{}).") {
        let mut open = 0_u32;
        let begin = name[..end].bytes().rposition(|byte| {
            open += u32::from(byte == b')');
            let found = byte == b'(' && open == 0;
            open -= u32::from(byte == b'(' && open > 0);
            found
        });
        name.replace_range(end..end + "{}).".len(), "::");
        name.remove(begin?);
    }
    Some(name)
}

/// The end of a name with its length before it.
fn source_name(name: &str, at: usize) -> Option<usize> {
    let digits = name[at..].bytes().take_while(u8::is_ascii_digit).count();
    let end = (at + digits).checked_add(name[at..at + digits].parse().ok()?)?;
    name.is_char_boundary(end).then_some(end)
}

/// The end of a list that begins with `I`: its `E`. (Itanium C++ ABI, 5.1 "External Names".)
fn end_of_list(name: &str, begin: usize) -> Option<usize> {
    let (bytes, mut at, mut open) = (name.as_bytes(), begin, 0_u32);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'0'..=b'9' => at = source_name(name, at - 1)?,
            // References to what stood before (`S1A_`, `T0_`): no lengths, no lists.
            b'S' | b'T' => {
                let number = |byte: &&u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
                let digits = bytes[at..].iter().take_while(number).count();
                at += if bytes.get(at + digits) == Some(&b'_') { digits } else { 0 };
            }
            // A literal's digits are its value: `Lb1E`; but `LN..1eE1E` has names.
            b'L' => {
                open += 1;
                let value =
                    bytes[at..].iter().skip(1).take_while(|byte| byte.is_ascii_digit() || **byte == b'n').count();
                at += if bytes.get(at).is_some_and(u8::is_ascii_lowercase) { 1 + value } else { 0 };
            }
            b'I' | b'N' | b'X' | b'J' | b'F' => open += 1,
            b'E' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members of classes of `std` in expressions, as GCC writes them: what `c++filt` makes of them. No damaged one is a panic.
    #[test]
    fn members_of_std_in_expressions_are_read() {
        let table = [
            (
                "_ZSt3sinIiEN9__gnu_cxx11__enable_ifIXsrSt12__is_integerIT_E7__valueEdE6__typeES2_",
                "__gnu_cxx::__enable_if<std::__is_integer<int>::__value, double>::__type std::sin<int>(std::__is_integer)",
            ),
            (
                "_ZSt14__copy_move_a1ILb1EPbbEN9__gnu_cxx11__enable_ifIXsrSt23__is_random_access_iterIT0_NSt15iterator_traitsIS4_E\
                 17iterator_categoryEE7__valueESt15_Deque_iteratorIT1_RSA_PSA_EE6__typeES4_S4_SD_",
                "__gnu_cxx::__enable_if<std::__is_random_access_iter<bool*, std::iterator_traits<bool*>::iterator_category>::__value, \
                 std::_Deque_iterator<bool, bool&, bool*> >::__type std::__copy_move_a1<true, bool*, bool>(bool*, bool*, \
                 std::_Deque_iterator<bool, bool&, bool*>)",
            ),
        ];
        for (raw, name) in table {
            assert_eq!(&*function(raw).name, name);
            (0..raw.len()).for_each(|end| drop(function(&raw[..end])));
            (0..raw.len()).for_each(|at| drop(function(&format!("{}{}", &raw[..at], &raw[at + 1..]))));
        }
    }

    /// Rust's two manglings and C++'s are undone, and the linker's name is kept beside; others stay.
    #[test]
    fn linker_names_are_undone_and_kept() {
        let table = [
            ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
            ("_RNvCskwGfYPst2Cb_3foo16example_function", "foo::example_function"),
            ("_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<int, std::allocator<int> >::push_back(int const&)"),
        ];
        for (raw, name) in table {
            let found = function(raw);
            assert_eq!((&*found.name, found.raw.as_deref()), (name, Some(raw)));
        }
        for name in ["main", "_start", "_Z", "_Rust_nothing", "__libc_start_main", "operator()", ""] {
            assert_eq!(function(name), Symbol { name: name.into(), ..Symbol::default() });
        }
    }
}
