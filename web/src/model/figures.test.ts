import { describe, expect, test } from "vitest";
import { decodeFlameGraph } from "../api/decode";
import { flameGraphFromStacks } from "../testing/profile-from-text";
import { randomNumbers } from "../testing/synthetic";
import { type CallTree, nodeName, pathTo } from "./call-tree";
import { functionRows, weigh } from "./function";
import { neighbours, sandwich } from "./sandwich";
import { frameMask, parseSearch, searchTree } from "./search";
import { NOT_TIDIED, type Tidy, tidyTree } from "./tidy";

/** Stacks with few names, so that recursion, shared prefixes and equal stacks are common. */
function randomStacks(seed: number): string[][] {
  const random = randomNumbers(seed);
  const names = ["a", "b", "c", "Vec<u8>::push", "Vec<u16>::push", "read[k]", "main"];
  return Array.from({ length: 1 + Math.floor(random() * 60) }, () => [
    random() < 0.7 ? "web[p]" : "db[p]",
    ...Array.from({ length: Math.floor(random() * 9) }, () => names[Math.floor(random() ** 2 * names.length)]),
  ]);
}

const bare = (frame: string): string => frame.replace(/\[[pk]\]$/, "");

/** Stack -> samples, as the folded export has them. */
function folded(stacks: readonly (readonly string[])[]): Record<string, number> {
  const lines: Record<string, number> = {};
  for (const stack of stacks) lines[stack.map(bare).join(";")] = (lines[stack.map(bare).join(";")] ?? 0) + 1;
  return lines;
}

/** The same, read off a tree. */
function foldedTree(tree: CallTree, root = 1): Record<string, number> {
  const lines: Record<string, number> = {};
  for (let i = 0; i < tree.size; i++) {
    if (tree.self[i] === 0) continue;
    const path = pathTo(tree, i).slice(root);
    lines[path.map((n) => nodeName(tree, n)).join(";")] = tree.self[i];
  }
  return lines;
}

const ROUNDS = Array.from({ length: 150 }, (_, i) => i + 1);

describe.each(ROUNDS)("whatever the profile (%i)", (seed) => {
  const stacks = randomStacks(seed);
  const { tree } = decodeFlameGraph(flameGraphFromStacks(stacks));
  const functions = [...new Set(stacks.flat().map(bare))];
  const maskOf = (name: string) => frameMask(tree.frames, parseSearch(`"${name}"`));

  /** The graph is the folded stacks, drawn. */
  test("the graph has the samples of the folded stacks", () => {
    expect(foldedTree(tree)).toEqual(folded(stacks));
    expect(tree.total[0]).toBe(stacks.length);
  });

  /** Self: ended in it. Total: on the stack, once. So says the table, so says the search. */
  test("a function's self and total are counted once a sample", () => {
    for (const name of functions) {
      const total = stacks.filter((stack) => stack.some((frame) => bare(frame) === name)).length;
      const self = stacks.filter((stack) => bare(stack[stack.length - 1]) === name).length;
      expect(weigh(tree, maskOf(name))).toEqual({ self, total });
      const row = functionRows(tree).find((one) => one.name === name);
      if (row !== undefined) expect({ self: row.self, total: row.total }).toEqual({ self, total });
      expect(searchTree(tree, parseSearch(`"${name}"`))?.total).toBe(total);
    }
  });

  /** Callers and callees of the outermost occurrence, from the stacks themselves. */
  test("a sandwich has the callers and callees of the outermost occurrence", () => {
    for (const name of functions) {
      const cut = sandwich(tree, maskOf(name));
      const above: string[][] = [];
      const below: string[][] = [];
      for (const stack of stacks.map((s) => s.map(bare))) {
        const at = stack.indexOf(name);
        if (at < 0) continue;
        above.push([...stack.slice(0, at).reverse()]);
        below.push(stack.slice(at + 1));
      }
      expect(cut).not.toBeNull();
      if (cut === null) return;
      expect(foldedTree(cut.callees)).toEqual(folded(below));
      expect(foldedTree(cut.callers)).toEqual(folded(above));
      expect([cut.callers.total[0], cut.callees.total[0]]).toEqual([cut.total, cut.total]);
      expect({ self: cut.self, total: cut.total }).toEqual(weigh(tree, maskOf(name)));
      const ended = neighbours(cut.callees).reduce((sum, n) => sum + n.total, 0) + cut.callees.self[0];
      expect(ended).toBe(cut.total);
    }
  });

  /** However frames are hidden, folded and merged, no sample goes away; and the frames that stay are the right ones. */
  test("tidying moves samples between frames and drops none", () => {
    const tidied = (change: Partial<Tidy>) => foldedTree(tidyTree(tree, { ...NOT_TIDIED, ...change }));
    const mapped = (change: (stack: string[]) => string[]) => folded(stacks.map((s) => change(s.map(bare))));
    expect(tidied({ hide: ['"a"', '"web"'] })).toEqual(mapped((s) => s.filter((f) => f !== "a" && f !== "web")));
    expect(tidied({ fold: ['"b"'] })).toEqual(mapped((s) => (s.includes("b") ? s.slice(0, s.indexOf("b") + 1) : s)));
    expect(tidied({ recursion: true })).toEqual(
      mapped((stack) => {
        const kept: string[] = [];
        for (const frame of stack) {
          const before = kept.indexOf(frame);
          if (before >= 0) kept.length = before + 1;
          else kept.push(frame);
        }
        return kept;
      }),
    );
  });
});
