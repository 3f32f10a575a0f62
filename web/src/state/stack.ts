/** The timeline split by a label: one question for the values, one for each of the largest, over exactly the shown buckets. */

import { computed } from "@preact/signals";
import { fetchLabelValues, fetchTimeline, type Scope } from "../api/client";
import type { Timeline } from "../api/contract";
import { formatSelector, parseSelector } from "../model/selector";
import { type Band, bandsOf, MOST_BANDS } from "../model/stack";
import { questions, timeline, view } from "./store";

export interface Parts {
  label: string;
  /** Which timeline they are parts of. */
  fromMs: number;
  stepMs: number;
  parts: { value: string; cores: (number | null)[] }[];
}

/** Asks one after the other: the timeline must not take all of the server's few turns. */
export async function fetchParts(
  label: string,
  filter: string,
  whole: Timeline,
  points: number,
  signal: AbortSignal,
): Promise<Parts> {
  const about: Scope = { from: whole.from_ms, to: whole.to_ms, filter };
  const others = parseSelector(filter) ?? [];
  const { values } = await fetchLabelValues(label, about, signal);
  const found: Parts = { label, fromMs: whole.from_ms, stepMs: whole.step_ms, parts: [] };
  for (const { value } of values.slice(0, MOST_BANDS)) {
    const narrowed = formatSelector([...others, { label, op: "=", value }]);
    const part = await fetchTimeline({ ...about, filter: narrowed }, points, signal);
    if (part.from_ms !== whole.from_ms || part.step_ms !== whole.step_ms) continue;
    found.parts.push({ value, cores: part.buckets.busy_cores });
  }
  return found;
}

/** The bands of the shown timeline; null when none are wanted. The newest bands stay until the next are there. */
export const bands = computed<Band[] | null>(() => {
  const answer = questions.parts.state.value.answer;
  const whole = timeline.value;
  if (answer === null || whole === null || answer.label !== view.value.by || answer.stepMs !== whole.step_ms)
    return null;
  // A live timeline moves on by whole buckets: the parts are moved with it, what is new is "others" for a moment.
  const shift = Math.round((whole.from_ms - answer.fromMs) / whole.step_ms);
  const count = whole.buckets.samples.length;
  const parts = answer.parts.map(({ value, cores }) => ({
    value,
    cores: Array.from({ length: count }, (_, i) => cores[i + shift] ?? null),
  }));
  return bandsOf(whole.buckets.busy_cores, parts);
});
