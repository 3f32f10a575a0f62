/**
 * What follows from the answered call tree: the tree as it is shown (tidied), its colours, the zoomed and the chosen node,
 * the search. Everything derived is computed, never stored.
 */

import { computed, signal } from "@preact/signals";
import { type CallTree, isWithin, pathTo } from "../model/call-tree";
import { type Coloring, colorFrames } from "../model/coloring";
import { type Choice, choose, chosenIn, findPath, pathHash } from "../model/focus-path";
import { type FunctionId, formatFunction, framesOf, functionOf, isCode, largestNode } from "../model/function";
import { matchedWithin, parseSearch, searchTree } from "../model/search";
import { changesNothing, hasRules, tidyTree } from "../model/tidy";
import { chosenFunction, flame, navigate, shown, view } from "./store";

/** The tree of the answer, as drawn. */
export const tree = computed<CallTree | null>(() => {
  const whole = flame.value?.tree ?? null;
  return whole === null || changesNothing(shown.tidy.value) ? whole : tidyTree(whole, shown.tidy.value, ownNames.value);
});

/** Names of the profiler's own processes, as they stand below the root; none where values of a label stand there. */
export const ownNames = computed<readonly string[]>(() =>
  shown.group.value === null ? (flame.value?.own?.names ?? []) : [],
);

const NO_COLORS: Coloring = { inks: new Uint8Array(0), legend: [] };
/** Where a person hid or folded frames, samples end elsewhere: the legend is of what is drawn then, and says what was not sent. */
const counted = computed(() => (hasRules(shown.tidy.value) ? null : flame.value));
export const coloring = computed(() =>
  tree.value === null ? NO_COLORS : colorFrames(tree.value, shown.color.value, counted.value),
);

/** The zoomed node; `missing` when the address names one that this tree has not. */
export const focus = computed<{ node: number; missing: boolean }>(() => {
  if (tree.value === null || shown.zoom.value === null) return { node: 0, missing: false };
  const node = findPath(tree.value, shown.zoom.value);
  return node < 0 ? { node: 0, missing: true } : { node, missing: false };
});

/** Zooms to a node of the present tree. */
export function zoomTo(node: number): void {
  const at = tree.peek();
  if (at !== null) navigate({ zoom: node === 0 ? null : pathHash(at, node) });
}

/** Zooms out by one frame. */
export function zoomOut(): void {
  const at = tree.peek();
  const { node } = focus.peek();
  if (view.peek().zoom === null || at === null) return;
  zoomTo(Math.max(0, at.parent[node]));
}

export function zoomOutWholly(): void {
  select(-1);
  navigate({ zoom: null });
}

/** Node under the pointer, or -1. */
export const hovered = signal(-1);

const selection = signal<Choice | null>(null);

/** Node chosen by keyboard or search, or -1; a refresh does not lose it. */
export const selected = computed(() => chosenIn(tree.value, selection.value));

/** Chooses a node, and its function with it; when the zoom hides it, zooms out as far as it takes. */
export function select(node: number): void {
  const at = tree.peek();
  if (at === null) return;
  selection.value = choose(at, node);
  if (node < 0) return;
  const chosen = functionOf(at.frames, at.frame[node]);
  if (isCode(chosen.kind)) navigate({ fn: formatFunction(chosen) }, "replace");
  const { node: zoomed } = focus.peek();
  if (!isWithin(at, node, zoomed) && !isWithin(at, zoomed, node)) {
    const above = new Set(pathTo(at, node));
    zoomTo(pathTo(at, zoomed).findLast((i) => above.has(i)) ?? 0);
  }
}

// The chosen function.

/** 1 for each frame of it; null when none is chosen. */
export const chosenFrames = computed(() =>
  chosenFunction.value === null || tree.value === null ? null : framesOf(tree.value.frames, chosenFunction.value),
);

/** Chooses a function, and its largest node in the graph. */
export function chooseFunction(chosen: FunctionId): void {
  navigate({ fn: formatFunction(chosen) }, "replace");
  const at = tree.peek();
  const frames = chosenFrames.peek();
  if (at === null || frames === null) return;
  const node = selected.peek();
  if (node < 0 || frames[at.frame[node]] === 0) {
    selection.value = choose(at, largestNode(at, frames));
  }
}

// Search.

export const searchQuery = computed(() => parseSearch(shown.search.value));
export const found = computed(() => {
  if (tree.value === null) return null;
  performance.mark("search:start");
  const result = searchTree(tree.value, searchQuery.value);
  performance.measure("search", "search:start");
  return result;
});
/** Matched samples under the zoomed frame. */
export const foundInFocus = computed(() =>
  tree.value === null || found.value === null ? 0 : matchedWithin(tree.value, found.value.frames, focus.value.node),
);
