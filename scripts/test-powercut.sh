#!/usr/bin/env bash
# Power cuts. A virtual machine samples itself into a database on a virtio disk (ext4), the machine is killed at some moment, and the
# disk is looked at from here: the database must be whole, and hold every window that the profiler's own HTTP interface told of.
# Again on the same disk, ROUNDS times. Works without KVM. A round takes 15 to 30 s. Needs root for the loop mount.
#
#   ROUNDS=20 KERNEL=linux-image-cloud-amd64 scripts/test-powercut.sh
set -euo pipefail
cd "$(dirname "$0")/.."
ROUNDS=${ROUNDS:-20}
KERNEL=${KERNEL:-linux-image-cloud-amd64}
KERNELS=${XDG_CACHE_HOME:-$HOME/.cache}/profiler-build/kernels
PROFILER=$PWD/target/release/profiler
# How long a machine may take from its start to the first stored window.
PATIENCE=180

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
[ -x "$PROFILER" ] || fail "no $PROFILER: run make build first"
work=$(mktemp -d)
machine=
clean_up() {
  [ -z "$machine" ] || kill -9 "$machine" 2>/dev/null || true
  mountpoint -q "$work/disk" && umount "$work/disk"
  rm -rf "$work"
}
trap clean_up EXIT

# --- a kernel and its modules, from Debian's package ---
package=$(apt-cache depends "$KERNEL" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
package=${package:-$KERNEL}
tree=$KERNELS/$package
if [ ! -e "$tree/unpacked" ]; then
  mkdir -p "$tree"
  (cd "$work" && apt-get download -q "$package") || fail "cannot download $package: run apt-get update"
  dpkg-deb -x "$work/$package"_*.deb "$tree"
  depmod -b "$tree" "$(ls "$tree/lib/modules")"
  touch "$tree/unpacked"
fi
version=$(ls "$tree/lib/modules")

# --- the first file system: busybox, the profiler with its libraries, modules in the order they load in ---
root=$work/root
mkdir -p "$root"/{bin,proc,sys,dev,tmp,data,modules}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$PROFILER" "$root/bin/profiler"
ldd "$PROFILER" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
for module in virtio_pci virtio_blk ext4; do
  # A kernel may have it built in.
  modprobe -d "$tree" -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' | while read -r path; do
  name=$(basename "$path")
  case $path in
    *.xz) xz -dc "$path" > "$root/modules/${name%.xz}"; name=${name%.xz} ;;
    *) cp "$path" "$root/modules/$name" ;;
  esac
  echo "insmod /modules/$name" >> "$root/modules/load"
done
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t tracefs trace /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
. /modules/load
mount -t ext4 /dev/vda /data || echo "no disk" > /dev/ttyS1
while :; do :; done &
profiler run --db /data/x.db --window 200ms -F 499 2> /dev/ttyS0 &
while :; do
  # Stored, by the profiler's own word: before the next line nothing is promised.
  windows=$(wget -q -O - http://127.0.0.1:7117/api/v1/status | sed -n 's/.*"windows":\([0-9]*\).*/\1/p')
  [ -z "$windows" ] || echo "stored $windows" > /dev/ttyS1
  usleep 50000
done
INIT
chmod +x "$root/init"
(cd "$root" && find . -print0 | cpio --null -o -H newc --quiet) | gzip -1 > "$work/initrd"

truncate -s 512M "$work/image"
mkfs.ext4 -q -F "$work/image"
mkdir "$work/disk"

start() {
  : > "$work/said"
  qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 768 -nodefaults -no-user-config -display none -no-reboot \
    -monitor none -net none -serial "file:$work/console" -serial "file:$work/said" \
    -drive "file=$work/image,format=raw,if=virtio,cache=none" -kernel "$tree/boot/vmlinuz-$version" -initrd "$work/initrd" \
    -append "console=ttyS0 panic=-1 no_timer_check quiet" > "$work/qemu" 2>&1 &
  machine=$!
}

# Lines end with what the machine's terminal makes of it; the last one may be cut short by the cut.
stored() { tr -d '\r' < "$work/said" | sed -n 's/^stored \([0-9]*\)$/\1/p' | tail -1; }

boots=0
for round in $(seq "$ROUNDS"); do
  before=${windows:-0}
  for try in 1 2 3; do
    start
    begun=$SECONDS
    # Running means more than the last round left.
    until now=$(stored) && [ "${now:-0}" -gt "$before" ]; do
      kill -0 "$machine" 2>/dev/null && [ $((SECONDS - begun)) -lt $PATIENCE ] || break
      sleep 0.2
    done
    [ "${now:-0}" -gt "$before" ] && break
    # Emulation now and then breaks early in a boot.
    kill -9 "$machine" 2>/dev/null || true
    wait "$machine" 2>/dev/null || true
    [ "$try" -lt 3 ] || { tail -20 "$work/console" "$work/qemu" >&2; fail "the machine does not sample"; }
  done
  boots=$((boots + 1))
  # Moments spread over three seconds by the golden ratio.
  sleep "$(awk -v n="$round" 'BEGIN { printf "%.3f", (n * 0.618034) % 1 * 3 }')"
  kill -9 "$machine"
  wait "$machine" 2>/dev/null || true
  machine=
  promised=$(tr -d '\r' < "$work/said" | sed -n 's/^stored \([0-9]*\)$/\1/p' | sort -n | tail -1)
  mount -o loop "$work/image" "$work/disk"
  verdict=$(sqlite3 "$work/disk/x.db" 'PRAGMA integrity_check')
  windows=$(sqlite3 "$work/disk/x.db" 'SELECT count(*) FROM window')
  aside=$(find "$work/disk" -name '*corrupt*' | wc -l)
  umount "$work/disk"
  echo "cut $round: $promised windows promised, $windows there, integrity $verdict"
  [ "$verdict" = ok ] || fail "the database is damaged"
  [ "$windows" -ge "$promised" ] || fail "windows that were stored are gone"
  [ "$aside" = 0 ] || fail "a database was set aside"
done
echo "$boots power cuts, no stored window lost, the database whole each time"
