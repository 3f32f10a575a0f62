#!/usr/bin/env bash
# Runs a command as root: directly, by sudo when that asks nothing or a person can answer, else says what to type.
set -euo pipefail
if [ "$(id -u)" = 0 ]; then exec "$@"; fi
if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
  exec sudo --preserve-env=PATH,HOME,TZ,LC_ALL,PROFILER_DB,PROGRAMS,SAMPLE_SECONDS,STOPS,KEEP "$@"
fi
printf 'error: this needs root. Run as root, in %s:\n  %s\n' "$PWD" "$*" >&2
exit 4
