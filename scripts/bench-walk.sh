#!/usr/bin/env bash
# What unwinding costs: time a stack (profiler/examples/walk_cost), kernel memory of the rows of what runs here, and how long after
# the start of a new program with a library of 150 MB its rows are in the kernel, nothing cached. Fails when a goal is missed.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
pids=()
cleanup() {
  kill "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap cleanup EXIT
failed=0
target/release/examples/walk_cost "$@" || failed=1

target/release/profiler run --listen 127.0.0.1:0 --db "$folder/walk.db" --cache "$folder/cache" 2>"$folder/log" & pids+=($!)
for _ in $(seq 100); do url=$(sed -n 's/^open \(http:\/\/[^ \/]*\).*/\1/p' "$folder/log"); [ -z "$url" ] || break; sleep 0.1; done
figure() { curl -s "${url}/metrics" | awk -v name="profiler_unwind_$1" '$1 == name { print $2 }'; }
sleep 10
echo
echo "what runs here: $(figure files) files, $(figure rows) rows, $(figure rules) rules, $(figure processes) processes, $(figure address_spaces) address spaces"
awk -v rows="$(figure rows)" -v used="$(figure memory_used_bytes)" -v all="$(figure memory_bytes)" 'BEGIN {
  printf "kernel memory: %.1f MiB in use of %.1f MiB, %.2f bytes a row\n", used / 1048576, all / 1048576, used / rows }'

# rustc's driver: a library of 150 MB and a million rows. A copy with another build id is another file to everybody.
mkdir -p "$folder/bin" "$folder/lib"
sysroot=$(rustc --print sysroot)
cp "$sysroot"/bin/rustc "$folder/bin/"
cp "$sysroot"/lib/*.so* "$folder/lib/"
for file in "$folder"/lib/*.so*; do
  id=$(readelf -nW "$file" 2>/dev/null | awk '/Build ID:/ && !id { id = $3 } END { print id }') || true
  [ -z "$id" ] || perl -0777 -pi -e 'BEGIN { $id = pack "H*", shift } s/\Q$id\E/substr($id, 1) . chr(rand 256)/e' "$id" "$file"
done
source=$sysroot/lib/rustlib/src/rust/library/core/src/lib.rs
before=$(figure rows)
begun=$(date +%s%N)
RUSTC_BOOTSTRAP=1 "$folder/bin/rustc" --edition 2024 --crate-type lib -O -A warnings --out-dir "$folder" "$source" >/dev/null 2>&1 & pids+=($!)
for _ in $(seq 500); do
  [ $(($(figure rows) - before)) -lt 500000 ] || break
  sleep 0.005
done
took=$((($(date +%s%N) - begun) / 1000000))
echo "a new program with $(($(stat -Lc %s "$folder"/lib/librustc_driver-*.so) / 1000000)) MB and $(($(figure rows) - before)) rows: in the kernel $took ms after its start (goal 1000)"
[ "$took" -le 1000 ] || failed=1
exit $failed
