/**
 * Fills in what was too small to send, below the zoomed frame: asks for as many nodes again, all of them there, and joins both
 * answers. The range is that of the answer in hand, so that both are of the same samples; when they are not, nothing changes.
 */

import { effect } from "@preact/signals";
import { type DiffBy, fetchDiff, fetchFlameGraph, type Scope, type Shape } from "../api/client";
import type { DecodedDiff, DecodedFlameGraph } from "../api/decode";
import type { CallTree } from "../model/call-tree";
import { hasHidden, joinCuts } from "../model/deeper";
import { findPath, pathHash } from "../model/focus-path";
import { changesNothing, nodeBehind, withoutUsual } from "../model/tidy";
import { baselineScope, diffBy } from "./baseline";
import type { Question } from "./question";
import { flame, questions, scope, shown, view } from "./store";

/** What was tried for each answer: the zooms that were asked for. */
const tried = new WeakMap<object, string>();

/** The path to fill in below; null when the answer has everything there, or was asked before. */
function wanted(answer: { hiddenNodes: number }, tree: CallTree): string | null {
  const { zoom, tab } = view.peek();
  const tidy = tab === "diff" ? withoutUsual(view.peek().tidy) : view.peek().tidy;
  if (zoom === null || answer.hiddenNodes === 0 || tried.get(answer) === zoom) return null;
  if (changesNothing(tidy)) {
    const node = findPath(tree, zoom);
    return node < 0 || hasHidden(tree, node) ? zoom : null;
  }
  // The server knows frames as they are, not those of a tidied tree.
  const node = nodeBehind(tree, tidy, zoom);
  return node < 0 || !hasHidden(tree, node) ? null : pathHash(tree, node);
}

/** The answer with what `fill` finds below the zoomed frame; as it is when there is nothing to add. */
async function filled<T extends { hiddenNodes: number }>(
  answer: T,
  tree: CallTree,
  fill: (below: string) => Promise<T | null>,
): Promise<T> {
  const below = wanted(answer, tree);
  if (below === null) return answer;
  const { zoom } = view.peek();
  tried.set(answer, zoom ?? "");
  try {
    const joined = await fill(below);
    if (joined === null) return answer;
    tried.set(joined, zoom ?? "");
    return joined;
  } catch {
    // What is there stays as good as it was; the next answer tries again.
    return answer;
  }
}

/** What an answer is about, to ask more about it: a box is of the range as it was asked for. */
export function sameRange({ fromMs, toMs }: DecodedFlameGraph, about: Scope, { box }: Shape): Scope {
  return box === null ? { ...about, from: fromMs, to: toMs } : about;
}

export function deepened<T extends DecodedFlameGraph>(
  answer: T,
  about: Scope,
  shape: Shape,
  signal: AbortSignal,
): Promise<T> {
  return filled(answer, answer.tree, async (below) => {
    const more = await fetchFlameGraph(sameRange(answer, about, shape), shape, { below }, signal);
    const tree = joinCuts(answer.tree, more.tree);
    return tree === null ? null : { ...answer, tree };
  });
}

/** Both sides have the same nodes, those that one lacks without samples: either tree says where something is missing. */
export function deepenedDiff(
  answer: DecodedDiff,
  base: Scope,
  about: Scope,
  by: DiffBy,
  signal: AbortSignal,
): Promise<DecodedDiff> {
  const { before, after } = answer;
  return filled(answer, after.tree, async (below) => {
    const more = await fetchDiff(
      { ...base, from: before.fromMs, to: before.toMs },
      { ...about, from: after.fromMs, to: after.toMs },
      by,
      below,
      signal,
    );
    const [earlier, later] = [joinCuts(before.tree, more.before.tree), joinCuts(after.tree, more.after.tree)];
    if (earlier === null || later === null) return null;
    return { ...answer, before: { ...before, tree: earlier }, after: { ...after, tree: later } };
  });
}

/** Does so on each zoom, for as long as the page lives. */
export function deepenOnZoom(): void {
  onZoom(
    questions.flame,
    () => {
      const answer = flame.value;
      return answer === null ? null : { answer, tree: answer.tree };
    },
    (answer, signal) => deepened(answer, scope.peek(), view.peek(), signal),
  );
  onZoom(
    questions.diff,
    () => {
      const { answer } = questions.diff.state.value;
      return answer === null || shown.tab.value !== "diff" ? null : { answer, tree: answer.after.tree };
    },
    (answer, signal) => deepenedDiff(answer, baselineScope.peek(), scope.peek(), diffBy(view.peek().baseline), signal),
  );
}

function onZoom<T extends { hiddenNodes: number }>(
  question: Question<T>,
  current: () => { answer: T; tree: CallTree } | null,
  deepen: (answer: T, signal: AbortSignal) => Promise<T>,
): void {
  let running: AbortController | null = null;
  effect(() => {
    const now = current();
    // Looked at, so that this runs again when they change.
    void shown.zoom.value;
    void shown.tidy.value;
    if (now === null || wanted(now.answer, now.tree) === null) return;
    running?.abort();
    const abort = new AbortController();
    running = abort;
    void deepen(now.answer, abort.signal).then((joined) => {
      if (!abort.signal.aborted) question.amend(now.answer, joined);
    });
  });
}
