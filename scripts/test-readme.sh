#!/usr/bin/env bash
# Types every command of the README's `sh` blocks, in order, as a new user would. Commands that run until Ctrl-C are waited
# for until they serve, looked at, and interrupted.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$PWD folder=$(mktemp -d)
# A new user's machine does something; an idle one may have nothing to sample in five seconds.
yes >/dev/null & load=$!
trap 'kill $load; rm -rf "$folder"' EXIT
mkdir "$folder/bin" "$folder/work"
# As root, sudo is nothing; where there is none it must not be missed.
[ "$(id -u)" = 0 ] && printf '#!/bin/sh\nexec "$@"\n' >"$folder/bin/sudo" && chmod +x "$folder/bin/sudo"
export PATH=$folder/bin:$repo/target/release:$PATH PROFILER_DB=$folder/readme.db

serves() { # COMMAND: until it says where, then the page and a window must be there; Ctrl-C must end it well
  local log=$folder/log url
  : >"$log"
  setsid --wait bash -c "$1" 2>"$log" >/dev/null &
  local job=$! leader
  for _ in $(seq 600); do
    url=$(sed -n 's/^open \(http:\/\/[^ \/]*\).*/\1/p' "$log")
    [ -n "$url" ] && break
    kill -0 $job 2>/dev/null || { cat "$log" >&2; return 1; }
    sleep 0.1
  done
  for _ in $(seq 150); do
    [ "$(curl -s "$url/api/v1/status" | jq '.database.windows // 0')" -ge 1 ] && break
    sleep 0.1
  done
  curl -sf "$url/" | grep -q '<title>' || { echo "no page at $url" >&2; return 1; }
  [ "$(curl -s "$url/api/v1/flamegraph?from=now-1h" | jq .samples)" -gt 0 ] || { echo "no samples at $url" >&2; return 1; }
  leader=$(pgrep -f "^(target/release/)?profiler (run|serve)" | head -1)
  kill -INT "$leader"
  wait $job
}

count=0
while IFS= read -r line; do
  command=${line%%  *#*}
  [ -n "${command// /}" ] || continue
  count=$((count + 1))
  printf 'README: %s\n' "$command"
  case $command in
    "make run"*) (cd "$repo" && serves "$command") ;;
    "make test"*) echo "  (this is it)" ;;
    *"profiler run"* | *"profiler serve"*) (cd "$folder/work" && serves "$command") ;;
    *) (cd "$folder/work" && bash -c "$command" >"$folder/out" 2>&1) || { cat "$folder/out" >&2; echo "failed: $command" >&2; exit 1; } ;;
  esac
done < <(awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' README.md)
[ $count -ge 8 ] || { echo "only $count commands found in README.md" >&2; exit 1; }
printf 'README: %d commands ran\n' "$count"
