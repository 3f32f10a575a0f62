/** Why there is nothing to draw, so that the page can say so and offer the way out. Pure. */

/** What there is: the part of the status that matters here. */
export interface Recorded {
  /** Null when only a database is served. */
  recording: { since_ms: number; window_ms: number } | null;
  database: { path: string; windows: number; oldest_ms: number | null; newest_ms: number | null };
}

export type EmptyReason =
  /** Recording, and the first window is not written yet. */
  | { kind: "waiting"; sinceMs: number; windowMs: number }
  /** Only a database is served, and nothing is in it. */
  | { kind: "no-windows"; path: string }
  | { kind: "before-oldest"; oldestMs: number }
  | { kind: "after-newest"; newestMs: number }
  | { kind: "filtered" }
  | { kind: "selection" }
  /** Nothing ran on a CPU, or nothing was recorded then. */
  | { kind: "idle" };

/** The first reason that applies to a range (ms) without samples. */
export function whyEmpty(
  status: Recorded | null,
  range: { from: number; to: number },
  narrowed: { byFilter: boolean; bySelection: boolean },
): EmptyReason {
  if (status !== null) {
    const { database, recording } = status;
    if (database.windows === 0) {
      return recording === null
        ? { kind: "no-windows", path: database.path }
        : { kind: "waiting", sinceMs: recording.since_ms, windowMs: recording.window_ms };
    }
    if (database.oldest_ms !== null && range.to <= database.oldest_ms) {
      return { kind: "before-oldest", oldestMs: database.oldest_ms };
    }
    if (database.newest_ms !== null && range.from >= database.newest_ms) {
      return { kind: "after-newest", newestMs: database.newest_ms };
    }
  }
  if (narrowed.byFilter) return { kind: "filtered" };
  if (narrowed.bySelection) return { kind: "selection" };
  return { kind: "idle" };
}
