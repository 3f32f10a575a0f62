/**
 * Draws a flame graph on a canvas and says which node is where. Knows no framework and no page.
 *
 * Input: a `FlameScene` (data, theme and state together) and the scroll position. The canvas is as large as the visible
 * part and never larger; the caller scrolls. Frames of one colour are one path. Invariant: `nodeAt` agrees with what was
 * drawn, also for frames too narrow to see.
 */

import { type CallTree, FrameKind, nodeName } from "../model/call-tree";
import type { FlameTheme } from "../model/color";
import { emptyRows, type FlameRows, layoutRows, nodeAt } from "../model/flame-rows";
import { shortName } from "../model/frame-name";
import { TextFit } from "./text-fit";

/** Height of a row, in CSS pixels, with the gap below it. */
export const ROW_HEIGHT = 18;
const GAP = 1;
const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif";
const TEXT_PADDING = 4;
const MIN_BOX_WIDTH = 0.5;
const MIN_TEXT_WIDTH = 24;

export interface FlameScene {
  tree: CallTree;
  /** Ink of each frame. */
  inks: Uint8Array;
  /** Ink of each node, in place of its frame's; null: none of its own. */
  nodeInks: Uint8Array | null;
  theme: FlameTheme;
  focus: number;
  /** Root at the bottom. */
  rootBelow: boolean;
  /** 1 for each frame that the search matched; null without a search. */
  matches: Uint8Array | null;
  /** Or -1. */
  selected: number;
}

/** A box in CSS pixels, from the top left corner of the canvas. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

function inkOf({ tree, inks, nodeInks }: FlameScene, node: number): number {
  return nodeInks === null ? inks[tree.frame[node]] : nodeInks[node];
}

export class FlameCanvas {
  private readonly context: CanvasRenderingContext2D;
  private readonly rows: FlameRows = emptyRows();
  private readonly text: TextFit;
  private hatch: { color: string; pattern: CanvasPattern | null } | null = null;
  private width = 0;
  private height = 0;
  private ratio = 1;

  constructor(private readonly canvas: HTMLCanvasElement) {
    const context = canvas.getContext("2d", { alpha: false });
    if (context === null) throw new Error("this browser has no 2d canvas");
    this.context = context;
    this.context.font = FONT;
    this.text = new TextFit((character) => {
      this.context.font = FONT;
      return this.context.measureText(character).width;
    });
  }

  /** Sets the visible size, in CSS pixels, and device pixels per CSS pixel. */
  resize(width: number, height: number, ratio: number): void {
    this.width = width;
    this.height = height;
    this.ratio = ratio;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
  }

  /** Rows that the focused node and everything above and below it take. */
  static rowCount(scene: FlameScene): number {
    return scene.tree.depth[scene.focus] + scene.tree.height[scene.focus] + 1;
  }

  /** Height of the whole drawing, of which the canvas shows a part. */
  contentHeight(scene: FlameScene): number {
    return Math.max(FlameCanvas.rowCount(scene) * ROW_HEIGHT, this.height);
  }

  draw(scene: FlameScene, scrollTop: number): void {
    const { context, rows } = this;
    const { tree, theme, matches } = scene;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = theme.background;
    context.fillRect(0, 0, this.width, this.height);
    const [firstRow, lastRow] = this.visibleRows(scene, scrollTop);
    layoutRows(tree, { focus: scene.focus, width: this.width, minWidth: MIN_BOX_WIDTH, firstRow, lastRow }, rows);

    // One by one: as a single path, rasterising these tall slivers took 120 ms in software; this way it takes 10.
    context.fillStyle = theme.skyline;
    for (let s = 0; s < rows.strips; s++) {
      const high = rows.stripRows[s] * ROW_HEIGHT - GAP;
      const row = scene.rootBelow ? rows.stripRow[s] + rows.stripRows[s] - 1 : rows.stripRow[s];
      context.fillRect(rows.stripX[s], this.yOf(scene, row, scrollTop), rows.stripWidth[s], high);
    }

    const paths: (Path2D | undefined)[] = [];
    const matched = new Path2D();
    const notes = new Path2D();
    let noteCount = 0;
    for (let b = 0; b < rows.boxes; b++) {
      const node = rows.node[b];
      const frame = tree.frame[node];
      const left = this.snap(rows.x[b]);
      const right = this.snap(rows.x[b] + rows.width[b]);
      const wide = right - left;
      const y = this.yOf(scene, tree.depth[node], scrollTop);
      const drawnWidth = wide > 4 ? wide - GAP : wide > 1 ? wide - 0.5 : Math.max(wide, 1 / this.ratio);
      let path = matched;
      if (matches === null || matches[frame] === 0) {
        const ink = inkOf(scene, node);
        path = paths[ink] ?? new Path2D();
        paths[ink] = path;
      }
      path.rect(left, y, drawnWidth, ROW_HEIGHT - GAP);
      if (tree.frames.kind[frame] === FrameKind.Note) {
        notes.rect(left, y, drawnWidth, ROW_HEIGHT - GAP);
        noteCount++;
      }
    }
    const palette = matches === null ? theme.inks : theme.faded;
    paths.forEach((path, ink) => {
      if (path === undefined) return;
      context.fillStyle = palette[ink].fill;
      context.fill(path);
    });
    context.fillStyle = theme.match.fill;
    context.fill(matched);
    if (noteCount > 0) {
      context.fillStyle = this.hatchPattern(theme.hatch) ?? theme.hatch;
      context.fill(notes);
    }
    this.drawNames(scene, scrollTop);
    if (scene.selected >= 0) this.drawRing(scene, scrollTop);
  }

  /** The node at a point of the canvas, or -1. */
  nodeAt(scene: FlameScene, scrollTop: number, x: number, y: number): number {
    const fromTop = scrollTop + y;
    const row = Math.floor((scene.rootBelow ? this.contentHeight(scene) - fromTop : fromTop) / ROW_HEIGHT);
    return nodeAt(scene.tree, scene.focus, this.width, row, x);
  }

  /** Where a node is drawn (it may be outside the canvas); null when the focus hides it. */
  boxOf(scene: FlameScene, scrollTop: number, node: number): Box | null {
    const { tree, focus } = scene;
    const y = this.yOf(scene, tree.depth[node], scrollTop);
    const height = ROW_HEIGHT - GAP;
    if (node <= focus && tree.end[node] >= tree.end[focus]) return { x: 0, y, width: this.width, height };
    if (node < focus || node >= tree.end[focus]) return null;
    const scale = this.width / tree.total[focus];
    return {
      x: (tree.start[node] - tree.start[focus]) * scale,
      y,
      width: Math.max(1, tree.total[node] * scale),
      height,
    };
  }

  private visibleRows(scene: FlameScene, scrollTop: number): [number, number] {
    const top = Math.floor(scrollTop / ROW_HEIGHT);
    const bottom = Math.ceil((scrollTop + this.height) / ROW_HEIGHT);
    const last = FlameCanvas.rowCount(scene) - 1;
    if (!scene.rootBelow) return [top, Math.min(bottom, last)];
    const content = this.contentHeight(scene);
    const lowest = Math.floor((content - scrollTop - this.height) / ROW_HEIGHT);
    const highest = Math.ceil((content - scrollTop) / ROW_HEIGHT);
    return [Math.max(0, lowest), Math.min(highest, last)];
  }

  private yOf(scene: FlameScene, row: number, scrollTop: number): number {
    if (scene.rootBelow) return this.contentHeight(scene) - (row + 1) * ROW_HEIGHT - scrollTop;
    return row * ROW_HEIGHT - scrollTop;
  }

  private snap(x: number): number {
    return Math.round(x * this.ratio) / this.ratio;
  }

  private drawNames(scene: FlameScene, scrollTop: number): void {
    const { context, rows } = this;
    const { tree, theme, matches } = scene;
    context.font = FONT;
    context.fontKerning = "none";
    context.textBaseline = "middle";
    const palette = matches === null ? theme.inks : theme.faded;
    for (let b = 0; b < rows.boxes; b++) {
      if (rows.width[b] < MIN_TEXT_WIDTH) continue;
      const node = rows.node[b];
      const frame = tree.frame[node];
      const name = nodeName(tree, node);
      const label = this.text.fit([name, shortName(name)], rows.width[b] - GAP - 2 * TEXT_PADDING);
      if (label === "") continue;
      const ink = matches !== null && matches[frame] === 1 ? theme.match : palette[inkOf(scene, node)];
      const left = this.snap(rows.x[b]) + TEXT_PADDING;
      const middle = this.yOf(scene, tree.depth[node], scrollTop) + (ROW_HEIGHT - GAP) / 2 + 0.5;
      if (tree.frames.kind[frame] === FrameKind.Note) {
        // Text over stripes would fall below the contrast that the palette promises.
        context.fillStyle = ink.fill;
        context.fillRect(left - 2, middle - 7, context.measureText(label).width + 4, 14);
      }
      context.fillStyle = ink.text;
      context.fillText(label, left, middle);
    }
  }

  private drawRing(scene: FlameScene, scrollTop: number): void {
    const box = this.boxOf(scene, scrollTop, scene.selected);
    if (box === null) return;
    this.context.strokeStyle = scene.theme.selection;
    this.context.lineWidth = 2;
    const right = Math.min(box.x + Math.max(box.width - GAP, 3), this.width);
    this.context.strokeRect(box.x + 1, box.y + 1, Math.max(right - box.x - 2, 1), box.height - 2);
  }

  /** Diagonal stripes, made once per colour. */
  private hatchPattern(color: string): CanvasPattern | null {
    if (this.hatch?.color === color) return this.hatch.pattern;
    const tile = new OffscreenCanvas(8, 8);
    const context = tile.getContext("2d");
    let pattern: CanvasPattern | null = null;
    if (context !== null) {
      context.strokeStyle = color;
      context.globalAlpha = 0.55;
      context.lineWidth = 1.5;
      for (const shift of [-8, 0, 8]) {
        context.beginPath();
        context.moveTo(shift - 1, 9);
        context.lineTo(shift + 9, -1);
        context.stroke();
      }
      pattern = this.context.createPattern(tile, "repeat");
    }
    this.hatch = { color, pattern };
    return pattern;
  }
}
