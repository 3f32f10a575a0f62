#!/usr/bin/env bash
# The tests of the walk and of the sampler, and `profiler record`, on Debian's kernels in QEMU, which needs no KVM: each with bpf_loop and with
# the walk by tail calls that kernels before 5.17 use. KERNELS="6.1 6.12" says which (6.1-rt, 6.12-cloud, or a package's name work too);
# a 5.15 is not in Debian 12's archive. About 4 minutes on an idle machine; each kernel has PATIENCE=900 seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
KERNELS=${KERNELS:-6.1 6.12}
PATIENCE=${PATIENCE:-900}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/profiler-build/kernels
work=$(mktemp -d)
machine=
trap '[ -z "$machine" ] || kill -9 "$machine" 2>/dev/null || true; rm -rf "$work"' EXIT
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# --- what runs in the machine: this build's tests and program, their libraries, fixtures built here ---
root=$work/root
mkdir -p "$root"/{bin,proc,sys,dev,tmp,run,etc,fixtures}
# FILE NAME: an executable with its libraries.
put() {
  cp -L "$1" "$root/bin/$2"
  { ldd "$1" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
}
built() { # TARGET: the test binary that cargo made of tests/TARGET.rs
  cargo test --locked -p profiler --test "$1" --no-run --message-format=json 2>"$work/cargo" |
    jq -r 'select(.reason == "compiler-artifact" and .target.kind == ["test"] and .executable) | .executable' | tail -1
}
put "$(command -v busybox)" busybox
put "$(command -v pkill)" pkill
for test in sampler unwind; do
  program=$(built $test)
  [ -x "$program" ] || { cat "$work/cargo" >&2; fail "tests/$test.rs does not build"; }
  strip --strip-debug -o "$work/$test" "$program"
  put "$work/$test" "$test"
done
# Emulated, the debug build names nothing in the time there is.
strip --strip-debug -o "$work/profiler" "${CARGO_TARGET_DIR:-target}/release/profiler"
put "$work/profiler" profiler
# tests/sampler.rs names the program by the path it was built at.
mkdir -p "$root$PWD/target/debug"
ln -s /bin/profiler "$root$PWD/target/debug/profiler"
cc -static -nostdlib -o "$root/fixtures/rows" profiler/tests/fixtures/rows.S
cc -O2 -fomit-frame-pointer -static-pie -o "$root/fixtures/deep" profiler/tests/fixtures/unwind/deep.c
printf 'root:x:0:0:root:/:/bin/sh\n' >"$root/etc/passwd"
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin PROFILER_FIXTURES=/fixtures HOME=/tmp RUST_BACKTRACE=1
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
mount -t tracefs trace /sys/kernel/tracing; mount -t bpf bpf /sys/fs/bpf; mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up
exec >/dev/ttyS1 2>&1
ln -s /proc/self/fd /dev/fd
said() { echo "verdict $1 $2"; }
run() { name=$1; shift; "$@"; rc=$?; [ $rc = 0 ] && said ok "$name" || said "failed($rc)" "$name"; }
# Both loops are in its tests.
run unwind /bin/unwind --test-threads=1
run sampler /bin/sampler --test-threads=1
# The whole way of a sample: of 41 calls each stack has all, by both loops.
whole() { # NAME OPTIONS...
  name=$1; shift
  /bin/profiler record --force -F 199 -d 20 -o /tmp/out.folded "$@" -- /fixtures/deep 40 || return 1
  all=$(awk '{ n += $NF } END { print n + 0 }' /tmp/out.folded)
  good=$(awk '{ c = gsub(/;descend/, "&"); if (c == 41 && /;main;/) n += $NF } END { print n + 0 }' /tmp/out.folded)
  echo "$name: $good of $all samples have every frame"
  [ "$all" -gt 50 ] && [ $((good * 100)) -ge $((all * 90)) ]
}
run record-bpf_loop whole bpf_loop
run record-tail-calls whole tail-calls --walk-by-tail-calls
echo "end"
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . -print0 | cpio --null -o -H newc --quiet) | gzip -1 >"$work/initrd"

failed=0
for kernel in $KERNELS; do
  # The metapackage of a series, the newest of which is taken.
  case $kernel in
    6.1) meta=linux-image-cloud-amd64 ;;
    6.1-*) meta=linux-image-${kernel#6.1-}-amd64 ;;
    6.12) meta=linux-image-6.12-cloud-amd64 ;;
    [0-9]*) meta=linux-image-$kernel-amd64 ;;
    *) meta=$kernel ;;
  esac
  package=$(apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
  package=${package:-$meta} tree=$CACHE/${package:-$meta}
  if [ ! -e "$tree/unpacked" ]; then
    mkdir -p "$tree"
    (cd "$work" && apt-get download -q "$package" >/dev/null) || fail "cannot download $package: run apt-get update"
    dpkg-deb -x "$work/$package"_*.deb "$tree"
    depmod -b "$tree" "$(ls "$tree/lib/modules")"
    touch "$tree/unpacked"
  fi
  version=$(basename "$tree"/boot/vmlinuz-*)
  # Emulation now and then breaks early in a boot: a machine that has not said a word is started again.
  for _ in 1 2 3; do
    : >"$work/said"
    begun=$SECONDS
    qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -nodefaults -no-user-config -display none -no-reboot -monitor none \
      -net none -serial "file:$work/console" -serial "file:$work/said" -kernel "$tree/boot/$version" -initrd "$work/initrd" \
      -append "console=ttyS0 panic=-1 no_timer_check quiet" >"$work/qemu" 2>&1 &
    machine=$!
    while kill -0 $machine 2>/dev/null && [ $((SECONDS - begun)) -lt "$PATIENCE" ]; do sleep 0.5; done
    kill -9 $machine 2>/dev/null || true
    wait $machine 2>/dev/null || true
    machine=
    [ ! -s "$work/said" ] || break
  done
  tr -d '\r' <"$work/said" >"$work/log"
  good=$(grep -c '^verdict ok ' "$work/log" || true)
  sed -n 's/^verdict //p' "$work/log" | sed "s/^/  $version: /"
  grep -E 'samples have every frame' "$work/log" | sed 's/^/    /' || true
  if [ "$good" = 4 ] && grep -qx end "$work/log"; then
    echo "PASS $version in $((SECONDS - begun)) s"
  else
    tail -n 60 "$work/log" >&2
    tail -n 10 "$work/console" "$work/qemu" >&2
    echo "FAIL $version after $((SECONDS - begun)) s"
    failed=1
  fi
done
exit $failed
