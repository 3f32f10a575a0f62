//! What compiling a file gave, and what it could not express.

/// Why some code of a file has [`RULE_UNSUPPORTED`](profiler_ebpf::tables::RULE_UNSUPPORTED), or less than its tables say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Cause {
    /// An expression for the canonical frame address that no [`Rule`](profiler_ebpf::tables::Rule) can say.
    CfaExpression,
    /// The canonical frame address counts from a register that the walk does not know, or is not given.
    CfaRegister,
    /// A rule for the return address that no [`Rule`](profiler_ebpf::tables::Rule) can say.
    ReturnAddress,
    /// A rule for the frame pointer that no [`Rule`](profiler_ebpf::tables::Rule) can say: it is said to be lost.
    FramePointer,
    /// An offset beyond what a rule holds.
    Offset,
    /// An instruction that is broken, or that gimli does not know; from there to the function's end.
    Instruction,
    /// A function's description that is broken.
    Function,
    /// A function outside the executable segments; it has no rows.
    Elsewhere,
    /// More rules than an image holds.
    Rules,
    /// More rows in half a KiB of code than a block holds.
    Crowded,
}

impl Cause {
    /// How many causes there are.
    pub const COUNT: usize = Self::Crowded as usize + 1;
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::CfaExpression,
        Self::CfaRegister,
        Self::ReturnAddress,
        Self::FramePointer,
        Self::Offset,
        Self::Instruction,
        Self::Function,
        Self::Elsewhere,
        Self::Rules,
        Self::Crowded,
    ];

    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::CfaExpression => "unknown expression for the frame",
            Self::CfaRegister => "frame counted from an unknown register",
            Self::ReturnAddress => "unknown rule for the return address",
            Self::FramePointer => "unknown rule for the frame pointer",
            Self::Offset => "offset too large",
            Self::Instruction => "unknown instruction",
            Self::Function => "broken function",
            Self::Elsewhere => "function outside the code",
            Self::Rules => "too many rules",
            Self::Crowded => "too many rows in 512 bytes",
        }
    }
}

/// Counts of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Functions described.
    pub functions: u32,
    /// Rows in the image.
    pub rows: u32,
    /// By [`Cause`].
    pub unsupported: [u32; Cause::COUNT],
}

impl Stats {
    pub(super) fn count(&mut self, cause: Cause) {
        let count = &mut self.unsupported[cause as usize];
        *count = count.saturating_add(1);
    }
}
