/** A graph that is filled in on a zoom must not change a figure: the same samples, at the same places. */

import { describe, expect, test } from "vitest";
import type { Diff } from "../api/contract";
import { decodeDiff, decodeFlameGraph } from "../api/decode";
import { cutBelow, cutDiffBelow } from "../testing/cut";
import { randomNumbers, syntheticFlameGraph } from "../testing/synthetic";
import { type CallTree, FrameKind, nodeName, pathTo } from "./call-tree";
import { hasHidden, joinCuts } from "./deeper";

/** Every path with its figures, remainders included. */
function lines(tree: CallTree): string[] {
  const path = (i: number) => pathTo(tree, i).map((at) => `${tree.frames.kind[tree.frame[at]]}${nodeName(tree, at)}`);
  return Array.from({ length: tree.size }, (_, i) => `${path(i).join(";")} ${tree.total[i]} ${tree.self[i]}`).sort();
}

/** Totals of these selfs. */
function sums(self: readonly number[]): number[] {
  const { depth } = answer.nodes;
  const total = [...self];
  for (let i = total.length - 1; i > 0; i--) {
    let parent = i - 1;
    while (depth[parent] >= depth[i]) parent--;
    total[parent] += total[i];
  }
  return total;
}

const answer = syntheticFlameGraph({ nodes: 3_000, samples: 40_000, names: 300, seed: 5 });
const whole = decodeFlameGraph(answer).tree;
const cut = (most: number, node = 0) => decodeFlameGraph(cutBelow(answer, most, node)).tree;

describe("joining cuts", () => {
  /** What one has and the other has not is there; what neither has is in remainders; figures are those of the whole. */
  test("has what either has with the figures of the whole tree, for 60 nodes", () => {
    const random = randomNumbers(3);
    const figures = new Set(lines(whole));
    for (let n = 0; n < 60; n++) {
      const node = Math.floor(random() * whole.size);
      const [one, other] = [cut(200), cut(150, node)];
      const joined = joinCuts(one, other);
      if (joined === null) throw new Error(`node ${node}: not joined`);
      const known = lines(joined).filter((line) => !line.includes(`${FrameKind.Remainder}[smaller frames]`));
      for (const line of known) expect(figures.has(line), line).toBe(true);
      const either = new Set([...lines(one), ...lines(other)].filter((line) => !line.includes("[smaller frames]")));
      expect(known).toEqual([...either].sort());
      const sums = Float64Array.from(joined.self);
      for (let i = joined.size - 1; i > 0; i--) sums[joined.parent[i]] += sums[i];
      expect(sums).toEqual(joined.total);
    }
  });

  /** A cut with room for everything below its node leaves nothing hidden there. */
  test("joined with all that is below a node, nothing is hidden below it", () => {
    const one = cut(200);
    const joined = joinCuts(one, cut(100_000, 1));
    expect(hasHidden(one, 1)).toBe(true);
    expect(joined !== null && hasHidden(joined, 1)).toBe(false);
    expect(lines(joinCuts(cut(100_000), one) as CallTree)).toEqual(lines(whole));
  });

  /** Both sides of a diff are cut alike, and joined alike: each has its own figures, also where the other has nothing. */
  test("sides of a diff have the figures of their own whole trees", () => {
    const none = answer.nodes.total.map((_, i) => (i % 3 === 0 ? 0 : answer.nodes.self[i]));
    const before = sums(none);
    const sides = {
      depth: answer.nodes.depth,
      frame: answer.nodes.frame,
      total_before: before,
      total_after: answer.nodes.total,
      self_before: none,
      self_after: answer.nodes.self,
      z: none.map(() => 0),
    };
    const of = { scale: 1, counts_samples: true, heaviest: 1 };
    const about = { from_ms: 0, to_ms: 1, samples: before[0], ...of, incomplete: 0, recorded_ms: 1 };
    const { strings, frames } = answer;
    const diff: Diff = { before: about, after: about, by: "share", hidden_nodes: 0, strings, frames, nodes: sides };
    const all = decodeDiff(diff);
    const cutAt = (most: number, node: number) => decodeDiff(cutDiffBelow(diff, most, node));
    for (const node of [1, 40, 900, 2_500]) {
      const [one, other] = [cutAt(200, 0), cutAt(150, node)];
      for (const side of ["before", "after"] as const) {
        const joined = joinCuts(one[side].tree, other[side].tree);
        const figures = new Set(lines(all[side].tree));
        const known = lines(joined as CallTree).filter((line) => !line.includes("[smaller frames]"));
        expect(known.length).toBeGreaterThan(200);
        for (const line of known) expect(figures.has(line), line).toBe(true);
      }
    }
  });

  /** One more sample came in between: no join is better than a wrong one. */
  test("trees of different samples are not joined", () => {
    const later = structuredClone(answer);
    later.nodes.total[0] += 1;
    later.nodes.self[0] += 1;
    expect(joinCuts(cut(200), decodeFlameGraph(cutBelow(later, 100, 1)).tree)).toBeNull();
  });
});
