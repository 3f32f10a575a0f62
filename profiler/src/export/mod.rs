//! A merged profile as a file for other tools: one file per format, each with a `write`.
//!
//! Input: a [`crate::profile::CallTree`]. Output: bytes into any writer. No I/O of its own, no clocks. The sum of the
//! counts written equals the root's total, and names from other processes cannot break the format.

pub mod caption;
pub mod folded;
pub mod html;
mod palette;
pub mod pprof;
pub mod svg;

#[cfg(test)]
pub(crate) mod drawing;
