//! The compiler of unwind rows: an ELF file's `.eh_frame`, or its instructions.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| profiler::symbolizer::fuzzing::rows(bytes));
