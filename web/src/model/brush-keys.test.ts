import { expect, test } from "vitest";
import { brushAfter, type Span } from "./brush-keys";

/** Whatever is pressed, the selection is some buckets of the timeline. */
test("the keys never leave the timeline nor empty the selection", () => {
  for (const step_ms of [1_000, 10_000, 60_000]) {
    const whole = { from_ms: 5_000, to_ms: 5_000 + 360 * step_ms, step_ms };
    let brush: Span | null = null;
    for (let press = 0; press < 400; press++) {
      const next: Span = brushAfter(brush, whole, press % 90 < 60 ? -1 : 1, press % 7 > 3);
      expect(next.from).toBeGreaterThanOrEqual(whole.from_ms);
      expect(next.to).toBeLessThanOrEqual(whole.to_ms);
      expect(next.to - next.from).toBeGreaterThanOrEqual(step_ms);
      expect([(next.from - 5_000) % step_ms, (next.to - 5_000) % step_ms]).toEqual([0, 0]);
      brush = next;
    }
  }
});

/** The first press shows what is newest; arrows move, Shift resizes. */
test("arrows move the selection and Shift changes its end", () => {
  const whole = { from_ms: 0, to_ms: 3_600_000, step_ms: 10_000 };
  const last = brushAfter(null, whole, -1, false);
  expect(last).toEqual({ from: 3_240_000, to: 3_600_000 });
  expect(brushAfter(last, whole, -1, false)).toEqual({ from: 3_180_000, to: 3_540_000 });
  expect(brushAfter(last, whole, 1, false)).toEqual(last);
  expect(brushAfter(last, whole, -1, true)).toEqual({ from: 3_240_000, to: 3_540_000 });
});
