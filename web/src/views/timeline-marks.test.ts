import { expect, test } from "vitest";
import type { Timeline } from "../api/contract";
import { type ChartData, cutCores, marksOf } from "./timeline-marks";

const buckets: Timeline["buckets"] = {
  samples: [0, 970, 0, 0],
  busy_cores: [1, 1, 1, null],
  utilisation: [0.5, 0.5, 0.5, null],
  lost: [0, 0, 0, 0],
  missed_share: [0, 0, 0.001, null],
  missed_cause: [null, null, null, null],
  incomplete: [0, 97, 0, 0],
};
const of = (change: Partial<Timeline>): ChartData => ({
  timeline: {
    from_ms: 0,
    to_ms: 40_000,
    step_ms: 10_000,
    buckets,
    gaps: [],
    began_ms: [],
    cpus: 2,
    groups: null,
    ...change,
  },
  coresMax: 2,
  edges: null,
  leftOver: false,
});

/** A bucket without a window of its own, at the start of the range or at its live end, is no gap, and nothing began after it. */
test("only what the server says was not recorded is marked so", () => {
  expect(marksOf(of({}))).toEqual({ cut: true, lost: false, missed: false, gap: false, began: false });
  const gaps = [{ from_ms: 30_000, to_ms: 40_000 }];
  expect(marksOf(of({ gaps, began_ms: [30_000] }))).toMatchObject({ gap: true, began: true });
});

/** Without samples nothing is known of the stacks: before, all of them were drawn as cut short. */
test("cores without samples are not drawn as cut short", () => {
  expect(buckets.samples.map((_, i) => cutCores(buckets, i))).toEqual([0, 0.1, 0, null]);
});
