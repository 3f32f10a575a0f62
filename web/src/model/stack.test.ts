import { expect, test } from "vitest";
import { bandsOf, edgesOf } from "./stack";

/** The top edge is the whole, so that stacking never changes what the chart says. */
test("bands add up to the whole, gaps stay gaps", () => {
  const whole = { samples: [200, 0, 150, 0], busy_cores: [2, null, 1.5, 0] };
  const bands = bandsOf(whole, {
    values: ["a", ""],
    samples: [
      [100, 0, 100, 0],
      [50, 0, 0, 0],
    ],
    others: [50, 0, 50, 0],
  });
  expect(bands.map(({ value }) => value)).toEqual(["a", "", null]);
  expect(bands[2].cores).toEqual([0.5, null, 0.5, 0]);
  expect(edgesOf(bands)[2]).toEqual(whole.busy_cores);
  expect(bandsOf(whole, { values: ["a"], samples: [whole.samples], others: [0, 0, 0, 0] })).toHaveLength(1);
});

/** Which values those cores belong to is not known: they are nobody's, not everybody's. */
test("a bucket with cores and no samples has no bands", () => {
  const [band] = bandsOf({ busy_cores: [1, 1] }, { values: ["a"], samples: [[0, 10]], others: [0, 0] });
  expect(band.cores).toEqual([null, 1]);
});

/** Whatever the bands are counted in: where there are several rates it is time, and the bucket's samples are still samples. */
test("bands of several rates add up to the whole", () => {
  const [a, b] = bandsOf({ busy_cores: [2] }, { values: ["a", "b"], samples: [[3e9], [1e9]], others: [0] });
  expect([a.cores, b.cores]).toEqual([[1.5], [0.5]]);
});
