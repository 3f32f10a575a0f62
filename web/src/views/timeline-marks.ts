/** What the timeline marks beside its curves: gaps, losses, missed ticks, stacks cut short, where recording began. Pure. */

import type { Timeline } from "../api/contract";

export interface ChartData {
  timeline: Timeline;
  /** Top of the cores axis. */
  coresMax: number;
  /** Up to when there can be data (ms): a bucket after it is not a gap, only not there yet. */
  knownUntil: number;
  /** Upper edges of the bands, lowest first; null: not stacked. */
  edges: (number | null)[][] | null;
  /** Whether the last band is what is left over. */
  leftOver: boolean;
  /** When recording began (ms), as far as it is known. */
  began: number | null;
}

/** Whether bucket `i` was not recorded, and not only is not there yet. */
export function isGap({ timeline: { from_ms, step_ms, buckets }, knownUntil }: ChartData, i: number): boolean {
  return buckets.busy_cores[i] === null && from_ms + i * step_ms < knownUntil;
}

/** Share of a bucket's ticks from which it is marked as missed: a virtual CPU's timer comes late now and then. */
const MISSED_MARK = 0.005;

/** Share of the ticks of bucket `i` that were missed; 0 where that is too little to be marked. */
export function missedMark({ timeline: { buckets } }: ChartData, i: number): number {
  const share = buckets.missed_share[i] ?? 0;
  return share >= MISSED_MARK ? share : 0;
}

/** Which marks there are to explain. */
export interface ChartMarks {
  cut: boolean;
  lost: boolean;
  missed: boolean;
  gap: boolean;
  began: boolean;
}

export function marksOf(data: ChartData): ChartMarks {
  const { incomplete, lost, busy_cores } = data.timeline.buckets;
  return {
    cut: incomplete.some((n) => n > 0),
    lost: lost.some((n) => n > 0),
    missed: lost.some((_, i) => missedMark(data, i) > 0),
    gap: busy_cores.some((_, i) => isGap(data, i)),
    began: beginnings(data).length > 0,
  };
}

/** When recording began, and each first bucket after a gap. */
export function beginnings({ timeline: { from_ms, to_ms, step_ms, buckets }, began }: ChartData): number[] {
  const found = buckets.busy_cores.flatMap((cores, i) =>
    i > 0 && cores !== null && buckets.busy_cores[i - 1] === null ? [from_ms + i * step_ms] : [],
  );
  // The first bucket of this recording is one of them already, unless it began within a bucket that others fill.
  const near = began === null || found.some((at) => Math.abs(at - began) <= 2 * step_ms);
  if (!near && began > from_ms && began < to_ms) found.push(began);
  return found;
}
