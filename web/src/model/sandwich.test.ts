/** A function that is all over a tree of which only a part is sent: what is shown of it must be so, and its figures those of the table. */

import { describe, expect, test } from "vitest";
import { decodeFlameGraph } from "../api/decode";
import { cutAround, cutBelow } from "../testing/cut";
import { randomNumbers, syntheticFlameGraph } from "../testing/synthetic";
import { type CallTree, FrameKind, nodeName, pathTo } from "./call-tree";
import { type FunctionId, framesOf, functionRows } from "./function";
import { type Sandwich, sandwich } from "./sandwich";

/** Every path of a half with its samples; remainders apart. */
function lines(tree: CallTree): { known: Map<string, number>; hidden: number } {
  const known = new Map<string, number>();
  let hidden = 0;
  for (let i = 0; i < tree.size; i++) {
    const path = pathTo(tree, i).map((at) => `${tree.frames.kind[tree.frame[at]]} ${nodeName(tree, at)}`);
    if (tree.frames.kind[tree.frame[i]] === FrameKind.Remainder) hidden += tree.total[i];
    else known.set(path.join(";"), tree.total[i]);
  }
  return { known, hidden };
}

const answer = syntheticFlameGraph({ nodes: 6_000, samples: 60_000, names: 150, seed: 11 });
const whole = decodeFlameGraph(answer);
const rows = functionRows(whole.tree);

function cut(most: number, chosen: FunctionId): Sandwich | null {
  const { tree, around } = decodeFlameGraph(cutAround(answer, most, chosen));
  return sandwich(tree, framesOf(tree.frames, chosen), around);
}

describe("a sandwich of a cut tree", () => {
  const random = randomNumbers(5);
  const some = Array.from({ length: 25 }, () => rows[Math.floor(random() * rows.length)]);

  test.each(some)("has all of $name where there is room for that", (chosen) => {
    const of = sandwich(whole.tree, framesOf(whole.tree.frames, chosen)) as Sandwich;
    const all = cut(5_500, chosen) as Sandwich;
    expect([all.total, all.self]).toEqual([of.total, of.self]);
    for (const half of ["callers", "callees"] as const) expect(lines(all[half])).toEqual(lines(of[half]));
  });

  test.each(some)(
    "has the table's figures of $name, and no path with more than there is, where there is not",
    (chosen) => {
      const of = sandwich(whole.tree, framesOf(whole.tree.frames, chosen)) as Sandwich;
      const part = cut(60, chosen);
      if (part === null) throw new Error("the heaviest place of it has room");
      expect([part.total, part.self]).toEqual([chosen.total, chosen.self]);
      for (const half of ["callers", "callees"] as const) {
        expect(part[half].total[0]).toBe(chosen.total);
        const [shown, there] = [lines(part[half]), lines(of[half])];
        for (const [path, samples] of shown.known)
          expect(samples, path).toBeLessThanOrEqual(there.known.get(path) ?? -1);
      }
    },
  );

  /** What the graph's own answer, cut to as many nodes, shows of a rare function: less, or nothing. */
  test("has more than the graph's heaviest nodes have of it", () => {
    const rare = rows[rows.length - 1];
    const { tree } = decodeFlameGraph(cutBelow(answer, 500));
    const before = sandwich(tree, framesOf(tree.frames, rare));
    expect(before === null || before.total < rare.total).toBe(true);
    expect(lines((cut(500, rare) as Sandwich).callers).hidden).toBe(0);
  });
});
