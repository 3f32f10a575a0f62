import { expect, test } from "vitest";
import { cellAt, cellsOf, heatGrid, spanOf } from "./heat-cells";

/** An hour in tens of seconds, a day in minutes, two seconds in 20 ms: columns are round spans, wider than high. */
test("columns are spans that people read", () => {
  expect(heatGrid(0, 10_000, 360)).toMatchObject({ rows: 6, columns: 60 });
  expect(heatGrid(0, 60_000, 1440)).toMatchObject({ rows: 30, columns: 48 });
  expect(heatGrid(0, 20, 3_000)).toMatchObject({ rows: 50, columns: 60 });
  expect(heatGrid(0, 7_777, 50)).toMatchObject({ columns: 10, rows: 5 });
  expect(heatGrid(0, 10_000, 0).columns).toBe(1);
});

/** Every cell is found at its place, and its span leads back to it. */
test("cells, places and spans agree", () => {
  for (const cells of [1, 7, 359, 360, 361, 5_000]) {
    const grid = heatGrid(1_000, 10_000, cells);
    for (let cell = 0; cell < cells; cell++) {
      const x = (Math.floor(cell / grid.rows) + 0.5) / grid.columns;
      const y = ((cell % grid.rows) + 0.5) / grid.rows;
      expect(cellAt(grid, x, y)).toBe(cell);
      expect(cellsOf(grid, spanOf(grid, cell, cell))).toEqual({ first: cell, end: cell + 1 });
    }
    expect(cellAt(grid, 1, 0.5)).toBe(-1);
  }
  const grid = heatGrid(0, 10, 100);
  expect(spanOf(grid, 9, 4)).toEqual({ from: 40, to: 100 });
  expect(cellsOf(grid, { from: 5_000, to: 6_000 })).toBeNull();
});
