//! Names for a location. A missing name is a reason, not an error.
//!
//! Texts are shared: ten thousand places of a binary have a few thousand names and files between them.

use std::sync::Arc;

/// Where in the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceLine {
    /// Path as the compiler wrote it.
    pub file: Arc<str>,
    /// Line from 1, when known.
    pub line: Option<u32>,
}

/// One function at a location. Inlining puts several at one location.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Symbol {
    /// Name as the source has it: demangled.
    pub name: Arc<str>,
    /// Name as the linker has it, where that is another one.
    pub raw: Option<Arc<str>>,
    /// Source position of the address in this function.
    pub source: Option<SourceLine>,
    /// Line that declares the function; where debug information says so.
    pub declared: Option<u32>,
    /// True when the compiler inlined this function into the next one of the list.
    pub inlined: bool,
}

/// Why a location has no name. The numbers are stored: never renumber (0 is "not asked yet", 1 "named").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum UnknownReason {
    /// The file is gone and was never opened.
    FileGone = 2,
    /// The file may not be read (permission, or not a regular file).
    FileRefused = 3,
    /// The file has no symbol table at all (stripped).
    NoSymbols = 4,
    /// The file has symbols, none covers the address.
    NotFound = 5,
    /// The file is not an ELF file we can parse.
    BadFile = 6,
    /// Memory without a file (JIT).
    NoFile = 7,
    /// `/proc/kallsyms` hides addresses (`kptr_restrict`).
    KernelHidden = 8,
    /// The symbolizer crashed or ran out of time on this file.
    SymbolizerFailed = 9,
    /// What would name it may not be used (`--names`).
    SwitchedOff = 10,
    /// The mapping was not recorded: the user's processes have more than their share of memory holds.
    TooManyMappings = 11,
    /// The process was gone before its file could be opened, and no file of the system has its build id.
    NotVerified = 12,
    /// The file was not open in time: its file system or the queue of its user's files was slow.
    NotOpenedInTime = 13,
}

impl UnknownReason {
    /// Every reason, in stored order.
    pub const ALL: [Self; 12] = [
        Self::FileGone,
        Self::FileRefused,
        Self::NoSymbols,
        Self::NotFound,
        Self::BadFile,
        Self::NoFile,
        Self::KernelHidden,
        Self::SymbolizerFailed,
        Self::SwitchedOff,
        Self::TooManyMappings,
        Self::NotVerified,
        Self::NotOpenedInTime,
    ];

    /// The reason stored as `n`, if there is one.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == n)
    }

    /// Whether another try at another time may come out better: files and debug packages come, limits and programs change.
    #[must_use]
    pub fn may_pass(self) -> bool {
        !matches!(self, Self::NotFound | Self::BadFile | Self::TooManyMappings)
    }

    /// Name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FileGone => "file_gone",
            Self::FileRefused => "file_refused",
            Self::NoSymbols => "no_symbols",
            Self::NotFound => "not_found",
            Self::BadFile => "bad_file",
            Self::NoFile => "no_file",
            Self::KernelHidden => "kernel_hidden",
            Self::SymbolizerFailed => "symbolizer_failed",
            Self::TooManyMappings => "too_many_mappings",
            Self::SwitchedOff => "switched_off",
            Self::NotVerified => "not_verified",
            Self::NotOpenedInTime => "not_opened_in_time",
        }
    }

    /// What to tell people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::FileGone => "the file was gone before it could be opened",
            Self::FileRefused => "the file may not be read by the profiler",
            Self::NoSymbols => "the file is stripped: install its debug symbols",
            Self::NotFound => "no symbol of the file covers this address",
            Self::BadFile => "the file is not a readable ELF file",
            Self::NoFile => "memory without a file (JIT code)",
            Self::KernelHidden => "kernel.kptr_restrict hides kernel symbols",
            Self::SymbolizerFailed => "the symbolizer failed on this file",
            Self::TooManyMappings => "too many mappings of this user",
            Self::SwitchedOff => "what would name it is switched off (--names)",
            Self::NotVerified => "not verified: the process was gone before its file could be opened",
            Self::NotOpenedInTime => "the file was not open in time",
        }
    }
}

/// Why a place has no name while nobody has asked for one.
pub const NOT_ASKED: &str = "no name was looked up yet: it comes by itself";

/// The answer for one location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symbolized {
    /// Innermost inlined function first; the last one is the function that really stands in the file. Never empty.
    Named(Vec<Symbol>),
    /// No name, and why.
    Unknown(UnknownReason),
    /// The same, of a place in a function that is known to begin at this offset of the file: its places are one frame.
    Nameless(UnknownReason, u64),
}

impl Symbolized {
    /// Why there is no name.
    #[must_use]
    pub fn reason(&self) -> Option<UnknownReason> {
        match self {
            Self::Named(_) => None,
            Self::Unknown(reason) | Self::Nameless(reason, _) => Some(*reason),
        }
    }
}
