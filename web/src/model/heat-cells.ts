/**
 * A range as the cells of a heat map: equal columns side by side, each cut into equal rows from top to bottom. Pure.
 *
 * As in FlameScope, what repeats shows as stripes and what is short as a spot. A selection is a box of cells: of these times of
 * each of these columns, not of what lies between.
 */

export interface HeatGrid {
  fromMs: number;
  toMs: number;
  columns: number;
  rows: number;
}

/** Columns and rows, both ends inside, of a grid of `columns` by `rows`. */
export interface HeatBox {
  columns: number;
  rows: number;
  columnFrom: number;
  columnTo: number;
  rowFrom: number;
  rowTo: number;
}

/** Spans that columns should have: people read times in these. */
const COLUMN_SPANS: readonly number[] = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400,
].map((seconds) => seconds * 1_000);
const COLUMNS = 60;
const ROWS = 50;
/** Times are kept to 10 ms. */
const SHORTEST_ROW_MS = 10;

/** How many columns and rows suit a range that is this long (ms). */
export function gridSize(span: number): { columns: number; rows: number } {
  const fit = (ms: number): number => Math.abs(Math.log(span / ms / COLUMNS));
  const column = COLUMN_SPANS.reduce((best, ms) => (fit(ms) < fit(best) ? ms : best));
  const columns = Math.max(1, Math.min(400, Math.round(span / column)));
  return { columns, rows: Math.max(1, Math.min(ROWS, Math.floor(span / columns / SHORTEST_ROW_MS))) };
}

/** Length of a cell, in ms. */
export function cellMs({ fromMs, toMs, columns, rows }: HeatGrid): number {
  return (toMs - fromMs) / (columns * rows);
}

/** The cell at a place from 0 to 1 in each direction, or null outside. */
export function cellAt(grid: HeatGrid, x: number, y: number): { column: number; row: number } | null {
  if (!(x >= 0 && x < 1 && y >= 0 && y < 1)) return null;
  return { column: Math.floor(x * grid.columns), row: Math.floor(y * grid.rows) };
}

/** When a cell begins. */
export function timeOf(grid: HeatGrid, column: number, row: number): number {
  return grid.fromMs + (column * grid.rows + row) * cellMs(grid);
}

/** The box between two cells, both included, in any order. */
export function boxOf(
  grid: { columns: number; rows: number },
  a: { column: number; row: number },
  b: { column: number; row: number },
): HeatBox {
  return {
    columns: grid.columns,
    rows: grid.rows,
    columnFrom: Math.min(a.column, b.column),
    columnTo: Math.max(a.column, b.column),
    rowFrom: Math.min(a.row, b.row),
    rowTo: Math.max(a.row, b.row),
  };
}

/** From the first to the last moment of a box. */
export function hullOf(grid: HeatGrid, box: HeatBox): { from: number; to: number } {
  return {
    from: Math.floor(timeOf(grid, box.columnFrom, box.rowFrom)),
    to: Math.ceil(timeOf(grid, box.columnTo, box.rowTo + 1)),
  };
}

/** `60x50:3-7:0-49`: the grid, columns, rows. */
export function formatBox(box: HeatBox): string {
  return `${box.columns}x${box.rows}:${box.columnFrom}-${box.columnTo}:${box.rowFrom}-${box.rowTo}`;
}

/** Reads it back; null when it is none. */
export function parseBox(text: string): HeatBox | null {
  const parts = /^(\d{1,4})x(\d{1,4}):(\d{1,4})-(\d{1,4}):(\d{1,4})-(\d{1,4})$/.exec(text)?.slice(1).map(Number);
  if (parts === undefined) return null;
  const [columns, rows, columnFrom, columnTo, rowFrom, rowTo] = parts;
  if (columnFrom > columnTo || columnTo >= columns || rowFrom > rowTo || rowTo >= rows) return null;
  return { columns, rows, columnFrom, columnTo, rowFrom, rowTo };
}

/** Samples at which colours begin and end. */
export interface HeatScale {
  low: number;
  high: number;
}

/** Cells beyond these shares of all that have samples do not stretch the scale. */
const RARE = 0.02;

/**
 * From nothing to `expected`, which is what a cell has when everything is busy; without it from the rarest to the busiest cells, so that
 * also a host that is always busy shows where it is busier.
 */
export function scaleOf(values: readonly number[], expected: number | null): HeatScale {
  if (expected !== null) return { low: 0, high: Math.max(1, Math.ceil(expected)) };
  const filled = values.filter((n) => n > 0).sort((a, b) => a - b);
  if (filled.length === 0) return { low: 0, high: 1 };
  const at = (share: number) => filled[Math.min(filled.length - 1, Math.floor(share * filled.length))];
  const [low, high] = [at(RARE), at(1 - RARE)];
  return low < high ? { low, high } : { low: 0, high };
}

/** How strong each cell's colour is, 0 to 1. A cell with samples is never as one without. */
export function strengthsOf(values: readonly number[], { low, high }: HeatScale): Float64Array {
  return Float64Array.from(values, (n) =>
    n === 0 ? 0 : Math.min(1, Math.max(0.08, (n - low) / Math.max(high - low, 1))),
  );
}

const STEPS_MS: readonly number[] = [
  ...[10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 15, 30].map((s) => s * 1e3),
  ...[1, 2, 5, 10, 15, 30].map((m) => m * 60e3),
  ...[1, 2, 3, 6, 12, 24, 48, 168].map((h) => h * 3_600e3),
];

/** Round times of a span, at most so many. */
export function roundTimes(fromMs: number, toMs: number, most: number): number[] {
  const step = STEPS_MS.find((ms) => (toMs - fromMs) / ms <= most) ?? (STEPS_MS.at(-1) as number);
  const times: number[] = [];
  for (let at = Math.ceil(fromMs / step) * step; at < toMs && times.length < most; at += step) times.push(at);
  return times;
}
