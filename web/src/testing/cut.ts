/** Cuts an answer as the server does: the heaviest nodes stay, of a node's callers and what is below it; the rest in remainders. */

import type { FlameGraph } from "../api/contract";
import { FrameKind } from "../model/call-tree";

export function cutBelow(answer: FlameGraph, most: number, node = 0): FlameGraph {
  const { depth, frame, total, self } = answer.nodes;
  const size = depth.length;
  if (size <= most) return answer;
  const parent = new Int32Array(size).fill(-1);
  const open: number[] = [];
  depth.forEach((d, i) => {
    if (d > 0) parent[i] = open[d - 1];
    open[d] = i;
  });
  const around = new Uint8Array(size);
  around[node] = 1;
  for (let i = node + 1; i < size; i++) if (around[parent[i]] === 1) around[i] = 1;
  for (let i = node; i >= 0; i = parent[i]) around[i] = 1;
  const order = [...depth.keys()].filter((i) => around[i] === 1).sort((a, b) => total[b] - total[a] || a - b);
  const kept = new Uint8Array(size);
  for (const i of order.slice(0, most)) kept[i] = 1;
  const hidden = total.map((n, i) => n - self[i]);
  for (let i = 1; i < size; i++) if (kept[i] === 1) hidden[parent[i]] -= total[i];
  const strings = [...answer.strings, "[smaller frames]"];
  const frames: FlameGraph["frames"] = {
    name: [...answer.frames.name, strings.length - 1],
    kind: [...answer.frames.kind, FrameKind.Remainder],
    binary: [...answer.frames.binary, -1],
    file: [...answer.frames.file, -1],
    line: [...answer.frames.line, 0],
    reason: [...answer.frames.reason, -1],
  };
  const nodes: FlameGraph["nodes"] = { depth: [], frame: [], total: [], self: [] };
  const push = (d: number, f: number, t: number, s: number): void => {
    nodes.depth.push(d);
    nodes.frame.push(f);
    nodes.total.push(t);
    nodes.self.push(s);
  };
  for (let i = 0; i < size; i++) {
    if (kept[i] === 0) continue;
    push(depth[i], frame[i], total[i], self[i]);
    // First among the children: where it stands among them does not matter.
    if (hidden[i] > 0) push(depth[i] + 1, frames.name.length - 1, hidden[i], hidden[i]);
  }
  return { ...answer, strings, frames, nodes, hidden_nodes: size - order.slice(0, most).length };
}
