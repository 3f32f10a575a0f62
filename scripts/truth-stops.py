"""Run by gdb (`scripts/truth.sh`): stops a process at random moments and writes down what gdb sees.

For each stop one JSON line: the registers of the thread that was stopped, gdb's frames (address, kind), the executable mappings,
and the stack's bytes as far as the frames reach. `profiler/examples/truth` walks the same from these records.

Set before: $truth_pid, $truth_stops, $truth_out. Inlined and tail-call frames are gdb's deduction, not places on the
stack, and are left out.
"""

import json
import random
import subprocess

import gdb

PID = int(gdb.parse_and_eval("$truth_pid"))
STOPS = int(gdb.parse_and_eval("$truth_stops"))
OUT = gdb.parse_and_eval("$truth_out").string()
MOST_FRAMES = 600
# Stack kept around each stack pointer that lies outside what is kept already.
PIECE = 64 << 10
REGISTERS = ["rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"] + [f"r{n}" for n in range(8, 16)]


def unsigned(value):
    return int(value) & (1 << 64) - 1


def frames():
    """From the interrupted one outwards, with stack pointers."""
    frame = gdb.newest_frame()
    for _ in range(MOST_FRAMES):
        if frame.type() in (gdb.NORMAL_FRAME, gdb.SIGTRAMP_FRAME):
            kind = "signal" if frame.type() == gdb.SIGTRAMP_FRAME else "normal"
            yield unsigned(frame.pc()), unsigned(frame.read_register("rsp")), kind, frame.name()
        older = frame.older()
        if older is None:
            break
        frame = older
    yield None, None, str(gdb.frame_stop_reason_string(frame.unwind_stop_reason())), None


def piece(address, maps):
    """Memory from a stack pointer (less the red zone) up, to the end of its mapping."""
    start = address - 256 & ~7
    for line in maps:
        low, high = (int(word, 16) for word in line.split()[0].split("-"))
        if low <= address < high:
            start = max(start, low)
            size = min(start + PIECE, high) - start
            data = gdb.selected_inferior().read_memory(start, size).tobytes()
            return {"start": start, "end": start + size, "bytes": data.hex()}
    return None


def record():
    with open(f"/proc/{PID}/maps") as file:
        maps = file.read().splitlines()
    frame = gdb.newest_frame()
    registers = [unsigned(frame.read_register(name)) for name in REGISTERS]
    found, pieces = list(frames()), []
    for _, sp, _, _ in found[:-1]:
        if not any(one["start"] <= sp < one["end"] for one in pieces):
            one = piece(sp, maps)
            if one is not None and len(pieces) < 64:
                pieces.append(one)
    executable = [line for line in maps if "x" in line.split()[1]]
    return {
        "ip": unsigned(frame.pc()),
        "registers": registers,
        "frames": [[pc, kind, name] for pc, _, kind, name in found[:-1]],
        "why_gdb_stopped": found[-1][2],
        "maps": executable,
        "memory": pieces,
    }


for setting in ("pagination off", "confirm off", "width 0", "backtrace past-main on", "backtrace past-entry off", "print inferior-events off"):
    gdb.execute(f"set {setting}")
gdb.execute("handle SIGINT stop print nopass", to_string=True)
gdb.execute("handle SIGALRM SIGCHLD SIGPIPE SIGUSR1 nostop noprint pass", to_string=True)
with open(OUT, "w") as out:
    for _ in range(STOPS):
        subprocess.Popen(["sh", "-c", f"sleep 0.{random.randint(5, 40):03d}; kill -INT {PID}"])
        gdb.execute("continue", to_string=True)
        if not gdb.selected_inferior().threads():
            break
        json.dump(record(), out)
        out.write("\n")
gdb.execute("kill", to_string=True)
