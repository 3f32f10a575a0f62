/** The same profile for each flame graph that the page is measured beside, and pages that show it. */

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import type { FlameGraph } from "../../src/api/contract";

const modules = join(import.meta.dirname, "node_modules");

/** A node as d3-flame-graph wants it. */
interface D3Node {
  name: string;
  value: number;
  children: D3Node[];
}

export function d3Data({ nodes, frames, strings }: FlameGraph): string {
  const open: D3Node[] = [];
  nodes.depth.forEach((depth, i) => {
    const node: D3Node = { name: strings[frames.name[nodes.frame[i]]], value: nodes.total[i], children: [] };
    if (depth > 0) open[depth - 1].children.push(node);
    open[depth] = node;
  });
  return JSON.stringify(open[0]);
}

/** Each stack that ends somewhere: frames from the root, and its samples. */
function* stacks({ nodes }: FlameGraph): Generator<{ path: number[]; self: number }> {
  const path: number[] = [];
  for (let i = 0; i < nodes.depth.length; i++) {
    path.length = nodes.depth[i];
    path.push(nodes.frame[i]);
    if (nodes.self[i] > 0) yield { path: path.slice(1), self: nodes.self[i] };
  }
}

export function speedscopeData(profile: FlameGraph): string {
  const all = [...stacks(profile)];
  return JSON.stringify({
    $schema: "https://www.speedscope.app/file-format-schema.json",
    shared: { frames: profile.frames.name.map((name) => ({ name: profile.strings[name] })) },
    profiles: [
      {
        type: "sampled",
        name: "bench",
        unit: "none",
        startValue: 0,
        endValue: profile.samples,
        samples: all.map(({ path }) => path),
        weights: all.map(({ self }) => self),
      },
    ],
  });
}

/** The SVG that inferno makes of it; null when inferno is not installed. */
export function infernoSvg(profile: FlameGraph, minWidth: number): Buffer | null {
  const lines: string[] = [];
  for (const { path, self } of stacks(profile)) {
    lines.push(`${path.map((f) => profile.strings[profile.frames.name[f]].replaceAll(";", ":")).join(";")} ${self}`);
  }
  const made = spawnSync(process.env.INFERNO ?? "inferno-flamegraph", ["--minwidth", String(minWidth)], {
    input: lines.join("\n"),
    maxBuffer: 2 ** 30,
  });
  return made.status === 0 ? made.stdout : null;
}

const D3_PAGE = `<!doctype html><meta charset="utf-8"><title>d3</title><link rel="stylesheet" href="/d3-flamegraph.css">
<div id="chart"></div><script type="module">
import flamegraph from "/d3.js"; import { select } from "/d3.js";
`;

/** Serves files by path, text or bytes, from memory. */
export async function serve(
  files: Record<string, string | Buffer>,
  folder?: string,
): Promise<{ url: string; server: Server }> {
  const types: Record<string, string> = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".wasm": "application/wasm",
  };
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://x").pathname);
    let body = files[path];
    if (body === undefined && folder !== undefined) {
      try {
        body = readFileSync(join(folder, normalize(path)));
      } catch {
        response.writeHead(404).end();
        return;
      }
    }
    response.writeHead(body === undefined ? 404 : 200, {
      "content-type": types[extname(path)] ?? "application/octet-stream",
    });
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

/** Files of a page that draws the profile with d3-flame-graph; frames below `minSize` pixels are left out. */
export async function d3Files(
  profile: FlameGraph,
  minSize: number,
  cache: string,
): Promise<Record<string, string | Buffer>> {
  const { build } = await import("vite");
  mkdirSync(cache, { recursive: true });
  const entry = join(import.meta.dirname, "d3-entry.js");
  await build({
    configFile: false,
    logLevel: "error",
    root: import.meta.dirname,
    build: { outDir: cache, emptyOutDir: false, lib: { entry, formats: ["es"], fileName: () => "d3.js" } },
  });
  return {
    "/index.html": `${D3_PAGE}const data = await (await fetch("/data.json")).json();
window.chart = flamegraph().width(innerWidth - 20).minFrameSize(${minSize}).transitionDuration(0);
select("#chart").datum(data).call(window.chart); window.done = true;</script>`,
    "/d3.js": readFileSync(join(cache, "d3.js")),
    "/d3-flamegraph.css": readFileSync(join(modules, "d3-flame-graph/dist/d3-flamegraph.css")),
    "/data.json": d3Data(profile),
  };
}

export const SPEEDSCOPE = join(modules, "speedscope/dist/release");
