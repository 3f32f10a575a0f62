/**
 * The page beside d3-flame-graph, speedscope and an inferno SVG: the same profile, one Chromium without a GPU, one run. Only
 * when BENCH is set (`make bench-web`): the figures are printed, and nothing fails because a machine is busy.
 *
 * First frame: from the start of the navigation to the second animation frame after the graph is drawn (by then it is on the screen and
 * nothing keeps the page from taking input), data fetched from this machine, nothing cached. One browser for each, as people have it open;
 * the median of several loads, and the first, when the browser itself has just been started. Frames: the time between animation frames while every frame brings an operation. Heap: after a collection, with
 * the memory of typed arrays.
 */

import { mkdtempSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, expect, test } from "vitest";
import { syntheticFlameGraph } from "../../src/testing/synthetic";
import { LAUNCH, VIEWPORT } from "../browser";
import { startMock } from "../mock-server";
import { d3Files, infernoSvg, SPEEDSCOPE, serve, speedscopeData } from "./rivals";

const wanted = process.env.BENCH ?? "";
const FRAMES = 120;
/** Loads of each page, and how long they may take together. */
const LOADS = Number(process.env.LOADS ?? 9);
const LOADS_MS = 60_000;
/**
 * A context is a window of its own, and a new window loads pages of the browser's own (some 200 scripts of the address bar's list) for
 * a second: nobody navigates while it opens.
 */
const SETTLED_MS = Number(process.env.SETTLED_MS ?? 2_000);
/** What is still slower than this is not measured further. */
const OP_MS = 8_000;
const cache = mkdtempSync(join(tmpdir(), "profiler-bench-"));

afterAll(() => rmSync(cache, { recursive: true, force: true }));

type Kind = "ours" | "d3" | "speedscope" | "svg";
interface Result {
  who: string;
  nodes: number;
  /** Of each load, in ms. */
  first: number[];
  heap: number;
  frames: Record<string, { p50: number; p95: number; max: number }>;
  /** What the first frame and the others are made of, in ms. */
  parts: Record<string, number>;
}

const profileOf = (nodes: number) => syntheticFlameGraph({ nodes, samples: nodes * 50, names: 10_000, seed: 7 });

/** Opens the address in a browser of its own, so that nobody's heap is another's. */
async function measure(who: string, kind: Kind, nodes: number, url: string): Promise<Result> {
  const browser = await chromium.launch(LAUNCH);
  try {
    const first: number[] = [];
    const loads: Record<string, number>[] = [];
    const began = performance.now();
    // Each in a context of its own: nothing of it is cached.
    let context: BrowserContext | null = null;
    let page: Page | null = null;
    while (page === null || (first.length < LOADS && performance.now() - began < LOADS_MS)) {
      await context?.close();
      context = await browser.newContext({ viewport: VIEWPORT });
      page = await context.newPage();
      await page.waitForTimeout(SETTLED_MS);
      await page.goto(url, { waitUntil: "commit" });
      first.push(await page.evaluate(firstFrame, kind));
      if (kind === "ours") loads.push(await page.evaluate(partsOf));
    }
    const frames: Result["frames"] = {};
    for (const op of OPS[kind])
      frames[op] = figures(await page.evaluate(operate, { kind, op, count: FRAMES, limit: OP_MS }));
    return {
      who,
      nodes,
      first,
      heap: await heapOf(page),
      frames,
      parts: {
        ...medians(loads),
        ...(kind === "ours" ? await page.evaluate(opsOf) : {}),
      },
    };
  } finally {
    await browser.close();
  }
}

function median(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[times.length >> 1] ?? Number.NaN;
}

/** By name. */
function medians(loads: readonly Record<string, number>[]): Record<string, number> {
  return Object.fromEntries(Object.keys(loads[0] ?? {}).map((what) => [what, median(loads.map((load) => load[what]))]));
}

const OPS: Record<Kind, string[]> = {
  ours: ["zoom", "pan", "hover", "search"],
  d3: ["zoom", "hover", "search"],
  speedscope: ["zoom", "pan", "hover"],
  svg: ["zoom", "hover", "search"],
};

async function heapOf(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const usage = (await session.send("Runtime.getHeapUsage")) as { usedSize: number; backingStorageSize?: number };
  return usage.usedSize + (usage.backingStorageSize ?? 0);
}

function figures(times: number[]): { p50: number; p95: number; max: number } {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { p50: at(0.5), p95: at(0.95), max: at(1) };
}

/** In the page: when the graph has been drawn, in ms since the navigation began. */
function firstFrame(kind: Kind): Promise<number> {
  const ready = (): boolean => {
    switch (kind) {
      case "ours":
        return performance.getEntriesByName("draw").length > 0;
      case "d3":
        return (window as { done?: boolean }).done === true;
      case "speedscope":
        return document.title.includes("bench") && document.querySelector("canvas") !== null;
      case "svg":
        return document.readyState === "complete";
    }
  };
  return new Promise((resolve) => {
    const look = (): void => {
      if (!ready()) requestAnimationFrame(look);
      else requestAnimationFrame(() => resolve(performance.now()));
    };
    look();
  });
}

/** In the page: where the time of a load goes, as the page itself marks it. */
function partsOf(): Record<string, number> {
  const resource = (part: string) =>
    performance.getEntriesByType("resource").find((entry) => entry.name.includes(part)) as
      | PerformanceResourceTiming
      | undefined;
  const decode = performance.getEntriesByName("decode")[0];
  const draw = performance.getEntriesByName("draw")[0];
  return {
    "script loaded": resource(".js")?.responseEnd ?? Number.NaN,
    "data asked": resource("flamegraph")?.startTime ?? Number.NaN,
    "data there": resource("flamegraph")?.responseEnd ?? Number.NaN,
    decoded: decode.startTime + decode.duration,
    drawn: draw.startTime + draw.duration,
    "decode alone": decode.duration,
  };
}

/** In the page: what the operations took, without the browser's part. */
function opsOf(): Record<string, number> {
  const named = (name: string) => performance.getEntriesByName(name).map((entry) => entry.duration);
  const median = (times: number[]) => [...times].sort((a, b) => a - b)[times.length >> 1] ?? Number.NaN;
  return {
    "draw, median": median(named("draw")),
    "search, median": median(named("search").filter((ms) => ms > 0.05)),
  };
}

/** In the page: one operation each animation frame; the times between the frames. */
async function operate(asked: { kind: Kind; op: string; count: number; limit: number }): Promise<number[]> {
  const { kind, op, count, limit } = asked;
  const canvases = [...document.querySelectorAll("canvas")].sort((a, b) => b.height - a.height);
  const canvas = kind === "ours" ? document.querySelector<HTMLCanvasElement>(".flame-sticky canvas") : canvases[0];
  const box = canvas?.getBoundingClientRect() ?? new DOMRect(0, 0, innerWidth, innerHeight);
  const groups =
    kind === "d3" || kind === "svg" ? [...document.querySelectorAll("g.frame, g > g")].slice(0, 2_000) : [];
  const point = (i: number) => ({
    bubbles: true,
    cancelable: true,
    view: window,
    clientX: box.left + box.width * (0.05 + (i % 90) / 100),
    clientY: box.top + 60 + (i % 12) * 18,
  });
  const words = ["h", "ha", "has", "hash", "hash_", "p", "pl", "pla", "plan", ""];
  const chart = (window as unknown as { chart?: { search(t: string): void; resetZoom(): void } }).chart;
  const svgSearch = (window as unknown as { search?: (t: string) => void }).search;
  const act = (i: number): void => {
    if (kind === "ours" && canvas !== null) {
      if (op === "hover") canvas.dispatchEvent(new PointerEvent("pointermove", { ...point(i), pointerType: "mouse" }));
      else if (op === "zoom" && i % 2 === 0) canvas.dispatchEvent(new MouseEvent("click", point(i)));
      else if (op === "zoom") window.dispatchEvent(new KeyboardEvent("keydown", { key: "0" }));
      else if (op === "pan") (canvas.closest(".flame-scroller") as HTMLElement).scrollTop = (i % 40) * 24;
      else {
        const input = document.querySelector<HTMLInputElement>("#search");
        if (input === null) return;
        input.value = words[i % words.length];
        input.dispatchEvent(new InputEvent("input", { bubbles: true }));
      }
      return;
    }
    if (kind === "speedscope") {
      // Its canvas lies under everything and takes no events itself.
      const target = document.elementFromPoint(point(i).clientX, 400) ?? document.body;
      const wheel = { ...point(i), deltaY: i % 20 < 10 ? -20 : 20 };
      if (op === "hover") target.dispatchEvent(new MouseEvent("mousemove", point(i)));
      else target.dispatchEvent(new WheelEvent("wheel", { ...wheel, ctrlKey: op === "zoom" }));
      return;
    }
    const group = groups[(i * 37) % Math.max(groups.length, 1)];
    if (op === "hover") group?.dispatchEvent(new MouseEvent("mouseover", point(i)));
    else if (op === "zoom" && i % 2 === 0) group?.dispatchEvent(new MouseEvent("click", point(i)));
    else if (op === "zoom" && chart !== undefined) chart.resetZoom();
    else if (op === "zoom") document.querySelector("#unzoom")?.dispatchEvent(new MouseEvent("click", point(i)));
    else if (chart !== undefined) chart.search(words[i % words.length]);
    else svgSearch?.(words[i % words.length] || "x");
  };
  const times: number[] = [];
  const began = performance.now();
  let last = await new Promise<number>(requestAnimationFrame);
  for (let i = 0; i < count && performance.now() - began < limit; i++) {
    act(i);
    const now = await new Promise<number>(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times;
}

test.runIf(wanted !== "")("the page beside others", { timeout: 900_000 }, async () => {
  const results: Result[] = [];
  const servers: Server[] = [];
  const run = async (who: string, kind: Kind, nodes: number, url: string): Promise<void> => {
    try {
      results.push(await measure(who, kind, nodes, url));
    } catch (error) {
      console.log(`${who}, ${nodes} nodes: not measured: ${String(error).split("\n")[0]}`);
    }
  };
  const only = (name: string) => wanted === "1" || wanted.split(",").includes(name);
  for (const nodes of [100_000, 1_000_000]) {
    if (!only("ours")) continue;
    const mock = await startMock({ dist: join(import.meta.dirname, "../../dist"), nodes, packed: true });
    await run("this page", "ours", nodes, `${mock.url}?live=0`);
    await mock.close();
  }
  const small = profileOf(100_000);
  const start = async (files: Record<string, string | Buffer>, folder?: string): Promise<string> => {
    const { url, server } = await serve(files, folder);
    servers.push(server);
    return url;
  };
  if (only("d3")) {
    await run("d3-flame-graph, >= 1 px", "d3", 100_000, `${await start(await d3Files(small, 1, cache))}/index.html`);
    await run("d3-flame-graph, all", "d3", 100_000, `${await start(await d3Files(small, 0, cache))}/index.html`);
    const large = await d3Files(profileOf(1_000_000), 1, cache);
    await run("d3-flame-graph, >= 1 px", "d3", 1_000_000, `${await start(large)}/index.html`);
  }
  if (only("svg")) {
    for (const [who, width] of [
      ["inferno SVG, 0.01 %", 0.01],
      ["inferno SVG, all", 0],
    ] as const) {
      const svg = infernoSvg(small, width);
      if (svg === null) console.log("inferno-flamegraph is not installed: no SVG");
      else await run(who, "svg", 100_000, `${await start({ "/graph.svg": svg })}/graph.svg`);
    }
  }
  if (only("speedscope")) {
    const url = await start({ "/bench.json": speedscopeData(small) }, SPEEDSCOPE);
    await run(
      "speedscope",
      "speedscope",
      100_000,
      `${url}/index.html#profileURL=${encodeURIComponent(`${url}/bench.json`)}&title=bench`,
    );
  }
  for (const server of servers) server.close();
  print(results);
  expect(results.length).toBeGreaterThan(0);
});

function print(results: readonly Result[]): void {
  const ms = (n: number) => (n >= 100 ? n.toFixed(0) : n.toFixed(1)).padStart(7);
  const lines = results.flatMap((r) => [
    `${r.who}, ${r.nodes.toLocaleString("en-US")} nodes: first frame ${ms(median(r.first)).trim()} ms (median of ${r.first.length} loads from ${ms(Math.min(...r.first)).trim()} to ${ms(Math.max(...r.first)).trim()}, in a browser just started ${ms(r.first[0]).trim()}), heap ${(r.heap / 1e6).toFixed(0)} MB`,
    ...(Object.keys(r.parts).length > 0
      ? [
          `    ${Object.entries(r.parts)
            .map(([what, n]) => `${what} ${ms(n).trim()}`)
            .join(", ")} ms`,
        ]
      : []),
    ...Object.entries(r.frames).map(
      ([op, f]) => `    ${op.padEnd(7)} frames p50 ${ms(f.p50)}  p95 ${ms(f.p95)}  max ${ms(f.max)} ms`,
    ),
  ]);
  console.log(`\n${lines.join("\n")}\n`);
}
