/**
 * What the server's codes mean (causes of loss, causes of missed ticks, ends of walks, reasons for a missing name), and what can be
 * done about each. The codes are the server's; so are the words of the reasons, which a test reads there. Pure.
 */

export interface Remedy {
  what: string;
  /** What to do; a command stands in `command`. */
  how: string;
  /** DATABASE in it stands for the file's path: see `commandFor`. */
  command?: string;
}

/** A remedy's command with the path of the database in it. */
export function commandFor(remedy: Remedy | undefined, database: string): string | undefined {
  return remedy?.command?.replace("DATABASE", () => quoted(database));
}

/** A path as a shell reads it. */
export function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
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
    command: "df -h DATABASE",
  },
  store_failed: {
    what: "the database refused them",
    how: "The profiler wrote why: on its standard error, or in the journal of its service.",
  },
  damaged: {
    what: "they were stored, and the file is damaged there",
    how: "Everything else is kept. Look after the disk; the check lists what is damaged.",
    command: "profiler db check DATABASE",
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
    how: "Ask its runtime for them.",
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

/** By why a function has no name. */
export const REASONS: Readonly<Record<string, Remedy>> = {
  not_asked: {
    what: "no name was looked up yet: it comes by itself",
    how: "While the profiler runs nothing need be done; for a served database, profiler symbolize looks names up.",
  },
  file_gone: {
    what: "the file was gone before it could be opened",
    how: "It was deleted or replaced; restart the program to sample the new file.",
  },
  file_refused: {
    what: "the file may not be read by the profiler",
    how: "Let the profiler read it: run it as root, or with CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE.",
  },
  no_symbols: {
    what: "the file is stripped: install its debug symbols",
    how: "Build it with symbols, or install the package that has them; the list of binaries below has the command.",
  },
  not_found: {
    what: "no symbol of the file covers this address",
    how: "Padding, thunks or hand-written assembly; the address stands in the name.",
  },
  bad_file: { what: "the file is not a readable ELF file", how: "The file is damaged or of another kind." },
  no_file: {
    what: "memory without a file (JIT code)",
    how: "Let its runtime tell of it: the list of functions of scripts has the command.",
  },
  kernel_hidden: {
    what: "kernel.kptr_restrict hides kernel symbols",
    how: "Show them to root, and run the profiler as root.",
    command: "sysctl kernel.kptr_restrict=1",
  },
  symbolizer_failed: {
    what: "the symbolizer failed on this file",
    how: "It is tried again after 1, 10 and 60 minutes. Please report the file if it stays so; its samples are counted all the same.",
  },
  too_many_mappings: {
    what: "too many mappings of this user",
    how: "The user's programs map more files than a user's share of memory holds; these have no names, other users' have.",
  },
  switched_off: {
    what: "what would name it is switched off (--names)",
    how: "Start the profiler without that part of --names, then look for names again.",
    command: "profiler symbolize",
  },
  not_verified: {
    what: "not verified: the process was gone before its file could be opened",
    how: "A short process; the next one that lives longer gives the file its names.",
  },
  not_opened_in_time: {
    what: "the file was not open in time",
    how: "Its file system is slow, or its user has many new files waiting; later samples are named once it is open.",
  },
};

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** Programs of V8, whose built-in functions were compiled without unwind rows. */
const V8: readonly string[] = ["node", "chrome", "chromium", "electron"];

/** What can be done about stacks that end so in a file; `told` is what the server says of it, who knows the runtime that wrote the code. */
export function remedyForEnd(end: string, binary: string | null, told: string | null = null): Remedy {
  const known = ENDS[end] ?? { what: end, how: "" };
  if (end === "jit_frame_pointer_lost" && told !== null) return { what: known.what, how: sentence(told) };
  if (end === "no_unwind_rows" && binary !== null && V8.includes(binary.slice(binary.lastIndexOf("/") + 1))) {
    return { what: known.what, how: "Built-in functions of V8 have none in any build: nothing can be done." };
  }
  return known;
}
