/** What is late, or was recorded in part. Pure. */

/** Windows that may pass before the page says that it is behind: one is open, one is being named and stored. */
const WINDOWS_BEHIND = 3;

/** Age of what is newest (ms), when that is more than it should be; else 0. */
export function behindMs(recording: { lag_ms: number; window_ms: number } | null): number {
  if (recording === null) return 0;
  return recording.lag_ms > WINDOWS_BEHIND * recording.window_ms ? recording.lag_ms : 0;
}

/** What is late, in words. */
export function lateText(recording: { late: string | null; waits_for: string | null } | null): string {
  if (recording?.late === "storing") return "the windows are closed in time, and wait to be stored";
  if (recording?.waits_for != null) return `sampling waits for the mappings of ${recording.waits_for}`;
  return "sampling gets too little processor time";
}

/** Windows need not begin and end where a span does. */
const RECORDED_WHOLE = 0.9;

/** Whether a span was not recorded all the time: what ran meanwhile is in none of its figures. */
export function recordedInPart(side: { fromMs: number; toMs: number; samples: number; recordedMs: number }): boolean {
  return side.samples > 0 && side.recordedMs < RECORDED_WHOLE * (side.toMs - side.fromMs);
}
