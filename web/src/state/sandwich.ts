/** The chosen function between its callers and callees, as two panes that share one width. */

import { computed, type ReadonlySignal, signal } from "@preact/signals";
import type { CallTree } from "../model/call-tree";
import { colorFrames } from "../model/coloring";
import { type Choice, choose, chosenIn } from "../model/focus-path";
import { formatFunction, framesOf, functionOf, isCode } from "../model/function";
import { sandwich } from "../model/sandwich";
import { frameMask } from "../model/search";
import { changesNothing, tidyTree, withoutUsual } from "../model/tidy";
import { NO_MEASURE } from "../model/units";
import { found as around, looking } from "./around";
import { searchQuery } from "./flame";
import type { Pane } from "./pane";
import { chosenFunction, flame, navigate, shown } from "./store";

/** The answer that has the most of the chosen function. */
export const answer = computed(() => around.value ?? flame.value);

/** What a person hid, folded or merged; nothing is hidden by itself here, for callers are what is asked about. */
const tidy = computed(() => withoutUsual(shown.tidy.value));
const whole = computed(() => {
  const tree = (around.value ?? flame.value)?.tree ?? null;
  return tree === null ? null : tidyTree(tree, tidy.value);
});

/** Samples that are 100 %. */
export const all = computed(() => whole.value?.total[0] ?? 0);

/** All its samples, where the server has counted any; of frames that are hidden or folded on the page it knows nothing. */
const figures = computed(() => {
  const counted = around.value?.around ?? null;
  return counted === null || counted.total === 0 || !changesNothing(tidy.value) ? null : counted;
});

/** Null when nothing is chosen, or the tree has none of it. */
export const cut = computed(() => {
  const chosen = chosenFunction.value;
  if (whole.value === null || chosen === null) return null;
  return sandwich(whole.value, framesOf(whole.value.frames, chosen), figures.value);
});

/** Whether something of it may be missing: it is asked for, was too small and could not be had, or there is no more. */
export const missing = computed(() => {
  if (looking.value) return "looking";
  const cutOff =
    around.value === null ? (flame.value?.hiddenNodes ?? 0) > 0 : cut.value === null && figures.value !== null;
  return cutOff ? "small" : "none";
});

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
    measure: computed(() => answer.value?.measure ?? NO_MEASURE),
    all,
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
