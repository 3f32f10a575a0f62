//! Stacks without frame pointers: unwind rows, and the walk by them.

pub mod host;
