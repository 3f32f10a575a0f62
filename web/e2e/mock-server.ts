/**
 * A stand-in for the profiler: serves the built page under a sub-path with the strict policy, and answers the API from a
 * made-up profile. Only for the checks of the page; the same checks run against a real profiler when PROFILER_URL is set.
 */

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { gzipSync } from "node:zlib";
import type { FlameGraph, LabelValues, Problem, Status, Symbolizing } from "../src/api/contract";
import { decodeFlameGraph } from "../src/api/decode";
import { findPath } from "../src/model/focus-path";
import { parseFunction } from "../src/model/function";
import { parseSelector } from "../src/model/selector";
import { parseInstant, resolveInstant } from "../src/model/time-range";
import { cutAround, cutBelow } from "../src/testing/cut";
import { syntheticFlameGraph, withKinds } from "../src/testing/synthetic";
import {
  binaries,
  diff,
  disassembly,
  folded,
  grouped,
  heatMap,
  OF_97_HZ,
  only,
  processes,
  quality,
  type Sides,
  source,
  svg,
  timeline,
  told,
  top,
  underValue,
  without,
} from "./mock-answers";

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SUB_PATH = "/sub/path/";

/** What the checks may change while the server runs. */
export interface MockState {
  /** Drop connections instead of answering. */
  gone: boolean;
  /** Answer as if the first window were not written yet. */
  waiting: boolean;
  /** Only a recording is served: nothing is recorded. */
  history: boolean;
  /** Refuse every question; the one for the status only for want of a login. */
  refusal: Problem | null;
  /** What the profiler wants to be known. */
  notices: string[];
  /** Most nodes of a flame graph. */
  most: number;
  /** Age of the newest window (ms). */
  lag: number;
  /** How long answers about a range take (ms). */
  slow: number;
  /** Names of processes that are the profiler's own. */
  own: string[];
  /** Answer as of samples of several rates: with times. */
  rates: boolean;
  /** Paths asked for, with their queries. */
  asked: string[];
}

/** How it answers unless told otherwise. */
export const UNTROUBLED = {
  gone: false,
  waiting: false,
  history: false,
  refusal: null,
  notices: [],
  most: Number.POSITIVE_INFINITY,
  lag: 900,
  slow: 0,
  own: [],
  rates: false,
} satisfies Omit<MockState, "asked">;

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
  const state: MockState = { ...UNTROUBLED, asked: [] };
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
      const asked = path.slice("api/v1/".length);
      const respond = () => answer(request, response, asked, url.searchParams, { profile, packed, startedMs, state });
      if (state.slow > 0 && asked !== "status") setTimeout(respond, state.slow);
      else respond();
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
  const counts = !context.state.rates;
  const asTimes = (key: string, value: unknown) => (key === "counts_samples" ? counts : value);
  const json = (body: unknown) => send(request, response, 200, "application/json", JSON.stringify(body, asTimes));
  const refuse = (problem: Problem) =>
    send(request, response, problem.status, "application/problem+json", JSON.stringify(problem));
  const { refusal } = context.state;
  // Without a login the status is not told either; other refusals are of a question.
  if (path === "status" && refusal?.status !== 401) {
    json(status(context));
    return;
  }
  if (refusal !== null) {
    refuse(refusal);
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
      command: null,
    });
    return;
  }
  const comm = matchers.find((m) => m.label === "comm" && m.op === "=")?.value ?? null;
  const empty =
    context.state.waiting || to <= context.startedMs - 7 * 86_400_000 || matchers.some((m) => m.label === "pid");
  // Before the last half hour one process was not there yet, so that there is something to compare.
  const whole = to < now - 1_800_000 ? without(context.profile, "nginx") : context.profile;
  const part = empty ? only(whole, "no such process") : comm === null ? whole : only(whole, comm);
  // The profile itself as it is: its answer is packed.
  const shown = part === context.profile ? part : withKinds(part);
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
      json({ ...shown, ...told(shown, context.state.own), from_ms: from, to_ms: to } satisfies FlameGraph);
      break;
    case "flamegraph":
      if (shown === context.profile && context.packed !== null)
        sendPacked(response, "application/json", "gzip", context.packed);
      else {
        const drawn = query.get("group") === null ? shown : underValue(shown, "db.service");
        const below = query.get("below");
        const node = below === null ? 0 : Math.max(0, findPath(decodeFlameGraph(drawn).tree, below));
        const chosen = parseFunction(query.get("around") ?? "");
        const { most } = context.state;
        const cut = chosen === null ? cutBelow(drawn, most, node) : cutAround(drawn, most, chosen);
        json({ ...cut, ...told(drawn, context.state.own), from_ms: from, to_ms: to } satisfies FlameGraph);
      }
      break;
    case "top":
      json(top(shown, 1_000, query));
      break;
    case "source":
      json(source(shown, query));
      break;
    case "disassembly":
      json(disassembly(shown, query));
      break;
    case "quality":
      json(quality(shown));
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
    case "labels/pid/values":
      json({
        label: "pid",
        values: [{ value: "4711", name: "postgres", samples: shown.samples }],
        hidden_values: 0,
        samples: shown.samples,
        ...OF_97_HZ,
      } satisfies LabelValues);
      break;
    case "labels/container/values":
    case "labels/thread/values":
      json({ label: path.split("/")[1], values: [], hidden_values: 0, samples: 0, ...OF_97_HZ } satisfies LabelValues);
      break;
    case "labels/unit/values":
      json({
        label: "unit",
        values: [
          { value: "db.service", name: null, samples: shown.samples * 0.75 },
          { value: "", name: null, samples: shown.samples * 0.25 },
        ],
        hidden_values: 0,
        samples: shown.samples,
        ...OF_97_HZ,
      } satisfies LabelValues);
      break;
    case "export/folded":
      response.setHeader("content-disposition", 'attachment; filename="profile.folded"');
      send(request, response, 200, "text/plain; charset=utf-8", folded(shown));
      break;
    case "export/svg":
      send(request, response, 200, "image/svg+xml", svg(shown));
      break;
    default:
      refuse({
        status: 404,
        code: "not_found",
        title: `there is no ${path}`,
        detail: "See api/openapi.json.",
        command: null,
      });
      break;
  }
}

function status({ startedMs, state, profile }: Context): Status {
  return {
    version: "0.1.0",
    host: "build-01",
    recording: state.history
      ? null
      : {
          event: "cpu-clock",
          hz: 97,
          hz_wanted: 97,
          cpus: 2,
          since_ms: state.waiting ? Date.now() - 3_000 : startedMs - 3_600_000,
          window_ms: 10_000,
          lag_ms: state.lag,
          late: state.lag > 30_000 ? "sampling" : null,
          waits_for: state.lag > 30_000 ? "mapbomb (pid 4711)" : null,
          cpu_ms: 4_200,
          rss_bytes: 61_000_000,
          children_cpu_ms: 1_900,
          children_rss_bytes: 23_000_000,
          ticks_missed: { program_busy: 1_940, throttled: 0, not_scheduled: 0, timer_late: 12, unknown: 0 },
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
      newest_ms: state.waiting ? null : state.history ? startedMs - 1_000 : Date.now() - 1_000,
    },
    notices: state.notices,
  };
}

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};

/** As the build packed it, where it did. */
async function serveFile(
  request: IncomingMessage,
  response: ServerResponse,
  dist: string,
  path: string,
): Promise<void> {
  const type = TYPES[extname(path)] ?? "application/octet-stream";
  const file = join(dist, normalize(`/${path}`));
  const packed = String(request.headers["accept-encoding"]).includes("br")
    ? await readFile(`${file}.br`).catch(() => null)
    : null;
  if (packed !== null) {
    sendPacked(response, type, "br", packed);
    return;
  }
  try {
    send(request, response, 200, type, await readFile(file));
  } catch {
    send(request, response, 404, "text/plain", "no such file");
  }
}

function sendPacked(response: ServerResponse, type: string, encoding: string, body: Buffer): void {
  response.writeHead(200, {
    "content-type": type,
    "content-encoding": encoding,
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
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
