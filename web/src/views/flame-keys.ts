/** The keyboard, for the whole page. Never active in inputs; arrows and Enter only where they mean nothing else. */

import { children, isWithin } from "../model/call-tree";
import { focusThatShows } from "../model/flame-rows";
import { nextMatch } from "../model/search";
import {
  announcement,
  flame,
  focus,
  found,
  hovered,
  navigate,
  select,
  selected,
  tree,
  view,
  zoomOut,
  zoomTo,
} from "../state/store";
import { factsOf, spoken } from "./details";
import { openHelp } from "./help";
import { nextTheme, toggleLive } from "./top-bar";

/** A frame that a search stepped to is at least this wide, in pixels. */
const SEEN_WIDTH = 40;
let flameWidth = 1000;

export function setFlameWidth(width: number): void {
  flameWidth = width;
}

export function focusSearch(): void {
  const input = document.querySelector<HTMLInputElement>("#search");
  input?.focus();
  input?.select();
}

function focusGraph(): void {
  document.querySelector<HTMLCanvasElement>(".flame canvas")?.focus({ preventScroll: true });
}

/** Chooses a frame and tells everybody. */
function choose(node: number): void {
  const at = tree.peek();
  const answer = flame.peek();
  if (at === null || answer === null || node < 0) return;
  select(node);
  announcement.value = spoken(factsOf(at, node, focus.peek().node, answer.nanosPerSample));
}

/** Goes to the next match (1) or the one before (-1), zooming so that it can be seen. */
export function stepMatch(step: 1 | -1): void {
  const at = tree.peek();
  const result = found.peek();
  if (at === null || result === null || result.nodes.length === 0) return;
  if (view.peek().tab !== "flame") navigate({ tab: "flame" });
  const from = selected.peek();
  const node = nextMatch(result.nodes, from < 0 && step === 1 ? 0 : Math.max(from, 0), step);
  const { node: zoomed } = focus.peek();
  const seen = isWithin(at, node, zoomed) && (at.total[node] / at.total[zoomed]) * flameWidth >= SEEN_WIDTH;
  if (!seen) zoomTo(focusThatShows(at, node, flameWidth, SEEN_WIDTH));
  choose(node);
}

/** Installs the keys for as long as the page lives. */
export function installKeys(): void {
  window.addEventListener("keydown", (event) => {
    const target = event.target as Element;
    if (event.key === "f" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
      // A second Ctrl+F is the browser's own search.
      if (target.id === "search") return;
      event.preventDefault();
      focusSearch();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (target.closest("input, textarea, select, [contenteditable], dialog[open]") !== null) return;
    const onGraph = target === document.body || target instanceof HTMLCanvasElement;
    const act = anywhere(event.key) ?? (onGraph && view.peek().tab === "flame" ? onFlame(event.key) : null);
    if (act === null) return;
    event.preventDefault();
    act();
  });
}

function anywhere(key: string): (() => void) | null {
  switch (key) {
    case "/":
      return focusSearch;
    case "?":
      return openHelp;
    case "n":
      return () => stepMatch(1);
    case "N":
      return () => stepMatch(-1);
    case "0":
      return () => {
        select(-1);
        navigate({ zoom: null });
      };
    case "i":
      return () => navigate({ rootBelow: !view.peek().rootBelow });
    case "l":
      return toggleLive;
    case "t":
      return nextTheme;
    case "1":
      return () => navigate({ tab: "flame" });
    case "2":
      return () => navigate({ tab: "table" });
    default:
      return null;
  }
}

function onFlame(key: string): (() => void) | null {
  const at = tree.peek();
  if (at === null) return null;
  const current = selected.peek() >= 0 ? selected.peek() : focus.peek().node;
  const down = view.peek().rootBelow ? "ArrowUp" : "ArrowDown";
  const up = view.peek().rootBelow ? "ArrowDown" : "ArrowUp";
  switch (key) {
    case down: {
      const below = children(at, current);
      const biggest = below.reduce((best, child) => (best < 0 || at.total[child] > at.total[best] ? child : best), -1);
      return () => choose(biggest);
    }
    case up:
      return () => choose(at.parent[current]);
    case "ArrowLeft":
    case "ArrowRight":
      return () => {
        if (at.parent[current] < 0) return;
        const siblings = children(at, at.parent[current]);
        choose(siblings[siblings.indexOf(current) + (key === "ArrowLeft" ? -1 : 1)] ?? -1);
      };
    case "Enter":
      return () => {
        if (selected.peek() >= 0) zoomTo(selected.peek());
      };
    case "Backspace":
      return zoomOut;
    case "Escape":
      return () => {
        if (selected.peek() >= 0) select(-1);
        else zoomOut();
      };
    case "c":
      return () => {
        const node = hovered.peek() >= 0 ? hovered.peek() : current;
        const answer = flame.peek();
        if (answer === null) return;
        const { name } = factsOf(at, node, 0, answer.nanosPerSample);
        // Without permission there is nothing to be done and nothing lost.
        navigator.clipboard?.writeText(name).then(
          () => {
            announcement.value = `Copied ${name}`;
          },
          () => undefined,
        );
      };
    default:
      return null;
  }
}

/** From the search box into the graph. */
export function leaveSearch(): void {
  focusGraph();
}
