/**
 * Two profiles as one tree: what takes more than before, what less, and what is only noise.
 *
 * Paths are matched by function. A node's width is what both sides have of it together, each as a share of its own side, so
 * that what vanished and what is new are both in sight. A profile is a sample: a node with `a` of `A` samples and `b` of `B`
 * differs by more than chance when the two-proportion z of `(a/A - b/B)` is at least `NOISE_Z`; with counts as they are
 * (absolute) the z is that of two Poisson counts. Both sides come cut down together: "smaller frames" are the same on both.
 */

import type { CallTree } from "./call-tree";
import { DIFF_STEPS, diffInk } from "./color";
import { mergeFrames } from "./merge-frames";
import { TreeBuilder } from "./tree-builder";

/** Of two equal profiles, about one frame in 400 seems to differ at 3. */
export const NOISE_Z = 3;

export interface NodeDiff {
  before: number;
  after: number;
  beforeSelf: number;
  afterSelf: number;
  allBefore: number;
  allAfter: number;
  /** Change of the share of all (or of the count, when absolute: relative to `allBefore`). */
  change: number;
  verdict: "more" | "less" | "noise";
}

export interface Diff {
  /** Totals are the sum of both sides, scaled; see `before` and `after` for what each has. */
  tree: CallTree;
  before: Float64Array;
  after: Float64Array;
  beforeSelf: Float64Array;
  afterSelf: Float64Array;
  absolute: boolean;
}

export function diffTrees(before: CallTree, after: CallTree, absolute: boolean): Diff {
  const { frames, mapA, mapB } = mergeFrames(before.frames, after.frames);
  const builder = new TreeBuilder(frames, mapA[before.frame[0]]);
  const sides = [before, after].map((tree, side) => {
    const map = side === 0 ? mapA : mapB;
    const places = new Uint32Array(tree.size);
    for (let i = 1; i < tree.size; i++) places[i] = builder.child(places[tree.parent[i]], map[tree.frame[i]]);
    return places;
  });
  // Both sides weigh the same, unless counts are to be taken as they are.
  const scales = absolute ? [1, 1] : [share(before.total[0]), share(after.total[0])];
  [before, after].forEach((tree, side) => {
    for (let i = 0; i < tree.size; i++) builder.add(sides[side][i], tree.self[i] * scales[side]);
  });
  const { tree, from } = builder.ordered();
  const to = new Uint32Array(tree.size);
  from.forEach((old, i) => {
    to[old] = i;
  });
  const column = () => new Float64Array(tree.size);
  const diff: Diff = {
    tree,
    before: column(),
    after: column(),
    beforeSelf: column(),
    afterSelf: column(),
    absolute,
  };
  for (let i = 0; i < before.size; i++) {
    diff.before[to[sides[0][i]]] += before.total[i];
    diff.beforeSelf[to[sides[0][i]]] += before.self[i];
  }
  for (let i = 0; i < after.size; i++) {
    diff.after[to[sides[1][i]]] += after.total[i];
    diff.afterSelf[to[sides[1][i]]] += after.self[i];
  }
  return diff;
}

function share(samples: number): number {
  return samples > 0 ? 1 / samples : 0;
}

export function nodeDiff(diff: Diff, node: number): NodeDiff {
  const [before, after] = [diff.before[node], diff.after[node]];
  const [allBefore, allAfter] = [diff.before[0], diff.after[0]];
  const whole = diff.absolute ? Math.max(allBefore, 1) : 0;
  const change = diff.absolute ? (after - before) / whole : after * share(allAfter) - before * share(allBefore);
  const z = diff.absolute ? poissonZ(before, after) : proportionZ(before, allBefore, after, allAfter);
  const verdict = Math.abs(z) < NOISE_Z ? "noise" : change > 0 ? "more" : "less";
  return {
    before,
    after,
    beforeSelf: diff.beforeSelf[node],
    afterSelf: diff.afterSelf[node],
    allBefore,
    allAfter,
    change,
    verdict,
  };
}

/** Two-proportion z with the pooled share; 0 when a side is empty or both shares are all or nothing. */
export function proportionZ(a: number, allA: number, b: number, allB: number): number {
  if (allA === 0 || allB === 0) return 0;
  const pooled = (a + b) / (allA + allB);
  const spread = Math.sqrt(pooled * (1 - pooled) * (1 / allA + 1 / allB));
  return spread > 0 ? (b / allB - a / allA) / spread : 0;
}

/** Difference of two Poisson counts over its standard deviation. */
export function poissonZ(a: number, b: number): number {
  return a + b > 0 ? (b - a) / Math.sqrt(a + b) : 0;
}

/** Ink of each node: the stronger, the more its share of all changed; full strength at a change of 10 % of all. */
export function diffInks(diff: Diff): Uint8Array {
  const inks = new Uint8Array(diff.tree.size);
  for (let i = 0; i < inks.length; i++) {
    const { change, verdict } = nodeDiff(diff, i);
    const strength = 1 + Math.min(DIFF_STEPS - 1, Math.floor(Math.sqrt(Math.abs(change) / 0.1) * (DIFF_STEPS - 1)));
    inks[i] = diffInk(verdict === "more" ? strength : verdict === "less" ? -strength : 0);
  }
  return inks;
}

/** One function on both sides, for the table of changes. */
export interface FunctionDiff {
  frame: number;
  before: number;
  after: number;
  change: number;
  verdict: NodeDiff["verdict"];
}

/** Self by function, by falling size of the change. */
export function functionDiffs(diff: Diff): FunctionDiff[] {
  const { tree } = diff;
  const before = new Float64Array(tree.frames.name.length);
  const after = new Float64Array(tree.frames.name.length);
  for (let i = 0; i < tree.size; i++) {
    before[tree.frame[i]] += diff.beforeSelf[i];
    after[tree.frame[i]] += diff.afterSelf[i];
  }
  const [allBefore, allAfter] = [diff.before[0], diff.after[0]];
  const rows: FunctionDiff[] = [];
  for (let f = 0; f < before.length; f++) {
    if (before[f] === 0 && after[f] === 0) continue;
    const change = diff.absolute
      ? (after[f] - before[f]) / Math.max(allBefore, 1)
      : after[f] * share(allAfter) - before[f] * share(allBefore);
    const z = diff.absolute ? poissonZ(before[f], after[f]) : proportionZ(before[f], allBefore, after[f], allAfter);
    const verdict = Math.abs(z) < NOISE_Z ? "noise" : change > 0 ? "more" : "less";
    rows.push({ frame: f, before: before[f], after: after[f], change, verdict });
  }
  return rows.sort((x, y) => Math.abs(y.change) - Math.abs(x.change));
}
