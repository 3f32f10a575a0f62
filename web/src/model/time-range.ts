/**
 * Points in time as people and the API write them: `now`, `now-15m`, or milliseconds since the epoch.
 *
 * Pure: the present is an argument.
 */

/** `now`, `now-1h`, or ms since the epoch. */
export type Instant = string | number;

export interface TimeRange {
  from: Instant;
  to: Instant;
}

/** The ranges one click away. */
export const PRESETS: readonly { label: string; title: string; from: string }[] = [
  { label: "5m", title: "Last 5 minutes", from: "now-5m" },
  { label: "15m", title: "Last 15 minutes", from: "now-15m" },
  { label: "1h", title: "Last hour", from: "now-1h" },
  { label: "6h", title: "Last 6 hours", from: "now-6h" },
  { label: "24h", title: "Last 24 hours", from: "now-24h" },
  { label: "7d", title: "Last 7 days", from: "now-7d" },
];

const UNIT_MS: Record<string, number> = { s: 1e3, m: 60e3, h: 3600e3, d: 86_400e3, w: 604_800e3 };

/** The shortest preset that is at least this long (ms), up to `longest`. */
export function presetFor(span: number, longest: string): string {
  for (const { from } of PRESETS) if (from === longest || -resolveInstant(from, 0) >= span) return from;
  return longest;
}

/** Reads an instant as the URL writes it; null when it is none. */
export function parseInstant(text: string): Instant | null {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  return /^now(-\d{1,6}[smhdw])?$/.test(text) ? text : null;
}

/** Milliseconds since the epoch. */
export function resolveInstant(instant: Instant, now: number): number {
  if (typeof instant === "number") return instant;
  const back = /^now-(\d+)([smhdw])$/.exec(instant);
  return back === null ? now : now - Number(back[1]) * UNIT_MS[back[2]];
}

/** Whether the range moves with the clock. */
export function followsNow(range: TimeRange): boolean {
  return typeof range.to === "string";
}
