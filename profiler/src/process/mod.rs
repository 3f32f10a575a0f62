//! Addresses become locations: which process, which binary, where in it.
//!
//! In: [`RawSample`](crate::profile::RawSample)s and the kernel's [`SideBand`](crate::profile::SideBand) records, in the order of their times, and `/proc`
//! for what began before us. Out: [`Sample`](crate::profile::Sample)s, [`ProcessFacts`](crate::profile::ProcessFacts),
//! [`Binary`](crate::profile::Binary)s with their files pinned. Names of functions are the symbolizer's.
//!
//! Everything here was written by other processes: paths, names, ELF files. It is read with bounds, opened without blocking,
//! trusted only when its identity is the one that the kernel saw, and never makes [`ProcessTable::resolve`] fail: what is
//! unknown degrades to a location without a file, or to a shorter stack with the reason in its end.

mod backing;
mod binaries;
mod budget;
mod build_id;
mod cgroup;
mod claims;
#[cfg(test)]
mod drawing;
mod file_identity;
mod find_file;
mod jit_files;
mod jit_programs;
#[cfg(test)]
mod live_tests;
mod mappings;
mod memory;
mod open_file;
mod owner;
mod proc_dir;
mod proc_text;
mod reading_time;
mod resolve;
mod roots;
mod same_file;
mod stack_cache;
mod table;
mod tracked;
mod vdso;

pub use budget::BudgetCounts;
pub(crate) use budget::{Budget, Charge};
pub use build_id::build_id_of;
pub use claims::CLAIM_NOTICE;
pub use jit_files::{JitLook, MAX_JIT_MAP, jit_sources, jit_sources_of, look_for_jit_files};
pub use memory::{KernelMemory, ProgramMemory};
pub use open_file::{open_exactly, open_file_in_root};
pub use owner::owner_of;
pub use proc_dir::ProcRoot;
pub use reading_time::BeingRead;
pub use resolve::Identified;
pub use same_file::{SameFile, key_of, lies_here, open_same};
pub use table::{ProcessTable, TableCounts};
