#!/usr/bin/env bash
# Names against gdb: 1,000 random addresses of ten running Debian programs and their libraries, inlined functions included
# (profiler/examples/names_truth). Fails when more than 1 % differ. COUNT=20 takes fewer of each, PROGRAMS="gm lua5.4" fewer programs,
# SEED=7 other addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
COUNT=${COUNT:-100} SEED=${SEED:-1}
echo "$COUNT addresses each, seed $SEED"
folder=$(mktemp -d)
loader=
cleanup() { [ -z "$loader" ] || kill -9 "$loader" 2>/dev/null || true; rm -rf "$folder"; }
trap cleanup EXIT

# Programs of Debian's main archive whose debug packages lie there too.
missing=()
for package in gdb libc6-dbg python3.11 python3.11-dbg graphicsmagick graphicsmagick-dbg libgraphicsmagick-q16-3 binutils \
  binutils-x86-64-linux-gnu-dbg libbinutils-dbg gsl-bin libgsl-dbg lua5.1 liblua5.1-0-dbg lua5.3 liblua5.3-0-dbg lua5.4 liblua5.4-0-dbg \
  vsftpd vsftpd-dbg uwsgi-core uwsgi-dbg flowgrind flowgrind-dbg; do
  [ -e "/usr/share/doc/$package" ] || missing+=("$package")
done
# RUNLEVEL: invoke-rc.d then starts none of the daemons.
[ ${#missing[@]} = 0 ] || { apt-get update -q && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"; }

port=$((20000 + $$ % 20000))
printf 'listen=YES\nlisten_port=%s\nlisten_address=127.0.0.1\nbackground=NO\nsecure_chroot_dir=%s\n' $port "$folder" >"$folder/vsftpd.conf"

# Becomes a process that lives until it is killed.
load() {
  case $1 in
    python3.11) exec python3.11 -c 'while True: sorted(str(n) for n in range(1000))' ;;
    gm) exec gm benchmark -duration 3600 convert -size 640x480 plasma:red-blue -resize 50% null: ;;
    objdump) exec objdump -d /proc/self/exe "$(command -v gdb)" "$(command -v gdb)" "$(command -v gdb)" ;;
    gsl-randist) exec gsl-randist 0 2000000000 gaussian 1 ;;
    lua*) exec "$1" -e 'while true do local t = {} for i = 1, 100 do t[i] = tostring(i) end table.concat(t) end' ;;
    vsftpd) exec vsftpd "$folder/vsftpd.conf" ;;
    uwsgi-core) exec uwsgi-core --socket "$folder/uwsgi.sock" --logto /dev/null ;;
    flowgrindd) exec flowgrindd -d -b 127.0.0.1 -p $((port + 1)) ;;
  esac
}

# Waits until a process is the program it becomes, with its libraries in place: at work for a fifth of a second, or waiting for somebody.
at_work() {
  local state used
  for _ in $(seq 500); do
    read -r state used < <(sed 's/.*) //' "/proc/$1/stat" | awk '{ print $1, $12 }')
    [ "$(readlink "/proc/$1/exe")" != "$(readlink -f "$BASH")" ] && { [ "$used" -ge 20 ] || [ "$state" = S ]; } && return
    sleep 0.02
  done
  echo "$program does not run" >&2
  return 1
}

for program in ${PROGRAMS:-python3.11 gm objdump gsl-randist lua5.1 lua5.3 lua5.4 vsftpd uwsgi-core flowgrindd}; do
  load "$program" >/dev/null 2>&1 &
  loader=$!
  disown
  at_work $loader
  timeout 300 gdb -q -batch -nx -iex "set auto-load no" -iex "set debuginfod enabled off" -p "$loader" -ex "set \$truth_pid=$loader" \
    -ex "set \$truth_count=$COUNT" -ex "set \$truth_seed=$SEED" -ex "set \$truth_out=\"$folder/$program.jsonl\"" \
    -x scripts/names-truth.py >"$folder/$program.log" 2>&1 || tail -3 "$folder/$program.log" >&2
  kill -9 "$loader" 2>/dev/null || true
  loader=
done
target/release/examples/names_truth target/release/profiler "$folder"
