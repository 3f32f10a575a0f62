/**
 * One flame graph on the page, as pointer and keyboard see it: the main one, the halves of a sandwich, a diff.
 *
 * What a click does differs; what is drawn, pointed at and walked through is the same everywhere.
 */

import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { CallTree } from "../model/call-tree";
import { describeFrame, type Frame, FrameKind } from "../model/call-tree";
import type { NodeDiff } from "../model/diff";
import { isOwn } from "../model/tidy";
import { type Measure, NO_MEASURE } from "../model/units";
import { coloring, focus, found, hovered, select, selected, tree, zoomOut, zoomTo } from "./flame";
import { flame, navigate, shown, view } from "./store";

/** Everything about one node, in numbers. */
export interface FrameFacts extends Frame {
  total: number;
  self: number;
  all: number;
  inView: number;
  /** What the numbers stand for. */
  measure: Measure;
  /** Both sides, when two profiles are compared. */
  diff: NodeDiff | null;
}

export interface Pane {
  id: string;
  /** For screen readers. */
  label: string;
  tree: ReadonlySignal<CallTree | null>;
  /** By frame. */
  inks: ReadonlySignal<Uint8Array>;
  /** By node, instead. */
  nodeInks: ReadonlySignal<Uint8Array> | null;
  /** What the node's width stands for; null: its total. */
  focus: ReadonlySignal<number>;
  rootBelow: ReadonlySignal<boolean>;
  /** 1 for each frame that the search matched; null without a search. */
  matches: ReadonlySignal<Uint8Array | null>;
  /** Or -1. */
  selected: ReadonlySignal<number>;
  /** Or -1. */
  hovered: Signal<number>;
  measure: ReadonlySignal<Measure>;
  /** Samples that are 100 %. */
  all: ReadonlySignal<number>;
  choose(node: number): void;
  /** Click or Enter. */
  open(node: number): void;
  /** Backspace. */
  leave(): void;
  diffOf(node: number): NodeDiff | null;
  /** Whether a minimap may stand beside it; not where two panes must be equally wide. */
  mapped: boolean;
}

export const mainPane: Pane = {
  id: "main",
  label: "Flame graph",
  tree,
  inks: computed(() => coloring.value.inks),
  nodeInks: null,
  focus: computed(() => focus.value.node),
  rootBelow: computed(() => shown.rootBelow.value),
  matches: computed(() => found.value?.frames ?? null),
  selected,
  hovered,
  measure: computed(() => flame.value?.measure ?? NO_MEASURE),
  all: computed(() => tree.value?.total[0] ?? 0),
  choose: select,
  open: (node) => {
    select(-1);
    const at = tree.peek();
    if (at !== null && isOwn(at, node)) {
      navigate({ tidy: { ...view.peek().tidy, own: false } });
      return;
    }
    // Into what a remainder is of: there the server has more to send.
    const hidden = at !== null && at.frames.kind[at.frame[node]] === FrameKind.Remainder;
    zoomTo(hidden ? at.parent[node] : node);
  },
  leave: zoomOut,
  diffOf: () => null,
  mapped: true,
};

/** The pane that the details line and the keys are about. */
export const currentPane = signal<Pane>(mainPane);

export function factsOf(pane: Pane, node: number): FrameFacts | null {
  const at = pane.tree.peek();
  if (at === null || node < 0 || node >= at.size) return null;
  return {
    ...describeFrame(at.frames, at.frame[node]),
    total: at.total[node],
    self: at.self[node],
    all: pane.all.peek(),
    inView: at.total[pane.focus.peek()],
    measure: pane.measure.peek(),
    diff: pane.diffOf(node),
  };
}
