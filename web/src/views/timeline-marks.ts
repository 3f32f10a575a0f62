/** What the timeline marks beside its curves: gaps, losses, missed ticks, stacks cut short, where recording began. Pure. */

import type { Timeline } from "../api/contract";

export interface ChartData {
  timeline: Timeline;
  /** Top of the cores axis. */
  coresMax: number;
  /** Upper edges of the bands, lowest first; null: not stacked. */
  edges: (number | null)[][] | null;
  /** Whether the last band is what is left over. */
  leftOver: boolean;
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
  const { buckets, gaps, began_ms } = data.timeline;
  return {
    cut: buckets.incomplete.some((n) => n > 0),
    lost: buckets.lost.some((n) => n > 0),
    missed: buckets.lost.some((_, i) => missedMark(data, i) > 0),
    gap: gaps.length > 0,
    began: began_ms.length > 0,
  };
}

/**
 * Cores of bucket `i` whose stacks are cut short. A bucket may have cores and no samples: of a window that began before the range
 * and reaches into it; nothing is known of its stacks here.
 */
export function cutCores({ busy_cores, samples, incomplete }: Timeline["buckets"], i: number): number | null {
  const cores = busy_cores[i];
  if (cores === null) return null;
  return samples[i] === 0 ? 0 : (cores * incomplete[i]) / samples[i];
}
