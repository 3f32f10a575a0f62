//! Empty on the host; on BPF this will hold the programs.

fn main() {}
