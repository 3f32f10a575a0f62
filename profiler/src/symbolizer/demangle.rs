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
    cpp_demangle::Symbol::new(raw).ok()?.demangle().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
