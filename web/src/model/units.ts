/**
 * Numbers for people: counts, shares, durations, sizes, times. Pure but for the time zone, which is the reader's, or UTC while
 * `useUtc` says so.
 */

let utc = false;

/** Which time zone all times are shown in from now on. */
export function useUtc(wanted: boolean): void {
  utc = wanted;
}

/** `ms` as a date whose UTC parts are those to show. */
function zoned(ms: number): Date {
  return new Date(utc ? ms : ms - new Date(ms).getTimezoneOffset() * 60_000);
}

/** `12,345`. By hand: loading what `Intl` needs takes a new page longer than drawing its graph. */
export function formatCount(n: number): string {
  return String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `1 sample`, `12,345 samples`. */
export function formatSamples(n: number): string {
  return `${formatCount(n)} ${n === 1 ? "sample" : "samples"}`;
}

/** What the numbers of an answer stand for, as the server says it. */
export interface Measure {
  /** Nanoseconds of CPU time of each. */
  scale: number;
  /** Whether they are samples; of several rates they are time. */
  counts_samples: boolean;
}

/** Nothing was recorded. */
export const NO_MEASURE: Measure = { scale: 0, counts_samples: true };

/** `12,345 samples`; of several rates, their CPU time. */
export function formatAmount(n: number, { scale, counts_samples }: Measure): string {
  return counts_samples ? formatSamples(n) : formatNanos(n * scale);
}

/** The same where a heading says what it is. */
export function formatFigure(n: number, { scale, counts_samples }: Measure): string {
  return counts_samples ? formatCount(n) : formatNanos(n * scale);
}

/** `98.7 %`; small shares keep two figures (`0.042 %`), nothing is `0 %`. */
export function formatShare(part: number, whole: number): string {
  if (!(whole > 0) || part === 0) return "0 %";
  const percent = (part / whole) * 100;
  if (percent >= 99.95 && part < whole) return "99.9 %";
  if (percent === 100) return "100 %";
  if (percent >= 10) return `${percent.toFixed(1)} %`;
  if (percent >= 0.1) return `${percent.toFixed(2)} %`;
  return percent < 0.0001 ? "< 0.0001 %" : `${percent.toPrecision(2)} %`;
}

/** A change of a share, signed: `+1.24 %`, of all. */
export function formatPoints(change: number): string {
  // Less than is ever written is what rounding makes of nothing.
  if (Math.abs(change) < 1e-6) return "±0 %";
  const size = formatShare(Math.abs(change), 1);
  return change > 0 ? `+${size}` : change < 0 ? `−${size}` : "±0 %";
}

/** CPU time: `1.24 s`, `12.4 min`, `3.1 h`. */
export function formatNanos(nanos: number): string {
  const seconds = nanos / 1e9;
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${threeFigures(seconds * 1e3)} ms`;
  if (seconds < 120) return `${threeFigures(seconds)} s`;
  if (seconds < 7200) return `${threeFigures(seconds / 60)} min`;
  return `${threeFigures(seconds / 3600)} h`;
}

function threeFigures(n: number): string {
  if (n >= 100) return formatCount(n);
  return n >= 10 ? n.toFixed(1) : n.toFixed(2);
}

/** A span on the clock: `42 s`, `15 min`, `3 h 20 min`, `2 d 4 h`. */
export function formatSpan(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return hours % 24 === 0 ? `${hours / 24} d` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** `12.4 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** `1.24`, of cores. */
export function formatCores(cores: number): string {
  if (cores === 0) return "0";
  return cores >= 10 ? cores.toFixed(1) : cores >= 0.1 ? cores.toFixed(2) : cores.toPrecision(1);
}

const pad = (n: number): string => String(n).padStart(2, "0");

/** `14:03:22`. */
export function formatClock(ms: number): string {
  const t = zoned(ms);
  return `${pad(t.getUTCHours())}:${pad(t.getUTCMinutes())}:${pad(t.getUTCSeconds())}`;
}

/** The milliseconds of a moment: `042`. */
export function formatMillis(ms: number): string {
  return String(Math.floor(ms) % 1_000).padStart(3, "0");
}

/** `2026-11-22`. */
export function formatDate(ms: number): string {
  const t = zoned(ms);
  return `${t.getUTCFullYear()}-${pad(t.getUTCMonth() + 1)}-${pad(t.getUTCDate())}`;
}

/** `2026-11-22 14:03:22`. */
export function formatMoment(ms: number): string {
  return `${formatDate(ms)} ${formatClock(ms)}`;
}

/** A change of cores kept busy, signed: `+0.24 cores`. */
export function formatCoresChange(change: number): string {
  if (Math.abs(change) < 1e-6) return "±0 cores";
  return `${change > 0 ? "+" : "−"}${formatCores(Math.abs(change))} cores`;
}

/** `14:03:22 – 14:04:02`, with dates where they differ, and milliseconds where the span is short. */
export function formatInterval(from: number, to: number): string {
  const millis = (ms: number) =>
    to - from < 10_000 && (from % 1_000 !== 0 || to % 1_000 !== 0) ? `.${formatMillis(ms)}` : "";
  const [start, end] = [from, to].map((ms) => `${formatClock(ms)}${millis(ms)}`);
  return formatDate(from) === formatDate(to)
    ? `${start} – ${end}`
    : `${formatDate(from)} ${start} – ${formatDate(to)} ${end}`;
}

/** Value of an `<input type="datetime-local">`, in the time zone of all times. */
export function toLocalInput(ms: number): string {
  return `${formatDate(ms)}T${formatClock(ms)}`;
}

/** Reads it back; null when it is not a time. */
export function fromLocalInput(text: string): number | null {
  const ms = new Date(utc ? `${text}Z` : text).getTime();
  return Number.isNaN(ms) ? null : ms;
}

/** The last part of a path. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1) || path;
}
