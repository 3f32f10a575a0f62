//! A continuous profiler for Linux: eBPF sampling, SQLite history, a flame graph page, in one binary.
//!
//! A sample walks one way through these rooms; they meet in the words of [`profile`], not in each other, and only
//! `cli` wires them together:
//!
//! ```text
//! kernel: perf event -> eBPF programs -> ring buffer
//!   -> sampler -> process -> aggregate -> store -> query -> { annotate -> server -> web, export }
//!                                \-> symbolizer -/
//! ```

pub mod aggregate;
pub mod annotate;
pub mod cli;
pub mod export;
pub mod process;
pub mod profile;
pub mod query;
pub mod sampler;
pub mod server;
pub mod store;
pub mod symbolizer;
pub mod sys;
pub mod unwind;
