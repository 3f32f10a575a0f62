/** The timeline's selection by keyboard. Pure. */

export interface Span {
  from: number;
  to: number;
}

/** Presses that it takes to go from end to end. */
const PRESSES = 60;

/**
 * The selection after an arrow key: the arrows move it, with Shift its end moves. Without one, the last tenth is selected. Whole
 * buckets of the timeline, never empty, never outside of it.
 */
export function brushAfter(
  brush: Span | null,
  whole: { from_ms: number; to_ms: number; step_ms: number },
  direction: 1 | -1,
  extend: boolean,
): Span {
  const { from_ms: first, to_ms: last, step_ms: step } = whole;
  const snap = (ms: number): number => first + Math.round((ms - first) / step) * step;
  const within = (ms: number): number => Math.max(first, Math.min(last, ms));
  if (brush === null) return { from: Math.min(snap(last - (last - first) / 10), last - step), to: last };
  const by = direction * Math.max(step, snap(first + (last - first) / PRESSES) - first);
  if (extend) return { from: brush.from, to: within(Math.max(brush.from + step, snap(brush.to + by))) };
  const length = brush.to - brush.from;
  const from = Math.max(first, Math.min(last - length, snap(brush.from + by)));
  return { from, to: from + length };
}
