/**
 * Equal spans of time as the cells of a heat map: columns side by side, each filled from top to bottom. Pure.
 *
 * The whole range is one line of cells folded into columns, as in FlameScope, so that what repeats shows as stripes. A
 * selection is a span of time: it runs down its first column, over all between, to its last cell.
 */

export interface HeatGrid {
  fromMs: number;
  stepMs: number;
  /** Cells in a column; the last column may not be full. */
  rows: number;
  columns: number;
  cells: number;
}

/** Spans that columns may have: people read times in these. */
const COLUMN_SPANS: readonly number[] = [
  1, 2, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800,
].map((seconds) => seconds * 1_000);
/** How many times as many columns as rows look well. */
const SHAPE = 2.5;

/** Columns of a span that people read times in, of the shape that comes closest to the wanted one. */
export function heatGrid(fromMs: number, stepMs: number, cells: number): HeatGrid {
  const shapes = COLUMN_SPANS.filter((ms) => ms >= stepMs && ms % stepMs === 0).map((ms) => {
    const rows = ms / stepMs;
    const columns = Math.max(1, Math.ceil(cells / rows));
    return { rows, columns, unlike: Math.abs(Math.log(columns / rows / SHAPE)) };
  });
  const square = Math.max(1, Math.ceil(Math.sqrt(cells / SHAPE)));
  const best = shapes.reduce((a, b) => (b.unlike < a.unlike ? b : a), {
    rows: square,
    columns: Math.max(1, Math.ceil(cells / square)),
    // Taken only where no round span comes near.
    unlike: 1.5,
  });
  return { fromMs, stepMs, rows: best.rows, columns: best.columns, cells };
}

/** The cell at a place from 0 to 1 in each direction, or -1. */
export function cellAt(grid: HeatGrid, x: number, y: number): number {
  if (x < 0 || x >= 1 || y < 0 || y >= 1) return -1;
  const cell = Math.floor(x * grid.columns) * grid.rows + Math.floor(y * grid.rows);
  return cell < grid.cells ? cell : -1;
}

/** From one cell to another, both included, in either order. */
export function spanOf(grid: HeatGrid, a: number, b: number): { from: number; to: number } {
  return {
    from: grid.fromMs + Math.min(a, b) * grid.stepMs,
    to: grid.fromMs + (Math.max(a, b) + 1) * grid.stepMs,
  };
}

/** The cells that a span covers: the first, and the one after the last; null when there are none. */
export function cellsOf(grid: HeatGrid, span: { from: number; to: number }): { first: number; end: number } | null {
  const first = Math.max(0, Math.floor((span.from - grid.fromMs) / grid.stepMs));
  const end = Math.min(grid.cells, Math.ceil((span.to - grid.fromMs) / grid.stepMs));
  return first < end ? { first, end } : null;
}
