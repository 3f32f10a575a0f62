#!/usr/bin/env bash
# The children that parse files are killed by a process of the user nobody for 16 s, killed by root 50 times, stopped for 30 s, and run out of the
# memory of a control group, each time while programs that were never seen before want names. No file may be set aside or postponed, and every
# program must be named within 60 s of the end. Then one program whose debug information really burns its child's processor time: it must be set
# aside, nobody else must notice, and it must be named in the database by the try a minute later, when it harms nobody any more, though it has ended.
# Needs root; six minutes. usage: PROFILER=... scripts/hostile/children.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${PROFILER:?}"
folder=$1
programs=${PROGRAMS:-30}
main='' storm='' attack='' guilty='' group=''
end() {
    for pid in $storm $attack $guilty $main; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    [ -z "$group" ] || { for _ in 1 2 3 4 5; do rmdir "$group" 2>/dev/null && break; sleep 0.2; done; }
}
trap end EXIT
fail() { echo "$*"; tail -n 5 "$folder/log"; exit 1; }

# `--no-login` where there is one: figures are asked for without a token.
login=$("$PROFILER" run --help | grep -o -m1 -e --no-login || true)
# shellcheck disable=SC2086
"$PROFILER" run $login -F 199 --window 1s --listen 127.0.0.1:0 --db "$folder/x.db" --cache "$folder/cache" 2>"$folder/log" &
main=$!
until grep -q '^open http' "$folder/log"; do kill -0 $main 2>/dev/null || fail "the profiler ended"; sleep 0.1; done
address=$(sed -n 's,^open \(http://[^/ ]*\).*,\1,p' "$folder/log")

# Those that are the symbolizer's already, not still the profiler's fork, whose end is that of a start.
children() {
    local child
    for child in $(cat /proc/$main/task/*/children 2>/dev/null || true); do
        [ "$(cat "/proc/$child/comm" 2>/dev/null)" = profiler-names ] && echo "$child"
    done || true
}
# The sum of all lines of /metrics that begin so.
metric() { curl --silent --max-time 5 "$address/metrics" | awk -v begin="$1" 'index($0, begin) == 1 { sum += $NF } END { print sum + 0 }'; }
restarts() { metric "profiler_symbolizer_restarts_total{cause=\"$1\"}"; }
# How many functions of this name there are in what was sampled.
named() {
    curl --silent --max-time 8 --get "$address/api/v1/top" -d from=now-1h -d limit=10000 --data-urlencode "filter=comm=~\"$1.*\"" \
        | grep -o "\"name\":\"$2[0-9]*\"" | sort -u | wc -l || true
}
blamed() { echo $(($(metric 'profiler_symbolizer_files_set_aside ') + $(metric 'profiler_symbolizer_files_postponed '))); }

# Programs that nobody has seen, each with a function of its own; one after the other.
start_storm() {
    for n in $(seq "$programs"); do
        cc -O0 -g -Wl,--build-id "-Dbrief_work=work_$1_$n" -o "$folder/$1-$n" profiler/tests/fixtures/brief.c
    done
    (for n in $(seq "$programs"); do "$folder/$1-$n" "${2:-300}"; done) &
    storm=$!
}
# Waits until all of them are named, 60 s at most after the attack.
all_named() {
    local begin=$SECONDS now
    wait "$storm"; storm=
    while now=$(named "$1-" "work_$1_"); [ "$now" -lt "$programs" ]; do
        [ $((SECONDS - begin)) -lt 60 ] || fail "$1: $now of $programs programs are named 60 s after"
        sleep 0.5
    done
    [ "$(blamed)" = 0 ] || fail "$1: $(blamed) files are set aside"
    ! grep -q 'set aside\|asked about again later' "$folder/log" || fail "$1: $(grep -m1 'set aside\|asked about again later' "$folder/log")"
    echo "$1: $programs programs named $((SECONDS - begin)) s after the end, 0 files set aside; restarts: $(restarts killed) killed, $(restarts stopped) stopped, $(restarts not_started) not started"
}

start_storm nobody 500
timeout 16 setpriv --reuid=65534 --regid=65534 --clear-groups -- sh -c \
    "while :; do pkill -KILL -u nobody profiler-; for c in \$(cat /proc/$main/task/*/children 2>/dev/null); do kill -KILL \$c 2>/dev/null && echo \$c; done; sleep 0.02; done" \
    >"$folder/killed-by-nobody" 2>/dev/null || true
[ ! -s "$folder/killed-by-nobody" ] || fail "nobody may signal children: $(wc -l <"$folder/killed-by-nobody")"
all_named nobody

start_storm root
kills=0 begin=$SECONDS
while [ $kills -lt 50 ]; do
    for child in $(children); do kill -KILL "$child" 2>/dev/null && kills=$((kills + 1)); done
    kill -0 "$storm" 2>/dev/null || { all_named root; start_storm root; }
    [ $((SECONDS - begin)) -lt 300 ] || fail "only $kills children came in 300 s"
    sleep 0.2
done
echo "$kills children killed in $((SECONDS - begin)) s"
all_named root

start_storm stop
begin=$SECONDS stopped=
while [ $((SECONDS - begin)) -lt 30 ]; do
    for child in $(children); do kill -STOP "$child" 2>/dev/null && stopped="$stopped $child"; done
    sleep 0.05
done
for child in $stopped $(children); do kill -CONT "$child" 2>/dev/null || true; done
all_named stop

if [ -d /sys/fs/cgroup/memory ]; then
    group=/sys/fs/cgroup/memory/profiler-children-$$; mkdir "$group"; echo 1M >"$group/memory.limit_in_bytes"
    ooms() { awk '$1 == "oom_kill" { print $2 }' "$group/memory.oom_control"; }
else
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control
    group=/sys/fs/cgroup/profiler-children-$$; mkdir "$group"; echo 1M >"$group/memory.max"
    ooms() { awk '$1 == "oom_kill" { print $2 }' "$group/memory.events"; }
fi
start_storm memory
begin=$SECONDS
while [ $((SECONDS - begin)) -lt 20 ]; do
    for child in $(children); do echo "$child" >"$group/cgroup.procs" 2>/dev/null || true; done
    sleep 0.02
done
echo "$(ooms) children ended for want of memory"
[ "$(ooms)" -gt 0 ] || fail "no child ran out of memory"
for child in $(children); do kill -KILL "$child" 2>/dev/null || true; done
all_named memory
[ "$(restarts fault)" = 0 ] || fail "children failed by themselves: $(restarts fault)"

# Its debug information has 20,000 empty units more, each with the same megabyte of abbreviations to be read anew. Its function has no symbol.
cat >"$folder/guilty.c" <<'C'
#include <stdint.h>
static volatile uint64_t sink;
__attribute__((noinline)) static void guilty_work(void) { for (uint64_t i = 0; i < 20000; i++) sink += i; }
int main(void) { for (;;) guilty_work(); }
C
cc -O0 -g -gdwarf-4 -Wl,--build-id -o "$folder/guilty" "$folder/guilty.c"
cat >"$folder/arm.py" <<'P'
"""arm FOLDER: makes guilty's debug information harmful. disarm FOLDER: empties the abbreviations in place, so that the file is the same but for that."""
import os, struct, subprocess, sys

what, folder = sys.argv[1:]
guilty = f"{folder}/guilty"

def uleb(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])

if what == "arm":
    sections = {}
    for name in ["info", "abbrev"]:
        subprocess.run(["objcopy", "-O", "binary", "--only-section", f".debug_{name}", "--set-section-flags", f".debug_{name}=alloc", guilty, f"{folder}/{name}"], check=True)
        sections[name] = open(f"{folder}/{name}", "rb").read()
    begin = len(sections["abbrev"])
    # Each abbreviation: code, tag, no children, no attributes. Two places in the table in turn, so that it is read for each unit.
    first = uleb(1) + b"\x24\0\0\0"
    table = first + b"".join(uleb(code) + b"\x24\0\0\0" for code in range(2, 200_000)) + b"\0"
    unit = lambda at: struct.pack("<IHIB", 7, 4, at, 8)
    units = b"".join(unit(begin + n % 2 * len(first)) for n in range(20_000))
    open(f"{folder}/info", "wb").write(sections["info"] + units)
    open(f"{folder}/abbrev", "wb").write(sections["abbrev"] + table)
    words = [word for name in sections for word in ["--update-section", f".debug_{name}={folder}/{name}"]]
    subprocess.run(["objcopy", "-N", "guilty_work", "--remove-section", ".debug_aranges", *words, guilty], check=True)
else:
    stat = os.stat(guilty)
    place = next(line.split() for line in subprocess.run(["readelf", "-SW", guilty], check=True, capture_output=True, text=True).stdout.replace("[ ", "[").splitlines() if " .debug_abbrev" in line)
    at, size = int(place[4], 16), int(place[5], 16)
    # The real unit's abbreviations come first, and are few.
    with open(guilty, "r+b") as file:
        file.seek(at + 1024)
        file.write(bytes(size - 1024))
    os.utime(guilty, ns=(stat.st_atime_ns, stat.st_mtime_ns))
P
python3 "$folder/arm.py" arm "$folder"
"$folder/guilty" & guilty=$!
begin=$SECONDS
until [ "$(metric 'profiler_symbolizer_files_set_aside ')" = 1 ]; do
    [ $((SECONDS - begin)) -lt 120 ] || fail "guilty: not set aside in 120 s"
    sleep 0.5
done
echo "guilty: set aside after $((SECONDS - begin)) s, $(restarts fault) faults"
kill "$guilty"; wait "$guilty" 2>/dev/null || true; guilty=
python3 "$folder/arm.py" disarm "$folder"
begin=$SECONDS
[ "$(named guilty guilty_work)" = 0 ] || fail "guilty: named already"
start_storm meanwhile 100
wait "$storm"; storm=
while [ "$(named meanwhile- work_meanwhile_)" -lt "$programs" ]; do
    [ $((SECONDS - begin)) -lt 55 ] || fail "guilty: others are not named meanwhile"
    sleep 0.5
done
others=$((SECONDS - begin))
until [ "$(named guilty guilty_work)" = 1 ]; do
    [ $((SECONDS - begin)) -lt 150 ] || fail "guilty: not named 150 s after it was set aside and mended"
    sleep 0.5
done
[ "$(blamed)" = 0 ] || fail "guilty: still set aside"
echo "guilty: $programs other programs named $others s after, itself in the database $((SECONDS - begin)) s after it was set aside ($(metric profiler_symbolizer_files_retried_total) tries)"
kill -INT "$main"; wait "$main" || fail "the profiler's status is $?"; main=
"$PROFILER" db check --db "$folder/x.db" >/dev/null || fail "the database is damaged"
echo "0 innocent files set aside by nobody, root, SIGSTOP and want of memory; the guilty one was, and is named"
