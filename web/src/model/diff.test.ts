import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Diff as Answer } from "../api/contract";
import { decodeDiff, decodeFlameGraph } from "../api/decode";
import { flameGraphFromStacks } from "../testing/profile-from-text";
import { randomNumbers } from "../testing/synthetic";
import { type CallTree, nodeName, pathTo } from "./call-tree";
import { diffTrees, functionDiffs, nodeDiff, type Side, zOf } from "./diff";

/** 10 ms a sample, all of `recordedMs` recorded. */
const side = (samples: number, recordedMs = 10_000): Side => ({
  samples,
  measure: { scale: 1e7, counts_samples: true },
  heaviest: 1,
  recordedMs,
});
const sidesOf = (a: CallTree, b: CallTree): [Side, Side] => [side(a.total[0]), side(b.total[0])];

function randomStacks(seed: number): string[][] {
  const random = randomNumbers(seed);
  return Array.from({ length: 1 + Math.floor(random() * 50) }, () =>
    Array.from({ length: 1 + Math.floor(random() * 6) }, () => "abcde"[Math.floor(random() ** 2 * 5)]),
  );
}

describe("a diff", () => {
  /** Each side of each node, against the stacks themselves; both add up whatever the pair. */
  test("has on each side the samples of that side, for 200 random pairs", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const sides = [randomStacks(seed), randomStacks(seed + 1000)];
      const [a, b] = sides.map((stacks) => decodeFlameGraph(flameGraphFromStacks(stacks)).tree);
      for (const absolute of [false, true]) {
        const diff = diffTrees(a, b, sidesOf(a, b), absolute);
        for (let i = 0; i < diff.tree.size; i++) {
          const path = pathTo(diff.tree, i)
            .slice(1)
            .map((n) => nodeName(diff.tree, n));
          const [before, after] = sides.map(
            (stacks) => stacks.filter((s) => path.every((name, at) => s[at] === name)).length,
          );
          expect([diff.before[i], diff.after[i]]).toEqual([before, after]);
        }
        const rows = functionDiffs(diff);
        expect(rows.reduce((sum, row) => sum + row.before, 0)).toBe(sides[0].length);
        expect(rows.reduce((sum, row) => sum + row.after, 0)).toBe(sides[1].length);
      }
    }
  });

  /** Nothing changed: nothing is coloured, and no function is blamed. */
  test("of a profile with itself is all noise", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const { tree } = decodeFlameGraph(flameGraphFromStacks(randomStacks(seed)));
      const diff = diffTrees(tree, tree, sidesOf(tree, tree), false);
      for (let i = 0; i < diff.tree.size; i++) {
        expect(nodeDiff(diff, i)).toMatchObject({ change: 0, verdict: "noise" });
      }
      expect(functionDiffs(diff).every((row) => row.change === 0)).toBe(true);
    }
  });

  /** Twice the samples of the same is the same by share, and twice by count. */
  test("is by share unless absolute", () => {
    const stacks = Array.from({ length: 400 }, (_, i) => [i % 4 === 0 ? "x" : "y"]);
    const [a, b] = [stacks, [...stacks, ...stacks]].map((s) => decodeFlameGraph(flameGraphFromStacks(s)).tree);
    expect(nodeDiff(diffTrees(a, b, sidesOf(a, b), false), 1)).toMatchObject({ change: 0, verdict: "noise" });
    expect(nodeDiff(diffTrees(a, b, sidesOf(a, b), true), 1)).toMatchObject({
      before: 300,
      after: 600,
      verdict: "more",
    });
  });

  /** A side of which half was recorded has half the samples and is as busy: counts alone would say that everything doubled. */
  test("absolute is by recorded time", () => {
    const stacks = Array.from({ length: 400 }, (_, i) => [i % 4 === 0 ? "x" : "y"]);
    const [a, b] = [stacks.slice(0, 200), stacks].map((s) => decodeFlameGraph(flameGraphFromStacks(s)).tree);
    const diff = diffTrees(a, b, [side(200, 5_000), side(400, 10_000)], true);
    for (let i = 0; i < diff.tree.size; i++) expect(nodeDiff(diff, i)).toMatchObject({ change: 0, verdict: "noise" });
    const { coresOf, before, after } = nodeDiff(diff, 0);
    expect([before * (coresOf?.[0] ?? 0), after * (coresOf?.[1] ?? 0)]).toEqual([0.4, 0.4]);
  });

  /** Against the textbook: 45 of 100 and 30 of 100 differ by z = -2.19; 100 and 130 in equal times by 1.98. */
  test("measures noise as the textbook does", () => {
    expect(zOf([45, 30], [side(100), side(100)], false)).toBeCloseTo(-2.19, 2);
    expect(zOf([100, 130], [side(100), side(130)], true)).toBeCloseTo(1.978, 3);
    expect(zOf([0, 3], [side(0), side(5)], false)).toBe(0);
    // In time, of samples of several rates: as if all were of the slowest.
    const timed = (samples: number): Side => {
      const measure = { scale: 1, counts_samples: false };
      return { samples: samples * 1e7, measure, heaviest: 1e7, recordedMs: 10_000 };
    };
    expect(zOf([45e7, 30], [timed(100), side(100)], false)).toBeCloseTo(-2.19, 2);
    expect(zOf([45e7, 30e7], [timed(100), timed(100)], false)).toBeCloseTo(-2.19, 2);
    expect(zOf([100e7, 130], [timed(100), side(130)], true)).toBeCloseTo(1.978, 3);
  });

  /** Its answers carry z, to two digits: page and server say the same of every node. */
  test("has the server's noise", () => {
    const file = new URL("../../../profiler/tests/golden/api/diff.json", import.meta.url);
    const answer: Answer = JSON.parse(readFileSync(file, "utf8"));
    const { before, after } = decodeDiff(answer);
    answer.nodes.z.forEach((z, i) => {
      const counts = [answer.nodes.total_before[i], answer.nodes.total_after[i]] as const;
      expect(zOf(counts, [before, after], answer.by === "time")).toBeCloseTo(z, 2);
    });
  });
});
