/** Draws a heat map on a canvas: a cell's colour is its value's share of the largest. Knows no framework and no page. */

import type { HeatBox } from "../model/heat-cells";

export interface HeatScene {
  columns: number;
  rows: number;
  /** Column by column. */
  values: readonly number[];
  most: number;
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
  const { columns, rows, values, most, ramp, box, cursor } = scene;
  // On whole device pixels, so that no seam shows between cells.
  const x = (column: number): number => Math.round((column * width * ratio) / columns) / ratio;
  const y = (row: number): number => Math.round((row * height * ratio) / rows) / ratio;
  for (let cell = 0; cell < values.length; cell++) {
    const column = Math.floor(cell / rows);
    const row = cell % rows;
    const strength = most > 0 ? Math.ceil((values[cell] / most) * (ramp.length - 1)) : 0;
    context.fillStyle = ramp[strength];
    context.fillRect(x(column), y(row), x(column + 1) - x(column), y(row + 1) - y(row));
  }
  const ring = (left: number, top: number, right: number, bottom: number, color: string, thick: number): void => {
    context.strokeStyle = color;
    context.lineWidth = thick;
    context.strokeRect(x(left), y(top), Math.max(x(right) - x(left), 2), Math.max(y(bottom) - y(top), 2));
  };
  if (box !== null) {
    context.fillStyle = scene.selection;
    context.globalAlpha = 0.25;
    const [left, top] = [x(box.columnFrom), y(box.rowFrom)];
    context.fillRect(left, top, x(box.columnTo + 1) - left, y(box.rowTo + 1) - top);
    context.globalAlpha = 1;
    ring(box.columnFrom, box.rowFrom, box.columnTo + 1, box.rowTo + 1, scene.selection, 2);
  }
  if (cursor !== null) ring(cursor.column, cursor.row, cursor.column + 1, cursor.row + 1, scene.text, 1.5);
}
