#!/usr/bin/env bash
# Runs a long proof and fails unless it says the figure that was asked for: a variable that did not arrive, or is no longer read, makes
# a run of the default length, and that must not pass for the long one.
#
#   scripts/full-run.sh "200 kills" scripts/as-root.sh cargo test ...
set -euo pipefail
wanted=$1
shift
said=$(mktemp)
trap 'rm -f "$said"' EXIT
"$@" 2>&1 | tee "$said"
grep -qwF -- "$wanted" "$said" || { printf 'error: the run was cut short: it never said "%s"\n' "$wanted" >&2; exit 1; }
