/**
 * Keeps the answers up to date: asks when the view changes, every 5 s while it is live, and with growing pauses while
 * nobody answers. A hidden page asks nothing.
 */

import { computed, effect } from "@preact/signals";
import {
  fetchBinaries,
  fetchDiff,
  fetchDisassembly,
  fetchFlameGraph,
  fetchHeatMap,
  fetchLabels,
  fetchLabelValues,
  fetchQuality,
  fetchSource,
  fetchStatus,
  fetchTimeline,
  fetchTop,
  type Scope,
  type TopRows,
} from "../api/client";
import { formatFunction } from "../model/function";
import type { HeatBox } from "../model/heat-cells";
import { gridSize } from "../model/heat-cells";
import { parseSearch } from "../model/search";
import { withoutLabel } from "../model/selector";
import { MOST_BANDS } from "../model/stack";
import { presetFor, resolveInstant } from "../model/time-range";
import { askAroundFunction, withFunction } from "./around";
import { baselineScope, diffBy } from "./baseline";
import { codeFunction } from "./code";
import { deepened, deepenedDiff, deepenOnZoom } from "./deeper";
import { folders } from "./folders";
import { connection, everyQuestion, facetQuestion, navigate, questions, scope, shown, view } from "./store";
import { DEFAULT_VIEW, isLive, type ViewState } from "./view";

const LIVE_MS = 5_000;
/** While waiting for the first window. */
const WAITING_MS = 2_000;
/** When nothing moves, only the status is asked for. */
const IDLE_MS = 15_000;
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 30_000;
const TIMELINE_POINTS = 600;
const TOP_ROWS = 1_000;
/** Between two letters of a search. */
const TYPING_MS = 200;

let timer: ReturnType<typeof setTimeout> | undefined;
let failedInARow = 0;
let round = 0;
let lastSearch = "";
const openedWithoutRange = !/[?&](from|to|brush)=/.test(location.search);
let placed = false;

/** Starts, for as long as the page lives. */
export function startRefreshing(): void {
  // A change of what is asked asks at once; what is shown otherwise does not matter.
  const wanted = computed(() => {
    const tab = shown.tab.value;
    const base = tab === "diff" ? shown.baseline.value : null;
    return JSON.stringify([
      shown.from.value,
      shown.to.value,
      shown.filter.value,
      shown.live.value,
      shown.by.value,
      shown.box.value,
      shown.group.value,
      keyOf(scope.value),
      tab === "table" && topKey(topRows(shown)),
      tab === "heatmap",
      tab === "quality",
      tab === "source" ? [codeFunction.value, folders.value] : null,
      shown.facets.value,
      base,
    ]);
  });
  let begun = false;
  effect(() => {
    void wanted.value;
    if (begun) queueMicrotask(() => void refresh("changed"));
  });
  // At once, not when the modules that draw have run and drawn: that is 50 ms later, and the answer could be there.
  begun = true;
  void refresh("changed");
  deepenOnZoom();
  askAroundFunction();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void refresh("tick");
  });
}

/** Resolves when the flame graph has been answered for the first time, or refused. */
export function firstAnswer(): Promise<void> {
  return new Promise((resolve) => {
    const stop = effect(() => {
      if (questions.flame.state.value.loading) return;
      resolve();
      // Not within its own first run, when there is nothing to stop yet.
      queueMicrotask(() => stop());
    });
  });
}

/** The values of a label, for completions; a facet that is open has them already. */
export function askForValues(label: string): void {
  const about = withoutMatcher(scope.peek(), label);
  const { box } = view.peek();
  const question = facetQuestion(label);
  const key = boxKey(about, box);
  if (!question.has(key)) void question.ask(key, (signal) => fetchLabelValues(label, about, box, signal));
}

function withoutMatcher(about: Scope, label: string): Scope {
  return { ...about, filter: withoutLabel(about.filter, label) };
}

/** Asks again at once. */
export function retryNow(): void {
  void refresh("tick");
}

async function refresh(why: "changed" | "tick"): Promise<void> {
  clearTimeout(timer);
  const mine = ++round;
  const now = view.peek();
  const retrying = failedInARow > 0;
  const waiting = (questions.status.state.peek().answer?.database.windows ?? 1) === 0;
  const again = why === "tick" && (isLive(now) || waiting || retrying);

  const whole: Scope = { from: now.from, to: now.to, filter: now.filter };
  const narrow = scope.peek();
  // What a brush selected is past and does not change.
  const narrowAgain = again && (now.brush === null || retrying);
  const by = now.by === null ? null : { label: now.by, series: MOST_BANDS };
  // The graph first: it takes the server longest, and is what the page is opened for.
  const asked: Promise<void>[] = [
    unless(!narrowAgain, questions.flame, `${boxKey(narrow, now.box)} ${now.group}`, (signal) =>
      fetchFlameGraph(narrow, now, {}, signal)
        .then((answer) => deepened(answer, narrow, now, signal))
        .then((answer) => withFunction(answer, narrow, now, signal)),
    ),
    questions.status.ask("", fetchStatus),
    unless(!again, questions.timeline, `${boxKey(whole, now.box)} ${now.by}`, (signal) =>
      fetchTimeline(whole, now.box, TIMELINE_POINTS, by, signal),
    ),
    unless(true, questions.labels, "", fetchLabels),
  ];
  for (const label of now.facets) {
    const about = withoutMatcher(narrow, label);
    const ask = (signal: AbortSignal) => fetchLabelValues(label, about, now.box, signal);
    asked.push(unless(!narrowAgain, facetQuestion(label), boxKey(about, now.box), ask));
  }
  if (now.tab === "table") {
    const wanted = topRows(shown);
    const key = `${boxKey(narrow, now.box)} ${topKey(wanted)}`;
    // A word is typed letter by letter: asked about when the typing pauses.
    const typing = wanted.search !== lastSearch;
    lastSearch = wanted.search;
    asked.push(
      unless(!narrowAgain, questions.top, key, async (signal) => {
        if (typing) await pause(TYPING_MS, signal);
        return fetchTop(narrow, now.box, wanted, TOP_ROWS, signal);
      }),
    );
  }
  if (now.tab === "heatmap") {
    asked.push(
      unless(!narrowAgain, questions.heat, keyOf(narrow), (signal) =>
        fetchHeatMap(narrow, gridSize(spanOf(narrow)), signal),
      ),
    );
  }
  const code = now.tab === "source" ? codeFunction.peek() : null;
  if (code !== null) {
    const key = `${boxKey(narrow, now.box)} ${formatFunction(code)}`;
    const added = folders.peek();
    asked.push(
      unless(!narrowAgain, questions.source, `${key} ${added.join("\n")}`, (signal) =>
        fetchSource(code, narrow, now.box, added, signal),
      ),
      unless(!narrowAgain, questions.disassembly, key, (signal) => fetchDisassembly(code, narrow, now.box, signal)),
    );
  }
  if (now.tab === "quality") {
    const key = boxKey(narrow, now.box);
    asked.push(
      unless(!narrowAgain, questions.quality, key, (signal) => fetchQuality(narrow, now.box, signal)),
      unless(!narrowAgain, questions.binaries, keyOf(narrow), (signal) => fetchBinaries(narrow, signal)),
    );
  }
  if (now.tab === "diff") {
    const base = baselineScope.peek();
    // By what was asked for, not by when that is now: an answer that takes longer than a tick must not be given up at each.
    const key = `${keyOf(narrow)} ${JSON.stringify(now.baseline)}`;
    asked.push(
      unless(!narrowAgain, questions.diff, key, (signal) =>
        fetchDiff(base, narrow, diffBy(now.baseline), null, signal).then((answer) =>
          deepenedDiff(answer, base, narrow, diffBy(now.baseline), signal),
        ),
      ),
    );
  }
  await Promise.all(asked);
  if (mine !== round) return;
  placeFirstView();
  schedule();
}

/** Which rows the table has: a search that is not valid yet finds what the one before did not leave out. */
function topRows(of: { sort: { value: ViewState["sort"] }; search: { value: string } }): TopRows {
  const { by, ascending } = of.sort.value;
  const search = of.search.value;
  return { sort: by, ascending, search: parseSearch(search).kind === "bad" ? "" : search };
}

const topKey = ({ sort, ascending, search }: TopRows): string => `${sort} ${ascending} ${search}`;

/** Resolves after a while, or rejects when it is given up. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** Asks, unless `keep` is set and the answer in hand is to the same key. */
function unless<T>(
  keep: boolean,
  question: {
    has(key: string): boolean;
    ask(key: string, fetcher: (signal: AbortSignal) => Promise<T>): Promise<void>;
  },
  key: string,
  fetcher: (signal: AbortSignal) => Promise<T>,
): Promise<void> {
  return keep && question.has(key) ? Promise.resolve() : question.ask(key, fetcher);
}

function spanOf(about: Scope): number {
  const now = Date.now();
  return resolveInstant(about.to, now) - resolveInstant(about.from, now);
}

function boxKey(about: Scope, box: HeatBox | null): string {
  return `${keyOf(about)} ${JSON.stringify(box)}`;
}

function keyOf(about: Scope): string {
  return `${about.from} ${about.to} ${about.filter} ${about.demangle}`;
}

function schedule(): void {
  const lost = everyQuestion().some((question) => question.state.peek().failure?.kind === "unreachable");
  failedInARow = lost ? failedInARow + 1 : 0;
  let pause = isLive(view.peek()) ? LIVE_MS : IDLE_MS;
  if ((questions.status.state.peek().answer?.database.windows ?? 1) === 0) pause = WAITING_MS;
  if (lost) pause = Math.min(FIRST_RETRY_MS * 2 ** (failedInARow - 1), LAST_RETRY_MS);
  connection.value = lost ? { lost: true, retryAt: Date.now() + pause } : { lost: false };
  timer = setTimeout(() => {
    if (!document.hidden) void refresh("tick");
  }, pause);
}

/**
 * A database served without a recorder ends in the past: open at its newest hour, or all of it, instead of at an empty one. A young one fills
 * a small part of the hour: open at the shortest preset that holds all of it.
 */
function placeFirstView(): void {
  const status = questions.status.state.peek().answer;
  if (placed || status === null) return;
  placed = true;
  const { newest_ms: newest, oldest_ms: oldest } = status.database;
  if (!openedWithoutRange || newest === null || oldest === null) {
    // Decided when there is something.
    placed = newest !== null || !openedWithoutRange;
  } else if (status.recording === null) {
    navigate({ from: Math.max(oldest, newest - 3_600_000), to: newest }, "replace");
  } else if (view.peek().from === DEFAULT_VIEW.from) {
    navigate({ from: presetFor(newest - oldest, "now-1h") }, "replace");
  }
}
