"""Run by gdb (`scripts/names-truth.sh`): the functions that gdb knows at random addresses of a running process's code.

For each address one JSON line: the file that is mapped there, the offset in it, and gdb's functions, innermost inlined one first.
Addresses are drawn from the code of those mapped files that gdb has debug information of, which need not be all. `profiler/examples/names_truth` asks our
names at the same places.

Set before: $truth_pid, $truth_count, $truth_seed, $truth_out.
"""

import json
import random
import re

import gdb

PID = int(gdb.parse_and_eval("$truth_pid"))
COUNT = int(gdb.parse_and_eval("$truth_count"))
OUT = gdb.parse_and_eval("$truth_out").string()
# The rest of what is executable is stubs and start-up code, which have no functions.
SECTION = re.compile(r"\s*(0x[0-9a-f]+) - (0x[0-9a-f]+) is \.text(?: in (.*))?$")


def mapped():
    """Executable mappings of files: start, end, offset, path."""
    with open(f"/proc/{PID}/maps") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            if "x" in fields[1] and len(fields) == 6 and fields[5].startswith("/"):
                start, end = (int(word, 16) for word in fields[0].split("-"))
                yield start, end, int(fields[2], 16), fields[5].rstrip("\n")


def text_sections():
    for line in gdb.execute("info files", to_string=True).splitlines():
        match = SECTION.match(line)
        if match:
            yield int(match[1], 16), int(match[2], 16)


def has_symbols(low, high):
    """Whether the file there has debug information; exported functions alone are no truth."""
    return any(gdb.find_pc_line(random.randrange(low, high)).symtab for _ in range(50))


def functions(address):
    """As gdb's backtrace would name them; without debug information, the symbol that covers the address."""
    found = []
    block = gdb.block_for_pc(address)
    while block is not None and not block.is_static and not block.is_global:
        if block.function is not None:
            found.append([block.function.linkage_name or block.function.name, block.function.print_name])
        block = block.superblock
    if found:
        return found
    text = gdb.execute(f"info symbol {address:#x}", to_string=True)
    match = re.match(r"(\S+)(?: \+ \d+)? in section", text)
    return [[match[1], match[1]]] if match else []


gdb.execute("set pagination off")
random.seed(int(gdb.parse_and_eval("$truth_seed")))
maps = list(mapped())
places = []
for low, high in text_sections():
    for start, end, offset, path in maps:
        if start <= low < end and has_symbols(low, min(high, end)):
            places.append((low, min(high, end), offset - start, path))
weights = [high - low for low, high, _, _ in places]
with open(OUT, "w") as out:
    while places and COUNT > 0:
        low, high, shift, path = random.choices(places, weights)[0]
        address = random.randrange(low, high)
        names = functions(address)
        # Between functions there is nothing to be sampled.
        if names:
            COUNT -= 1
            out.write(json.dumps({"path": path, "offset": address + shift, "names": names}) + "\n")
gdb.execute("detach", to_string=True)
