#!/usr/bin/env bash
# Coverage-guided fuzzing of what reads foreign bytes, each target of profiler/fuzz for FUZZ_SECONDS (60). Seeds are small programs built
# here. A find is printed with the command that repeats it, and left in profiler/fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/../profiler/fuzz"
# The sanitizers' flags are unstable; the pinned toolchain takes them with this.
export RUSTC_BOOTSTRAP=1
# An allocation that is refused is an answer, as below the child's limit on memory: where the code cannot take it, that is a find.
export ASAN_OPTIONS=allocator_may_return_null=1
seeds=corpus/seeds
mkdir -p $seeds
cc -g -O1 -o $seeds/debug ../tests/fixtures/ratio.c
cc -gz -g -O1 -o $seeds/compressed ../tests/fixtures/ratio.c
cc -O2 -static-pie -nostdlib -o $seeds/assembly ../tests/fixtures/rows.S
cc -O2 -s -fno-asynchronous-unwind-tables -o $seeds/bare ../tests/fixtures/ratio.c
printf '1000 20 main\n1020 8 py::f:/a.py\n' >$seeds/map
targets=${FUZZ_TARGETS:-elf rows jit_map answer}
for target in $targets; do
  mkdir -p "corpus/$target"
  cargo fuzz run --fuzz-dir . "$target" "corpus/$target" $seeds -- -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=1000000 -max_len=65536 -print_final_stats=1 2>&1 |
    grep -vE '^#|NEW|REDUCE|pulse|failed to allocate' | tail -n 25
done
