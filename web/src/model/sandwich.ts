/**
 * One function between its callers and its callees, wherever in the tree it stands.
 *
 * A sample counts once: what matters is the outermost occurrence of the function on its stack. Above it are the callers,
 * below it the callees; recursion shows as the function among its own callees. Invariant: both trees have the function's
 * total at their root, and every level of the callers adds up to it (what has no caller ends there).
 */

import { type CallTree, FrameKind } from "./call-tree";
import { TreeBuilder } from "./tree-builder";

export interface Sandwich {
  /** Root: the function. Children: its callers, and theirs below them. */
  callers: CallTree;
  /** Root: the function. Children: what it called. */
  callees: CallTree;
  /** Samples with the function on their stack, each once. */
  total: number;
  /** Samples that ended in it. */
  self: number;
}

/**
 * Null when none of the frames (1 in `mask`) is in the tree. `figures`: all samples of the function, where some of it was too small
 * to send; these are in a remainder on both sides.
 */
export function sandwich(
  tree: CallTree,
  mask: Uint8Array,
  figures: Pick<Sandwich, "total" | "self"> | null = null,
): Sandwich | null {
  const first = tree.frame.findIndex((frame) => mask[frame] === 1);
  if (first < 0) return null;
  const root = tree.frame[first];
  const callers = new TreeBuilder(tree.frames, root);
  const callees = new TreeBuilder(tree.frames, root);
  let self = 0;
  let total = 0;
  const places: number[] = [];
  for (let i = first; i < tree.size; ) {
    if (mask[tree.frame[i]] === 0) {
      i++;
      continue;
    }
    let above = 0;
    for (let p = tree.parent[i]; p > 0; p = tree.parent[p]) above = callers.child(above, tree.frame[p]);
    callers.add(above, tree.total[i]);
    total += tree.total[i];
    const base = tree.depth[i];
    for (let d = i; d < tree.end[i]; d++) {
      const level = tree.depth[d] - base;
      const place = level === 0 ? 0 : callees.child(places[level - 1], tree.frame[d]);
      places[level] = place;
      callees.add(place, tree.self[d]);
      if (mask[tree.frame[d]] === 1) self += tree.self[d];
    }
    i = tree.end[i];
  }
  const remainder = tree.frames.kind.indexOf(FrameKind.Remainder);
  if (figures !== null && figures.total > total && remainder >= 0) {
    for (const half of [callers, callees]) half.add(half.child(0, remainder), figures.total - total);
    ({ total, self } = figures);
  }
  return { callers: callers.finish(), callees: callees.finish(), total, self };
}

/** One line of the lists of direct callers and callees. */
export interface Neighbour {
  frame: number;
  total: number;
}

/** The frames next to the root, by falling total. */
export function neighbours(tree: CallTree): Neighbour[] {
  const found: Neighbour[] = [];
  for (let i = 1; i < tree.size; i = tree.end[i]) found.push({ frame: tree.frame[i], total: tree.total[i] });
  return found;
}
