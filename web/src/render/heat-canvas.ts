/** Draws a heat map on a canvas: the first row of each column at the bottom, as in FlameScope. Knows no framework and no page. */

import type { HeatBox } from "../model/heat-cells";

export interface HeatScene {
  columns: number;
  rows: number;
  /** How strong each cell's colour is, 0 to 1, column by column. */
  strengths: Float64Array;
  /** From least to most. */
  ramp: readonly string[];
  selection: string;
  box: HeatBox | null;
  cursor: { column: number; row: number } | null;
  text: string;
}

export function drawHeat(
  canvas: HTMLCanvasElement,
  scene: HeatScene,
  width: number,
  height: number,
  ratio: number,
): void {
  const context = canvas.getContext("2d", { alpha: false });
  if (context === null) throw new Error("this browser has no 2d canvas");
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const { columns, rows, strengths, ramp, box, cursor } = scene;
  // On whole device pixels, so that no seam shows between cells.
  const x = (column: number): number => Math.round((column * width * ratio) / columns) / ratio;
  /** The upper edge of what is below row `row`. */
  const y = (row: number): number => height - Math.round((row * height * ratio) / rows) / ratio;
  for (let cell = 0; cell < strengths.length; cell++) {
    const column = Math.floor(cell / rows);
    const row = cell % rows;
    context.fillStyle = ramp[Math.ceil(strengths[cell] * (ramp.length - 1))];
    context.fillRect(x(column), y(row + 1), x(column + 1) - x(column), y(row) - y(row + 1));
  }
  /** Around rows `first` up to `end`. */
  const ring = (left: number, first: number, right: number, end: number, color: string, thick: number): void => {
    context.strokeStyle = color;
    context.lineWidth = thick;
    context.strokeRect(x(left), y(end), Math.max(x(right) - x(left), 2), Math.max(y(first) - y(end), 2));
  };
  if (box !== null) {
    context.fillStyle = scene.selection;
    context.globalAlpha = 0.25;
    const [left, top] = [x(box.columnFrom), y(box.rowTo + 1)];
    context.fillRect(left, top, x(box.columnTo + 1) - left, y(box.rowFrom) - top);
    context.globalAlpha = 1;
    ring(box.columnFrom, box.rowFrom, box.columnTo + 1, box.rowTo + 1, scene.selection, 2);
  }
  if (cursor !== null) ring(cursor.column, cursor.row, cursor.column + 1, cursor.row + 1, scene.text, 1.5);
}
