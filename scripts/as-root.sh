#!/usr/bin/env bash
# Runs a command as root with the caller's whole environment: directly, by sudo when that asks nothing or a person can answer, else
# says what to type. sudo empties the environment, and a list of names to keep is out of date with the next variable; so a snapshot
# travels in a file that only the caller and root can read (arguments would show its values in `ps`).
set -euo pipefail
if [ "${1:-}" = --with-environment ]; then
  # Now root. sudo's own account of who called stays; a name that no shell can export (an exported function) does not travel.
  mapfile -d '' -t variables <"$2"
  rm -f "$2"
  shift 2
  for variable in "${variables[@]}"; do
    case $variable in
      SUDO_* | USER=* | LOGNAME=* | USERNAME=* | MAIL=*) continue ;;
      # The shell's own, readonly.
      BASHOPTS=* | SHELLOPTS=* | UID=* | EUID=* | PPID=*) continue ;;
    esac
    [[ ${variable%%=*} =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] && export "${variable?}"
  done
  exec "$@"
fi
if [ "$(id -u)" = 0 ]; then exec "$@"; fi
if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
  snapshot=$(mktemp)
  env -0 >"$snapshot"
  # Root removes it once it is read; this does where sudo refuses. (sudo is executed in place: signals sent to us are its own.)
  (while [ -e "$snapshot" ] && kill -0 $$; do sleep 1; done; rm -f "$snapshot") >/dev/null 2>&1 </dev/null &
  exec sudo "$BASH" "$(realpath "$0")" --with-environment "$snapshot" "$@"
fi
printf 'error: this needs root. Run as root, in %s:\n  %s\n' "$PWD" "$*" >&2
exit 4
