//! A merged profile as one tree: nodes in depth-first order, frames by index, everything in flat tables.

use std::sync::Arc;

use super::{NOT_ASKED, StackEnd, UnknownReason};

/// What a frame is; decides its colour. The numbers are on the wire: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FrameKind {
    /// The whole.
    Root = 0,
    /// A process, by name.
    Process = 1,
    /// A function in a file.
    User = 2,
    /// A function of the kernel.
    Kernel = 3,
    /// A function inlined into its parent.
    Inlined = 4,
    /// No name: `[binary+0xoffset]`.
    Unknown = 5,
    /// Not code: says why the stack below is cut short.
    Note = 6,
    /// Stands for nodes too small to send.
    Remainder = 7,
    /// A function that the program wrote while it ran, and told the name of.
    Jit = 8,
}

impl FrameKind {
    /// How many there are.
    pub const COUNT: usize = 9;
}

/// Index into [`CallTree::frames`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(pub u32);

/// A function (or process, or note) as people see it. Texts are shared: a day has 60,000 functions in a hundred files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// What to show.
    pub name: Arc<str>,
    /// What it is.
    pub kind: FrameKind,
    /// Path of the binary, when it has one.
    pub binary: Option<Arc<str>>,
    /// Source file, when known.
    pub file: Option<Arc<str>>,
    /// The line with the most samples, when known.
    pub line: Option<u32>,
    /// Of [`FrameKind::Unknown`] and [`FrameKind::Note`]: why.
    pub reason: Option<Reason>,
}

/// Why something of a stack is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A frame has no name; `None` while nobody has asked for one.
    Unnamed(Option<UnknownReason>),
    /// The stack is cut short.
    CutShort(StackEnd),
}

impl Reason {
    /// Name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unnamed(reason) => reason.map_or("not_asked", UnknownReason::name),
            Self::CutShort(end) => end.name(),
        }
    }

    /// What to tell people; of a stack that is cut short the note does (`query::note`).
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Unnamed(reason) => reason.map_or(NOT_ASKED, UnknownReason::describe),
            Self::CutShort(end) => end.name(),
        }
    }
}

/// A node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// 0 for the root.
    pub depth: u32,
    /// Which frame.
    pub frame: FrameId,
    /// Samples here and below.
    pub total: u64,
    /// Samples that ended here.
    pub self_: u64,
}

/// Depth-first: a node's descendants are the nodes after it that lie deeper, up to the first that does not. Siblings by
/// falling total, then name. `nodes[0]` is the root; a node's total is its self plus its children's totals, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallTree {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The distinct frames.
    pub frames: Vec<Frame>,
    /// Samples whose user stack did not reach its first function.
    pub incomplete: u64,
    /// Nodes that a [`FrameKind::Remainder`] stands for.
    pub hidden_nodes: u64,
}
