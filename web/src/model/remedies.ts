/** What causes, reasons and notes mean, and what can be done about each. The names are the server's. Pure. */

export interface Remedy {
  what: string;
  /** What to do; a command stands in `command`. */
  how: string;
  command?: string;
}

/** By cause of loss. */
export const LOSSES: Readonly<Record<string, Remedy>> = {
  ring_full: {
    what: "the ring buffer was full: the profiler got too little processor time",
    how: "Sample less often, or let the profiler run with a better priority.",
    command: "profiler run -F 49",
  },
  undecodable: { what: "records that could not be decoded", how: "A defect of the profiler: please report it." },
  stack_unknown: {
    what: "the user stack was never sent",
    how: "Happens when the ring buffer overflows; see there.",
  },
  kernel_stack_gone: {
    what: "the kernel stack was gone from its map",
    how: "Too many different kernel stacks in one window: use shorter windows.",
    command: "profiler run --window 5s",
  },
  queue_full: {
    what: "the store could not keep up, or the disk was full",
    how: "Look at the free space and the speed of the disk that holds the database.",
    command: "df -h /var/lib/profiler",
  },
  store_failed: {
    what: "the database refused them",
    how: "Look at the profiler's log for the reason.",
    command: "journalctl -u profiler -n 50",
  },
  damaged: {
    what: "they were stored, and the file is damaged there",
    how: "Everything else is kept. Look after the disk; the check lists what is damaged.",
    command: "profiler db check",
  },
};

/** By why a tick of the sampling timer was missed. */
export const MISSES: Readonly<Record<string, Remedy>> = {
  program_busy: {
    what: "another eBPF program held the CPU",
    how: "Have run times counted, and find the program that takes long: bpftool prog show.",
    command: "sysctl -w kernel.bpf_stats_enabled=1",
  },
  throttled: {
    what: "the kernel throttled sampling",
    how: "Sample less often, or raise the kernel's limit.",
    command: "sysctl kernel.perf_event_max_sample_rate kernel.perf_cpu_time_max_percent",
  },
  not_scheduled: {
    what: "the event was not on the CPU",
    how: "The hardware counter is shared with others: sample by the clock instead.",
    command: "profiler run --event cpu-clock",
  },
  timer_late: {
    what: "the timer came late",
    how: "Interrupts were off, or the host did not run this virtual CPU: the steal time shows which.",
    command: "vmstat 1 5",
  },
  unknown: { what: "this kernel does not say why", how: "Linux 6.0 and later tell the causes apart." },
};

/** By how the walk of a user stack ended. */
export const ENDS: Readonly<Record<string, Remedy>> = {
  complete: { what: "walked to the thread's first function", how: "" },
  complete_by_frame_pointers: { what: "walked to the end by frame pointers", how: "" },
  no_user_stack: { what: "kernel threads: no user stack", how: "" },
  truncated_at_max_depth: {
    what: "deeper than 512 frames",
    how: "Only very deep recursion gets there. Merge recursion in the graph to read it.",
  },
  frame_pointer_lost: {
    what: "the caller keeps no frame pointer",
    how: "Build it with frame pointers.",
    command: "-fno-omit-frame-pointer (C, C++), -C force-frame-pointers=yes (Rust)",
  },
  jit_frame_pointer_lost: {
    what: "code made at run time keeps no frame pointer",
    how: "Ask the runtime for them.",
    command: "java -XX:+PreserveFramePointer, node --interpreted-frames-native-stack",
  },
  stack_unreadable: {
    what: "stack memory could not be read",
    how: "It was swapped out or not yet touched; rare and harmless.",
  },
  return_address_lost: {
    what: "a return address is not code",
    how: "Hand-written assembly or a damaged stack; nothing to be done from outside.",
  },
  no_registers: { what: "the registers could not be had", how: "The thread was just leaving; nothing to be done." },
  no_unwind_rows: {
    what: "the file has no unwind rows",
    how: "It was built without .eh_frame: build it with unwind tables or frame pointers.",
    command: "-fasynchronous-unwind-tables",
  },
  rows_not_loaded: {
    what: "unwind rows were not loaded yet",
    how: "The first seconds of a new program; goes away by itself.",
  },
  no_mappings: {
    what: "the mappings of the process are not known",
    how: "The process began or ended just then; rare and harmless.",
  },
  unsupported_rule: { what: "an unwind row with a rule that is not supported", how: "Please report the file." },
  stack_not_rising: { what: "unwind rows do not fit the stack", how: "Please report the file." },
};

/** Remedy for a note in the graph, such as `[stack cut short: caller keeps no frame pointer]`. */
export function remedyForNote(note: string): string {
  const text = note.replace(/^\[(stack cut short|no user stack|truncated)[: ]*/, "").replace(/\]$/, "");
  const known = Object.values(ENDS).find(({ what }) => sameWords(what, text));
  if (known === undefined) return note.startsWith("[truncated") ? ENDS.truncated_at_max_depth.how : "";
  return known.command === undefined ? known.how : `${known.how} ${known.command}`;
}

function sameWords(a: string, b: string): boolean {
  const plain = (text: string) => text.replace(/\b(the|a|an|were|was)\b /g, "").trim();
  return plain(a).includes(plain(b)) || plain(b).includes(plain(a));
}

/** Remedies for a missing name, by a part of the server's reason. */
const NAMELESS: readonly (readonly [string, string])[] = [
  ["stripped", "Install its debug symbols (Debian: the package with -dbgsym), or build it with symbols."],
  ["was gone", "It was deleted or replaced before it could be opened; restart the program to sample the new file."],
  ["may not be read", "Let the profiler read it: run it as root, or with CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE."],
  ["no symbol", "Padding, thunks or hand-written assembly; the address stands in the name."],
  ["not a readable ELF", "The file is damaged or of another kind."],
  ["without a file", "JIT code: let the runtime write /tmp/perf-PID.map (node --perf-basic-prof, python -X perf)."],
  ["kptr_restrict", "sysctl kernel.kptr_restrict=1, with the profiler running as root."],
  [
    "too many mappings of this user",
    "The user's programs map more files than a user's share of memory holds; these have no names, other users' have.",
  ],
  [
    "symbolizer failed",
    "The file made the symbolizer stop, or did not answer; it is tried again after 1, 10 and 60 minutes. Please report it if it stays so. Its samples are counted all the same.",
  ],
  ["switched off", "Start the profiler without that part of --names, then run: profiler symbolize."],
];

export function remedyForNameless(reason: string): string {
  return NAMELESS.find(([part]) => reason.includes(part))?.[1] ?? "";
}
