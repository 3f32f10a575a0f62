/** Draws a heat map on a canvas: a cell's colour is its value's share of the largest. Knows no framework and no page. */

import type { HeatGrid } from "../model/heat-cells";

export interface HeatScene {
  grid: HeatGrid;
  /** 0 to 1; null where nothing was recorded. */
  values: readonly (number | null)[];
  /** From least to most. */
  ramp: readonly string[];
  empty: string;
  selection: string;
  /** Cells selected: the first, and the one after the last. */
  selected: { first: number; end: number } | null;
  /** Or -1. */
  cursor: number;
  text: string;
}

export function drawHeat(
  canvas: HTMLCanvasElement,
  scene: HeatScene,
  width: number,
  height: number,
  ratio: number,
): void {
  const context = canvas.getContext("2d");
  if (context === null) throw new Error("this browser has no 2d canvas");
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const { grid, values, ramp, selected } = scene;
  const wide = width / grid.columns;
  const high = height / grid.rows;
  // On whole device pixels, so that no seam shows between cells.
  const snap = (at: number): number => Math.round(at * ratio) / ratio;
  const place = (cell: number) => {
    const column = Math.floor(cell / grid.rows);
    const row = cell % grid.rows;
    const x = snap(column * wide);
    const y = snap(row * high);
    return { x, y, width: snap((column + 1) * wide) - x, height: snap((row + 1) * high) - y };
  };
  values.forEach((value, cell) => {
    const { x, y, width: w, height: h } = place(cell);
    const strength = value === null ? 0 : Math.min(ramp.length - 1, Math.ceil(value * (ramp.length - 1)));
    context.fillStyle = value === null ? scene.empty : ramp[strength];
    context.fillRect(x, y, w, h);
  });
  if (selected !== null) {
    context.fillStyle = scene.selection;
    context.globalAlpha = 0.35;
    for (let cell = selected.first; cell < selected.end; cell++) {
      const { x, y, width: w, height: h } = place(cell);
      context.fillRect(x, y, w, h);
    }
    context.globalAlpha = 1;
  }
  if (scene.cursor >= 0) {
    const { x, y, width: w, height: h } = place(scene.cursor);
    context.strokeStyle = scene.text;
    context.lineWidth = 1.5;
    context.strokeRect(x, y, Math.max(w, 2), Math.max(h, 2));
  }
}
