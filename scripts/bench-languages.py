#!/usr/bin/env python3
"""What users of each language get: a small program in each language that is found here, recorded as it is and with the flags that help.

Prints the table of docs/languages.md: samples with a whole stack, samples that ended in a function with a name, samples with a function
of the user's on their stack, and what the profiler says of the process. Languages that are not installed are listed as not measured.
`PROFILER=` names the program (default target/release/profiler), `LANGUAGES="python java"` takes a part, `SECONDS_EACH=3`, `HZ=499`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROFILER = os.environ.get("PROFILER", "target/release/profiler")
SECONDS = os.environ.get("SECONDS_EACH", "3")
HZ = os.environ.get("HZ", "499")
# The same three functions in each: one that splits a row, one that weighs it, and the loop over both.
USERS = ("parse_row", "score_row", "run_rows")

C = """
#include <stdlib.h>
#include <string.h>
static volatile long sink;
__attribute__((noinline)) long score_row(const char *p, long n) { long s = 0; for (int k = 0; k < 40; k++) for (long i = 0; i < n; i++) s = s * 31 + p[i]; return s; }
__attribute__((noinline)) long parse_row(char *row) { long s = 0; for (char *w = strtok(row, ","); w; w = strtok(NULL, ",")) s += strtol(w, NULL, 10); return s; }
__attribute__((noinline)) void run_rows(void) { char row[64]; for (;;) { strcpy(row, "12,345,6789,10,11,12,13"); sink += parse_row(row) + score_row(row, 23); } }
int main(void) { run_rows(); return 0; }
"""
CPP = """
#include <sstream>
#include <string>
#include <vector>
static volatile long sink;
template <class T> __attribute__((noinline)) long score_row(const std::vector<T> &v) { long s = 0; for (int k = 0; k < 40; k++) for (auto n : v) s = s * 31 + n; return s; }
template <class T> __attribute__((noinline)) std::vector<T> parse_row(const std::string &row) { std::vector<T> v; std::istringstream in(row); std::string w; while (std::getline(in, w, ',')) v.push_back(std::stol(w)); return v; }
__attribute__((noinline)) void run_rows() { for (;;) sink += score_row(parse_row<long>("12,345,6789,10,11,12,13")); }
int main() { run_rows(); }
"""
RUST = """
#[inline(never)]
fn score_row(v: &[u64]) -> u64 { let mut s = 0u64; for _ in 0..40 { for n in v { s = s.wrapping_mul(31).wrapping_add(*n); } } s }
#[inline(never)]
fn parse_row(row: &str) -> Vec<u64> { row.split(',').filter_map(|w| w.parse().ok()).collect() }
#[inline(never)]
fn run_rows() { loop { std::hint::black_box(score_row(&parse_row(std::hint::black_box("12,345,6789,10,11,12,13")))); } }
fn main() { run_rows() }
"""
GO = """
package main
import ("strconv"; "strings")
var sink uint64
//go:noinline
func score_row(v []uint64) uint64 { s := uint64(0); for k := 0; k < 40; k++ { for _, n := range v { s = s*31 + n } }; return s }
//go:noinline
func parse_row(row string) []uint64 { var v []uint64; for _, w := range strings.Split(row, ",") { n, _ := strconv.ParseUint(w, 10, 64); v = append(v, n) }; return v }
//go:noinline
func run_rows() { for { sink += score_row(parse_row("12,345,6789,10,11,12,13")) } }
func main() { run_rows() }
"""
JAVA = """
public class Rows {
  static long sink;
  static long score_row(long[] v) { long s = 0; for (int k = 0; k < 40; k++) for (long n : v) s = s * 31 + n; return s; }
  static long[] parse_row(String row) { String[] w = row.split(","); long[] v = new long[w.length]; for (int i = 0; i < v.length; i++) v[i] = Long.parseLong(w[i]); return v; }
  static void run_rows() { for (int i = 0; i < 1000; i++) sink += score_row(parse_row("12,345,6789,10,11,12," + i)); }
  public static void main(String[] a) { for (;;) run_rows(); }
}
"""
JS = """
function score_row(v) { let s = 0; for (let k = 0; k < 40; k++) for (const n of v) s = (s * 31 + n) | 0; return s; }
function parse_row(row) { return row.split(",").map((w) => Number.parseInt(w, 10)); }
function run_rows() { let sink = 0; for (let i = 0; i < 1000; i++) sink += score_row(parse_row("12,345,6789,10,11,12," + i)); return sink; }
for (;;) run_rows();
"""
PYTHON = """
def score_row(v):
    s = 0
    for k in range(40):
        for n in v:
            s = (s * 31 + n) & 0xFFFFFFFF
    return s
def parse_row(row):
    return [int(w) for w in row.split(",")]
def run_rows():
    while True:
        score_row(parse_row("12,345,6789,10,11,12,13"))
run_rows()
"""
PERL = """
sub score_row { my $s = 0; for (1 .. 40) { $s = ($s * 31 + $_) & 0xffffffff for @_ } $s }
sub parse_row { map { int } split /,/, $_[0] }
sub run_rows { score_row(parse_row("12,345,6789,10,11,12,13")) while 1 }
run_rows();
"""
RUBY = """
def score_row(v) = 40.times.reduce(0) { |s, _| v.reduce(s) { |t, n| (t * 31 + n) & 0xffffffff } }
def parse_row(row) = row.split(",").map(&:to_i)
def run_rows = loop { score_row(parse_row("12,345,6789,10,11,12,13")) }
run_rows
"""
PHP = """<?php
function score_row($v) { $s = 0; for ($k = 0; $k < 40; $k++) foreach ($v as $n) $s = ($s * 31 + $n) & 0xffffffff; return $s; }
function parse_row($row) { return array_map('intval', explode(',', $row)); }
function run_rows() { while (true) score_row(parse_row("12,345,6789,10,11,12,13")); }
run_rows();
"""
LUA = """
local function score_row(v) local s = 0 for k = 1, 40 do for _, n in ipairs(v) do s = (s * 31 + n) % 4294967296 end end return s end
local function parse_row(row) local v = {} for w in row:gmatch("%d+") do v[#v + 1] = tonumber(w) end return v end
local function run_rows() while true do score_row(parse_row("12,345,6789,10,11,12,13")) end end
run_rows()
"""
ERLANG = """
-module(rows).
-export([run_rows/0, parse_row/1, score_row/1]).
score_row(V) -> lists:foldl(fun(_, S) -> lists:foldl(fun(N, T) -> (T * 31 + N) band 16#ffffffff end, S, V) end, 0, lists:seq(1, 40)).
parse_row(Row) -> [list_to_integer(W) || W <- string:tokens(Row, ",")].
run_rows() -> score_row(parse_row("12,345,6789,10,11,12,13")), run_rows().
"""
OCAML = """
let score_row v = let s = ref 0 in for _ = 1 to 40 do List.iter (fun n -> s := (!s * 31 + n) land 0xffffffff) v done; !s [@@inline never]
let parse_row row = List.map int_of_string (String.split_on_char ',' row) [@@inline never]
let run_rows () = while true do ignore (Sys.opaque_identity (score_row (parse_row "12,345,6789,10,11,12,13"))) done [@@inline never]
let () = run_rows ()
"""
HASKELL = """
import Data.Bits ((.&.))
score_row :: [Int] -> Int
score_row v = foldl (\\s _ -> foldl (\\t n -> (t * 31 + n) .&. 0xffffffff) s v) 0 [1 .. 40 :: Int]
{-# NOINLINE score_row #-}
parse_row :: String -> [Int]
parse_row row = map read (words [if c == ',' then ' ' else c | c <- row])
{-# NOINLINE parse_row #-}
run_rows :: Int -> IO ()
run_rows i = do { if score_row (parse_row ("12,345,6789,10,11,12," ++ show (i `mod` 99))) == -1 then putStrLn "" else pure (); run_rows (i + 1) }
{-# NOINLINE run_rows #-}
main :: IO ()
main = run_rows 0
"""


class Way:
    """One way to build and start a program. `needs` are commands; `before` runs beside it before it is recorded, with its pid."""

    def __init__(self, flags, needs, run, build=None, before=None, env=None, warm=1.5):
        self.flags, self.needs, self.run, self.build = flags, needs, run, build
        self.before, self.env, self.warm = before, env or {}, warm


def native(name, source, commands):
    return name, source, [Way(flags, [command.split()[0]], "./rows", build=command) for flags, command in commands]


CPYTHONS = [
    (f"CPython {version}", ("rows.py", PYTHON), ways)
    for version, ways in [
        ("3.11", [Way("", ["python3.11"], "python3.11 rows.py")]),
        ("3.12", [Way("", ["python3.12"], "python3.12 rows.py"), Way("-X perf", ["python3.12"], "python3.12 -X perf rows.py")]),
        ("3.13", [Way("", ["python3.13"], "python3.13 rows.py"), Way("-X perf", ["python3.13"], "python3.13 -X perf rows.py"),
                  Way("-X perf_jit", ["python3.13"], "python3.13 -X perf_jit rows.py")]),
    ]
]
ERL = "erl -noshell -eval 'rows:run_rows().'"
LANGUAGES = [
    native("C (gcc)", ("rows.c", C), [("-O2", "gcc -O2 -o rows rows.c"), ("-O2 -g", "gcc -O2 -g -o rows rows.c"), ("-O2 -s (stripped)", "gcc -O2 -s -o rows rows.c")]),
    native("C++ (g++)", ("rows.cc", CPP), [("-O2", "g++ -O2 -o rows rows.cc"), ("-O2 -g", "g++ -O2 -g -o rows rows.cc"), ("-O2 -s (stripped)", "g++ -O2 -s -o rows rows.cc")]),
    native("Rust", ("rows.rs", RUST), [("-O", "rustc -O -o rows rows.rs"), ("-O -g", "rustc -O -g -o rows rows.rs"), ("-O, stripped", "rustc -O -C strip=symbols -o rows rows.rs")]),
    native("Go", ("rows.go", GO), [("", "go build -o rows rows.go"), ('-ldflags "-s -w"', "go build -ldflags '-s -w' -o rows rows.go")]),
    native("OCaml", ("rows.ml", OCAML), [("", "ocamlfind ocamlopt -o rows rows.ml"), ("-g", "ocamlfind ocamlopt -g -o rows rows.ml")]),
    native("Haskell (GHC)", ("rows.hs", HASKELL), [("-O", "ghc -O -v0 -o rows rows.hs"), ("-O -g", "ghc -O -g -v0 -o rows rows.hs")]),
    ("Java (HotSpot)", ("Rows.java", JAVA), [
        Way("", ["java", "javac"], "java Rows", build="javac Rows.java"),
        Way("jcmd PID Compiler.perfmap", ["java", "javac", "jcmd"], "java Rows", build="javac Rows.java", before="jcmd {pid} Compiler.perfmap"),
        Way("-XX:+PreserveFramePointer", ["java", "javac"], "java -XX:+PreserveFramePointer Rows", build="javac Rows.java"),
        Way("both of these", ["java", "javac", "jcmd"], "java -XX:+PreserveFramePointer Rows", build="javac Rows.java", before="jcmd {pid} Compiler.perfmap"),
    ]),
    ("Node (V8)", ("rows.js", JS), [
        Way("", ["node"], "node rows.js"),
        Way("--perf-basic-prof", ["node"], "node --perf-basic-prof rows.js"),
        Way("--perf-basic-prof --interpreted-frames-native-stack", ["node"], "node --perf-basic-prof --interpreted-frames-native-stack rows.js"),
        Way("--perf-prof", ["node"], "node --perf-prof rows.js"),
    ]),
    *CPYTHONS,
    ("Perl", ("rows.pl", PERL), [Way("", ["perl"], "perl rows.pl")]),
    ("Ruby", ("rows.rb", RUBY), [Way("", ["ruby"], "ruby rows.rb"), Way("--yjit --yjit-perf", ["ruby"], "ruby --yjit --yjit-perf rows.rb")]),
    ("PHP", ("rows.php", PHP), [Way("", ["php"], "php rows.php"), Way("opcache.jit_debug=16", ["php"], "php -d opcache.enable_cli=1 -d opcache.jit_buffer_size=16M -d opcache.jit_debug=16 rows.php")]),
    ("Lua", ("rows.lua", LUA), [Way("", ["lua"], "lua rows.lua")]),
    ("LuaJIT", ("rows.lua", LUA), [Way("", ["luajit"], "luajit rows.lua")]),
    ("Erlang (BEAM)", ("rows.erl", ERLANG), [
        Way("", ["erl", "erlc"], ERL, build="erlc rows.erl"),
        Way("+JPperf true", ["erl", "erlc"], ERL, build="erlc rows.erl", env={"ERL_FLAGS": "+JPperf true"}),
    ]),
    (".NET", None, [Way("", ["dotnet"], "")]),
]


def has(command):
    """Whether a command is there and starts: a shim of a version manager may stand for a version that is not installed."""
    if shutil.which(command) is None:
        return False
    flag = {"go": "version", "erl": "-version", "erlc": "-h", "jcmd": "-h", "lua": "-v", "luajit": "-v"}.get(command, "--version")
    try:
        return subprocess.run([command, flag], capture_output=True, timeout=30, check=False).returncode in (0, 1)
    except (OSError, subprocess.TimeoutExpired):
        return False


def ask(database, query):
    output = subprocess.run(
        [PROFILER, "sql", database, query, "--json", "--from", "now-1h"], check=True, capture_output=True, text=True
    ).stdout
    (row,) = json.loads(output)
    return [value or 0 for _, value in sorted(row.items())]


def measure(folder, way):
    if way.build:
        subprocess.run(["sh", "-ec", way.build], cwd=folder, check=True, capture_output=True)
    program = subprocess.Popen(
        ["sh", "-c", f"exec {way.run}"], cwd=folder, env={**os.environ, **way.env}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )
    database = os.path.join(folder, "out.db")
    try:
        time.sleep(way.warm)
        if program.poll() is not None:
            raise RuntimeError(f"{way.run}: it ended with {program.returncode}")
        if way.before:
            subprocess.run(["sh", "-ec", way.before.format(pid=program.pid)], check=True, capture_output=True, timeout=60)
        subprocess.run(
            [PROFILER, "record", "-q", "-F", HZ, "-d", SECONDS, "-p", str(program.pid), "-o", database, "--force"],
            check=True, capture_output=True,
        )
    finally:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    whole = "ended IN ('complete', 'complete_by_frame_pointers', 'no_user_stack')"
    users = " OR ".join(f"function LIKE '%{name}%'" for name in USERS)
    functions = " + ".join(f"EXISTS (SELECT 1 FROM frames WHERE function LIKE '%{name}%')" for name in USERS)
    # JSON has the columns by their names.
    return ask(database, f"""
        SELECT sum(samples) AS a, sum(samples) FILTER (WHERE {whole}) AS b,
          sum(samples) FILTER (WHERE stack IN (SELECT stack FROM frames WHERE depth = 0 AND kind <> 'unknown')) AS c,
          sum(samples) FILTER (WHERE stack IN (SELECT stack FROM frames WHERE {users})) AS d,
          {functions} AS e
        FROM samples""")


def main():
    wanted = os.environ.get("LANGUAGES", "").lower().split()
    if not Path(PROFILER).exists():
        sys.exit(f"error: {PROFILER} is not there: build it first (make build), or name it with PROFILER=")
    print("| Language | Flags | Whole stacks | Named | With functions of the user's | Of its three functions |\n|---|---|---|---|---|---|")
    missing, failed = [], []
    for name, source, ways in LANGUAGES:
        if wanted and not any(word in name.lower() for word in wanted):
            continue
        absent = sorted({command for way in ways for command in way.needs if not has(command)})
        if absent or source is None:
            missing.append(f"{name} ({', '.join(absent) or 'no program written yet'})")
            continue
        for way in ways:
            with tempfile.TemporaryDirectory() as folder:
                os.chmod(folder, 0o755)
                Path(folder, source[0]).write_text(source[1], encoding="utf8")
                try:
                    total, whole, named, users, functions = measure(folder, way)
                except (subprocess.SubprocessError, RuntimeError, OSError, IndexError) as error:
                    output = getattr(error, "stderr", b"") or b""
                    text = output.decode(errors="replace") if isinstance(output, bytes) else output
                    failed.append(f"{name} {way.flags}: {error} {text.strip()[-300:]}")
                    continue
            share = lambda n: f"{100 * n / total:.1f} %" if total else "no samples"
            flags = "none" if not way.flags else way.flags if way.flags == "both of these" else f"`{way.flags}`"
            print(f"| {name} | {flags} | {share(whole)} | {share(named)} | {share(users)} | {functions} |", flush=True)
    if missing:
        print(f"\nNot measured, for want of: {'; '.join(missing)}.")
    for line in failed:
        print(f"\nFailed: {line}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
