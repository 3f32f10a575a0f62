/** The timeline split by a label, as bands of cores that add up to the whole. */

import { computed } from "@preact/signals";
import { type Band, bandsOf } from "../model/stack";
import { shown, timeline } from "./store";

/** Null when none are wanted, or the answer in hand has none yet. */
export const bands = computed<Band[] | null>(() => {
  const whole = timeline.value;
  const groups = whole?.groups ?? null;
  if (whole === null || groups === null || groups.label !== shown.by.value) return null;
  return bandsOf(whole.buckets, groups);
});
