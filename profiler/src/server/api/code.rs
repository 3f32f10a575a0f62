//! Source and instructions with their weights.

use serde::Serialize;
use utoipa::ToSchema;

/// `GET /api/v1/source`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Source {
    /// The function.
    pub function: String,
    /// Its source file, as the compiler wrote it; null where no debug information tells.
    pub file: Option<String>,
    /// The file that was read; null when none was.
    pub found: Option<String>,
    /// Why none was, and what would help.
    pub reason: Option<String>,
    /// Samples with this file's function on the stack, recursion counted once; 0 when no sample of the range has it.
    pub total: u64,
    /// As in [`FlameGraph::scale`].
    pub scale: u64,
    /// As in [`FlameGraph::counts_samples`].
    pub counts_samples: bool,
    /// Number of the first line; 0 without any.
    pub first_line: u64,
    /// Lines with samples, and those near them; numbers may jump.
    pub lines: Vec<SourceText>,
}

/// A source line.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SourceText {
    /// Number, from 1.
    pub line: u64,
    /// What stands there, at most 500 bytes; null when the file was not read or has no such line.
    pub text: Option<String>,
    /// Samples taken in it.
    #[serde(rename = "self")]
    pub self_: u64,
    /// Samples taken in it or in what it calls, recursion counted once.
    pub total: u64,
}

/// `GET /api/v1/disassembly`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Disassembly {
    /// The function.
    pub function: String,
    /// Path of the binary; null where no sample has the function and none was asked for.
    pub binary: Option<String>,
    /// Its build id, in hex.
    pub build_id: Option<String>,
    /// Whether the binary was read.
    pub available: bool,
    /// Why it was not, or why some instructions have no text.
    pub reason: Option<String>,
    /// Instructions by rising address; numbers may jump where a function has several parts or is very long.
    pub instructions: Vec<Instruction>,
    /// Samples with this binary's function on the stack, recursion counted once; 0 when no sample of the range has it.
    pub total: u64,
    /// As in [`FlameGraph::scale`].
    pub scale: u64,
    /// As in [`FlameGraph::counts_samples`].
    pub counts_samples: bool,
    /// Instructions left out, none of them with samples.
    pub hidden_instructions: u64,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Instruction {
    /// The address that the linker gave it, in hex, for numbers of JSON end at 2^53; its offset in the file when that was not read. In the
    /// kernel, how far it is from the beginning of the function, or from its first place with samples when its code was not read.
    pub address: String,
    /// Its bytes, in hex; `..` for one of an address in the kernel.
    pub bytes: String,
    /// As an assembler writes it; empty when the binary was not read.
    pub text: String,
    /// Source file, of the innermost of inlined functions.
    pub file: Option<String>,
    /// Source line.
    pub line: Option<u32>,
    /// Samples taken at it, those of functions inlined there too.
    #[serde(rename = "self")]
    pub self_: u64,
    /// Samples taken at it or in what it calls, recursion counted once.
    pub total: u64,
}
