/**
 * A function: all frames of one name, kind, binary and file. What table rows are, what a sandwich is about.
 *
 * Its text form stands in the address: `kind|binary|file|name`, the name last because it may hold anything.
 */

import { type CallTree, FrameKind, type FrameTable, KIND_COUNT } from "./call-tree";

export interface FunctionId {
  name: string;
  kind: number;
  binary: string | null;
  file: string | null;
}

export function formatFunction({ name, kind, binary, file }: FunctionId): string {
  return `${kind}|${bare(binary)}|${bare(file)}|${name}`;
}

/** A path with a bar in it loses it, on both sides of every comparison. */
function bare(path: string | null): string {
  return (path ?? "").replaceAll("|", "");
}

/** Reads it back; null when it is none. */
export function parseFunction(text: string): FunctionId | null {
  const parts = /^(\d)\|([^|]*)\|([^|]*)\|(.+)$/s.exec(text);
  if (parts === null || Number(parts[1]) >= KIND_COUNT) return null;
  return { kind: Number(parts[1]), binary: parts[2] || null, file: parts[3] || null, name: parts[4] };
}

/** The function of a frame. */
export function functionOf(frames: FrameTable, frame: number): FunctionId {
  const text = (index: number): string | null => (index < 0 ? null : frames.strings[index]);
  return {
    name: frames.strings[frames.name[frame]],
    kind: frames.kind[frame],
    binary: text(frames.binary[frame]),
    file: text(frames.file[frame]),
  };
}

/** 1 for each frame of the function. */
export function framesOf(frames: FrameTable, wanted: FunctionId): Uint8Array {
  const mask = new Uint8Array(frames.name.length);
  const text = formatFunction(wanted);
  for (let f = 0; f < mask.length; f++) {
    if (frames.kind[f] !== wanted.kind || frames.strings[frames.name[f]] !== wanted.name) continue;
    if (formatFunction(functionOf(frames, f)) === text) mask[f] = 1;
  }
  return mask;
}

/** Samples that ended in any of the frames, and samples with one of them on their stack, each once. */
export function weigh(tree: CallTree, mask: Uint8Array): { self: number; total: number } {
  let self = 0;
  let total = 0;
  let counted = 0;
  for (let i = 0; i < tree.size; i++) {
    if (mask[tree.frame[i]] === 0) continue;
    self += tree.self[i];
    if (i < counted) continue;
    total += tree.total[i];
    counted = tree.end[i];
  }
  return { self, total };
}

/** All functions of a tree, by falling self; what a table shows where the server has none. */
export function functionRows(tree: CallTree): (FunctionId & { line: number | null; self: number; total: number })[] {
  const count = tree.frames.name.length;
  const self = new Float64Array(count);
  const total = new Float64Array(count);
  // How often each frame is on the path, so that recursion counts once.
  const above = new Uint32Array(count);
  const path: number[] = [];
  for (let i = 1; i < tree.size; i++) {
    while (path.length >= tree.depth[i]) above[path.pop() as number]--;
    const frame = tree.frame[i];
    self[frame] += tree.self[i];
    if (above[frame]++ === 0) total[frame] += tree.total[i];
    path.push(frame);
  }
  return [...self.keys()]
    .filter((f) => isCode(tree.frames.kind[f]) && total[f] > 0)
    .map((f) => ({
      ...functionOf(tree.frames, f),
      line: tree.frames.line[f] || null,
      self: self[f],
      total: total[f],
    }))
    .sort((a, b) => b.self - a.self || b.total - a.total);
}

/** The node of the function with the largest total, or -1. */
export function largestNode(tree: CallTree, mask: Uint8Array): number {
  let best = -1;
  for (let i = 0; i < tree.size; i++) {
    if (mask[tree.frame[i]] === 1 && (best < 0 || tree.total[i] > tree.total[best])) best = i;
  }
  return best;
}

const CODE: readonly number[] = [FrameKind.User, FrameKind.Kernel, FrameKind.Inlined, FrameKind.Unknown, FrameKind.Jit];

/** Whether a frame is a function at all: code, named or not. */
export function isCode(kind: number): boolean {
  return CODE.includes(kind);
}
