#!/usr/bin/env bash
# scripts/as-root.sh through the real sudo: every variable of an ordinary user reaches the command, whatever its name and value, its exit
# status and signals come through, nothing is left behind; and scripts/full-run.sh tells a run that was cut short. Root, some seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "this needs root, to become an ordinary user"
command -v sudo >/dev/null || fail "sudo is missing: make setup-test"
# In mounts of our own: there, and only there, `nobody` may become root.
[ "${1:-}" = --inside ] || exec unshare --mount --propagation private "$BASH" "$0" --inside

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
mkdir -m 1777 "$folder/tmp"
cp scripts/as-root.sh scripts/full-run.sh "$folder"
printf 'Defaults env_reset\nroot ALL=(ALL:ALL) ALL\nnobody ALL=(ALL:ALL) NOPASSWD: ALL\n' >"$folder/sudoers"
chmod 440 "$folder/sudoers"
mount --bind "$folder/sudoers" /etc/sudoers
cd "$folder"
# An environment with a name that nobody has thought of, and values that a shell would trip over.
name=V$$_$RANDOM
line=$'a b"\'$x=`y`\nsecond line'
as_user=(setpriv --reuid nobody --regid nogroup --clear-groups env -i PATH="$PATH" HOME=/nonexistent TMPDIR="$folder/tmp" PROFILER_KILLS=200
  SEED=7 EMPTY= "$name=$line" 'BASH_FUNC_f%%=() { :; }')
user() { "${as_user[@]}" "$@" </dev/null; }
[ "$(user ./as-root.sh id -u)" = 0 ] || fail "the command does not run as root"
user ./as-root.sh env -0 >seen
mapfile -d '' -t seen <seen
for wanted in PROFILER_KILLS=200 SEED=7 EMPTY= TMPDIR="$folder/tmp" HOME=/nonexistent PATH="$PATH" "$name=$line" SUDO_USER=nobody; do
  for variable in "${seen[@]}"; do [ "$variable" != "$wanted" ] || continue 2; done
  fail "this did not arrive: $wanted"
done
status=0
user ./as-root.sh sh -c 'exit 42' || status=$?
[ $status = 42 ] || fail "exit status 42 became $status"
# A signal to as-root.sh is one to the command, as scripts that stop a server need it.
"${as_user[@]}" ./as-root.sh sh -c 'trap "exit 7" TERM; : >ready; while :; do sleep 0.1; done' </dev/null &
job=$!
for _ in $(seq 300); do [ -e ready ] && break; sleep 0.1; done
kill -TERM $job
status=0
wait $job || status=$?
[ $status = 7 ] || fail "a signal ended it with $status"
for _ in $(seq 50); do [ -z "$(ls tmp)" ] && break; sleep 0.1; done
[ -z "$(ls tmp)" ] || fail "the snapshot of the environment is left behind: $(ls tmp)"

./full-run.sh "200 kills" echo "test: 200 kills, all well" >/dev/null || fail "a whole run is refused"
for said in "50 kills" "1200 kills"; do
  ! ./full-run.sh "200 kills" echo "$said" >/dev/null 2>&1 || fail "a run that says \"$said\" passes for 200 kills"
done
! ./full-run.sh "200 kills" sh -c 'echo 200 kills; exit 1' >/dev/null 2>&1 || fail "a failed run passes"
echo "as-root: every variable arrives, a run cut short fails"
