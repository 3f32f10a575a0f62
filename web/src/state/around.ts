/**
 * The chosen function where it was too small to send: its callers and callees are all over the tree, and a graph that was cut has
 * the heaviest nodes of all. So a second one is asked for, spent on what is around the function, for as long as that is looked at.
 */

import { computed, effect } from "@preact/signals";
import { fetchFlameGraph, type Scope, type Shape } from "../api/client";
import { codeFunction } from "./code";
import { sameRange } from "./deeper";
import { type FlameAnswer, flame, questions, scope, shown, view } from "./store";
import type { Tab } from "./view";

/** Where callers and callees are shown. */
const TABS: readonly Tab[] = ["sandwich", "table"];

/** The function that this answer lacks the other one for; null for none. */
function wanted(answer: FlameAnswer): string | null {
  const { tab, fn } = view.peek();
  const asked = answer.hiddenNodes > 0 && codeFunction.peek() !== null && TABS.includes(tab);
  return asked && answer.ofFunction?.fn !== fn ? fn : null;
}

/** The answer with what is around the chosen function, where it may lack some of that. */
export async function withFunction(
  answer: FlameAnswer,
  about: Scope,
  shape: Shape,
  signal: AbortSignal,
): Promise<FlameAnswer> {
  const fn = wanted(answer);
  if (fn === null) return answer;
  // What is there stays as good as it was; the next answer tries again.
  const graph = await fetchFlameGraph(sameRange(answer, about, shape), shape, { around: fn }, signal).catch(() => null);
  return { ...answer, ofFunction: { fn, graph } };
}

/** Asks whenever another function is looked at, for as long as the page lives. */
export function askAroundFunction(): void {
  let running: AbortController | null = null;
  effect(() => {
    const answer = flame.value;
    // Looked at, so that this runs again when they change.
    void shown.tab.value;
    void shown.fn.value;
    if (answer === null || wanted(answer) === null) return;
    running?.abort();
    const abort = new AbortController();
    running = abort;
    void withFunction(answer, scope.peek(), view.peek(), abort.signal).then((better) => {
      if (!abort.signal.aborted) questions.flame.amend(answer, better);
    });
  });
}

/** What was answered about the chosen function. */
export const found = computed(() => {
  const of = flame.value?.ofFunction;
  return of !== undefined && of.fn === shown.fn.value ? of.graph : null;
});

/** Whether that is still to come. */
export const looking = computed(() => {
  void shown.tab.value;
  void shown.fn.value;
  return flame.value !== null && wanted(flame.value) !== null;
});
