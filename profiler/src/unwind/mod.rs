//! How to walk stacks without frame pointers: from a file's tables to an image of rows that a walk in the kernel, or here, can
//! search.
//!
//! ```text
//! file -> elf -> { dwarf (.eh_frame, .debug_frame) -> rule, go (pclntab), code } -> rows -> image -> codec -> cache, kernel memory
//! ```
//!
//! Compiling reads a foreign file: it runs in a child (`symbolizer/`), is bounded in bytes and rows, and yields plain bytes,
//! which [`Image::decode`] does not trust. [`Cache`] keeps them for the next start.

mod cache;
mod code;
mod codec;
mod compile;
mod dwarf;
mod elf;
mod go;
mod go_inlined;
mod go_module;
mod go_names;
pub mod host;
mod image;
mod images;
mod kernel;
mod loader;
mod pack;
mod pool;
mod rows;
mod rule;
mod rules;
mod spaces;
mod stats;
mod unwinder;

#[cfg(test)]
mod code_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod image_tests;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod truth_tests;

pub use cache::{Cache, CacheKey};
pub use codec::ImageError;
pub use compile::{CompileError, compile, compile_file};
pub use go_names::{GoFunction, go_functions};
pub use image::Image;
pub use kernel::{Kernel, Missing, Unmapped};
pub use loader::{Compile, Loader, NotCompiled, Request, stand_in};
pub use pool::{CHUNK, PageMemory};
pub use spaces::Entered;
pub use stats::{Cause, Stats};
pub use unwinder::{UnwindCounts, Unwinder};
