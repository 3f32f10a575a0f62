/**
 * A stand-in for the profiler: serves the built page under a sub-path with the strict policy, and answers the API from a
 * made-up profile. Only for the checks of the page; the same checks run against a real profiler when PROFILER_URL is set.
 */

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { gzipSync } from "node:zlib";
import type {
  Binaries,
  Diff,
  Disassembly,
  FlameGraph,
  HeatMap,
  LabelValues,
  Problem,
  Source,
  Status,
  Symbolizing,
  Timeline,
  Top,
} from "../src/api/contract";
import { decodeDiff, decodeFlameGraph } from "../src/api/decode";
import { findPath } from "../src/model/focus-path";
import { parseSelector } from "../src/model/selector";
import { parseInstant, resolveInstant } from "../src/model/time-range";
import { cutBelow, cutDiffBelow } from "../src/testing/cut";
import { syntheticFlameGraph } from "../src/testing/synthetic";

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SUB_PATH = "/sub/path/";
const STEP_MS = 10_000;

/** What the checks may change while the server runs. */
export interface MockState {
  /** Drop connections instead of answering. */
  gone: boolean;
  /** Answer as if the first window were not written yet. */
  waiting: boolean;
  /** Most nodes of a flame graph. */
  most: number;
  /** Paths asked for, with their queries. */
  asked: string[];
}

export interface Mock {
  url: string;
  state: MockState;
  close(): Promise<void>;
}

export async function startMock(options: { dist: string; nodes: number; packed?: boolean }): Promise<Mock> {
  const profile = syntheticFlameGraph({ nodes: options.nodes, samples: options.nodes * 50, names: 10_000, seed: 7 });
  const startedMs = Date.now();
  const hour = { ...profile, from_ms: startedMs - 3_600_000, to_ms: startedMs };
  const packed = options.packed === true ? gzipSync(JSON.stringify(hour), { level: 1 }) : null;
  const state: MockState = { gone: false, waiting: false, most: Number.POSITIVE_INFINITY, asked: [] };
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://mock");
    if (state.gone) {
      request.socket.destroy();
      return;
    }
    if (!url.pathname.startsWith(SUB_PATH)) {
      send(request, response, 404, "text/plain", "outside the sub-path");
      return;
    }
    const path = url.pathname.slice(SUB_PATH.length);
    if (path.startsWith("api/v1/")) {
      state.asked.push(`${path}${url.search}`);
      answer(request, response, path.slice("api/v1/".length), url.searchParams, { profile, packed, startedMs, state });
    } else {
      serveFile(request, response, options.dist, path === "" ? "index.html" : path);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}${SUB_PATH}`, state, close: () => close(server) };
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

interface Context {
  profile: FlameGraph;
  /** The whole flame graph as it is sent, so that a benchmark measures the page and not this server. */
  packed: Buffer | null;
  startedMs: number;
  state: MockState;
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  query: URLSearchParams,
  context: Context,
): void {
  const json = (body: unknown) => send(request, response, 200, "application/json", JSON.stringify(body));
  const refuse = (problem: Problem) =>
    send(request, response, problem.status, "application/problem+json", JSON.stringify(problem));
  if (path === "status") {
    json(status(context));
    return;
  }
  const now = Date.now();
  const from = resolveInstant(parseInstant(query.get("from") ?? "now-1h") ?? "now-1h", now);
  const to = resolveInstant(parseInstant(query.get("to") ?? "now") ?? "now", now);
  const matchers = parseSelector(query.get("filter") ?? "");
  if (matchers === null) {
    refuse({
      status: 400,
      code: "bad_selector",
      title: 'expected = != =~ or !~ after the label "comm"',
      detail: 'Write {comm="postgres"}; values stand in double quotes.',
    });
    return;
  }
  const comm = matchers.find((m) => m.label === "comm" && m.op === "=")?.value ?? null;
  const empty =
    context.state.waiting || to <= context.startedMs - 7 * 86_400_000 || matchers.some((m) => m.label === "pid");
  // Before the last half hour one process was not there yet, so that there is something to compare.
  const whole = to < now - 1_800_000 ? without(context.profile, "nginx") : context.profile;
  const shown = empty ? only(whole, "no such process") : comm === null ? whole : only(whole, comm);
  switch (path) {
    case "timeline":
      json(grouped(timeline(from, to, shown.samples / context.profile.samples, empty), shown, query));
      break;
    case "diff": {
      const base = (name: string) => resolveInstant(parseInstant(query.get(name) ?? "now") ?? "now", now);
      const before = base("base_to") < now - 1_800_000 ? without(context.profile, "nginx") : context.profile;
      const sides: Sides = [
        { ...before, from_ms: base("base_from"), to_ms: base("base_to") },
        { ...shown, from_ms: from, to_ms: to },
      ];
      json(diff(sides, query.get("below"), context.state.most));
      break;
    }
    case "heatmap":
      json(heatMap(from, to, Number(query.get("columns")), Number(query.get("rows")), shown.samples));
      break;
    case "heatmap/flamegraph":
      json({ ...shown, from_ms: from, to_ms: to } satisfies FlameGraph);
      break;
    case "flamegraph":
      if (shown === context.profile && context.packed !== null) sendPacked(response, context.packed);
      else {
        const drawn = query.get("group") === null ? shown : underValue(shown, "db.service");
        const below = query.get("below");
        const node = below === null ? 0 : Math.max(0, findPath(decodeFlameGraph(drawn).tree, below));
        const cut = cutBelow(drawn, context.state.most, node);
        json({ ...cut, from_ms: from, to_ms: to } satisfies FlameGraph);
      }
      break;
    case "top":
      json(top(shown));
      break;
    case "source":
      json(source(shown, query));
      break;
    case "disassembly":
      json(disassembly(shown, query));
      break;
    case "binaries":
      json(binaries(shown));
      break;
    case "symbolize":
      json({ started: true, unnamed: 35 } satisfies Symbolizing);
      break;
    case "labels":
      json({ labels: ["comm", "pid", "exe", "thread", "container", "unit"] });
      break;
    case "labels/comm/values":
      json(processes(shown));
      break;
    case "labels/unit/values":
      json({
        label: "unit",
        values: [
          { value: "db.service", samples: shown.samples * 0.75 },
          { value: "", samples: shown.samples * 0.25 },
        ],
      });
      break;
    case "export/folded":
      response.setHeader("content-disposition", 'attachment; filename="profile.folded"');
      send(request, response, 200, "text/plain; charset=utf-8", folded(shown));
      break;
    default:
      refuse({ status: 404, code: "not_found", title: `there is no ${path}`, detail: "See api/openapi.json." });
      break;
  }
}

function status({ startedMs, state, profile }: Context): Status {
  return {
    version: "0.1.0",
    host: "build-01",
    recording: {
      event: "cpu-clock",
      hz: 97,
      cpus: 2,
      since_ms: state.waiting ? Date.now() - 3_000 : startedMs - 3_600_000,
      window_ms: 10_000,
      lag_ms: 900,
      cpu_ms: 4_200,
      rss_bytes: 61_000_000,
      names: ["dwarf", "symtab"],
      unwind: {
        files: 58,
        rows: 3_937_206,
        loading: 0,
        processes: 16,
        memory_bytes: 19_660_800,
        memory_limit_bytes: 268_435_456,
        evicted: 0,
      },
    },
    totals: {
      taken: profile.samples + 412,
      stored: profile.samples,
      lost: { ring_full: 390, queue_full: 22 },
      stacks: { complete: profile.samples - profile.incomplete, frame_pointer_lost: profile.incomplete },
    },
    database: {
      path: "/var/lib/profiler/profiler.db",
      bytes: 48_300_000,
      windows: state.waiting ? 0 : 3_600,
      oldest_ms: state.waiting ? null : startedMs - 7 * 86_400_000,
      newest_ms: state.waiting ? null : Date.now() - 1_000,
    },
    notices: [],
  };
}

/** A day and a night: the same moment always has the same value. */
function timeline(from: number, to: number, share: number, empty: boolean): Timeline {
  const step = Math.max(STEP_MS, Math.ceil((to - from) / 600 / STEP_MS) * STEP_MS);
  const first = Math.floor(from / step) * step;
  const count = Math.max(1, Math.ceil((to - first) / step));
  const buckets: Timeline["buckets"] = { samples: [], busy_cores: [], utilisation: [], lost: [], incomplete: [] };
  for (let i = 0; i < count; i++) {
    const at = (first + i * step) / step;
    const gap = empty || (at % 360 > 200 && at % 360 < 216);
    const used = 0.35 + 0.25 * Math.sin(at / 31) + 0.15 * Math.sin(at / 7.3) + 0.12 * Math.sin(at * 12.9898);
    const busy = Math.min(0.98, Math.max(0.02, used)) * 2;
    buckets.busy_cores.push(gap ? null : busy * share);
    buckets.utilisation.push(gap ? null : busy / 2);
    buckets.samples.push(gap ? 0 : Math.round((busy * share * 97 * step) / 1000));
    buckets.lost.push(!gap && at % 97 === 13 ? 41 : 0);
    buckets.incomplete.push(gap ? 0 : Math.round(busy * share * 97 * step * 0.00002 * (10 + 8 * Math.sin(at / 50))));
  }
  return { from_ms: first, to_ms: first + count * step, step_ms: step, buckets, groups: null };
}

/** The timeline with its samples shared out among the processes. */
function grouped(whole: Timeline, shown: FlameGraph, query: URLSearchParams): Timeline {
  const label = query.get("by");
  if (label === null) return whole;
  const { values } = processes(shown);
  const named = values.slice(0, Number(query.get("series") ?? 10));
  const share = (samples: number) => whole.buckets.samples.map((n) => Math.floor((n * samples) / shown.samples));
  const samples = named.map((value) => share(value.samples));
  const others = whole.buckets.samples.map((n, i) => n - samples.reduce((sum, one) => sum + one[i], 0));
  const hidden_values = values.length - named.length;
  return { ...whole, groups: { label, values: named.map(({ value }) => value), samples, others, hidden_values } };
}

type Sides = [FlameGraph, FlameGraph];

/** Two profiles with the same frames as one tree, cut as the server does. */
function diff([before, after]: Sides, below: string | null, most: number): Diff {
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
  const side = ({ from_ms, to_ms, samples, nanos_per_sample, incomplete }: FlameGraph) => ({
    from_ms,
    to_ms,
    samples,
    nanos_per_sample,
    incomplete,
    recorded_ms: to_ms - from_ms,
  });
  const { strings, frames } = after;
  return { before: side(before), after: side(after), by: "share", hidden_nodes: 0, strings, frames, nodes };
}

/** Something that beats every 1.7 s, on a slow wave. */
function heatMap(from: number, to: number, columns: number, rows: number, samples: number): HeatMap {
  const cells = columns * rows;
  const each = (to - from) / cells;
  const values = Array.from({ length: cells }, (_, i) => {
    const at = from + i * each;
    const beat = at % 1_700 < Math.max(180, each * 0.4) ? 1 : 0.25;
    return samples === 0 ? 0 : Math.round(9 * beat * (0.6 + 0.4 * Math.sin(at / 97_000)));
  });
  return { from_ms: from, to_ms: to, columns, rows, column_nanos: each * rows * 1e6, samples: values, untimed: 0 };
}

/** The profile with all of it below one value of a label. */
function underValue(profile: FlameGraph, value: string): FlameGraph {
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
function only(profile: FlameGraph, comm: string): FlameGraph {
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
function without(profile: FlameGraph, comm: string): FlameGraph {
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

function processes({ nodes, frames, strings }: FlameGraph): LabelValues {
  const values = nodes.depth.flatMap((depth, i) =>
    depth === 1 ? [{ value: strings[frames.name[nodes.frame[i]]], samples: nodes.total[i] }] : [],
  );
  return { label: "comm", values };
}

function top({ nodes, frames, strings, samples, nanos_per_sample }: FlameGraph, limit = 1_000): Top {
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
  const rows = [...sums]
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
  return { samples, nanos_per_sample, rows: rows.slice(0, limit), hidden_rows: Math.max(0, rows.length - limit) };
}

/** Sixty lines with the function's samples on a few of them; the text of every third file is missing. */
function source(shown: FlameGraph, query: URLSearchParams): Source {
  const name = query.get("function") ?? "";
  const row = top(shown, Number.POSITIVE_INFINITY).rows.find((one) => one.name === name);
  const file = query.get("file") ?? row?.file ?? "src/lib.rs";
  const missing = name.endsWith("7");
  const { self, total } = row ?? { self: 0, total: 0 };
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
    first_line: 100,
    lines,
  };
}

function disassembly(shown: FlameGraph, query: URLSearchParams): Disassembly {
  const lines = source(shown, query);
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
  const binary = query.get("binary") ?? "/usr/bin/app";
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

function binaries(shown: FlameGraph): Binaries {
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
        reason: "stripped: only what it exports has a name",
        remedy: "apt install libcodec4-dbgsym",
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
        remedy: null,
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
        remedy: null,
      },
    ],
    hidden_rows: 0,
  };
}

function folded({ nodes, frames, strings }: FlameGraph): string {
  const open: string[] = [];
  const lines: string[] = [];
  nodes.depth.forEach((depth, i) => {
    open.length = depth;
    open.push(strings[frames.name[nodes.frame[i]]]);
    if (nodes.self[i] > 0 && depth > 0) lines.push(`${open.slice(1).join(";")} ${nodes.self[i]}`);
  });
  return `${lines.join("\n")}\n`;
}

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};

async function serveFile(
  request: IncomingMessage,
  response: ServerResponse,
  dist: string,
  path: string,
): Promise<void> {
  try {
    const file = await readFile(join(dist, normalize(`/${path}`)));
    send(request, response, 200, TYPES[extname(path)] ?? "application/octet-stream", file);
  } catch {
    send(request, response, 404, "text/plain", "no such file");
  }
}

function sendPacked(response: ServerResponse, body: Buffer): void {
  response.writeHead(200, {
    "content-type": "application/json",
    "content-encoding": "gzip",
    "cache-control": "no-store",
  });
  response.end(body);
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  code: number,
  type: string,
  body: string | Buffer,
): void {
  const zipped = String(request.headers["accept-encoding"]).includes("gzip");
  response.writeHead(code, {
    "content-type": type,
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    ...(zipped ? { "content-encoding": "gzip" } : {}),
  });
  response.end(zipped ? gzipSync(body, { level: 1 }) : body);
}
