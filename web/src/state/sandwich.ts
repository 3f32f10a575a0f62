/** The chosen function between its callers and callees, as two panes that share one width. */

import { computed, type ReadonlySignal, signal } from "@preact/signals";
import type { CallTree } from "../model/call-tree";
import { colorFrames } from "../model/coloring";
import { type Choice, choose, chosenIn } from "../model/focus-path";
import { formatFunction, functionOf, isCode } from "../model/function";
import { sandwich } from "../model/sandwich";
import { frameMask } from "../model/search";
import { chosenFrames, searchQuery, tree } from "./flame";
import type { Pane } from "./pane";
import { flame, navigate, shown } from "./store";

/** Null when nothing is chosen, or the tree has none of it. */
export const cut = computed(() =>
  tree.value === null || chosenFrames.value === null ? null : sandwich(tree.value, chosenFrames.value),
);

function half(id: string, label: string, half: ReadonlySignal<CallTree | null>, rootBelow: boolean): Pane {
  const chosen = signal<Choice | null>(null);
  return {
    id,
    label,
    tree: half,
    inks: computed(() => (half.value === null ? new Uint8Array(0) : colorFrames(half.value, shown.color.value).inks)),
    nodeInks: null,
    focus: signal(0),
    rootBelow: signal(rootBelow),
    matches: computed(() => {
      const query = searchQuery.value;
      if (half.value === null || query.kind === "none" || query.kind === "bad") return null;
      return frameMask(half.value.frames, query);
    }),
    selected: computed(() => chosenIn(half.value, chosen.value)),
    hovered: signal(-1),
    nanosPerSample: computed(() => flame.value?.nanosPerSample ?? 0),
    all: computed(() => tree.value?.total[0] ?? 0),
    choose: (node) => {
      chosen.value = choose(half.peek(), node);
    },
    // A click makes that function the filling.
    open: (node) => {
      const at = half.peek();
      if (at === null || node <= 0) return;
      const next = functionOf(at.frames, at.frame[node]);
      if (isCode(next.kind)) navigate({ fn: formatFunction(next) });
    },
    leave: () => {
      chosen.value = null;
    },
    diffOf: () => null,
    mapped: false,
  };
}

const callers = computed(() => cut.value?.callers ?? null);
const callees = computed(() => cut.value?.callees ?? null);

export const callersPane = half("callers", "Callers", callers, true);
export const calleesPane = half("callees", "Callees", callees, false);
