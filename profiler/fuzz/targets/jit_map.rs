//! A map of code that a program has written, as `/tmp/perf-PID.map`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| profiler::symbolizer::fuzzing::jit_map(bytes));
