//! What was found where, in the words of [`FoundSource`]: for people who ask why frames have no names.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::contents::Facts;
use crate::profile::{FoundSource, NameSource, printable};

/// Longest path kept.
const MAX_PATH: usize = 4096;

/// A file that was looked at: where it lies, and what stands in it.
pub(super) type Seen<'a> = (&'a str, &'a Facts);

/// What an ELF file and the files beside it have. `shared` and `package` are paths, when there are such files.
pub(super) fn of_file(
    main: Seen<'_>,
    debug: Option<Seen<'_>>,
    shared: Option<String>,
    package: Option<String>,
) -> Vec<FoundSource> {
    let in_either = |has: fn(&Facts) -> bool| {
        let found = [Some(main), debug].into_iter().flatten().find(|(_, facts)| has(facts));
        found.map(|(path, _)| path.to_owned())
    };
    let in_main = |has: fn(&Facts) -> bool| has(main.1).then(|| main.0.to_owned());
    let mut found = vec![
        (NameSource::Dwarf, in_either(|facts| facts.debug_info)),
        (NameSource::Symtab, in_either(|facts| facts.symtab)),
        (NameSource::Dynsym, in_main(|facts| facts.dynsym)),
        (NameSource::GnuDebugdata, in_main(|facts| facts.debug_data)),
        (NameSource::DebugFile, debug.map(|(path, _)| path.to_owned())),
    ];
    // The others are looked for only where something leads to them.
    if debug.is_some_and(|(_, facts)| facts.shared.is_some()) {
        found.push((NameSource::Dwz, shared));
    }
    if main.1.split {
        found.push((NameSource::Dwo, package));
    }
    if main.1.go {
        found.push((NameSource::Go, in_main(|facts| facts.go)));
    }
    found.into_iter().map(|(source, found)| FoundSource { source, found }).collect()
}

/// One source and the file that has it.
pub(super) fn one(source: NameSource, found: Option<String>) -> Vec<FoundSource> {
    vec![FoundSource { source, found }]
}

/// Where an open file lies, as the kernel tells.
pub(super) fn path_of(file: &File) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    Some(printable(path.as_os_str().as_encoded_bytes(), MAX_PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(found: &[FoundSource]) -> Vec<String> {
        found.iter().map(|one| format!("{} {}", one.source.name(), one.found.as_deref().unwrap_or("-"))).collect()
    }

    /// A stripped program whose debug file has everything, and a Go program that has its own table only.
    #[test]
    fn what_is_found_is_told_with_its_file() {
        let stripped = Facts { dynsym: true, ..Facts::default() };
        let none = of_file(("/bin/x", &stripped), None, None, None);
        assert_eq!(told(&none), ["dwarf -", "symtab -", "dynsym /bin/x", "gnu_debugdata -", "debug_file -"]);
        let debug =
            Facts { debug_info: true, symtab: true, shared: Some((String::new(), Vec::new())), ..Facts::default() };
        let found = of_file(("/bin/x", &stripped), Some(("/d", &debug)), None, None);
        assert_eq!(
            told(&found),
            ["dwarf /d", "symtab /d", "dynsym /bin/x", "gnu_debugdata -", "debug_file /d", "dwz -"]
        );
        let go = of_file(("/bin/go", &Facts { go: true, ..Facts::default() }), None, None, None);
        assert_eq!(told(&go).last().map(String::as_str), Some("go /bin/go"));
    }
}
