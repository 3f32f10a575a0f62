/**
 * Fills in what was too small to send, below the zoomed frame: asks for as many nodes again, all of them there, and joins both
 * answers. The range is that of the answer in hand, so that both are of the same samples; when they are not, nothing changes.
 */

import { effect } from "@preact/signals";
import { fetchFlameGraph, type Scope, type Shape } from "../api/client";
import type { DecodedFlameGraph } from "../api/decode";
import { hasHidden, joinCuts } from "../model/deeper";
import { findPath } from "../model/focus-path";
import { changesNothing } from "../model/tidy";
import { flame, questions, scope, view } from "./store";

/** What was tried for each answer: the zooms that were asked for. */
const tried = new WeakMap<DecodedFlameGraph, string>();

/** The path to fill in below; null when the answer has everything there, or was asked before. */
function wanted(answer: DecodedFlameGraph, zoom: string | null): string | null {
  // The server knows frames as they are: not those of a tidied tree.
  if (zoom === null || answer.hiddenNodes === 0 || !changesNothing(view.peek().tidy)) return null;
  if (tried.get(answer) === zoom) return null;
  const node = findPath(answer.tree, zoom);
  return node < 0 || hasHidden(answer.tree, node) ? zoom : null;
}

/** The answer with what is below the zoomed frame; as it is when there is nothing to add. */
export async function deepened(
  answer: DecodedFlameGraph,
  about: Scope,
  shape: Shape,
  signal: AbortSignal,
): Promise<DecodedFlameGraph> {
  const zoom = wanted(answer, view.peek().zoom);
  if (zoom === null) return answer;
  tried.set(answer, zoom);
  // A box is of the range as it was asked for.
  const same = shape.box === null ? { ...about, from: answer.fromMs, to: answer.toMs } : about;
  try {
    const more = await fetchFlameGraph(same, shape, zoom, signal);
    const tree = joinCuts(answer.tree, more.tree);
    if (tree === null) return answer;
    const joined = { ...answer, tree };
    tried.set(joined, zoom);
    return joined;
  } catch {
    // What is there stays as good as it was; the next answer tries again.
    return answer;
  }
}

/** Does so on each zoom, for as long as the page lives. */
export function deepenOnZoom(): void {
  let running: AbortController | null = null;
  effect(() => {
    const answer = flame.value;
    const { zoom, box, group } = view.value;
    if (answer === null || wanted(answer, zoom) === null) return;
    running?.abort();
    const abort = new AbortController();
    running = abort;
    void deepened(answer, scope.peek(), { box, group }, abort.signal).then((joined) => {
      if (!abort.signal.aborted) questions.flame.amend(answer, joined);
    });
  });
}
