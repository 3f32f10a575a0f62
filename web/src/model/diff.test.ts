import { describe, expect, test } from "vitest";
import { decodeFlameGraph } from "../api/decode";
import { flameGraphFromStacks } from "../testing/profile-from-text";
import { randomNumbers } from "../testing/synthetic";
import { nodeName, pathTo } from "./call-tree";
import { diffTrees, functionDiffs, nodeDiff, poissonZ, proportionZ } from "./diff";

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
        const diff = diffTrees(a, b, absolute);
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
      const diff = diffTrees(tree, tree, false);
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
    expect(nodeDiff(diffTrees(a, b, false), 1)).toMatchObject({ change: 0, verdict: "noise" });
    expect(nodeDiff(diffTrees(a, b, true), 1)).toMatchObject({ before: 300, after: 600, verdict: "more" });
  });

  /** Against the textbook: 45 of 100 and 30 of 100 differ by z = -2.19; 100 and 130 by 1.98. */
  test("measures noise as the textbook does", () => {
    expect(proportionZ(45, 100, 30, 100)).toBeCloseTo(-2.19, 2);
    expect(poissonZ(100, 130)).toBeCloseTo(1.978, 3);
    expect(proportionZ(0, 0, 3, 5)).toBe(0);
  });
});
