#!/usr/bin/env bash
# Every full-size hostile case: scripts/hostile/NAME.sh, one after the other, each with the release binary in PROFILER and an empty folder
# as its first argument. A case ends by itself, fails by its exit status, and says why in its last lines. NAMES="a b" runs only these.
set -uo pipefail
cd "$(dirname "$0")/.."
export PROFILER=${PROFILER:-$PWD/target/release/profiler}
[ "$(id -u)" = 0 ] || { echo "error: this needs root" >&2; exit 4; }
[ -x "$PROFILER" ] || { echo "error: no $PROFILER: run make build first" >&2; exit 1; }
failed=0 ran=0
for case in scripts/hostile/*.sh; do
  name=$(basename "$case" .sh)
  [ -e "$case" ] && { [ -z "${NAMES:-}" ] || [[ " $NAMES " == *" $name "* ]]; } || continue
  folder=$(mktemp -d)
  begun=$SECONDS status=0
  timeout -k 10 "${CASE_SECONDS:-900}" "$BASH" "$case" "$folder" >"$folder.said" 2>&1 </dev/null || status=$?
  verdict=PASS
  [ $status = 0 ] || { verdict="FAIL ($status)"; failed=$((failed + 1)); sed 's/^/    /' "$folder.said" | tail -n 30; }
  printf '%-10s %-24s %4d s  %s\n' "$verdict" "$name" $((SECONDS - begun)) "$(tail -n 1 "$folder.said")"
  ran=$((ran + 1))
  rm -rf "$folder" "$folder.said"
done
echo "$ran hostile cases, $failed failed"
# None at all is no success.
[ $ran -gt 0 ] && [ $failed = 0 ]
