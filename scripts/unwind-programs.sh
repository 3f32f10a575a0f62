# Programs that `scripts/bench-unwind.sh` profiles: `prepare NAME` makes what one needs, `load NAME` becomes a process (or some)
# that keeps a CPU or two busy until it is killed. Sourced, with $folder (scratch, readable by all) and $fixtures set.
# shellcheck shell=bash disable=SC2154

# Each in the issue's list: at least 99 % of its user samples must reach the thread's entry.
HELD_TO_GOAL="python perl node postgres redis nginx sqlite cc1plus rustc git xz openssl imagemagick cpp rayon go musl"
# What else runs on real hosts, or walks through the hard corners. `deep` must be cut, and say so.
BESIDE="node-js java luajit threads static-pie altstack vfork dlopen deep"

prepare_packages() {
  local missing=() pair
  for pair in bpftrace=bpftrace perf=linux-perf redis-server=redis-server redis-benchmark=redis-tools nginx=nginx-light ab=apache2-utils \
    convert=imagemagick go=golang-go musl-gcc=musl-tools luajit=luajit sqlite3=sqlite3 xz=xz-utils openssl=openssl git=git perl=perl \
    g++=g++ node=nodejs java=default-jdk-headless psql=postgresql; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  # Debian strips the symbols of libc's entry functions: without them no tool can name where a thread began.
  [ -e /usr/share/doc/libc6-dbg ] || missing+=(libc6-dbg)
  [ ${#missing[@]} = 0 ] && return
  # RUNLEVEL: invoke-rc.d then starts none of the daemons.
  apt-get update -q && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
}

prepare() {
  case $1 in
    xz | openssl) [ -e "$folder/data" ] || head -c 20M <(cat /usr/lib/x86_64-linux-gnu/lib*.so.*) >"$folder/data" ;;
    git) git -c advice.detachedHead=false -c init.defaultBranch=main clone -q --no-local . "$folder/repository" ;;
    postgres)
      install -d -o postgres "$folder/postgres"
      as_postgres initdb -D "$folder/postgres" -A trust >/dev/null
      as_postgres pg_ctl -D "$folder/postgres" -o "-k $folder/postgres -c listen_addresses=" -l "$folder/postgres/log" -w start >/dev/null
      as_postgres pgbench -h "$folder/postgres" -q -i -s 5 postgres 2>/dev/null
      as_postgres pg_ctl -D "$folder/postgres" -m fast -w stop >/dev/null ;;
    nginx)
      mkdir -p "$folder/www"
      seq 20000 >"$folder/www/numbers.txt"
      port=$((20000 + $$ % 20000))
      cat >"$folder/nginx.conf" <<END
daemon off; worker_processes 1; pid $folder/nginx.pid; error_log $folder/nginx.log;
events { worker_connections 256; }
http { access_log off; gzip on; gzip_types text/plain; root $folder/www; server { listen 127.0.0.1:$port; } }
END
      ;;
    cc1plus)
      cat >"$folder/big.cc" <<'END'
#include <algorithm>
#include <iostream>
#include <map>
#include <regex>
#include <sstream>
int main(int argc, char **argv) {
  std::map<std::string, std::vector<std::regex>> all;
  for (int i = 0; i < argc; i++) all[argv[i]].emplace_back(argv[i]);
  for (auto &[name, list] : all) for (auto &one : list) std::cout << std::regex_match(name, one) << std::regex_replace(name, one, "x") << '\n';
}
END
      ;;
    cpp) g++ -O2 -fomit-frame-pointer -s -o "$folder/templates" "$fixtures/templates.cc" ;;
    musl) musl-gcc -static -O2 -fomit-frame-pointer -o "$folder/musl" "$fixtures/libc.c" ;;
    static-pie) gcc -static-pie -O2 -fomit-frame-pointer -o "$folder/static-pie" "$fixtures/deep.c" ;;
    deep | altstack | vfork) gcc -O2 -fomit-frame-pointer -o "$folder/$1" "$fixtures/$1.c" ;;
    dlopen)
      gcc -O2 -fomit-frame-pointer -o "$folder/late" "$fixtures/late.c"
      gcc -O2 -fomit-frame-pointer -shared -fPIC -o "$folder/plugin.so" "$fixtures/plugin.c" ;;
    threads) rustc -O --edition 2024 -o "$folder/threads" "$fixtures/threads.rs" ;;
    rayon) CARGO_TARGET_DIR=$folder/target cargo build -q --release --locked --manifest-path "$fixtures/rayon/Cargo.toml" ;;
    go) GOCACHE=$folder/go-cache go build -o "$folder/goroutines" "$fixtures/goroutines.go" ;;
    java)
      cat >"$folder/Spin.java" <<'END'
import java.util.*;
public class Spin {
  static int count(int seed) {
    Map<String, Integer> map = new TreeMap<>();
    for (int n = 0; n < 500; n++) map.merge(Integer.toHexString((seed + n) * 7919), n, Integer::sum);
    return map.values().stream().mapToInt(Integer::intValue).sum();
  }
  public static void main(String[] words) {
    int sum = 0;
    for (int n = 0; ; n++) sum += count(n);
  }
}
END
      javac -d "$folder" "$folder/Spin.java" ;;
  esac
}

as_postgres() {
  local tool=$1; shift
  (cd / && setpriv --reuid=postgres --regid=postgres --clear-groups "$(ls -d /usr/lib/postgresql/*/bin | tail -1)/$tool" "$@")
}

again() { while :; do "$@" >/dev/null 2>&1; done; }

load() {
  case $1 in
    python) exec /usr/bin/python3 -c '
import json, re
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
while True:
    fib(18)
    text = json.dumps({str(n): [n, {"half": n / 2}] for n in range(500)}, indent=1)
    sorted(re.findall(r"\d+", text), key=lambda word: (len(word), word)); json.loads(text)' ;;
    perl) exec perl -e '
sub fib { my $n = shift; $n < 2 ? $n : fib($n - 1) + fib($n - 2) }
while (1) { fib(15); my %h = map { $_ => sprintf("%x", $_ * 7919) } 1..2000; my @s = sort { $h{$a} cmp $h{$b} } keys %h; (my $all = join ",", @s) =~ s/(\d+)/<$1>/g }' ;;
    node) exec /usr/bin/node -e '
const zlib = require("zlib"), crypto = require("crypto"); const data = crypto.randomBytes(1 << 16).toString("hex");
for (;;) { zlib.gunzipSync(zlib.gzipSync(data)); crypto.pbkdf2Sync("a", "b", 5000, 32, "sha256"); JSON.parse(JSON.stringify({ data })); }' ;;
    node-js) exec /usr/bin/node --interpreted-frames-native-stack -e '
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }
for (;;) { fib(20); const map = new Map(); for (let n = 0; n < 2000; n++) map.set("k" + n, [n].map(x => x * 2)); [...map.keys()].sort((a, b) => a < b ? -1 : 1).join().replace(/k(\d)/g, "<$1>") }' ;;
    postgres)
      as_postgres postgres -D "$folder/postgres" -k "$folder/postgres" -c listen_addresses= >/dev/null 2>&1 &
      sleep 2
      as_postgres pgbench -h "$folder/postgres" -n -c 2 -T 60 postgres >/dev/null 2>&1 &
      as_postgres pgbench -h "$folder/postgres" -n -S -c 2 -T 60 postgres >/dev/null 2>&1 ;;
    redis)
      redis-server --port 0 --unixsocket "$folder/redis.sock" --save '' >/dev/null &
      sleep 1
      exec redis-benchmark -s "$folder/redis.sock" -q -l -c 8 -t set,get,incr,lpush,lrange_100,zadd,mset >/dev/null ;;
    nginx)
      nginx -c "$folder/nginx.conf" -p "$folder" 2>/dev/null &
      sleep 1
      exec ab -q -k -t 60 -n 100000000 -c 8 -H 'Accept-Encoding: gzip' "http://127.0.0.1:$port/numbers.txt" >/dev/null 2>&1 ;;
    sqlite) exec sqlite3 :memory: "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c REAL);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) INSERT INTO t SELECT i, hex(i * 7919 % 65536), i / 7.0 FROM n;
CREATE INDEX tb ON t (b);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum((SELECT count(*) || group_concat(x.b) FROM t x JOIN t y ON x.b = y.b WHERE x.a % 97 = i % 97 ORDER BY y.c)) FROM n;" ;;
    cc1plus) again g++ -O2 -c -o /dev/null "$folder/big.cc" ;;
    rustc) RUSTC_BOOTSTRAP=1 again rustc --edition 2024 --crate-type lib -O -A warnings --out-dir "$folder" "$(rustc --print sysroot)/lib/rustlib/src/rust/library/core/src/lib.rs" ;;
    git) while :; do for question in "log -p" "grep -n the" "gc -q --aggressive" "blame Makefile"; do git -C "$folder/repository" $question >/dev/null 2>&1; done; done ;;
    xz) again xz -6 -k -c "$folder/data" ;;
    openssl) while :; do for algorithm in aes-256-gcm sha256 chacha20-poly1305 md5 rsa2048 ecdsap256 camellia-128-cbc sha3-256 ecdhx25519; do openssl speed -seconds 1 -bytes 4096 -evp "$algorithm" >/dev/null 2>&1 || openssl speed -seconds 1 "$algorithm" >/dev/null 2>&1; done; done ;;
    imagemagick) again convert -size 900x900 plasma:red-blue -blur 0x4 -resize 60% -rotate 17 -modulate 110,90 -quality 90 "jpeg:-" ;;
    cpp) exec "$folder/templates" ;;
    musl) exec "$folder/musl" ;;
    static-pie) exec "$folder/static-pie" 40 ;;
    deep) exec "$folder/deep" 10000 ;;
    altstack | vfork | threads) exec "$folder/$1" ;;
    dlopen) exec "$folder/late" "$folder/plugin.so" ;;
    rayon) exec "$folder/target/release/parallel" ;;
    go) exec "$folder/goroutines" ;;
    java) exec java -XX:+PreserveFramePointer -cp "$folder" Spin ;;
    luajit) exec luajit -e 'local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
while true do fib(22); local t = {}; for n = 1, 3000 do t[n] = string.format("%x", n * 7919) end; table.sort(t); table.concat(t, ","):gsub("%d+", "<%0>") end' ;;
    *) echo "error: no program is called $1" >&2; exit 2 ;;
  esac
}
