/** Ranges to go to, by what is kept: of a served history the present is its newest sample. */

import { PRESETS, resolveInstant } from "../model/time-range";
import { navigate, status } from "./store";
import type { ViewState } from "./view";

/** Whether nothing is recording: a stored history is served, and nothing new will come. */
export function isHistory(): boolean {
  return status.value !== null && status.value.recording === null;
}

/** What a preset means here. */
export function rangeOf(preset: string): Pick<ViewState, "from" | "to"> {
  const newest = status.value?.database.newest_ms ?? null;
  return isHistory() && newest !== null
    ? { from: resolveInstant(preset, newest), to: newest }
    : { from: preset, to: "now" };
}

/** The preset that is shown, if one is. */
export function shownPreset({ from, to }: Pick<ViewState, "from" | "to">): (typeof PRESETS)[number] | undefined {
  return PRESETS.find((one) => {
    const range = rangeOf(one.from);
    return range.from === from && range.to === to;
  });
}

export function showPreset(preset: string): void {
  navigate({ ...rangeOf(preset), brush: null });
}

/** All that is kept, up to the present while there is one; null while nothing is. */
export function everything(): Pick<ViewState, "from" | "to"> | null {
  const { oldest_ms: oldest, newest_ms: newest } = status.value?.database ?? { oldest_ms: null, newest_ms: null };
  if (oldest === null || newest === null) return null;
  return { from: oldest, to: isHistory() ? newest : "now" };
}
