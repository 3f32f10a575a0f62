/** The time zone of all times on the page: the reader's, or UTC, as logs often have it. Kept in this browser. */

import { signal } from "@preact/signals";
import { useUtc } from "../model/units";

const KEY = "profiler.utc";

export const utc = signal(kept());
useUtc(utc.peek());

function kept(): boolean {
  try {
    return localStorage.getItem(KEY) === "1";
  } catch {
    return false;
  }
}

export function setUtc(wanted: boolean): void {
  useUtc(wanted);
  utc.value = wanted;
  try {
    localStorage.setItem(KEY, wanted ? "1" : "0");
  } catch {
    // Without storage it lasts as long as the page.
  }
}

/** What the zone is called. */
export function zoneName(): string {
  return utc.value ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone;
}
