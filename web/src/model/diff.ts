/**
 * Two profiles as one tree: what takes more than before, what less, and what is only noise.
 *
 * Paths are matched by function. Sides are compared as shares of their own samples, or absolutely: as CPU time by recorded time,
 * which is cores kept busy, so that a side recorded for half its span is not half as busy. A node's width is what both sides have
 * of it together, so that what vanished and what is new are both in sight. A profile is a sample: each difference has a z, in
 * standard errors, by the server's formulas (`profiler/src/query/diff.rs`; a test holds both to the same answers): the page tidies
 * trees, and what is merged has no z on the wire. Both sides come cut down together: "smaller frames" are the same on both.
 */

import type { CallTree } from "./call-tree";
import { DIFF_STEPS, diffInk } from "./color";
import { mergeFrames } from "./merge-frames";
import { TreeBuilder } from "./tree-builder";
import type { Measure } from "./units";

/** Of two equal profiles, about one frame in 400 seems to differ at 3. */
export const NOISE_Z = 3;

/** A side: its whole, and what makes cores of its samples. */
export interface Side {
  samples: number;
  /** What its numbers stand for. */
  measure: Measure;
  /** The most that one sample adds to them: they are at most as noisy as if all added so much. */
  heaviest: number;
  /** Time of the span that was recorded. */
  recordedMs: number;
}

export interface NodeDiff {
  before: number;
  after: number;
  beforeSelf: number;
  afterSelf: number;
  allBefore: number;
  allAfter: number;
  /** What a sample of each side is in cores, when they are compared absolutely; null when by share. */
  coresOf: readonly [number, number] | null;
  /** What the numbers of each side stand for. */
  measures: readonly [Measure, Measure];
  /** Of the share of all, or of the cores kept busy. */
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
  sides: readonly [Side, Side];
  absolute: boolean;
}

/** What a sample of each side is worth. */
function units(sides: readonly [Side, Side], absolute: boolean): [number, number] {
  const unit = ({ samples, measure, recordedMs }: Side) =>
    absolute ? measure.scale / Math.max(recordedMs * 1e6, 1) : 1 / Math.max(samples, 1);
  return [unit(sides[0]), unit(sides[1])];
}

export function diffTrees(before: CallTree, after: CallTree, sides: readonly [Side, Side], absolute: boolean): Diff {
  const { frames, mapA, mapB } = mergeFrames(before.frames, after.frames);
  const builder = new TreeBuilder(frames, mapA[before.frame[0]]);
  const merged = [before, after].map((tree, side) => {
    const map = side === 0 ? mapA : mapB;
    const places = new Uint32Array(tree.size);
    for (let i = 1; i < tree.size; i++) places[i] = builder.child(places[tree.parent[i]], map[tree.frame[i]]);
    return places;
  });
  const scales = units(sides, absolute);
  [before, after].forEach((tree, side) => {
    for (let i = 0; i < tree.size; i++) builder.add(merged[side][i], tree.self[i] * scales[side]);
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
    sides,
    absolute,
  };
  for (let i = 0; i < before.size; i++) {
    diff.before[to[merged[0][i]]] += before.total[i];
    diff.beforeSelf[to[merged[0][i]]] += before.self[i];
  }
  for (let i = 0; i < after.size; i++) {
    diff.after[to[merged[1][i]]] += after.total[i];
    diff.afterSelf[to[merged[1][i]]] += after.self[i];
  }
  return diff;
}

/** The change between two counts, and whether it is more than chance. */
function compared({ sides, absolute }: Diff, before: number, after: number): Pick<NodeDiff, "change" | "verdict"> {
  const [s, t] = units(sides, absolute);
  const change = after * t - before * s;
  const z = zOf([before, after], sides, absolute);
  return { change, verdict: Math.abs(z) < NOISE_Z ? "noise" : change > 0 ? "more" : "less" };
}

export function nodeDiff(diff: Diff, node: number): NodeDiff {
  const [before, after] = [diff.before[node], diff.after[node]];
  return {
    before,
    after,
    beforeSelf: diff.beforeSelf[node],
    afterSelf: diff.afterSelf[node],
    allBefore: diff.sides[0].samples,
    allAfter: diff.sides[1].samples,
    coresOf: diff.absolute ? units(diff.sides, true) : null,
    measures: [diff.sides[0].measure, diff.sides[1].measure],
    ...compared(diff, before, after),
  };
}

/** How sure a difference is, in standard errors: of two binomial shares, pooled, or of two Poisson rates. */
export function zOf([a, b]: readonly [number, number], sides: readonly [Side, Side], absolute: boolean): number {
  const [s, t] = units(sides, absolute);
  if (!absolute && sides.some((side) => side.samples === 0)) return 0;
  const [u, v] = [sides[0].heaviest, sides[1].heaviest];
  const pooled = (a / u + b / v) / Math.max(sides[0].samples / u + sides[1].samples / v, 1);
  const error = Math.sqrt(absolute ? a * u * s * s + b * v * t * t : pooled * (1 - pooled) * (s * u + t * v));
  return error > 0 ? (b * t - a * s) / error : 0;
}

/** Ink of each node: the stronger, the more of all changed; full strength at a change of 10 % of the larger side. */
export function diffInks(diff: Diff): Uint8Array {
  const inks = new Uint8Array(diff.tree.size);
  const [s, t] = units(diff.sides, diff.absolute);
  const all = Math.max(diff.sides[0].samples * s, diff.sides[1].samples * t);
  for (let i = 0; i < inks.length; i++) {
    const { change, verdict } = compared(diff, diff.before[i], diff.after[i]);
    const part = all > 0 ? Math.abs(change) / all : 0;
    const strength = 1 + Math.min(DIFF_STEPS - 1, Math.floor(Math.sqrt(part / 0.1) * (DIFF_STEPS - 1)));
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
  const rows: FunctionDiff[] = [];
  for (let f = 0; f < before.length; f++) {
    if (before[f] === 0 && after[f] === 0) continue;
    rows.push({ frame: f, before: before[f], after: after[f], ...compared(diff, before[f], after[f]) });
  }
  return rows.sort((x, y) => Math.abs(y.change) - Math.abs(x.change));
}
