//! What an ELF file has to name its code with, the stubs of its linkage table, Go's table and the units of its debug information.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| profiler::symbolizer::fuzzing::elf(bytes));
