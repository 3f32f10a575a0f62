/**
 * Draw samples, get a profile: each column of the text is one sample, its root at the top.
 *
 * ```
 * main  main  main
 * a     a     b
 * c     read[k]
 * ```
 *
 * The first line says where the columns start. A name may end in a kind: `[p]` process, `[k]` kernel, `[i]` inlined, `[j]`
 * JIT, `[?]` unknown, `[n]` note, `[r]` remainder; without one it is a user function. Samples with the same stack are merged and
 * siblings ordered as the server does: by falling total, then name.
 */

import type { FlameGraph } from "../api/contract";
import { type DecodedFlameGraph, decodeFlameGraph } from "../api/decode";
import { type CallTree, FrameKind, nodeName } from "../model/call-tree";
import { withKinds } from "./synthetic";

const KINDS: Record<string, FrameKind> = {
  p: FrameKind.Process,
  k: FrameKind.Kernel,
  i: FrameKind.Inlined,
  j: FrameKind.Jit,
  "?": FrameKind.Unknown,
  n: FrameKind.Note,
  r: FrameKind.Remainder,
};

interface Branch {
  frame: number;
  self: number;
  total: number;
  children: Map<number, Branch>;
}

/** The profile as the server would send it. */
export function flameGraphFromText(text: string): FlameGraph {
  return flameGraphFromStacks(stacksOf(text));
}

/** The profile of these stacks, a sample each, root first, frames written as in the drawing. */
export function flameGraphFromStacks(stacks: readonly (readonly string[])[]): FlameGraph {
  const answer: FlameGraph = {
    from_ms: 0,
    to_ms: 60_000,
    samples: 0,
    scale: 10_000_000,
    counts_samples: true,
    incomplete: 0,
    hidden_nodes: 0,
    kinds: [],
    around: null,
    recorded_ms: 60_000,
    own: null,
    hottest: null,
    strings: [],
    frames: { name: [], kind: [], binary: [], file: [], line: [], reason: [] },
    nodes: { depth: [], frame: [], total: [], self: [] },
  };
  const known = new Map<string, number>();
  const frameOf = (name: string, kind: FrameKind): number => {
    const key = `${kind} ${name}`;
    const old = known.get(key);
    if (old !== undefined) return old;
    const { frames, strings } = answer;
    const index = frames.name.length;
    known.set(key, index);
    if (!strings.includes(name)) strings.push(name);
    frames.name.push(strings.indexOf(name));
    frames.kind.push(kind);
    frames.binary.push(-1);
    frames.file.push(-1);
    frames.line.push(0);
    frames.reason.push(-1);
    return index;
  };
  const branch = (frame: number): Branch => ({ frame, self: 0, total: 0, children: new Map() });
  const root = branch(frameOf("all", FrameKind.Root));
  for (const stack of stacks) {
    let at = root;
    at.total++;
    for (const cell of stack) {
      const [, name, kind] = /^(.*?)(?:\[([pkinr?])\])?$/.exec(cell) ?? [];
      const frame = frameOf(name, kind === undefined ? FrameKind.User : KINDS[kind]);
      const next = at.children.get(frame) ?? branch(frame);
      at.children.set(frame, next);
      at = next;
      at.total++;
    }
    at.self++;
  }
  const emit = (at: Branch, depth: number): void => {
    answer.nodes.depth.push(depth);
    answer.nodes.frame.push(at.frame);
    answer.nodes.total.push(at.total);
    answer.nodes.self.push(at.self);
    const nameOf = (b: Branch): string => answer.strings[answer.frames.name[b.frame]];
    [...at.children.values()]
      .sort((a, b) => b.total - a.total || (nameOf(a) < nameOf(b) ? -1 : 1))
      .forEach((child) => {
        emit(child, depth + 1);
      });
  };
  emit(root, 0);
  answer.samples = root.total;
  return withKinds(answer);
}

/** The profile, decoded. */
export function profileFromText(text: string): DecodedFlameGraph {
  return decodeFlameGraph(flameGraphFromText(text));
}

/** The node reached by these names from the root; fails when there is none. */
export function nodeByNames(tree: CallTree, ...names: string[]): number {
  let at = 0;
  for (const name of names) {
    let child = at + 1;
    while (child < tree.end[at] && nodeName(tree, child) !== name) child = tree.end[child];
    if (child >= tree.end[at]) throw new Error(`no ${name} below ${nodeName(tree, at)}`);
    at = child;
  }
  return at;
}

function stacksOf(text: string): string[][] {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const starts = [...(lines[0] ?? "").matchAll(/\S+/g)].map((cell) => cell.index);
  const stacks: string[][] = starts.map(() => []);
  lines.forEach((line, row) => {
    for (const cell of line.matchAll(/\S+/g)) {
      const column = starts.indexOf(cell.index);
      if (column < 0) throw new Error(`line ${row + 1}: ${cell[0]} is not under a column of the first line`);
      if (stacks[column].length !== row) throw new Error(`line ${row + 1}: nothing above ${cell[0]}`);
      stacks[column].push(cell[0]);
    }
  });
  return stacks;
}
