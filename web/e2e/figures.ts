/**
 * Whatever was sampled and whatever is asked, the page's figures are sums over the samples themselves: a real server answers about a
 * random history (`profiler/examples/random_profile.rs`, which says what it drew), and the page's own code makes figures of the answers.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Binaries, FlameGraph, HeatMap, LabelValues, Quality, Timeline, Top } from "../src/api/contract";
import { decodeDiff, decodeFlameGraph } from "../src/api/decode";
import { type CallTree, FrameKind, pathTo } from "../src/model/call-tree";
import { colorFrames } from "../src/model/coloring";
import { diffTrees, functionDiffs, nodeDiff } from "../src/model/diff";
import { foldedLines } from "../src/model/folded";
import { framesOf, functionOf, weigh } from "../src/model/function";
import { sandwich } from "../src/model/sandwich";
import { randomNumbers } from "../src/testing/synthetic";
import {
  count,
  type Drawn,
  FILTERS,
  frameKey,
  functionSums,
  isCut,
  pathTotals,
  type Sample,
  type Served,
  serve,
  sums,
} from "./drawn";

const SEEDS = (process.env.SEEDS ?? "1 2 3 4 5 6 7 8").split(" ").map(Number);

/** Samples at and below each path that a tree has, notes left out: a stack that is cut short stands beside the whole ones there. */
function totalsOf(tree: CallTree, weights: ArrayLike<number>): Record<string, number> {
  const found: Record<string, number> = {};
  for (let i = 1; i < tree.size; i++) {
    const kind = tree.frames.kind[tree.frame[i]];
    if (kind === FrameKind.Note || kind === FrameKind.Remainder || weights[i] === 0) continue;
    const path = pathTo(tree, i)
      .slice(1)
      .filter((node) => tree.frames.kind[tree.frame[node]] !== FrameKind.Note)
      .map((node) => {
        const { kind, name, binary } = functionOf(tree.frames, tree.frame[node]);
        return kind === FrameKind.Process ? name : `${kind} ${name} ${binary}`;
      });
    const key = path.join(";");
    found[key] = (found[key] ?? 0) + weights[i];
  }
  return found;
}

describe.each(SEEDS)("the random history of seed %i", (seed) => {
  let served: Served;
  let drawn: Drawn;
  let url = "";
  const random = randomNumbers(seed * 7919);
  const below = (n: number): number => Math.floor(random() * n);

  beforeAll(async () => {
    served = await serve(seed);
    ({ drawn, url } = served);
  });
  afterAll(() => served.end());

  const ask = async <T>(path: string, parameters: Record<string, string | number>): Promise<T> => {
    const query = new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, String(value)]));
    const response = await fetch(`${url}/api/v1/${path}?${query}`);
    const text = await response.text();
    expect(response.status, `${path} ${query}: ${text}`).toBe(200);
    return path.startsWith("export/") ? (text as T) : (JSON.parse(text) as T);
  };

  /** A random range and filter, and the samples that are its. */
  const question = (): { about: Record<string, string | number>; samples: Sample[] } => {
    const { windows } = drawn;
    const first = below(windows.length);
    const last = first + below(windows.length - first);
    // A window belongs to the range that it starts in, whatever part of it.
    const from = windows[first].from - below(2) * below(3_000);
    const to = windows[last].from + 1 + below(9_000);
    const [filter, passes] = FILTERS[below(FILTERS.length)];
    const samples = drawn.samples.filter((sample) => sample.window >= from && sample.window < to && passes(sample));
    return { about: { from, to, filter }, samples };
  };

  const rounds = Array.from({ length: 4 }, (_, i) => i);

  test.each(rounds)("graph, legend and sandwich, whole and cut (%i)", async () => {
    const { about, samples } = question();
    const whole = decodeFlameGraph(await ask<FlameGraph>("flamegraph", about));
    expect(whole.samples).toBe(count(samples));
    expect(whole.incomplete).toBe(count(samples.filter(isCut)));
    expect(totalsOf(whole.tree, whole.tree.total)).toEqual(pathTotals(samples));
    expect(foldedLines(whole.tree, 0).split("\n").sort()).toEqual(
      (await ask<string>("export/folded", about)).split("\n").sort(),
    );
    const cut = decodeFlameGraph(await ask<FlameGraph>("flamegraph", { ...about, limit: 2 + below(20) }));
    // A node that is there has all its samples; what is not is in remainders.
    const truth = pathTotals(samples);
    expect(cut.tree.total[0]).toBe(count(samples));
    const kinds = sums(samples, ({ frames, comm }) => String(frames.at(-1)?.kind ?? (comm === "" ? 0 : 1)));
    for (const { tree, ...counted } of [whole, cut]) {
      const legend = colorFrames(tree, "kind", counted).legend;
      const of = (label: string) => legend.find((entry) => entry.label === label)?.self ?? 0;
      expect([of("native"), of("kernel"), of("inlined"), of("no symbol"), of("cut short")]).toEqual([
        ...[FrameKind.User, FrameKind.Kernel, FrameKind.Inlined, FrameKind.Unknown].map((kind) => kinds[kind] ?? 0),
        count(samples.filter(isCut)),
      ]);
    }
    // What the sentence above the graph says, cut or whole.
    const processes = sums(samples, ({ comm }) => comm);
    const hottest = whole.hottest;
    expect(cut.hottest).toEqual(hottest);
    expect(hottest?.total).toBe(Math.max(...Object.values(processes)));
    expect(processes[hottest?.process ?? ""]).toBe(hottest?.total);
    const ended = sums(samples, ({ comm, frames }) => {
      const last = frames.at(-1);
      return comm === hottest?.process && last !== undefined ? frameKey(last) : null;
    });
    const fn = hottest?.function ?? null;
    expect(fn?.self).toBe(Object.values(ended).length === 0 ? undefined : Math.max(...Object.values(ended)));
    if (fn !== null) expect(ended[`${fn.kind} ${fn.name} ${fn.binary}`]).toBe(fn.self);
    for (let frame = 0; frame < whole.tree.frames.name.length; frame++) {
      const chosen = functionOf(whole.tree.frames, frame);
      if (![FrameKind.User, FrameKind.Kernel, FrameKind.Inlined].includes(chosen.kind as never)) continue;
      const key = `${chosen.kind} ${chosen.name} ${chosen.binary}`;
      const mask = framesOf(whole.tree.frames, chosen);
      const halves = sandwich(whole.tree, mask);
      expect({ self: halves?.self, total: halves?.total }, key).toEqual(functionSums(samples, key));
      expect(weigh(whole.tree, mask)).toEqual(functionSums(samples, key));
      expect(halves?.callers.total[0]).toBe(halves?.total);
      expect(halves?.callees.total[0]).toBe(halves?.total);
    }
    for (const [path, total] of Object.entries(totalsOf(cut.tree, cut.tree.total))) {
      expect(total, path).toBeLessThanOrEqual(truth[path] ?? 0);
    }
  });

  test.each(rounds)("table: every row, searched and in any order, and what is left out (%i)", async () => {
    const { about, samples } = question();
    const rows = new Map<string, { self: number; total: number }>();
    for (const { frames } of samples) for (const frame of frames) rows.set(frameKey(frame), { self: 0, total: 0 });
    for (const key of rows.keys()) rows.set(key, functionSums(samples, key));
    for (const sort of ["self", "total"] as const) {
      for (const order of ["asc", "desc"]) {
        const limit = 1 + below(6);
        const search = ["", "k", "/^f[1-3]$/", "kind:kernel", "binary:libx"][below(5)];
        const found = await ask<Top>("top", { ...about, sort, order, limit, search });
        const nameOf = (key: string) => key.split(" ")[1];
        const fits: Record<string, (key: string) => boolean> = {
          "": () => true,
          k: (key) => nameOf(key).includes("k"),
          "/^f[1-3]$/": (key) => /^f[1-3]$/.test(nameOf(key)),
          "kind:kernel": (key) => key.startsWith("3 "),
          "binary:libx": (key) => key.includes(" /usr/lib/libx"),
        };
        const matching = [...rows].filter(([key]) => fits[search](key));
        // Processes and notes have a row where samples have no frame: they are no functions here.
        const code = found.rows.filter(({ kind }) => kind !== FrameKind.Process && kind !== FrameKind.Note);
        for (const row of code) {
          const { self, total } = row;
          expect({ self, total }).toEqual(rows.get(`${row.kind} ${row.name} ${row.binary}`));
        }
        const wanted = matching.map(([, sum]) => sum[sort]).sort((a, b) => (order === "asc" ? a - b : b - a));
        // The other two find the words of notes and processes too.
        if (search.length > 1) {
          expect(code.map((row) => row[sort])).toEqual(wanted.slice(0, limit));
          expect(found.rows.length + found.hidden_rows).toBe(matching.length);
        }
        expect(found.samples).toBe(count(samples));
      }
    }
  });

  test.each(rounds)("difference, by share and absolute (%i)", async () => {
    const [before, after] = [question(), question()];
    const sides = { base_from: before.about.from, base_to: before.about.to, base_filter: before.about.filter || "{}" };
    for (const absolute of [false, true]) {
      const asked = { ...after.about, ...sides, by: absolute ? "time" : "share" };
      const answer = decodeDiff(await ask("diff", asked));
      const compared = diffTrees(answer.before.tree, answer.after.tree, [answer.before, answer.after], absolute);
      expect(totalsOf(compared.tree, compared.before)).toEqual(pathTotals(before.samples));
      expect(totalsOf(compared.tree, compared.after)).toEqual(pathTotals(after.samples));
      const recorded = ({ about }: typeof before) =>
        drawn.windows
          .filter(({ from }) => from >= Number(about.from) && from < Number(about.to))
          .reduce((sum, { from, to }) => sum + to - from, 0);
      // 10 ms a sample.
      const all = [before, after].map((side) =>
        absolute ? (count(side.samples) * 10) / recorded(side) : Math.sign(count(side.samples)),
      );
      expect(nodeDiff(compared, 0).change).toBeCloseTo(all[1] - all[0], 9);
      for (const row of functionDiffs(compared)) {
        const { kind, name, binary } = functionOf(compared.tree.frames, row.frame);
        if (kind === FrameKind.Process || kind === FrameKind.Note) continue;
        const key = `${kind} ${name} ${binary}`;
        expect([row.before, row.after]).toEqual([before, after].map(({ samples }) => functionSums(samples, key).self));
      }
    }
  });

  test.each(rounds)("heat map and a box of it, with table, labels and quality beside it (%i)", async () => {
    const { about } = question();
    const from = Math.floor(Number(about.from) / 1_000) * 1_000;
    const scope = { from, to: from + 60_000, filter: about.filter };
    const [columns, rows] = [12, 50];
    const map = await ask<HeatMap>("heatmap", { ...scope, columns, rows });
    const filter = FILTERS.find(([text]) => text === about.filter)?.[1] ?? (() => true);
    const cell = (ms: number) => Math.floor((ms - from) / (60_000 / (columns * rows)));
    const cells = new Array<number>(columns * rows).fill(0);
    const inRange = drawn.samples.filter(filter);
    for (const { times } of inRange) {
      for (const ms of times) if (ms >= from && ms < from + 60_000) cells[cell(ms)]++;
    }
    expect(map.samples).toEqual(cells);
    const column_from = below(columns);
    const column_to = column_from + below(columns - column_from);
    const row_from = below(rows);
    const row_to = row_from + below(rows - row_from);
    const inside = (ms: number) => {
      if (ms < from || ms >= from + 60_000) return false;
      const [column, row] = [Math.floor(cell(ms) / rows), cell(ms) % rows];
      return column >= column_from && column <= column_to && row >= row_from && row <= row_to;
    };
    const boxed = inRange
      .map((sample) => ({ ...sample, times: sample.times.filter(inside) }))
      .filter(({ times }) => times.length > 0);
    const box = { ...scope, columns, rows, column_from, column_to, row_from, row_to };
    const graph = decodeFlameGraph(await ask<FlameGraph>("heatmap/flamegraph", box));
    expect(totalsOf(graph.tree, graph.tree.total)).toEqual(pathTotals(boxed));
    expect(graph.samples).toBe(count(boxed));
    const table = await ask<Top>("top", box);
    expect(table.samples).toBe(count(boxed));
    for (const { kind, name, binary, self, total } of table.rows) {
      if (kind === FrameKind.Process || kind === FrameKind.Note) continue;
      expect({ self, total }).toEqual(functionSums(boxed, `${kind} ${name} ${binary}`));
    }
    const threads = await ask<LabelValues>("labels/thread/values", box);
    expect(Object.fromEntries(threads.values.map(({ value, samples }) => [value, samples]))).toEqual(
      sums(boxed, ({ thread }) => thread),
    );
    const timeline = await ask<Timeline>("timeline", box);
    expect(timeline.buckets.samples.reduce((sum, n) => sum + n, 0)).toBe(count(boxed));
    timeline.buckets.samples.forEach((samples, i) => {
      const start = timeline.from_ms + i * timeline.step_ms;
      const there = boxed.flatMap(({ times }) => times).filter((ms) => ms >= start && ms < start + timeline.step_ms);
      expect(samples).toBe(there.length);
    });
    const quality = await ask<Quality>("quality", box);
    expect([quality.samples, quality.complete]).toEqual([count(boxed), count(boxed.filter((one) => !isCut(one)))]);
  });

  test.each(rounds)("quality and labels, with what a limit leaves out (%i)", async () => {
    const { about, samples } = question();
    const quality = await ask<Quality>("quality", { ...about, limit: 1_000 });
    expect([quality.samples, quality.complete]).toEqual([count(samples), count(samples.filter((one) => !isCut(one)))]);
    const rows = quality.incomplete.map(({ cause, comm, binary, samples }) => [`${cause} ${comm} ${binary}`, samples]);
    expect(Object.fromEntries(rows)).toEqual(
      sums(samples, (sample) => {
        const outermost = sample.frames[0];
        const file = outermost === undefined || outermost.kind === FrameKind.Kernel ? null : outermost.binary;
        return isCut(sample) ? `${sample.end} ${sample.comm} ${file}` : null;
      }),
    );
    const unnamed = quality.unnamed.map(({ reason, binary, samples }) => [`${reason} ${binary}`, samples]);
    expect(Object.fromEntries(unnamed)).toEqual(
      sums(samples, ({ frames }) => {
        const last = frames.at(-1);
        return last?.kind === FrameKind.Unknown ? `${last.reason} ${last.binary}` : null;
      }),
    );
    const framesOf = (wanted: (kind: number) => boolean) =>
      samples.reduce((sum, one) => sum + count([one]) * one.frames.filter(({ kind }) => wanted(kind)).length, 0);
    const binaries = [
      framesOf((kind) => kind !== FrameKind.Inlined),
      framesOf((kind) => kind !== FrameKind.Inlined && kind !== FrameKind.Unknown),
    ];
    for (const limit of [1, 1_000]) {
      const { frames, named } = await ask<Binaries>("binaries", { ...about, limit });
      expect([frames, named]).toEqual(binaries);
    }
    const one = await ask<Quality>("quality", { ...about, limit: 1 });
    expect([one.kinds, one.hidden_unnamed]).toEqual([quality.kinds, Math.max(0, unnamed.length - 1)]);
    for (const [label, of] of [
      ["comm", ({ comm }: Sample) => comm],
      ["pid", ({ pid }: Sample) => pid],
      ["unit", ({ unit }: Sample) => unit ?? ""],
    ] as const) {
      const all = await ask<LabelValues>(`labels/${label}/values`, about);
      const truth = sums(samples, of);
      expect(Object.fromEntries(all.values.map(({ value, samples }) => [value, samples]))).toEqual(truth);
      const first = await ask<LabelValues>(`labels/${label}/values`, { ...about, limit: 1 });
      expect([first.values.length + first.hidden_values, first.samples]).toEqual([
        Object.keys(truth).length,
        count(samples),
      ]);
    }
  });

  test.each(rounds)("timeline: every sample, and only true gaps (%i)", async () => {
    const { about, samples } = question();
    const timeline = await ask<Timeline>("timeline", about);
    expect(timeline.buckets.samples.reduce((sum, n) => sum + n, 0)).toBe(count(samples));
    const { from_ms, step_ms, buckets, gaps } = timeline;
    const touched = (from: number, to: number) => drawn.windows.some((one) => one.from < to && one.to > from);
    for (const gap of gaps) expect(touched(gap.from_ms, gap.to_ms), JSON.stringify(gap)).toBe(false);
    const [begin, end] = [Number(about.from), Number(about.to)];
    buckets.busy_cores.forEach((cores, i) => {
      const [from, to] = [from_ms + i * step_ms, from_ms + (i + 1) * step_ms];
      // What begins after the range is not asked about.
      const known = drawn.windows.some((one) => one.from < Math.min(to, end) && one.to > from && one.from < end);
      if (from < begin && to <= begin) return;
      expect(cores !== null, `${i}: ${cores}`).toBe(known);
    });
  });
});
