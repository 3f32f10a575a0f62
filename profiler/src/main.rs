//! The command `profiler`.

fn main() {}
