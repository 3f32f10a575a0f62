/**
 * Search: which frames match, and which share of the samples has one of them on its stack.
 *
 * It highlights; it never hides or re-scales. The share is a union: a sample counts once however many matches its stack
 * holds. Each distinct text is tested once.
 */

import { type CallTree, FrameKind, type FrameTable, KIND_NAMES } from "./call-tree";
import { packageOf } from "./package";

/** What else than a name can be searched: `kind:kernel`, `binary:libc`, `package:tokio`, `file:main.rs`. */
export type SearchField = "kind" | "binary" | "package" | "file";

export type SearchQuery =
  | { kind: "none" }
  | { kind: "literal"; text: string }
  | { kind: "exact"; text: string }
  | { kind: "regex"; regex: RegExp }
  /** `value` is the whole kind or package, or a part of the binary or file. */
  | { kind: "field"; field: SearchField; value: string }
  | { kind: "bad"; problem: string };

/** `text` anywhere in the name (any case), `"text"` the whole name, `/text/` a regular expression (`/text/i`: any case). */
export function parseSearch(text: string): SearchQuery {
  if (text.trim() === "") return { kind: "none" };
  const regex = /^\/(.+)\/([iu]*)$/s.exec(text);
  if (regex !== null) {
    try {
      return { kind: "regex", regex: new RegExp(regex[1], regex[2]) };
    } catch (error) {
      return { kind: "bad", problem: error instanceof Error ? error.message : String(error) };
    }
  }
  if (text.length > 2 && text.startsWith('"') && text.endsWith('"')) return { kind: "exact", text: text.slice(1, -1) };
  // Two colons are a path in a name.
  const field = /^(kind|binary|package|file):(?!:)(.+)$/s.exec(text);
  if (field !== null) return { kind: "field", field: field[1] as SearchField, value: field[2].trim() };
  return { kind: "literal", text: text.toLowerCase() };
}

/** What is searched: a frame, or a row of the table. */
export interface Searched {
  name: string;
  kind: number;
  binary: string | null;
  file: string | null;
}

/** The query as a test. */
export function searchTest(query: SearchQuery): (searched: Searched) => boolean {
  switch (query.kind) {
    case "literal":
      return ({ name }) => name.toLowerCase().includes(query.text);
    case "exact":
      return ({ name }) => name === query.text;
    case "regex":
      return ({ name }) => query.regex.test(name);
    case "field":
      return fieldTest(query.field, query.value);
    case "none":
    case "bad":
      return () => false;
  }
}

function fieldTest(field: SearchField, value: string): (searched: Searched) => boolean {
  switch (field) {
    case "kind":
      return ({ kind }) => KIND_NAMES[kind]?.toLowerCase() === value.toLowerCase();
    case "binary":
      return ({ binary }) => binary?.includes(value) === true;
    case "package":
      return (searched) => packageOf(searched) === value;
    case "file":
      return ({ file }) => file?.includes(value) === true;
  }
}

export interface SearchResult {
  /** 1 for each frame that matches. */
  frames: Uint8Array;
  /** Matching nodes, depth first: left to right, top to bottom. */
  nodes: Uint32Array;
  /** Samples with a match on their stack, each once. */
  total: number;
  /** Frames that are too small to be sent may match, too: there may be more. */
  more: boolean;
}

/** 1 for each frame that matches. */
export function frameMask(frames: FrameTable, query: SearchQuery): Uint8Array {
  const { strings, name, kind, binary, file } = frames;
  const mask = new Uint8Array(name.length);
  if (query.kind === "none" || query.kind === "bad") return mask;
  const test = searchTest(query);
  const text = (index: number): string | null => (index < 0 ? null : strings[index]);
  // By name: 0 not tested, 1 no match, 2 match.
  const verdict = query.kind === "field" ? null : new Uint8Array(strings.length);
  for (let f = 0; f < mask.length; f++) {
    const n = name[f];
    if (verdict !== null && verdict[n] > 0) {
      mask[f] = verdict[n] - 1;
      continue;
    }
    const found = test({ name: strings[n], kind: kind[f], binary: text(binary[f]), file: text(file[f]) });
    mask[f] = found ? 1 : 0;
    if (verdict !== null) verdict[n] = mask[f] + 1;
  }
  return mask;
}

/** Runs the query; null when it is empty or not valid. */
export function searchTree(tree: CallTree, query: SearchQuery): SearchResult | null {
  if (query.kind === "none" || query.kind === "bad") return null;
  const frames = frameMask(tree.frames, query);
  // The root is not a function; a search never selects it.
  if (tree.frames.kind[tree.frame[0]] === 0) frames[tree.frame[0]] = 0;
  let count = 0;
  for (let i = 0; i < tree.size; i++) count += frames[tree.frame[i]];
  const nodes = new Uint32Array(count);
  for (let i = 0, n = 0; n < count; i++) if (frames[tree.frame[i]] === 1) nodes[n++] = i;
  return { frames, nodes, total: matchedWithin(tree, frames, 0), more: isCutOutside(tree, frames) };
}

/** Whether samples are in remainders that no match is above of. */
function isCutOutside(tree: CallTree, frames: Uint8Array): boolean {
  for (let i = 0; i < tree.size; ) {
    const frame = tree.frame[i];
    if (frames[frame] === 1) i = tree.end[i];
    else if (tree.frames.kind[frame] === FrameKind.Remainder && tree.total[i] > 0) return true;
    else i++;
  }
  return false;
}

/** Samples under `node` with a match on their whole stack, each once. */
export function matchedWithin(tree: CallTree, frames: Uint8Array, node: number): number {
  for (let i = tree.parent[node]; i >= 0; i = tree.parent[i]) {
    if (frames[tree.frame[i]] === 1) return tree.total[node];
  }
  let matched = 0;
  const last = tree.end[node];
  for (let i = node; i < last; ) {
    if (frames[tree.frame[i]] === 1) {
      matched += tree.total[i];
      i = tree.end[i];
    } else {
      i++;
    }
  }
  return matched;
}

/** The match after `node` (`step` 1) or before it (-1), around the ends; -1 when there is none. */
export function nextMatch(nodes: Uint32Array, node: number, step: 1 | -1): number {
  if (nodes.length === 0) return -1;
  let low = 0;
  let high = nodes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (nodes[middle] < node) low = middle + 1;
    else high = middle;
  }
  if (step === 1) {
    const after = nodes[low] === node ? low + 1 : low;
    return nodes[after % nodes.length];
  }
  return nodes[(low - 1 + nodes.length) % nodes.length];
}
