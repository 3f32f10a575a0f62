#!/bin/bash
# Sixty processes of an unprivileged user map 4,000 files each by paths of 3.9 KB, beside the profiler and before it starts. Says how long windows were,
# whether /healthz was ok, what all processes of the profiler took (PSS), and whether that came back. Needs root; three minutes.
# usage: scripts/mapping-storm.sh [PROFILER]   PROCESSES=60 MAPPINGS=4000 SECONDS_ON=60 WINDOW=2
# ALLOCATOR=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2 gives the profiler another allocator, for a comparison.
set -euo pipefail
cd "$(dirname "$0")/.."
profiler=${1:-target/release/profiler}
processes=${PROCESSES:-60} mappings=${MAPPINGS:-4000} seconds=${SECONDS_ON:-60} window=${WINDOW:-2}
# `--no-login` where there is one: figures are asked for without a token.
LOGIN=$("$profiler" run --help | grep -o -m1 -e --no-login || true)
folder=$(mktemp -d) memory=$(mktemp -d -p /dev/shm)
main= storm=
end() { for pid in $main $storm; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$folder" "$memory"; }
trap end EXIT
cc -O1 -o "$memory/mappings" profiler/tests/fixtures/mappings.c
chmod 777 "$memory"

start_storm() {
    mkdir -m 777 "$memory/$1"
    setpriv --reuid=65534 --regid=65534 --clear-groups -- timeout "$((seconds + 120))" "$memory/mappings" "$memory/$1" "$processes" "$mappings" 3900 "$seconds" &
    storm=$!
}
start_profiler() {
    # shellcheck disable=SC2086
    LD_PRELOAD=${ALLOCATOR:-} "$profiler" run $LOGIN --listen 127.0.0.1:0 --window "${window}s" --db "$folder/$1.db" --cache "$folder/cache" 2> "$folder/$1.log" &
    main=$!
    until grep -q '^open http' "$folder/$1.log" 2>/dev/null; do sleep 0.05; done
    address=$(sed -n 's,^open \(http://[^/ ]*\).*,\1,p' "$folder/$1.log")
}
# KiB of the profiler, its children and theirs.
pss() {
    local all=$main child
    for child in $(pgrep -P "$main" || true); do all="$all $child $(pgrep -P "$child" | tr '\n' ' ' || true)"; done
    for child in $all; do grep -h '^Pss:' "/proc/$child/smaps_rollup" 2>/dev/null || true; done | awk '{ sum += $2 } END { print sum + 0 }'
}
healthz() { curl --silent --max-time 2 --output /dev/null --write-out '%{http_code}' "$address/healthz" || true; }

start_profiler beside
sleep 10
before=$(pss) most=0 bad=0
start_storm beside
while kill -0 "$storm" 2>/dev/null; do
    now=$(pss); [ "$now" -gt "$most" ] && most=$now
    [ "$(healthz)" = 200 ] || bad=$((bad + 1))
    sleep 1
done
wait "$storm" || true
after=$most
for _ in $(seq 60); do after=$(pss); [ $((after * 10)) -lt $((before * 13)) ] && break; sleep 1; done
curl --silent "$address/metrics" | grep -E '^profiler_(mappings|processes|binaries)_(memory|refused)' || true
kill -INT "$main"; wait "$main" || true; main=
longest=$("$profiler" sql --db "$folder/beside.db" 'SELECT max(seconds) FROM v_windows' | grep -oE '[0-9.]+' | tail -1)
echo "longest window $longest s of $window; /healthz not ok $bad times; PSS $((before / 1024)) MiB before, $((most / 1024)) at most, $((after / 1024)) within a minute of the end"

start_storm before
sleep "$((seconds / 2))"
# A port known beforehand, and no process for a question: on a host this busy each takes a tenth of a second to begin.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkfifo "$folder/never"
exec 4<>"$folder/never"
ask() {
    status=
    { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return 0
    printf 'GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' >&3
    read -r -t 5 _ status _ <&3 || true
    exec 3>&-
}
first='' status=''
began=${EPOCHREALTIME/[.,]/}
# shellcheck disable=SC2086
LD_PRELOAD=${ALLOCATOR:-} "$profiler" run $LOGIN --listen "127.0.0.1:$port" --window "${window}s" --db "$folder/before.db" --cache "$folder/cache" 2> "$folder/before.log" &
main=$!
until [ "$status" = 200 ]; do
    ask
    [ -n "$first" ] || [ -z "$status" ] || first=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
    read -r -t 0.02 -u 4 || true
done
sampling=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
echo "started beside the storm: /healthz answers after $first ms, is ok after $sampling ms"
failed=0
awk "BEGIN { exit !($longest <= 2 * $window) }" || { echo "FAIL: windows"; failed=1; }
[ "$bad" = 0 ] || { echo "FAIL: /healthz"; failed=1; }
[ "$most" -le $((160 * 1024)) ] || { echo "FAIL: memory"; failed=1; }
[ $((after * 10)) -lt $((before * 13)) ] || { echo "FAIL: memory does not come back"; failed=1; }
[ "$first" -le 2000 ] || { echo "FAIL: start"; failed=1; }
exit "$failed"
