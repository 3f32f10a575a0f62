/** A graph that is filled in on a zoom must not change a figure: the same samples, at the same places. */

import { describe, expect, test } from "vitest";
import { decodeFlameGraph } from "../api/decode";
import { cutBelow } from "../testing/cut";
import { randomNumbers, syntheticFlameGraph } from "../testing/synthetic";
import { type CallTree, FrameKind, nodeName, pathTo } from "./call-tree";
import { hasHidden, joinCuts } from "./deeper";

/** Every path with its figures, remainders included. */
function lines(tree: CallTree): string[] {
  const path = (i: number) => pathTo(tree, i).map((at) => `${tree.frames.kind[tree.frame[at]]}${nodeName(tree, at)}`);
  return Array.from({ length: tree.size }, (_, i) => `${path(i).join(";")} ${tree.total[i]} ${tree.self[i]}`).sort();
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

  /** One more sample came in between: no join is better than a wrong one. */
  test("trees of different samples are not joined", () => {
    const later = structuredClone(answer);
    later.nodes.total[0] += 1;
    later.nodes.self[0] += 1;
    expect(joinCuts(cut(200), decodeFlameGraph(cutBelow(later, 100, 1)).tree)).toBeNull();
  });
});
