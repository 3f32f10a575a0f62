/**
 * The page's one store: what is shown (`view`, saved in the address) and what the server answered. What follows from both is
 * in `flame.ts` and its neighbours.
 *
 * Views read signals and call the functions of this room; only this room writes.
 */

import { computed, type ReadonlySignal, signal } from "@preact/signals";
import type { Scope } from "../api/client";
import type {
  Binaries,
  Disassembly,
  HeatMap,
  Labels,
  LabelValues,
  Quality,
  Source,
  Status,
  Timeline,
  Top,
} from "../api/contract";
import type { DecodedDiff, DecodedFlameGraph } from "../api/decode";
import { type FunctionId, parseFunction } from "../model/function";
import { resolveInstant } from "../model/time-range";
import { Address } from "./address";
import { type Failure, Question } from "./question";
import { DEFAULT_VIEW, readView, unreadParts, type ViewState, writeView } from "./view";

// What is shown.

export const view = signal<ViewState>(readView(location.search));

/** Parts of the address that the page was opened with and could not read; empty once a person has seen it. */
export const unread = signal<readonly string[]>(unreadParts(location.search));

/** Its parts: who looks at one is not woken by the others. */
export const shown = Object.fromEntries(
  Object.keys(DEFAULT_VIEW).map((part) => [part, computed(() => view.value[part as keyof ViewState])]),
) as { readonly [Part in keyof ViewState]: ReadonlySignal<ViewState[Part]> };

const address = new Address((text, step) => {
  if (text === location.search) return;
  const to = text === "" ? location.pathname : text;
  if (step) window.history.pushState(null, "", to);
  else window.history.replaceState(null, "", to);
});

/** Changes the view. Steps that a person would want to take back get an entry in the history. */
export function navigate(change: Partial<ViewState>, history: "push" | "replace" = "push"): void {
  // A box is of the range that it was chosen in.
  const moved = "from" in change || "to" in change || "brush" in change;
  // And a line is of the function.
  const elsewhere = "fn" in change && change.fn !== view.peek().fn;
  const next = { ...view.peek(), ...(moved ? { box: null } : {}), ...(elsewhere ? { line: null } : {}), ...change };
  const text = writeView(next);
  if (text === writeView(view.peek())) return;
  view.value = next;
  address.change(text, history === "push");
}

window.addEventListener("popstate", () => {
  address.forget();
  view.value = sameParts(view.peek(), readView(location.search));
});

/** The second view, with the very parts of the first where they say the same: nothing is worked out again for them. */
function sameParts(before: ViewState, after: ViewState): ViewState {
  const kept = Object.entries(before).filter(
    ([part, value]) => JSON.stringify(value) === JSON.stringify(after[part as keyof ViewState]),
  );
  return { ...after, ...Object.fromEntries(kept) };
}

export const chosenFunction = computed<FunctionId | null>(() => {
  const fn = shown.fn.value;
  return fn === null ? null : parseFunction(fn);
});

// What the server answered.

/** A flame graph and, where it was cut and a function is looked at, a second one spent on that; null when that could not be had. */
export interface FlameAnswer extends DecodedFlameGraph {
  ofFunction?: { fn: string; graph: DecodedFlameGraph | null };
}

export const questions = {
  status: new Question<Status>(),
  timeline: new Question<Timeline>(),
  flame: new Question<FlameAnswer>(),
  top: new Question<Top>(),
  labels: new Question<Labels>(),
  heat: new Question<HeatMap>(),
  diff: new Question<DecodedDiff>(),
  source: new Question<Source>(),
  disassembly: new Question<Disassembly>(),
  binaries: new Question<Binaries>(),
  quality: new Question<Quality>(),
};

/** Values of each label whose facet is open. */
export const facetQuestions = signal<ReadonlyMap<string, Question<LabelValues>>>(new Map());

export function facetQuestion(label: string): Question<LabelValues> {
  const known = facetQuestions.peek().get(label);
  if (known !== undefined) return known;
  const question = new Question<LabelValues>();
  facetQuestions.value = new Map([...facetQuestions.peek(), [label, question]]);
  return question;
}

/** All questions there are. */
export function everyQuestion(): readonly Question<unknown>[] {
  return [...Object.values(questions), ...facetQuestions.peek().values()] as Question<unknown>[];
}

export const status = computed(() => questions.status.state.value.answer);
export const timeline = computed(() => questions.timeline.state.value.answer);
export const flame = computed(() => questions.flame.state.value.answer);

/** Whether the server answers; while it does not, when it is asked again (ms since the epoch). */
export const connection = signal<{ lost: false } | { lost: true; retryAt: number }>({ lost: false });

/** The selection, or else the whole range: what flame graph, table and downloads are about. */
export const scope = computed<Scope>(() => {
  const filter = shown.filter.value;
  const names = shown.names.value;
  const about = names === "full" ? { filter } : { filter, demangle: names };
  return { ...(shown.brush.value ?? { from: shown.from.value, to: shown.to.value }), ...about };
});

/** The ms that the flame graph in hand is of; as asked while there is none. A link with these shows the same samples again. */
export function answeredMillis(now: number): { from: number; to: number } {
  const { answer, stale } = questions.flame.state.peek();
  return answer === null || stale ? scopeMillis(now) : { from: answer.fromMs, to: answer.toMs };
}

/** The same in ms, as answered, or as asked while nothing is answered. */
export function scopeMillis(now: number): { from: number; to: number } {
  const { from, to } = scope.peek();
  return { from: resolveInstant(from, now), to: resolveInstant(to, now) };
}

/** The failure to show in place of, or above, the graph. */
export const failure = computed<Failure | null>(() => {
  const asked = shown.tab.value === "table" ? questions.top : questions.flame;
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

/** Codes of problems of who has no login any more. */
const LOGIN_CODES: readonly string[] = ["login_required", "session_ended", "wrong_login"];

/** What the server said when it wanted a login that this page had; null while it answers. The status is part of every round. */
export const loginProblem = computed(() => {
  const found = questions.status.state.value.failure;
  return found?.kind === "refused" && LOGIN_CODES.includes(found.problem.code) ? found.problem : null;
});

/** Said to screen readers. */
export const announcement = signal("");
