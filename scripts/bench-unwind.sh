#!/usr/bin/env bash
# Whole stacks, program by program: real programs from Debian's packages under load, sampled at the same time by this profiler,
# `perf record --call-graph fp`, `--call-graph dwarf` and bpftrace's `ustack`. Prints a markdown table of how many samples reach
# the thread's entry, and fails when a program of the goal's list is below 99 %. The counting is profiler/examples/unwind_table.
# PROGRAMS="git xz" takes only these; SAMPLE_SECONDS, KEEP=folder (keeps what was recorded) change what they say.
set -euo pipefail
cd "$(dirname "$0")/.."
SAMPLE_SECONDS=${SAMPLE_SECONDS:-8}
HZ=199
fixtures=$PWD/profiler/tests/fixtures/unwind
folder=${KEEP:-$(mktemp -d)}
mkdir -p "$folder" && chmod 755 "$folder"
# shellcheck source=scripts/unwind-programs.sh
source scripts/unwind-programs.sh
prepare_packages

mount=$(findmnt -nt cgroup2 -o TARGET | head -1)
[ -n "$mount" ] || { echo "error: no cgroup v2 is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified" >&2; exit 1; }
group=bench-unwind-$$
mkdir "$mount/$group"
empty_group() {
  echo 1 >"$mount/$group/cgroup.kill" 2>/dev/null || true
  for _ in $(seq 50); do grep -q 1 <(grep populated "$mount/$group/cgroup.events") || return 0; sleep 0.1; done
}
cleanup() {
  empty_group
  rmdir "$mount/$group" || true
  [ -n "${KEEP:-}" ] || rm -rf "$folder"
}
trap cleanup EXIT

for program in ${PROGRAMS:-$HELD_TO_GOAL $BESIDE}; do
  out=$folder/results/$program
  rm -rf "$out" && mkdir -p "$out"
  prepare "$program"
  (echo $BASHPID >"$mount/$group/cgroup.procs"; load "$program") & disown # killed with its group, without a word from the shell
  sleep 2
  pids=()
  target/release/profiler record -F $HZ -d "$SAMPLE_SECONDS" --cgroup "/$group" -o "$out/ours.db" >"$out/ours.log" 2>&1 & pids+=($!)
  for mode in fp dwarf; do
    # perf: no build-id cache (-B); the group narrows what the whole machine's events would give.
    perf record -q -B -F $HZ -a -e cpu-clock -G "$group" --call-graph $mode -o "$out/$mode.data" sleep "$SAMPLE_SECONDS" >"$out/$mode.log" 2>&1 & pids+=($!)
  done
  # bpftrace names addresses at the end, from processes that must still live, and takes its time: it is given a quarter of a minute.
  BPFTRACE_MAP_KEYS_MAX=65536 timeout -k 1 $((SAMPLE_SECONDS + 15)) bpftrace -q -o "$out/bpftrace.txt" -e "
    profile:hz:$HZ /cgroup == cgroupid(\"$mount/$group\")/ { @[ustack(perf, 127)] = count(); } interval:s:$SAMPLE_SECONDS { exit(); }" \
    >"$out/bpftrace.log" 2>&1 & pids+=($!)
  for pid in "${pids[@]}"; do wait "$pid" || true; done
  for mode in fp dwarf; do
    timeout 120 perf script -i "$out/$mode.data" --no-inline -F comm,ip,sym,dso >"$out/$mode.txt" 2>/dev/null || true
  done
  empty_group
  echo "recorded $program" >&2
done

goal=()
for program in $HELD_TO_GOAL; do [ -d "$folder/results/$program" ] && goal+=("$program"); done
target/release/examples/unwind_table "$folder/results" "${goal[@]}"
