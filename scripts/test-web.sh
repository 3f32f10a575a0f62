#!/usr/bin/env bash
# The page in headless Chromium: against the stand-in server (100,000 nodes, troubles), then against this build sampling this host.
set -euo pipefail
cd "$(dirname "$0")/.."
(cd web && npm run --silent e2e)

folder=$(mktemp -d)
load=()
trap 'kill "${load[@]}" "$profiler" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
scripts/as-root.sh target/release/profiler run --listen 127.0.0.1:0 --db "$folder/page.db" --window 2s 2>"$folder/log" &
profiler=$!
# Something to see: a program that computes and one that lives in system calls.
for fixture in ratio syscalls; do
  cc -O0 -g -o "$folder/$fixture" "profiler/tests/fixtures/$fixture.c"
  "$folder/$fixture" & load+=($!)
done
for _ in $(seq 100); do
  url=$(sed -n 's/^open \(http:[^ ]*\).*/\1/p' "$folder/log")
  [ -n "$url" ] && [ "$(curl -s "$url/api/v1/status" | jq '.database.windows')" -ge 4 ] 2>/dev/null && break
  sleep 0.3
done
[ -n "$url" ] || { cat "$folder/log" >&2; exit 1; }
(cd web && PROFILER_URL=$url npm run --silent e2e -- page)
