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
