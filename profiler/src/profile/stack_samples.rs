//! Samples by thread and stack, with the code places of each stack: what formats that keep addresses and lines are written from.
//!
//! Where a [`super::CallTree`] merges places by function, this keeps each place: its offset, its line, the functions
//! inlined there. Everything is in flat tables and refers to them by index. Invariant: nothing is left out, so the values
//! of all samples add up to what was asked about.

use std::sync::Arc;

use super::{BinaryKind, BuildId, CodeSegment, FrameKind};

/// Samples of one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackSamples {
    /// Files, kernels and memory areas.
    pub binaries: Vec<CodeFile>,
    /// Functions, and what stands for those without a name.
    pub functions: Vec<FunctionNames>,
    /// Places in code.
    pub places: Vec<CodePlace>,
    /// The stacks as one tree: (parent, place) of each node, parents first. Node 0 is the empty stack, its entry has no meaning.
    pub nodes: Vec<(u32, u32)>,
    /// Threads by name, with their process.
    pub threads: Vec<ThreadLabels>,
    /// The samples.
    pub samples: Vec<ThreadStack>,
    /// Time that was recorded in the range, in nanoseconds; gaps are not in it.
    pub recorded_nanos: u64,
}

/// What holds code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeFile {
    /// What it is, and so what offsets in it are.
    pub kind: BinaryKind,
    /// Path as the process saw it, `[kernel]`, `[vdso]` or `[anon]`.
    pub path: Arc<str>,
    /// Its build id, when it has one.
    pub build_id: Option<BuildId>,
    /// Its first executable segment, where that is known.
    pub code: Option<CodeSegment>,
}

/// What a function is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FunctionNames {
    /// The name to show.
    pub name: Arc<str>,
    /// The linker's name; the same where it is not another one.
    pub linker_name: Arc<str>,
    /// Source file, when known.
    pub file: Option<Arc<str>>,
    /// Line that declares it, 0 when not known.
    pub declared: u32,
}

/// A place in code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodePlace {
    /// Index of its file in [`StackSamples::binaries`]; `None` for a note.
    pub binary: Option<u32>,
    /// Where in it: an offset, or an address in the kernel and in memory without a file.
    pub offset: u64,
    /// Whether a symbol names it.
    pub named: bool,
    /// Functions there: the innermost inlined one first, the one that stands in the file last. Never empty.
    pub lines: Vec<PlaceLine>,
}

/// A function at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceLine {
    /// Index in [`StackSamples::functions`].
    pub function: u32,
    /// Source line, 0 when not known.
    pub line: u32,
    /// What the function is.
    pub kind: FrameKind,
}

/// A thread's name and the labels of its process; texts are empty where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadLabels {
    /// Host process id.
    pub pid: u32,
    /// Name of the process's main thread.
    pub comm: Arc<str>,
    /// Name of the thread.
    pub thread: Arc<str>,
    /// Path of the executable.
    pub exe: Arc<str>,
    /// Control group.
    pub cgroup: Arc<str>,
    /// Container id.
    pub container: Arc<str>,
    /// systemd unit.
    pub unit: Arc<str>,
}

/// Samples of one thread with one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadStack {
    /// Index in [`StackSamples::threads`].
    pub thread: u32,
    /// Node of the leaf in [`StackSamples::nodes`].
    pub node: u32,
    /// Index in [`StackSamples::places`] of the note that stands at the root of a stack that is cut short.
    pub note: Option<u32>,
    /// Samples.
    pub samples: u64,
    /// CPU time they stand for, in nanoseconds.
    pub nanos: u64,
}

impl StackSamples {
    /// The places of a sample, leaf first, its note last.
    pub fn places_of(&self, sample: &ThreadStack) -> impl Iterator<Item = u32> {
        let mut at = sample.node;
        let stack = std::iter::from_fn(move || {
            // Parents have smaller numbers, so this ends.
            let (parent, place) = *self.nodes.get(at as usize).filter(|_| at > 0)?;
            at = parent;
            Some(place)
        });
        stack.chain(sample.note)
    }

    /// All samples, and the CPU time they stand for in nanoseconds.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.samples.iter().fold((0, 0), |(samples, nanos), sample| {
            (u64::saturating_add(samples, sample.samples), u64::saturating_add(nanos, sample.nanos))
        })
    }
}
