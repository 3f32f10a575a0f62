/**
 * The page's one store: what is shown (`view`, saved in the address), what the server answered, and what follows from both.
 *
 * Views read signals and call the functions here; only this room writes. Everything derived is computed, never stored.
 */

import { computed, effect, signal } from "@preact/signals";
import type { Scope } from "../api/client";
import type { LabelValues, Status, Timeline, Top } from "../api/contract";
import type { DecodedFlameGraph } from "../api/decode";
import { type CallTree, isWithin, pathTo } from "../model/call-tree";
import { DARK_THEME, frameInks, LIGHT_THEME } from "../model/color";
import { findPath, pathHash } from "../model/focus-path";
import { matchedWithin, parseSearch, searchTree } from "../model/search";
import { resolveInstant } from "../model/time-range";
import { type Failure, Question } from "./question";
import { readView, type ViewState, writeView } from "./view";

// What is shown.

export const view = signal<ViewState>(readView(location.search));

let pendingAddress: ReturnType<typeof setTimeout> | undefined;

/** Changes the view. Steps that a person would want to take back get an entry in the history. */
export function navigate(change: Partial<ViewState>, history: "push" | "replace" = "push"): void {
  const next = { ...view.peek(), ...change };
  const address = writeView(next);
  if (address === writeView(view.peek())) return;
  if (history === "push") {
    writeAddressNow();
    window.history.pushState(null, "", address === "" ? location.pathname : address);
  } else {
    // Browsers limit how often the address may change; typing would exceed it.
    clearTimeout(pendingAddress);
    pendingAddress = setTimeout(writeAddressNow, 200);
  }
  view.value = next;
}

function writeAddressNow(): void {
  clearTimeout(pendingAddress);
  pendingAddress = undefined;
  const address = writeView(view.peek());
  if (address !== location.search) window.history.replaceState(null, "", address === "" ? location.pathname : address);
}

window.addEventListener("popstate", () => {
  clearTimeout(pendingAddress);
  view.value = readView(location.search);
});

// What the server answered.

export const questions = {
  status: new Question<Status>(),
  timeline: new Question<Timeline>(),
  flame: new Question<DecodedFlameGraph>(),
  top: new Question<Top>(),
  processes: new Question<LabelValues>(),
};

export const status = computed(() => questions.status.state.value.answer);
export const timeline = computed(() => questions.timeline.state.value.answer);
export const flame = computed(() => questions.flame.state.value.answer);

/** Whether the server answers; while it does not, when it is asked again (ms since the epoch). */
export const connection = signal<{ lost: false } | { lost: true; retryAt: number }>({ lost: false });

/** The selection, or else the whole range: what flame graph, table and downloads are about. */
export const scope = computed<Scope>(() => {
  const { brush, from, to, filter } = view.value;
  return brush === null ? { from, to, filter } : { from: brush.from, to: brush.to, filter };
});

/** The same in ms, as answered, or as asked while nothing is answered. */
export function scopeMillis(now: number): { from: number; to: number } {
  const { from, to } = scope.peek();
  return { from: resolveInstant(from, now), to: resolveInstant(to, now) };
}

/** The failure to show in place of, or above, the graph. */
export const failure = computed<Failure | null>(() => {
  const asked = view.value.tab === "table" ? questions.top : questions.flame;
  return asked.state.value.failure;
});

/** Codes of problems that are about the filter. */
const FILTER_CODES: readonly string[] = ["bad_selector", "unknown_label"];

/** What the server said against the filter, if it did. */
export const filterProblem = computed(() => {
  const found = [questions.timeline, questions.flame, questions.top]
    .map((question) => question.state.value.failure)
    .find((f) => f?.kind === "refused" && FILTER_CODES.includes(f.problem.code));
  return found?.kind === "refused" ? found.problem : null;
});

// The flame graph.

export const tree = computed<CallTree | null>(() => flame.value?.tree ?? null);
export const inks = computed(() => (tree.value === null ? new Uint8Array(0) : frameInks(tree.value.frames)));

/** The zoomed node; `missing` when the address names one that this tree has not. */
export const focus = computed<{ node: number; missing: boolean }>(() => {
  const { zoom } = view.value;
  if (tree.value === null || zoom === null) return { node: 0, missing: false };
  const node = findPath(tree.value, zoom);
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

/** Node under the pointer, or -1. */
export const hovered = signal(-1);

const selection = signal<{ tree: CallTree; node: number } | null>(null);

/** Node chosen by keyboard or search, or -1. */
export const selected = computed(() => {
  const chosen = selection.value;
  return chosen !== null && chosen.tree === tree.value ? chosen.node : -1;
});

/** Chooses a node; when the zoom hides it, zooms out as far as it takes. */
export function select(node: number): void {
  const at = tree.peek();
  if (at === null) return;
  if (node < 0) {
    selection.value = null;
    return;
  }
  selection.value = { tree: at, node };
  const { node: zoomed } = focus.peek();
  if (!isWithin(at, node, zoomed) && !isWithin(at, zoomed, node)) {
    const above = new Set(pathTo(at, node));
    zoomTo(pathTo(at, zoomed).findLast((i) => above.has(i)) ?? 0);
  }
}

// A new answer: the chosen node is found again by its path, and the pointer is over something else.
effect(() => {
  const fresh = tree.value;
  const chosen = selection.peek();
  hovered.value = -1;
  if (fresh === null || chosen === null || chosen.tree === fresh) return;
  const node = findPath(fresh, pathHash(chosen.tree, chosen.node));
  selection.value = node < 0 ? null : { tree: fresh, node };
});

// Search.

export const searchQuery = computed(() => parseSearch(view.value.search));
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

// Theme: the system's unless a person chose.

export type ThemeChoice = "system" | "light" | "dark";
const THEME_KEY = "profiler-theme";
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const prefersDark = signal(systemDark.matches);
systemDark.addEventListener("change", () => {
  prefersDark.value = systemDark.matches;
});
export const themeChoice = signal<ThemeChoice>(storedTheme());
export const isDark = computed(() =>
  themeChoice.value === "system" ? prefersDark.value : themeChoice.value === "dark",
);
export const theme = computed(() => (isDark.value ? DARK_THEME : LIGHT_THEME));

effect(() => {
  document.documentElement.dataset.theme = isDark.value ? "dark" : "light";
});

export function chooseTheme(choice: ThemeChoice): void {
  themeChoice.value = choice;
  try {
    localStorage.setItem(THEME_KEY, choice);
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
}

function storedTheme(): ThemeChoice {
  try {
    const stored = localStorage.getItem(THEME_KEY);
    return stored === "light" || stored === "dark" ? stored : "system";
  } catch {
    return "system";
  }
}

/** Said to screen readers. */
export const announcement = signal("");
