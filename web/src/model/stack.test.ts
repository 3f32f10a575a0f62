import { expect, test } from "vitest";
import { bandsOf, edgesOf } from "./stack";

/** The top edge is the whole, so that stacking never changes what the chart says. */
test("bands add up to the whole, gaps stay gaps", () => {
  const whole = [2, null, 1.5, 0];
  const bands = bandsOf(whole, [
    { value: "a", cores: [1, null, 1, 0] },
    { value: "b", cores: [0.5, 3, null, 0] },
    { value: "late", cores: [1] },
  ]);
  expect(bands.map(({ value }) => value)).toEqual(["a", "b", null]);
  expect(bands[2].cores).toEqual([0.5, null, 0.5, 0]);
  expect(edgesOf(bands)[2]).toEqual(whole);
  expect(bandsOf([1], [{ value: "a", cores: [1] }])).toHaveLength(1);
});
