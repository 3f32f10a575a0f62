/** What the shown profile is compared with. Apart from `diff.ts`: the question is asked before anything is drawn. */

import { computed } from "@preact/signals";
import type { DiffBy, Scope } from "../api/client";
import { resolveInstant } from "../model/time-range";
import { scope, shown, timeline } from "./store";
import type { Baseline } from "./view";

/** What is compared: absolute is CPU time by recorded time. */
export const diffBy = ({ absolute }: Baseline): DiffBy => (absolute ? "time" : "share");

/** In ms; the span before the shown one unless a person chose. */
export const baselineSpan = computed(() => {
  const { from, to } = scope.value;
  return shown.baseline.value.range ?? before(from, to);
});

/** The same with its filter. */
export const baselineScope = computed<Scope>(() => ({
  ...baselineSpan.value,
  filter: shown.baseline.value.filter ?? scope.value.filter,
}));

/** As long as the span, just before it. A span that moves with the clock is where the timeline's answer put it. */
function before(from: Scope["from"], to: Scope["to"]): { from: number; to: number } {
  const now = timeline.value?.to_ms ?? Date.now();
  const start = resolveInstant(from, now);
  const end = resolveInstant(to, now);
  return { from: start - (end - start), to: start };
}
