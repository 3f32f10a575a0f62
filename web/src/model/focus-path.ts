/**
 * A name for a node that survives a refresh: the hash of the frames from the root down to it.
 *
 * Indexes change with every answer; the path of (name, kind, binary) does not. 53 bits: among a million nodes of one depth
 * two paths collide with a probability of about 1 in 18,000, and then the wrong frame is zoomed, nothing worse.
 */

import { type CallTree, type FrameTable, pathTo } from "./call-tree";

/** Nodes by path, as far as they are known: what was clicked on need not be looked for among all others, a millisecond and more. */
const known = new WeakMap<CallTree, Map<string, number>>();

function knownIn(tree: CallTree): Map<string, number> {
  let nodes = known.get(tree);
  if (nodes === undefined) {
    nodes = new Map();
    known.set(tree, nodes);
  }
  return nodes;
}

/** Such as `4-1f3a9c02b7d4e`: the depth, then the hash. */
export function pathHash(tree: CallTree, node: number): string {
  let hash = SEED;
  for (const i of pathTo(tree, node)) hash = combine(hash, frameHash(tree.frames, tree.frame[i]));
  const path = `${tree.depth[node]}-${hex(hash)}`;
  knownIn(tree).set(path, node);
  return path;
}

/** The node with this path, or -1 when this tree has none. */
export function findPath(tree: CallTree, path: string): number {
  const nodes = knownIn(tree);
  const node = nodes.get(path) ?? searchPath(tree, path);
  nodes.set(path, node);
  return node;
}

function searchPath(tree: CallTree, text: string): number {
  const parts = /^(\d{1,5})-([0-9a-f]{14})$/.exec(text);
  if (parts === null) return -1;
  const wantedDepth = Number(parts[1]);
  if (wantedDepth > tree.maxDepth) return -1;
  const hashes: (Hash | undefined)[] = [];
  const open: Hash[] = [];
  for (let i = 0; i < tree.size; ) {
    const depth = tree.depth[i];
    if (depth > wantedDepth) {
      i = tree.end[tree.parent[i]];
      continue;
    }
    const frame = tree.frame[i];
    const own = hashes[frame] ?? frameHash(tree.frames, frame);
    hashes[frame] = own;
    open[depth] = combine(depth === 0 ? SEED : open[depth - 1], own);
    if (depth === wantedDepth && hex(open[depth]) === parts[2]) return i;
    i++;
  }
  return -1;
}

/** A node that someone chose, to be found again in the next answer's tree. */
export interface Choice {
  tree: CallTree;
  node: number;
  path: string;
}

/** Null for node -1, or without a tree. */
export function choose(tree: CallTree | null, node: number): Choice | null {
  return tree === null || node < 0 ? null : { tree, node, path: pathHash(tree, node) };
}

/** The chosen node in a tree, or -1 when it has none. */
export function chosenIn(tree: CallTree | null, choice: Choice | null): number {
  if (tree === null || choice === null) return -1;
  return choice.tree === tree ? choice.node : findPath(tree, choice.path);
}

interface Hash {
  high: number;
  low: number;
}

const SEED: Hash = { high: 0xdeadbeef, low: 0x41c6ce57 };

function frameHash(frames: FrameTable, frame: number): Hash {
  const binary = frames.binary[frame];
  const text = `${frames.kind[frame]} ${frames.strings[frames.name[frame]]}\0${binary < 0 ? "" : frames.strings[binary]}`;
  let { high, low } = SEED;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    high = Math.imul(high ^ unit, 2654435761);
    low = Math.imul(low ^ unit, 1597334677);
  }
  return combine({ high, low }, SEED);
}

/** Mixes a frame into a path; not commutative, so order matters. */
function combine(path: Hash, own: Hash): Hash {
  let high = Math.imul(path.high, 31) ^ own.high;
  let low = Math.imul(path.low, 37) ^ own.low;
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return { high: high >>> 0, low: low >>> 0 };
}

function hex(hash: Hash): string {
  return (hash.high & 0x1fffff).toString(16).padStart(6, "0") + hash.low.toString(16).padStart(8, "0");
}
