//! The whole program on this kernel, for real: eBPF, processes, a database, HTTP. Needs root, and fails without.

#![expect(clippy::unwrap_used, reason = "tests")]

mod binaries;
mod books;
mod build_ids;
mod children;
mod completeness;
mod cpus;
mod crash;
mod disk;
mod held;
mod jit;
mod log;
mod login;
mod mappings;
mod memory_code;
mod missed;
mod moved_code;
mod names_again;
mod plugins;
mod pprof;
mod privileges;
mod process_facts;
mod python;
mod record;
mod remedies;
mod run;
mod shares;
mod storm;
