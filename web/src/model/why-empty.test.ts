import { expect, test } from "vitest";
import { type Recorded, whyEmpty } from "./why-empty";

const recorded = (windows: number, recording = true): Recorded => ({
  recording: recording ? { since_ms: 500, window_ms: 10_000 } : null,
  database: {
    path: "p.db",
    windows,
    oldest_ms: windows === 0 ? null : 1_000,
    newest_ms: windows === 0 ? null : 9_000,
  },
});
const plain = { byFilter: false, bySelection: false };

/** The most helpful reason comes first: no filter need be removed where there is no data. */
test.each([
  ["waiting", recorded(0), { from: 0, to: 1 }, { byFilter: true, bySelection: true }],
  ["no-windows", recorded(0, false), { from: 0, to: 1 }, plain],
  ["before-oldest", recorded(5), { from: 0, to: 1_000 }, { byFilter: true, bySelection: false }],
  ["after-newest", recorded(5, false), { from: 9_000, to: 9_500 }, plain],
  ["filtered", recorded(5), { from: 0, to: 5_000 }, { byFilter: true, bySelection: true }],
  ["selection", recorded(5), { from: 0, to: 5_000 }, { byFilter: false, bySelection: true }],
  ["idle", recorded(5), { from: 0, to: 5_000 }, plain],
  ["filtered", null, { from: 0, to: 5_000 }, { byFilter: true, bySelection: false }],
])("says %s", (kind, status, range, narrowed) => {
  expect(whyEmpty(status, range, narrowed).kind).toBe(kind);
});
