/**
 * Which boxes are on the screen, and where: the layout of the flame graph, lazily, for one viewport.
 *
 * Input: a tree, the focused node, the width in pixels and the visible rows. Output: boxes (one per node wide enough to see)
 * and the skyline: one column per device-independent pixel that stands for all subtrees too narrow to draw, as tall as the
 * tallest of them, so that "many tiny frames" never looks like "nothing". Rows count from the root; orientation is the
 * renderer's affair. Invariant: the work is bounded by what is visible plus the siblings of what is visible, because a
 * narrow subtree is skipped whole.
 */

import type { CallTree } from "./call-tree";

export interface FlameViewport {
  /** Node that fills the width; its ancestors fill it too. */
  focus: number;
  /** In CSS pixels. */
  width: number;
  /** Narrower than this goes into the skyline. */
  minWidth: number;
  firstRow: number;
  lastRow: number;
}

/** Growable columns, reused from one drawing to the next. */
export interface FlameRows {
  boxes: number;
  node: Uint32Array;
  x: Float64Array;
  width: Float64Array;
  strips: number;
  stripRow: Uint16Array;
  /** Rows that the strip covers, itself included. */
  stripRows: Uint16Array;
  stripX: Float64Array;
  stripWidth: Float64Array;
}

export function emptyRows(): FlameRows {
  return {
    boxes: 0,
    node: new Uint32Array(1024),
    x: new Float64Array(1024),
    width: new Float64Array(1024),
    strips: 0,
    stripRow: new Uint16Array(1024),
    stripRows: new Uint16Array(1024),
    stripX: new Float64Array(1024),
    stripWidth: new Float64Array(1024),
  };
}

/** Fills `rows` with what the viewport shows. */
export function layoutRows(tree: CallTree, view: FlameViewport, rows: FlameRows): FlameRows {
  rows.boxes = 0;
  rows.strips = 0;
  const { focus, firstRow, lastRow, minWidth, width } = view;
  const focusTotal = tree.total[focus];
  if (!(focusTotal > 0) || !(width > 0)) return rows;
  for (let i = tree.parent[focus]; i >= 0; i = tree.parent[i]) {
    const row = tree.depth[i];
    if (row >= firstRow && row <= lastRow) pushBox(rows, i, 0, width);
  }
  const scale = width / focusTotal;
  const origin = tree.start[focus];
  const strip = new Strip(rows, firstRow, lastRow);
  const last = tree.end[focus];
  for (let i = focus; i < last; ) {
    const row = tree.depth[i];
    const x = (tree.start[i] - origin) * scale;
    const boxWidth = tree.total[i] * scale;
    if (row > lastRow) {
      i = tree.end[i];
    } else if (boxWidth < minWidth) {
      strip.add(row, tree.height[i] + 1, x, boxWidth);
      i = tree.end[i];
    } else {
      if (row >= firstRow) pushBox(rows, i, x, boxWidth);
      i = row === lastRow ? tree.end[i] : i + 1;
    }
  }
  strip.flush();
  return rows;
}

/** Merges neighbouring narrow subtrees of one row, a pixel column at a time. */
class Strip {
  private row = -1;
  private rowsHigh = 0;
  private left = 0;
  private right = 0;

  constructor(
    private readonly rows: FlameRows,
    private readonly firstRow: number,
    private readonly lastRow: number,
  ) {}

  add(row: number, rowsHigh: number, x: number, width: number): void {
    // The tolerance forgives rounding between a sibling's right edge and the next one's left edge.
    const touches = row === this.row && x - this.right < 1e-6;
    if (!touches || Math.floor(x) !== Math.floor(this.left)) {
      this.flush();
      this.row = row;
      this.left = x;
      this.rowsHigh = 0;
    }
    this.right = x + width;
    if (rowsHigh > this.rowsHigh) this.rowsHigh = rowsHigh;
  }

  flush(): void {
    if (this.row < 0) return;
    const bottom = Math.min(this.row + this.rowsHigh - 1, this.lastRow);
    const top = Math.max(this.row, this.firstRow);
    if (bottom >= top) pushStrip(this.rows, top, bottom - top + 1, this.left, this.right - this.left);
    this.row = -1;
  }
}

function pushBox(rows: FlameRows, node: number, x: number, width: number): void {
  if (rows.boxes === rows.node.length) {
    rows.node = grown(rows.node);
    rows.x = grown(rows.x);
    rows.width = grown(rows.width);
  }
  rows.node[rows.boxes] = node;
  rows.x[rows.boxes] = x;
  rows.width[rows.boxes] = width;
  rows.boxes++;
}

function pushStrip(rows: FlameRows, row: number, rowsHigh: number, x: number, width: number): void {
  if (rows.strips === rows.stripRow.length) {
    rows.stripRow = grown(rows.stripRow);
    rows.stripRows = grown(rows.stripRows);
    rows.stripX = grown(rows.stripX);
    rows.stripWidth = grown(rows.stripWidth);
  }
  rows.stripRow[rows.strips] = row;
  rows.stripRows[rows.strips] = rowsHigh;
  rows.stripX[rows.strips] = x;
  rows.stripWidth[rows.strips] = width;
  rows.strips++;
}

function grown<T extends Uint16Array | Uint32Array | Float64Array>(column: T): T {
  const larger = new (column.constructor as new (length: number) => T)(column.length * 2);
  larger.set(column);
  return larger;
}

/** The node at `x` pixels in a row, or -1 where there is none. Exact for every node, drawn or not. */
export function nodeAt(tree: CallTree, focus: number, width: number, row: number, x: number): number {
  if (row < 0 || row > tree.maxDepth || x < 0 || x >= width || !(tree.total[focus] > 0)) return -1;
  const focusRow = tree.depth[focus];
  if (row <= focusRow) {
    let node = focus;
    while (tree.depth[node] > row) node = tree.parent[node];
    return node;
  }
  const sample = tree.start[focus] + (x / width) * tree.total[focus];
  let node = focus;
  while (tree.depth[node] < row) {
    const last = tree.end[node];
    let child = node + 1;
    while (child < last && sample >= tree.start[child] + tree.total[child]) child = tree.end[child];
    // To the right of the children is what the node has for itself.
    if (child >= last || sample < tree.start[child]) return -1;
    node = child;
  }
  return node;
}

/** The highest node from `node` upwards that, when focused, makes `node` at least `wanted` pixels wide. */
export function focusThatShows(tree: CallTree, node: number, width: number, wanted: number): number {
  let focus = node;
  for (let i = node; i >= 0; i = tree.parent[i]) {
    if ((tree.total[node] / tree.total[i]) * width < wanted) break;
    focus = i;
  }
  return focus;
}
