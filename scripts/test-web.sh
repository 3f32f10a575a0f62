#!/usr/bin/env bash
# The page in headless Chromium: against the stand-in server (100,000 nodes, troubles); then, for what lives, against this build
# sampling this host; then, for figures, against the recording that this made: served, not sampled on, it has the same answer twice.
set -euo pipefail
cd "$(dirname "$0")/.."
profiler=${PROFILER:-target/release/profiler}
(cd web && npm run --silent e2e)

folder=$(mktemp -d)
load=() server=
trap 'kill "${load[@]}" "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
# Waits for the address that a server prints.
address() {
  for _ in $(seq 100); do
    url=$(sed -n 's/^open \(http:\/\/[^ \/]*\).*/\1/p' "$1")
    [ -n "$url" ] && return
    sleep 0.3
  done
  cat "$1" >&2
  exit 1
}
scripts/as-root.sh "$profiler" run --listen 127.0.0.1:0 --db "$folder/page.db" --window 2s 2>"$folder/log" &
server=$!
# Something to see: a program that computes and one that lives in system calls.
for fixture in ratio syscalls; do
  cc -O0 -g -o "$folder/$fixture" "profiler/tests/fixtures/$fixture.c"
  "$folder/$fixture" & load+=($!)
done
address "$folder/log"
for _ in $(seq 100); do
  [ "$(curl -s "$url/api/v1/status" | jq '.database.windows')" -ge 4 ] 2>/dev/null && break
  sleep 0.3
done
(cd web && PROFILER_URL=$url npm run --silent e2e -- page)

kill "${load[@]}" 2>/dev/null || true
kill -INT "$server"
wait "$server" || true
load=()
scripts/as-root.sh "$profiler" serve --listen 127.0.0.1:0 "$folder/page.db" 2>"$folder/served" &
server=$!
address "$folder/served"
(cd web && PROFILER_URL=$url npm run --silent e2e -- views labels)
# Who may read it: a server and browsers of its own, one of them another user's.
scripts/as-root.sh env LOGIN_DATABASE="$folder/page.db" PROFILER="$(realpath "$profiler")" CHROMIUM="${CHROMIUM:-/usr/bin/chromium}" \
  web/node_modules/.bin/vitest run --config web/e2e/login.config.ts
# Random histories, of which every sample is known.
ON=page scripts/test-figures.sh
# The same recording as one page, which stands alone.
scripts/as-root.sh "$profiler" export --db "$folder/page.db" -o "$folder/slice.html"
(cd web && SLICE=$folder/slice.html npx vitest run --config e2e/slice.config.ts)
