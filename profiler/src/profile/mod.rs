//! The words every room shares: time, process, binary, location, sample, window, symbol, call tree.
//!
//! Plain data by value or by index. No I/O, no clocks, no locks (but that of [`JitSources`]); depends on nothing but the kernel boundary crate. A
//! sample changes its type as it walks: [`RawSample`] (addresses, as the kernel sent it) -> [`Sample`] (locations:
//! binary and offset) -> [`Window`] (equal stacks counted, what the store takes) -> [`CallTree`] (what people see).

mod binary;
mod call_tree;
mod demangle;
mod host;
mod jit_sources;
mod loss;
mod measure;
mod missed;
mod name_source;
mod printable;
mod process;
mod sample;
mod side_band;
mod stack_samples;
mod symbol;
mod time;
mod window;

pub use binary::{Binary, BinaryId, BinaryKey, BinaryKind, BuildId, CodeSegment, FileIdentity, Owner, UNRECORDED_PATH};
pub use call_tree::{CallTree, Frame, FrameId, FrameKind, Node, Reason};
pub use demangle::{Demangle, simple};
pub use host::Host;
pub use jit_sources::{JitFiles, JitProgram, JitSources};
pub use loss::{LossCause, Losses};
pub use measure::{Measure, period};
pub use missed::{MissCause, MissedTicks};
pub use name_source::{FoundSource, NameSource, NameSources, NameStatus};
pub use printable::{is_printable, printable, printable_name};
pub use process::{ContainerId, MappedRange, ProcessFacts, ProcessKey, StartTicks};
pub use profiler_ebpf::StackEnd;
pub use sample::{Location, RawSample, Sample, SampleEvent, ThreadName, Unfinished};
pub use side_band::{InodeNumber, MappedFile, SideBand};
pub use stack_samples::{CodeFile, CodePlace, FunctionNames, PlaceLine, StackSamples, ThreadLabels, ThreadStack};
pub use symbol::{NOT_ASKED, SourceLine, Symbol, Symbolized, UnknownReason};
pub use time::{BootNanos, TimeRange, WallNanos};
pub use window::{CpuTicks, ProcessWindow, StackCount, Window};
