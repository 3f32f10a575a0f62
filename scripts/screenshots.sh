#!/usr/bin/env bash
# The README's pictures, docs/screenshots/: this build samples a demo workload, whose second half is not its first, for 80 s.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
load=()
profiler=${PROFILER:-target/release/profiler} server=
trap 'kill "${load[@]}" "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
scripts/as-root.sh "$profiler" run --listen 127.0.0.1:0 --db "$folder/demo.db" --window 1s 2>"$folder/log" &
server=$!
for fixture in ratio syscalls; do cc -O0 -g -o "$folder/$fixture" "profiler/tests/fixtures/$fixture.c"; done
repeat() { while :; do "$@"; sleep 0.3; done; }
first() { (repeat "$@" >/dev/null 2>&1) & load+=($!); }
# Text and numbers by an interpreter, compression, a compiler, system calls; later a new program and no compression.
head -c 6000000 /dev/urandom | base64 >"$folder/text"
first node -e 'const rows=[];for(let i=0;i<90000;i++)rows.push({id:i,name:"row "+(i*7919%10007)});JSON.parse(JSON.stringify(rows)).sort((a,b)=>a.name<b.name?-1:1)'
first cc -O2 -x c -c -o /dev/null profiler/tests/fixtures/ratio.c
first timeout 2 "$folder/syscalls"
(repeat xz -3 -k -c "$folder/text" >/dev/null 2>&1) & early=$!; load+=("$early")
sleep 40
kill "$early" 2>/dev/null || true
first timeout 3 "$folder/ratio"
sleep 40
# Served, not sampled on: the pictures are of the workload, not of taking them.
kill "${load[@]}" 2>/dev/null || true
kill -INT "$server"
wait "$server" || true
load=()
scripts/as-root.sh "$profiler" serve --listen 127.0.0.1:0 "$folder/demo.db" 2>"$folder/log" &
server=$!
for _ in $(seq 50); do grep -q '^open' "$folder/log" && break; sleep 0.2; done
url=$(sed -n 's/^open \(http:\/\/[^ \/]*\).*/\1/p' "$folder/log")
[ -n "$url" ] || { cat "$folder/log" >&2; exit 1; }
mkdir -p docs/screenshots
(cd web && PROFILER_URL=$url PICTURES=$PWD/../docs/screenshots npm run --silent e2e -- screenshots)
ls -l docs/screenshots
