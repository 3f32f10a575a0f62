/** The shown profile compared with another range or filter: the merged tree, its pane. */

import { computed, signal } from "@preact/signals";
import { type Diff, diffInks, diffTrees, functionDiffs, nodeDiff } from "../model/diff";
import { type Choice, choose, chosenIn, findPath, pathHash } from "../model/focus-path";
import { frameMask } from "../model/search";
import { tidyTree, withoutUsual } from "../model/tidy";
import { NO_MEASURE } from "../model/units";
import { searchQuery } from "./flame";
import type { Pane } from "./pane";
import { flame, navigate, questions, shown, status, timeline, view } from "./store";

/** Compares the later half of what is merged with the earlier one: both are on the timeline then. */
export function compareHalves(): void {
  const { oldest_ms: oldest, newest_ms: newest } = status.peek()?.database ?? { oldest_ms: null, newest_ms: null };
  const whole = timeline.peek();
  if (whole === null) return;
  const from = Math.max(whole.from_ms, oldest ?? 0);
  const to = Math.min(whole.to_ms, newest ?? whole.to_ms);
  const middle = Math.round((from + to) / 2);
  if (middle <= from || to <= middle) return;
  navigate({ brush: { from: middle, to }, baseline: { ...view.peek().baseline, range: { from, to: middle } } });
}

export const diff = computed<Diff | null>(() => {
  const { answer } = questions.diff.state.value;
  if (answer === null) return null;
  // Frames that are hidden by themselves are not the same ones on both sides.
  const tidy = withoutUsual(shown.tidy.value);
  const baseline = shown.baseline.value;
  const { before, after } = answer;
  return diffTrees(tidyTree(before.tree, tidy), tidyTree(after.tree, tidy), [before, after], baseline.absolute);
});

export const changes = computed(() => (diff.value === null ? [] : functionDiffs(diff.value)));

const chosen = signal<Choice | null>(null);
const merged = computed(() => diff.value?.tree ?? null);
const NO_INKS = new Uint8Array(0);
const focus = computed(() => {
  const zoom = shown.zoom.value;
  return merged.value === null || zoom === null ? 0 : Math.max(0, findPath(merged.value, zoom));
});

export const diffPane: Pane = {
  id: "diff",
  label: "Difference",
  tree: merged,
  inks: signal(NO_INKS),
  nodeInks: computed(() => (diff.value === null ? NO_INKS : diffInks(diff.value))),
  focus,
  rootBelow: computed(() => shown.rootBelow.value),
  matches: computed(() => {
    const query = searchQuery.value;
    if (merged.value === null || query.kind === "none" || query.kind === "bad") return null;
    return frameMask(merged.value.frames, query);
  }),
  selected: computed(() => chosenIn(merged.value, chosen.value)),
  hovered: signal(-1),
  measure: computed(() => flame.value?.measure ?? NO_MEASURE),
  all: computed(() => merged.value?.total[0] ?? 0),
  choose: (node) => {
    chosen.value = choose(merged.peek(), node);
  },
  open: (node) => {
    const at = merged.peek();
    chosen.value = null;
    if (at !== null) navigate({ zoom: node === 0 ? null : pathHash(at, node) });
  },
  leave: () => {
    const at = merged.peek();
    const node = focus.peek();
    if (at !== null && node > 0) navigate({ zoom: at.parent[node] <= 0 ? null : pathHash(at, at.parent[node]) });
  },
  diffOf: (node) => (diff.peek() === null ? null : nodeDiff(diff.peek() as Diff, node)),
  mapped: true,
};
