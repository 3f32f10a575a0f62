/**
 * Cuts an answer as the server does: the heaviest nodes stay, of a node's callers and what is below it, or by the samples that go through
 * a function; the rest in remainders.
 */

import type { Diff, FlameGraph } from "../api/contract";
import { decodeFlameGraph } from "../api/decode";
import { FrameKind } from "../model/call-tree";
import { type FunctionId, framesOf, weigh } from "../model/function";

export function cutBelow(answer: FlameGraph, most: number, node = 0): FlameGraph {
  const { depth, total } = answer.nodes;
  if (depth.length <= most) return answer;
  return cutTo(answer, most, around(answer.nodes.depth, node), total);
}

export function cutAround(answer: FlameGraph, most: number, chosen: FunctionId): FlameGraph {
  const { tree } = decodeFlameGraph(answer);
  const mask = framesOf(tree.frames, chosen);
  const figured = { ...answer, around: weigh(tree, mask) };
  if (tree.size <= most) return figured;
  // Every outermost place counts for itself, for what is below it, and for each of its callers.
  const through = new Array<number>(tree.size).fill(0);
  for (let i = 0; i < tree.size; ) {
    if (mask[tree.frame[i]] === 0) {
      i++;
      continue;
    }
    for (let p = tree.parent[i]; p >= 0; p = tree.parent[p]) through[p] += tree.total[i];
    for (const end = tree.end[i]; i < end; i++) through[i] = tree.total[i];
  }
  return cutTo(
    figured,
    most,
    Uint8Array.from(through, (n, i) => (i === 0 || n > 0 ? 1 : 0)),
    through,
  );
}

function cutTo(answer: FlameGraph, most: number, wanted: Uint8Array, weight: readonly number[]): FlameGraph {
  const cut = cutColumns(answer, most, wanted, weight, [[answer.nodes.total, answer.nodes.self]]);
  const [total, self] = cut.sides[0];
  return { ...answer, ...cut.table, nodes: { ...cut.nodes, total, self }, hidden_nodes: cut.hidden };
}

/** By the weight of both sides, which have as many samples: what one has, the other has too. */
export function cutDiffBelow(answer: Diff, most: number, node = 0): Diff {
  const { nodes } = answer;
  if (nodes.depth.length <= most) return answer;
  const weight = nodes.total_before.map((n, i) => n + nodes.total_after[i]);
  const cut = cutColumns(answer, most, around(nodes.depth, node), weight, [
    [nodes.total_before, nodes.self_before],
    [nodes.total_after, nodes.self_after],
  ]);
  const [[total_before, self_before], [total_after, self_after]] = cut.sides;
  const z = total_before.map(() => 0);
  return {
    ...answer,
    ...cut.table,
    nodes: { ...cut.nodes, total_before, total_after, self_before, self_after, z },
    hidden_nodes: cut.hidden,
  };
}

/** Totals and selfs. */
type Side = [number[], number[]];

function parents(depth: readonly number[]): Int32Array {
  const parent = new Int32Array(depth.length).fill(-1);
  const open: number[] = [];
  depth.forEach((d, i) => {
    if (d > 0) parent[i] = open[d - 1];
    open[d] = i;
  });
  return parent;
}

/** A node, its callers, and what is below it. */
function around(depth: readonly number[], node: number): Uint8Array {
  const parent = parents(depth);
  const wanted = new Uint8Array(depth.length);
  wanted[node] = 1;
  for (let i = node + 1; i < depth.length; i++) if (wanted[parent[i]] === 1) wanted[i] = 1;
  for (let i = node; i >= 0; i = parent[i]) wanted[i] = 1;
  return wanted;
}

function cutColumns(
  answer: Pick<FlameGraph, "strings" | "frames"> & { nodes: { depth: number[]; frame: number[] } },
  most: number,
  wanted: Uint8Array,
  weight: readonly number[],
  sides: readonly Side[],
) {
  const { depth, frame } = answer.nodes;
  const size = depth.length;
  const parent = parents(depth);
  const order = [...depth.keys()].filter((i) => wanted[i] === 1).sort((a, b) => weight[b] - weight[a] || a - b);
  const kept = new Uint8Array(size);
  for (const i of order.slice(0, most)) kept[i] = 1;
  const hidden = sides.map(([total, self]) => {
    const rest = total.map((n, i) => n - self[i]);
    for (let i = 1; i < size; i++) if (kept[i] === 1) rest[parent[i]] -= total[i];
    return rest;
  });
  const strings = [...answer.strings, "[smaller frames]"];
  const frames: FlameGraph["frames"] = {
    name: [...answer.frames.name, strings.length - 1],
    kind: [...answer.frames.kind, FrameKind.Remainder],
    binary: [...answer.frames.binary, -1],
    file: [...answer.frames.file, -1],
    line: [...answer.frames.line, 0],
    reason: [...answer.frames.reason, -1],
  };
  const nodes = { depth: [] as number[], frame: [] as number[] };
  const columns = sides.map((): Side => [[], []]);
  for (let i = 0; i < size; i++) {
    if (kept[i] === 0) continue;
    nodes.depth.push(depth[i]);
    nodes.frame.push(frame[i]);
    columns.forEach((column, side) => {
      column[0].push(sides[side][0][i]);
      column[1].push(sides[side][1][i]);
    });
    if (hidden.every((rest) => rest[i] === 0)) continue;
    // First among the children: where it stands among them does not matter.
    nodes.depth.push(depth[i] + 1);
    nodes.frame.push(frames.name.length - 1);
    columns.forEach((column, side) => {
      for (const of of column) of.push(hidden[side][i]);
    });
  }
  return { table: { strings, frames }, nodes, sides: columns, hidden: size - order.slice(0, most).length };
}
