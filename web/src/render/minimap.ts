/**
 * The whole height of a tall flame graph, small: what is where, what the search matched, and which part is in sight. Knows no
 * framework and no page.
 *
 * Rows share the height evenly, so that a row may be thinner than a pixel; what is matched is drawn last, and at least a
 * pixel high, so that a single match can be seen.
 */

import { emptyRows, type FlameRows, layoutRows } from "../model/flame-rows";
import { FlameCanvas, type FlameScene, ROW_HEIGHT } from "./flame-canvas";

export interface MinimapPart {
  scrollTop: number;
  /** Height of what is in sight, and of the whole drawing, in the graph's pixels. */
  visible: number;
  content: number;
}

export class Minimap {
  private readonly context: CanvasRenderingContext2D;
  private readonly rows: FlameRows = emptyRows();
  private width = 0;
  private height = 0;

  constructor(private readonly canvas: HTMLCanvasElement) {
    const context = canvas.getContext("2d", { alpha: false });
    if (context === null) throw new Error("this browser has no 2d canvas");
    this.context = context;
  }

  resize(width: number, height: number, ratio: number): void {
    this.width = width;
    this.height = height;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  draw(scene: FlameScene, part: MinimapPart): void {
    const { context, rows, width, height } = this;
    const { tree, theme, inks, nodeInks, matches } = scene;
    const count = FlameCanvas.rowCount(scene);
    const rowHeight = (height * ROW_HEIGHT) / part.content;
    context.fillStyle = theme.background;
    context.fillRect(0, 0, width, height);
    layoutRows(tree, { focus: scene.focus, width, minWidth: 0.5, firstRow: 0, lastRow: count - 1 }, rows);
    const y = (row: number): number => (scene.rootBelow ? height - (row + 1) * rowHeight : row * rowHeight);
    context.fillStyle = theme.skyline;
    for (let s = 0; s < rows.strips; s++) {
      const row = scene.rootBelow ? rows.stripRow[s] + rows.stripRows[s] - 1 : rows.stripRow[s];
      context.fillRect(rows.stripX[s], y(row), Math.max(rows.stripWidth[s], 0.5), rows.stripRows[s] * rowHeight);
    }
    for (let b = 0; b < rows.boxes; b++) {
      const node = rows.node[b];
      const ink = nodeInks === null ? inks[tree.frame[node]] : nodeInks[node];
      context.fillStyle = (matches === null ? theme.inks : theme.faded)[ink].fill;
      context.fillRect(rows.x[b], y(tree.depth[node]), rows.width[b], rowHeight);
    }
    if (matches !== null) {
      context.fillStyle = theme.match.fill;
      for (let b = 0; b < rows.boxes; b++) {
        const node = rows.node[b];
        if (matches[tree.frame[node]] === 0) continue;
        context.fillRect(rows.x[b], y(tree.depth[node]), rows.width[b], Math.max(rowHeight, 1));
      }
    }
    const top = (part.scrollTop / part.content) * height;
    const high = (part.visible / part.content) * height;
    context.strokeStyle = theme.selection;
    context.lineWidth = 1.5;
    context.strokeRect(0.75, top + 0.75, width - 1.5, Math.max(high - 1.5, 3));
  }

  /** Where to scroll to so that `y` of the map is in the middle of what is in sight. */
  scrollFor(y: number, part: MinimapPart): number {
    return (y / this.height) * part.content - part.visible / 2;
  }
}
