//! What a symbolizer's child may answer after a hostile file has taken it over.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| profiler::symbolizer::fuzzing::answer(bytes));
