import { expect, test } from "vitest";
import { behindMs, lateText, recordedInPart } from "./late";

/** Green is for what is as new as it can be: a window is open, one is being stored. */
test("the page is behind when no window was stored for more than three", () => {
  expect(behindMs({ lag_ms: 29_000, window_ms: 10_000 })).toBe(0);
  expect(behindMs({ lag_ms: 64_000, window_ms: 10_000 })).toBe(64_000);
  expect(behindMs(null)).toBe(0);
});

/** 26 of 60 seconds were recorded before: the other 34 are no fall of anything. */
test("a side that was recorded in part is one to warn of", () => {
  const side = { fromMs: 0, toMs: 60_000, samples: 10 };
  expect(recordedInPart({ ...side, recordedMs: 26_000 })).toBe(true);
  // A window more or less at the edges.
  expect(recordedInPart({ ...side, recordedMs: 57_000 })).toBe(false);
  expect(recordedInPart({ ...side, samples: 0, recordedMs: 0 })).toBe(false);
});

/** Being late has a reason, with the process that is to blame where it is known. */
test("what is late is said in words", () => {
  expect(lateText({ late: "storing", waits_for: "x (pid 1)" })).toContain("stored");
  expect(lateText({ late: "sampling", waits_for: "mapbomb (pid 4711)" })).toContain("mapbomb (pid 4711)");
  expect(lateText({ late: "sampling", waits_for: null })).toContain("processor time");
  expect(lateText(null)).not.toBe("");
});
