#!/usr/bin/env bash
# The walk against gdb: 1,190 random stops over seven programs, each compared frame by frame (profiler/examples/truth). Fails when
# more than 1 % differ. STOPS=50 takes fewer of each, PROGRAMS="perl xz" fewer programs, KEEP=folder keeps the recordings.
set -euo pipefail
cd "$(dirname "$0")/.."
STOPS=${STOPS:-170}
echo "$STOPS stops each"
fixtures=$PWD/profiler/tests/fixtures/unwind
folder=${KEEP:-$(mktemp -d)}
mkdir -p "$folder" && chmod 755 "$folder"
# shellcheck source=scripts/unwind-programs.sh
source scripts/unwind-programs.sh
command -v gdb >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends gdb; }
prepare_packages

loader=
cleanup() {
  [ -z "$loader" ] || kill -9 "$loader" 2>/dev/null || true
  [ -n "${KEEP:-}" ] || rm -rf "$folder"
}
trap cleanup EXIT

for program in ${PROGRAMS:-python perl sqlite cpp altstack openssl threads}; do
  prepare "$program"
  # Each of these becomes one process that lives for as long as it is wanted.
  case $program in
    openssl) openssl speed -seconds 1 -bytes 1024 sha256 md5 aes-128-cbc sha512 camellia-128-cbc ghash rsa2048 ecdsap256 ecdhx25519 >/dev/null 2>&1 & ;;
    *) load "$program" >/dev/null 2>&1 & ;;
  esac
  loader=$!
  disown
  sleep 1
  # gdb kills the process when it has all its stops.
  timeout 300 gdb -q -batch -nx -iex "set auto-load no" -iex "set debuginfod enabled off" -p "$loader" -ex "set \$truth_pid=$loader" \
    -ex "set \$truth_stops=$STOPS" -ex "set \$truth_out=\"$folder/$program.jsonl\"" -x scripts/truth-stops.py >"$folder/$program.log" 2>&1 || tail -3 "$folder/$program.log" >&2
  kill -9 "$loader" 2>/dev/null || true
  loader=
  echo "stopped $program $(wc -l <"$folder/$program.jsonl") times" >&2
done
target/release/examples/truth "$folder"
