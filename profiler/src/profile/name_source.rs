//! Where the names of a binary come from: what was looked for, and where it was found.

/// A source of names. The numbers are stored: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum NameSource {
    /// Debug information: functions, inlined ones too, files and lines.
    Dwarf = 1,
    /// A full symbol table.
    Symtab = 2,
    /// The table of exported functions.
    Dynsym = 3,
    /// A compressed symbol table (`.gnu_debugdata`).
    GnuDebugdata = 4,
    /// A file of its own with the debug information.
    DebugFile = 5,
    /// A file with what the debug information of several files has in common.
    Dwz = 6,
    /// Split debug information: `.dwo` files or a package of them (`.dwp`).
    Dwo = 7,
    /// A debug file that a server gave out.
    Debuginfod = 8,
    /// Go's own table.
    Go = 9,
    /// A list of functions that a runtime writes (`/tmp/perf-PID.map`).
    PerfMap = 10,
    /// The same with lines and code (`jit-PID.dump`).
    Jitdump = 11,
    /// The kernel's symbols.
    Kallsyms = 12,
    /// Programs that were loaded into the kernel.
    Bpf = 13,
    /// The kernel's shared object in every process.
    Vdso = 14,
}

impl NameSource {
    /// Every source, in stored order.
    pub const ALL: [Self; 14] = [
        Self::Dwarf,
        Self::Symtab,
        Self::Dynsym,
        Self::GnuDebugdata,
        Self::DebugFile,
        Self::Dwz,
        Self::Dwo,
        Self::Debuginfod,
        Self::Go,
        Self::PerfMap,
        Self::Jitdump,
        Self::Kallsyms,
        Self::Bpf,
        Self::Vdso,
    ];

    /// The source stored as `n`, if there is one.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|source| *source as u8 == n)
    }

    /// The word for it on the wire and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dwarf => "dwarf",
            Self::Symtab => "symtab",
            Self::Dynsym => "dynsym",
            Self::GnuDebugdata => "gnu_debugdata",
            Self::DebugFile => "debug_file",
            Self::Dwz => "dwz",
            Self::Dwo => "dwo",
            Self::Debuginfod => "debuginfod",
            Self::Go => "go",
            Self::PerfMap => "perf_map",
            Self::Jitdump => "jitdump",
            Self::Kallsyms => "kallsyms",
            Self::Bpf => "bpf",
            Self::Vdso => "vdso",
        }
    }
}

/// Which sources may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameSources(u16);

impl Default for NameSources {
    fn default() -> Self {
        Self::ALL
    }
}

impl NameSources {
    /// All of them.
    pub const ALL: Self = Self(u16::MAX);

    /// As many bits as a question to the symbolizer's child has for it.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The sources of [`Self::bits`].
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Whether a source may be used.
    #[must_use]
    pub const fn has(self, source: NameSource) -> bool {
        self.0 & 1 << source as u16 != 0
    }

    /// The words for those that may be used.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NameSource::ALL.into_iter().filter(move |source| self.has(*source)).map(NameSource::name)
    }

    /// `dwarf,symtab`: only these; `-debug_file`: all but this; `all`. From left to right.
    ///
    /// # Errors
    /// A word that is none of them, with those there are.
    pub fn parse(list: &str) -> Result<Self, String> {
        let words: Vec<&str> = list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        let mut sources = if words.first().is_none_or(|word| word.starts_with('-')) { Self::ALL } else { Self(0) };
        for word in words {
            let (off, name) = word.strip_prefix('-').map_or((false, word), |name| (true, name));
            let bits = match NameSource::ALL.into_iter().find(|source| source.name() == name) {
                Some(source) => 1 << source as u16,
                None if name == "all" => u16::MAX,
                None => {
                    let names: Vec<_> = NameSource::ALL.into_iter().map(NameSource::name).collect();
                    return Err(format!("{word:?} is no source of names: there are all, {}", names.join(", ")));
                }
            };
            sources.0 = if off { sources.0 & !bits } else { sources.0 | bits };
        }
        Ok(sources)
    }
}

/// A source that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSource {
    /// Which.
    pub source: NameSource,
    /// The path of the file that has it; `None` when there is none.
    pub found: Option<String>,
}

/// What is known of a binary's names besides the names, once some were looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameStatus {
    /// What was looked for; nothing when nobody could look.
    pub sources: Vec<FoundSource>,
    /// The distribution's package that the file belongs to, when its names are missing.
    pub package: Option<String>,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Sources are named, or left out of all; what is none is refused with those there are.
    #[test]
    fn sources_are_chosen_by_name() {
        let names = |list: &str| NameSources::parse(list).unwrap().names().collect::<Vec<_>>().join(" ");
        assert_eq!(names("dwarf, symtab"), "dwarf symtab");
        assert_eq!(NameSources::parse("all").unwrap(), NameSources::ALL);
        assert_eq!(NameSources::parse("").unwrap(), NameSources::ALL);
        assert_eq!(names("-all,go"), "go");
        let but = NameSources::parse("-debug_file,-dwz").unwrap();
        assert_eq!(but.names().count(), NameSource::ALL.len() - 2);
        assert!(!but.has(NameSource::DebugFile) && but.has(NameSource::Dwarf));
        assert_eq!(NameSources::from_bits(but.bits()), but);
        assert!(NameSources::parse("dwarf,nonsense").unwrap_err().contains("gnu_debugdata"));
    }
}
