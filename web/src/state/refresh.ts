/**
 * Keeps the answers up to date: asks when the view changes, every 5 s while it is live, and with growing pauses while
 * nobody answers. A hidden page asks nothing.
 */

import { effect } from "@preact/signals";
import { fetchFlameGraph, fetchLabelValues, fetchStatus, fetchTimeline, fetchTop, type Scope } from "../api/client";
import { withoutLabel } from "../model/selector";
import { connection, navigate, questions, scope, view } from "./store";
import { isLive } from "./view";

const LIVE_MS = 5_000;
/** While waiting for the first window. */
const WAITING_MS = 2_000;
/** When nothing moves, only the status is asked for. */
const IDLE_MS = 15_000;
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 30_000;
const TIMELINE_POINTS = 600;
const TOP_ROWS = 1_000;

let timer: ReturnType<typeof setTimeout> | undefined;
let failedInARow = 0;
let round = 0;
const openedWithoutRange = !/[?&](from|to|brush)=/.test(location.search);
let placed = false;

/** Starts, for as long as the page lives. */
export function startRefreshing(): void {
  effect(() => {
    // Read here, so that a change of any of them asks at once; what is shown otherwise does not matter.
    void scope.value;
    void view.value.from;
    void view.value.to;
    void (view.value.tab === "table");
    void isLive(view.value);
    queueMicrotask(() => void refresh("changed"));
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void refresh("tick");
  });
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
  const others = { ...narrow, filter: withoutLabel(narrow.filter, "comm") };
  const asked: Promise<void>[] = [
    questions.status.ask("", fetchStatus),
    unless(!again, questions.timeline, keyOf(whole), (signal) => fetchTimeline(whole, TIMELINE_POINTS, signal)),
    unless(!narrowAgain, questions.flame, keyOf(narrow), (signal) => fetchFlameGraph(narrow, signal)),
    unless(!narrowAgain, questions.processes, keyOf(others), (signal) => fetchLabelValues("comm", others, signal)),
  ];
  if (now.tab === "table") {
    asked.push(unless(!narrowAgain, questions.top, keyOf(narrow), (signal) => fetchTop(narrow, TOP_ROWS, signal)));
  }
  await Promise.all(asked);
  if (mine !== round) return;
  placeFirstView();
  schedule();
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

function keyOf(about: Scope): string {
  return `${about.from} ${about.to} ${about.filter}`;
}

function schedule(): void {
  const lost = Object.values(questions).some((question) => question.state.peek().failure?.kind === "unreachable");
  failedInARow = lost ? failedInARow + 1 : 0;
  let pause = isLive(view.peek()) ? LIVE_MS : IDLE_MS;
  if ((questions.status.state.peek().answer?.database.windows ?? 1) === 0) pause = WAITING_MS;
  if (lost) pause = Math.min(FIRST_RETRY_MS * 2 ** (failedInARow - 1), LAST_RETRY_MS);
  connection.value = lost ? { lost: true, retryAt: Date.now() + pause } : { lost: false };
  timer = setTimeout(() => {
    if (!document.hidden) void refresh("tick");
  }, pause);
}

/** A database served without a recorder ends in the past: open at its newest hour instead of at an empty one. */
function placeFirstView(): void {
  const status = questions.status.state.peek().answer;
  if (placed || status === null) return;
  placed = true;
  const newest = status.database.newest_ms;
  if (openedWithoutRange && status.recording === null && newest !== null) {
    navigate({ from: newest - 3_600_000, to: newest }, "replace");
  }
}
