/**
 * A merged profile as one tree in typed arrays, depth first, with what drawing needs worked out once: where each subtree
 * ends, how deep it goes, and where it starts on the x axis.
 *
 * Input: the columns of the wire. Output: an immutable `CallTree`. It refuses columns that are not a tree, so nobody after
 * it checks again. Invariant: node 0 is the root; the descendants of `i` are `i + 1` to `end[i] - 1`.
 */

/** What a frame is; decides its colour. The numbers are on the wire. */
export const FrameKind = {
  Root: 0,
  Process: 1,
  User: 2,
  Kernel: 3,
  Inlined: 4,
  Unknown: 5,
  Note: 6,
  Remainder: 7,
  Jit: 8,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

/** How many kinds there are. */
export const KIND_COUNT = 9;

/** What each kind is called in searches and in the legend. */
export const KIND_NAMES: readonly string[] = [
  "all",
  "process",
  "native",
  "kernel",
  "inlined",
  "no symbol",
  "cut short",
  "collapsed",
  "JIT",
];

/** Distinct frames, as columns that point into `strings` (-1: none). */
export interface FrameTable {
  strings: readonly string[];
  name: Uint32Array;
  kind: Uint8Array;
  binary: Int32Array;
  file: Int32Array;
  line: Uint32Array;
  reason: Int32Array;
}

/** One frame, for people. */
export interface Frame {
  name: string;
  kind: FrameKind;
  binary: string | null;
  /** `file:line`, or the file alone. */
  source: string | null;
  reason: string | null;
}

export interface CallTree {
  size: number;
  frames: FrameTable;
  depth: Uint16Array;
  frame: Uint32Array;
  total: Float64Array;
  self: Float64Array;
  /** -1 for the root. */
  parent: Int32Array;
  /** First node after the subtree. */
  end: Uint32Array;
  /** Levels below the node: 0 for a leaf. */
  height: Uint16Array;
  /** Samples to the left of the node, from the root's left edge. */
  start: Float64Array;
  maxDepth: number;
}

/** The columns are not a tree. */
export class MalformedTree extends Error {
  override name = "MalformedTree";
}

/** Deepest tree that is accepted: depths are kept in 16 bits. */
const DEPTH_LIMIT = 65_535;

/** Builds the tree, or throws `MalformedTree` naming the node that is wrong. */
export function callTree(
  frames: FrameTable,
  columns: {
    depth: ArrayLike<number>;
    frame: ArrayLike<number>;
    total: ArrayLike<number>;
    self: ArrayLike<number>;
  },
): CallTree {
  const size = columns.depth.length;
  if (size === 0) throw new MalformedTree("the tree has no root");
  const tree: CallTree = {
    size,
    frames,
    depth: new Uint16Array(size),
    frame: new Uint32Array(columns.frame),
    total: new Float64Array(columns.total),
    self: new Float64Array(columns.self),
    parent: new Int32Array(size).fill(-1),
    end: new Uint32Array(size).fill(size),
    height: new Uint16Array(size),
    start: new Float64Array(size),
    maxDepth: 0,
  };
  const frameCount = frames.name.length;
  const { depth: depths, frame: frameOf, total, parent, end, height, start } = tree;
  let deepest = 0;
  // open[d] is the last node seen at depth d; next[d] is where the next child at depth d starts on the x axis.
  const open: number[] = [];
  const next: number[] = [0];
  let previous = -1;
  for (let i = 0; i < size; i++) {
    const depth = columns.depth[i];
    if (!(depth <= previous + 1 && depth <= DEPTH_LIMIT && depth > 0 === i > 0)) {
      throw new MalformedTree(`node ${i} has depth ${depth} after ${previous}`);
    }
    if (frameOf[i] >= frameCount) throw new MalformedTree(`node ${i} has frame ${columns.frame[i]} of ${frameCount}`);
    for (let d = depth; d <= previous; d++) end[open[d]] = i;
    open[depth] = i;
    depths[i] = depth;
    start[i] = next[depth];
    next[depth] += total[i];
    next[depth + 1] = start[i];
    if (depth > 0) parent[i] = open[depth - 1];
    if (depth > deepest) deepest = depth;
    previous = depth;
  }
  for (let i = size - 1; i > 0; i--) {
    const above = parent[i];
    if (height[i] >= height[above]) height[above] = height[i] + 1;
  }
  tree.maxDepth = deepest;
  return tree;
}

/** The frame of a node, in words. */
export function describeFrame(frames: FrameTable, frame: number): Frame {
  const text = (index: number): string | null => (index < 0 ? null : (frames.strings[index] ?? null));
  const file = text(frames.file[frame]);
  const line = frames.line[frame];
  return {
    name: frames.strings[frames.name[frame]] ?? "",
    kind: frames.kind[frame] as FrameKind,
    binary: text(frames.binary[frame]),
    source: file !== null && line > 0 ? `${file}:${line}` : file,
    reason: text(frames.reason[frame]),
  };
}

/** Name of a node's frame. */
export function nodeName(tree: CallTree, node: number): string {
  return tree.frames.strings[tree.frames.name[tree.frame[node]]] ?? "";
}

/** The nodes from the root to `node`, both included. */
export function pathTo(tree: CallTree, node: number): number[] {
  const path: number[] = [];
  for (let i = node; i >= 0; i = tree.parent[i]) path.push(i);
  return path.reverse();
}

/** Children of a node, left to right. */
export function children(tree: CallTree, node: number): number[] {
  const found: number[] = [];
  for (let i = node + 1; i < tree.end[node]; i = tree.end[i]) found.push(i);
  return found;
}

/** Whether `node` is `ancestor` or below it. */
export function isWithin(tree: CallTree, node: number, ancestor: number): boolean {
  return node >= ancestor && node < tree.end[ancestor];
}
