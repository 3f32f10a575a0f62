/**
 * Builds a call tree node by node: what hiding, sandwich and diff are made of.
 *
 * Paths of frames go in, equal paths become one node, samples are added where they end; `finish` adds up and orders siblings
 * as the server does: by falling total, then name; one frame may be told to come last. Invariant: the root's total is the sum of all that was added.
 */

import { type CallTree, callTree, type FrameTable } from "./call-tree";

export class TreeBuilder {
  private size = 1;
  private parent = new Int32Array(1024);
  private frame = new Uint32Array(1024);
  private self = new Float64Array(1024);
  /** By parent, then frame, as one number: both are below 2^26. */
  private readonly known = new Map<number, number>();
  private readonly stride: number;

  /** Node 0 is there from the start. */
  constructor(
    private readonly frames: FrameTable,
    rootFrame: number,
    private readonly lastFrame = -1,
  ) {
    this.stride = frames.name.length;
    this.frame[0] = rootFrame;
    this.parent[0] = -1;
  }

  /** The node of `frame` below `parent`. */
  child(parent: number, frame: number): number {
    const key = parent * this.stride + frame;
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const node = this.size++;
    if (node === this.parent.length) this.grow();
    this.parent[node] = parent;
    this.frame[node] = frame;
    this.known.set(key, node);
    return node;
  }

  /** Adds samples that end at `node`. */
  add(node: number, samples: number): void {
    this.self[node] += samples;
  }

  frameOf(node: number): number {
    return this.frame[node];
  }

  /** -1 above the root. */
  parentOf(node: number): number {
    return this.parent[node];
  }

  finish(): CallTree {
    return this.ordered().tree;
  }

  /** The tree, and for each of its nodes the number it had here. */
  ordered(): { tree: CallTree; from: Uint32Array } {
    const { size, parent, frame, self } = this;
    const total = self.slice(0, size);
    for (let i = size - 1; i > 0; i--) total[parent[i]] += total[i];
    const { starts, list } = this.childLists();
    const { strings, name } = this.frames;
    const columns = {
      depth: new Uint32Array(size),
      frame: new Uint32Array(size),
      total: new Float64Array(size),
      self: new Float64Array(size),
    };
    const compare = (a: number, b: number): number => {
      if (frame[a] !== frame[b] && (frame[a] === this.lastFrame || frame[b] === this.lastFrame)) {
        return frame[a] === this.lastFrame ? 1 : -1;
      }
      if (total[a] !== total[b]) return total[b] - total[a];
      const [nameA, nameB] = [strings[name[frame[a]]], strings[name[frame[b]]]];
      return nameA < nameB ? -1 : nameA > nameB ? 1 : frame[a] - frame[b];
    };
    const from = new Uint32Array(size);
    const depthOf = new Uint32Array(size);
    const left: number[] = [0];
    for (let at = 0; left.length > 0; at++) {
      const node = left.pop() as number;
      from[at] = node;
      columns.depth[at] = depthOf[node];
      columns.frame[at] = frame[node];
      columns.total[at] = total[node];
      columns.self[at] = self[node];
      const below = list.subarray(starts[node], starts[node + 1]);
      if (below.length > 1) below.sort(compare);
      for (let i = below.length - 1; i >= 0; i--) {
        depthOf[below[i]] = depthOf[node] + 1;
        left.push(below[i]);
      }
    }
    return { tree: callTree(this.frames, columns), from };
  }

  /** Children of every node in one list; those of `i` are `list[starts[i]]` up to `list[starts[i + 1]]`. */
  private childLists(): { starts: Uint32Array; list: Uint32Array } {
    const { size, parent } = this;
    const starts = new Uint32Array(size + 1);
    for (let i = 1; i < size; i++) starts[parent[i] + 1]++;
    for (let i = 0; i < size; i++) starts[i + 1] += starts[i];
    const next = starts.slice();
    const list = new Uint32Array(Math.max(0, size - 1));
    for (let i = 1; i < size; i++) list[next[parent[i]]++] = i;
    return { starts, list };
  }

  private grow(): void {
    const wider = <T extends Int32Array | Uint32Array | Float64Array>(column: T): T => {
      const larger = new (column.constructor as new (length: number) => T)(column.length * 2);
      larger.set(column);
      return larger;
    };
    this.parent = wider(this.parent);
    this.frame = wider(this.frame);
    this.self = wider(this.self);
  }
}
