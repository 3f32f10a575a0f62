/**
 * Trees as folded stacks: `process;frame;frame count`, one line for each node with samples of its own. Pure.
 *
 * Names are written as the server's export does it (`profiler/src/export/folded.rs`): the format has no escapes.
 */

import { type CallTree, FrameKind, nodeName, pathTo } from "./call-tree";
import type { Diff } from "./diff";

/** The stacks at and below a node, with what is above it. */
export function foldedLines(tree: CallTree, node: number): string {
  const lines: string[] = [];
  eachStack(tree, node, (i, path) => {
    if (tree.self[i] > 0) lines.push(`${path} ${tree.self[i]}\n`);
  });
  return lines.join("");
}

/** Both sides of a difference: `stack before now`, as differential flame graphs read it. */
export function differenceLines(diff: Diff): string {
  const lines: string[] = [];
  eachStack(diff.tree, 0, (i, path) => {
    const [before, after] = [diff.beforeSelf[i], diff.afterSelf[i]];
    if (before + after > 0) lines.push(`${path} ${before} ${after}\n`);
  });
  return lines.join("");
}

function eachStack(tree: CallTree, top: number, each: (node: number, path: string) => void): void {
  const { kind } = tree.frames;
  const named = (node: number): string => clean(nodeName(tree, node));
  const isRoot = kind[tree.frame[0]] === FrameKind.Root;
  // The path of the node last seen at each depth.
  const paths: string[] = [];
  const enter = (i: number): string => {
    const depth = tree.depth[i];
    const above = depth === 0 ? "" : paths[depth - 1];
    const own = i === 0 && isRoot ? "" : named(i);
    paths[depth] = above === "" || own === "" ? above + own : `${above};${own}`;
    return paths[depth];
  };
  for (const i of pathTo(tree, top).slice(0, -1)) enter(i);
  // Samples of the root itself belong to no process; they are written rather than lost.
  for (let i = top; i < tree.end[top]; i++) each(i, enter(i) || "all");
}

/** What a reader may take for the end of a word or line, and what turns text around on a terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is replaced
const BREAKS = /[\s\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** A last word of digits is joined with `_`, as is a first word `#`: readers take them for counts and comments. */
function clean(name: string): string {
  const text = name.trim().replace(BREAKS, " ").replace(/;/g, ":").trim();
  if (text === "") return "[no name]";
  return text.replace(/^# /, "#_").replace(/ ([\d.]+)$/, "_$1");
}
