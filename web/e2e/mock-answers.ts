/** What the stand-in answers, made of one profile: pure, and the same question has the same answer. */

import type {
  Binaries,
  Diff,
  Disassembly,
  FlameGraph,
  HeatMap,
  LabelValues,
  Quality,
  Source,
  Timeline,
  Top,
} from "../src/api/contract";
import { decodeDiff } from "../src/api/decode";
import { FrameKind } from "../src/model/call-tree";
import { findPath } from "../src/model/focus-path";
import { parseSearch } from "../src/model/search";
import { topRows } from "../src/model/top-rows";
import { SORT_COLUMNS } from "../src/state/view";
import { cutDiffBelow } from "../src/testing/cut";
import { withKinds } from "../src/testing/synthetic";

const STEP_MS = 10_000;

/** What numbers stand for. */
export const OF_97_HZ = { scale: Math.round(1e9 / 97), counts_samples: true };

/** A day and a night: the same moment always has the same value. */
export function timeline(from: number, to: number, share: number, empty: boolean): Timeline {
  const step = Math.max(STEP_MS, Math.ceil((to - from) / 600 / STEP_MS) * STEP_MS);
  const first = Math.floor(from / step) * step;
  const count = Math.max(1, Math.ceil((to - first) / step));
  const buckets: Timeline["buckets"] = {
    samples: [],
    busy_cores: [],
    utilisation: [],
    lost: [],
    missed_share: [],
    missed_cause: [],
    incomplete: [],
  };
  const gaps: Timeline["gaps"] = [];
  const began_ms: number[] = [];
  for (let i = 0; i < count; i++) {
    const at = (first + i * step) / step;
    const gap = empty || (at % 360 > 200 && at % 360 < 216);
    const used = 0.35 + 0.25 * Math.sin(at / 31) + 0.15 * Math.sin(at / 7.3) + 0.12 * Math.sin(at * 12.9898);
    const busy = Math.min(0.98, Math.max(0.02, used)) * 2;
    const start = first + i * step;
    const before = gaps.at(-1);
    if (gap && before?.to_ms === start) before.to_ms += step;
    else if (gap) gaps.push({ from_ms: start, to_ms: start + step });
    else if (before?.to_ms === start) began_ms.push(start);
    buckets.busy_cores.push(gap ? null : busy * share);
    buckets.utilisation.push(gap ? null : busy / 2);
    buckets.samples.push(gap ? 0 : Math.round((busy * share * 97 * step) / 1000));
    buckets.lost.push(!gap && at % 97 === 13 ? 41 : 0);
    const missed = at % 61 < 4 ? 0.03 + 0.2 * (at % 61) : 0;
    buckets.missed_share.push(gap ? null : missed);
    buckets.missed_cause.push(gap || missed === 0 ? null : "program_busy");
    buckets.incomplete.push(gap ? 0 : Math.round(busy * share * 97 * step * 0.00002 * (10 + 8 * Math.sin(at / 50))));
  }
  return { from_ms: first, to_ms: first + count * step, step_ms: step, buckets, gaps, began_ms, cpus: 2, groups: null };
}

/** The timeline with its samples shared out among the processes. */
export function grouped(whole: Timeline, shown: FlameGraph, query: URLSearchParams): Timeline {
  const label = query.get("by");
  if (label === null) return whole;
  const { values } = processes(shown);
  const named = values.slice(0, Number(query.get("series") ?? 10));
  const share = (samples: number) => whole.buckets.samples.map((n) => Math.floor((n * samples) / shown.samples));
  const samples = named.map((value) => share(value.samples));
  const others = whole.buckets.samples.map((n, i) => n - samples.reduce((sum, one) => sum + one[i], 0));
  const hidden_values = values.length - named.length;
  return {
    ...whole,
    groups: { label, values: named.map(({ value }) => value), samples, others, hidden_values, ...OF_97_HZ },
  };
}

export type Sides = [FlameGraph, FlameGraph];

/** Two profiles with the same frames as one tree, cut as the server does. */
export function diff([before, after]: Sides, below: string | null, most: number): Diff {
  const whole = joinedSides(before, after);
  const node = below === null ? 0 : Math.max(0, findPath(decodeDiff(whole).after.tree, below));
  return cutDiffBelow(whole, most, node);
}

function joinedSides(before: FlameGraph, after: FlameGraph): Diff {
  interface Joined {
    frame: number;
    figures: [number, number, number, number];
    below: Map<number, Joined>;
  }
  const joined = (frame: number): Joined => ({ frame, figures: [0, 0, 0, 0], below: new Map() });
  const root = joined(before.nodes.frame[0]);
  [before, after].forEach(({ nodes }, side) => {
    const open: Joined[] = [];
    nodes.depth.forEach((depth, i) => {
      const parent = open[depth - 1];
      const at = depth === 0 ? root : (parent.below.get(nodes.frame[i]) ?? joined(nodes.frame[i]));
      if (depth > 0) parent.below.set(nodes.frame[i], at);
      at.figures[side] += nodes.total[i];
      at.figures[side + 2] += nodes.self[i];
      open[depth] = at;
    });
  });
  const nodes: Diff["nodes"] = {
    depth: [],
    frame: [],
    total_before: [],
    total_after: [],
    self_before: [],
    self_after: [],
    z: [],
  };
  const emit = ({ frame, figures, below }: Joined, depth: number): void => {
    nodes.depth.push(depth);
    nodes.frame.push(frame);
    nodes.total_before.push(figures[0]);
    nodes.total_after.push(figures[1]);
    nodes.self_before.push(figures[2]);
    nodes.self_after.push(figures[3]);
    nodes.z.push(0);
    for (const child of below.values()) emit(child, depth + 1);
  };
  emit(root, 0);
  const side = ({ from_ms, to_ms, samples, scale, counts_samples, incomplete }: FlameGraph) => ({
    from_ms,
    to_ms,
    samples,
    scale,
    counts_samples,
    heaviest: 1,
    incomplete,
    recorded_ms: to_ms - from_ms,
  });
  const { strings, frames } = after;
  return { before: side(before), after: side(after), by: "share", hidden_nodes: 0, strings, frames, nodes };
}

/** Something that beats every 1.7 s, on a slow wave. */
export function heatMap(from: number, to: number, columns: number, rows: number, samples: number): HeatMap {
  const cells = columns * rows;
  const each = (to - from) / cells;
  const values = Array.from({ length: cells }, (_, i) => {
    const at = from + i * each;
    const beat = at % 1_700 < Math.max(180, each * 0.4) ? 1 : 0.25;
    return samples === 0 ? 0 : Math.round(9 * beat * (0.6 + 0.4 * Math.sin(at / 97_000)));
  });
  return {
    from_ms: from,
    to_ms: to,
    columns,
    rows,
    column_nanos: each * rows * 1e6,
    samples: values,
    untimed: 0,
    ...OF_97_HZ,
  };
}

/** The profile with all of it below one value of a label. */
export function underValue(profile: FlameGraph, value: string): FlameGraph {
  const { nodes } = profile;
  const strings = [...profile.strings, value];
  const frames = Object.fromEntries(
    Object.entries(profile.frames).map(([column, entries]) => [
      column,
      [...entries, column === "name" ? strings.length - 1 : column === "kind" ? 1 : column === "line" ? 0 : -1],
    ]),
  ) as FlameGraph["frames"];
  const inserted = (column: number[], one: number) => [column[0], one, ...column.slice(1)];
  return {
    ...profile,
    strings,
    frames,
    nodes: {
      depth: [0, 1, ...nodes.depth.slice(1).map((depth) => depth + 1)],
      frame: inserted(nodes.frame, frames.name.length - 1),
      total: inserted(nodes.total, nodes.total[0]),
      self: inserted(nodes.self, 0),
    },
  };
}

/** The profile with the subtree of one process alone. */
export function only(profile: FlameGraph, comm: string): FlameGraph {
  const { nodes, frames, strings } = profile;
  let first = 1;
  while (first < nodes.depth.length && !(nodes.depth[first] === 1 && strings[frames.name[nodes.frame[first]]] === comm))
    first++;
  let last = first + 1;
  while (last < nodes.depth.length && nodes.depth[last] > 1) last++;
  const samples = nodes.total[first] ?? 0;
  const part = (column: number[], root: number) => [root, ...column.slice(first, samples === 0 ? first : last)];
  return {
    ...profile,
    samples,
    incomplete: Math.min(profile.incomplete, samples),
    nodes: {
      depth: part(nodes.depth, 0),
      frame: part(nodes.frame, nodes.frame[0]),
      total: part(nodes.total, samples),
      self: part(nodes.self, 0),
    },
  };
}

/** The profile without the subtree of one process. */
export function without(profile: FlameGraph, comm: string): FlameGraph {
  const { nodes, frames, strings } = profile;
  const first = nodes.depth.findIndex((d, i) => d === 1 && strings[frames.name[nodes.frame[i]]] === comm);
  let last = first + 1;
  while (last < nodes.depth.length && nodes.depth[last] > 1) last++;
  const left = (column: number[]) => [...column.slice(0, first), ...column.slice(last)];
  const samples = profile.samples - nodes.total[first];
  const total = left(nodes.total);
  total[0] = samples;
  return {
    ...profile,
    samples,
    nodes: { depth: left(nodes.depth), frame: left(nodes.frame), total, self: left(nodes.self) },
  };
}

export function processes({ nodes, frames, strings }: FlameGraph): LabelValues {
  const values = nodes.depth.flatMap((depth, i) =>
    depth === 1 ? [{ value: strings[frames.name[nodes.frame[i]]], name: null, samples: nodes.total[i] }] : [],
  );
  return {
    label: "comm",
    values,
    hidden_values: 0,
    samples: values.reduce((sum, { samples }) => sum + samples, 0),
    ...OF_97_HZ,
  };
}

/** What the server says besides the tree: what is hot, and what it took itself. */
export function told(drawn: FlameGraph, names: string[]): Pick<FlameGraph, "own" | "hottest"> {
  const values = [...processes(drawn).values].sort((a, b) => b.samples - a.samples);
  const own = values.filter(({ value }) => names.includes(value)).reduce((sum, { samples }) => sum + samples, 0);
  const hot = values.find(({ value }) => !names.includes(value));
  const [row] = hot === undefined ? [] : top(only(drawn, hot.value), 1).rows;
  return {
    own: { exe: "/usr/bin/profiler", names, total: own },
    hottest:
      hot === undefined
        ? null
        : {
            process: hot.value,
            total: hot.samples,
            function: row === undefined ? null : { ...row, binary: row.binary, file: row.file, self: row.self },
          },
  };
}

export function top(
  { nodes, frames, strings, samples, scale, counts_samples }: FlameGraph,
  limit = 1_000,
  query = new URLSearchParams(),
): Top {
  const sums = new Map<number, { self: number; total: number }>();
  const open: number[] = [];
  nodes.depth.forEach((depth, i) => {
    const frame = nodes.frame[i];
    open.length = depth;
    const sum = sums.get(frame) ?? { self: 0, total: 0 };
    sum.self += nodes.self[i];
    if (!open.includes(frame)) sum.total += nodes.total[i];
    sums.set(frame, sum);
    open.push(frame);
  });
  const text = (index: number) => (index < 0 ? null : strings[index]);
  const all = [...sums]
    .filter(([frame]) => frames.kind[frame] > 1)
    .sort(([, a], [, b]) => b.self - a.self)
    .map(([frame, sum]) => ({
      name: strings[frames.name[frame]],
      kind: frames.kind[frame],
      binary: text(frames.binary[frame]),
      file: text(frames.file[frame]),
      line: frames.line[frame] || null,
      ...sum,
    }));
  const sort = SORT_COLUMNS.find((column) => column === query.get("sort")) ?? "self";
  const rows = topRows(all, parseSearch(query.get("search") ?? ""), {
    by: sort,
    ascending: query.get("order") === "asc",
  });
  const hidden_rows = Math.max(0, rows.length - limit);
  return {
    samples,
    scale,
    counts_samples,
    rows: rows.slice(0, limit),
    hidden_rows,
    unmatched_rows: all.length - rows.length,
  };
}

/** Stacks cut short and names missing, as the profile has them. */
export function quality(shown: FlameGraph): Quality {
  const { samples, incomplete, kinds } = withKinds(shown);
  const unnamed = kinds[FrameKind.Unknown];
  const binary = "/opt/vendor/libcodec.so.4";
  return {
    samples,
    ...OF_97_HZ,
    complete: samples - incomplete,
    incomplete: [{ cause: "frame_pointer_lost", comm: "app", binary, samples: incomplete, remedy: null }].filter(
      (row) => row.samples > 0,
    ),
    hidden_rows: 0,
    kinds,
    unnamed: [{ reason: "no_symbols", binary, samples: unnamed }].filter((row) => row.samples > 0),
    hidden_unnamed: 0,
    interpreters: [
      {
        comm: "python3",
        runtime: "CPython",
        file: "/usr/bin/python3.11",
        total: Math.round(samples * 0.1),
        named: 0,
        remedies: [
          {
            command: "py-spy record -o profile.svg --pid 4711",
            note: "CPython before 3.12 tells no profiler its functions; py-spy reads them",
          },
        ],
      },
    ],
    hidden_interpreters: 0,
    script_total: Math.round(samples * 0.1),
    script_named: 0,
    missed_share: 0.01,
    ticks_missed: { program_busy: 1_940 },
  };
}

/** Sixty lines with the function's samples on a few of them; the text of every third file is missing. */
export function source(shown: FlameGraph, query: URLSearchParams): Source {
  const name = query.get("function") ?? "";
  const row = top(shown, Number.POSITIVE_INFINITY).rows.find((one) => one.name === name);
  const file = query.get("file") ?? row?.file ?? "src/lib.rs";
  const missing = name.endsWith("7") && query.get("source_map") === null;
  if (row === undefined) {
    const reason = "no sample of this range and filter has the function";
    return {
      function: name,
      file: query.get("file"),
      found: null,
      reason,
      total: 0,
      ...OF_97_HZ,
      first_line: 0,
      lines: [],
    };
  }
  const { self, total } = row;
  const lines = Array.from({ length: 60 }, (_, i): Source["lines"][number] => ({
    line: 100 + i,
    text: missing ? null : i % 7 === 3 ? "" : `${"    ".repeat(i % 4)}let step_${i} = work(step_${i - 1}, ${i * 37});`,
    self: i === 20 ? self - Math.floor(self / 3) : i === 33 ? Math.floor(self / 3) : 0,
    total: i === 20 ? self : i === 33 ? Math.floor(self / 3) : i === 41 ? total - self : 0,
  })).filter((one) => !missing || one.total > 0);
  return {
    function: name,
    file,
    found: missing ? null : `/usr/src/${file}`,
    reason: missing ? `${file} is not on this host: the weights stand by their line numbers` : null,
    total,
    ...OF_97_HZ,
    first_line: 100,
    lines,
  };
}

export function disassembly(shown: FlameGraph, query: URLSearchParams): Disassembly {
  const lines = source(shown, query);
  const binary = query.get("binary") ?? "/usr/bin/app";
  if (lines.first_line === 0) {
    const { function: name, reason, total } = lines;
    const nothing = { ...OF_97_HZ, build_id: null, available: false, hidden_instructions: 0, instructions: [] };
    return { function: name, reason, total, binary, ...nothing };
  }
  const weights = new Map(lines.lines.map((one) => [one.line, one]));
  const instructions = Array.from({ length: 180 }, (_, i): Disassembly["instructions"][number] => {
    const line = 100 + Math.floor(i / 3);
    const weight = i % 3 === 1 ? weights.get(line) : undefined;
    return {
      address: (0x41_2a00 + i * 4).toString(16),
      bytes: "488b4510",
      text: i % 3 === 0 ? "mov rax, [rbp+0x10]" : i % 3 === 1 ? "imul rax, rcx" : "call 0x40f220 <work>",
      file: lines.file,
      line,
      self: weight?.self ?? 0,
      total: weight?.total ?? 0,
    };
  });
  return {
    ...lines,
    binary,
    build_id: "5d2f0a61c8e94b7735b1",
    available: true,
    reason: null,
    hidden_instructions: 0,
    instructions,
  };
}

export function binaries(shown: FlameGraph): Binaries {
  const share = (part: number) => Math.round(shown.samples * part);
  const sources = (found: Record<string, string | null>) =>
    Object.entries(found).map(([source, where]) => ({ source, found: where }));
  return {
    binaries: [
      {
        path: "/opt/vendor/libcodec.so.4",
        build_id: "8a1fe09b7c",
        program: null,
        samples_self: share(0.04),
        frames: 40,
        named: 9,
        inlined_frames: 0,
        sources: sources({ dynsym: "/opt/vendor/libcodec.so.4", symtab: null, debug_file: null, debuginfod: null }),
        reason: "no_symbols",
        remedies: [
          {
            command: "profiler run --debuginfod=https://debuginfod.debian.net",
            note: "start the profiler so: it fetches the symbols; build ids of what runs here are sent to that server",
          },
          {
            command: "apt install libcodec4-dbgsym",
            note: "needs the archive of debug symbols, a line in /etc/apt/sources.list.d/debug.list and apt update: deb http://deb.debian.org/debian-debug/ bookworm-debug main (https://wiki.debian.org/AutomaticDebugPackages)",
          },
        ],
      },
      {
        path: "/usr/lib/postgresql/16/bin/postgres",
        build_id: "c0ffee1234",
        program: null,
        samples_self: share(0.5),
        frames: 900,
        named: 900,
        inlined_frames: 120,
        sources: sources({
          dwarf: "/usr/lib/debug/.build-id/c0/ffee1234.debug",
          symtab: "/usr/lib/postgresql/16/bin/postgres",
        }),
        reason: null,
        remedies: [],
      },
      {
        path: "[kernel]",
        build_id: null,
        program: null,
        samples_self: share(0.2),
        frames: 300,
        named: 300,
        inlined_frames: 0,
        sources: sources({ kallsyms: "/proc/kallsyms" }),
        reason: null,
        remedies: [],
      },
    ],
    hidden_rows: 0,
    frames: 1_240,
    named: 1_209,
    ...OF_97_HZ,
    together: { command: "apt install libcodec4-dbgsym libz1-dbgsym", note: null },
  };
}

export function folded({ nodes, frames, strings }: FlameGraph): string {
  const open: string[] = [];
  const lines: string[] = [];
  nodes.depth.forEach((depth, i) => {
    open.length = depth;
    open.push(strings[frames.name[nodes.frame[i]]]);
    if (nodes.self[i] > 0 && depth > 0) lines.push(`${open.slice(1).join(";")} ${nodes.self[i]}`);
  });
  return `${lines.join("\n")}\n`;
}

/** As much of a drawing as a download needs. */
export function svg(shown: FlameGraph): string {
  return `<svg xmlns="http://www.w3.org/2000/svg"><title>${shown.samples} samples</title></svg>\n`;
}
