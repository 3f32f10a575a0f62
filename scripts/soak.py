#!/usr/bin/env python3
"""A soak: `profiler run` at 997 Hz and 1 s windows beside exec storms, mapping storms, JIT churn and HTTP questions.

Fails when memory at rest (PSS of the profiler and its children), descriptors or threads grow: the median of the second half after the warm-up
is beyond that of the first half by more than the room given below. At rest nobody has asked anything for a while, once a minute: an answer takes
memory by the history that it is about, which grows, and gives it back. The most there was is said too, and has a limit. What answers keep
for later questions is counted by itself: new names come all the time, so it grows until it is full, and has to stay below its limit. Fails also when /healthz is not 200 for anything but
windows that are late, or for long; when a window's books do not balance
(taken = stored + lost, by SQL, in each window). Medians, and no rates: a busy machine changes no verdict. Root; bounded in time.

    SOAK_SECONDS=600 scripts/soak.py [target/release/profiler]
"""
import ctypes, json, mmap, os, re, signal, sqlite3, statistics, subprocess, sys, tempfile, time, urllib.error, urllib.request

SECONDS = int(os.environ.get("SOAK_SECONDS", "600"))
# Growth between the halves that is let pass: a share, and a constant for what a window more or less holds. A short run is still warming up.
SHARE = 1.10 if SECONDS >= 300 else 1.30
# So long /healthz may say that windows are late: others' load is not our fault, and passes. Anything else it says is a fault at once.
LATE = 10
ROOM = {"memory at rest KiB": 8 << 10, "descriptors": 32, "threads": 4}
KEPT = "kept for questions KiB"
# After so many seconds without a question freed memory is back (the server gives it back after 5, the sampler every 10): once a minute.
REST, EVERY = 15, 60
# Most memory at any moment: an hour with hundreds of thousands of processes is read for some answers.
MOST_KIB = 512 << 10


def jit():
    """Maps memory, writes a function that loops into it, calls it, unmaps it; and tells of it in a perf map that is begun anew."""
    code = bytes.fromhex("b9 00 00 10 00 ff c9 75 fc c3")  # mov ecx, 1 << 20; dec ecx; jnz; ret
    number = 0
    while True:
        memory = mmap.mmap(-1, 65536, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        here = ctypes.c_char.from_buffer(memory)
        address = ctypes.addressof(here)
        memory.write(code)
        with open(f"/tmp/perf-{os.getpid()}.map", "a" if number % 100 else "w") as listing:
            listing.write(f"{address:x} {len(code):x} soak_function_{number}\n")
        call = ctypes.CFUNCTYPE(None)(address)
        for _ in range(5):
            call()
        del call, here
        memory.close()
        number += 1


def mappings():
    """Maps and unmaps a library's text as fast as it can, some hundred of it at a time."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library = os.open(re.search(r"/\S*libc\.so\.6", open("/proc/self/maps").read()).group(), os.O_RDONLY)
    while True:
        places = [libc.mmap(None, 4096 * (1 + n % 16), mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, library, 0) for n in range(200)]
        for n, place in enumerate(places):
            libc.munmap(place, 4096 * (1 + n % 16))
        time.sleep(0.05)


LOADS = {
    "spin": ["sh", "-c", "while :; do :; done"],
    "exec": ["sh", "-c", "while :; do for n in 1 2 3 4 5 6 7 8; do /bin/true & done; wait; sleep 0.1; done"],
    "fork": ["sh", "-c", "while :; do (:); done"],
    "mappings": [sys.executable, __file__, "--load", "mappings"],
    "jit": [sys.executable, __file__, "--load", "jit"],
}
QUESTIONS = ["status", "timeline?from=now-1h", "flamegraph?from=now-15m", "top?from=now-5m", "labels/comm/values?from=now-1h", "quality?from=now-5m"]


def family(pid):
    """The process and all below it."""
    found = [pid]
    for one in found:
        try:
            for thread in os.listdir(f"/proc/{one}/task"):
                found += map(int, open(f"/proc/{one}/task/{thread}/children").read().split())
        except OSError:
            pass
    return found


def measure(pid):
    memory = descriptors = threads = 0
    for one in family(pid):
        try:
            memory += int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{one}/smaps_rollup").read(), re.M).group(1))
            descriptors += len(os.listdir(f"/proc/{one}/fd"))
            threads += len(os.listdir(f"/proc/{one}/task"))
        except (OSError, AttributeError):
            pass  # A child that has just ended.
    return {"memory KiB": memory, "descriptors": descriptors, "threads": threads}


def kept(metrics):
    """KiB that answers keep for later ones, and the most that they may."""
    found = {name: int(value) for name, value in re.findall(r"^profiler_query_(\w+_bytes) (\d+)", metrics, re.M)}
    used = [value for name, value in found.items() if not name.endswith("_limit_bytes")]
    return sum(used) >> 10, (sum(found.values()) - sum(used)) >> 10


def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        # Its first words: which of the reasons it was.
        return error.code if "/api/" in url else f"{error.code} {error.read(200).decode(errors='replace').strip()}"
    except OSError as error:
        return f"no answer: {error}"


def end(process, patience=60):
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "it did not end"


def main():
    profiler = sys.argv[1] if len(sys.argv) > 1 else "target/release/profiler"
    faults, rows, answers = [], [], {}
    with tempfile.TemporaryDirectory() as folder:
        database = f"{folder}/soak.db"
        log = open(f"{folder}/log", "w+")
        words = [profiler, "run", "-F", "997", "--window", "1s", "--listen", "127.0.0.1:0", "--db", database, "--cache", f"{folder}/cache"]
        sampled = subprocess.Popen(words, stderr=log, stdin=subprocess.DEVNULL)
        loads = []
        try:
            deadline, base = time.monotonic() + 60, None
            while base is None:
                found = re.search(r"^open (http://[^/\s]+)", open(f"{folder}/log").read(), re.M)
                base = found and found.group(1)
                if sampled.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"error: the profiler does not serve: {open(f'{folder}/log').read()}")
                time.sleep(0.1)
            loads = [subprocess.Popen(load, start_new_session=True, stdin=subprocess.DEVNULL) for load in LOADS.values()]
            # Ready once the first window is stored.
            while ask(f"{base}/healthz") != 200 and time.monotonic() < deadline:
                time.sleep(0.2)
            begin, told, ill, longest = time.monotonic(), 0, None, 0.0
            rested, at_rest, most = 0.0, None, 0
            print(f"soak of {SECONDS} seconds\n{'second':>8} {'memory MiB':>11} {'at rest':>8} {'kept MiB':>9} {'descriptors':>12} {'threads':>8}", flush=True)
            while (second := time.monotonic() - begin) < SECONDS:
                if sampled.poll() is not None:
                    faults.append(f"the profiler ended with {sampled.returncode}")
                    break
                health = ask(f"{base}/healthz")
                if health == 200:
                    ill = None
                elif "no window was" not in str(health):
                    faults.append(f"/healthz at second {second:.0f}: {health}")
                else:
                    ill = ill or second
                    longest = max(longest, second - ill)
                is_rest = second - rested >= EVERY
                if is_rest:
                    time.sleep(REST)
                    at_rest, rested = measure(sampled.pid)["memory KiB"], second
                question = QUESTIONS[len(rows) % len(QUESTIONS)]
                answer = ask(f"{base}/api/v1/{question}")
                answers[answer] = answers.get(answer, 0) + 1
                row = measure(sampled.pid)
                with urllib.request.urlopen(f"{base}/metrics", timeout=30) as metrics:
                    row[KEPT], limit = kept(metrics.read().decode())
                most = max(most, row["memory KiB"])
                if is_rest:
                    row["memory at rest KiB"] = at_rest - row[KEPT]
                if row[KEPT] > limit:
                    faults.append(f"answers keep {row[KEPT]} KiB of {limit}")
                rows.append((second, row))
                if second >= told:
                    rest = "" if at_rest is None else f"{at_rest / 1024:.1f}"
                    print(f"{second:8.0f} {row['memory KiB'] / 1024:11.1f} {rest:>8} {row[KEPT] / 1024:9.1f} {row['descriptors']:12} {row['threads']:8}", flush=True)
                    told += max(SECONDS / 20, 2)
                time.sleep(0.5)
        finally:
            for load in loads:
                os.killpg(load.pid, signal.SIGKILL)
                load.wait()
                try:
                    os.unlink(f"/tmp/perf-{load.pid}.map")
                except OSError:
                    pass
            status = end(sampled) if sampled.poll() is None else sampled.returncode
        print(f"/healthz called windows late for {longest:.0f} s at a stretch at most")
        if longest > LATE:
            faults.append(f"windows were late for {longest:.0f} s at a stretch")
        if status != 0:
            faults.append(f"the profiler's exit: {status}")
        faults += [f"{count} questions answered with {code}" for code, count in answers.items() if code not in (200, 503)]
        if answers.get(200, 0) * 10 < sum(answers.values()) * 9:
            faults.append(f"most questions want an answer: {answers}")
        settled = [row for second, row in rows if second >= min(SECONDS / 4, 120)]
        if len(settled) < 8:
            faults.append(f"{len(settled)} measurements are too few")
        else:
            halves = settled[: len(settled) // 2], settled[len(settled) // 2 :]
            for figure, room in ROOM.items():
                known = [[row[figure] for row in half if figure in row] for half in halves]
                if not all(known):
                    # Only of runs too short to say anything.
                    if SECONDS >= 300:
                        faults.append(f"no {figure} in one half")
                    continue
                first, second = map(statistics.median, known)
                print(f"{figure}: median {first:.0f}, then {second:.0f}")
                if second > first * SHARE + room:
                    faults.append(f"{figure} grow from {first:.0f} to {second:.0f}")
        print(f"memory at most {most / 1024:.0f} MiB")
        if most > MOST_KIB:
            faults.append(f"memory of {most / 1024:.0f} MiB")
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as books:
            windows, taken, stored, lost = books.execute(TOTALS).fetchone()
            wrong = books.execute(WRONG).fetchall()
        print(f"{windows} windows and roll-ups: {taken} samples taken, {stored} stored, {lost} lost")
        if wrong:
            faults.append(f"books of {len(wrong)} windows do not balance: {wrong[:3]}")
        # A tenth of what one busy CPU gives, for starved machines.
        if stored < 100 * SECONDS:
            faults.append(f"{stored} samples prove nothing")
        if faults:
            sys.stdout.write(open(f"{folder}/log").read()[-4000:])
    for fault in faults:
        print(f"FAIL: {fault}")
    print("PASS" if not faults else f"{len(faults)} faults")
    return bool(faults)


# What is old is held in roll-ups only: v_history has each piece once.
TOTALS = "SELECT count(*), sum(taken), sum(stored), sum(lost) FROM v_history"
WRONG = "SELECT * FROM v_history WHERE taken <> stored + lost"
if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        {"jit": jit, "mappings": mappings}[sys.argv[2]]()
    sys.exit(main())
