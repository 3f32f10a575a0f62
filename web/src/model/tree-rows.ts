/**
 * The call tree as rows of an outline: which nodes are in sight when some are open. Pure.
 *
 * Open nodes are a set of node numbers of one tree; `carryOver` finds them again in the next.
 */

import { type CallTree, children, pathTo } from "./call-tree";
import { formatFunction, functionOf } from "./function";

/** Nodes in sight, top to bottom: the root, and the children of each open node in sight. */
export function visibleRows(tree: CallTree, open: ReadonlySet<number>): number[] {
  const rows: number[] = [];
  for (let i = 0; i < tree.size; ) {
    rows.push(i);
    i = open.has(i) ? i + 1 : tree.end[i];
  }
  return rows;
}

/** Open enough to see something: the root, and down the heaviest path while one child has most of its parent. */
export function firstOpen(tree: CallTree): Set<number> {
  const open = new Set<number>([0]);
  let at = tree.size > 1 ? 1 : 0;
  while (at > 0 && tree.height[at] > 0) {
    open.add(at);
    const child = at + 1;
    if (tree.total[child] < tree.total[at] * 0.6) break;
    at = child;
  }
  return open;
}

/** Opens all above `node`, so that it is in sight. */
export function revealed(tree: CallTree, open: ReadonlySet<number>, node: number): ReadonlySet<number> {
  const above = pathTo(tree, node).slice(0, -1);
  return above.every((i) => open.has(i)) ? open : new Set([...open, ...above]);
}

/** The same nodes, by their paths, in another tree. */
export function carryOver(old: CallTree, open: ReadonlySet<number>, fresh: CallTree): Set<number> {
  const found = new Set<number>();
  const walk = (before: number, now: number): void => {
    found.add(now);
    const candidates = children(old, before).filter((i) => open.has(i));
    if (candidates.length === 0) return;
    const byFunction = new Map(children(fresh, now).map((i) => [text(fresh, i), i]));
    for (const candidate of candidates) {
      const same = byFunction.get(text(old, candidate));
      if (same !== undefined) walk(candidate, same);
    }
  };
  if (open.has(0)) walk(0, 0);
  return found;
}

function text(tree: CallTree, node: number): string {
  return formatFunction(functionOf(tree.frames, tree.frame[node]));
}
