/**
 * Two cuts of one tree as one: what either has. Pure.
 *
 * The server sends as many nodes as a page can hold, the heaviest, and says what the others have in remainder frames. Asked to
 * spend them below one node it sends others of the same tree. Invariant: every node has the total that it had, so remainders
 * shrink by exactly what has become known; cuts that do not agree (something came in between) are not joined.
 */

import { type CallTree, FrameKind } from "./call-tree";
import { mergeFrames } from "./merge-frames";
import { TreeBuilder } from "./tree-builder";

/** Whether anything below the node was too small to be sent. */
export function hasHidden(tree: CallTree, node: number): boolean {
  const { kind } = tree.frames;
  for (let i = node; i < tree.end[node]; i++) if (kind[tree.frame[i]] === FrameKind.Remainder) return true;
  return false;
}

/** Null when they are not cuts of one tree. */
export function joinCuts(one: CallTree, other: CallTree): CallTree | null {
  const { frames, mapA, mapB } = mergeFrames(one.frames, other.frames);
  const builder = new TreeBuilder(frames, mapA[one.frame[0]]);
  const totals: number[] = [];
  const selves: number[] = [];
  const parents: number[] = [];
  let remainder = -1;
  for (const [tree, map] of [
    [one, mapA],
    [other, mapB],
  ] as const) {
    const places = new Uint32Array(tree.size);
    for (let i = 0; i < tree.size; i++) {
      const frame = map[tree.frame[i]];
      if (frames.kind[frame] === FrameKind.Remainder) {
        remainder = frame;
        continue;
      }
      const above = i === 0 ? -1 : places[tree.parent[i]];
      const place = i === 0 ? 0 : builder.child(above, frame);
      places[i] = place;
      if (totals[place] === undefined) {
        totals[place] = tree.total[i];
        selves[place] = tree.self[i];
        parents[place] = above;
      } else if (totals[place] !== tree.total[i] || selves[place] !== tree.self[i]) {
        return null;
      }
    }
  }
  const rests = totals.map((total, place) => total - selves[place]);
  for (let place = 1; place < totals.length; place++) rests[parents[place]] -= totals[place];
  for (let place = 0; place < totals.length; place++) {
    builder.add(place, selves[place]);
    if (rests[place] < 0 || (rests[place] > 0 && remainder < 0)) return null;
    if (rests[place] > 0) builder.add(builder.child(place, remainder), rests[place]);
  }
  return builder.finish();
}
