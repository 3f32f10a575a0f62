import { expect, test } from "vitest";
import {
  boxOf,
  cellAt,
  cellMs,
  formatBox,
  gridSize,
  hullOf,
  parseBox,
  roundTimes,
  scaleOf,
  strengthsOf,
  timeOf,
} from "./heat-cells";

/** An hour in minutes of 1.2 s, a minute in seconds of 20 ms, a day in half hours: about sixty round columns. */
test("columns are spans that people read", () => {
  expect(gridSize(3_600_000)).toEqual({ columns: 60, rows: 50 });
  expect(gridSize(60_000)).toEqual({ columns: 60, rows: 50 });
  expect(gridSize(86_400_000)).toEqual({ columns: 48, rows: 50 });
  expect(gridSize(5_000)).toEqual({ columns: 50, rows: 10 });
  expect(gridSize(1)).toEqual({ columns: 1, rows: 1 });
  expect(gridSize(30 * 86_400_000)).toEqual({ columns: 60, rows: 50 });
});

/** Every cell is found at its place, at its time. */
test("cells, places and times agree", () => {
  for (const span of [2_000, 61_234, 3_600_000]) {
    const grid = { fromMs: 5_000, toMs: 5_000 + span, ...gridSize(span) };
    for (let column = 0; column < grid.columns; column++) {
      for (let row = 0; row < grid.rows; row++) {
        expect(cellAt(grid, (column + 0.5) / grid.columns, (row + 0.5) / grid.rows)).toEqual({ column, row });
      }
    }
    expect(timeOf(grid, grid.columns, 0)).toBeCloseTo(grid.toMs, 3);
    expect(cellMs(grid) * grid.columns * grid.rows).toBeCloseTo(span, 3);
    expect(cellAt(grid, 1, 0)).toBeNull();
  }
});

/** A box is the same from any corner, comes back from the address, and has its moments. */
test("boxes", () => {
  const grid = { fromMs: 0, toMs: 60_000, columns: 60, rows: 50 };
  const box = boxOf(grid, { column: 7, row: 3 }, { column: 5, row: 9 });
  expect(box).toEqual(boxOf(grid, { column: 5, row: 9 }, { column: 7, row: 3 }));
  expect(parseBox(formatBox(box))).toEqual(box);
  expect(hullOf(grid, box)).toEqual({ from: 5_060, to: 7_200 });
  for (const bad of ["", "60x50", "60x50:9-3:0-1", "60x50:0-60:0-1", "1x1:0-0:0-1"]) expect(parseBox(bad)).toBeNull();
});

/** Half of what is expected is half as strong; a busy host, cells of which differ by a little, shows the difference when that is wanted. */
test("colours run from nothing to what is expected, or over what there is", () => {
  const busy = [0, ...Array.from({ length: 100 }, (_, i) => 40 + (i % 10)), 500];
  expect(scaleOf(busy, 38.8)).toEqual({ low: 0, high: 39 });
  expect([...strengthsOf([0, 20, 39, 60], { low: 0, high: 40 })]).toEqual([0, 0.5, 0.975, 1]);
  const contrast = scaleOf(busy, null);
  expect(contrast).toEqual({ low: 40, high: 49 });
  expect([...strengthsOf([0, 40, 49, 500], contrast)]).toEqual([0, 0.08, 1, 1]);
  expect([scaleOf([], null), scaleOf([3, 3], null)]).toEqual([
    { low: 0, high: 1 },
    { low: 0, high: 3 },
  ]);
});

/** A clock's own steps, however the span begins. */
test("ticks are at round times", () => {
  const at = (from: number, to: number) => roundTimes(from, to, 8).map((ms) => ms / 1_000);
  expect(at(3_000, 63_000)).toEqual([10, 20, 30, 40, 50, 60]);
  expect(at(0, 3_600_000)).toEqual([0, 600, 1_200, 1_800, 2_400, 3_000]);
  expect(at(1_000, 1_100).length).toBeLessThanOrEqual(8);
});
